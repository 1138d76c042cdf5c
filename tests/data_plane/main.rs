//! Lobby, relays and the demo's clients, all real and all in this process: the data plane without a cluster.
#![allow(unreachable_pub, reason = "the modules of a test binary share what they like")]

mod cuts;
mod drain;
mod parties;
#[allow(dead_code, reason = "each test binary uses a part")]
mod relay;
mod remote;
mod rotation;
#[path = "../store/server.rs"]
mod server;
mod tls;
#[path = "../lobby/world.rs"]
mod world;

use std::time::Duration;

use convene::demo;
use convene::wire::relay::CLOSE_SESSION_CLOSED;
use convene::wire::session::{Connect, Joined, SessionCreated};
use convene::wire::table::PoolEntry;
use futures::{SinkExt as _, StreamExt as _};
use reqwest::StatusCode;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use relay::{Pod, Seat};
use world::{Cluster, Running, eventually, pool, table};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const PLACES: [(&str, f64, f64); 6] = [
    ("asia-northeast1", 35.68, 139.69),
    ("asia-south1", 19.08, 72.88),
    ("eu-west-1", 53.35, -6.26),
    ("europe-north1", 60.57, 27.20),
    ("southamerica-east1", -23.53, -46.79),
    ("us-east1", 33.20, -80.01),
];

/// A relay that is not started yet in each of `places`, and its pool as a table has it.
fn reserved(places: &[(&str, f64, f64)], capacity: u32) -> (Vec<Seat>, Vec<PoolEntry>) {
    let of = |(region, latitude, longitude): &(&str, f64, f64)| {
        let seat = Seat::reserve(&format!("{region}-0"));
        let mut entry = pool(region, *latitude, *longitude, 1, capacity);
        entry.relays[0].url = seat.url();
        (seat, entry)
    };
    places.iter().map(of).unzip()
}

/// A lobby and one relay in each of `places`, linked.
async fn world(places: &[(&str, f64, f64)], capacity: u32) -> (Cluster, Running, Vec<Pod>) {
    let cluster = Cluster::new();
    let (seats, pools) = reserved(places, capacity);
    let lobby = Running::start(&table(&cluster, pools)).await;
    let jwks = lobby.jwks().await;
    let mut pods = Vec::new();
    for seat in seats {
        pods.push(seat.start(&lobby, &cluster, &jwks, capacity));
    }
    linked(&lobby, places.len()).await;
    (cluster, lobby, pods)
}

async fn linked(lobby: &Running, relays: usize) {
    let line = format!("convene_lobby_relays_linked {relays}");
    eventually("all relays are linked", async || lobby.metrics().await.contains(&line)).await;
}

async fn create(lobby: &Running, region: &str) -> SessionCreated {
    let body = json!({"place": {"region": region}});
    let answer = reqwest::Client::new().post(lobby.url("/v1/sessions")).json(&body).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
    answer.json().await.expect("a session")
}

async fn join(lobby: &Running, created: &SessionCreated) -> Result<Joined, StatusCode> {
    let path = format!("/v1/sessions/{}/join", created.session.id);
    let body = json!({"joinKey": created.join_key});
    let answer = reqwest::Client::new().post(lobby.url(&path)).json(&body).send().await.expect("an answer");
    if answer.status().is_success() { Ok(answer.json().await.expect("a pass")) } else { Err(answer.status()) }
}

async fn connect(pass: &Connect) -> Result<Socket, Box<Error>> {
    let mut request = pass.url.as_str().into_client_request().expect("a URL");
    request.headers_mut().insert("authorization", format!("Bearer {}", pass.token).parse().expect("a header"));
    tokio_tungstenite::connect_async(request).await.map(|(socket, _)| socket).map_err(Box::new)
}

