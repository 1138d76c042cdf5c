//! The signing keys of a lobby that has its own: which there are, which signs, and what is to be done when.
//!
//! One key signs (`Current`), one stands by with every relay and lobby process (`Next`), and those that signed before
//! verify for an hour (`Previous`). So a rotation is only a change of order, and a revoked key is replaced at once.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::api::lobby::{TokenKey, TokenKeyState, TokensStatus};
use crate::wire::keys::KeySet;

/// Places for keys beside the first: each is a Secret of a fixed name, so that pods need not change to see a new one.
pub const SLOTS: u8 = 4;
/// For how long a key verifies after another has taken over, in seconds. Tokens live a minute and records are signed anew
/// at once; an hour also waits for relays whose link was away.
pub const OVERLAP_SECONDS: i64 = 3600;

/// A key that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Where: 0 is the Secret that the lobby began with.
    pub slot: u8,
    /// Since when.
    pub created: Timestamp,
    /// Its id.
    pub id: String,
    /// Its public half, a JSON Web Key.
    pub public: Value,
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish<'a> {
    /// Seconds for which a key signs.
    pub every: i64,
    /// Rotate now, once for each value.
    pub rotate: Option<&'a str>,
    /// Ids of keys that must not count.
    pub revoked: BTreeSet<&'a str>,
    /// Since when the lobby serves without a break; none while it does not. A clock that runs for keys waits for that:
    /// relays that cannot reach their lobby cannot be told.
    pub serving_since: Option<Timestamp>,
}

/// What follows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// The keys that count, the one that signs first, and what was done.
    pub status: TokensStatus,
    /// Their public halves, in that order.
    pub public: Vec<Value>,
    /// Slots whose keys stay.
    pub kept: BTreeSet<u8>,
    /// Slot in which a key is to be made.
    pub create: Option<u8>,
}

/// Decides. `found` = the keys that are there, `past` = what was decided last.
pub fn decide(found: &[Found], past: &TokensStatus, wish: &Wish<'_>, now: Timestamp) -> Decided {
    let mut roles = Roles::of(found, past, wish, now);
    roles.previous.retain(|(_, since)| !is_over(*since, OVERLAP_SECONDS, wish.serving_since, now));
    let asked = wish.rotate.is_some() && wish.rotate != past.rotated_for.as_deref();
    let due = roles.current.as_ref().is_some_and(|(_, since)| is_over(*since, wish.every, wish.serving_since, now));
    let mut rotated_for = past.rotated_for.clone();
    // One that nobody has heard of yet takes over with the next pass.
    let ready = roles.next.first().is_some_and(|(next, _)| is_known(past, next));
    if (asked || due) && ready {
        let took_over = roles.next.remove(0).0;
        roles.previous.extend(roles.current.replace((took_over, now)).map(|(key, _)| (key, now)));
        rotated_for = wish.rotate.map(str::to_owned).or(rotated_for);
    }
    let used = |slot: &u8| found.iter().any(|key| key.slot == *slot);
    let create = roles.next.is_empty().then(|| (1..=SLOTS).find(|slot| !used(slot))).flatten();
    roles.previous.sort_by_key(|(_, since)| std::cmp::Reverse(*since));
    let ordered = roles
        .current
        .iter()
        .map(|key| (key, TokenKeyState::Current))
        .chain(roles.previous.iter().map(|key| (key, TokenKeyState::Previous)))
        .chain(roles.next.iter().map(|key| (key, TokenKeyState::Next)));
    let mut decided = Decided { create, ..Decided::default() };
    decided.status.rotated_for = rotated_for;
    for ((key, since), state) in ordered {
        decided.status.keys.push(TokenKey { id: key.id.clone(), state, since: Time(*since) });
        decided.public.push(key.public.clone());
        decided.kept.insert(key.slot);
    }
    let counts = |key: &&Found| decided.status.keys.iter().any(|counting| counting.id == key.id);
    decided.status.retired = found.iter().filter(|key| !counts(key)).map(|key| key.id.clone()).collect();
    decided
}

/// The set that is published. Its version is the time of its last change, so that it grows even where what was published
/// before is lost.
pub fn published(public: Vec<Value>, before: Option<&KeySet>, now: Timestamp) -> KeySet {
    let version = before.map_or(0, |before| before.version);
    if let Some(before) = before.filter(|before| before.keys == public) {
        return before.clone();
    }
    let time = u64::try_from(now.as_second()).unwrap_or(0);
    KeySet { version: time.max(version.saturating_add(1)), keys: public }
}

fn is_known(past: &TokensStatus, key: &Found) -> bool {
    past.keys.iter().any(|known| known.id == key.id)
}

type Since<'a> = (&'a Found, Timestamp);

#[derive(Default)]
struct Roles<'a> {
    current: Option<Since<'a>>,
    /// The one that was given up last, last.
    previous: Vec<Since<'a>>,
    /// The oldest first.
    next: Vec<Since<'a>>,
}

impl<'a> Roles<'a> {
    fn of(found: &'a [Found], past: &TokensStatus, wish: &Wish<'_>, now: Timestamp) -> Self {
        let known = |key: &Found| past.keys.iter().find(|known| known.id == key.id);
        let newest_known = found.iter().filter(|key| known(key).is_some()).map(|key| key.created).max();
        // Said so, or older than what counts and not among it: it has had its time.
        let is_older = |key: &Found| known(key).is_none() && newest_known.is_some_and(|newest| key.created < newest);
        let is_dead = |key: &Found| past.retired.contains(&key.id) || is_older(key);
        let is_alive = |key: &&Found| !wish.revoked.contains(key.id.as_str()) && !is_dead(key);
        let mut alive: Vec<&Found> = found.iter().filter(is_alive).collect();
        alive.sort_by_key(|key| (key.created, key.slot));
        let mut roles = Self::default();
        for &key in &alive {
            match known(key).map(|known| (known.state, known.since.0)) {
                Some((TokenKeyState::Current, since)) if roles.current.is_none() => roles.current = Some((key, since)),
                Some((TokenKeyState::Current | TokenKeyState::Previous, since)) => roles.previous.push((key, since)),
                Some((TokenKeyState::Next, since)) => roles.next.push((key, since)),
                None => roles.next.push((key, now)),
            }
        }
        roles.previous.sort_by_key(|(_, since)| *since);
        if roles.current.is_none() {
            roles.fill(past, now);
        }
        roles
    }

    /// No key signs: it is the beginning, or what was decided is lost, or the key was revoked.
    fn fill(&mut self, past: &TokensStatus, now: Timestamp) {
        if past.keys.is_empty() && self.next.len() > 2 {
            // The last two are as they would have been; those before may still be asked for.
            let rest = self.next.split_off(self.next.len() - 2);
            self.previous.extend(std::mem::replace(&mut self.next, rest));
        }
        let next = self.next.first().is_some_and(|(next, _)| is_known(past, next));
        let known = if next || past.keys.is_empty() { None } else { self.previous.pop() };
        self.current = known.or_else(|| (!self.next.is_empty()).then(|| self.next.remove(0)));
        if let Some((_, since)) = &mut self.current {
            *since = now;
        }
    }
}

/// Whether so many seconds have passed since then while the lobby served.
fn is_over(since: Timestamp, seconds: i64, serving_since: Option<Timestamp>, now: Timestamp) -> bool {
    serving_since.is_some_and(|serving| now.as_second() - since.max(serving).as_second() >= seconds)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
