//! Certificates of our own, and when each is made anew: those by which relays know their lobby (one authority and one
//! server certificate for each lobby), and those of the control ports, under authorities of the operator's. Private keys of
//! servers stay for as long as their Secret does; certificates are public and are renewed.

use k8s_openapi::jiff::Timestamp;

/// For how long an authority's certificate is good, in days.
pub const AUTHORITY_DAYS: i64 = 365;
/// For how long the certificate of a lobby's link port is good, in days.
pub const LINK_DAYS: i64 = 90;
/// For how long the certificate of a control port is good, in days.
pub const CONTROL_DAYS: i64 = 90;
/// For how long the one is that the operator shows there, in days.
pub const OPERATOR_DAYS: i64 = 1;

/// Seconds by which a certificate begins before it is made: clocks differ.
const BEGINS_BEFORE: i64 = 3600;
const DAY: i64 = 86_400;
/// Seconds for which one of the operator's authorities is only trusted, before it signs: by then each control port has heard
/// of it, those too whose files come late.
const KNOWN_AFTER: i64 = DAY;

/// From when to when a certificate is good, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// First second.
    pub begins: i64,
    /// The second in which it is no longer good.
    pub ends: i64,
}

impl Life {
    /// Of a certificate that is made now.
    pub fn of_days(days: i64, now: Timestamp) -> Self {
        let now = now.as_second();
        Self { begins: now - BEGINS_BEFORE, ends: now + days * DAY }
    }

    /// The same, but not longer than that of who signs it.
    #[must_use]
    pub fn within(self, signer: Self) -> Self {
        Self { ends: self.ends.min(signer.ends), ..self }
    }

    /// Whether its successor is to be made: two thirds are over. The rest is for an operator that is away, and for files
    /// that travel.
    pub fn is_over_soon(self, now: Timestamp) -> bool {
        let now = now.as_second();
        now < self.begins || (self.ends - now) * 3 < self.ends - self.begins
    }
}

/// Whether the operator's authority with this life is trusted.
pub fn is_trusted(life: Life, now: Timestamp) -> bool {
    now.as_second() < life.ends
}

/// Whether the operator is to make a further authority: none has most of its life before it.
pub fn needs_successor(lives: &[Life], now: Timestamp) -> bool {
    lives.iter().all(|life| life.is_over_soon(now))
}

/// Which of the operator's authorities signs, oldest first: the youngest that everybody knows by now, or if there is none,
/// the one that most may know.
pub fn signer(lives: &[Life], now: Timestamp) -> Option<usize> {
    let is_known = |life: &Life| now.as_second() >= life.begins + BEGINS_BEFORE + KNOWN_AFTER;
    let trusted = || lives.iter().enumerate().filter(|(_, life)| is_trusted(**life, now));
    let known = trusted().rfind(|(_, life)| is_known(life));
    known.or_else(|| trusted().next()).map(|(index, _)| index)
}

/// The private key of the control port of a lobby or of a pool's relays (PKCS#8 PEM, P-256).
#[derive(Clone, PartialEq, Eq)]
pub struct ControlKey(pub String);

impl std::fmt::Debug for ControlKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ControlKey")
    }
}

/// What a control port is given beside its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlCertificates {
    /// Its own certificate (PEM).
    pub server: String,
    /// Those of the operator's authorities (PEM), by one of which a client must be signed.
    pub authorities: String,
}

/// What a lobby publishes so that relays know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// The authority's own certificate (PEM), which relays trust.
    pub authority: String,
    /// That of the link port (PEM).
    pub link: String,
    /// When the latter ends, in seconds since 1970.
    pub link_ends: i64,
}

/// The private keys behind them (PKCS#8 PEM, P-256).
#[derive(Clone, PartialEq, Eq)]
pub struct LinkKeys {
    /// The authority's: only the operator uses it.
    pub authority: String,
    /// The link port's.
    pub server: String,
}

impl std::fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkKeys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::at;

    #[test]
    fn a_certificate_is_made_anew_when_two_thirds_of_its_life_are_over() {
        let now = at(1_000_000_000);
        let life = Life::of_days(90, now);
        let after = |days: i64| at(now.as_second() + days * DAY);
        assert_eq!((life.begins, life.ends), (now.as_second() - 3600, after(90).as_second()));
        for (days, due) in [(0, false), (59, false), (61, true), (90, true), (1000, true), (-1, true)] {
            assert_eq!(life.is_over_soon(after(days)), due, "after {days} days");
        }
    }

    #[test]
    fn a_new_authority_is_trusted_before_it_signs() {
        let now = at(1_000_000_000);
        let after = |days: i64| at(now.as_second() + days * DAY);
        let made = |day: i64| Life::of_days(AUTHORITY_DAYS, after(day));
        assert!(needs_successor(&[], now));
        assert_eq!(signer(&[], now), None);
        let (first, second) = (made(0), made(244));
        assert_eq!(signer(&[first], now), Some(0), "there is no other");
        assert!(!needs_successor(&[first], after(243)) && needs_successor(&[first], after(244)));
        assert!(!needs_successor(&[first, second], after(244)));
        assert_eq!(signer(&[first, second], after(244)), Some(0));
        assert_eq!(signer(&[first, second], after(245)), Some(1));
        assert!(is_trusted(first, after(364)) && !is_trusted(first, after(365)));
        // Nobody was there for a year: the new one signs at once, for no other is trusted.
        assert_eq!(signer(&[first, made(366)], after(366)), Some(1));
        assert_eq!(Life::of_days(CONTROL_DAYS, after(300)).within(first).ends, first.ends);
    }

    #[test]
    fn whoever_is_away_for_three_weeks_finds_it_still_good() {
        let now = at(1_000_000_000);
        for days in [LINK_DAYS, CONTROL_DAYS, AUTHORITY_DAYS] {
            let life = Life::of_days(days, now);
            let due = (0..days).find(|day| life.is_over_soon(at(now.as_second() + day * DAY))).expect("one day it is");
            assert!(days - due >= 21, "{days}: made anew after {due}");
        }
    }
}
