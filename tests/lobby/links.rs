//! The relay link: who is admitted, what a new link of a relay means, and what survives a restart.

use std::time::Duration;

use convene::wire::link::{FromLobby, FromRelay};
use convene::wire::session::Joined;
use convene::wire::stats::RelayStats;
use futures::{SinkExt as _, StreamExt as _};
use reqwest::StatusCode;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::api::{create, join};
use crate::fake_relay::{FakeRelay, Memory, dial};
use crate::world::{Cluster, LOBBY_UID, Running, eventually, pool, table, three_pools, uid};

const TOKYO: &str = "asia-northeast1-0";

/// The same claims, with the first bits of the signature turned. (The last character carries bits that count for nothing.)
fn with_another_signature(token: &str) -> String {
    let (claims, signature) = token.rsplit_once('.').expect("a token");
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{claims}.{first}{}", &signature[1..])
}

#[tokio::test]
async fn who_is_no_relay_of_the_table_is_refused_in_one_way() {
    let (cluster, stranger) = (Cluster::new(), Cluster::new());
    let lobby = Running::start(&table(&cluster, three_pools(10))).await;
    let good = cluster.relay_token(TOKYO);
    let mut answers = Vec::new();
    for (case, token) in [
        ("no token", None),
        ("nonsense", Some("nonsense".to_owned())),
        ("another cluster", Some(stranger.relay_token(TOKYO))),
        ("another audience", Some(cluster.token("default", TOKYO, &uid(TOKYO), "another-lobby"))),
        ("another namespace", Some(cluster.token("other", TOKYO, &uid(TOKYO), LOBBY_UID))),
        ("another pod's name", Some(cluster.token("default", "eu-west-1-0", &uid(TOKYO), LOBBY_UID))),
        ("an older pod of that name", Some(cluster.token("default", TOKYO, "uid-before", LOBBY_UID))),
        ("a pod of no pool", Some(cluster.token("default", "web-0", &uid("web-0"), LOBBY_UID))),
        ("a changed signature", Some(with_another_signature(&good))),
    ] {
        let refused = dial(&lobby, token.as_deref()).await.err().unwrap_or_else(|| panic!("admitted: {case}"));
        let (parts, body) = refused.into_parts();
        let mut headers = parts.headers;
        headers.remove("date");
        answers.push((case, format!("{} {headers:?} {body:?}", parts.status)));
    }
    assert!(answers[0].1.starts_with("401"), "{}", answers[0].1);
    for (case, answer) in &answers {
        assert_eq!(*answer, answers[0].1, "{case}");
    }
    assert!(dial(&lobby, Some(&good)).await.is_ok());
    assert!(lobby.metrics().await.contains(r#"convene_lobby_links_refused_total{reason="identity"} 9"#));
    lobby.stop().await;
}

#[tokio::test]
async fn a_link_without_a_hello_is_closed() {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, three_pools(10))).await;
    let load = serde_json::to_string(&FromRelay::Load(RelayStats::default().into())).expect("JSON");
    let hello = r#"{"type": "hello", "bootId": "a/b", "version": "", "capacity": 1, "records": [], "open": []}"#;
    for first in [Message::text(load), Message::text("{"), Message::text(hello), Message::binary(vec![0])] {
        let mut socket = dial(&lobby, Some(&cluster.relay_token(TOKYO))).await.expect("admitted");
        socket.send(first).await.expect("sent");
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    }
    // And one that says nothing at all.
    let mut mute = dial(&lobby, Some(&cluster.relay_token(TOKYO))).await.expect("admitted");
    let end = tokio::time::timeout(Duration::from_secs(6), mute.next()).await.expect("in time");
    assert!(matches!(end, Some(Ok(Message::Close(_)))));
    lobby.stop().await;
}

