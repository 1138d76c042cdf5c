//! What a store does that others write to, that loses what it was told, or that is away.

use std::time::Duration;

use convene::decide::sessions::{Known, LinkUp, OrderKind, Outrun, Refused};
use convene::lobby::store::{Away, Link, Store as _, Via};
use convene::wire::claims::RecordClaims;
use convene::wire::session::SessionState;
use convene::wire::stats::RelayStats;

use crate::server::Server;
use crate::values::{Connected, LIMITS, eventually, grant, home, link, linked, no_dial};

pub(crate) fn up(pod: &str, number: u64, capacity: u32, records: &[(&str, u64)]) -> LinkUp {
    let home = home(pod, "boot");
    let record = |(id, epoch): &(&str, u64)| RecordClaims {
        iss: "lobby".to_owned(),
        sid: (*id).to_owned(),
        epoch: *epoch,
        aud: home.audience(),
        host_token_hash: format!("{id} host"),
        join_key_hash: format!("{id} key"),
        approval: false,
        iat: 100,
    };
    let open = records.iter().map(|(id, _)| (*id).to_owned()).collect();
    LinkUp {
        link: number,
        dial: no_dial(),
        capacity,
        records: records.iter().map(record).collect(),
        open,
        home,
        keys: vec![],
    }
}

pub(crate) async fn granted(at: &Connected, id: &str, pod: &str) -> Result<(), Refused> {
    at.store.grant(grant(id, home(pod, "boot"), 9)).await.expect("the store is there").map(|_| ())
}

#[tokio::test]
async fn an_order_reaches_the_process_that_has_the_link_and_a_new_link_elsewhere_ends_the_old_one() {
    let server = Server::start().await;
    let one = Connected::to(server.url(), "x", LIMITS, None).await;
    let two = Connected::to(server.url(), "x", LIMITS, None).await;
    let (link_1, mut orders, cut) = link(1, "boot");
    linked(&one.store, up("a", 1, 3, &[]), link_1).await.expect("there");
    granted(&two, "s", "a").await.expect("room");
    let order = tokio::time::timeout(Duration::from_secs(20), orders.recv()).await.expect("in time").expect("an order");
    assert_eq!((order.session.as_str(), order.kind.as_str()), ("s", "hold"));
    // The relay dials the other process: what it holds is told there, and its old link counts no more.
    let (link_2, mut orders, _) = link(2, "boot");
    linked(&two.store, up("a", 2, 3, &[("s", 1)]), link_2).await.expect("there");
    one.store.load(Via { pod_uid: "a", link: 1 }, RelayStats::default().into()).await.expect("there");
    eventually("the old link is cut", async || cut.is_cancelled()).await;
    let Known::Live(session) = one.store.find("s").await.expect("there") else { unreachable!("it lives") };
    assert_eq!((session.state, session.epoch), (SessionState::Open, 1));
    one.store.close("s").await.expect("there");
    let order = tokio::time::timeout(Duration::from_secs(20), orders.recv()).await.expect("in time").expect("an order");
    assert_eq!((order.session.as_str(), order.kind), ("s", OrderKind::Close));
}

