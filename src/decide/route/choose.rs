//! Which pool a session goes to, given how far each is and how full. What it must not do: estimate distances
//! ([`super::estimate`]), or hide a pool: every pool stands in the ranking, with its reason.
//!
//! Pools are compared by the priority of their region, then by the rung of what is known, then by **score**: the estimated
//! round trip of the session's parties × what the lobby says of the region × the load penalty. Nearness wins while there is
//! room: below [`KNEE`] there is no penalty. From there it rises in a line to [`PENALTY_WHEN_FULL`]. The knee is where
//! jicofo, Jitsi's selector of video bridges, calls a bridge overloaded (stress ≥ 0.8); the penalty at the end is the factor
//! by which another pool must be better before a session that lives would be moved there ([`is_clearly_better`]).

use std::cmp::Ordering;
use std::time::Duration;

use super::admit::{Out, admit};
use super::estimate::{Estimate, estimates, kilometres, with_floors};
use super::{InFlight, Pool, Pools, tenth};
use crate::wire::routing::{Routing, Strategy};
use crate::wire::session::{ClientPlace, RankedPool, Rung};

/// Which part of a pool's seats may be taken before that counts against it.
pub const KNEE: f64 = 0.8;
/// How much farther a pool counts that has no seat left.
pub const PENALTY_WHEN_FULL: f64 = 1.5;
/// By how many milliseconds, at least, another pool must be better before it is worth a move.
const WORTH_MS: f64 = 10.0;
/// And to which part of the present score. Both are what Tailscale's clients need to change their home relay.
const WORTH_PART: f64 = 2.0 / 3.0;

/// By how much the round trips of a pool count more for its load, 0 to 1.
pub fn load_penalty(load: f64) -> f64 {
    let above = ((load - KNEE) / (1.0 - KNEE)).clamp(0.0, 1.0);
    1.0 + above * (PENALTY_WHEN_FULL - 1.0)
}

/// Whether a score is so much better than the present one that a session which lives is worth moving: by 10 ms and by a
/// third. What is measured with less than 20 % of noise therefore never moves a session back: it is truly nearer where it goes.
pub fn is_clearly_better(score: f64, present: f64) -> bool {
    present - score >= WORTH_MS && score <= present * WORTH_PART
}

/// What is asked: a relay for these parties.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// Where the session's parties are: the host, then guests that are known. The host alone says where it must reside.
    pub parties: Vec<&'a ClientPlace>,
    /// For how long this has been asked already; none = what may be far ([`Routing::caps`]) is no question here.
    pub waited: Option<Duration>,
    /// A number that chance gave.
    pub draw: u64,
    /// Seats that are taken beside what the pools show, in the order of pools and relays, each relay once.
    pub asked: &'a [InFlight],
}

impl<'a> Ask<'a> {
    /// For a host alone, however far.
    pub fn of(place: &'a ClientPlace) -> Self {
        Self { parties: vec![place], waited: None, draw: 0, asked: &[] }
    }
}

impl Ask<'_> {
    /// What was asked for in one pool.
    fn asked_of(&self, pool: usize) -> &[InFlight] {
        let first = self.asked.partition_point(|asked| asked.pool < pool);
        let rest = self.asked.get(first..).unwrap_or_default();
        rest.get(..rest.partition_point(|asked| asked.pool == pool)).unwrap_or_default()
    }
}

/// The relay that was picked, as indices into the pools that were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Which pool.
    pub pool: usize,
    /// Which of its relays.
    pub relay: usize,
    /// From which knowledge its distance was estimated.
    pub rung: Rung,
}

/// All pools by nearness, and the relay of the best that has room.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// All pools, best first.
    pub ranking: Vec<RankedPool>,
    /// Where the session goes; `None` when no pool that it may go to has room.
    pub chosen: Option<Chosen>,
    /// The pool where room is wanted: the one that would be best if all were empty, or a nearer one that nobody could measure
    /// because it has no relay.
    pub wanted: Option<usize>,
}

/// One pool with its keys of order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) index: usize,
    pub(super) estimate: Estimate,
    priority: u32,
    load: f64,
    free_seats: u32,
    /// Round trip as it counts, before load.
    base: Option<f64>,
    /// The same with load.
    pub(super) score: Option<f64>,
    pub(super) out: Option<Out>,
}

impl Candidate {
    fn of(index: usize, pool: &Pool, estimate: Estimate, asked: &[InFlight]) -> Self {
        let seats = pool.seats_with(asked);
        let load = seats.load();
        let base = estimate.ms.map(|ms| ms * pool.terms.factor);
        let score = base.map(|base| base * load_penalty(load));
        let (priority, free_seats) = (pool.terms.priority, seats.free);
        Self { index, estimate, priority, load, free_seats, base, score, out: None }
    }

