//! The relay link and the event stream.

use std::time::Duration;

use convene::wire::link::{FromLobby, FromRelay, MAX_WHO, Presence};
use convene::wire::stats::{RelayReport, RelayStats};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Events, IDENTITY, Site, get_text, next, say, until};

#[tokio::test]
async fn a_new_link_returns_what_the_relay_holds_and_sessions_do_not_notice() {
    let mut site = Site::start().await;
    let holds = [site.hold("held", 60), site.hold("leased", 60)];
    for hold in &holds {
        site.lobby.order(hold);
    }
    let (mut a, mut b) = (site.join("held").await, site.join("held").await);
    let early = site.join("early").await;
    site.lobby.load(2, 1, 3).await;
    site.lobby.set_open(false);
    until("down", async || site.metric("convene_relay_link_up").await == 0).await;
    say(&mut a, "without a lobby").await;
    assert_eq!(next(&mut b).await, Message::text("without a lobby"));
    let mut c = site.join("held").await;
    let born = site.join("born").await;
    say(&mut c, "and joins").await;
    assert_eq!(next(&mut a).await, Message::text("and joins"));
    let refused = r#"convene_relay_link_dials_total{outcome="refused"}"#;
    until("dialled again", async || site.metric(refused).await >= 1).await;
    site.lobby.set_open(true);
    let hello = site.lobby.next(|message| matches!(message, FromRelay::Hello { .. })).await;
    let FromRelay::Hello { boot_id, capacity, records, open, .. } = hello else { unreachable!("a Hello") };
    assert_eq!((boot_id, capacity), (site.boot_id.clone(), 100));
    assert_eq!(open, ["born", "early", "held"]);
    let given = holds.map(|hold| if let FromLobby::Hold { record, .. } = hold { record } else { String::new() });
    assert_eq!(records, given);
    site.lobby.load(3, 1, 5).await;
    // The order that comes after its participants brings the record and is told of them again.
    site.lobby.order(&site.hold("early", 60));
    site.lobby.opened("early").await;
    drop((early, born));
}

#[tokio::test]
async fn each_dial_shows_the_identity_of_its_time() {
    let mut site = Site::start().await;
    assert_eq!(site.lobby.identity(), IDENTITY);
    let path = site.folder.path().join("token");
    std::fs::remove_file(&path).expect("removed");
    site.lobby.set_open(false);
    let unread = r#"convene_relay_link_dials_total{outcome="identity"}"#;
    until("tried", async || site.metric(unread).await >= 1).await;
    std::fs::write(&path, "rotated").expect("written");
    site.lobby.set_open(true);
    site.lobby.next(|message| matches!(message, FromRelay::Hello { .. })).await;
    assert_eq!(site.lobby.identity(), "rotated");
}

#[tokio::test]
async fn what_a_later_lobby_says_is_ignored() {
    let mut site = Site::start().await;
    for text in [r#"{"type":"dance","steps":3}"#, "{", "[]", r#"{"type":"hold"}"#, ""] {
        site.lobby.say(text.to_owned());
    }
    site.lobby.order(&site.hold("s", 60));
    site.lobby.load(0, 1, 0).await;
    let mut large = site.hold("large", 60);
    if let FromLobby::Hold { record, .. } = &mut large {
        *record = "x".repeat(5000);
    }
    site.lobby.order(&large);
    site.lobby.load(0, 2, 0).await;
    site.lobby.set_open(false);
    site.lobby.set_open(true);
    let hello = site.lobby.next(|message| matches!(message, FromRelay::Hello { .. })).await;
    assert!(matches!(hello, FromRelay::Hello { records, .. } if records.len() == 1), "too large to keep");
}

#[tokio::test]
async fn load_is_told_each_second_and_at_once_on_change() {
    let mut site = Site::start().await;
    let mut loads = 0;
    site.lobby.load(0, 0, 0).await;
    let counting = async {
        loop {
            site.lobby.next(|message| matches!(message, FromRelay::Load(_))).await;
            loads += 1;
        }
    };
    assert!(timeout(Duration::from_millis(2500), counting).await.is_err());
    assert!((2..=3).contains(&loads), "{loads} in 2.5 s");
    let clients = futures::future::join_all((0..20).map(|_| site.join("s"))).await;
    timeout(Duration::from_millis(300), site.lobby.load(1, 0, 20)).await.expect("at once");
    drop(clients);
}

