//! Which pool a client goes to, given how far each is and how full. What it must not do: estimate distances
//! ([`super::estimate`]), or hide a full pool: every pool stands in the ranking, with its reason.

use super::estimate::{Estimate, estimates};
use super::{Pool, tenth};
use crate::wire::session::{ClientPlace, RankedPool, Rung};

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

/// All pools by nearness, and the relay of the nearest that has room.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// All pools, nearest first.
    pub ranking: Vec<RankedPool>,
    /// Where the session goes; `None` when no pool has room.
    pub chosen: Option<Chosen>,
}

/// One pool with its keys of order.
struct Candidate {
    index: usize,
    estimate: Estimate,
    free_seats: u32,
}

/// Ranks `pools`, given in declared order, for a client at `place`.
pub fn place(pools: &[Pool<'_>], place: &ClientPlace) -> Placement {
    let of = |(index, (pool, estimate)): (usize, (&Pool<'_>, Estimate))| Candidate {
        index,
        estimate,
        free_seats: pool.free_seats(),
    };
    let mut candidates: Vec<Candidate> = pools.iter().zip(estimates(pools, place)).enumerate().map(of).collect();
    // Rungs are declared best first. Equal estimates: more free seats, then the declared order.
    candidates.sort_by(|a, b| {
        let ms = |candidate: &Candidate| candidate.estimate.ms.unwrap_or(f64::MAX);
        a.estimate.rung.cmp(&b.estimate.rung).then(ms(a).total_cmp(&ms(b))).then(match a.estimate.ms {
            Some(_) => b.free_seats.cmp(&a.free_seats).then(a.index.cmp(&b.index)),
            None => a.index.cmp(&b.index),
        })
    });
    let chosen = candidates.iter().find_map(|candidate| {
        let relay = pools.get(candidate.index)?.pack()?;
        Some(Chosen { pool: candidate.index, relay, rung: candidate.estimate.rung })
    });
    let ranking = candidates.iter().enumerate().filter_map(|(rank, candidate)| {
        let pool = pools.get(candidate.index)?;
        let picked = chosen.is_some_and(|chosen| chosen.pool == candidate.index);
        Some(ranked(rank, candidate, pool, picked))
    });
    Placement { ranking: ranking.collect(), chosen }
}

fn ranked(rank: usize, candidate: &Candidate, pool: &Pool<'_>, picked: bool) -> RankedPool {
    let Candidate { estimate, free_seats, .. } = *candidate;
    let by = match estimate.rung {
        Rung::Measured => "by the round trip that the client measured",
        Rung::Coordinates => "by distance from the client's coordinates",
        Rung::Region => "by distance from the client's region",
        Rung::DeclaredOrder => "in declared order, as nothing is known of the client",
    };
    let place = match rank {
        0 => format!("first {by}"),
        _ => format!("number {} {by}", rank + 1),
    };
    let room = match (free_seats, picked) {
        (0, _) => pool.why_no_room(),
        (_, true) if rank == 0 => "has room: chosen",
        (_, true) => "the first that has room: chosen",
        (_, false) => "has room",
    };
    RankedPool {
        pool: pool.name.to_owned(),
        region: pool.region.to_owned(),
        rung: estimate.rung,
        estimate_ms: estimate.ms.map(tenth),
        distance_km: estimate.km,
        free_seats,
        reason: format!("{place}; {room}"),
    }
}
