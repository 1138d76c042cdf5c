//! What the relay holds at this moment, behind one lock for seats and one for each room, and who must hear of changes.
//!
//! All rules are in [`crate::decide`]; this gives them the time, and carries out what follows. Lock order: seats, then
//! a room. Nothing here waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use axum::body::Bytes;
use futures::task::AtomicWaker;
use tokio::sync::{mpsc, watch};

use super::connections::Connections;
use super::keys::Keys;
use super::memory::Memory;
use super::refusal::Refusal;
use super::turns::Turns;
use super::{Config, Metrics, notices};
use crate::decide::presence::Presence;
use crate::decide::replay::{Seen, Sight};
use crate::decide::room::{End, MemberId, Mode, Room, Wake};
use crate::decide::seats::{Denied, Effect, Newcomers, Place, Seats};
use crate::decide::token::{MAX_TOKEN_BYTES, kid_of};
use crate::process::health::Readiness;
use crate::process::{clock, secret};
use crate::wire::claims::{self, JoinClaims, Role};
use crate::wire::link::{FromLobby, FromRelay, MAX_PRESENCES, MAX_WHO};
use crate::wire::orders::Order;
use crate::wire::stats::RelayReport;

/// News that wait for the link; a link that falls further behind starts again with a fresh `Hello`.
const NEWS: usize = 1024;

type SharedRoom = Mutex<Room<Bytes, Arc<Peer>>>;

/// A member as its room knows it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) participant: String,
    pub(super) role: Role,
    task: AtomicWaker,
    write: AtomicBool,
    speak: AtomicBool,
}

impl Peer {
    /// Wakes its connection, once until that has looked.
    pub(super) fn wake(self: &Arc<Self>, wake: Wake) {
        let flag = match wake {
            Wake::Write => &self.write,
            Wake::Speak => &self.speak,
        };
        if !flag.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }
}

/// What a member was woken for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Woken {
    /// There may be something to write.
    pub(super) write: bool,
    /// There may be room for what it could not say.
    pub(super) speak: bool,
}

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
    /// What waits for participants.
    pub(super) memory: Arc<Memory>,
    /// For what takes longer than a message.
    pub(super) turns: Turns,
    /// All connections of participants.
    pub(super) connections: Connections,
    report: watch::Sender<RelayReport>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    seats: Seats,
    presence: Presence,
    seen: Seen,
    rooms: HashMap<String, Arc<SharedRoom>>,
    /// The UID of the lobby, whose tokens are taken.
    issuer: Option<String>,
    welcomed: bool,
    /// To the link, while it stands.
    news: Option<mpsc::Sender<FromRelay>>,
}

impl Relay {
    /// A relay that holds nothing.
    pub(super) fn new(config: Config, metrics: Metrics) -> Self {
        let boot_id = secret::random_id();
        let seats = Seats::new(config.seats);
        let report = seats.report();
        metrics.show(&report.stats);
        let seen = Seen::new(config.remembered_tokens);
        let memory = Memory::new(config.queue_bytes_total);
        let issuer = config.lobby_uid.clone();
        let relay = Self {
            audience: claims::audience(&config.pod_uid, &boot_id),
            boot_id,
            config,
            metrics,
            keys: Keys::default(),
            readiness: Readiness::default(),
            memory,
            turns: Turns::default(),
            connections: Connections::default(),
            report: watch::Sender::new(report),
            held: Mutex::new(Held {
                seats,
                presence: Presence::default(),
                seen,
                rooms: HashMap::new(),
                issuer,
                welcomed: false,
                news: None,
            }),
        };
        relay.refresh_readiness();
        relay
    }

    /// Lets the bearer of a verified token in, once.
    pub(super) fn admit(self: &Arc<Self>, claims: JoinClaims, mode: Mode) -> Result<Membership, Refusal> {
        let mut held = self.lock();
        // First, so that whoever replays a token learns nothing about room.
        match held.seen.look(&claims.jti, clock::unix_seconds()) {
            Sight::First => {}
            Sight::Again => return Err(Refusal::Replayed),
            Sight::NoRoom => return Err(Refusal::ReplayMemoryFull),
        }
        let (place, effects) = held.seats.join(&claims.sid, claims.epoch, claims.iat).map_err(Refusal::Denied)?;
        let peer = Peer {
            participant: claims.sub,
            role: claims.role,
            task: AtomicWaker::new(),
            write: AtomicBool::new(false),
            speak: AtomicBool::new(false),
        };
        // Before the seats are unlocked: an order to close the session must find this member.
        let entered = self.enter(&mut held, &claims.sid, mode, peer);
        if entered.is_ok() {
            held.seen.remember(&claims.jti, claims.exp);
            held.presence.joined(&claims.sid, claims.epoch);
        } else {
            held.seats.leave(&place, clock::monotonic());
        }
        self.carry_out(&mut held, effects);
        drop(held);
        let (room, id, peer) = entered?;
        self.metrics.joined.inc();
        Ok(Membership { relay: Arc::clone(self), place, mode, room, id, peer })
    }

