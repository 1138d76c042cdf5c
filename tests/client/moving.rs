//! A session that its host or the admin moves: the client's streams go on, and plain WebSocket clients come back through
//! the lobby.

use convene::client::{Approve, Event};
use convene::decide::invite::Invite;
use convene::wire::relay::{CLOSE_RETRY, REASON_MOVED};
use convene::wire::session::{Connect, Joined, SessionCreated, SessionView};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::handoff::through;
use crate::scene::{Guest, REGIONS, World, in_time};
use crate::streams::echo;
use crate::world::ADMIN_TOKEN;

async fn post(url: String, bearer: Option<&str>, body: Value) -> reqwest::Response {
    let mut request = reqwest::Client::new().post(url).json(&body);
    if let Some(bearer) = bearer {
        request = request.bearer_auth(bearer);
    }
    request.send().await.expect("an answer").error_for_status().expect("done")
}

async fn relocate(world: &World, session: &str, bearer: &str, region: &str) -> SessionView {
    let url = world.lobby.url(&format!("/v1/sessions/{session}/move"));
    post(url, Some(bearer), json!({"region": region})).await.json().await.expect("a session")
}

fn is_connected(event: &Event, to: &str) -> bool {
    matches!(event, Event::Connected { relay, .. } if relay == to)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_moved_there_and_back_costs_no_byte() {
    let world = World::new(2).await;
    let host = world.share(echo().await, Approve::All).await;
    let session = Invite::parse(&host.link).expect("a link").session;
    let guest = Guest::join(&host.link);
    let socket = guest.dial().await;
    let (there, back) = (OnceCell::new(), OnceCell::new());
    through(socket, 8 * 1024 * 1024, async |got| {
        if got > 2 * 1024 * 1024 {
            let moving = async || {
                let there = relocate(&world, &session, ADMIN_TOKEN, REGIONS[1].0).await;
                guest.events.count(1, |event| is_connected(event, &there.relay)).await;
                there
            };
            there.get_or_init(moving).await;
        }
        if got > 5 * 1024 * 1024 {
            back.get_or_init(async || relocate(&world, &session, ADMIN_TOKEN, REGIONS[0].0).await).await;
        }
    })
    .await;
    let (there, back) = (there.get().expect("moved"), back.get().expect("moved back"));
    assert_eq!([there.relay.as_str(), back.relay.as_str()], ["us-east1-0", "eu-west-1-0"]);
    assert_eq!([there.epoch, back.epoch], [2, 3]);
    for events in [&host.events, &guest.events] {
        events.count(1, |event| matches!(event, Event::Lost { why } if why == REASON_MOVED)).await;
        events.count(1, |event| matches!(event, Event::Back { .. })).await;
    }
    guest.events.count(2, |event| is_connected(event, &back.relay)).await;
    guest.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_relay_that_is_to_leave_goes_on_elsewhere_without_losing_a_byte() {
    let world = World::new(2).await;
    let host = world.share(echo().await, Approve::All).await;
    let session = Invite::parse(&host.link).expect("a link").session;
    let guest = Guest::join(&host.link);
    let socket = guest.dial().await;
    let left = OnceCell::new();
    through(socket, 8 * 1024 * 1024, async |got| {
        if got > 2 * 1024 * 1024 {
            let leave = async || {
                let mut table = world.lobby.table();
                table.pools[0].relays[0].leaving = true;
                world.lobby.change_table(&serde_json::to_string(&table).expect("JSON")).await;
                guest.events.count(1, |event| is_connected(event, "us-east1-0")).await;
            };
            left.get_or_init(leave).await;
        }
    })
    .await;
    for events in [&host.events, &guest.events] {
        events.count(1, |event| matches!(event, Event::Lost { why } if why == REASON_MOVED)).await;
        events.count(1, |event| matches!(event, Event::Back { .. })).await;
    }
    let url = world.lobby.url(&format!("/v1/sessions/{session}"));
    let view = reqwest::Client::new().get(url).bearer_auth(ADMIN_TOKEN).send().await.expect("an answer");
    let view: SessionView = view.json().await.expect("a session");
    assert_eq!((view.relay.as_str(), view.epoch), ("us-east1-0", 2));
    guest.stop().await;
    host.stop().await;
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(pass: &Connect) -> Socket {
    let mut request = pass.url.as_str().into_client_request().expect("a URL");
    request.headers_mut().insert("authorization", format!("Bearer {}", pass.token).parse().expect("a header"));
    tokio_tungstenite::connect_async(request).await.expect("let in").0
}

async fn next(socket: &mut Socket) -> Message {
    in_time("a message", socket.next()).await.expect("not over").expect("good")
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_clients_of_a_moved_session_succeed_on_retry() {
    let world = World::new(2).await;
    let body = json!({"place": {"region": REGIONS[0].0}});
    let created: SessionCreated =
        post(world.lobby.url("/v1/sessions"), None, body).await.json().await.expect("a session");
    let join_url = world.lobby.url(&format!("/v1/sessions/{}/join", created.session.id));
    let join = async |bearer: Option<&str>, body: Value| -> Joined {
        post(join_url.clone(), bearer, body).await.json().await.expect("a pass")
    };
    let by_key = json!({"joinKey": created.join_key});
    let mut host = connect(&created.connect).await;
    let mut guest = connect(&join(None, by_key.clone()).await.connect).await;
    guest.send(Message::text("here")).await.expect("sent");
    assert_eq!(next(&mut host).await, Message::text("here"));

    let moved = relocate(&world, &created.session.id, &created.host_token, REGIONS[1].0).await;
    assert_eq!(moved.relay, "us-east1-0");
    for socket in [&mut host, &mut guest] {
        let Message::Close(Some(frame)) = next(socket).await else { unreachable!("closed first") };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (CLOSE_RETRY, REASON_MOVED));
    }
    let mut passes = Vec::new();
    for (bearer, body) in [(Some(created.host_token.as_str()), json!({})), (None, by_key)] {
        let joined = join(bearer, body).await;
        assert_eq!((joined.session.relay.as_str(), joined.session.epoch), ("us-east1-0", 2));
        passes.push(joined.connect);
    }
    let (mut host, mut guest) = (connect(&passes[0]).await, connect(&passes[1]).await);
    guest.send(Message::text("there")).await.expect("sent");
    assert_eq!(next(&mut host).await, Message::text("there"));
}
