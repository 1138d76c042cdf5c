//! Guests that ask to be let in: who waits, whom the host has approved or refused, and how long that is known.
//!
//! Only sessions whose host is to be asked have any. What is known of a guest ends by time alone, or with the close of its
//! session. It is nobody's relay and in no record: a store that has lost it asks the host again.

use std::collections::HashMap;
use std::time::Duration;

use super::{Book, Known};
use crate::wire::session::{Guest, GuestState};

/// Guests of one session that may wait at once.
pub const MAX_WAITING: usize = 100;
/// Guests of one session that are known at once.
pub const MAX_GUESTS: usize = 1000;
/// How long a guest is known to wait after it has asked last.
pub const WAITING_LIFE: Duration = Duration::from_mins(2);
/// How long a guest is known to be refused.
pub const REFUSED_LIFE: Duration = Duration::from_hours(1);
/// How long a guest is known to be approved after it has come last.
pub const APPROVED_LIFE: Duration = Duration::from_hours(24);

/// Why a guest cannot ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    /// There is no such session.
    #[error("no such session")]
    Unknown,
    /// As many guests of the session are known as may be.
    #[error("too many guests")]
    TooMany,
}

/// A session and its guests at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What is known of the session.
    pub known: Known,
    /// Its guests; those who asked first come first.
    pub guests: Vec<Guest>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    guest: Guest,
    until: Duration,
}

/// The guests of all sessions, by session and guest.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests(pub(super) HashMap<String, HashMap<String, Entry>>);

impl Guests {
    pub(super) fn forget(&mut self, session: &str) {
        self.0.remove(session);
    }

    pub(super) fn sweep(&mut self, now: Duration) {
        self.0.retain(|_, guests| {
            guests.retain(|_, entry| entry.until > now);
            !guests.is_empty()
        });
    }
}

const fn life(state: GuestState) -> Duration {
    match state {
        GuestState::Waiting => WAITING_LIFE,
        GuestState::Approved => APPROVED_LIFE,
        GuestState::Refused => REFUSED_LIFE,
    }
}

/// Puts guests in the order in which they asked.
pub fn in_order(guests: &mut [Guest]) {
    guests.sort_unstable_by(|a, b| (a.asked_at, &a.id).cmp(&(b.asked_at, &b.id)));
}

impl Book {
    /// A guest asks to be let in, or asks again: what the host has said of it. The first name and the first time stay.
    pub fn ask(
        &mut self,
        session: &str,
        id: &str,
        name: Option<&str>,
        at: i64,
        now: Duration,
    ) -> Result<Guest, NotAsked> {
        if !self.sessions.contains_key(session) {
            return Err(NotAsked::Unknown);
        }
        let guests = self.guests.0.entry(session.to_owned()).or_default();
        guests.retain(|_, entry| entry.until > now);
        if let Some(entry) = guests.get_mut(id) {
            if entry.guest.state != GuestState::Refused {
                entry.guest.name = entry.guest.name.take().or_else(|| name.map(str::to_owned));
                entry.until = now + life(entry.guest.state);
            }
            return Ok(entry.guest.clone());
        }
        let waiting = guests.values().filter(|entry| entry.guest.state == GuestState::Waiting).count();
        if waiting >= MAX_WAITING || guests.len() >= MAX_GUESTS {
            return Err(NotAsked::TooMany);
        }
        let (id, name, state) = (id.to_owned(), name.map(str::to_owned), GuestState::Waiting);
        let guest = Guest { id: id.clone(), name, state, asked_at: at };
        guests.insert(id, Entry { guest: guest.clone(), until: now + life(state) });
        Ok(guest)
    }

    /// The host has decided on a guest, for the first time or anew; none = no such session or guest.
    pub fn admit(&mut self, session: &str, id: &str, approve: bool, now: Duration) -> Option<Guest> {
        if !self.sessions.contains_key(session) {
            return None;
        }
        let entry = self.guests.0.get_mut(session)?.get_mut(id).filter(|entry| entry.until > now)?;
        entry.guest.state = if approve { GuestState::Approved } else { GuestState::Refused };
        entry.until = now + life(entry.guest.state);
        Some(entry.guest.clone())
    }

    /// A session and its guests.
    pub fn look(&self, session: &str, now: Duration) -> Seen {
        let entries = self.guests.0.get(session).into_iter().flat_map(HashMap::values);
        let mut guests: Vec<Guest> =
            entries.filter(|entry| entry.until > now).map(|entry| entry.guest.clone()).collect();
        in_order(&mut guests);
        Seen { known: self.find(session), guests }
    }
}