    fn enter(
        &self,
        held: &mut Held,
        session: &str,
        mode: Mode,
        peer: Peer,
    ) -> Result<(Arc<SharedRoom>, MemberId, Arc<Peer>), Refusal> {
        let queue = self.config.queue;
        let new = || Arc::new(Mutex::new(Room::new(mode, queue)));
        let shared = Arc::clone(held.rooms.entry(session.to_owned()).or_insert_with(new));
        let mut room = locked(&shared);
        if room.mode() != mode {
            return Err(Refusal::OtherMode);
        }
        let peer = Arc::new(peer);
        let id = room.enter(Arc::clone(&peer)).ok_or(Refusal::Denied(Denied::SessionFull))?;
        if mode == Mode::Addressed {
            notices::welcome(&mut room, id, &self.config);
        }
        drop(room);
        Ok((shared, id, peer))
    }

    /// Does what the lobby says.
    pub(super) fn obey(&self, order: FromLobby) {
        if let FromLobby::Keys(set) = &order {
            self.keys.told(set, &self.metrics);
            // Answered also where nothing has changed: the lobby waits to hear it.
            return self.keys_changed();
        }
        let mut held = self.lock();
        let now = clock::monotonic();
        let effects = match order {
            FromLobby::Welcome { at, lobby } => {
                if self.config.lobby_uid.is_none() {
                    held.issuer = lobby;
                }
                held.welcomed = true;
                held.seats.take_newcomers(Newcomers::Since(at.unwrap_or(i64::MIN)));
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
            FromLobby::Renew { session, epoch, lease_seconds } => held.seats.renew(&session, epoch, lease_seconds, now),
            FromLobby::Close { session, epoch } => held.seats.close(&session, epoch, now),
            FromLobby::Move { session, epoch } => held.seats.move_away(&session, epoch, now),
            FromLobby::Record { session, epoch, record } => {
                if record.len() <= MAX_TOKEN_BYTES {
                    held.seats.renew_record(&session, epoch, record);
                }
                Vec::new()
            }
            FromLobby::Leave | FromLobby::Stay => {
                let leave = order == FromLobby::Leave;
                tracing::info!(leave, "the lobby has said whether this relay is to leave");
                held.seats.ask(leave);
                Vec::new()
            }
            FromLobby::Keys(_) | FromLobby::Unknown => Vec::new(),
        };
        self.carry_out(&mut held, effects);
        drop(held);
        self.refresh_readiness();
    }

    /// Takes one of the operator's orders.
    pub(super) fn order(&self, order: Order) {
        let mut held = self.lock();
        let before = held.seats.stats();
        let obeyed = held.seats.obey(order);
        if held.seats.stats() != before {
            tracing::info!(?order, "the operator has given an order");
        }
        self.carry_out(&mut held, Vec::new());
        drop(held);
        self.metrics.ordered(if obeyed { "obeyed" } else { "outdated" });
    }

    /// Tells the lobby which of its keys are here, and returns the records that its first one has not signed.
    pub(super) fn keys_changed(&self) {
        let mut held = self.lock();
        let keys = self.keys.current();
        let outdated = |record: &String| kid_of(record).as_deref() != keys.first();
        let records = held.seats.records().into_iter().filter(outdated).collect();
        held.tell(FromRelay::Keys { keys: keys.kids(), records });
        drop(held);
        self.refresh_readiness();
    }

    /// Returns the seats whose time is over, and lets those go that take nothing while the relay is short of memory.
    pub(super) fn tick(&self) {
        self.connections.sweep();
        self.metrics.queued_bytes.set(i64::try_from(self.memory.held()).unwrap_or(i64::MAX));
        let mut held = self.lock();
        let effects = held.seats.tick(clock::monotonic());
        self.carry_out(&mut held, effects);
        if self.memory.is_filling() {
            let short = self.memory.is_short();
            for room in held.rooms.values() {
                locked(room).look(short, Peer::wake);
            }
        }
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
        let mut held = self.lock();
        for room in held.rooms.values() {
            locked(room).end_all(end, Peer::wake);
        }
        held.presence.all_sent();
    }

    /// Whose tokens are taken; nobody's until that is known.
    pub(super) fn issuer(&self) -> Option<String> {
        self.lock().issuer.clone()
    }

    /// Whether neither a session nor a lease is held.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().seats.is_empty()
    }

