//! What the operator plans for a Redis of a lobby's own, against a real server: it takes those settings, the lobby works with
//! the rights that they give, and what was granted outlives the server.

use std::collections::BTreeMap;
use std::path::Path;

use convene::api::Lobby;
use convene::decide::authority::{Certificates, ControlCertificates, ControlKey, LinkKeys};
use convene::decide::plan::{self, ChildKind, OperatorConfig, names, table};
use convene::decide::valid::{self, ControlInputs, GeoIpInputs, KeyInputs, LinkInputs, LobbyInputs, LobbyKeys};
use convene::lobby::store::Store as _;
use convene::wire::table::ClusterIssuer;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::address::{ask, works};
use crate::server::{Running, free_port};
use crate::values::{Connected, LIMITS, eventually};

/// Arguments of the server, its secret settings, and the URL that the lobby is given.
fn planned() -> (Vec<String>, String, String) {
    let lobby = json!({
        "apiVersion": "convene.dev/v1alpha1", "kind": "Lobby", "metadata": {"name": "hub", "namespace": "n", "uid": "u"},
        "spec": {"replicas": 2, "store": {"redis": {"managed": {}}}},
    });
    let lobby: Lobby = serde_json::from_value(lobby).expect("a Lobby");
    let signing_key = include_str!("../plan/signing-key.pem").to_owned();
    let inputs = LobbyInputs {
        lobby: &lobby,
        keys: KeyInputs {
            secret: None,
            slots: vec![],
            published: None,
            fresh: LobbyKeys { signing_key: signing_key.clone(), admin_token: "opens-nothing".to_owned() },
            fresh_key: signing_key.clone(),
            now: Timestamp::UNIX_EPOCH,
        },
        link: LinkInputs {
            secret: None,
            fresh: LinkKeys { authority: signing_key.clone(), server: signing_key },
            certify: &|_| Ok(Certificates { authority: String::new(), link: String::new(), link_ends: 0 }),
        },
        control: ControlInputs {
            secret: None,
            fresh: ControlKey(String::new()),
            certify: &|_| Ok(ControlCertificates { server: String::new(), authorities: String::new() }),
        },
        tls_secret_there: true,
        geoip: GeoIpInputs { claim_there: true, allowed: &[] },
        dns_endpoints_there: true,
        redis_secret: None,
        fresh_password: convene::process::secret::random_secret(),
        pools: vec![],
        namespace_labels: &BTreeMap::new(),
    };
    let valid = valid::lobby(inputs).expect("valid");
    let config = OperatorConfig {
        image: "convene".to_owned(),
        image_pull_policy: "Never".to_owned(),
        operator_namespace: "system".to_owned(),
        api_server_ports: vec![443],
        allow_geoip_from: vec![],
    };
    let plan = plan::lobby::plan(&valid, &table::compile(&valid, None, &ClusterIssuer::default()), &config);
    let set = plan.children.iter().find(|child| child.kind == ChildKind::StatefulSet).expect("a StatefulSet");
    let arguments = &set.object["spec"]["template"]["spec"]["containers"][0]["args"];
    let arguments = arguments.as_array().expect("arguments").iter().filter_map(Value::as_str).map(str::to_owned);
    let named = |secret: &&k8s_openapi::api::core::v1::Secret| {
        secret.metadata.name.as_deref() == Some(&*names::lobby_redis("hub"))
    };
    let secret = plan.secrets.iter().find(named).expect("a Secret").data.clone().expect("data");
    let text = |key: &str| String::from_utf8(secret[key].0.clone()).expect("text");
    (arguments.collect(), text(names::REDIS_CONFIG), text(names::REDIS_URL))
}

/// The arguments with the folders and the port of this test.
fn here(arguments: &[String], folder: &Path, port: u16) -> Vec<String> {
    let replaced = arguments.iter().map(|argument| match argument.as_str() {
        "/etc/redis/redis.conf" => folder.join("redis.conf").display().to_string(),
        "/data" => folder.display().to_string(),
        "6379" => port.to_string(),
        other => other.to_owned(),
    });
    replaced.collect()
}

#[tokio::test]
async fn a_real_server_takes_the_planned_settings_and_keeps_what_was_granted() {
    let (arguments, config, url) = planned();
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    std::fs::write(folder.path().join("redis.conf"), config).expect("written");
    let arguments = here(&arguments, folder.path(), port);
    let url = url.replace("@hub-lobby-redis.n.svc:6379", &format!("@127.0.0.1:{port}"));
    let running = Running::start(&arguments);
    let lobby = Connected::to(url.clone(), "u", LIMITS, None).await;
    works(&lobby).await;
    for refused in [&["FLUSHALL"][..], &["CONFIG", "GET", "*"], &["SHUTDOWN"], &["ACL", "LIST"], &["KEYS", "*"]] {
        assert!(ask(&url, refused).await.is_err(), "the lobby may {refused:?}");
    }
    let stranger = format!("redis://127.0.0.1:{port}");
    assert!(ask(&stranger, &["PING"]).await.is_err(), "a stranger is let in");
    ask(&url, &["SET", "{u}:kept", "1"]).await.expect("taken");
    // An orderly end writes all.
    running.end();
    eventually("it is away", async || lobby.store.is_away()).await;
    let _running = Running::start(&arguments);
    eventually("it is there again", async || !lobby.store.is_away()).await;
    let kept = ask(&url, &["EXISTS", "{u}:kept"]).await;
    assert_eq!(kept.expect("an answer"), redis::Value::Int(1));
    works(&lobby).await;
}