#[tokio::test]
async fn a_hello_that_a_later_dial_has_outrun_counts_nowhere() {
    let server = Server::start().await;
    let one = Connected::to(server.url(), "x", LIMITS, None).await;
    let two = Connected::to(server.url(), "x", LIMITS, None).await;
    let (earlier, later) = (one.store.dial().await.expect("there"), two.store.dial().await.expect("there"));
    assert!(earlier.number < later.number);
    let (link_2, mut orders, cut) = link(2, "boot");
    let link_2 = Link { dial: later.number, ..link_2 };
    let newer = LinkUp { dial: later.clone(), ..up("a", 2, 3, &[]) };
    assert_eq!(two.store.link_up(newer, link_2).await, Ok(Ok(())));
    for late_at in [&one, &two] {
        let (link_1, _, _) = link(1, "old boot");
        let late = LinkUp { dial: earlier.clone(), ..up("a", 1, 9, &[("s", 7)]) };
        let link_1 = Link { dial: earlier.number, ..link_1 };
        assert_eq!(late_at.store.link_up(late, link_1).await, Ok(Err(Outrun)));
        late_at.store.link_down(Via { pod_uid: "a", link: 1 }).await;
    }
    assert!(!cut.is_cancelled(), "the later link stays");
    assert_eq!(one.store.find("s").await, Ok(Known::Nothing), "and nothing was taken of the other");
    granted(&one, "t", "a").await.expect("room");
    let order = tokio::time::timeout(Duration::from_secs(20), orders.recv()).await.expect("in time").expect("an order");
    assert_eq!((order.session.as_str(), order.kind.as_str()), ("t", "hold"));

    // A number that another incarnation gave says nothing, however high it is.
    let (before, _, _) = (two.store.dial().await.expect("there"), two.store.dial().await, two.store.dial().await);
    server.command(&["FLUSHALL"]).await;
    assert_eq!(two.store.dial().await, Err(Away));
    eventually("the store is there again", async || !two.store.is_away()).await;
    let (link_3, _, _) = link(3, "boot");
    let stale = LinkUp { dial: before.clone(), ..up("a", 3, 3, &[]) };
    assert_eq!(two.store.link_up(stale, Link { dial: before.number, ..link_3 }).await, Ok(Err(Outrun)));
    two.store.link_down(Via { pod_uid: "a", link: 3 }).await;
    let (link_4, _, _) = link(4, "boot");
    linked(&two.store, up("a", 4, 3, &[("t", 1)]), link_4).await.expect("there");
}

#[tokio::test]
async fn many_at_once_never_overfill_and_views_correct_themselves() {
    let server = Server::start().await;
    let one = Connected::to(server.url(), "x", LIMITS, None).await;
    let two = Connected::to(server.url(), "x", LIMITS, None).await;
    let (link, _orders, _) = link(1, "boot");
    linked(&one.store, up("a", 1, 7, &[]), link).await.expect("there");
    let all = futures::future::join_all((0..200).map(|number| {
        let at = if number % 2 == 0 { &one } else { &two };
        async move { granted(at, &format!("s{number}"), "a").await }
    }));
    let outcomes = all.await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 7);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(Refused::NotThere))));
    for at in [&one, &two] {
        assert_eq!(at.store.view().runs["a"].held, 7, "the replies have told");
    }
}

#[tokio::test]
async fn an_emptied_store_grants_nothing_until_the_relay_has_returned_what_it_holds() {
    let server = Server::start().await;
    let one = Connected::to(server.url(), "x", LIMITS, None).await;
    let (first, _orders, cut) = link(1, "boot");
    linked(&one.store, up("a", 1, 2, &[]), first).await.expect("there");
    granted(&one, "s", "a").await.expect("room");
    granted(&one, "t", "a").await.expect("room");
    server.command(&["FLUSHALL"]).await;
    assert_eq!(one.store.grant(grant("u", home("a", "boot"), 9)).await, Err(Away));
    eventually("the relay is to tell anew", async || cut.is_cancelled()).await;
    eventually("the store is there again", async || !one.store.is_away()).await;
    assert_eq!(granted(&one, "u", "a").await, Err(Refused::NotThere), "the relay has not spoken yet");
    let (second, _orders, _) = link(2, "boot");
    linked(&one.store, up("a", 2, 2, &[("s", 1), ("t", 1)]), second).await.expect("there");
    assert_eq!(granted(&one, "u", "a").await, Err(Refused::NotThere), "it is full");
    assert!(matches!(one.store.find("t").await.expect("there"), Known::Live(_)));
}

