//! Control ports of relays and lobbies that are no processes: they say what a case has them say, and a relay obeys orders
//! as [`convene::wire::orders`] has it. Each listens at a loopback address of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use axum::{Json, Router};
use convene::decide::plan::names::CONTROL_PORT;
use convene::wire::orders::{ORDERS_PATH, Order};
use convene::wire::stats::{DEMAND_EVENT, Demand, EVENTS_PATH, LOAD_EVENT, RelayReport, RelayStats};
use futures::stream::unfold;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often something is said again.
const AGAIN: Duration = Duration::from_millis(500);

/// A control port. Dropped, it is closed.
pub(crate) struct Said {
    pub(crate) address: IpAddr,
    says: watch::Sender<(&'static str, Value)>,
    orders: Arc<Mutex<Vec<Order>>>,
    silent: watch::Sender<bool>,
    _stop: DropGuard,
}

impl Said {
    /// A relay without sessions.
    pub(crate) async fn relay() -> Self {
        let report =
            RelayReport { stats: RelayStats { capacity: 100, ..RelayStats::default() }, cordon: None, highest: 0 };
        Self::start(LOAD_EVENT, serde_json::to_value(report).expect("JSON")).await
    }

    /// A lobby process of which nothing is asked.
    pub(crate) async fn lobby() -> Self {
        Self::start(DEMAND_EVENT, serde_json::to_value(Demand::default()).expect("JSON")).await
    }

    async fn start(event: &'static str, first: Value) -> Self {
        let (says, said) = watch::channel((event, first));
        let (orders, stop) = (Arc::default(), CancellationToken::new());
        let (address, listener) = listen().await;
        let (silent, is_silent) = watch::channel(false);
        let router = router(says.clone(), (said, is_silent), Arc::clone(&orders));
        let ended = stop.clone();
        tokio::spawn(async move {
            let _ = ended.run_until_cancelled(async { axum::serve(listener, router).await }).await;
        });
        Self { address, says, orders, silent, _stop: stop.drop_guard() }
    }

    /// Has a relay say that it holds so many.
    pub(crate) fn holds(&self, sessions: u32, leases: u32) {
        self.says.send_modify(|(_, report)| {
            report["sessions"] = sessions.into();
            report["leases"] = leases.into();
        });
    }

    /// Has a lobby process say what it is asked for.
    pub(crate) fn asks(&self, demand: &Demand) {
        self.says.send_replace((DEMAND_EVENT, serde_json::to_value(demand).expect("JSON")));
    }

    /// Says nothing, or says on.
    pub(crate) fn is_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// The orders that a relay was given, obeyed or not.
    pub(crate) fn orders(&self) -> Vec<Order> {
        self.orders.lock().expect("no case panics here").clone()
    }

    /// The cordon that a relay obeys.
    pub(crate) fn cordon(&self) -> Option<u32> {
        let (_, report) = &*self.says.borrow();
        serde_json::from_value::<RelayReport>(report.clone()).expect("a report").cordon
    }
}

/// An address of 127.64.0.0/10 at which nobody listens yet.
async fn listen() -> (IpAddr, TcpListener) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let port = u16::try_from(CONTROL_PORT).expect("a port");
    // Several test processes may run at a time.
    let first = std::process::id().wrapping_mul(64);
    for _ in 0..10_000 {
        let host = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) & 0x003f_ffff;
        let address = IpAddr::V4(Ipv4Addr::from(0x7f40_0000 | host));
        if let Ok(listener) = TcpListener::bind(SocketAddr::new(address, port)).await {
            return (address, listener);
        }
    }
    panic!("no loopback address is free");
}

fn router(
    says: watch::Sender<(&'static str, Value)>,
    (said, silent): (watch::Receiver<(&'static str, Value)>, watch::Receiver<bool>),
    orders: Arc<Mutex<Vec<Order>>>,
) -> Router {
    let events = move || {
        let stream = unfold((said.clone(), silent.clone(), true), |(mut said, mut silent, first)| async move {
            if !first {
                let _ = tokio::time::timeout(AGAIN, said.changed()).await;
            }
            silent.wait_for(|silent| !silent).await.ok()?;
            let (name, value) = said.borrow_and_update().clone();
            let event = Event::default().event(name).json_data(value).expect("JSON");
            Some((Ok::<_, Infallible>(event), (said, silent, false)))
        });
        std::future::ready(Sse::new(stream))
    };
    let obey = move |Json(order): Json<Order>| {
        orders.lock().expect("no case panics here").push(order);
        says.send_modify(|(_, report)| {
            let mut known: RelayReport = serde_json::from_value(report.clone()).expect("a report");
            obey(&mut known, order);
            *report = serde_json::to_value(known).expect("JSON");
        });
        std::future::ready(StatusCode::NO_CONTENT)
    };
    Router::new().route(EVENTS_PATH, get(events)).route(ORDERS_PATH, post(obey))
}

fn obey(report: &mut RelayReport, order: Order) {
    let (Order::Cordon { number } | Order::Uncordon { number }) = order;
    if number < report.highest {
        return;
    }
    report.highest = number;
    match order {
        Order::Cordon { .. } => report.cordon = Some(number),
        Order::Uncordon { .. } => report.cordon = report.cordon.filter(|obeyed| *obeyed != number),
    }
}

/// Control ports by the UIDs of their Pods.
pub(crate) type Processes = Mutex<HashMap<String, Arc<Said>>>;
