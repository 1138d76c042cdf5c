//! Addressed mode: one member to one other, and what the relay tells of the members.

use std::time::Duration;

use convene::decide::room::QueueLimits;
use convene::wire::claims::Role;
use convene::wire::link::FromLobby;
use convene::wire::relay::{ADDRESSED_PROTOCOL, Member, Notice};
use futures::SinkExt;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Site, closed, next, notice, say, until};

const OFFER: [(&str, &str); 1] = [("sec-websocket-protocol", ADDRESSED_PROTOCOL)];

fn to(member: u32, payload: &[u8]) -> Message {
    Message::binary([&member.to_be_bytes(), payload].concat())
}

async fn tell(client: &mut Client, member: u32, payload: &[u8]) {
    client.send(to(member, payload)).await.expect("sent");
}

#[tokio::test]
async fn a_message_reaches_the_one_it_is_for_with_its_senders_number() {
    let site = Site::start().await;
    let (mut a, a_id) = site.join_addressed("s").await;
    let (mut b, b_id) = site.join_addressed("s").await;
    let (mut c, c_id) = site.join_addressed("s").await;
    for (client, coming) in [(&mut a, vec![b_id, c_id]), (&mut b, vec![c_id])] {
        for id in coming {
            assert!(matches!(notice(client).await, Notice::Joined(Member { member, .. }) if member == id));
        }
    }
    for n in 0..50_u8 {
        tell(&mut a, b_id, &[n; 300]).await;
        tell(&mut c, b_id, &[n]).await;
        tell(&mut b, c_id, &[]).await;
    }
    let (mut from_a, mut from_c) = (0, 0);
    for _ in 0..100 {
        let message = next(&mut b).await;
        if message == to(a_id, &[from_a; 300]) {
            from_a += 1;
        } else {
            assert_eq!(message, to(c_id, &[from_c]));
            from_c += 1;
        }
    }
    assert_eq!((from_a, from_c), (50, 50), "in order of each sender");
    for _ in 0..50 {
        assert_eq!(next(&mut c).await, to(b_id, &[]));
    }
    tell(&mut c, a_id, b"end").await;
    assert_eq!(next(&mut a).await, to(c_id, b"end"), "and nothing of what was for others");
}

#[tokio::test]
async fn members_learn_who_is_there_who_comes_and_who_leaves() {
    let site = Site::with(|config| config.max_message_bytes = 5000).await;
    let mut claims = site.claims("s");
    (claims.sub, claims.role) = ("the-host".to_owned(), Role::Host);
    let mut host = site.connect_with("s", &site.key.sign_join(&claims), &OFFER).await.expect("let in");
    let queue_bytes = 4 * 1024 * 1024;
    let welcome = |you, members| Notice::Welcome { you, members, queue_bytes, max_message_bytes: 5000 };
    assert_eq!(notice(&mut host).await, welcome(0, vec![]));
    claims = site.claims("s");
    claims.sub = "a-guest".to_owned();
    let mut guest = site.connect_with("s", &site.key.sign_join(&claims), &OFFER).await.expect("let in");
    let there = vec![Member { member: 0, participant: "the-host".to_owned(), role: Role::Host }];
    assert_eq!(notice(&mut guest).await, welcome(1, there));
    let coming = Member { member: 1, participant: "a-guest".to_owned(), role: Role::Guest };
    assert_eq!(notice(&mut host).await, Notice::Joined(coming));
    drop(guest);
    assert_eq!(notice(&mut host).await, Notice::Left { member: 1 });
    let (mut again, number) = site.join_addressed("s").await;
    assert_eq!(number, 2, "no number is used twice");
    assert!(matches!(notice(&mut host).await, Notice::Joined(_)));
    tell(&mut again, 1, b"anybody?").await;
    assert_eq!(notice(&mut again).await, Notice::Left { member: 1 });
    tell(&mut again, u32::MAX, b"anybody?").await;
    assert_eq!(notice(&mut again).await, Notice::Left { member: u32::MAX });
    tell(&mut again, 0, b"hello").await;
    assert_eq!(next(&mut host).await, to(2, b"hello"));
}