#[tokio::test]
async fn a_second_link_of_a_relay_replaces_the_first() {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, three_pools(10))).await;
    let first = FakeRelay::link(&lobby, &cluster, TOKYO, 10).await;
    first.keep_alive(10);
    let created = create(&lobby, &json!({})).await;
    eventually("held", async || first.know(|memory| memory.held.contains_key(&created.session.id))).await;
    let memory = first.know(|memory| memory.clone());
    let second = FakeRelay::link_with(&lobby, &cluster, TOKYO, "boot-1", 10, memory).await;
    second.keep_alive(10);
    eventually("the first is cut", async || first.ended.is_cancelled()).await;
    assert_eq!(join(&lobby, &created.session.id, &created.join_key).await.status(), StatusCode::OK);
    let other = create(&lobby, &json!({})).await;
    eventually("the second is told", async || second.know(|memory| memory.held.contains_key(&other.session.id))).await;
    assert!(!first.know(|memory| memory.held.contains_key(&other.session.id)));
    lobby.stop().await;
}

#[tokio::test]
async fn a_restarted_lobby_rebuilds_and_joins_go_on() {
    let cluster = Cluster::new();
    let three = table(&cluster, three_pools(10));
    let lobby = Running::start(&three).await;
    let relay = FakeRelay::link(&lobby, &cluster, TOKYO, 10).await;
    relay.keep_alive(10);
    let (live, closed) = (create(&lobby, &json!({})).await, create(&lobby, &json!({})).await);
    relay.open(&live.session.id);
    relay.open(&closed.session.id);
    eventually("both held", async || relay.know(|memory| memory.held.len() == 2)).await;
    let memory = relay.know(|memory| memory.clone());
    let (folder, address) = lobby.stop().await;

    let lobby = Running::start_in(folder, &three, Some(address)).await;
    // Nobody is refused for good before the relays were heard.
    let early = join(&lobby, &live.session.id, &live.join_key).await;
    assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(early.headers()["retry-after"], "1");
    let early = join(&lobby, &live.session.id, "wrong").await;
    assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE, "right and wrong are not told apart");

    let mut forged = memory.clone();
    forged.held.insert("forged".to_owned(), ("a.b.c".to_owned(), 1));
    let relay = FakeRelay::link_with(&lobby, &cluster, TOKYO, "boot-1", 10, forged).await;
    relay.keep_alive(10);
    let joined = join(&lobby, &live.session.id, &live.join_key).await;
    assert_eq!(joined.status(), StatusCode::OK);
    let joined: Joined = joined.json().await.expect("a pass");
    assert_eq!((joined.session.epoch, joined.session.relay.as_str()), (1, TOKYO));
    assert_eq!(joined.session.created_at, live.session.created_at);
    let host = reqwest::Client::new()
        .delete(lobby.url(&format!("/v1/sessions/{}", closed.session.id)))
        .bearer_auth(&closed.host_token)
        .send()
        .await
        .expect("an answer");
    assert_eq!(host.status(), StatusCode::NO_CONTENT, "the host's token still holds");
    eventually("closed", async || relay.know(|memory| memory.closed == [(closed.session.id.clone(), 1)])).await;

    // A relay that missed the order to close does not bring the session back.
    let relay = FakeRelay::link_with(&lobby, &cluster, TOKYO, "boot-1", 10, memory).await;
    relay.keep_alive(10);
    eventually("closed again", async || relay.know(|memory| memory.closed == [(closed.session.id.clone(), 1)])).await;
    assert!(lobby.metrics().await.contains(r#"convene_lobby_records_total{outcome="refused"} 1"#));
    lobby.stop().await;
}

#[tokio::test]
async fn a_session_of_a_lost_relay_moves_when_somebody_joins() {
    let cluster = Cluster::new();
    let pools = vec![pool("asia-northeast1", 35.68, 139.69, 2, 10), pool("eu-west-1", 53.35, -6.26, 1, 10)];
    let lobby = Running::start(&table(&cluster, pools)).await;
    let first = FakeRelay::link(&lobby, &cluster, TOKYO, 10).await;
    first.keep_alive(10);
    let created = create(&lobby, &json!({"place": {"region": "asia-northeast1"}})).await;
    let id = created.session.id.clone();
    first.open(&id);
    let (second, third) = (
        FakeRelay::link(&lobby, &cluster, "asia-northeast1-1", 10).await,
        FakeRelay::link(&lobby, &cluster, "eu-west-1-0", 10).await,
    );
    second.keep_alive(10);
    third.keep_alive(10);
    eventually("held", async || first.know(|memory| memory.held.contains_key(&id))).await;
    let memory = first.know(|memory| memory.clone());

    // The process restarts: its sessions are gone at once.
    drop(first);
    let restarted = FakeRelay::link_with(&lobby, &cluster, TOKYO, "boot-2", 10, Memory::default()).await;
    restarted.keep_alive(10);
    restarted.say(FromRelay::Load(RelayStats { draining: true, capacity: 10, ..RelayStats::default() }.into()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let joined: Joined = join(&lobby, &id, &created.join_key).await.json().await.expect("a pass");
    assert_eq!(joined.session.epoch, 2);
    let now_at = if joined.session.relay == "asia-northeast1-1" { &second } else { &restarted };
    eventually("held under the next epoch", async || {
        now_at.know(|memory| memory.held.get(&id).is_some_and(|(_, epoch)| *epoch == 2))
    })
    .await;

    // The old run shows up again after all: the book knows better.
    let old = FakeRelay::link_with(&lobby, &cluster, TOKYO, "boot-1", 10, memory).await;
    eventually("told to close", async || {
        old.know(|memory| memory.closed.iter().any(|(closed, epoch)| *closed == id && *epoch == 1))
    })
    .await;
    lobby.stop().await;
}

#[tokio::test]
async fn a_relay_that_is_to_leave_loses_its_open_sessions_where_there_is_room() {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, three_pools(1))).await;
    let tokyo = FakeRelay::link(&lobby, &cluster, TOKYO, 1).await;
    tokyo.keep_alive(1);
    let created = create(&lobby, &json!({"place": {"region": "asia-northeast1"}})).await;
    let id = created.session.id.clone();
    eventually("held", async || tokyo.know(|memory| memory.held.contains_key(&id))).await;
    tokyo.open(&id);
    let dublin = FakeRelay::link(&lobby, &cluster, "eu-west-1-0", 1).await;
    dublin.keep_alive(1);

    // A cordon alone moves nothing, however often it is looked at.
    tokyo.know(|memory| memory.cordoned = true);
    let taken = create(&lobby, &json!({"place": {"region": "asia-northeast1"}})).await;
    assert_eq!(taken.session.relay, "eu-west-1-0");
    tokyo.know(|memory| memory.draining = true);
    let there = async || {
        let joined: Joined = join(&lobby, &id, &created.join_key).await.json().await.expect("a pass");
        (joined.session.relay, joined.session.epoch)
    };
    assert_eq!(there().await, (TOKYO.to_owned(), 1), "nowhere else is room");
    assert!(tokyo.know(|memory| memory.closed.is_empty()));

    // The other session ends: its seat is free, and this one moves there.
    let url = lobby.url(&format!("/v1/sessions/{}", taken.session.id));
    let closed = reqwest::Client::new().delete(url).bearer_auth(&taken.host_token).send().await.expect("an answer");
    assert_eq!(closed.status(), StatusCode::NO_CONTENT);
    eventually("it has moved", async || dublin.know(|memory| memory.held.get(&id).is_some_and(|held| held.1 == 2)))
        .await;
    eventually("the old relay is told", async || {
        let told = FromLobby::Move { session: id.clone(), epoch: 1 };
        tokyo.know(|memory| memory.messages.contains(&told))
    })
    .await;
    assert_eq!(there().await, ("eu-west-1-0".to_owned(), 2));
    lobby.stop().await;
}
