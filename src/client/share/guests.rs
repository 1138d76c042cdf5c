//! The guests that were let in, from one connection to the next, and who may still come in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Approve;
use crate::client::say::{Event, Say};
use crate::client::tls::Identity;
use crate::client::tunnel::Tunnel;
use crate::decide::invite::Secret;
use crate::decide::mux::Side;
use crate::process::{clock, secret};
use crate::wire::tunnel::{FromHost, Shared};

/// Guests at once, away ones included.
const MAX_GUESTS: usize = 32;

/// All guests of a session.
pub(super) struct Guests {
    pub(super) identity: Identity,
    pub(super) secret: Secret,
    pub(super) session: String,
    pub(super) shared: Shared,
    pub(super) approve: Approve,
    pub(super) say: Say,
    wake: Arc<Notify>,
    /// By ticket.
    known: BTreeMap<String, Guest>,
    last_number: u32,
}

/// One guest.
pub(super) struct Guest {
    /// Its number in this session, for people.
    pub(super) number: u32,
    pub(super) tunnel: Arc<Tunnel>,
    /// Its present number at the relay.
    pub(super) member: Option<u32>,
    away_since: Option<Duration>,
    /// The size of the shared terminal that it knows.
    told: Option<(u16, u16)>,
}

impl Guests {
    pub(super) fn new(
        identity: Identity,
        secret: Secret,
        session: String,
        shared: Shared,
        approve: Approve,
        say: Say,
        wake: Arc<Notify>,
    ) -> Self {
        Self { identity, secret, session, shared, approve, say, wake, known: BTreeMap::new(), last_number: 0 }
    }

    /// A number for somebody new.
    pub(super) fn number(&mut self) -> u32 {
        self.last_number = self.last_number.saturating_add(1);
        self.last_number
    }

    /// Lets somebody in; gives its ticket, or none if there are too many.
    pub(super) fn let_in(&mut self, number: u32) -> Option<String> {
        if self.known.len() >= MAX_GUESTS {
            return None;
        }
        let ticket = secret::random_secret();
        let tunnel = Tunnel::new(Side::Host, Arc::clone(&self.wake));
        self.known.insert(
            ticket.clone(),
            Guest { number, tunnel, member: None, away_since: Some(clock::monotonic()), told: None },
        );
        Some(ticket)
    }

    pub(super) fn get(&self, ticket: &str) -> Option<&Guest> {
        self.known.get(ticket)
    }

    /// The guest has a connection as this member.
    pub(super) fn attached(&mut self, ticket: &str, member: u32) {
        if let Some(guest) = self.known.get_mut(ticket) {
            guest.member = Some(member);
            guest.away_since = None;
            guest.told = None;
        }
    }

    /// That connection is gone, unless the guest has another already.
    pub(super) fn lost(&mut self, ticket: &str, member: u32) {
        if let Some(guest) = self.known.get_mut(ticket).filter(|guest| guest.member == Some(member)) {
            guest.member = None;
            guest.away_since = Some(clock::monotonic());
            guest.tunnel.detach();
        }
    }

    /// The host's own connection is gone, and with it all guests'.
    pub(super) fn detach(&mut self) {
        let now = clock::monotonic();
        for guest in self.known.values_mut() {
            guest.member = None;
            guest.away_since.get_or_insert(now);
            guest.tunnel.detach();
        }
    }

    /// The guest is gone for good.
    pub(super) fn remove(&mut self, ticket: &str, why: &'static str) {
        if let Some(guest) = self.known.remove(ticket) {
            guest.tunnel.give_up();
            self.say.say(&Event::GuestLeft { guest: guest.number, why });
        }
    }

    /// Gives guests up that were away for too long.
    pub(super) fn expire(&mut self, give_up: Duration) {
        let now = clock::monotonic();
        let late = |guest: &Guest| guest.away_since.is_some_and(|since| now.saturating_sub(since) > give_up);
        let gone: Vec<String> =
            self.known.iter().filter(|(_, guest)| late(guest)).map(|(ticket, _)| ticket.clone()).collect();
        for ticket in gone {
            self.remove(&ticket, "it was away for too long");
        }
    }

    /// Tells the size of the shared terminal to whoever does not know it.
    pub(super) fn tell_size(&mut self, (rows, columns): (u16, u16)) {
        let Ok(json) = serde_json::to_vec(&FromHost::Size { rows, columns }) else { return };
        for guest in self.known.values_mut().filter(|guest| guest.member.is_some()) {
            if guest.told.replace((rows, columns)) != Some((rows, columns)) {
                guest.tunnel.control(json.clone());
            }
        }
    }

    /// Streams of all guests that are there.
    pub(super) fn streams(&self) -> usize {
        self.known.values().filter(|guest| guest.member.is_some()).map(|guest| guest.tunnel.streams()).sum()
    }
}
