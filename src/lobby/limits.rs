//! Limits of the public API: requests at once, in all and of one address, time of one, rate of an address; and the count of
//! what was answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::DefaultKeyedRateLimiter;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Shared;
use super::extract::{MAX_WAIT, may_wait};
use super::problem::{Refusal, RefusalCode};
use crate::decide::address::Caller;
use crate::process::peers::{Guard, PerAddress, network, rates};

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
    in_flight: Places,
    waiting: Places,
    rate: Option<DefaultKeyedRateLimiter<IpAddr>>,
}

impl Gate {
    /// `per_second` requests of one address that are [`Admitted`], twice that at once; 0 = any number.
    pub(super) fn new(per_second: u32) -> Self {
        Self { in_flight: Places::new(IN_FLIGHT), waiting: Places::new(WAITING), rate: rates(per_second) }
    }

    /// Whether an address may ask once more now.
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

/// Places for requests at once, of which nobody gets all.
#[derive(Debug)]
struct Places {
    all: Arc<Semaphore>,
    of: PerAddress,
}

/// A place that is taken, until this is dropped.
struct Place {
    _one: OwnedSemaphorePermit,
    _of: Option<Guard>,
}

impl Places {
    fn new(most: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(most)), of: PerAddress::new(most) }
    }

    /// A place for one more request of `address`; none = many are behind it, and nobody knows which of them asks. Of one
    /// address there are never more than places are left for all others: many people may be behind an office's, and half of
    /// all is theirs while nobody else comes; but each further one that takes what it gets leaves half of the rest.
    fn take(&self, address: Option<IpAddr>) -> Result<Place, Refusal> {
        let left = self.all.available_permits();
        let one = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Refusal::overloaded())?;
        let of = address.map(|address| self.of.enter_below(address, left).ok_or_else(Refusal::rate_limited));
        Ok(Place { _one: one, _of: of.transpose()? })
    }
}

/// Whose request it is, which is within the rate of its address. It stands before a request's body: whoever asks too
/// often is told so before it is read.
pub(super) struct Admitted(pub(super) Caller);

impl FromRequestParts<Shared> for Admitted {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Response> {
        let caller = Caller::from_request_parts(parts, shared).await.map_err(IntoResponse::into_response)?;
        shared.gate.admit(caller.address).map_err(IntoResponse::into_response)?;
        Ok(Self(caller))
    }
}

/// The address of which a request is one, if it is a client's.
fn client_of(shared: &Shared, request: &Request) -> Option<IpAddr> {
    let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    let address = shared.lobby.origins.whose(peer.ip(), request.headers()).address;
    (!shared.lobby.origins.is_proxy(address)).then_some(address)
}

/// Around every request.
pub(super) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    // Those who wait must not take the place of those who are answered at once.
    let (places, most) = if may_wait(request.uri().query()) {
        (&shared.gate.waiting, REQUEST_TIMEOUT + MAX_WAIT)
    } else {
        (&shared.gate.in_flight, REQUEST_TIMEOUT)
    };
    let mut answer = match places.take(client_of(&shared, &request)) {
        Err(refusal) => refusal.into_response(),
        Ok(place) => {
            let answer = tokio::time::timeout(most, next.run(request)).await;
            drop(place);
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
    fn nobody_takes_the_places_of_all_others() {
        let places = Places::new(8);
        let mut held = Vec::new();
        let mut taken = |address: &str| {
            let address = Some(address.parse().expect("an address"));
            let before = held.len();
            held.extend((0..10).map_while(|_| places.take(address).ok()));
            held.len() - before
        };
        assert_eq!(["192.0.2.1", "2001:db8::1", "2001:db8::2", "192.0.2.2"].map(&mut taken), [4, 2, 0, 1]);
        assert!(places.take(None).is_ok(), "many are behind a proxy");
        held.clear();
        assert_eq!((0..10).filter_map(|_| places.take(None).ok()).collect::<Vec<_>>().len(), 8);
    }

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
