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
use convene::decide::plan::names::{self, CONTROL_AUTHORITIES, CONTROL_CERTIFICATE, CONTROL_KEY, CONTROL_PORT};
use convene::process::control::{Args, Control};
use convene::process::http::Limits;
use convene::process::metrics::Catalogue;
use convene::process::tls;
use convene::wire::orders::{ORDERS_PATH, Order};
use convene::wire::stats::{DEMAND_EVENT, Demand, EVENTS_PATH, LOAD_EVENT, RelayReport, RelayStats};
use futures::stream::unfold;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use serde_json::Value;
use tempfile::TempDir;
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
    _files: TempDir,
    _stop: DropGuard,
}

impl Said {
    /// A relay without sessions, of a pool whose control port has its certificate.
    pub(crate) async fn relay(client: &Client, namespace: &str, pool: &str) -> Self {
        let stats = RelayStats { capacity: 100, ..RelayStats::default() };
        let report = RelayReport { stats, ..RelayReport::default() };
        let files = mount(client, namespace, &names::pool_control(pool), &names::pool(pool)).await;
        Self::start(files, LOAD_EVENT, serde_json::to_value(report).expect("JSON")).await
    }

    /// A process of a lobby, of which nothing is asked.
    pub(crate) async fn lobby(client: &Client, namespace: &str, lobby: &str) -> Self {
        let files = mount(client, namespace, &names::lobby_control(lobby), &names::lobby(lobby)).await;
        Self::start(files, DEMAND_EVENT, serde_json::to_value(Demand::default()).expect("JSON")).await
    }

    async fn start(files: TempDir, event: &'static str, first: Value) -> Self {
        let (says, said) = watch::channel((event, first));
        let (orders, stop) = (Arc::default(), CancellationToken::new());
        let (address, listener) = listen(u16::try_from(CONTROL_PORT).expect("a port")).await;
        let (silent, is_silent) = watch::channel(false);
        let router = router(says.clone(), (said, is_silent), Arc::clone(&orders));
        let at = |name: &str| Some(files.path().join(name));
        let args = Args {
            listen: SocketAddr::new(address, 0),
            certificate: at("tls.crt"),
            key: at("tls.key"),
            authorities: at("ca.crt"),
        };
        let port = Control::open(&args, listener, tls::Metrics::new(&mut Catalogue::new())).await.expect("it opens");
        tokio::spawn(port.serve(router, Limits::default(), stop.clone()));
        Self { address, says, orders, silent, _files: files, _stop: stop.drop_guard() }
    }

    /// Has a relay say that it holds so many.
    pub(crate) fn holds(&self, sessions: u32, leases: u32) {
        self.says.send_modify(|(_, report)| {
            report["sessions"] = sessions.into();
            report["leases"] = leases.into();
        });
    }

    /// Has a relay say whether its lobby has ordered it to leave.
    pub(crate) fn is_asked(&self, asked: bool) {
        self.says.send_modify(|(_, report)| report["asked"] = asked.into());
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

/// The files that a kubelet would mount: from a Secret and a ConfigMap, which the operator has made before the Pods.
async fn mount(client: &Client, namespace: &str, secret: &str, config_map: &str) -> TempDir {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let key = secrets.get(secret).await.expect("a Secret").data.and_then(|mut data| data.remove(CONTROL_KEY));
    let configs = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let published = configs.get(config_map).await.expect("a ConfigMap").data.expect("it holds something");
    let files = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &[u8]| std::fs::write(files.path().join(name), text).expect("written");
    write("tls.key", &key.expect("a key").0);
    write("tls.crt", published[CONTROL_CERTIFICATE].as_bytes());
    write("ca.crt", published[CONTROL_AUTHORITIES].as_bytes());
    files
}

/// An address of 127.64.0.0/10 at which nobody listens yet, at this port.
pub(crate) async fn listen(port: u16) -> (IpAddr, TcpListener) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
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
    match order {
        Order::Cordon { number } if number >= report.highest => {
            (report.cordon, report.highest) = (Some(number), number);
        }
        Order::Uncordon { number } if report.cordon == Some(number) => report.cordon = None,
        // Nobody moves anything here.
        Order::Cordon { .. } | Order::Uncordon { .. } | Order::HandOver { .. } => {}
    }
}

/// Control ports by the UIDs of their Pods.
pub(crate) type Processes = Mutex<HashMap<String, Arc<Said>>>;
