//! What outlives a pass over a pool, in this process only. Losing it costs a whole pass: everything that must not be lost
//! stands in statuses and on Pods.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::watch::{EXPECTED_WITHIN, PoolRef};
use crate::api::RelayPoolStatus;
use crate::api::scaling::ScalingPast;
use crate::decide::backoff::Attempt;
use crate::decide::plan::{ChildKind, pool::Relays};
use crate::decide::scale::Policy;
use crate::decide::valid::{Invalid, ValidPool};

/// What a whole pass has found valid and made; passes that are about relays alone go on from it.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Generation of the spec.
    pub(crate) generation: Option<i64>,
    /// The pool.
    pub(crate) valid: ValidPool,
    /// How it scales, under `spec.scaling`.
    pub(crate) policy: Option<Policy>,
    /// Which relays have addresses.
    pub(crate) relays: Relays,
    /// Children as the API server returned them.
    pub(crate) children: BTreeMap<(ChildKind, String), Value>,
    /// When it was made, on the monotonic clock.
    pub(crate) at: Duration,
}

/// A whole look has found that the pool cannot be worked with.
#[derive(Debug)]
struct Refusal {
    of: Attempt,
    why: Invalid,
    /// When the next whole look is due, on the monotonic clock; nothing until the pass that looked has ended.
    until: Option<Duration>,
}

/// The retry must find the refusal over: its time is taken a moment later.
const MOMENT: Duration = Duration::from_millis(50);

/// What is remembered of one pool.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    ground: Option<Arc<Ground>>,
    refusal: Option<Refusal>,
    /// Something has changed since the last whole pass began to read.
    distrusted: bool,
    /// What scaling remembers: newer than what the store of pools has for a moment after each write.
    pub(crate) past: Option<ScalingPast>,
    /// Since when, on the monotonic clock, something was heard that no pass has looked at.
    pub(crate) news_since: Option<Duration>,
    /// How long the last pass, which found the pool not accepted, lets its relays wait.
    pub(crate) patience: Option<Duration>,
    /// The status that was written last.
    pub(crate) written: Option<Written>,
    /// The pool that all this is about: another may come under its name.
    uid: String,
}

/// A status as this process wrote it, which the store of pools has a moment later.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// What was written, or stood there already.
    pub(crate) status: RelayPoolStatus,
    /// When.
    pub(crate) at: Timestamp,
    /// The same on the monotonic clock.
    pub(crate) since: Duration,
    /// Version of the pool in the store at that time.
    pub(crate) over: Option<String>,
}

impl Written {
    /// Whether it is to be believed rather than the status in the store, where the pool has this version. It is for a moment,
    /// and for as long as the store has seen nothing since; after that somebody else's word may stand there, which is to be
    /// put right.
    pub(crate) fn stands(&self, version: Option<&str>, now: Duration) -> bool {
        now.saturating_sub(self.since) < EXPECTED_WITHIN || self.over.as_deref() == version
    }
}

impl Memory {
    /// How long to wait after a pass that failed: no longer than this, and than the pool's relays can. A refusal stands
    /// until then, however many passes find it meanwhile.
    pub(crate) fn wait(&mut self, wait: Duration, now: Duration) -> Duration {
        let wait = self.refusal.as_mut().map_or(wait, |refusal| {
            let until = *refusal.until.get_or_insert(now.saturating_add(wait));
            until.saturating_sub(now).min(wait)
        });
        self.patience.take().map_or(wait, |patience| patience.min(wait))
    }
}

/// What is remembered of all pools.
#[derive(Debug, Default)]
pub(crate) struct Memories(Mutex<HashMap<PoolRef, Memory>>);

impl Memories {
    /// Has the next pass be a whole one.
    pub(crate) fn distrust(&self, pool: &PoolRef) {
        if let Some(memory) = self.lock().get_mut(pool) {
            (memory.ground, memory.refusal, memory.distrusted) = (None, None, true);
        }
    }

    /// What a pass over relays alone may go on from: made of this generation, and since `fresh`.
    pub(crate) fn ground(&self, pool: &PoolRef, generation: Option<i64>, fresh: Duration) -> Option<Arc<Ground>> {
        let ground = self.lock().get(pool)?.ground.clone()?;
        (ground.generation == generation && ground.at >= fresh).then_some(ground)
    }

    /// Before any pass: what is remembered of another pool, which had the same name, is not about this one.
    pub(crate) fn meet(&self, pool: &PoolRef, uid: &str) {
        let mut memories = self.lock();
        let memory = memories.entry(pool.clone()).or_default();
        if memory.uid != uid {
            *memory = Memory { uid: uid.to_owned(), ..Memory::default() };
        }
    }

    /// Before a whole pass reads anything: what becomes untrue from now on must be looked at again.
    pub(crate) fn begin(&self, pool: &PoolRef) {
        let mut memories = self.lock();
        let memory = memories.entry(pool.clone()).or_default();
        (memory.ground, memory.refusal, memory.distrusted) = (None, None, false);
    }

