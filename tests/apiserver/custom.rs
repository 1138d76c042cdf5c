//! Relays of another image: followed by their metrics, told to drain at a path of theirs. Their processes are stood in for by
//! servers that say what the case has them say.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use convene::api::RelayPool;
use convene::api::relay_pool::{RelayPhase, RelayStatus};
use convene::process::http::{self, Limits};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::processes::listen;
use crate::support::{eventually, within};
use crate::world::{World, pool_says};

/// Port of their metrics.
const METRICS: u16 = 9464;

/// A relay of another image. Dropped, it is gone.
struct Other {
    address: IpAddr,
    says: Arc<Mutex<String>>,
    looks: Arc<AtomicUsize>,
    orders: Arc<Mutex<Vec<Method>>>,
    obeys: Arc<AtomicBool>,
    stop: Option<DropGuard>,
}

impl Other {
    async fn start() -> Self {
        let (address, listener) = listen(METRICS).await;
        let mut other = Self {
            address,
            says: Arc::default(),
            looks: Arc::default(),
            orders: Arc::default(),
            obeys: Arc::new(AtomicBool::new(true)),
            stop: None,
        };
        other.holds("0");
        other.serve(listener);
        other
    }

    fn serve(&mut self, listener: TcpListener) {
        let (says, orders, obeys) = (Arc::clone(&self.says), Arc::clone(&self.orders), Arc::clone(&self.obeys));
        let looks = Arc::clone(&self.looks);
        let metrics = move || {
            looks.fetch_add(1, Ordering::SeqCst);
            std::future::ready(says.lock().expect("no case panics here").clone())
        };
        let order = move |method: Method| {
            orders.lock().expect("no case panics here").push(method);
            let taken = obeys.load(Ordering::SeqCst);
            std::future::ready(if taken { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE })
        };
        let router = Router::new().route("/metrics", get(metrics)).route("/drain", post(order.clone()).delete(order));
        let stop = CancellationToken::new();
        tokio::spawn(http::serve(listener, router, Limits::default(), stop.clone()));
        self.stop = Some(stop.drop_guard());
    }

    /// Says so many rooms.
    fn holds(&self, rooms: &str) {
        *self.says.lock().expect("no case panics here") = format!("# TYPE rooms gauge\nrooms {rooms}\n");
    }

    fn stop(&mut self) {
        self.stop = None;
    }

    async fn start_again(&mut self) {
        let address = SocketAddr::new(self.address, METRICS);
        let listener = eventually("the port is free again", async || {
            TcpListener::bind(address).await.map_err(|error| error.to_string())
        });
        let listener = listener.await;
        self.serve(listener);
    }

    /// Waits until it was looked at so many times more, all of them but the last to the end.
    async fn is_looked_at(&self, times: usize) {
        let before = self.looks.load(Ordering::SeqCst);
        eventually("it is looked at", async || {
            let looks = self.looks.load(Ordering::SeqCst) - before;
            if looks >= times { Ok(()) } else { Err(format!("{looks} times")) }
        })
        .await;
    }

    fn orders(&self) -> Vec<Method> {
        self.orders.lock().expect("no case panics here").clone()
    }
}

fn pool(more: &Value) -> Value {
    let metrics = json!({"port": METRICS, "sessions": "rooms", "intervalSeconds": 1});
    let mut server = json!({"image": "other:1", "port": 1234, "metrics": metrics});
    let mut spec = json!({"region": "eu-west-1", "sessionsPerRelay": 10});
    for (key, value) in more.as_object().expect("an object") {
        let of = if key == "path" { &mut server["drain"] } else { &mut spec };
        of[key] = value.clone();
    }
    spec["server"] = json!({"custom": server});
    json!({"apiVersion": "convene.dev/v1alpha1", "kind": "RelayPool", "metadata": {"name": "a"}, "spec": spec})
}

/// Waits for a relay's Pod and marks it ready, with a process.
async fn ready(world: &World, namespace: &str, name: &str) -> Other {
    let pods: Api<Pod> = world.api(namespace);
    eventually(&format!("Pod {name} is there"), async || {
        pods.get_opt(name).await.expect("reads").map(|_| ()).ok_or_else(|| "no Pod".to_owned())
    })
    .await;
    let other = Other::start().await;
    world.serves(namespace, name, other.address).await;
    other
}

async fn names(world: &World, namespace: &str) -> Vec<String> {
    let relays = ListParams::default().labels("convene.dev/relay");
    let pods = world.api::<Pod>(namespace).list(&relays).await.expect("lists");
    pods.iter().map(kube::ResourceExt::name_any).collect()
}

async fn left(world: &World, namespace: &str, expected: &[&str]) {
    within(30, &format!("just {expected:?} are there"), async || {
        let there = names(world, namespace).await;
        let told = async || world.pools(namespace).get("a").await.expect("reads").status;
        if there == expected { Ok(()) } else { Err(format!("{there:?}, {:?}", told().await)) }
    })
    .await;
}

/// Waits until a relay is so in status.
async fn shows(world: &World, namespace: &str, name: &str, what: &str, is_so: impl Fn(&RelayStatus) -> bool) {
    within(30, &format!("{name}: {what}"), async || {
        let pool = world.pools(namespace).get("a").await.expect("reads");
        let relays = pool.status.map(|status| status.relays).unwrap_or_default();
        let relay = relays.into_iter().find(|relay| relay.name == name).ok_or("it is not in status")?;
        if is_so(&relay) { Ok(()) } else { Err(format!("{relay:?}")) }
    })
    .await;
}

