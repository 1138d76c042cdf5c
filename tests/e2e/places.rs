//! Databases of places that the pods of a lobby download from a server of this machine.

use std::net::IpAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::faults::kill;
use crate::install::Install;
use crate::sick::processes_with;
use crate::support::within;

#[path = "../support/mmdb.rs"]
mod mmdb;

use mmdb::{Style, database};

/// An address of nobody's (RFC 5737).
const CLIENT: &str = "203.0.113.77";
const DUBLIN: (f64, f64) = (53.35, -6.26);
const TOKYO: (f64, f64) = (35.68, 139.69);

/// A web server with one database, or none for now.
#[derive(Clone)]
pub(crate) struct Mirror {
    /// Below which its databases are.
    pub(crate) url: String,
    says: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Mirror {
    /// Listens where pods reach this machine.
    pub(crate) async fn start(host: &str) -> Self {
        let host: IpAddr = host.parse().expect("CONVENE_HOST_ADDRESS is an address");
        let listener = TcpListener::bind((host, 0)).await.unwrap_or_else(|error| panic!("{host}: {error}"));
        let url = format!("http://{}/geo/", listener.local_addr().expect("an address"));
        let mirror = Self { url, says: Arc::default() };
        let router = Router::new().fallback(answer).with_state(mirror.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        mirror
    }

    /// From now on the client is there, as far as it knows.
    fn says(&self, (latitude, longitude): (f64, f64)) {
        let now = u64::try_from(convene::process::clock::unix_seconds()).expect("after 1970");
        let database = database(Style::Nested, now, &[("203.0.113.0/24", latitude, longitude)]);
        *self.says.lock().expect("unpoisoned") = Some(database);
    }

    fn goes(&self) {
        *self.says.lock().expect("unpoisoned") = None;
    }
}

async fn answer(State(mirror): State<Mirror>) -> Result<Vec<u8>, StatusCode> {
    mirror.says.lock().expect("unpoisoned").clone().ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// Where a session of the client would go, and by what.
async fn route(install: &Install, namespace: &str, token: &str) -> Result<(Value, Value), String> {
    let url = format!("{}/v1/route?ip={CLIENT}", install.lobby_url(namespace).await);
    let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await.map_err(|error| error.to_string())?;
    let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
    let first = &answer["ranking"][0];
    Ok((first["region"].clone(), first["rung"].clone()))
}

pub(crate) async fn a_lobby_downloads_where_addresses_are_and_keeps_it_while_the_server_is_away(install: &Install) {
    let namespace = "e2e-places";
    install.mirror.says(TOKYO);
    let urls = [format!("{}city.mmdb", install.mirror.url)];
    let spec = json!({"routing": {"geoip": {"download": {"urls": urls}}}});
    let pools = [("eu", json!({"replicas": 1})), ("asia", json!({"region": "asia-northeast1", "replicas": 1}))];
    install.world_with(namespace, spec, &pools).await;
    let template = "go-template={{index .data \"admin-token\" | base64decode}}";
    let token = install.kubectl.run(&["-n", namespace, "get", "secret", "demo-lobby-keys", "-o", template], None);
    let by_database = |region: &str| (json!(region), json!("geoIp"));
    let settles = async |region: &str| {
        within(60, &format!("the client is sent to {region} by its address"), async || {
            let told = route(install, namespace, &token).await?;
            if told == by_database(region) { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    };
    settles("asia-northeast1").await;

    // A container that is started again has what was downloaded, and asks nobody for it.
    install.mirror.goes();
    let lobby = || processes_with(&format!("CONVENE_TABLE_CONFIG_MAP={namespace}/demo-lobby"));
    let ended = lobby().pop().expect("it runs");
    assert!(Command::new("kill").args(["-KILL", &ended]).status().expect("kill runs").success());
    within(60, "another process of the lobby runs", async || match lobby().pop() {
        Some(now) if now != ended => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    settles("asia-northeast1").await;

    // A new pod asks the server, which says something else by now.
    install.mirror.says(DUBLIN);
    kill(install, namespace, &["pod", "--selector=convene.dev/lobby=demo,app.kubernetes.io/name=convene-lobby"]);
    settles("eu-west-1").await;
}
