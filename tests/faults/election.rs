//! Two operators, and what can happen to a leader: paused, cut off, its Lease stolen or deleted. Never two write, as the
//! proxy's log shows, and another leads in time.

use std::time::Duration;

use faultline::{Door, Entry, Fault, Plan, Proxy, Release, Rule, Side, Verb, When};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::hollow::Scene;
use crate::run::{Behind, QUIET, settled};
use crate::support::within;
use crate::workload::{PATIENCE, Step, small};
use crate::world::World;

const LEASE: &str = "convene-operator";
/// Life of a Lease, in seconds.
const LIFE: u64 = 15;

/// Two operators of one namespace, of which `first` leads, with a lobby and a pool that are settled.
struct Two<'a> {
    scene: Scene<'a>,
    proxy: Proxy,
    first: Behind,
    second: Behind,
}

impl<'a> Two<'a> {
    async fn start(world: &'a World) -> Self {
        let (scene, proxy) = (Scene::new(world).await, world.proxy());
        let first = Behind::start(&scene, &proxy, "first").await;
        leads(&scene, "first").await;
        let second = Behind::start(&scene, &proxy, "second").await;
        for step in small() {
            step.run(&scene).await;
        }
        settled(&proxy, QUIET).await;
        Self { scene, proxy, first, second }
    }

    async fn relays(&self, count: i32) {
        Step::Change("a", json!({"replicas": count})).run(&self.scene).await;
    }

    /// Gives whoever leads something to write, again and again, for longer than a leader needs to look at its Lease.
    async fn keep_busy(&self) {
        for round in 0..40 {
            self.relays(2 + round % 2).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn ready(&self, count: usize) {
        Step::Ready(count).run(&self.scene).await;
        Step::Says(crate::workload::Kind::Pool, "a", "Ready=True/AsPlanned").run(&self.scene).await;
        settled(&self.proxy, QUIET).await;
    }

    /// Through a door of its own, so that the log has it.
    async fn person(&self) -> (Door, Api<Lease>) {
        let door = self.proxy.open("person", "127.0.0.1:0", None).await.expect("listens");
        let client = Client::try_from(self.scene.world.admin_config(&door).await).expect("a client");
        (door, Api::namespaced(client, &self.scene.namespace))
    }

    async fn end(self) {
        never_two(&self.proxy.log().entries(0));
        self.first.kill().await;
        self.second.kill().await;
        crate::operator::assert_no_panic();
        self.scene.world.forget(&self.scene.namespace).await;
    }
}

async fn leads(scene: &Scene<'_>, who: &str) {
    let leases: Api<Lease> = scene.world.api(&scene.namespace);
    within(PATIENCE, &format!("{who} leads"), async || {
        let lease = leases.get_opt(LEASE).await.map_err(|error| error.to_string())?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        if holder == who { Ok(()) } else { Err(format!("{holder:?}")) }
    })
    .await;
}

fn is_lease(entry: &Entry) -> bool {
    entry.took_effect() && entry.target.resource == "leases"
}

/// Whoever writes is whoever has written the Lease last: once another has it, none of the former's writes takes effect.
fn never_two(log: &[Entry]) {
    let mut leader: Option<&str> = None;
    for entry in log.iter().filter(|entry| entry.took_effect() && entry.client != "person") {
        if is_lease(entry) {
            leader = Some(&entry.client);
        } else if leader != Some(&entry.client) {
            panic!("{} by {} at {} ms while {leader:?} leads", entry.target, entry.client, entry.at);
        }
    }
}

/// The second leads no later than a Lease's life after the first's had run out.
fn in_time(log: &[Entry]) {
    let of = |who: &'static str| log.iter().filter(move |entry| is_lease(entry) && entry.client == who);
    let taken = of("second").next().expect("the second took the Lease").at;
    let last = of("first").rev().find(|entry| entry.at < taken).expect("the first held it").at;
    assert!(taken - last <= 2 * LIFE * 1000, "{} ms from the last renewal to the next leader", taken - last);
}

/// A leader stands still in the middle of a pass for twice its Lease, and then goes on where it was.
pub(crate) async fn a_leader_that_was_paused_writes_nothing_more(world: &World) {
    let two = Two::start(world).await;
    // The answer on which it would write is there when it goes on.
    let when = When {
        clients: vec!["first".to_owned()],
        verbs: vec!["list".to_owned()],
        resources: vec!["pods".to_owned()],
        ..When::default()
    };
    two.proxy.set_plan(Plan { rules: vec![Rule::nth(when, 1, Fault::Hold { side: Side::After })] });
    two.relays(3).await;
    let held = two.proxy.next_held("first").await;
    let frozen = two.first.operator.freeze();
    assert!(two.proxy.release(held.id, Release::Forward), "it is still held");
    two.proxy.set_plan(Plan::default());
    leads(&two.scene, "second").await;
    two.ready(3).await;
    // Something to do for whoever does not know better.
    two.relays(1).await;
    two.ready(1).await;
    tokio::time::sleep(Duration::from_secs(2 * LIFE)).await;
    drop(frozen);
    two.relays(2).await;
    two.ready(2).await;
    in_time(&two.proxy.log().entries(0));
    two.end().await;
}

/// A leader reaches the API server no more, and nobody tells it.
pub(crate) async fn a_leader_that_is_cut_off_is_followed(world: &World) {
    let two = Two::start(world).await;
    let first = || When { clients: vec!["first".to_owned()], ..When::default() };
    let rules = vec![Rule::always(first(), Fault::Drop), Rule::always(first(), Fault::Stall)];
    two.proxy.set_plan(Plan { rules });
    two.relays(2).await;
    two.ready(2).await;
    two.proxy.set_plan(Plan::default());
    two.relays(3).await;
    two.ready(3).await;
    in_time(&two.proxy.log().entries(0));
    two.end().await;
}

/// Somebody writes another holder into the Lease: it gets it, but not before the leader has seen it.
pub(crate) async fn a_stolen_lease_makes_no_second_writer(world: &World) {
    several(async || {
        let two = Two::start(world).await;
        let (_door, lease) = two.person().await;
        let theft = json!({"spec": {"holderIdentity": "second"}});
        lease.patch(LEASE, &PatchParams::default(), &Patch::Merge(&theft)).await.expect("patches");
        two.keep_busy().await;
        leads(&two.scene, "second").await;
        two.relays(3).await;
        two.ready(3).await;
        two.end().await;
    })
    .await;
}

/// Somebody deletes the Lease: its holder makes it again, before another does.
pub(crate) async fn a_deleted_lease_makes_no_second_writer(world: &World) {
    several(async || {
        let two = Two::start(world).await;
        let (_door, lease) = two.person().await;
        lease.delete(LEASE, &DeleteParams::default()).await.expect("deletes");
        two.keep_busy().await;
        let log = two.proxy.log().entries(0);
        let makers = log.iter().filter(|entry| is_lease(entry) && entry.target.verb == Verb::Create);
        let makers: Vec<&str> = makers.map(|entry| entry.client.as_str()).collect();
        assert_eq!(makers, ["first", "first"], "who made the Lease");
        two.relays(2).await;
        two.ready(2).await;
        two.end().await;
    })
    .await;
}

/// Who of two looks first is chance.
async fn several(case: impl AsyncFn()) {
    futures::future::join_all((0..4).map(|_| case())).await;
}
