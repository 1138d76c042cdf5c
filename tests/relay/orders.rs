//! The operator's orders on the control port, and the lobby's to leave on the relay link.

use convene::wire::link::{FromLobby, FromRelay};
use convene::wire::orders::{MAX_ORDER_BYTES, ORDERS_PATH, Order};
use convene::wire::session::Problem;
use convene::wire::stats::RelayReport;

use crate::support::{Events, Site, get_text, post_text, until};

async fn order(site: &Site, order: Order) {
    let body = serde_json::to_string(&order).expect("JSON");
    let answer = post_text(site.control, ORDERS_PATH, &body).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{order:?}: {answer}");
}

/// What a report says of orders: cordon, highest, and whether sessions are to move.
fn said(report: &RelayReport) -> (Option<u32>, u32, bool) {
    assert_eq!(report.stats.cordoned, report.cordon.is_some());
    (report.cordon, report.highest, report.stats.draining)
}

async fn is_told(site: &mut Site, cordoned: bool, draining: bool) {
    let wanted = |message: &FromRelay| matches!(message, FromRelay::Load(load) if (load.stats.cordoned, load.stats.draining) == (cordoned, draining));
    site.lobby.next(wanted).await;
}

/// Waits until a report says this of both who may have it leave: the operator, as [`said`], and the lobby.
async fn both(events: &mut Events, operator: (Option<u32>, u32, bool), lobby: bool) -> RelayReport {
    events.until(|report| (said(report), report.asked) == (operator, lobby)).await
}

/// A new session is neither let in nor held.
async fn takes_no_new(site: &mut Site) {
    let refused = site.answer("/s/new", &[format!("Authorization: Bearer {}", site.token("new"))]).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    site.lobby.order(&site.hold("new", 60));
    site.lobby.ended("new").await;
}

#[tokio::test]
async fn orders_are_obeyed_by_their_numbers_and_reported_to_operator_and_lobby() {
    let mut site = Site::start().await;
    let mut events = Events::open(&site).await;
    assert_eq!(said(&events.next().await), (None, 0, false));
    site.lobby.order(&site.hold("leased", 60));
    site.lobby.load(0, 1, 0).await;
    let open = site.join("open").await;

    order(&site, Order::Cordon { number: 2 }).await;
    events.until(|report| said(report) == (Some(2), 2, false)).await;
    is_told(&mut site, true, false).await;
    takes_no_new(&mut site).await;
    let leased = site.join("leased").await;
    let also = site.join("open").await;

    // Late ones are taken, and change nothing.
    order(&site, Order::Cordon { number: 1 }).await;
    order(&site, Order::Uncordon { number: 1 }).await;
    order(&site, Order::HandOver { number: 1 }).await;
    let outdated = site.metric(r#"convene_relay_orders_total{outcome="outdated"}"#).await;
    assert_eq!(outdated, 3);
    assert_eq!(said(&events.next().await), (Some(2), 2, false));

    order(&site, Order::HandOver { number: 2 }).await;
    events.until(|report| said(report) == (Some(2), 2, true)).await;
    is_told(&mut site, true, true).await;
    site.wait_ready(true).await;

    order(&site, Order::Uncordon { number: 2 }).await;
    let report = events.until(|report| said(report) == (None, 2, false)).await;
    assert_eq!((report.stats.sessions, report.stats.participants), (2, 3), "nobody had to go");
    is_told(&mut site, false, false).await;
    let new = site.join("new").await;
    assert_eq!(site.metric(r#"convene_relay_orders_total{outcome="obeyed"}"#).await, 3);
    drop((open, leased, also, new));
}

#[tokio::test]
async fn the_lobbys_order_to_leave_is_obeyed_beside_the_operators_and_told_to_both() {
    let mut site = Site::start().await;
    let mut events = Events::open(&site).await;
    site.lobby.order(&site.hold("leased", 60));
    site.lobby.load(0, 1, 0).await;
    let open = site.join("open").await;

    site.lobby.order(&FromLobby::Leave);
    both(&mut events, (None, 0, true), true).await;
    is_told(&mut site, false, true).await;
    takes_no_new(&mut site).await;
    let leased = site.join("leased").await;
    site.wait_ready(true).await;

    // Neither takes back what the other has said.
    order(&site, Order::Cordon { number: 1 }).await;
    both(&mut events, (Some(1), 1, true), true).await;
    site.lobby.order(&FromLobby::Stay);
    both(&mut events, (Some(1), 1, false), false).await;
    takes_no_new(&mut site).await;
    site.lobby.order(&FromLobby::Leave);
    order(&site, Order::Uncordon { number: 1 }).await;
    both(&mut events, (None, 1, true), true).await;
    takes_no_new(&mut site).await;

    // It outlives the link, but not the process.
    site.lobby.set_open(false);
    until("down", async || site.metric("convene_relay_link_up").await == 0).await;
    site.lobby.set_open(true);
    site.lobby.next(|message| matches!(message, FromRelay::Hello { .. })).await;
    is_told(&mut site, false, true).await;

    site.lobby.order(&FromLobby::Stay);
    let report = both(&mut events, (None, 1, false), false).await;
    assert_eq!((report.stats.sessions, report.stats.participants), (2, 2), "nobody had to go");
    is_told(&mut site, false, false).await;
    let new = site.join("new").await;
    drop((open, leased, new));
}

#[tokio::test]
async fn what_is_no_order_is_refused_and_changes_nothing() {
    let site = Site::start().await;
    let long = format!(r#"{{"type":"cordon","number":1{}}}"#, " ".repeat(MAX_ORDER_BYTES));
    let wrong = [
        "",
        "{",
        "[]",
        "null",
        r#"{"type":"cordon"}"#,
        r#"{"type":"cordon","number":-1}"#,
        r#"{"type":"cordon","number":4294967296}"#,
        r#"{"type":"cordon","number":"1"}"#,
        r#"{"type":"dance","number":1}"#,
        r#"{"number":1}"#,
        &long,
    ];
    for body in wrong {
        let answer = post_text(site.control, ORDERS_PATH, body).await;
        let (head, problem) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(head.starts_with("HTTP/1.1 400 ") && head.contains("application/problem+json"), "{body}: {head}");
        let problem: Problem = serde_json::from_str(problem).expect("a problem");
        assert_eq!((problem.status, problem.code.as_str()), (400, "invalid_order"), "{body}");
    }
    let count = u64::try_from(wrong.len()).expect("few");
    assert_eq!(site.metric(r#"convene_relay_orders_total{outcome="invalid"}"#).await, count);
    assert!(get_text(site.control, ORDERS_PATH).await.starts_with("HTTP/1.1 405 "));
    assert!(post_text(site.control, "/v1/events", "").await.starts_with("HTTP/1.1 405 "));
    assert!(get_text(site.control, "/v1/order").await.starts_with("HTTP/1.1 404 "));
    let strangers = post_text(site.public, ORDERS_PATH, r#"{"type":"cordon","number":1}"#).await;
    assert!(strangers.starts_with("HTTP/1.1 404 "), "nobody orders on the port for clients: {strangers}");
    assert_eq!(said(&Events::open(&site).await.next().await), (None, 0, false));
    // Fields of later versions are passed over.
    let answer = post_text(site.control, ORDERS_PATH, r#"{"type":"cordon","number":1,"because":"x"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}
