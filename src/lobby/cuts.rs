//! Counts participants that were cut: who is sent away or lost with a relay, and is not back in time. What this process
//! hears of relays that are linked to it is in its memory; who has come back, to whichever process' relays, is in the store.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::state::Lobby;
use super::store::{Away, Via};
use super::table::Table;
use crate::decide::cuts::{Cuts, Fate, Lost, MAX_ID, Run, RunFate, Verdict};
use crate::decide::sessions::{Known, Present, View, find, is_of};
use crate::process::clock;
use crate::wire::link::{MAX_WHO, Presence};
use crate::wire::routing::Strategy;

/// How often it is looked who must be back.
const EVERY: Duration = Duration::from_millis(500);
/// Sessions that are looked at in one round.
const AT_ONCE: usize = 1000;

/// Whom this process waits for.
#[derive(Debug, Default)]
pub(super) struct Absent(Mutex<Cuts>);

impl Absent {
    fn lock(&self) -> MutexGuard<'_, Cuts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A relay has linked up.
    pub(super) fn link_up(&self, link: u64, run: Run) {
        self.lock().link_up(link, run, clock::monotonic());
    }

    /// A link has ended.
    pub(super) fn link_down(&self, via: Via<'_>) {
        self.lock().link_down(via.pod_uid, via.link, clock::monotonic());
    }
}

impl Lobby {
    /// A relay tells of participants. `leaves` = it has said that it is to leave.
    pub(super) async fn participants(&self, via: Via<'_>, news: Vec<Presence>, leaves: bool) -> Result<(), Away> {
        let sent = news.iter().any(|one| one.sent > 0);
        let leaving = |table: &Table| self.store.view().leaving(&table.table).contains(via.pod_uid);
        let leaves = leaves || sent && self.table().is_some_and(|table| leaving(&table));
        self.present(via, &news).await?;
        let came = self.absent.lock().told(via.pod_uid, via.link, news, leaves, clock::monotonic());
        if came.is_empty() { Ok(()) } else { self.store.came(via, &came).await }
    }
}

impl Lobby {
    /// Whose places need not be known any more, where any are.
    async fn present(&self, via: Via<'_>, news: &[Presence]) -> Result<(), Away> {
        if self.table().is_none_or(|table| table.table.routing.strategy == Strategy::Host) {
            return Ok(());
        }
        let named = news.iter().filter(|one| one.session.len() <= MAX_ID).filter_map(|one| {
            let who = one.who.as_ref().filter(|who| who.len() <= MAX_WHO)?;
            Some(Present { session: one.session.clone(), epoch: one.epoch, who: who.clone() })
        });
        let named: Vec<Present> = named.collect();
        if named.is_empty() { Ok(()) } else { self.store.present(via, &named, clock::unix_seconds()).await }
    }
}

/// Looks who is not back, until `shutdown`.
pub(super) async fn run(lobby: &Lobby, shutdown: &CancellationToken) {
    let rounds = async {
        loop {
            tokio::time::sleep(EVERY).await;
            round(lobby).await;
            let present = i64::try_from(lobby.absent.lock().present()).unwrap_or(i64::MAX);
            lobby.metrics.participants.with_label_values::<&str>(&[]).set(present);
        }
    };
    shutdown.run_until_cancelled(rounds).await;
}

async fn round(lobby: &Lobby) {
    let due = lobby.absent.lock().due(AT_ONCE, clock::monotonic());
    for lost in due {
        let fate = fate(lobby, &lost).await;
        let now = clock::monotonic();
        let verdict = match fate {
            Some((session, run)) => lost.judge(session, run),
            None => Verdict::Wait(lost),
        };
        match verdict {
            Verdict::Cut(_, 0) => {}
            Verdict::Cut(cause, cut) => {
                tracing::warn!(cause = cause.as_str(), cut, "participants of a session did not come back");
                lobby.metrics.cut.with_label_values(&[cause.as_str()]).inc_by(cut.into());
            }
            Verdict::Wait(lost) => lobby.absent.lock().again(lost, now),
        }
    }
}

/// What has become of a session and of the run where it was; nothing where that cannot be asked now.
async fn fate(lobby: &Lobby, lost: &Lost) -> Option<(Fate, RunFate)> {
    let table = lobby.table()?;
    let known = lobby.store.find(&lost.session).await.ok()?;
    // What is known without the store does not tell who has come.
    if lobby.store.is_away() {
        return None;
    }
    let session = match known {
        Known::Live(session) => Fate::Lives { epoch: session.epoch, came: session.came },
        Known::Closed { .. } => Fate::Closed,
        Known::Nothing => Fate::Unknown,
    };
    Some((session, run_fate(&table, &lobby.store.view(), &lost.run)))
}

fn run_fate(table: &Table, view: &View, run: &Run) -> RunFate {
    match view.runs.get(&run.pod_uid) {
        Some(known) if known.boot_id != run.boot_id => RunFate::Over,
        Some(known) if known.linked => RunFate::Linked,
        // Each relay of this cluster that has a Pod is in the table; what Pods others have is not known.
        _ => {
            let is_listed = table.table.pools.iter().any(|pool| pool.name == run.pool);
            let is_there = is_of(&run.pool, &run.pod_uid) || find(&table.table, &run.pod_uid).is_some();
            if is_listed && !is_there { RunFate::Over } else { RunFate::Unknown }
        }
    }
}
