//! Looks at servers that answer what they should not, and orders that are obeyed or not.

use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::decide::drain::Occupancy as Drained;
use crate::process::http::{self as serving, Limits};
use crate::process::metrics::Catalogue;

fn custom(drain: Option<&str>) -> Custom {
    Custom {
        image: "other:1".to_owned(),
        port: 1,
        metrics_port: None,
        path: "/metrics".to_owned(),
        sessions: "rooms".to_owned(),
        interval: SignedDuration::from_secs(1),
        drain: drain.map(str::to_owned),
    }
}

fn shown(address: SocketAddr) -> Shown {
    Shown { address, container: None, seats: 10, note: Note::default() }
}

fn pool() -> PoolRef {
    PoolRef::new("p").within("n")
}

fn samples() -> (Samples, mpsc::UnboundedReceiver<PoolRef>) {
    let (wake, woken) = mpsc::unbounded_channel();
    let wake = move |pool: &PoolRef| drop(wake.send(pool.clone()));
    (Samples::new(Metrics::new(&mut Catalogue::new()), wake, CancellationToken::new()), woken)
}

/// Answers everybody with these bytes and closes the connection; with none, never answers.
async fn answers(bytes: Option<String>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, asked) = (listener.local_addr().expect("an address"), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let Some(bytes) = bytes.clone() else {
                held.push(stream);
                continue;
            };
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(bytes.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (address, asked)
}

async fn says(text: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    answers(Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()))).await
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[tokio::test]
async fn what_teaches_nothing_is_counted_by_its_reason_and_stays_unknown() {
    let (target, elsewhere) = says("rooms 1\n").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let large = "#".repeat(100).replace('#', &format!("# {}\n", "x".repeat(20_000)));
    let cases = [
        ("unreachable", answers(None).await.0),
        ("unreachable", closed),
        ("unreachable", answers(Some("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nrooms 1\n".to_owned())).await.0),
        ("status", answers(Some("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_owned())).await.0),
        ("status", {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: http://{target}/metrics\r\nContent-Length: 0\r\n\r\n");
            answers(Some(head)).await.0
        }),
        ("malformed", answers(Some("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nrooms 1\n".to_owned())).await.0),
        ("malformed", says("rooms one\n").await.0),
        ("too_large", says(&large).await.0),
        ("missing", says("rooms_total 1\n").await.0),
        ("duplicate", says("rooms 1\nrooms 1\n").await.0),
        ("not_a_gauge", says("# TYPE rooms counter\nrooms 1\n").await.0),
        ("dated", says("rooms 1 1700000000000\n").await.0),
        ("not_a_number", says("rooms NaN\n").await.0),
        ("negative", says("rooms -1\n").await.0),
        ("absurd", says("rooms 101\n").await.0),
        ("taken", says("rooms 100\n").await.0),
    ];
    let (samples, mut woken) = samples();
    let relays: BTreeMap<String, Shown> =
        cases.iter().enumerate().map(|(index, (_, address))| (index.to_string(), shown(*address))).collect();
    samples.follow(&pool(), &custom(None), &relays);
    for (outcome, _) in cases {
        let all = cases.iter().filter(|(other, _)| *other == outcome).count();
        let counted = || samples.shared.metrics.samples.with_label_values(&[outcome]).get();
        until(&format!("{outcome} is counted"), || usize::try_from(counted()).expect("few") >= all).await;
    }
    let heard = samples.follow(&pool(), &custom(None), &relays);
    for (index, (outcome, _)) in cases.iter().enumerate() {
        let known = matches!(heard[&index.to_string()].load(10, clock::now()), Occupancy::Known { sessions: 100, .. });
        assert_eq!(known, *outcome == "taken", "{index}: {outcome}");
    }
    assert_eq!(elsewhere.load(Ordering::SeqCst), 0);
    assert_eq!(woken.recv().await, Some(pool()));
    samples.forget(&pool());
    until("nobody is looked at any more", || Arc::strong_count(&samples.shared.count) == 1).await;
}

/// A relay that obeys, or does not.
async fn relay(obeys: &Arc<AtomicBool>) -> (SocketAddr, mpsc::UnboundedReceiver<Method>, DropGuard) {
    let (told, orders) = mpsc::unbounded_channel();
    let obeys = Arc::clone(obeys);
    let order = move |method: Method| {
        told.send(method).expect("somebody listens");
        let taken = obeys.load(Ordering::SeqCst);
        std::future::ready(if taken { StatusCode::ACCEPTED } else { StatusCode::SERVICE_UNAVAILABLE })
    };
    let router = Router::new().route("/metrics", get(|| async { "rooms 2\n" }));
    let router = router.route("/leave", post(order.clone()).delete(order));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, stop) = (listener.local_addr().expect("an address"), CancellationToken::new());
    tokio::spawn(serving::serve(listener, router, Limits::default(), stop.clone()));
    (address, orders, stop.drop_guard())
}

#[tokio::test]
async fn an_order_counts_once_it_is_obeyed() {
    let obeys = Arc::new(AtomicBool::new(false));
    let (address, mut orders, _server) = relay(&obeys).await;
    let (samples, _woken) = samples();
    let custom = custom(Some("/leave"));
    let drains =
        r#"{"number":1,"drain":{"cause":"Person","since":"1970-01-01T00:00:10.000000Z","clock":{"state":"ahead"}}}"#;
    let mut of = shown(address);
    of.note = Note::read(Some(drains));
    let look = |of: &Shown| {
        let heard = samples.follow(&pool(), &custom, &[("u".to_owned(), of.clone())].into());
        match heard["u"].occupancy(10, clock::now()) {
            Drained::Known(report) => Some((report.sessions, report.cordon)),
            Drained::Unknown { .. } => None,
        }
    };
    until("it is looked at", || look(&of) == Some((2, None))).await;
    assert!(!samples.order(&pool(), "other", Order::Cordon { number: 1 }), "it is none of these");
    assert!(samples.order(&pool(), "u", Order::Cordon { number: 1 }));
    assert_eq!(orders.recv().await, Some(Method::POST));
    let counted = |outcome| samples.shared.metrics.orders.with_label_values(&[outcome]).get();
    until("it is known not to obey", || counted("failed") == 1).await;
    obeys.store(true, Ordering::SeqCst);
    assert!(samples.order(&pool(), "u", Order::Cordon { number: 1 }));
    assert_eq!(orders.recv().await, Some(Method::POST));
    until("it is known to obey", || look(&of) == Some((2, Some(1)))).await;
    of.note.drain = None;
    assert!(samples.order(&pool(), "u", Order::Uncordon { number: 1 }));
    assert_eq!(orders.recv().await, Some(Method::DELETE));
    until("it takes sessions again", || look(&of) == Some((2, None))).await;
    // A container that was started anew has forgotten what it was told, and what was said of it is void.
    of.container = Some("another".to_owned());
    assert_eq!(look(&of), None);
    until("it is looked at anew", || look(&of) == Some((2, Some(1)))).await;
}

#[tokio::test]
async fn one_order_is_on_its_way_at_a_time() {
    let (address, asked) = answers(None).await;
    let (samples, _woken) = samples();
    samples.follow(&pool(), &custom(Some("/leave")), &[("u".to_owned(), shown(address))].into());
    assert!(samples.order(&pool(), "u", Order::Cordon { number: 1 }));
    assert!(samples.order(&pool(), "u", Order::Uncordon { number: 1 }), "it would overtake the other");
    assert_eq!(samples.shared.metrics.orders.with_label_values(&["dropped"]).get(), 1);
    until("it was asked", || asked.load(Ordering::SeqCst) > 0).await;
}
