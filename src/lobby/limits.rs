//! Limits of the public API: requests at once, time of one, rate of an address; and the count of what was answered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use governor::DefaultKeyedRateLimiter;
use http::{HeaderName, HeaderValue};
use tokio::sync::Semaphore;

use super::Shared;
use super::extract::{MAX_WAIT, may_wait};
use super::problem::{Refusal, RefusalCode};
use crate::process::peers::{network, rates};

/// Requests that are worked on at once.
const IN_FLIGHT: usize = 1024;
/// Requests beside them that may wait for a seat, at once.
const WAITING: usize = 1000;
/// Time of one request, its body included, and beside what it waits for a seat.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses whose rate is remembered; beyond that, new ones wait until old ones are forgotten.
const MAX_ADDRESSES: usize = 100_000;

/// Says in every answer what the lobby has to do without: `store`. Sessions of relays that are linked to this process can
/// still be joined then.
pub(super) const DEGRADED: HeaderName = HeaderName::from_static("convene-degraded");

/// The limits of one lobby.
#[derive(Debug)]
pub(super) struct Gate {
    in_flight: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    rate: Option<DefaultKeyedRateLimiter<IpAddr>>,
}

impl Gate {
    /// `per_second` creates and joins of one address, twice that at once; 0 = any number.
    pub(super) fn new(per_second: u32) -> Self {
        let rate = rates(per_second);
        Self { in_flight: Arc::new(Semaphore::new(IN_FLIGHT)), waiting: Arc::new(Semaphore::new(WAITING)), rate }
    }

    /// Whether an address may create or join once more now.
    pub(super) fn admit(&self, address: IpAddr) -> Result<(), Refusal> {
        let Some(rate) = &self.rate else { return Ok(()) };
        if rate.len() >= MAX_ADDRESSES {
            rate.retain_recent();
            if rate.len() >= MAX_ADDRESSES {
                return Err(Refusal::rate_limited());
            }
        }
        rate.check_key(&network(address)).map_err(|_| Refusal::rate_limited())
    }

    /// Forgets addresses that were quiet.
    pub(super) fn sweep(&self) {
        if let Some(rate) = &self.rate {
            rate.retain_recent();
        }
    }
}

/// Around every request.
pub(super) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    // Those who wait must not take the place of those who are answered at once.
    let (slots, most) = if may_wait(request.uri().query()) {
        (&shared.gate.waiting, REQUEST_TIMEOUT + MAX_WAIT)
    } else {
        (&shared.gate.in_flight, REQUEST_TIMEOUT)
    };
    let mut answer = match Arc::clone(slots).try_acquire_owned() {
        Err(_) => Refusal::overloaded().into_response(),
        Ok(slot) => {
            let answer = tokio::time::timeout(most, next.run(request)).await;
            drop(slot);
            answer.unwrap_or_else(|_| Refusal::request_timeout().into_response())
        }
    };
    if shared.lobby.store.is_away() {
        answer.headers_mut().insert(DEGRADED, HeaderValue::from_static("store"));
    }
    let metrics = &shared.lobby.metrics;
    if let Some(RefusalCode(code)) = answer.extensions().get() {
        metrics.refused.with_label_values(&[*code]).inc();
    }
    metrics.requests.with_label_values(&[route.as_str(), answer.status().as_str()]).inc();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_own_rate_and_an_ipv6_network_one() {
        let gate = Gate::new(2);
        let admitted = |gate: &Gate, address: &str| {
            let address: IpAddr = address.parse().expect("an address");
            (0..10).filter(|_| gate.admit(address).is_ok()).count()
        };
        assert_eq!(admitted(&gate, "192.0.2.1"), 4);
        assert_eq!(admitted(&gate, "::ffff:192.0.2.1"), 0, "the same address in another form");
        assert_eq!(admitted(&gate, "192.0.2.2"), 4);
        assert_eq!(admitted(&gate, "2001:db8::1"), 4);
        assert_eq!(admitted(&gate, "2001:db8::2"), 0);
        assert_eq!(admitted(&gate, "2001:db8:0:1::2"), 4);
        assert_eq!(admitted(&Gate::new(0), "192.0.2.1"), 10);
    }
}
