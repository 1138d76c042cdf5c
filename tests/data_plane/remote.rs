//! Relays of another cluster: known by a key of their pool, and by their link alone.

use std::path::Path;

use convene::decide::token::SigningKey;
use convene::process::clock;
use convene::wire::claims::{RelayClaims, remote_uid};
use convene::wire::session::SessionCreated;
use convene::wire::table::{RelayTable, RemotePool};
use http::StatusCode;
use serde_json::json;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::relay::Seat;
use crate::server::Server;
use crate::world::{Cluster, Running, eventually, fresh_key, pool, table};
use crate::{connect, create, heard, join, linked};

const POOL: &str = "overseas";
const RELAY: &str = "overseas-0";
const REGION: &str = "ap-southeast-2";
/// More than any test asks for while it waits.
const CAPACITY: u32 = 1000;
/// The lobby's public URL, which its table tells it.
const URL: &str = "https://meet.example.com";

fn listed(key: &SigningKey) -> RemotePool {
    let (latitude, longitude) = (-33.87, 151.21);
    RemotePool {
        name: POOL.to_owned(),
        region: REGION.to_owned(),
        latitude,
        longitude,
        keys: vec![key.public().clone()],
    }
}

fn table_with(cluster: &Cluster, remote: Vec<RemotePool>, url: &str) -> RelayTable {
    let here = pool("eu-west-1", 53.35, -6.26, 1, CAPACITY);
    RelayTable { remote, url: url.to_owned(), ..table(cluster, vec![here]) }
}

fn key_in(folder: &Path) -> SigningKey {
    let (pem, key) = fresh_key();
    std::fs::write(folder.join("key.pem"), pem).expect("written");
    key
}

fn tell(lobby: &Running, table: &RelayTable) {
    let (new, file) = (lobby.folder.path().join("relays.new"), lobby.folder.path().join("relays.json"));
    std::fs::write(&new, serde_json::to_string(table).expect("JSON")).expect("written");
    std::fs::rename(new, file).expect("renamed");
}

