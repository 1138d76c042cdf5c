//! Who waits for a seat, in which order they are served, and what that asks of each pool.
//!
//! A seat that appears is offered to those who wait in the order in which they came; each takes it or, if it can make no
//! use of it, lets the next one try. What it must not do: grant seats (the store alone does), or keep time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::route::{self, Ask};
use super::sessions::{Board, Target, View};
use crate::wire::routing::{Overflow, Routing};
use crate::wire::session::ClientPlace;
use crate::wire::stats::{Demand, PoolDemand};
use crate::wire::table::{PoolEntry, RelayTable};

/// What somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Namespace of the pool that would be best.
    pub namespace: String,
    /// Name of that pool.
    pub pool: String,
    /// Whether a seat of any pool will do.
    pub anywhere: bool,
}

impl Wish {
    /// What somebody at `place` wishes who may go to the pools of `target`; none = there is no such pool.
    pub fn of(board: &Board, place: &ClientPlace, target: &Target) -> Option<Self> {
        let board = target.narrow(board);
        let table = &board.table;
        let (_, wanted) = route::choose(board.pools(), &Ask::of(place), &table.routing);
        let best = table.pools.get(wanted?)?;
        let Routing { overflow, ref caps, .. } = table.routing;
        let goes_anywhere = overflow == Overflow::Nearest && caps.is_empty() && place.residency.is_none();
        let anywhere = *target == Target::Best && goes_anywhere;
        Some(Self { namespace: best.namespace.clone(), pool: best.name.clone(), anywhere })
    }
}

/// One who waits.
#[derive(Clone, Debug)]
struct Waiter<T> {
    wish: Wish,
    came: Duration,
    call: T,
}

/// Whose turn it is.
#[derive(Debug)]
pub struct Turn<'a, T> {
    /// Its place in the order.
    pub ticket: u64,
    /// When it came, where a seat of any pool will do: it then stands in one line with those who wait at other lobby
    /// processes.
    pub came: Option<Duration>,
    /// The way to call it.
    pub call: &'a T,
}

/// Whether somebody who has waited for `age` may take a seat while so many are free and others wait at other lobby
/// processes: one seat is left for each of them that has waited longer.
pub fn may_take(free: u32, others: &[Duration], age: Duration) -> bool {
    let before = others.iter().filter(|other| **other > age).count();
    usize::try_from(free).unwrap_or(usize::MAX) > before
}

/// For how long a pool without relays is wanted after a session went elsewhere that would have gone there. Longer than the
/// operator needs to hear of it and to make a relay.
pub const WANTED_FOR: Duration = Duration::from_secs(60);

/// Those who wait, each with the way to call it; and pools without relays that sessions would have gone to.
#[derive(Debug)]
pub struct Queue<T> {
    next: u64,
    waiting: BTreeMap<u64, Waiter<T>>,
    /// Until when, by namespace and name.
    wanted: BTreeMap<(String, String), Duration>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { next: 0, waiting: BTreeMap::new(), wanted: BTreeMap::new() }
    }
}