    fn by(&self, other: &Self, of: fn(&Self) -> Option<f64>) -> Ordering {
        let ms = |candidate: &Self| of(candidate).unwrap_or(f64::MAX);
        // Rungs are declared best first.
        let order = self.priority.cmp(&other.priority).then(self.estimate.rung.cmp(&other.estimate.rung));
        order.then(ms(self).total_cmp(&ms(other)))
    }

    /// Better first. Equal scores: more free seats, then the declared order.
    fn order(&self, other: &Self) -> Ordering {
        let seats = || if self.score.is_some() { other.free_seats.cmp(&self.free_seats) } else { Ordering::Equal };
        self.by(other, |candidate| candidate.score).then_with(seats).then(self.index.cmp(&other.index))
    }

    /// The same as if all pools were empty.
    fn order_of_empty(&self, other: &Self) -> Ordering {
        self.by(other, |candidate| candidate.base).then(self.index.cmp(&other.index))
    }

    fn is_open(&self) -> bool {
        self.out.is_none() && self.free_seats > 0
    }

    /// Whether this pool is worth a move from another: clearly better without load, since load alone moves nobody, and where
    /// that is asked by its score too, so that it stays the better one. What is known less well is not better, and on the
    /// last rung nothing is: a floor ([`with_floors`]) may take a session away from a pool, and to none.
    fn is_worth_a_move_from(&self, here: &Self, needs_score: bool) -> bool {
        let is_better = |of: fn(&Self) -> Option<f64>| {
            of(self).zip(of(here)).is_some_and(|(there, here)| is_clearly_better(there, here))
        };
        self.priority <= here.priority
            && self.estimate.rung <= here.estimate.rung
            && self.estimate.rung < Rung::DeclaredOrder
            && is_better(|pool| pool.base)
            && (!needs_score || is_better(|pool| pool.score))
    }
}

/// All pools with their keys of order, in declared order, and the one where a relay is wanted.
fn candidates(pools: &Pools, ask: &Ask<'_>, routing: &Routing) -> (Vec<Candidate>, Option<usize>) {
    let estimates = together(pools, ask, routing.strategy).into_iter();
    let of = |(index, (pool, estimate))| Candidate::of(index, pool, estimate, ask.asked_of(index));
    let mut all: Vec<Candidate> = pools.iter().zip(estimates).enumerate().map(of).collect();
    let residency = ask.parties.first().and_then(|host| host.residency.as_deref());
    let may_be = |candidate: &&Candidate| {
        let pool = pools.get(candidate.index);
        residency.is_none() || pool.is_some_and(|pool| pool.terms.residency.as_deref() == residency)
    };
    let best = all.iter().filter(may_be).min_by(|a, b| a.order_of_empty(b)).map(|best| best.index);
    admit(&mut all, pools, residency, best, ask.waited, routing);
    let wanted = best.map(|best| asleep(&all, pools, best).unwrap_or(best));
    (all, wanted)
}

/// The pool without relays that is clearly nearer than the one where the session would go. Nobody can measure such a pool, so it
/// stands on a lower rung than those that were, and would stay there for ever: here it is compared whatever its rung.
/// One of which nothing is known sleeps on. `best` = where it would go if all were empty.
fn asleep(all: &[Candidate], pools: &Pools, best: usize) -> Option<usize> {
    let best = all.get(best)?;
    let present = best_open(all).unwrap_or(best).base?;
    let is_nearer = |candidate: &&Candidate| {
        pools.get(candidate.index).is_some_and(|pool| pool.relays.is_empty())
            && candidate.out != Some(Out::Residency)
            && candidate.priority <= best.priority
            && candidate.estimate.rung < Rung::DeclaredOrder
            && candidate.base.is_some_and(|base| is_clearly_better(base, present))
    };
    let base = |candidate: &Candidate| candidate.base.unwrap_or(f64::MAX);
    let nearest = all.iter().filter(is_nearer).min_by(|a, b| base(a).total_cmp(&base(b)));
    nearest.map(|candidate| candidate.index)
}

/// How far each pool is from all parties of which anything is known.
fn together(pools: &Pools, ask: &Ask<'_>, strategy: Strategy) -> Vec<Estimate> {
    let counted = if strategy == Strategy::Host { 1 } else { ask.parties.len() };
    let of_parties = ask.parties.iter().take(counted).map(|place| estimates(pools, place));
    let mut known: Vec<_> = of_parties.filter(|all| all.iter().any(|estimate| estimate.ms.is_some())).collect();
    if known.len() < 2 {
        return known.pop().unwrap_or_else(|| estimates(pools, &ClientPlace::default()));
    }
    #[expect(clippy::cast_precision_loss, reason = "a session has far fewer than 2^52 parties")]
    let count = known.len() as f64;
    let mut known = known.into_iter().map(|all| with_floors(pools, all));
    let mut sum = known.next().unwrap_or_default();
    for next in known {
        for (sum, next) in sum.iter_mut().zip(next) {
            *sum = sum.with(next, strategy);
        }
    }
    if strategy == Strategy::Average {
        for estimate in &mut sum {
            estimate.ms = estimate.ms.map(|ms| ms / count);
        }
    }
    sum
}

