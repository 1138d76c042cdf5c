//! One run of a workload: an operator behind the proxy, and what came of it.

use std::time::Duration;

use faultline::{Door, Entry, Plan, Proxy};
use futures::future::LocalBoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control_plane::operator_args;
use crate::hollow::Scene;
use crate::operator::{Operator, assert_no_panic};
use crate::state::{self, State};
use crate::support::within;
use crate::workload::{self, PATIENCE, Workload};
use crate::world::World;

/// How long nothing may be written after the steps of a run.
pub(crate) const QUIET: Duration = Duration::from_secs(3);
/// The same before they begin: no more than so that what came before does not count as theirs.
const SHORTLY_QUIET: Duration = Duration::from_secs(1);
/// Name of the operator's door.
pub(crate) const CLIENT: &str = "operator";

/// What came of a run.
pub(crate) struct Outcome {
    /// Where it ended.
    pub(crate) state: State,
    /// All that went through, in order.
    pub(crate) log: Vec<Entry>,
    /// Of those, how many came before the workload's own steps.
    pub(crate) before: usize,
    /// How often the operator was killed.
    pub(crate) kills: usize,
}

impl Outcome {
    /// How often a fault of the plan met something.
    pub(crate) fn met(&self) -> usize {
        self.log.iter().filter(|entry| entry.fault.is_some()).count()
    }

    /// Writes of the steps, in order.
    pub(crate) fn writes(&self) -> impl Iterator<Item = &Entry> {
        self.log.iter().skip(self.before).filter(|entry| entry.event.is_none() && entry.target.verb.mutates())
    }
}

/// An operator behind its door.
pub(crate) struct Behind {
    proxy: Proxy,
    client: String,
    door: Option<Door>,
    pub(crate) operator: Operator,
    started: Instant,
}

impl Behind {
    /// Starts one. The same name is the same Pod: its Lease is still its own.
    pub(crate) async fn start(scene: &Scene<'_>, proxy: &Proxy, client: &str) -> Self {
        let scope = World::scope(&scene.namespace);
        let door = proxy.open(client, "127.0.0.1:0", Some(scope)).await.expect("listens");
        let config = scene.world.config(&door).await;
        let operator = Operator::start(config, operator_args(&scene.namespace, client));
        let (proxy, client) = (proxy.clone(), client.to_owned());
        Self { proxy, client, door: Some(door), operator, started: Instant::now() }
    }

    /// Kills it as SIGKILL does: what it had not sent yet is lost, and what the API server has answers nobody.
    pub(crate) async fn kill(mut self) {
        self.die().await;
    }

    async fn die(&mut self) {
        if let Some(door) = self.door.take() {
            door.close().await;
        }
        self.operator.kill().await;
    }
}

/// Runs a workload under a plan. Where it holds a request, the operator is killed and started again, under the next plan;
/// after the last there are no more faults.
pub(crate) fn run<'a>(world: &'a World, workload: &'a Workload, plans: Vec<Plan>) -> LocalBoxFuture<'a, Outcome> {
    Box::pin(undergo(world, workload, plans))
}

async fn undergo(world: &World, workload: &Workload, plans: Vec<Plan>) -> Outcome {
    let _permit = world.runs.acquire().await.expect("never closed");
    let mut plans = plans.into_iter();
    let first = plans.next().unwrap_or_default();
    let (scene, proxy) = (Scene::new(world).await, world.proxy());
    // Without a beginning, the operator's own start belongs to the workload.
    if workload.before.is_empty() {
        proxy.set_plan(first.clone());
    }
    let mut operator = Behind::start(&scene, &proxy, CLIENT).await;
    let mut before = 0;
    if !workload.before.is_empty() {
        for step in &workload.before {
            step.run(&scene).await;
        }
        settled(&proxy, SHORTLY_QUIET).await;
        before = proxy.log().len();
        proxy.set_plan(first);
    }
    // People and nodes do not wait for the operator.
    let done = CancellationToken::new();
    let steps = Box::pin(async {
        for step in &workload.steps {
            step.run(&scene).await;
        }
        settled(&proxy, QUIET).await;
        done.cancel();
    });
    let (kills, ()) = tokio::join!(kill_where_held(&scene, &mut operator, plans, &done), steps);
    // What was started last had time to write something.
    tokio::time::sleep_until(operator.started + QUIET).await;
    settled(&proxy, QUIET).await;

    let state = state::read(world, &scene.namespace).await;
    honest(world, &scene.namespace).await;
    let log = proxy.log().entries(0);
    for step in workload::end() {
        step.run(&scene).await;
    }
    operator.kill().await;
    assert_no_panic();
    world.forget(&scene.namespace).await;
    Outcome { state, log, before, kills }
}

/// Kills the operator where a request of its is held, and starts it again under the next plan. How often.
async fn kill_where_held(
    scene: &Scene<'_>,
    operator: &mut Behind,
    mut plans: impl Iterator<Item = Plan>,
    done: &CancellationToken,
) -> usize {
    let (proxy, client) = (operator.proxy.clone(), operator.client.clone());
    let mut kills = 0;
    while done.run_until_cancelled(proxy.next_held(&client)).await.is_some() {
        operator.die().await;
        kills += 1;
        proxy.set_plan(plans.next().unwrap_or_default());
        *operator = Behind::start(scene, &proxy, &client).await;
    }
    kills
}

/// O3: waits until nothing is written for so long, but the Lease.
pub(crate) async fn settled(proxy: &Proxy, quiet: Duration) {
    within(PATIENCE, &format!("quiet for {} s", quiet.as_secs()), async || {
        let log = proxy.log();
        let writes = |entry: &&Entry| entry.target.verb.mutates() && entry.target.resource != "leases";
        let entries = log.entries(0);
        let last = entries.iter().rev().find(writes);
        match last {
            Some(last) if log.since(last.at) < quiet => Err(format!("{} by {}", last.target, last.client)),
            Some(_) | None => Ok(()),
        }
    })
    .await;
}

/// O4 and O5: nothing secret is said, and every status is of the present spec.
async fn honest(world: &World, namespace: &str) {
    let objects = state::objects(world, namespace).await;
    assert_eq!(state::leaked(&objects), Vec::<String>::new(), "secrets outside of Secrets");
    for (name, object) in objects {
        if !name.starts_with("Lobby/") && !name.starts_with("RelayPool/") {
            continue;
        }
        let generation = &object["metadata"]["generation"];
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        assert!(!conditions.is_empty(), "{name} says nothing");
        for condition in conditions {
            assert_eq!(&condition["observedGeneration"], generation, "{name}: {condition} is of an earlier spec");
        }
    }
}
