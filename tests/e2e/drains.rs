//! Relays that go while people talk on them: nobody is cut.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use convene::api::{LABEL_OCCUPIED, RelayPool, RelayPoolStatus};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{EvictParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::install::{Install, STARTED, setting};
use crate::names::{self, Routers};
use crate::party::{CUT, Party, Told};
use crate::support::{run, says, within};

const DUBLIN: (f64, f64) = (53.35, -6.26);

fn pools(install: &Install, namespace: &str) -> Api<RelayPool> {
    Api::namespaced(install.client.clone(), namespace)
}

async fn change(install: &Install, namespace: &str, spec: Value) {
    let patch = json!({"spec": spec});
    pools(install, namespace).patch("eu", &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patches");
}

/// Waits until the pool is settled with just these relays.
async fn settled(install: &Install, namespace: &str, relays: &[&str]) {
    settled_with(install, namespace, &format!("{relays:?}"), |there| there == relays).await;
}

/// Waits until the pool is settled with such relays; which they are.
async fn settled_with(install: &Install, namespace: &str, what: &str, are: impl Fn(&[String]) -> bool) -> Vec<String> {
    within(180, &format!("the pool is settled with {what}"), async || {
        let pool = pools(install, namespace).get("eu").await.map_err(|error| error.to_string())?;
        let status = pool.status.clone().unwrap_or_default();
        let there: Vec<String> = status.relays.into_iter().map(|relay| relay.name).collect();
        let said = ["Ready", "Progressing", "Draining"].map(|type_| says(&status.conditions, type_));
        let is_settled = said == ["Ready=True/AsPlanned", "Progressing=False/AsPlanned", "Draining=False/AsPlanned"];
        let is_seen = status.observed_generation == pool.metadata.generation;
        if are(&there) && is_settled && is_seen { Ok(there) } else { Err(format!("{there:?} {said:?}")) }
    })
    .await
}

/// Waits until the rollout is at some point.
async fn rolls_out(install: &Install, namespace: &str, what: &str, reached: impl Fn(&RelayPoolStatus) -> bool) {
    within(60, what, async || {
        let status = pools(install, namespace).get("eu").await.expect("reads").status.unwrap_or_default();
        if reached(&status) { Ok(()) } else { Err(format!("{:?} {:?}", status.rollout, status.conditions)) }
    })
    .await;
}

fn print(what: &str, told: &[Told]) {
    let longest = told.iter().map(|member| member.longest).max().unwrap_or_default();
    let moves: u32 = told.iter().map(|member| member.moves).sum();
    println!(
        "{what}: {moves} moves of 2 members, longest silence {:.2} s, on {}",
        longest.as_secs_f64(),
        told[0].relay
    );
}

pub(crate) async fn a_session_survives_a_rollout_paused_and_reversed_and_a_scale_down(install: &Install) {
    let namespace = "e2e-rollout";
    let lobby = install.world(namespace, &[("eu", json!({"replicas": 1}))]).await;
    let party = Party::begin(&lobby, DUBLIN).await;
    assert_eq!(party.session.session.relay, "eu-0");
    let is_paused = |status: &RelayPoolStatus| says(&status.conditions, "Progressing") == "Progressing=False/Paused";
    // Paused before it begins, it does nothing.
    change(install, namespace, json!({"sessionsPerRelay": 7, "rollout": {"paused": true}})).await;
    rolls_out(install, namespace, "it is paused", is_paused).await;
    change(install, namespace, json!({"rollout": {"paused": false}})).await;
    settled(install, namespace, &["eu-1"]).await;
    change(install, namespace, json!({"replicas": 2})).await;
    settled(install, namespace, &["eu-0", "eu-1"]).await;

    // Paused half-way, then taken back.
    change(install, namespace, json!({"sessionsPerRelay": 11})).await;
    let has_begun = |status: &RelayPoolStatus| status.rollout.as_ref().is_some_and(|rollout| rollout.ready > 0);
    rolls_out(install, namespace, "one of the new relays serves", has_begun).await;
    change(install, namespace, json!({"rollout": {"paused": true}})).await;
    rolls_out(install, namespace, "it is paused half-way", is_paused).await;
    change(install, namespace, json!({"sessionsPerRelay": 7, "rollout": {"paused": false}})).await;
    let two = settled_with(install, namespace, "two relays", |there| there.len() == 2).await;
    let seats = pools(install, namespace).get("eu").await.expect("reads").status.map(|status| status.capacity);
    assert_eq!(seats, Some(14), "both are of the spec that was there before: {two:?}");

    change(install, namespace, json!({"replicas": 1})).await;
    let left = settled_with(install, namespace, "one relay", |there| there.len() == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = party.end().await;
    print("rollout, paused and reversed, and scale-down", &told);
    assert!(told.iter().all(|member| member.moves >= 1 && member.relay == left[0]), "{told:?}, {left:?}");
}

pub(crate) async fn a_deleted_pool_hands_its_sessions_over_before_it_goes(install: &Install) {
    let namespace = "e2e-pool-deleted";
    let both = [("eu", json!({"drain": {"timeoutSeconds": 600}})), ("us", json!({"region": "us-east1"}))];
    let lobby = install.world(namespace, &both).await;
    let party = Party::begin(&lobby, DUBLIN).await;
    assert_eq!(party.session.session.relay, "eu-0");
    install.kubectl.run(&["-n", namespace, "delete", "relaypool", "eu", "--wait=false"], None);
    let services: Api<Service> = Api::namespaced(install.client.clone(), namespace);
    within(180, "the pool goes, and nothing of it stays", async || {
        let pool = pools(install, namespace).get_opt("eu").await.expect("reads").is_some();
        let left = services.list(&ListParams::default().labels("convene.dev/relay-pool=eu")).await.expect("lists");
        if !pool && left.items.is_empty() { Ok(()) } else { Err(format!("{pool}, {} Services", left.items.len())) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = party.end().await;
    print("pool deleted", &told);
    assert!(told.iter().all(|member| member.relay == "us-0"), "{told:?}");
}

pub(crate) async fn an_occupied_relay_is_not_evicted_and_an_empty_one_may_be(install: &Install) {
    let namespace = "e2e-evicted";
    let both = [("eu", json!({"replicas": 2})), ("us", json!({"region": "us-east1"}))];
    let lobby = install.world(namespace, &both).await;
    let party = Party::begin(&lobby, DUBLIN).await;
    let busy = party.session.session.relay.clone();
    let idle = if busy == "eu-0" { "eu-1" } else { "eu-0" };
    let mut config = kube::Config::from_custom_kubeconfig(
        kube::config::Kubeconfig::read_from(&install.kubectl.kubeconfig).expect("a kubeconfig"),
        &kube::config::KubeConfigOptions::default(),
    )
    .await
    .expect("a configuration");
    // What is refused with 429 is to be seen, not tried again.
    config.default_retry = false;
    let pods: Api<Pod> = Api::namespaced(kube::Client::try_from(config).expect("a client"), namespace);
    for _ in 0..20 {
        let evicted = pods.evict(&busy, &EvictParams::default()).await;
        assert!(matches!(&evicted, Err(kube::Error::Api(status)) if status.code == 429), "{evicted:?}");
    }
    // Empty for a minute, it may go; its successor takes its place.
    within(150, "the empty relay may be evicted", async || {
        pods.evict(idle, &EvictParams::default()).await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
    // The race for one that may be evicted still: a session comes as it goes. Either it is refused again, or hands over.
    within(60, "the other empty relay may be evicted", async || {
        let relay = pods.get("us-0").await.map_err(|error| error.to_string())?;
        if relay.labels().contains_key(LABEL_OCCUPIED) { Err(format!("{:?}", relay.labels())) } else { Ok(()) }
    })
    .await;
    let (id, token) = (&party.session.session.id, &party.session.host_token);
    let gone = EvictParams::default();
    let (moved, evicted) = tokio::join!(lobby.relocate(id, token, "us"), pods.evict("us-0", &gone));
    println!("moved: {:?}; evicted as it came: {:?}", moved.map(|session| session.relay), evicted.map(|_| ()));
    tokio::time::sleep(2 * CUT).await;
    let told = party.end().await;
    print("eviction storm", &told);
}

/// How long the operator is away: `CONVENE_AWAY_SECONDS`, else thrice the time that is a cut.
fn away() -> Duration {
    std::env::var("CONVENE_AWAY_SECONDS")
        .map_or(3 * CUT, |seconds| Duration::from_secs(seconds.parse().expect("CONVENE_AWAY_SECONDS is a number")))
}

/// Disturbs all that runs on a node, so it runs alone.
pub(crate) async fn a_drained_node_and_an_operator_that_is_away_cut_nobody(install: &Install) {
    let namespace = "e2e-node-drained";
    let lobby = install.world(namespace, &[("eu", json!({"replicas": 1}))]).await;
    let party = Party::begin(&lobby, DUBLIN).await;
    let pods: Api<Pod> = Api::namespaced(install.client.clone(), namespace);
    let relay = pods.get("eu-0").await.expect("reads");
    let node = relay.spec.and_then(|spec| spec.node_name).expect("it runs somewhere");
    // Lobby and operator may be on that node as well.
    let drain = ["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=240s"];
    install.kubectl.run(&drain, None);
    install.kubectl.run(&["uncordon", &node], None);
    settled(install, namespace, &["eu-1"]).await;

    let system = ["-n", "convene-system"];
    install.kubectl.run(&[&system[..], &["scale", "deployment", "convene-operator", "--replicas=0"]].concat(), None);
    install.kubectl.run(&[&system[..], &["wait", "--for=delete", "pod", "--all", "--timeout=60s"]].concat(), None);
    // Wanted meanwhile; the sessions live on without whoever would do it.
    change(install, namespace, json!({"sessionsPerRelay": 9})).await;
    tokio::time::sleep(away()).await;
    install.kubectl.run(&[&system[..], &["scale", "deployment", "convene-operator", "--replicas=2"]].concat(), None);
    settled(install, namespace, &["eu-0"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = party.end().await;
    print("node drained, operator away", &told);
    assert!(told.iter().all(|member| member.relay == "eu-0"), "{told:?}");
}

/// Parts of the cluster are killed under everybody, so it runs alone.
pub(crate) async fn a_control_plane_that_is_killed_cuts_nobody(install: &Install) {
    let namespace = "e2e-control-plane";
    let pools_of = [("eu", json!({"replicas": 2}))];
    let lobby = install.world_with(namespace, json!({"routing": {"dns": names::dns()}}), &pools_of).await;
    let routers = Routers::of(install, namespace).await;
    within(STARTED, "names are answered", async || routers.first().await).await;
    let party = Party::begin(&lobby, DUBLIN).await;
    let relay = party.session.session.relay.clone();
    let asking = tokio::spawn(async move { routers.until_silent().await });
    for part in ["kube-apiserver", "etcd"] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/cluster/kill.sh");
        let mut kill = Command::new(script);
        kill.args([&setting("CONVENE_CLUSTER"), part]);
        run(kill, None).expect("it is killed");
        within(90, "the API server answers again", async || {
            let found = pools(install, namespace).get("eu").await.map_err(|error| error.to_string())?;
            found.status.map(|_| ()).ok_or_else(|| "no status".to_owned())
        })
        .await;
        tokio::time::sleep(CUT).await;
    }
    settled(install, namespace, &["eu-0", "eu-1"]).await;
    within(60, "the routers have their table confirmed again", async || {
        let ages = names::ages(install, namespace)?;
        let are_young = ages.iter().all(|age| age.contains("the relay table is 0 s old"));
        if are_young && ages.len() == 2 { Ok(()) } else { Err(ages.join("; ")) }
    })
    .await;
    assert!(!asking.is_finished(), "somebody was not answered");
    asking.abort();
    // And the operator is at work again.
    change(install, namespace, json!({"replicas": 3})).await;
    settled(install, namespace, &["eu-0", "eu-1", "eu-2"]).await;
    let told = party.end().await;
    print("API server and etcd killed", &told);
    assert!(told.iter().all(|member| member.moves == 0 && member.relay == relay), "{told:?}");
}
