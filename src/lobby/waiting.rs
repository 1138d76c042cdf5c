//! Requests that wait for a seat: each takes its turn, in the order in which they came, while there is room somewhere.
//!
//! Those who would take any seat stand in one line with those of other lobby processes: each process says how long its own
//! have waited, and leaves a seat for each who has waited longer elsewhere. The line holds to a fraction of a second; it is
//! manners, not a lock: a seat that nobody takes for about half a second is anybody's. A request that goes away leaves its place
//! by being dropped.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::problem::Refusal;
use super::state::Lobby;
use super::table::Table;
use crate::decide::waiting::{self, Queue, Wish};
use crate::process::clock;
use crate::wire::stats::Demand;

/// How often it is looked for a seat while somebody waits.
const EVERY: Duration = Duration::from_millis(50);
/// How often it is looked whether somebody waits elsewhere.
const ELSEWHERE_EVERY: Duration = Duration::from_millis(250);
/// In how many rounds in a row a seat is left for those who have waited longer elsewhere. Not a time: a machine that stood
/// still has given nobody a chance.
const LEFT_ROUNDS: u32 = 10;
/// Of how many who wait other processes are told: those behind them need no seat left yet.
const TOLD: usize = 100;
/// How long one may try before the next one's turn comes.
const TURN_AT_MOST: Duration = Duration::from_secs(2);

/// A turn; it is over when this is dropped.
type Turn = oneshot::Sender<()>;

/// Those who wait at this lobby process.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Mutex<Queue<mpsc::Sender<Turn>>>,
    /// Somebody has come or gone.
    changed: Notify,
    /// How long those have waited who wait at other lobby processes.
    others: Mutex<Vec<Duration>>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Queue<mpsc::Sender<Turn>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, wish: Wish) -> Place<'_> {
        let (call, turns) = mpsc::channel(1);
        let ticket = self.lock().enter(wish, call, clock::monotonic());
        self.changed.notify_one();
        Place { waiting: self, ticket, turns }
    }

    fn after(&self, ticket: Option<u64>) -> Option<(u64, Option<Duration>, mpsc::Sender<Turn>)> {
        self.lock().after(ticket).map(|turn| (turn.ticket, turn.came, turn.call.clone()))
    }

    /// A session went elsewhere that would have gone to this pool, by namespace and name, had it a relay.
    pub(super) fn want(&self, pool: (String, String)) {
        self.lock().want(pool, clock::monotonic());
    }

    fn others(&self) -> MutexGuard<'_, Vec<Duration>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue.
#[derive(Debug)]
struct Place<'a> {
    waiting: &'a Waiting,
    ticket: u64,
    turns: mpsc::Receiver<Turn>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.lock().leave(self.ticket);
        self.waiting.changed.notify_one();
    }
}

/// How long one request waits, and where it stands meanwhile.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    lobby: &'a Lobby,
    wait: Duration,
    began: Duration,
    until: Instant,
    place: Option<Place<'a>>,
    turn: Option<Turn>,
}

impl Patience<'_> {
    /// For how long it has been asked.
    pub(super) fn waited(&self) -> Duration {
        clock::monotonic().saturating_sub(self.began)
    }

    /// When it ends.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// Whether others came before who would take any seat.
    pub(super) fn is_behind(&self) -> bool {
        let Lobby { waiting, .. } = self.lobby;
        if self.place.is_some() {
            return false;
        }
        let others = waiting.others();
        // Nobody who comes now has waited longer.
        let left = !others.is_empty() && !waiting::may_take(free_seats(self.lobby), &others, Duration::ZERO);
        left || waiting.lock().wants_any()
    }

    /// After a refusal: waits for the next turn to try. The refusal comes back where waiting does not help, or no longer.
    pub(super) async fn again(&mut self, refusal: Refusal, wish: impl FnOnce() -> Option<Wish>) -> Result<(), Refusal> {
        self.turn = None;
        if self.wait.is_zero() || !refusal.may_pass() {
            return Err(refusal);
        }
        if self.place.is_none() {
            self.place = wish().map(|wish| self.lobby.waiting.enter(wish));
        }
        let Some(place) = &mut self.place else { return Err(refusal) };
        match tokio::time::timeout_at(self.until, place.turns.recv()).await {
            Ok(Some(turn)) => {
                self.turn = Some(turn);
                Ok(())
            }
            Ok(None) | Err(_) => Err(refusal),
        }
    }
}

impl Lobby {
    /// The patience of a request that may wait for so long.
    pub(super) fn patience(&self, wait: Duration) -> Patience<'_> {
        let (began, until) = (clock::monotonic(), Instant::now() + wait);
        Patience { lobby: self, wait, began, until, place: None, turn: None }
    }

    /// What this lobby process is asked for, pool by pool.
    pub(super) fn demand(&self, table: &Table) -> Demand {
        self.waiting.lock().demand(&table.table, &self.settled_board().view, clock::monotonic())
    }
}

/// Gives turns to those who wait, until `shutdown`; then nobody waits any longer.
pub(super) async fn run(lobby: &Lobby, shutdown: &CancellationToken) {
    let rounds = async {
        let mut left_rounds = 0;
        loop {
            if lobby.waiting.lock().is_empty() {
                let _ = tokio::time::timeout(ELSEWHERE_EVERY, lobby.waiting.changed.notified()).await;
            }
            tokio::time::sleep(EVERY).await;
            stand_in_line(lobby).await;
            if !lobby.waiting.lock().is_empty() {
                // Leases that ran out free seats.
                lobby.sweep().await;
                left_rounds = round(lobby, left_rounds).await;
                // Those who have their seat now are waited for no longer.
                stand_in_line(lobby).await;
            }
        }
    };
    shutdown.run_until_cancelled(rounds).await;
    lobby.waiting.lock().clear();
}

/// Tells other lobby processes who waits here, and hears who waits there. Without the store nobody is waited for.
async fn stand_in_line(lobby: &Lobby) {
    let ages = lobby.waiting.lock().ages(clock::monotonic(), TOLD);
    *lobby.waiting.others() = lobby.store.line(&ages).await.unwrap_or_default();
}

/// One turn for each, first come first served, for as long as there is room somewhere. Given and returned: for how many
/// rounds there has been room that was left for others.
async fn round(lobby: &Lobby, left_rounds: u32) -> u32 {
    let (mut last, mut left) = (None, false);
    loop {
        let free = free_seats(lobby);
        let Some((ticket, came, call)) = lobby.waiting.after(last).filter(|_| free > 0) else { break };
        last = Some(ticket);
        let now = clock::monotonic();
        let polite = left_rounds < LEFT_ROUNDS;
        let may_take = |came| waiting::may_take(free, &lobby.waiting.others(), now.saturating_sub(came));
        if polite && came.is_some_and(|came| !may_take(came)) {
            left = true;
            continue;
        }
        let (turn, over) = oneshot::channel();
        if call.try_send(turn).is_ok() {
            // It drops its turn when it has tried, or goes away with it.
            let _ = tokio::time::timeout(TURN_AT_MOST, over).await;
        }
    }
    if left { left_rounds + 1 } else { 0 }
}

/// Seats that are free anywhere, as far as is known.
fn free_seats(lobby: &Lobby) -> u32 {
    lobby.settled_board().pools().iter().fold(0, |sum, pool| sum.saturating_add(pool.free_seats()))
}
