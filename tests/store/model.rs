//! The same random steps against the session book and against Redis: the same outcomes, orders, views and sessions.

mod both;
mod step;

use convene::decide::sessions::{Book, Limits};
use proptest::prelude::*;

use self::both::Both;
use self::step::{Step, step};
use crate::server::Server;
use crate::values::{self, Connected};

const SMALL: Limits = Limits { sessions: 8, ..values::LIMITS };
const PODS: [&str; 3] = ["p0", "p1", "p2"];
const IDS: usize = 12;
const GUESTS: usize = 4;
/// Lobby processes at which somebody waits.
const PROCESSES: usize = 3;

#[test]
fn redis_does_what_the_book_does() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start());
    let case = std::sync::atomic::AtomicU32::new(0);
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec(step(), 1..60);
    proptest!(config, |(steps in steps)| {
        let prefix = format!("case{}", case.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        runtime.block_on(async {
            let redis = Connected::to(server.url(), &prefix, SMALL, Some(1_000_000)).await;
            let mut others = Vec::new();
            for _ in 1..PROCESSES {
                others.push(Connected::to(server.url(), &prefix, SMALL, Some(1_000_000)).await);
            }
            let book = Book::new(SMALL, redis.now());
            let mut both = Both::new(book, redis, others);
            for step in steps {
                both.take(step).await;
            }
            both.finish().await;
        });
    });
}

#[tokio::test]
async fn a_run_that_was_forgotten_while_its_link_stands_is_known_by_the_link() {
    let server = Server::start().await;
    let redis = Connected::to(server.url(), "x", SMALL, Some(1_000_000)).await;
    let book = Book::new(SMALL, redis.now());
    let mut both = Both::new(book, redis, Vec::new());
    let up = |pod, late| Step::LinkUp { pod, late, boot: 0, capacity: 1, records: Vec::new(), open: Vec::new() };
    for step in [up(0, false), up(1, false), up(0, false), Step::Wait { ms: 700_000 }, Step::Sweep, up(0, true)] {
        both.take(step).await;
    }
    both.finish().await;
}
