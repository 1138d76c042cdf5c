//! How soon a pool follows its sessions: from a request to the lobby to the write that follows from it, a relay's Pod made or a
//! drain begun. Printed, not judged: `make bench-scale`.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use convene::api::{ANNOTATION_DRAIN, RelayPool};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::sync::mpsc;

use crate::client::Seat;
use crate::install::{Install, STARTED};
use crate::support::within;

/// Changes in each direction.
const CHANGES: usize = 20;

/// What was seen of relays' Pods, and when it came here.
enum Seen {
    Made(Instant),
    Drains(Instant),
}

pub(crate) async fn how_soon_relays_follow_the_load(install: &Install) {
    let namespace = "e2e-times";
    // One session a relay, and one relay free: each session that comes or goes moves the number by one.
    let scaling = json!({
        "maxReplicas": CHANGES + 1, "buffer": {"seats": 1},
        "up": {"periodSeconds": 1, "stepReplicas": 64},
        "down": {"windowSeconds": 0, "periodSeconds": 1, "stepReplicas": 64},
    });
    let lobby = install.world(namespace, &[("eu", json!({"sessionsPerRelay": 1, "scaling": scaling}))]).await;
    let pools: Api<RelayPool> = Api::namespaced(install.client.clone(), namespace);
    let serves = async |relays: usize| {
        within(STARTED, &format!("{relays} relays serve, and no other"), async || {
            let status = pools.get("eu").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let serving = usize::try_from(status.ready_replicas).unwrap_or(0);
            let there = status.relays.len();
            if (serving, there) == (relays, relays) { Ok(()) } else { Err(format!("{serving} of {there}")) }
        })
        .await;
    };
    let mut seen = watch(install, namespace).await;
    let (mut up, mut down, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
    for count in 0..CHANGES {
        serves(count + 1).await;
        while seen.try_recv().is_ok() {}
        let began = Instant::now();
        let created = within(20, "a session", async || lobby.create(53.35, -6.26).await).await;
        let made = first(&mut seen, |seen| if let Seen::Made(at) = seen { Some(at) } else { None }).await;
        up.push(made.duration_since(began));
        // Nodes open a new relay's port a moment after it is ready.
        let seat = within(20, "the host connects", async || Seat::take(&created.connect).await).await;
        sessions.push((created, seat));
    }
    for (count, (created, _seat)) in sessions.into_iter().enumerate() {
        serves(CHANGES + 1 - count).await;
        while seen.try_recv().is_ok() {}
        let began = Instant::now();
        lobby.close(&created.session.id, &created.host_token).await;
        let drains = first(&mut seen, |seen| if let Seen::Drains(at) = seen { Some(at) } else { None }).await;
        down.push(drains.duration_since(began));
    }
    println!("| change of load | n | p50 ms | p95 ms | longest ms |\n| --- | --- | --- | --- | --- |");
    row("session created → relay's Pod made", up);
    row("session closed → drain begun", down);
}

async fn first(seen: &mut mpsc::UnboundedReceiver<Seen>, like: impl Fn(Seen) -> Option<Instant>) -> Instant {
    let found = async {
        loop {
            if let Some(at) = like(seen.recv().await.expect("the watch goes on")) {
                return at;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect("the pool follows within a minute")
}

fn row(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let milliseconds = |share: usize| times[(times.len() * share).div_ceil(100) - 1].as_millis();
    println!("| {what} | {} | {} | {} | {} |", times.len(), milliseconds(50), milliseconds(95), milliseconds(100));
}

/// Watches relays' Pods; returns once those that are there were seen.
async fn watch(install: &Install, namespace: &str) -> mpsc::UnboundedReceiver<Seen> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let api: Api<Pod> = Api::namespaced(install.client.clone(), namespace);
    let config = watcher::Config::default().labels("convene.dev/relay-pool=eu");
    tokio::spawn(async move {
        let mut pods = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
        let (mut made, mut draining) = (HashSet::new(), HashSet::new());
        while let Some(Ok(pod)) = pods.next().await {
            let uid = pod.uid().unwrap_or_default();
            if made.insert(uid.clone()) && sender.send(Seen::Made(Instant::now())).is_err() {
                return;
            }
            let drains = pod.annotations().get(ANNOTATION_DRAIN).is_some_and(|note| note.contains("\"cause\""));
            if drains && draining.insert(uid) && sender.send(Seen::Drains(Instant::now())).is_err() {
                return;
            }
        }
    });
    receiver.recv().await.expect("a relay is there");
    receiver
}
