//! The operator is killed at every write of a workload: before it is sent, and after it has taken effect but before the
//! answer. Then it is started again, and everything must come out as if nothing had been; also if only the answer is lost, or
//! if the write is refused once.

use std::sync::atomic::{AtomicUsize, Ordering};

use faultline::{Fault, Plan, Rule, Side, When};
use futures::StreamExt as _;

use crate::coverage::{How, Table, Write, common};
use crate::oracle;
use crate::run::{Outcome, run};
use crate::state::State;
use crate::workload::{self, Workload};
use crate::world::World;

/// Runs at a time; how many of them there really are is the world's matter.
const AT_ONCE: usize = 8;
/// How often a write is looked for that did not come.
const ATTEMPTS: usize = 3;
/// Cases of a short run.
const FEW: usize = 8;
/// Kills in one run of a whole life.
const KILLS: usize = 6;

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
        let first = run(world, workload, vec![]).await;
        let second = run(world, workload, vec![]).await;
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
    let all = writes.iter().flat_map(|write| How::ALL.map(|how| (write.clone(), how)));
    let mut cases: Vec<(Write, How)> = all.collect();
    if let Some(seed) = world.seed {
        Chance::of(seed).shuffle(&mut cases);
        cases.truncate(FEW);
    }
    let (all, done) = (cases.len(), AtomicUsize::new(0));
    let runs = futures::stream::iter(cases).map(async |(write, how)| {
        let reached = at_write(world, workload, &reference, &write, how).await;
        println!("{:<12} {:>3}/{all} {how:?} {write}", workload.name, done.fetch_add(1, Ordering::Relaxed) + 1);
        (write, how, reached)
    });
    let mut table = Table::of(writes.len());
    let mut runs = std::pin::pin!(runs.buffer_unordered(AT_ONCE));
    while let Some((write, how, reached)) = runs.next().await {
        table.note(&write, how, reached);
    }
    table.close(workload.name);
}

/// Whether the write came, and that happened to it.
async fn at_write(world: &World, workload: &Workload, reference: &Reference, write: &Write, how: How) -> bool {
    for _ in 0..ATTEMPTS {
        let outcome = run(world, workload, vec![write.plan(how)]).await;
        reference.assert_equal(&format!("{}: {how:?} {write}", workload.name), &outcome);
        if how.happened(&outcome) {
            return true;
        }
    }
    false
}

/// A whole life at once, in which the operator is killed again and again, at writes by chance.
pub(crate) async fn again_and_again(world: &World) {
    let workload = workload::life();
    let reference = Reference::of(world, &workload).await;
    let (first, count) = world.seed.map_or((1, 24), |seed| (seed, 2));
    let runs = futures::stream::iter(first..first + count).map(async |seed| {
        let mut chance = Chance::of(seed);
        let plans = (0..KILLS).map(|_| {
            let when = When { verbs: vec!["write".to_owned()], ..When::default() };
            let side = if chance.below(2) == 0 { Side::Before } else { Side::After };
            let nth = u32::try_from(chance.below(9)).unwrap_or_default() + 1;
            Plan { rules: vec![Rule::nth(when, nth, Fault::Hold { side })] }
        });
        let outcome = run(world, &workload, plans.collect()).await;
        println!("{:<12} seed {seed}: killed {} times", workload.name, outcome.kills);
        assert!(outcome.kills > 0, "seed {seed}: never killed");
        reference.assert_equal(&format!("{}: seed {seed}", workload.name), &outcome);
    });
    runs.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// Chance enough to choose by, the same for the same seed: Knuth's generator.
struct Chance(u64);

impl Chance {
    fn of(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(2).wrapping_add(1));
        chance.below(1);
        chance
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % end
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }
}
