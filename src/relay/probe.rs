//! Probes: how far it is to this relay. Answers whoever has a probe token of the lobby, with nothing, at a rate.
//!
//! A probe has nothing to do with seats: a relay that is full, cordoned or draining is as far as it was. Many clients
//! have the same token, so its signature is checked once, and after that it is known.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::Config;
use super::keys::Current;
use super::public::ADDRESSES;
use super::refusal::Refusal;
use super::state::Relay;
use crate::decide::quota::{Bucket, PerKey};
use crate::process::clock;
use crate::process::peers::network;

/// Good tokens that are known at a time. Each lobby process gives a new one every few minutes.
const KNOWN: usize = 1024;

/// Rates of probes, and the tokens that are good.
#[derive(Debug)]
pub(super) struct Probes {
    rates: Mutex<Rates>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Rates {
    of_address: PerKey<IpAddr>,
    of_all: Bucket,
}

/// Tokens whose signature holds by these keys, and when each expires (seconds since 1970).
#[derive(Debug, Default)]
struct Known {
    keys: Arc<Current>,
    until: HashMap<String, i64>,
}

impl Probes {
    /// Nothing asked yet.
    pub(super) fn new(config: &Config) -> Self {
        let rates = Rates {
            of_address: PerKey::new(config.probes_per_address, ADDRESSES),
            of_all: Bucket::new(config.probes_total, clock::monotonic()),
        };
        Self { rates: Mutex::new(rates), known: Mutex::default() }
    }

    /// The answer to a probe.
    pub(super) async fn answer(
        &self,
        relay: &Relay,
        address: IpAddr,
        token: Option<&str>,
    ) -> Result<Response, Refusal> {
        let token = token.ok_or(Refusal::NoToken)?;
        if !self.knows(relay, token) {
            relay.turns.take(|| self.verify(relay, token)).await?;
        }
        if !self.admits(address) {
            return Err(Refusal::TooManyProbes);
        }
        relay.metrics.probes.inc();
        let any = HeaderValue::from_static("*");
        let headers = [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, any.clone()),
            (HeaderName::from_static("timing-allow-origin"), any),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        Ok((StatusCode::NO_CONTENT, headers).into_response())
    }

    /// Whether this token was found good, by the keys that still count, and has not expired.
    fn knows(&self, relay: &Relay, token: &str) -> bool {
        let known = lock(&self.known);
        let until = known.until.get(token);
        until.is_some_and(|until| clock::unix_seconds() < *until) && Arc::ptr_eq(&known.keys, &relay.keys.current())
    }

    fn verify(&self, relay: &Relay, token: &str) -> Result<(), Refusal> {
        let (keys, now) = (relay.keys.current(), clock::unix_seconds());
        let issuer = relay.issuer().ok_or(Refusal::BadToken)?;
        let claims = keys.verify.verify_probe(token, &issuer, &relay.audience, now).map_err(|_| Refusal::BadToken)?;
        let mut known = lock(&self.known);
        if !Arc::ptr_eq(&known.keys, &keys) {
            *known = Known { keys, until: HashMap::new() };
        }
        if known.until.len() >= KNOWN {
            known.until.retain(|_, until| now < *until);
        }
        if known.until.len() < KNOWN {
            known.until.insert(token.to_owned(), claims.exp);
        }
        Ok(())
    }

    /// One address that asks too much takes nothing from the others.
    fn admits(&self, address: IpAddr) -> bool {
        let now = clock::monotonic();
        let mut rates = lock(&self.rates);
        rates.of_address.admits(network(address), now) && rates.of_all.try_take(1.0, now)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