    /// The load and the orders that are obeyed, now and after each change.
    pub(super) fn report(&self) -> watch::Receiver<RelayReport> {
        self.report.subscribe()
    }

    /// The first message of a new link, and all news from that very moment on. They end early if the link falls
    /// behind: it must then start again.
    pub(super) fn link_up(&self, url: Option<String>) -> (FromRelay, mpsc::Receiver<FromRelay>) {
        let (news, receiver) = mpsc::channel(NEWS);
        let mut held = self.lock();
        held.news = Some(news);
        held.seats.take_newcomers(Newcomers::None);
        held.presence.tell_all();
        let hello = FromRelay::Hello {
            boot_id: self.boot_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capacity: self.config.seats.capacity,
            records: held.seats.records(),
            open: held.seats.open(),
            keys: self.keys.current().kids(),
            url,
        };
        (hello, receiver)
    }

    /// The link has ended.
    pub(super) fn link_down(&self) {
        self.lock().seats.take_newcomers(Newcomers::All);
    }

    /// Who has come to sessions or gone since it was last asked; nothing where nobody has. Further ones come next time.
    pub(super) fn participants(&self) -> Option<FromRelay> {
        let mut held = self.lock();
        if !held.presence.has_news() {
            return None;
        }
        let mut sessions = held.presence.news(MAX_PRESENCES);
        for one in &mut sessions {
            one.who = held.who(&one.session);
        }
        Some(FromRelay::Participants { sessions })
    }

    /// Says on the readiness route what is still missing.
    pub(super) fn refresh_readiness(&self) {
        let held = self.lock();
        self.readiness.set(if held.seats.is_draining() {
            Err("draining".to_owned())
        } else if self.keys.current().verify.is_empty() {
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
                        held.presence.ended(&session, true);
                    }
                    held.tell(FromRelay::Ended { session, epoch });
                }
                Effect::CloseRoom { session, end } => {
                    held.presence.ended(&session, end == End::SessionClosed);
                    if let Some(room) = held.rooms.remove(&session) {
                        locked(&room).end_all(end, Peer::wake);
                    }
                }
            }
        }
        let report = held.seats.report();
        self.report.send_if_modified(|shown| {
            let changed = *shown != report;
            if changed {
                self.metrics.show(&report.stats);
                *shown = report;
            }
            changed
        });
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        locked(&self.held)
    }
}

impl Held {
    /// Who is in a session; nothing if they are too many to name.
    fn who(&self, session: &str) -> Option<Vec<String>> {
        let Some(room) = self.rooms.get(session) else { return Some(Vec::new()) };
        let room = locked(room);
        let who = || room.members().map(|(_, peer)| peer.participant.clone()).collect();
        (room.len() <= MAX_WHO).then(who)
    }

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
    mode: Mode,
    room: Arc<SharedRoom>,
    id: MemberId,
    peer: Arc<Peer>,
}

impl Membership {
    /// The relay.
    pub(super) fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    /// The room, for one short look.
    pub(super) fn room(&self) -> MutexGuard<'_, Room<Bytes, Arc<Peer>>> {
        locked(&self.room)
    }

    /// Who the participant is in the room.
    pub(super) fn id(&self) -> MemberId {
        self.id
    }

    /// To whom its frames go.
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// What this member was woken for since it last looked; it is woken again from now on.
    pub(super) fn woken(&self, cx: &Context<'_>) -> Woken {
        // First, so that nothing falls between looking and sleeping.
        self.peer.task.register(cx.waker());
        Woken {
            write: self.peer.write.swap(false, Ordering::AcqRel),
            speak: self.peer.speak.swap(false, Ordering::AcqRel),
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut room = self.room();
        if room.leave(self.id, Peer::wake) && self.mode == Mode::Addressed {
            notices::left(&mut room, self.id);
        }
        drop(room);
        let mut held = self.relay.lock();
        if held.seats.leave(&self.place, clock::monotonic()) {
            held.presence.left(&self.place.session);
        }
        self.relay.carry_out(&mut held, Vec::new());
    }
}

/// What was locked stays consistent if its holder panics: each change is one call into [`crate::decide`].
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
