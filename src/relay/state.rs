//! What the relay holds at this moment, behind one lock for seats and one for each room, and who must hear of changes.
//!
//! All rules are in [`crate::decide`]; this gives them the time, and carries out what follows. Lock order: seats, then
//! a room. Nothing here waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Message;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keys::Keys;
use super::refusal::Refusal;
use super::{Config, Metrics};
use crate::decide::replay::{Seen, Sight};
use crate::decide::room::{End, MemberId, Room};
use crate::decide::seats::{Effect, Place, Seats};
use crate::decide::token::MAX_TOKEN_BYTES;
use crate::process::health::Readiness;
use crate::process::{clock, secret};
use crate::wire::claims::{self, JoinClaims};
use crate::wire::link::{FromLobby, FromRelay};
use crate::wire::stats::RelayStats;

/// News that wait for the link; a link that falls further behind starts again with a fresh `Hello`.
const NEWS: usize = 1024;

type SharedRoom = Mutex<Room<Message, Arc<Notify>>>;

/// One run of a relay.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) config: Config,
    pub(super) metrics: Metrics,
    pub(super) keys: Keys,
    pub(super) readiness: Readiness,
    /// Random name of this run.
    pub(super) boot_id: String,
    /// Audience of the tokens for this run.
    pub(super) audience: String,
    /// All connections of participants.
    pub(super) connections: TaskTracker,
    /// Ends them all without a word, so that no task outlives the relay.
    pub(super) abandon: CancellationToken,
    stats: watch::Sender<RelayStats>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    seats: Seats,
    seen: Seen,
    rooms: HashMap<String, Arc<SharedRoom>>,
    welcomed: bool,
    /// To the link, while it stands.
    news: Option<mpsc::Sender<FromRelay>>,
}

impl Relay {
    /// A relay that holds nothing.
    pub(super) fn new(config: Config, metrics: Metrics) -> Self {
        let boot_id = secret::random_id();
        let seats = Seats::new(config.seats);
        let load = seats.stats();
        metrics.show(&load);
        let seen = Seen::new(config.remembered_tokens);
        let relay = Self {
            audience: claims::audience(&config.pod_uid, &boot_id),
            boot_id,
            config,
            metrics,
            keys: Keys::default(),
            readiness: Readiness::default(),
            connections: TaskTracker::new(),
            abandon: CancellationToken::new(),
            stats: watch::Sender::new(load),
            held: Mutex::new(Held { seats, seen, rooms: HashMap::new(), welcomed: false, news: None }),
        };
        relay.refresh_readiness();
        relay
    }

    /// Lets the bearer of a verified token in, once.
    pub(super) fn admit(self: &Arc<Self>, claims: &JoinClaims) -> Result<Membership, Refusal> {
        let mut held = self.lock();
        // First, so that whoever replays a token learns nothing about room.
        match held.seen.look(&claims.jti, clock::unix_seconds()) {
            Sight::First => {}
            Sight::Again => return Err(Refusal::Replayed),
            Sight::NoRoom => return Err(Refusal::ReplayMemoryFull),
        }
        let (place, effects) = held.seats.join(&claims.sid, claims.epoch).map_err(Refusal::Denied)?;
        held.seen.remember(&claims.jti, claims.exp);
        let queue = self.config.queue;
        let room = held.rooms.entry(claims.sid.clone()).or_insert_with(|| Arc::new(Mutex::new(Room::new(queue))));
        let room = Arc::clone(room);
        let waker = Arc::new(Notify::new());
        // Before the seats are unlocked: an order to close the session must find this member.
        let id = locked(&room).enter(Arc::clone(&waker));
        self.carry_out(&mut held, effects);
        drop(held);
        self.metrics.joined.inc();
        Ok(Membership { relay: Arc::clone(self), place, room, id, waker })
    }

    /// Does what the lobby says.
    pub(super) fn obey(&self, order: FromLobby) {
        let mut held = self.lock();
        let now = clock::monotonic();
        let effects = match order {
            FromLobby::Welcome => {
                held.welcomed = true;
                Vec::new()
            }
            FromLobby::Hold { session, epoch, record, lease_seconds } => {
                // The seat matters more than the record of it.
                let fits = record.len() <= MAX_TOKEN_BYTES;
                if !fits {
                    tracing::warn!(bytes = record.len(), "a session's record is too large to keep");
                }
                held.seats.hold(&session, epoch, fits.then_some(record), lease_seconds, now)
            }
            FromLobby::Close { session, epoch } => held.seats.close(&session, epoch, now),
            FromLobby::Unknown => Vec::new(),
        };
        self.carry_out(&mut held, effects);
        drop(held);
        self.refresh_readiness();
    }

