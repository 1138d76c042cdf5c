//! The operator is killed at every write of a workload: before it is sent, and after it has taken effect but before the
//! answer. Then it is started again, and everything must come out as if nothing had been.

use std::sync::atomic::{AtomicUsize, Ordering};

use faultline::{Fault, Plan, Side};
use futures::StreamExt as _;

use crate::coverage::{Table, Write, common};
use crate::oracle;
use crate::run::{Outcome, run};
use crate::state::State;
use crate::workload::Workload;
use crate::world::World;

/// Runs at a time; how many of them there really are is the world's matter.
const AT_ONCE: usize = 8;
/// How often a write is looked for that did not come.
const ATTEMPTS: usize = 3;
/// Kills of a short run.
const FEW: usize = 8;

/// Two undisturbed runs, and what they agree on.
pub(crate) struct Reference {
    pub(crate) first: Outcome,
    pub(crate) second: Outcome,
    pub(crate) mask: oracle::Mask,
}

impl Reference {
    /// Runs a workload twice.
    pub(crate) async fn of(world: &World, workload: &Workload) -> Self {
        // One after the other, so that what follows the clock differs.
        let first = run(world, workload, Plan::default()).await;
        let second = run(world, workload, Plan::default()).await;
        let mask = oracle::mask(&first.state, &second.state);
        for (kind, place) in &mask {
            println!("{:<12} masked: {kind}{place}", workload.name);
        }
        assert_eq!(oracle::unexpected(&mask), Vec::<String>::new(), "{}: differ from run to run", workload.name);
        Self { first, second, mask }
    }

    /// O1 and O2.
    pub(crate) fn assert_equal(&self, what: &str, outcome: &Outcome) {
        self.assert_state(what, &outcome.state);
        let found = oracle::count_differences(&self.first.log, &outcome.log);
        assert!(found.is_empty(), "{what}: not as in the undisturbed run:\n  {}", found.join("\n  "));
    }

    /// O1.
    pub(crate) fn assert_state(&self, what: &str, state: &State) {
        let found = oracle::differences(&self.first.state, state, &self.mask);
        assert!(found.is_empty(), "{what}: not as in the undisturbed run:\n  {}", found.join("\n  "));
    }
}

/// Kills the operator at every write of a workload; in a short run at a few.
pub(crate) async fn at_every_write(world: &World, workload: &Workload) {
    let reference = Reference::of(world, workload).await;
    reference.assert_equal(workload.name, &reference.second);
    let writes = common(&reference.first, &reference.second);
    let mut kills: Vec<(Write, Side)> =
        writes.iter().flat_map(|write| [(write.clone(), Side::Before), (write.clone(), Side::After)]).collect();
    if let Some(seed) = world.seed {
        shuffle(&mut kills, seed);
        kills.truncate(FEW);
    }
    let (all, done) = (kills.len(), AtomicUsize::new(0));
    let runs = futures::stream::iter(kills).map(async |(write, side)| {
        let reached = kill_at(world, workload, &reference, &write, side).await;
        println!("{:<12} {:>3}/{all} {side:?} {write}", workload.name, done.fetch_add(1, Ordering::Relaxed) + 1);
        (write, side, reached)
    });
    let mut table = Table::of(writes.len());
    let mut runs = std::pin::pin!(runs.buffer_unordered(AT_ONCE));
    while let Some((write, side, reached)) = runs.next().await {
        table.note(&write, side, reached);
    }
    table.close(workload.name);
}

/// Whether the write came, and the operator was killed at it.
async fn kill_at(world: &World, workload: &Workload, reference: &Reference, write: &Write, side: Side) -> bool {
    for _ in 0..ATTEMPTS {
        let plan = Plan { rules: vec![write.meets(Fault::Hold { side })] };
        let outcome = run(world, workload, plan).await;
        reference.assert_equal(&format!("{}: killed {side:?} {write}", workload.name), &outcome);
        if outcome.killed {
            return true;
        }
    }
    false
}

/// Another order, the same for the same seed.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    for index in (1..items.len()).rev() {
        // Knuth's generator; chance enough to choose by.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(state >> 33).unwrap_or_default() % (index + 1);
        items.swap(index, other);
    }
}
