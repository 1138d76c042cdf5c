//! Relays that the cluster loses sight of, or that crash again and again: others take their place, their sessions go there,
//! and status says what was wrong.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use convene::api::RelayPool;
use convene::api::relay_pool::{RelayPhase, RelayStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::install::{Install, setting};
use crate::party::Party;
use crate::support::{run, within};

const DUBLIN: (f64, f64) = (53.35, -6.26);

async fn relays(install: &Install, namespace: &str) -> Vec<RelayStatus> {
    let pools: Api<RelayPool> = Api::namespaced(install.client.clone(), namespace);
    pools.get("eu").await.ok().and_then(|pool| pool.status).unwrap_or_default().relays
}

/// Waits until just one relay of the pool is left, which serves, and is not this one.
async fn replaced(install: &Install, namespace: &str, relay: &str) {
    within(240, &format!("another serves instead of {relay}"), async || {
        let relays = relays(install, namespace).await;
        let is_new = |left: &RelayStatus| left.name != relay && left.phase == RelayPhase::Ready;
        if relays.len() == 1 && relays.iter().all(is_new) { Ok(()) } else { Err(format!("{relays:?}")) }
    })
    .await;
}

/// Sends a signal to what runs on a node beside its pods.
fn signal(part: &str, signal: &str, node: &str) {
    let mut kill = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/cluster/kill.sh"));
    kill.args([&setting("CONVENE_CLUSTER"), part, signal, node]);
    run(kill, None).expect("the signal is sent");
}

/// A node of which the cluster hears nothing, until this is dropped.
struct Silenced(String);

impl Silenced {
    fn new(node: &str) -> Self {
        signal("kubelet", "STOP", node);
        Self(node.to_owned())
    }
}

impl Drop for Silenced {
    fn drop(&mut self) {
        signal("kubelet", "CONT", &self.0);
    }
}

/// Has the cluster's one DNS server run on this node: without it, no new relay finds its lobby.
async fn keep_dns_on(install: &Install, node: &str) {
    let nodes = Api::<Node>::all(install.client.clone()).list(&ListParams::default()).await.expect("lists");
    let others: Vec<String> = nodes.iter().map(kube::ResourceExt::name_any).filter(|other| other != node).collect();
    let cordon = |how: &str| others.iter().for_each(|other| drop(install.kubectl.run(&[how, other], None)));
    cordon("cordon");
    let dns = ["-n", "kube-system", "rollout"];
    install.kubectl.run(&[&dns[..], &["restart", "deployment/coredns"]].concat(), None);
    install.kubectl.run(&[&dns[..], &["status", "deployment/coredns", "--timeout=120s"]].concat(), None);
    cordon("uncordon");
}

/// A whole node falls silent, so it runs alone. Its relay serves on, and is not capacity all the same: nobody knows for how
/// long. The lobby is elsewhere, since a lobby of one process that nobody reaches lets nobody in again.
pub(crate) async fn a_silent_nodes_relays_are_replaced_and_their_sessions_move(install: &Install) {
    let namespace = "e2e-node-silent";
    let lobby = install.world(namespace, &[("eu", json!({"replicas": 1}))]).await;
    let pods: Api<Pod> = Api::namespaced(install.client.clone(), namespace);
    let of_lobby =
        pods.list(&ListParams::default().labels("app.kubernetes.io/name=convene-lobby")).await.expect("lists");
    let kept = of_lobby.items[0].spec.as_ref().and_then(|spec| spec.node_name.clone()).expect("it runs somewhere");
    keep_dns_on(install, &kept).await;
    install.kubectl.run(&["cordon", &kept], None);
    let found = within(120, "the relay is on the other node", async || {
        let relays = relays(install, namespace).await;
        let only = relays.first().filter(|_| relays.len() == 1).filter(|relay| relay.phase == RelayPhase::Ready);
        let elsewhere =
            only.and_then(|relay| Some((relay.name.clone(), relay.node.clone().filter(|node| *node != kept)?)));
        elsewhere.ok_or_else(|| format!("{relays:?}"))
    });
    let (relay, node) = found.await;
    install.kubectl.run(&["uncordon", &kept], None);
    install.pool_serves(namespace, "eu").await;

    let party = Party::begin(&lobby, DUBLIN).await;
    assert_eq!(party.session.session.relay, relay);
    let silenced = Silenced::new(&node);
    within(240, "status says what is wrong, and the session's relay leaves", async || {
        let relays = relays(install, namespace).await;
        let sick = relays.iter().find(|status| status.name == relay).ok_or("it has gone without a word")?;
        let is_told = sick.problem.as_deref() == Some("NodeNotReady");
        if is_told && sick.phase == RelayPhase::Draining { Ok(()) } else { Err(format!("{sick:?}")) }
    })
    .await;
    // Its Pod is being deleted, or is about to be; it ends once its node is heard again.
    within(60, "the session has moved", async || {
        let (status, answer) =
            lobby.get(&format!("/v1/sessions/{}", party.session.session.id), Some(&party.session.host_token)).await;
        let moved = status == 200 && !answer.contains(&format!("\"relay\":\"{relay}\""));
        if moved { Ok(()) } else { Err(answer) }
    })
    .await;
    drop(silenced);
    replaced(install, namespace, &relay).await;
    let told = party.end().await;
    let longest = told.iter().map(|member| member.longest).max().unwrap_or_default();
    println!("node silent: longest silence {:.2} s, on {}", longest.as_secs_f64(), told[0].relay);
    assert!(told.iter().all(|member| member.relay != relay), "{told:?}");
}

/// Processes of a relay's Pod on this machine: all nodes are on it.
pub(crate) fn processes(pod_uid: &str) -> Vec<String> {
    processes_with(&format!("CONVENE_POD_UID={pod_uid}"))
}

/// Processes on this machine that have this variable.
pub(crate) fn processes_with(wanted: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("there is /proc").filter_map(Result::ok);
    let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let pids = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let is_of_pod = |pid: &String| {
        let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    pids.filter(is_of_pod).collect()
}

pub(crate) async fn a_relay_that_crashes_again_and_again_is_replaced(install: &Install) {
    let namespace = "e2e-crash-loop";
    let eu = ("eu", json!({"replicas": 1, "drain": {"timeoutSeconds": 5}}));
    let lobby = install.world(namespace, &[eu, ("us", json!({"region": "us-east1"}))]).await;
    let party = Party::begin(&lobby, DUBLIN).await;
    assert_eq!(party.session.session.relay, "eu-0");
    let pods: Api<Pod> = Api::namespaced(install.client.clone(), namespace);
    let uid = pods.get("eu-0").await.expect("reads").uid().expect("a UID");
    let killing = tokio::spawn(async move {
        loop {
            for pid in processes(&uid) {
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    within(120, "status says what is wrong", async || {
        let relays = relays(install, namespace).await;
        let problems: Vec<_> = relays.iter().filter_map(|relay| relay.problem.as_deref()).collect();
        if problems == ["CrashLoop"] { Ok(()) } else { Err(format!("{relays:?}")) }
    })
    .await;
    replaced(install, namespace, "eu-0").await;
    killing.abort();
    let told = party.end().await;
    let longest = told.iter().map(|member| member.longest).max().unwrap_or_default();
    println!("crash loop: longest silence {:.2} s, on {}", longest.as_secs_f64(), told[0].relay);
    assert!(told.iter().all(|member| member.relay != "eu-0"), "{told:?}");
}
