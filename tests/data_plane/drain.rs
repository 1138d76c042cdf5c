//! Relays that are to leave: their sessions go on elsewhere, and stay where that is taken back in time.

use convene::wire::orders::{ORDERS_PATH, Order};
use convene::wire::relay::{CLOSE_RETRY, REASON_MOVED};
use convene::wire::session::{Joined, SessionCreated};
use convene::wire::stats::{EVENTS_PATH, RelayReport};
use futures::StreamExt as _;
use reqwest::StatusCode;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::relay::Pod;
use crate::world::ADMIN_TOKEN;
use crate::world::{Running, eventually};
use crate::{PLACES, Socket, connect, create, heard, join, world};

const TOKYO: &str = "asia-northeast1-0";
const MUMBAI: &str = "asia-south1-0";

/// A pass for the host, who comes back.
pub(crate) async fn rejoin(lobby: &Running, created: &SessionCreated) -> Joined {
    let url = lobby.url(&format!("/v1/sessions/{}/join", created.session.id));
    let request = reqwest::Client::new().post(url).bearer_auth(&created.host_token).json(&json!({"lostEpoch": 1}));
    request.send().await.expect("an answer").json().await.expect("a pass")
}

/// A session with a host and a guest who hear one another.
async fn live(lobby: &Running) -> (SessionCreated, Socket, Socket) {
    let created = create(lobby, PLACES[0].0).await;
    assert_eq!(created.session.relay, TOKYO);
    let mut host = connect(&created.connect).await.expect("connected");
    let mut guest = connect(&join(lobby, &created).await.expect("a pass").connect).await.expect("connected");
    heard(&mut host, &mut guest, "before").await;
    (created, host, guest)
}

pub(crate) async fn is_sent_on(member: &mut Socket) {
    let close = async {
        loop {
            match member.next().await {
                Some(Ok(Message::Close(Some(frame)))) => break (u16::from(frame.code), frame.reason.to_string()),
                Some(Ok(_)) => {}
                other => unreachable!("no close: {other:?}"),
            }
        }
    };
    let close = tokio::time::timeout(std::time::Duration::from_secs(10), close).await.expect("in time");
    assert_eq!(close, (CLOSE_RETRY, REASON_MOVED.to_owned()));
}

/// Both are told to come back through the lobby, and meet again at the other relay.
async fn moves(lobby: &Running, created: &SessionCreated, mut host: Socket, mut guest: Socket) {
    is_sent_on(&mut host).await;
    is_sent_on(&mut guest).await;
    let (back, again) = (rejoin(lobby, created).await, join(lobby, created).await.expect("a pass"));
    for joined in [&back, &again] {
        assert_eq!((joined.session.relay.as_str(), joined.session.epoch), (MUMBAI, 2));
    }
    let mut host = connect(&back.connect).await.expect("connected");
    let mut guest = connect(&again.connect).await.expect("connected");
    heard(&mut guest, &mut host, "after").await;
}

async fn order(pod: &Pod, order: Order) {
    let url = format!("http://{}{ORDERS_PATH}", pod.control);
    let answer = reqwest::Client::new().post(url).json(&order).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
}

/// The first report of a new event stream.
async fn report(pod: &Pod) -> RelayReport {
    let mut answer = reqwest::get(format!("http://{}{EVENTS_PATH}", pod.control)).await.expect("an answer");
    let mut text = String::new();
    while !text.contains("\n\n") {
        text += &String::from_utf8_lossy(&answer.chunk().await.expect("no error").expect("an event"));
    }
    serde_json::from_str(text.lines().find_map(|line| line.strip_prefix("data: ")).expect("data")).expect("a report")
}