/// Waits until a session's participants are told so: present, come in all, sent away. Who is present is named.
async fn told(site: &mut Site, session: &str, epoch: u64, (present, joined, sent): (u32, u32, u32)) {
    let is_wanted = |one: &Presence| {
        let named = one.who.as_ref().is_some_and(|who| u32::try_from(who.len()) == Ok(present));
        let counts = (one.session.as_str(), one.epoch, one.present, one.joined, one.sent);
        named && counts == (session, epoch, present, joined, sent)
    };
    let tells =
        |message: &FromRelay| matches!(message, FromRelay::Participants { sessions } if sessions.iter().any(is_wanted));
    site.lobby.next(tells).await;
}

#[tokio::test]
async fn participants_are_named_unless_they_are_too_many() {
    let mut site = Site::start().await;
    let mut all = Vec::new();
    for _ in 0..MAX_WHO {
        all.push(site.join("s").await);
    }
    let of = |present: usize| u32::try_from(present).expect("few");
    told(&mut site, "s", 1, (of(MAX_WHO), of(MAX_WHO), 0)).await;
    all.push(site.join("s").await);
    let unnamed = |one: &Presence| one.present == of(MAX_WHO + 1) && one.who.is_none();
    let tells =
        |message: &FromRelay| matches!(message, FromRelay::Participants { sessions } if sessions.iter().any(unnamed));
    site.lobby.next(tells).await;
}

#[tokio::test]
async fn the_lobby_is_told_who_came_who_left_and_who_was_sent_away() {
    let mut site = Site::with(|config| config.drain = Duration::ZERO).await;
    let (mut left, a, b) = (site.join("s").await, site.join("s").await, site.join("t").await);
    let c = site.join("closed").await;
    told(&mut site, "s", 1, (2, 2, 0)).await;
    left.close(None).await.expect("closed");
    told(&mut site, "s", 1, (1, 2, 0)).await;
    site.lobby.order(&FromLobby::Move { session: "s".to_owned(), epoch: 1 });
    told(&mut site, "s", 1, (0, 2, 1)).await;
    site.lobby.order(&FromLobby::Close { session: "closed".to_owned(), epoch: 1 });
    told(&mut site, "closed", 1, (0, 1, 0)).await;
    // A new link hears all that there is.
    site.lobby.set_open(false);
    site.lobby.set_open(true);
    site.lobby.next(|message| matches!(message, FromRelay::Hello { .. })).await;
    told(&mut site, "t", 1, (1, 1, 0)).await;
    // The last word of a relay whose time is over.
    site.shutdown.cancel();
    told(&mut site, "t", 1, (0, 1, 1)).await;
    drop((a, b, c));
}

#[tokio::test]
async fn the_event_stream_tells_the_load_first_and_on_change() {
    let site = Site::start().await;
    let mut events = Events::open(&site).await;
    let free = RelayStats { capacity: 100, ..RelayStats::default() };
    assert_eq!(events.next().await, RelayReport { stats: free, ..RelayReport::default() });
    let client = site.join("s").await;
    let joined = RelayStats { capacity: 100, sessions: 1, participants: 1, ..RelayStats::default() };
    timeout(Duration::from_millis(500), events.stats(&joined)).await.expect("at once");
    site.lobby.order(&site.hold("t", 60));
    events.stats(&RelayStats { leases: 1, ..joined.clone() }).await;
    assert_eq!(site.metric("convene_relay_event_streams").await, 1);
    let mut more = Vec::new();
    for _ in 1..16 {
        more.push(Events::open(&site).await);
    }
    assert!(get_text(site.control, "/v1/events").await.starts_with("HTTP/1.1 503 "), "their number is bounded");
    drop(more);
    site.shutdown.cancel();
    events.stats(&RelayStats { leases: 1, draining: true, ..joined }).await;
    site.lobby.order(&FromLobby::Close { session: "t".to_owned(), epoch: 1 });
    site.lobby.order(&FromLobby::Close { session: "s".to_owned(), epoch: 1 });
    site.stop().await;
    drop(client);
}
