//! One run of a workload: an operator behind the proxy, and what came of it.

use std::time::Duration;

use faultline::{Door, Entry, Plan, Proxy};
use futures::future::LocalBoxFuture;

use crate::control_plane::operator_args;
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
    /// Whether the operator was killed as the plan said.
    pub(crate) killed: bool,
}

impl Outcome {
    /// Writes of the steps, in order.
    pub(crate) fn writes(&self) -> impl Iterator<Item = &Entry> {
        self.log.iter().skip(self.before).filter(|entry| entry.event.is_none() && entry.target.verb.mutates())
    }
}

/// An operator behind its door.
pub(crate) struct Behind {
    pub(crate) proxy: Proxy,
    pub(crate) namespace: String,
    pub(crate) client: String,
    door: Door,
    pub(crate) operator: Operator,
}

impl Behind {
    /// Starts one. The same name is the same Pod: its Lease is still its own.
    pub(crate) async fn start(world: &World, proxy: &Proxy, namespace: &str, client: &str) -> Self {
        let door = proxy.open(client, "127.0.0.1:0", Some(World::scope(namespace))).await.expect("listens");
        let operator = Operator::start(world.config(&door).await, operator_args(namespace, client));
        let (proxy, namespace, client) = (proxy.clone(), namespace.to_owned(), client.to_owned());
        Self { proxy, namespace, client, door, operator }
    }

    /// Kills it as SIGKILL does: what it had not sent yet is lost, and what the API server has answers nobody.
    pub(crate) async fn kill(self) {
        self.door.close().await;
        self.operator.kill().await;
    }
}

/// Runs a workload under a plan. Wherever the plan holds a request, the operator is killed, once, and started again.
pub(crate) fn run<'a>(world: &'a World, workload: &'a Workload, plan: Plan) -> LocalBoxFuture<'a, Outcome> {
    Box::pin(undergo(world, workload, plan))
}

async fn undergo(world: &World, workload: &Workload, plan: Plan) -> Outcome {
    let _permit = world.runs.acquire().await.expect("never closed");
    let namespace = world.namespace().await;
    let proxy = world.proxy();
    // Without a beginning, the operator's own start belongs to the workload.
    if workload.before.is_empty() {
        proxy.set_plan(plan.clone());
    }
    let operator = Behind::start(world, &proxy, &namespace, CLIENT).await;
    let mut before = 0;
    if !workload.before.is_empty() {
        for step in &workload.before {
            step.run(world, &namespace).await;
        }
        settled(&proxy, SHORTLY_QUIET).await;
        before = proxy.log().len();
        proxy.set_plan(plan);
    }
    let steps = Box::pin(async {
        for step in &workload.steps {
            step.run(world, &namespace).await;
        }
        settled(&proxy, QUIET).await;
    });
    let (operator, killed) = killed_meanwhile(world, operator, steps).await;

    let state = state::read(world, &namespace).await;
    honest(world, &namespace).await;
    let log = proxy.log().entries(0);
    for step in workload::end() {
        step.run(world, &namespace).await;
    }
    operator.kill().await;
    assert_no_panic();
    world.forget(&namespace).await;
    Outcome { state, log, before, killed }
}

/// Does the steps; the operator is killed where a request of its is held, and started again without faults.
async fn killed_meanwhile(
    world: &World,
    operator: Behind,
    mut steps: impl Future<Output = ()> + Unpin,
) -> (Behind, bool) {
    let (proxy, client) = (operator.proxy.clone(), operator.client.clone());
    tokio::select! {
        () = &mut steps => return (operator, false),
        _held = proxy.next_held(&client) => {}
    }
    let restarted = async {
        let namespace = operator.namespace.clone();
        operator.kill().await;
        proxy.set_plan(Plan::default());
        Behind::start(world, &proxy, &namespace, &client).await
    };
    // People and nodes do not wait for the operator.
    let (operator, ()) = tokio::join!(restarted, steps);
    (operator, true)
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

/// O5: every status is of the present spec.
async fn honest(world: &World, namespace: &str) {
    for (name, object) in state::objects(world, namespace).await {
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
