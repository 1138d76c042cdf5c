//! Who is not let in, and what others can see.

use axum::extract::{Path, State};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use convene::client::{Approve, Ending, Event};
use convene::decide::invite::{Invite, KEY_BYTES, Secret};
use convene::wire::session::Connect;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::scene::{Guest, Host, World, in_time};
use crate::streams::echo;

fn link_with(link: &str, pin: Option<[u8; KEY_BYTES]>, secret: Option<[u8; KEY_BYTES]>) -> String {
    let invite = Invite::parse(link).expect("a link");
    let (bare, _) = link.split_once('#').expect("a fragment");
    let secret = secret.map_or(invite.secret, Secret::new);
    Invite::link(bare, &pin.unwrap_or(invite.pin), &secret)
}

async fn ask_for_pass(url: &str, session: &str, join_key: &str) -> reqwest::Response {
    let url = format!("{url}/v1/sessions/{session}/join");
    reqwest::Client::new().post(url).json(&json!({ "joinKey": join_key })).send().await.expect("an answer")
}

fn nobody_came(host: &Host) {
    let events = host.events.all();
    let came = events.iter().any(|event| matches!(event, Event::Asks { .. } | Event::GuestJoined { .. }));
    assert!(!came, "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_gets_no_further_than_the_lobby() {
    let world = World::new(1).await;
    let host = world.share(echo().await, Approve::All).await;
    let guest = Guest::join(&link_with(&host.link, None, Some([7; KEY_BYTES])));
    assert!(matches!(guest.ended().await, Ending::Refused(_)));
    nobody_came(&host);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_hosts_certificate_is_not_believed() {
    let world = World::new(1).await;
    let host = world.share(echo().await, Approve::All).await;
    let guest = Guest::join(&link_with(&host.link, Some([7; KEY_BYTES]), None));
    let Ending::Refused(why) = guest.ended().await else { unreachable!("refused") };
    assert!(why.contains("not the host that the link names"), "{why}");
    nobody_came(&host);
    host.stop().await;
}

/// A lobby that lets in whoever asks, with passes of the real one.
async fn malicious_lobby(world: &World, link: &str) -> String {
    let key = Invite::parse(link).expect("a link").secret.join_key();
    let real = world.lobby.url("");
    let join = async |State((real, key)): State<(String, String)>, Path(session): Path<String>| {
        axum::Json(ask_for_pass(&real, &session, &key).await.json::<Value>().await.expect("a pass"))
    };
    let router = axum::Router::new().route("/v1/sessions/{id}/join", post(join)).with_state((real, key));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_a_malicious_lobby_makes_gets_nothing() {
    let world = World::new(1).await;
    let host = world.share(echo().await, Approve::All).await;
    let evil = malicious_lobby(&world, &host.link).await;
    let wrong = link_with(&host.link, None, Some([7; KEY_BYTES])).replace(&world.lobby.url(""), &evil);
    assert!(wrong.starts_with(&evil), "the link leads to the malicious lobby");
    let Ending::Refused(why) = Guest::join(&wrong).ended().await else { unreachable!("refused") };
    assert!(why.contains("the link is not right"), "by the host, after the handshake: {why}");

    // One that skips the proof, and one that speaks no TLS at all, are not answered.
    let invite = Invite::parse(&host.link).expect("a link");
    let pass: Value = ask_for_pass(&evil, &invite.session, "whatever").await.json().await.expect("a pass");
    let pass: Connect = serde_json::from_value(pass["connect"].clone()).expect("a pass");
    let mut request = pass.url.as_str().into_client_request().expect("a URL");
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {}", pass.token).parse().expect("a header"));
    headers.insert("sec-websocket-protocol", "convene.v1".parse().expect("a header"));
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("the relay lets it in");
    let welcome = socket.next().await.expect("a welcome").expect("a welcome").into_text().expect("text");
    let welcome: Value = serde_json::from_str(&welcome).expect("JSON");
    let number = u32::try_from(welcome["members"][0]["member"].as_u64().expect("the host")).expect("a number");
    let mut message = number.to_be_bytes().to_vec();
    // An Open of stream 1 in the clear.
    message.extend_from_slice(&[2, 0, 0, 0, 4, 0, 0, 0, 1]);
    socket.send(Message::binary(message)).await.expect("sent");
    socket.send(Message::Ping("x".into())).await.expect("sent");
    let answer = in_time("the relay's answer", socket.next()).await.expect("something").expect("something");
    assert!(matches!(answer, Message::Pong(_)), "not the host's: {answer:?}");
    nobody_came(&host);
    // Who has the link still comes in.
    let guest = Guest::join(&host.link);
    guest.port().await;
    guest.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_decides_about_each_guest() {
    let world = World::new(1).await;
    let host = world.share(echo().await, Approve::Ask).await;
    let asks = |event: &Event| match event {
        Event::Asks { guest, code, .. } => Some((*guest, code.clone())),
        _ => None,
    };
    let refused = Guest::join(&host.link);
    let (number, code) = host.events.find(asks).await;
    refused.events.count(1, |event| *event == Event::Waiting { code: code.clone() }).await;
    host.answer(number, false).await;
    assert_eq!(refused.ended().await, Ending::Refused("the host did not let you in".to_owned()));

    let allowed = Guest::join(&host.link);
    let (second, _) = host.events.find(|event| asks(event).filter(|(guest, _)| *guest != number)).await;
    assert!(
        !allowed.events.all().iter().any(|event| matches!(event, Event::Listening { .. })),
        "not before the answer"
    );
    // An answer about somebody who does not ask changes nothing.
    host.answer(number, true).await;
    host.answer(second, true).await;
    allowed.port().await;
    allowed.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_sees_ciphertext_only() {
    const MARK: &[u8] = b"the quick brown fox jumps over the lazy dog";
    let world = World::new(1).await;
    let host = world.share(echo().await, Approve::All).await;
    let guest = Guest::join(&host.link);
    let mut socket = guest.dial().await;
    let sent = MARK.repeat(1000);
    socket.write_all(&sent).await.expect("sent");
    let mut got = vec![0; sent.len()];
    in_time("the echo", socket.read_exact(&mut got)).await.expect("received");
    assert!(got == sent);
    let invite = Invite::parse(&host.link).expect("a link");
    let fragment = host.link.rsplit('.').next().expect("the secret").to_owned();
    let secret = URL_SAFE_NO_PAD.decode(&fragment).expect("base64url");
    guest.stop().await;
    host.stop().await;

    // What relays send is not masked, so that what they know would be seen here.
    let seen = world.wires[0].seen();
    let has = |what: &[u8]| seen.windows(what.len()).any(|window| window == what);
    assert!(has(br#""type":"welcome""#), "the relay's own words are seen");
    assert!(seen.len() > 2 * sent.len(), "both ways: {} bytes", seen.len());
    assert!(!has(&MARK[..12]), "what was sent is not");
    assert!(!has(&secret) && !has(fragment.as_bytes()), "nor is the secret");
    assert!(!has(invite.secret.join_key().as_bytes()), "nor the join key");
    world.lobby.stop().await;
}