impl<T> Queue<T> {
    /// Somebody comes; the number is its place in the order.
    pub fn enter(&mut self, wish: Wish, call: T, now: Duration) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.waiting.insert(ticket, Waiter { wish, came: now, call });
        ticket
    }

    /// Somebody has what it wanted, or waits no longer.
    pub fn leave(&mut self, ticket: u64) {
        self.waiting.remove(&ticket);
    }

    /// All go.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether somebody waits whom a seat of any pool would serve: who comes later must not take it.
    pub fn wants_any(&self) -> bool {
        self.waiting.values().any(|waiter| waiter.wish.anywhere)
    }

    /// Whose turn it is after `ticket`, or first of all.
    pub fn after(&self, ticket: Option<u64>) -> Option<Turn<'_, T>> {
        let from = ticket.map_or(0, |ticket| ticket + 1);
        self.waiting.range(from..).next().map(|(ticket, Waiter { wish, came, call })| Turn {
            ticket: *ticket,
            came: wish.anywhere.then_some(*came),
            call,
        })
    }

    /// How long those have waited, at most `most` of them, whom a seat of any pool would serve; the first first.
    pub fn ages(&self, now: Duration, most: usize) -> Vec<Duration> {
        let any = self.waiting.values().filter(|waiter| waiter.wish.anywhere);
        any.map(|waiter| now.saturating_sub(waiter.came)).take(most).collect()
    }

    /// A session went elsewhere because this pool, by namespace and name, has no relay at all: one is wanted, as if somebody
    /// waited for it.
    pub fn want(&mut self, pool: (String, String), now: Duration) {
        self.wanted.retain(|_, until| *until > now);
        self.wanted.insert(pool, now + WANTED_FOR);
    }

    fn is_wanted(&self, pool: &PoolEntry, now: Duration) -> bool {
        let until = self.wanted.get(&(pool.namespace.clone(), pool.name.clone()));
        pool.relays.is_empty() && until.is_some_and(|until| *until > now)
    }

    /// What is asked of each pool of the table.
    pub fn demand(&self, table: &RelayTable, view: &View, now: Duration) -> Demand {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let pools = table.pools.iter().map(|pool| {
            let here = |wish: &Wish| wish.pool == pool.name && wish.namespace == pool.namespace;
            let runs = pool.relays.iter().filter_map(|relay| view.runs.get(&relay.pod_uid));
            let waiting = self.waiting.values().filter(|waiter| here(&waiter.wish)).count();
            PoolDemand {
                namespace: pool.namespace.clone(),
                pool: pool.name.clone(),
                region: pool.region.clone(),
                waiting: count(waiting.max(usize::from(self.is_wanted(pool, now)))),
                leases: runs.map(|run| run.used().saturating_sub(run.stats.sessions)).sum(),
            }
        });
        Demand { pools: pools.collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decide::sessions::RunView;
    use crate::wire::stats::RelayStats;
    use crate::wire::table::RelayEntry;

    fn table() -> RelayTable {
        let pool = |name: &str, longitude: f64| PoolEntry {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            region: format!("{name}-region"),
            latitude: 0.0,
            longitude,
            relays: vec![RelayEntry {
                name: format!("{name}-0"),
                pod_uid: format!("{name}0"),
                url: "ws://x".to_owned(),
                capacity: 4,
                cordoned: false,
                leaving: false,
            }],
        };
        RelayTable { pools: vec![pool("a", 0.0), pool("b", 90.0)], ..RelayTable::default() }
    }

    fn wish(pool: &str, anywhere: bool) -> Wish {
        Wish { namespace: "n".to_owned(), pool: pool.to_owned(), anywhere }
    }

    #[test]
    fn turns_go_round_in_the_order_of_coming() {
        let mut queue = Queue::default();
        assert!(queue.after(None).is_none() && queue.is_empty());
        let tickets: Vec<u64> = ["x", "y", "z"].map(|call| queue.enter(wish("a", false), call, Duration::ZERO)).into();
        queue.leave(tickets[1]);
        let mut order = Vec::new();
        let mut last = None;
        while let Some(Turn { ticket, call, .. }) = queue.after(last) {
            order.push(*call);
            last = Some(ticket);
        }
        assert_eq!(order, ["x", "z"]);
        // Who comes again stands behind.
        queue.enter(wish("a", false), "y", Duration::ZERO);
        assert_eq!(queue.after(last).map(|turn| *turn.call), Some("y"));
        assert!(!queue.wants_any());
        let ticket = queue.enter(wish("b", true), "any", Duration::from_secs(3));
        assert_eq!(queue.ages(Duration::from_secs(5), 9), [Duration::from_secs(2)]);
        assert!(queue.wants_any());
        queue.leave(ticket);
        assert!(!queue.wants_any());
    }

    #[test]
    fn a_seat_is_left_for_each_who_has_waited_longer_elsewhere() {
        let seconds = |ages: &[u64]| ages.iter().copied().map(Duration::from_secs).collect::<Vec<_>>();
        for (free, others, age, may) in [
            (0, &[][..], 9, false),
            (1, &[], 0, true),
            (1, &[5], 9, true),
            (1, &[5], 5, true),
            (1, &[5], 4, false),
            (2, &[5], 4, true),
            (2, &[5, 6, 1], 4, false),
            (3, &[5, 6, 1], 4, true),
        ] {
            assert_eq!(may_take(free, &seconds(others), Duration::from_secs(age)), may, "{free} {others:?} {age}");
        }
    }

    #[test]
    fn a_wish_is_for_the_best_pool_whether_or_not_it_has_room() {
        let (table, near_b) = (table(), ClientPlace { region: Some("b-region".to_owned()), ..ClientPlace::default() });
        let board = |table: &RelayTable| Board::new(Arc::new(table.clone()), Arc::default());
        let of = |place: &ClientPlace, target: Target| Wish::of(&board(&table), place, &target);
        assert_eq!(of(&ClientPlace::default(), Target::Best), Some(wish("a", true)));
        assert_eq!(of(&near_b, Target::Best), Some(wish("b", true)));
        assert_eq!(of(&near_b, Target::Region("a-region".to_owned())), Some(wish("a", false)));
        assert_eq!(of(&near_b, Target::Pool("c".to_owned())), None);
        // Who may not go everywhere takes nobody's place by waiting.
        let mut bound = table.clone();
        bound.routing.overflow = Overflow::Never;
        assert_eq!(Wish::of(&board(&bound), &near_b, &Target::Best), Some(wish("b", false)));
    }

    #[test]
    fn demand_is_who_waits_and_leases_that_nobody_has_claimed() {
        let mut queue = Queue::default();
        for pool in ["b", "b", "a", "gone"] {
            queue.enter(wish(pool, true), (), Duration::ZERO);
        }
        let mut view = View::default();
        let stats = RelayStats { capacity: 4, sessions: 1, leases: 1, ..RelayStats::default() };
        let run = RunView {
            home: None,
            boot_id: "x".to_owned(),
            linked: true,
            told: true,
            silence: Duration::ZERO,
            stats,
            // One more was granted than the relay has reported yet.
            held: 2,
            in_flight: 1,
            keys: Vec::new(),
        };
        view.runs.insert("b0".to_owned(), run);
        let demand = queue.demand(&table(), &view, Duration::ZERO);
        let told: Vec<(&str, u32, u32)> =
            demand.pools.iter().map(|pool| (pool.pool.as_str(), pool.waiting, pool.leases)).collect();
        assert_eq!(told, [("a", 1, 0), ("b", 2, 2)]);
    }

    #[test]
    fn a_pool_without_relays_is_wanted_for_a_while_after_a_session_went_elsewhere() {
        let (mut queue, mut table, view) = (Queue::<()>::default(), table(), View::default());
        let waiting = |queue: &Queue<()>, table: &RelayTable, seconds| -> Vec<u32> {
            let demand = queue.demand(table, &view, Duration::from_secs(seconds));
            demand.pools.iter().map(|pool| pool.waiting).collect()
        };
        let relays = std::mem::take(&mut table.pools[1].relays);
        assert_eq!(waiting(&queue, &table, 5), [0, 0]);
        for seconds in [5, 7] {
            queue.want(("n".to_owned(), "b".to_owned()), Duration::from_secs(seconds));
        }
        // However many went elsewhere: one relay is enough to begin with.
        assert_eq!(waiting(&queue, &table, 7), [0, 1]);
        assert_eq!(waiting(&queue, &table, 66), [0, 1]);
        assert_eq!(waiting(&queue, &table, 67), [0, 0]);
        // Its relays say by themselves how full they are.
        table.pools[1].relays = relays;
        assert_eq!(waiting(&queue, &table, 8), [0, 0]);
    }
}