#[tokio::test]
async fn a_session_keeps_the_mode_of_its_first_member() {
    let mut site = Site::start().await;
    let (addressed, _) = site.join_addressed("a").await;
    let broadcast = site.join("b").await;
    let (token_a, token_b) = (site.token("a"), site.token("b"));
    assert_eq!(site.connect("a", &token_a).await.map(drop), Err(409));
    assert_eq!(site.connect_with("b", &token_b, &OFFER).await.map(drop), Err(409));
    site.lobby.load(2, 0, 2).await;
    assert_eq!(site.connect_with("a", &token_a, &OFFER).await.map(drop), Ok(()), "the token was not used up");
    assert_eq!(site.connect("b", &token_b).await.map(drop), Ok(()));
    assert_eq!(site.metric(r#"convene_relay_refused_total{reason="other_mode"}"#).await, 2);
    let lines = [format!("Authorization: Bearer {}", site.token("a"))];
    assert!(site.answer("/s/a", &lines).await.contains(r#""code":"other_mode""#));
    drop((addressed, broadcast));
}

#[tokio::test]
async fn what_has_no_address_ends_its_sender() {
    let site = Site::start().await;
    for message in [Message::text("hello"), Message::binary(vec![0, 0, 1])] {
        let (mut a, _) = site.join_addressed("s").await;
        a.send(message).await.expect("sent");
        assert_eq!(closed(&mut a).await, (1003, "not an addressed message".to_owned()));
    }
    assert_eq!(site.metric(r#"convene_relay_closed_total{reason="not_addressed"}"#).await, 2);
}

#[tokio::test]
async fn a_full_queue_holds_its_senders_back_and_nobody_else() {
    let site = Site::with(|config| {
        config.queue = QueueLimits { frames: 64, bytes: 256 * 1024 };
        config.slow_after = Duration::from_mins(1);
    })
    .await;
    let (mut slow, slow_id) = site.join_addressed("s").await;
    let (mut other, other_id) = site.join_addressed("s").await;
    let (mut sender, sender_id) = site.join_addressed("s").await;
    let (mut third, third_id) = site.join_addressed("s").await;
    // Far more than the queue and all sockets' buffers hold.
    let (count, long) = (400_u32, 64 * 1024);
    let sending = tokio::spawn(async move {
        for n in 0..count {
            tell(&mut sender, slow_id, &[&n.to_be_bytes()[..], &vec![0; long]].concat()).await;
        }
        sender
    });
    let held_back = async || site.metric("convene_relay_held_back_total").await >= 1;
    until("the sender is held back", held_back).await;
    assert!(!sending.is_finished());
    for n in 0..100_u8 {
        tell(&mut third, other_id, &[n]).await;
        loop {
            let message = next(&mut other).await;
            if message.is_binary() {
                assert_eq!(message, to(third_id, &[n]), "nobody else waits");
                break;
            }
        }
    }
    let mut heard = 0;
    while heard < count {
        let message = next(&mut slow).await;
        if let Message::Binary(data) = message {
            assert_eq!(data[..8], [sender_id.to_be_bytes(), heard.to_be_bytes()].concat());
            heard += 1;
        }
    }
    drop(sending.await.expect("no panic"));
    assert_eq!(site.metric(r#"convene_relay_closed_total{reason="slow_reader"}"#).await, 0);
}

#[tokio::test]
async fn who_takes_nothing_for_long_is_closed_and_its_sender_goes_on() {
    let site = Site::with(|config| {
        config.queue = QueueLimits { frames: 64, bytes: 256 * 1024 };
        config.slow_after = Duration::from_millis(200);
    })
    .await;
    let (stuck, stuck_id) = site.join_addressed("s").await;
    let (mut good, good_id) = site.join_addressed("s").await;
    let (mut sender, sender_id) = site.join_addressed("s").await;
    for _ in 0..400 {
        tell(&mut sender, stuck_id, &vec![0; 64 * 1024]).await;
    }
    tell(&mut sender, good_id, b"go on").await;
    while next(&mut good).await != to(sender_id, b"go on") {}
    assert_eq!(site.metric(r#"convene_relay_closed_total{reason="slow_reader"}"#).await, 1);
    assert_eq!(notice(&mut sender).await, Notice::Left { member: stuck_id });
    drop(stuck);
}

#[tokio::test]
async fn a_moved_session_gets_what_was_said_and_then_the_way_out() {
    let mut site = Site::start().await;
    let (mut a, _) = site.join_addressed("s").await;
    let (mut b, b_id) = site.join_addressed("s").await;
    let (mut c, mut d) = (site.join("t").await, site.join("t").await);
    site.lobby.load(2, 0, 4).await;
    for n in 0..200_u8 {
        tell(&mut a, b_id, &[n]).await;
        say(&mut c, &n.to_string()).await;
    }
    let taken = async || site.metric(r#"convene_relay_messages_total{direction="in"}"#).await == 400;
    until("all is taken", taken).await;
    for session in ["s", "t"] {
        site.lobby.order(&FromLobby::Move { session: session.to_owned(), epoch: 1 });
        site.lobby.ended(session).await;
    }
    for n in 0..200_u8 {
        assert_eq!(next(&mut b).await, to(0, &[n]));
        assert_eq!(next(&mut d).await, Message::text(n.to_string()));
    }
    let moved = (1012, "moved".to_owned());
    assert!(matches!(notice(&mut a).await, Notice::Joined(_)));
    for client in [&mut a, &mut b, &mut c, &mut d] {
        assert_eq!(closed(client).await, moved);
    }
    site.lobby.load(0, 0, 0).await;
    assert_eq!(site.connect("s", &site.token("s")).await.map(drop), Err(401), "it may not come back under this epoch");
    assert_eq!(site.metric(r#"convene_relay_closed_total{reason="moved"}"#).await, 4);
}