#[tokio::test]
async fn a_replica_promoted_behind_its_primary_gives_no_seat_twice() {
    let (primary, replica) = (Server::start().await, Server::start().await);
    let port = primary.port.to_string();
    replica.command(&["REPLICAOF", "127.0.0.1", &port]).await;
    let info = async |server: &Server, word: &str| {
        format!("{:?}", server.command(&["INFO", "replication"]).await).contains(word)
    };
    eventually("the replica follows", async || info(&replica, "master_link_status:up").await).await;

    let one = Connected::to(primary.url(), "x", LIMITS, None).await;
    let (first, _orders, _) = link(1, "boot");
    linked(&one.store, up("a", 1, 2, &[]), first).await.expect("there");
    granted(&one, "seen", "a").await.expect("room");
    assert_ne!(primary.command(&["WAIT", "1", "10000"]).await, redis::Value::Int(0), "the replica has it");
    // From here on the replica hears nothing, and the primary is lost with what it has acknowledged.
    replica.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    granted(&one, "lost", "a").await.expect("room");
    one.store.opened(Via { pod_uid: "a", link: 1 }, "seen", 1).await.expect("there");
    drop(one);
    let old = primary.port;
    drop(primary);
    replica.command(&["REPLICAOF", "NO", "ONE"]).await;

    // A process that knew the primary and one that did not: neither believes the replica's links.
    let two = Connected::to(replica.url(), "x", LIMITS, None).await;
    assert_ne!(replica.port, old);
    assert_eq!(granted(&two, "new", "a").await, Err(Refused::NotThere));
    assert!(!two.store.view().runs.get("a").is_some_and(|run| run.told || run.linked));
    let (second, _orders, _) = link(2, "boot");
    linked(&two.store, up("a", 2, 2, &[("seen", 1), ("lost", 1)]), second).await.expect("there");
    assert_eq!(granted(&two, "new", "a").await, Err(Refused::NotThere), "both seats are taken");
    assert!(matches!(two.store.find("lost").await.expect("there"), Known::Live(_)));
}

#[tokio::test]
async fn a_store_that_has_fallen_behind_is_seen_even_over_the_same_connection() {
    let server = Server::start().await;
    let one = Connected::to(server.url(), "x", LIMITS, None).await;
    let (first, _orders, cut) = link(1, "boot");
    linked(&one.store, up("a", 1, 2, &[]), first).await.expect("there");
    // As if another server, with older data, had taken over behind the same address.
    server.command(&["HINCRBY", "{x}:inc", "seq", "-1"]).await;
    assert_eq!(one.store.grant(grant("s", home("a", "boot"), 9)).await, Err(Away));
    eventually("the relay is to tell anew", async || cut.is_cancelled()).await;
    eventually("the store is there again", async || !one.store.is_away()).await;
    assert_eq!(granted(&one, "s", "a").await, Err(Refused::NotThere));
}

#[tokio::test]
async fn without_redis_links_stay_and_sessions_here_are_found_until_it_is_back() {
    let server = Server::start().await;
    let port = server.port;
    let one = Connected::to(server.url(), "x", LIMITS, None).await;
    let (first, mut orders, cut) = link(1, "boot");
    linked(&one.store, up("a", 1, 3, &[("old", 4)]), first).await.expect("there");
    granted(&one, "new", "a").await.expect("room");
    orders.recv().await.expect("the order to hold it");
    drop(server);
    assert_eq!(one.store.grant(grant("more", home("a", "boot"), 9)).await, Err(Away));
    eventually("it is away", async || one.store.is_away()).await;
    for (id, epoch) in [("old", 4), ("new", 1)] {
        let Ok(Known::Live(session)) = one.store.find(id).await else { unreachable!("{id} is known here") };
        assert_eq!((session.epoch, session.secrets.join_key), (epoch, format!("{id} key")));
    }
    assert_eq!(one.store.find("elsewhere").await, Err(Away), "nobody is told that it is unknown");
    assert!(!cut.is_cancelled(), "the link stays");
    // It comes back empty.
    let _server = Server::start_at(port).await.expect("the port is still free");
    eventually("it is there again", async || !one.store.is_away()).await;
    eventually("the relay is to tell anew", async || cut.is_cancelled()).await;
    assert_eq!(granted(&one, "more", "a").await, Err(Refused::NotThere));
}