async fn change_table(lobby: &Running, leaving: bool) {
    let mut table = lobby.table();
    (table.pools[0].relays[0].leaving, table.pools[0].relays[0].cordoned) = (leaving, leaving);
    lobby.change_table(&serde_json::to_string(&table).expect("JSON")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_the_table_says_is_to_leave_hands_its_session_over() {
    let (_cluster, lobby, _pods) = world(&PLACES[..2], 10).await;
    let (created, host, guest) = live(&lobby).await;
    change_table(&lobby, true).await;
    Box::pin(moves(&lobby, &created, host, guest)).await;
    lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_before_there_was_room_leaves_the_session_where_it_is() {
    let (_cluster, lobby, _pods) = world(&PLACES[..2], 1).await;
    let (created, mut host, mut guest) = live(&lobby).await;
    let other = create(&lobby, PLACES[1].0).await;
    assert_eq!(other.session.relay, MUMBAI, "its only seat");
    change_table(&lobby, true).await;
    let joined = join(&lobby, &created).await.expect("a pass");
    assert_eq!((joined.session.relay.as_str(), joined.session.epoch), (TOKYO, 1), "better there than nowhere");
    change_table(&lobby, false).await;
    let closed = reqwest::Client::new()
        .delete(lobby.url(&format!("/v1/sessions/{}", other.session.id)))
        .bearer_auth(&other.host_token);
    assert_eq!(closed.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
    let there = async || lobby.metrics().await.contains(r#"convene_lobby_free_seats{region="asia-south1"} 1"#);
    eventually("there is room now", there).await;
    heard(&mut host, &mut guest, "still here").await;
    let joined = join(&lobby, &created).await.expect("a pass");
    assert_eq!((joined.session.relay.as_str(), joined.session.epoch), (TOKYO, 1));

    // There was nothing else to it: now it moves.
    change_table(&lobby, true).await;
    Box::pin(moves(&lobby, &created, host, guest)).await;
    lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_orders_keep_new_sessions_away_and_then_hand_over_what_is_there() {
    let (_cluster, lobby, pods) = world(&PLACES[..2], 1000).await;
    let (created, mut host, mut guest) = live(&lobby).await;
    let tokyo = &pods[0];
    order(tokyo, Order::Cordon { number: 1 }).await;
    eventually("nobody is placed there", async || create(&lobby, PLACES[0].0).await.session.relay == MUMBAI).await;
    assert_eq!((report(tokyo).await.cordon, report(tokyo).await.stats.sessions), (Some(1), 1));
    heard(&mut guest, &mut host, "a cordon moves nobody").await;
    assert_eq!(join(&lobby, &created).await.expect("a pass").session.relay, TOKYO);

    order(tokyo, Order::Uncordon { number: 1 }).await;
    eventually("it is open again", async || create(&lobby, PLACES[0].0).await.session.relay == TOKYO).await;
    order(tokyo, Order::Cordon { number: 2 }).await;
    order(tokyo, Order::HandOver { number: 2 }).await;
    Box::pin(moves(&lobby, &created, host, guest)).await;
    eventually("it is empty of sessions", async || report(tokyo).await.stats.sessions == 0).await;
    assert_eq!(report(tokyo).await.cordon, Some(2));
    lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_the_lobby_orders_to_leave_hands_over_and_stays_when_that_is_taken_back() {
    let (_cluster, lobby, pods) = world(&PLACES[..2], 1000).await;
    let (created, host, guest) = live(&lobby).await;
    let tokyo = &pods[0];
    let asks = async |what: &str| {
        let url = lobby.url(&format!("/v1/relays/{}/{TOKYO}/{what}", PLACES[0].0));
        let answer = reqwest::Client::new().post(url).bearer_auth(ADMIN_TOKEN).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    };
    let is_chosen = async || create(&lobby, PLACES[0].0).await.session.relay == TOKYO;
    asks("drain").await;
    Box::pin(moves(&lobby, &created, host, guest)).await;
    eventually("it is empty of sessions", async || report(tokyo).await.stats.sessions == 0).await;
    assert!(!is_chosen().await);
    let told = report(tokyo).await;
    assert_eq!((told.asked, told.cordon, told.stats.draining), (true, None, true));

    // The operator takes it from there; what the lobby takes back is not the operator's.
    order(tokyo, Order::Cordon { number: 1 }).await;
    asks("uncordon").await;
    eventually("the lobby's word is taken back", async || !report(tokyo).await.asked).await;
    assert_eq!(report(tokyo).await.cordon, Some(1));
    assert!(!is_chosen().await);
    order(tokyo, Order::Uncordon { number: 1 }).await;
    eventually("it takes sessions again", is_chosen).await;
    lobby.stop().await;
}