async fn desires(world: &World, namespace: &str, relays: i32) -> RelayPool {
    eventually(&format!("{relays} relays are wanted"), async || {
        let pool = world.pools(namespace).get("a").await.expect("reads");
        let status = pool.status.as_ref().ok_or("no status")?;
        if status.desired_replicas == relays { Ok(pool.clone()) } else { Err(format!("{status:?}")) }
    })
    .await
}

/// Grows and shrinks by what the metrics say, and by nothing else.
pub(crate) async fn a_pool_of_another_image_follows_its_metrics(world: &World) {
    let namespace = world.namespace("other-follows");
    let scaling = json!({
        "maxReplicas": 3, "buffer": {"seats": 0},
        "up": {"stepReplicas": 4}, "down": {"windowSeconds": 0, "periodSeconds": 1, "stepReplicas": 4},
    });
    world.kubectl.create(&namespace, &pool(&json!({"scaling": scaling, "path": "/drain"})));
    let full = ready(world, &namespace, "a-0").await;
    let pools = world.pools(&namespace);
    pool_says(&pools, "a", "Ready", "True/AsPlanned").await;
    let ours = world.api::<Secret>(&namespace).get_opt("a-relays-control").await.expect("reads").is_some()
        || world.api::<ConfigMap>(&namespace).get_opt("a-relays").await.expect("reads").is_some();
    assert!(!ours, "it has no use for what our own relays need");
    full.holds("11");
    let mut other = ready(world, &namespace, "a-1").await;
    shows(world, &namespace, "a-1", "is known to be empty", |relay| relay.sessions == Some(0)).await;

    // Whatever is not known keeps what there is.
    other.stop();
    shows(world, &namespace, "a-1", "is not known", |relay| relay.sessions.is_none()).await;
    full.holds("1");
    pool_says(&pools, "a", "ScalingLimited", "True/OccupancyUnknown").await;
    for nonsense in ["NaN", "-1", "1e9"] {
        other.holds(nonsense);
        other.start_again().await;
        other.is_looked_at(2).await;
        pool_says(&pools, "a", "ScalingLimited", "True/OccupancyUnknown").await;
        other.stop();
    }
    assert_eq!(desires(world, &namespace, 2).await.status.expect("a status").replicas, 2);
    assert_eq!((other.orders(), full.orders()), (vec![], vec![]), "nobody was told to leave");

    // The emptiest leaves, once it obeys, and no sooner than it is empty.
    full.holds("5");
    shows(world, &namespace, "a-0", "has more", |relay| relay.sessions == Some(5)).await;
    other.holds("3");
    other.obeys.store(false, Ordering::SeqCst);
    other.start_again().await;
    eventually("it is told again and again", async || {
        let told = other.orders();
        if told.starts_with(&[Method::POST, Method::POST]) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    shows(world, &namespace, "a-1", "waits for the order to be obeyed", |relay| {
        relay.drain.as_ref().is_some_and(|drain| drain.deadline.is_none()) && relay.phase == RelayPhase::Draining
    })
    .await;
    other.obeys.store(true, Ordering::SeqCst);
    let runs = |relay: &RelayStatus| relay.drain.as_ref().is_some_and(|drain| drain.deadline.is_some());
    shows(world, &namespace, "a-1", "obeys", runs).await;

    // Wanted again, it is told so.
    full.holds("10");
    shows(world, &namespace, "a-1", "serves again", |relay| relay.phase == RelayPhase::Ready).await;
    eventually("it is told", async || match other.orders().last() {
        Some(&Method::DELETE) => Ok(()),
        last => Err(format!("{last:?}")),
    })
    .await;
    full.holds("5");
    shows(world, &namespace, "a-1", "obeys again", runs).await;
    assert_eq!(names(world, &namespace).await, ["a-0", "a-1"], "sessions are on it");
    other.holds("0");
    left(world, &namespace, &["a-0"]).await;
    assert_eq!(full.orders(), Vec::<Method>::new());
}

/// Who cannot be told to refuse counts as told, and leaves at its deadline at the latest.
pub(crate) async fn a_relay_that_cannot_be_told_leaves_in_time(world: &World) {
    let namespace = world.namespace("other-silent");
    let causes = json!({"timeoutSeconds": 600});
    world.kubectl.create(&namespace, &pool(&json!({"replicas": 2, "drain": causes})));
    let one = ready(world, &namespace, "a-0").await;
    let two = ready(world, &namespace, "a-1").await;
    one.holds("2");
    two.holds("1");
    pool_says(&world.pools(&namespace), "a", "Ready", "True/AsPlanned").await;
    shows(world, &namespace, "a-1", "is looked at", |relay| relay.sessions == Some(1)).await;
    shows(world, &namespace, "a-0", "is looked at", |relay| relay.sessions == Some(2)).await;
    world.kubectl.run(&["-n", &namespace, "scale", "relaypool/a", "--replicas=1"], None);
    let runs = |relay: &RelayStatus| relay.drain.as_ref().is_some_and(|drain| drain.deadline.is_some());
    shows(world, &namespace, "a-1", "drains", runs).await;
    // Wanted again, nothing needs to be said.
    world.kubectl.run(&["-n", &namespace, "scale", "relaypool/a", "--replicas=2"], None);
    shows(world, &namespace, "a-1", "serves again", |relay| relay.phase == RelayPhase::Ready && relay.drain.is_none())
        .await;
    let shorter = r#"{"spec": {"replicas": 1, "drain": {"timeoutSeconds": 3}}}"#;
    world.kubectl.run(&["-n", &namespace, "patch", "relaypool/a", "--type=merge", "-p", shorter], None);
    left(world, &namespace, &["a-0"]).await;
    assert_eq!((one.orders(), two.orders()), (vec![], vec![]));
}