    /// A whole look found that the pool cannot be worked with; nothing is read for it again before its retry, unless
    /// something has changed meanwhile.
    pub(crate) fn refuse(&self, pool: &PoolRef, of: Attempt, why: Invalid) {
        let mut memories = self.lock();
        let memory = memories.entry(pool.clone()).or_default();
        memory.refusal = (!memory.distrusted).then_some(Refusal { of, why, until: None });
    }

    /// What the last whole look found wrong, while its retry has not come.
    pub(crate) fn refused(&self, pool: &PoolRef, of: &Attempt, now: Duration) -> Option<Invalid> {
        let memories = self.lock();
        let refusal = memories.get(pool)?.refusal.as_ref().filter(|refusal| refusal.of == *of)?;
        let stands = refusal.until.is_none_or(|until| now.saturating_add(MOMENT) < until);
        stands.then(|| refusal.why.clone())
    }

    /// Keeps what a pass has made, unless something has changed meanwhile.
    pub(crate) fn keep(&self, pool: &PoolRef, ground: Ground) -> Arc<Ground> {
        let ground = Arc::new(ground);
        let mut memories = self.lock();
        let memory = memories.entry(pool.clone()).or_default();
        memory.ground = (!memory.distrusted).then(|| Arc::clone(&ground));
        ground
    }

    /// Looks at, or changes, what is remembered of a pool.
    pub(crate) fn with<T>(&self, pool: &PoolRef, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(self.lock().entry(pool.clone()).or_default())
    }

    /// The same, of a pool that anything is remembered of: from where nobody knows whether there still is one.
    pub(crate) fn known<T>(&self, pool: &PoolRef, look: impl FnOnce(&mut Memory) -> T) -> Option<T> {
        self.lock().get_mut(pool).map(look)
    }

    /// Forgets a pool.
    pub(crate) fn forget(&self, pool: &PoolRef) {
        self.lock().remove(pool);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PoolRef, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;
    use crate::api::condition::Reason;

    fn why() -> Invalid {
        Invalid { reason: Reason::SecretNotFound, message: "there is none".into() }
    }

    #[test]
    fn a_refusal_stands_until_its_retry_however_often_it_is_met() {
        let (memories, pool, of) = (Memories::default(), PoolRef::new("a"), Attempt::default());
        let seconds = Duration::from_secs;
        memories.begin(&pool);
        memories.refuse(&pool, of.clone(), why());
        let wait = |at, wait| memories.with(&pool, |memory| memory.wait(seconds(wait), seconds(at)));
        let stands = |at| memories.refused(&pool, &of, seconds(at)).is_some();
        assert_eq!(wait(100, 15), seconds(15));
        assert!(stands(101) && stands(114));
        assert_eq!(wait(114, 15), seconds(1), "what a relay says puts nothing off");
        memories.with(&pool, |memory| memory.patience = Some(Duration::ZERO));
        assert_eq!(wait(114, 15), Duration::ZERO, "its relays are leaving");
        assert!(!stands(115));
        memories.begin(&pool);
        memories.refuse(&pool, of.clone(), why());
        assert_eq!(wait(115, 15), seconds(15), "the retry begins anew");
    }

    #[test]
    fn another_spec_or_a_change_of_what_it_refers_to_ends_a_refusal() {
        let (memories, pool, of) = (Memories::default(), PoolRef::new("a"), Attempt::default());
        let stands = |of: &Attempt| memories.refused(&pool, of, Duration::ZERO).is_some();
        memories.begin(&pool);
        memories.refuse(&pool, of.clone(), why());
        let meta = ObjectMeta { generation: Some(2), ..ObjectMeta::default() };
        assert!(stands(&of) && !stands(&Attempt::of(&meta)));
        memories.distrust(&pool);
        assert!(!stands(&of));
        memories.begin(&pool);
        memories.distrust(&pool);
        memories.refuse(&pool, of.clone(), why());
        assert!(!stands(&of), "it was changed while it was looked at");
    }

    #[test]
    fn a_pool_that_was_made_anew_is_not_known() {
        let (memories, key) = (Memories::default(), PoolRef::new("a").within("n"));
        let remember = |replicas| {
            memories.with(&key, |memory| memory.past = Some(ScalingPast::begin(replicas)));
        };
        let remembered = || memories.known(&key, |memory| memory.past.as_ref().map(|past| past.replicas)).flatten();
        memories.meet(&key, "first");
        remember(7);
        memories.meet(&key, "first");
        assert_eq!(remembered(), Some(7));
        memories.meet(&key, "second");
        assert_eq!(remembered(), None);
        remember(3);
        memories.meet(&key, "second");
        assert_eq!(remembered(), Some(3));
    }

    #[test]
    fn what_was_written_is_believed_until_the_store_must_have_it() {
        let since = Duration::from_secs(100);
        let status = RelayPoolStatus::default();
        let written = Written { status, at: Timestamp::UNIX_EPOCH, since, over: Some("5".to_owned()) };
        let later = |seconds| since + Duration::from_secs(seconds);
        for (version, after, stands) in [("5", 0, true), ("6", 9, true), ("6", 10, false), ("5", 3_600, true)] {
            assert_eq!(written.stands(Some(version), later(after)), stands, "{version} after {after} s");
        }
    }
}