/// A session of somebody near the relays of another cluster.
async fn near(lobby: &Running) -> Result<SessionCreated, StatusCode> {
    let body = json!({"place": {"region": REGION}});
    let answer = reqwest::Client::new().post(lobby.url("/v1/sessions")).json(&body).send().await.expect("an answer");
    if answer.status().is_success() { Ok(answer.json().await.expect("a session")) } else { Err(answer.status()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_pool_of_another_cluster_gets_sessions_until_it_is_taken_off_the_list() {
    let (cluster, folder) = (Cluster::new(), tempfile::tempdir().expect("a folder"));
    let key = key_in(folder.path());
    let lobby = Running::start(&table_with(&cluster, vec![], "")).await;
    // The lobby's own URL is the audience of the proof.
    let url = lobby.url("");
    let with = table_with(&cluster, vec![listed(&key)], &url);
    let pod = Seat::reserve(RELAY).start_remote(&format!("{url}/"), POOL, folder.path(), CAPACITY);
    let refused = r#"convene_lobby_links_refused_total{reason="identity"}"#;
    eventually("it is not listed yet", async || lobby.metrics().await.contains(refused)).await;
    assert_eq!(near(&lobby).await.err(), Some(StatusCode::SERVICE_UNAVAILABLE));

    tell(&lobby, &with);
    linked(&lobby, 1).await;
    let created = near(&lobby).await.expect("a session");
    assert_eq!((created.session.relay.as_str(), created.session.region.as_str()), (RELAY, REGION));
    let mut host = connect(&created.connect).await.expect("connected");
    let mut guest = connect(&join(&lobby, &created).await.expect("a pass").connect).await.expect("connected");
    heard(&mut host, &mut guest, "around the world").await;

    // A lobby that has lost everything learns of relay and session again.
    let (keep, address) = lobby.stop().await;
    let lobby = Running::start_in(keep, &with, Some(address)).await;
    eventually("a join works again", async || join(&lobby, &created).await.is_ok()).await;
    heard(&mut guest, &mut host, "still here").await;

    // Another key beside the first: the link stays. The first alone is gone: whoever came by it has to go.
    let (_, next) = fresh_key();
    let mut rotated = listed(&key);
    rotated.keys.push(next.public().clone());
    tell(&lobby, &RelayTable { remote: vec![rotated.clone()], ..with.clone() });
    let again = create(&lobby, REGION).await;
    assert_eq!(again.session.relay, RELAY);
    rotated.keys.remove(0);
    tell(&lobby, &RelayTable { remote: vec![rotated], ..with.clone() });
    linked(&lobby, 0).await;
    tell(&lobby, &with);
    linked(&lobby, 1).await;

    // Taken off the list: its link ends and nobody new is sent there; those who are there are not cut.
    tell(&lobby, &RelayTable { remote: vec![], ..with.clone() });
    linked(&lobby, 0).await;
    eventually("nothing is placed there", async || near(&lobby).await.is_err()).await;
    heard(&mut host, &mut guest, "not cut").await;
    tell(&lobby, &with);
    linked(&lobby, 1).await;
    drop(pod);
    linked(&lobby, 0).await;
    eventually("a relay that is gone gets nobody", async || near(&lobby).await.is_err()).await;
    lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_links_anew_when_its_address_changes() {
    let (cluster, folder) = (Cluster::new(), tempfile::tempdir().expect("a folder"));
    let key = key_in(folder.path());
    let lobby = Running::start(&table_with(&cluster, vec![], "")).await;
    tell(&lobby, &table_with(&cluster, vec![listed(&key)], &lobby.url("")));
    let seat = Seat::reserve(RELAY);
    let url = seat.url();
    let _pod = seat.start_remote(&lobby.url(""), POOL, folder.path(), CAPACITY);
    linked(&lobby, 1).await;
    let file = folder.path().join("addresses.json");
    // Unknown as well: nobody is sent to a relay without an address.
    std::fs::write(&file, "{}").expect("written");
    eventually("nobody is sent there", async || near(&lobby).await.is_err()).await;
    std::fs::write(&file, json!({RELAY: url}).to_string()).expect("written");
    eventually("it is known again", async || near(&lobby).await.is_ok_and(|made| made.connect.url.starts_with(&url)))
        .await;
    lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_of_a_lobby_knows_a_relay_that_is_linked_to_one_of_them() {
    let (cluster, folder, server) = (Cluster::new(), tempfile::tempdir().expect("a folder"), Server::start().await);
    let key = key_in(folder.path());
    let lobbies = Running::start_on_redis(2, &server.url(), &table_with(&cluster, vec![], "")).await;
    let with = table_with(&cluster, vec![listed(&key)], &lobbies[0].url(""));
    for lobby in &lobbies {
        tell(lobby, &with);
    }
    let _pod = Seat::reserve(RELAY).start_remote(&lobbies[0].url(""), POOL, folder.path(), CAPACITY);
    // What one process knows, the others know a little later.
    for lobby in &lobbies {
        eventually("sessions are placed there", async || near(lobby).await.is_ok()).await;
    }
    for lobby in &lobbies {
        let created = near(lobby).await.expect("a session");
        assert_eq!(created.session.relay, RELAY);
        let mut host = connect(&created.connect).await.expect("connected");
        let guest = join(&lobbies[1], &created).await.expect("a pass");
        let mut guest = connect(&guest.connect).await.expect("connected");
        heard(&mut host, &mut guest, "whichever process they asked").await;
    }
    for lobby in lobbies {
        lobby.stop().await;
    }
}

async fn dial(lobby: &Running, token: &str) -> Result<(), String> {
    let mut request = format!("ws://{}/v1/relay-link", lobby.address).into_client_request().expect("a request");
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    match tokio_tungstenite::connect_async(request).await {
        Ok(_) => Ok(()),
        Err(Error::Http(answer)) => {
            let (parts, body) = answer.into_parts();
            let mut headers = parts.headers;
            headers.remove("date");
            Err(format!("{} {headers:?} {body:?}", parts.status))
        }
        Err(other) => unreachable!("no answer: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_relay_of_a_listed_pool_is_refused_in_one_way() {
    let cluster = Cluster::new();
    let ((_, key), (_, foreign)) = (fresh_key(), fresh_key());
    let lobby = Running::start(&table_with(&cluster, vec![listed(&key)], URL)).await;
    let now = clock::unix_seconds();
    let good = || RelayClaims {
        iss: POOL.to_owned(),
        aud: URL.to_owned(),
        sub: remote_uid(POOL, "a-pod"),
        relay: RELAY.to_owned(),
        boot: "boot".to_owned(),
        jti: convene::process::secret::random_id(),
        iat: now,
        exp: now + 60,
    };
    let with = |change: fn(&mut RelayClaims)| {
        let mut claims = good();
        change(&mut claims);
        key.sign_relay(&claims)
    };
    let once = key.sign_relay(&good());
    assert_eq!(dial(&lobby, &once).await, Ok(()));
    let wrong = [
        ("no token of any kind", "nonsense".to_owned()),
        ("shown before", once),
        ("another key", foreign.sign_relay(&good())),
        ("another pool", with(|claims| claims.iss = "other".to_owned())),
        ("another lobby", with(|claims| claims.aud = "https://other.example.com".to_owned())),
        ("over", with(|claims| (claims.iat, claims.exp) = (claims.iat - 100, claims.iat - 50))),
        ("good for too long", with(|claims| claims.exp = claims.iat + 3600)),
        ("not yet", with(|claims| (claims.iat, claims.exp) = (claims.iat + 100, claims.iat + 160))),
        ("a pod of this cluster", with(|claims| claims.sub = crate::world::uid("eu-west-1-0"))),
        ("a pod of another pool", with(|claims| claims.sub = remote_uid("other", "a-pod"))),
        ("no pod", with(|claims| claims.sub = remote_uid(POOL, ""))),
        ("no name", with(|claims| claims.relay = String::new())),
    ];
    let mut answers = Vec::new();
    for (case, token) in wrong {
        answers.push((case, dial(&lobby, &token).await.expect_err(case)));
    }
    assert!(answers[0].1.starts_with("401"), "{}", answers[0].1);
    for (case, answer) in &answers {
        assert_eq!(*answer, answers[0].1, "{case}");
    }
    // A cluster that has no address for clients is nobody's audience.
    tell(&lobby, &table_with(&cluster, vec![listed(&key)], ""));
    eventually("without a URL nobody is taken", async || dial(&lobby, &with(|_| ())).await.is_err()).await;
    let empty = with(|claims| claims.aud = String::new());
    assert!(dial(&lobby, &empty).await.is_err());
    lobby.stop().await;
}
