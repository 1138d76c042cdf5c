//! The board that choices look at: made anew off their way as soon as something has changed, and swapped. Who chooses takes
//! no lock and waits for nobody; only who was refused by what may be old asks for a new one first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::state::Lobby;
use super::table::Table;
use crate::decide::sessions::{Asked, Board, View};
use crate::process::clock;

/// How old a board gets while nothing is heard: relays fall silent by saying nothing.
const AT_MOST: Duration = Duration::from_millis(250);
/// After a board that took so long or longer, three times as long passes before the next: making them must not fill a core.
const LONG: Duration = Duration::from_micros(200);

/// The board of now, and those who make the next one.
#[derive(Debug, Default)]
pub(super) struct Boards {
    now: ArcSwap<Now>,
    /// Held by who makes one: boards are swapped in the order of the views that they were made of.
    making: Mutex<()>,
    /// Boards that were begun.
    begun: AtomicU64,
    /// A seat was granted or refused: the next board is to show it.
    settled: Notify,
}

/// A board, and what it cannot know yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    pub(super) board: Arc<Board>,
    /// Seats that this process has asked its store for, until a board shows what came of it.
    pub(super) asked: Asked,
    /// Those that were answered, and how many boards were begun by then.
    answered: Vec<(Arc<str>, u64)>,
}

impl Boards {
    /// How it is now.
    pub(super) fn now(&self) -> Arc<Now> {
        self.now.load_full()
    }

    /// One more is asked for, until what is returned is dropped: when the store has answered, or nobody waits for it.
    pub(super) fn ask(&self, pod_uid: &str) -> Seat<'_> {
        let pod_uid: Arc<str> = pod_uid.into();
        self.change(|now| *now.asked.entry(Arc::clone(&pod_uid)).or_default() += 1);
        Seat { boards: self, pod_uid }
    }

    /// Makes a board that shows all that was before this call: `table` and `view` are asked once it is begun.
    pub(super) fn make(&self, table: impl FnOnce() -> Option<Arc<Table>>, view: impl FnOnce() -> Arc<View>) {
        let before = self.begun.load(Ordering::SeqCst);
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.begun.load(Ordering::SeqCst) > before {
            // Somebody else has begun one since, and it is there.
            return;
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let table = table().map(|table| Arc::clone(&table.table)).unwrap_or_default();
        let board = Arc::new(Board::new(table, view()));
        self.change(|now| {
            now.board = Arc::clone(&board);
            now.forget(number);
        });
    }

    fn change(&self, change: impl Fn(&mut Now)) {
        self.now.rcu(|now| {
            let mut now = Now::clone(now);
            change(&mut now);
            now
        });
    }
}

impl Now {
    /// Forgets what was answered before the board of this number was begun: that one shows it.
    fn forget(&mut self, number: u64) {
        for (pod_uid, _) in self.answered.extract_if(.., |(_, begun)| *begun < number) {
            if let Some(count) = self.asked.get_mut(&pod_uid) {
                *count -= 1;
                if *count == 0 {
                    self.asked.remove(&pod_uid);
                }
            }
        }
    }
}

/// A seat that was asked for.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    boards: &'a Boards,
    pod_uid: Arc<str>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let begun = self.boards.begun.load(Ordering::SeqCst);
        self.boards.change(|now| now.answered.push((Arc::clone(&self.pod_uid), begun)));
        self.boards.settled.notify_one();
    }
}

impl Lobby {
    /// The board of now.
    pub(super) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.boards.now().board)
    }

    /// A board that shows all seats that were granted here before this call: what is told of seats is then never more than
    /// what somebody may know who was just granted one.
    pub(super) fn settled_board(&self) -> Arc<Board> {
        let now = self.boards.now();
        if now.asked.is_empty() { Arc::clone(&now.board) } else { self.new_board() }
    }

    /// A board that shows all that was before this call.
    pub(super) fn new_board(&self) -> Arc<Board> {
        self.boards.make(|| self.table(), || self.store.view());
        self.board()
    }

    /// What is found on the board of now or, `anew`, on one that shows all that was before this call.
    pub(super) fn look<T, E>(&self, anew: bool, find: impl Fn(&Board, &Asked) -> Result<T, E>) -> Result<T, E> {
        if anew {
            self.new_board();
        }
        let now = self.boards.now();
        match find(&now.board, &now.asked) {
            // What was asked for may already show. Before anybody is refused for it, the store is asked: it knows.
            Err(_) if anew => find(&now.board, &Asked::new()),
            found => found,
        }
    }
}

/// Keeps the board current, until `shutdown`.
pub(super) async fn run(lobby: &Lobby, shutdown: &CancellationToken) {
    let rounds = async {
        loop {
            let heard = async {
                tokio::select! {
                    () = lobby.store.changed().notified() => {}
                    () = lobby.boards.settled.notified() => {}
                }
            };
            let _ = tokio::time::timeout(AT_MOST, heard).await;
            let begin = clock::monotonic();
            lobby.new_board();
            let took = clock::monotonic().saturating_sub(begin);
            if took >= LONG {
                tokio::time::sleep(took * 3).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    };
    shutdown.run_until_cancelled(rounds).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(of: &[(&str, u32)]) -> Asked {
        of.iter().map(|(pod_uid, count)| (Arc::from(*pod_uid), *count)).collect()
    }

    fn make(boards: &Boards) {
        boards.make(|| None, Arc::default);
    }

    #[test]
    fn a_seat_counts_until_a_board_was_made_after_the_answer() {
        let boards = Boards::default();
        let (one, two, other) = (boards.ask("a"), boards.ask("a"), boards.ask("b"));
        make(&boards);
        assert_eq!(boards.now().asked, asked(&[("a", 2), ("b", 1)]), "nobody has answered");
        drop((one, other));
        assert_eq!(boards.now().asked, asked(&[("a", 2), ("b", 1)]), "no board shows it");
        make(&boards);
        assert_eq!(boards.now().asked, asked(&[("a", 1)]));
        // Answered while a board is made: that one may not show it.
        boards.make(
            || {
                drop(two);
                None
            },
            Arc::default,
        );
        assert_eq!(boards.now().asked, asked(&[("a", 1)]));
        make(&boards);
        assert_eq!(boards.now().asked, asked(&[]));
    }
}