impl Estimate {
    /// Of two parties: known as well as the one that is known worse.
    fn with(self, other: Self, strategy: Strategy) -> Self {
        let ms = self.ms.zip(other.ms).map(|(a, b)| match strategy {
            Strategy::Average => a + b,
            Strategy::Worst | Strategy::Host => a.max(b),
        });
        Self { rung: self.rung.max(other.rung), ms }
    }
}

/// The relay for a session, and the pool where room is wanted for it ([`Placement::wanted`]). `pools` are in declared order.
pub fn choose(pools: &Pools, ask: &Ask<'_>, routing: &Routing) -> (Option<Chosen>, Option<usize>) {
    let (candidates, wanted) = candidates(pools, ask, routing);
    (pick(&candidates, pools, ask, routing), wanted)
}

fn pick(candidates: &[Candidate], pools: &Pools, ask: &Ask<'_>, routing: &Routing) -> Option<Chosen> {
    let best = best_open(candidates)?;
    let relay = pools.get(best.index)?.pick(routing.inside, ask.draw, ask.asked_of(best.index))?;
    Some(Chosen { pool: best.index, relay, rung: best.estimate.rung })
}

/// The same, with all pools in their order and a reason for each.
pub fn place(pools: &Pools, ask: &Ask<'_>, routing: &Routing) -> Placement {
    let (mut candidates, wanted) = candidates(pools, ask, routing);
    let chosen = pick(&candidates, pools, ask, routing);
    candidates.sort_by(Candidate::order);
    let nowhere = ClientPlace::default();
    let km = kilometres(pools, ask.parties.first().copied().unwrap_or(&nowhere));
    let ranking = candidates.iter().enumerate().filter_map(|(rank, candidate)| {
        let pool = pools.get(candidate.index)?;
        let picked = chosen.is_some_and(|chosen| chosen.pool == candidate.index);
        Some(ranked(rank, candidate, pool, km(pool), picked))
    });
    Placement { ranking: ranking.collect(), chosen, wanted }
}

/// Whether a session may stay in the pool `home`, of which one seat is its own: it may reside there, no pool with room is of a
/// better priority, and none is worth leaving it for.
pub fn may_stay(pools: &Pools, home: usize, ask: &Ask<'_>, routing: &Routing) -> bool {
    let (candidates, _) = candidates(pools, ask, routing);
    let Some(here) = candidates.get(home) else { return false };
    let Some(best) = best_open(&candidates) else { return true };
    let must_leave = here.out == Some(Out::Residency) || best.priority < here.priority;
    // What may be overflowed to changes with the pool that is best by a hair: out by that alone it is as near as it was. What is
    // clearly nearer than a home that is out is gone to however full it is.
    let needs_score = here.out.is_none();
    !must_leave && !best.is_worth_a_move_from(here, needs_score)
}

/// The pool with room that is clearly nearer to the parties than `home`, if the best of all is.
pub fn clearly_nearer(pools: &Pools, home: usize, ask: &Ask<'_>, routing: &Routing) -> Option<usize> {
    let (candidates, _) = candidates(pools, ask, routing);
    let (here, best) = (candidates.get(home)?, best_open(&candidates)?);
    best.is_worth_a_move_from(here, true).then_some(best.index)
}

/// The best pool with room.
fn best_open(candidates: &[Candidate]) -> Option<&Candidate> {
    candidates.iter().filter(|candidate| candidate.is_open()).min_by(|a, b| a.order(b))
}

fn ranked(rank: usize, candidate: &Candidate, pool: &Pool, km: Option<f64>, picked: bool) -> RankedPool {
    let Candidate { estimate, free_seats, score, load, out, .. } = *candidate;
    let by = match estimate.rung {
        Rung::Measured => "by the round trip that the client measured",
        Rung::Network => "by round trips that others of the client's network measured",
        Rung::Coordinates => "by distance from the client's coordinates",
        Rung::Region => "by distance from the client's region",
        Rung::GeoIp => "by distance from where the client's address is",
        Rung::DeclaredOrder => "in declared order, as nothing is known of the client",
    };
    let place = match rank {
        0 => format!("first {by}"),
        _ => format!("number {} {by}", rank + 1),
    };
    let room = match (out, free_seats, picked) {
        (Some(out), ..) => out.to_string(),
        (None, 0, _) => pool.why_no_room().to_owned(),
        (None, _, true) if rank == 0 => "has room: chosen".to_owned(),
        (None, _, true) => "the first that has room: chosen".to_owned(),
        (None, _, false) => "has room".to_owned(),
    };
    RankedPool {
        pool: pool.name.clone(),
        region: pool.region.clone(),
        rung: estimate.rung,
        estimate_ms: estimate.ms.map(tenth),
        distance_km: km,
        free_seats,
        load: (load * 1000.0).round() / 1000.0,
        score: score.map(tenth),
        reason: format!("{place}; {room}"),
    }
}