    /// Returns the seats whose time is over.
    pub(super) fn tick(&self) {
        let mut held = self.lock();
        let effects = held.seats.tick(clock::monotonic());
        self.carry_out(&mut held, effects);
    }

    /// Takes no new sessions from now on.
    pub(super) fn drain(&self) {
        let mut held = self.lock();
        held.seats.drain();
        self.carry_out(&mut held, Vec::new());
        drop(held);
        self.refresh_readiness();
    }

    /// Ends every connection. The sessions have not ended: their lobby places them elsewhere.
    pub(super) fn end_all(&self, end: End) {
        for room in self.lock().rooms.values() {
            locked(room).end_all(end, |waker| waker.notify_one());
        }
    }

    /// Whether neither a session nor a lease is held.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().seats.is_empty()
    }

    /// The load, now and after each change.
    pub(super) fn stats(&self) -> watch::Receiver<RelayStats> {
        self.stats.subscribe()
    }

    /// The first message of a new link, and all news from that very moment on. They end early if the link falls
    /// behind: it must then start again.
    pub(super) fn link_up(&self) -> (FromRelay, mpsc::Receiver<FromRelay>) {
        let (news, receiver) = mpsc::channel(NEWS);
        let mut held = self.lock();
        held.news = Some(news);
        let hello = FromRelay::Hello {
            boot_id: self.boot_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capacity: self.config.seats.capacity,
            records: held.seats.records(),
            open: held.seats.open(),
        };
        (hello, receiver)
    }

    /// Says on the readiness route what is still missing.
    pub(super) fn refresh_readiness(&self) {
        let held = self.lock();
        self.readiness.set(if held.seats.stats().draining {
            Err("draining".to_owned())
        } else if self.keys.current().is_empty() {
            Err("waiting for the lobby's public keys".to_owned())
        } else if !held.welcomed {
            Err("waiting for the lobby's welcome".to_owned())
        } else {
            Ok(())
        });
    }

    fn carry_out(&self, held: &mut Held, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Opened { session, epoch } => held.tell(FromRelay::Opened { session, epoch }),
                Effect::Ended { session, epoch } => {
                    if !held.seats.holds(&session) {
                        held.rooms.remove(&session);
                    }
                    held.tell(FromRelay::Ended { session, epoch });
                }
                Effect::CloseRoom { session } => {
                    if let Some(room) = held.rooms.remove(&session) {
                        locked(&room).end_all(End::SessionClosed, |waker| waker.notify_one());
                    }
                }
            }
        }
        let stats = held.seats.stats();
        self.stats.send_if_modified(|shown| {
            let changed = *shown != stats;
            if changed {
                self.metrics.show(&stats);
                *shown = stats;
            }
            changed
        });
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        locked(&self.held)
    }
}

impl Held {
    fn tell(&mut self, news: FromRelay) {
        if self.news.as_ref().is_some_and(|link| link.try_send(news).is_err()) {
            self.news = None;
        }
    }
}

/// A participant's place in a session and its room; dropping it gives both back.
#[derive(Debug)]
pub(super) struct Membership {
    relay: Arc<Relay>,
    place: Place,
    room: Arc<SharedRoom>,
    id: MemberId,
    waker: Arc<Notify>,
}

impl Membership {
    /// The relay.
    pub(super) fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    /// The room, for one short look.
    pub(super) fn room(&self) -> MutexGuard<'_, Room<Message, Arc<Notify>>> {
        locked(&self.room)
    }

    /// Who the participant is in the room.
    pub(super) fn id(&self) -> MemberId {
        self.id
    }

    /// Ends when there may be something new for this member in the room.
    pub(super) async fn woken(&self) {
        self.waker.notified().await;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.room().leave(self.id);
        let mut held = self.relay.lock();
        held.seats.leave(&self.place, clock::monotonic());
        self.relay.carry_out(&mut held, Vec::new());
    }
}

/// What was locked stays consistent if its holder panics: each change is one call into [`crate::decide`].
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
