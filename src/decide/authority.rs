//! The certificates by which relays know their lobby: one authority and one server certificate for each lobby, and when
//! each is made anew. Private keys stay for as long as the lobby's Secret does; certificates are public and are renewed.

use k8s_openapi::jiff::Timestamp;

/// For how long an authority's certificate is good, in days.
pub const AUTHORITY_DAYS: i64 = 365;
/// For how long the certificate of a lobby's link port is good, in days.
pub const LINK_DAYS: i64 = 90;

/// Seconds by which a certificate begins before it is made: clocks differ.
const BEGINS_BEFORE: i64 = 3600;
const DAY: i64 = 86_400;

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

    /// Whether its successor is to be made: two thirds are over. The rest is for an operator that is away, and for files
    /// that travel.
    pub fn is_over_soon(self, now: Timestamp) -> bool {
        let now = now.as_second();
        now < self.begins || (self.ends - now) * 3 < self.ends - self.begins
    }
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
    fn whoever_is_away_for_three_weeks_finds_it_still_good() {
        let now = at(1_000_000_000);
        for days in [LINK_DAYS, AUTHORITY_DAYS] {
            let life = Life::of_days(days, now);
            let due = (0..days).find(|day| life.is_over_soon(at(now.as_second() + day * DAY))).expect("one day it is");
            assert!(days - due >= 21, "{days}: made anew after {due}");
        }
    }
}