/// Sends until the other end hears it: it may not be in the room yet.
async fn heard(from: &mut Socket, to: &mut Socket, text: &str) {
    for _ in 0..100 {
        from.send(Message::text(text)).await.expect("sent");
        let got = tokio::time::timeout(Duration::from_millis(100), to.next()).await;
        if matches!(got, Ok(Some(Ok(Message::Text(got)))) if got.as_str() == text) {
            return;
        }
    }
    unreachable!("not heard: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_runs_through_six_regions() {
    let (_cluster, lobby, pods) = world(&PLACES, 100).await;
    let begin = convene::process::clock::monotonic();
    let table =
        demo::play(&demo::Args { lobby: lobby.url(""), messages: 100, regions: vec![] }).await.expect("all arrived");
    let took = convene::process::clock::monotonic().saturating_sub(begin);
    for (region, ..) in PLACES {
        assert!(table.contains(region), "{region} took nobody:\n{table}");
    }
    assert_eq!(table.matches("  200  ").count(), 18, "{table}");
    eventually("every session is closed", async || {
        let metrics = lobby.metrics().await;
        metrics.contains(r#"convene_lobby_sessions{state="open"} 0"#)
            && metrics.contains(r#"convene_lobby_sessions{state="leased"} 0"#)
    })
    .await;
    // For whoever reads the log of the tests.
    std::io::Write::write_all(&mut std::io::stderr(), format!("{table}in {took:?}\n").as_bytes()).expect("printed");
    drop(pods);
    lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_region_sends_the_demo_to_the_next() {
    // One seat for each of eighteen cities' sessions, three at once: the near ones are often full.
    let (_cluster, lobby, _pods) = world(&PLACES, 1).await;
    demo::play(&demo::Args { lobby: lobby.url(""), messages: 10, regions: vec![] }).await.expect("all arrived");
    lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lobbys_restart_cuts_nobody_and_joins_go_on() {
    let (cluster, lobby, pods) = world(&PLACES[..2], 10).await;
    let created = create(&lobby, "asia-south1").await;
    let joined = join(&lobby, &created).await.expect("joined");
    let mut host = connect(&created.connect).await.expect("connected");
    let mut guest = connect(&joined.connect).await.expect("connected");
    heard(&mut host, &mut guest, "before").await;
    let table = lobby.table();
    let (folder, address) = lobby.stop().await;
    heard(&mut guest, &mut host, "while the lobby is away").await;

    let lobby = Running::start_in(folder, &table, Some(address)).await;
    let begin = convene::process::clock::monotonic();
    eventually("a join works again", async || join(&lobby, &created).await.is_ok()).await;
    let took = convene::process::clock::monotonic().saturating_sub(begin);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let late = join(&lobby, &created).await.expect("joined");
    let mut third = connect(&late.connect).await.expect("connected");
    heard(&mut host, &mut third, "after").await;

    // Its host can still close it, and everybody is told that this is final.
    let path = format!("/v1/sessions/{}", created.session.id);
    let closed = reqwest::Client::new().delete(lobby.url(&path)).bearer_auth(&created.host_token).send().await;
    assert_eq!(closed.expect("an answer").status(), StatusCode::NO_CONTENT);
    for socket in [&mut host, &mut guest, &mut third] {
        let code = loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => break u16::from(frame.code),
                Some(Ok(_)) => {}
                other => unreachable!("no close: {other:?}"),
            }
        };
        assert_eq!(code, CLOSE_SESSION_CLOSED);
    }
    drop((cluster, pods));
    lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_killed_relay_goes_on_elsewhere() {
    let (_cluster, lobby, mut pods) = world(&PLACES[..2], 10).await;
    let created = create(&lobby, "asia-northeast1").await;
    assert_eq!(created.session.relay, "asia-northeast1-0");
    let mut host = connect(&created.connect).await.expect("connected");
    drop(pods.remove(0));
    let ended = async { while matches!(host.next().await, Some(Ok(_))) {} };
    assert!(tokio::time::timeout(Duration::from_secs(5), ended).await.is_ok(), "its sockets are closed");
    let mut moved = None;
    eventually("a join leads elsewhere", async || {
        moved = join(&lobby, &created).await.ok().filter(|joined| joined.session.epoch == 2);
        moved.is_some()
    })
    .await;
    let moved = moved.expect("just seen");
    assert_eq!(moved.session.relay, "asia-south1-0");
    assert!(connect(&moved.connect).await.is_ok());
    lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_is_good_once_and_for_its_session_only() {
    let (_cluster, lobby, _pods) = world(&PLACES[..1], 10).await;
    let (one, two) = (create(&lobby, "asia-northeast1").await, create(&lobby, "asia-northeast1").await);
    let _open = connect(&one.connect).await.expect("connected");
    assert!(connect(&one.connect).await.is_err(), "taken once");
    let swapped = Connect { url: one.connect.url.clone(), ..two.connect.clone() };
    assert!(connect(&swapped).await.is_err(), "another session's");
    assert!(connect(&two.connect).await.is_ok());
    lobby.stop().await;
}
