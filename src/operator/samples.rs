//! Relays of other images: their metrics are looked at time and again, for as long as their Pods are there, and they are told
//! to take no new sessions where they can be told. What follows from a look is [`crate::decide::sampled`].

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use http::header::{ACCEPT, CONTENT_LENGTH, TRANSFER_ENCODING};
use k8s_openapi::jiff::SignedDuration;
use reqwest::Url;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Metrics;
use super::watch::PoolRef;
use crate::decide::drain::Note;
use crate::decide::exposition::{Reader, Unreadable};
use crate::decide::listening::Listening;
use crate::decide::quota::{Bucket, Rate};
use crate::decide::sampled::{self, Obeys, RATE, Refused, Sampled};
use crate::decide::scale::Occupancy;
use crate::decide::valid::Custom;
use crate::process::clock;
use crate::wire::orders::Order;

/// Time for a look, and for an order.
const WITHIN: Duration = Duration::from_secs(2);
/// What is asked for.
const FORMAT: &str = "text/plain;version=0.0.4";

/// A relay as its Pod shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Where its metrics are.
    pub(crate) address: SocketAddr,
    /// Its container: one that was started anew has forgotten what it was told.
    pub(crate) container: Option<String>,
    /// Seats that it was made with.
    pub(crate) seats: i32,
    /// What stands on it about its drains.
    pub(crate) note: Note,
}

/// All relays that are looked at, by their pools and the UIDs of their Pods.
pub(crate) struct Samples {
    shared: Arc<Shared>,
    ended: CancellationToken,
    pools: Mutex<HashMap<PoolRef, BTreeMap<String, Followed>>>,
}

/// One relay. Dropped, it is looked at no more.
struct Followed {
    relay: Arc<Relay>,
    stop: CancellationToken,
    _guard: DropGuard,
}

/// What all looks have in common.
struct Shared {
    http: reqwest::Client,
    metrics: Metrics,
    wake: Box<dyn Fn(&PoolRef) + Send + Sync>,
    /// Keeps the rate of all looks.
    pace: Mutex<Bucket>,
    /// Held by each relay that is looked at, so that they can be counted.
    count: Arc<()>,
}

struct Relay {
    shared: Arc<Shared>,
    _counted: Arc<()>,
    pool: PoolRef,
    address: SocketAddr,
    container: Option<String>,
    seats: i32,
    custom: Mutex<Custom>,
    sampled: Mutex<Sampled>,
    /// An order is on its way: a later one must not overtake it.
    is_told: AtomicBool,
    /// Something has changed that only a new look shows.
    again: Notify,
}

impl Samples {
    /// None yet. All looks end with `ended`; `wake` is told of pools of which something new was learnt.
    pub(crate) fn new(
        metrics: Metrics,
        wake: impl Fn(&PoolRef) + Send + Sync + 'static,
        ended: CancellationToken,
    ) -> Self {
        let builder = reqwest::Client::builder().tls_certs_only(std::iter::empty()).no_proxy();
        let http = builder.redirect(reqwest::redirect::Policy::none()).build().expect("these settings need nothing");
        let pace = Mutex::new(Bucket::new(Rate { per_second: RATE.into(), burst: 1.0 }, clock::monotonic()));
        let shared = Shared { http, metrics, wake: Box::new(wake), pace, count: Arc::new(()) };
        Self { shared: Arc::new(shared), ended, pools: Mutex::default() }
    }

    /// Looks at these relays of a pool from now on, and at no others; what was learnt of each.
    pub(crate) fn follow(
        &self,
        pool: &PoolRef,
        custom: &Custom,
        relays: &BTreeMap<String, Shown>,
    ) -> BTreeMap<String, Listening> {
        let mut pools = self.lock();
        if relays.is_empty() {
            pools.remove(pool);
            return BTreeMap::new();
        }
        let followed = pools.entry(pool.clone()).or_default();
        followed.retain(|uid, known| relays.get(uid).is_some_and(|shown| known.relay.is(shown)));
        for (uid, shown) in relays {
            let known = followed.entry(uid.clone()).or_insert_with(|| self.start(pool, custom, shown));
            known.relay.look_by(custom, shown.note);
        }
        followed.iter().map(|(uid, known)| (uid.clone(), known.relay.sampled().listening().clone())).collect()
    }

    /// Orders something of a relay that is looked at; false where it is none of these. Not every order arrives: it is known
    /// to be obeyed once a look says so, and until then it is given again.
    pub(crate) fn order(&self, pool: &PoolRef, uid: &str, order: Order) -> bool {
        let pools = self.lock();
        let Some(known) = pools.get(pool).and_then(|relays| relays.get(uid)) else { return false };
        let relay = Arc::clone(&known.relay);
        let Some(path) = relay.custom().drain.clone() else {
            // It cannot be told: that its drain is noted counts, from the next look on.
            relay.again.notify_one();
            return true;
        };
        let method = match order {
            Order::Cordon { .. } => Method::POST,
            Order::Uncordon { .. } => Method::DELETE,
            // There is nowhere to hand its sessions to, and no drain asks for it.
            Order::HandOver { .. } => return true,
        };
        if relay.is_told.swap(true, Ordering::AcqRel) {
            self.shared.metrics.orders.with_label_values(&["dropped"]).inc();
            return true;
        }
        let stop = known.stop.clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move { relay.tell(&path, method, order).await }));
        true
    }

    /// Looks at a pool no more.
    pub(crate) fn forget(&self, pool: &PoolRef) {
        self.lock().remove(pool);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PoolRef, BTreeMap<String, Followed>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, pool: &PoolRef, custom: &Custom, shown: &Shown) -> Followed {
        let relay = Arc::new(Relay {
            shared: Arc::clone(&self.shared),
            _counted: Arc::clone(&self.shared.count),
            pool: pool.clone(),
            address: shown.address,
            container: shown.container.clone(),
            seats: shown.seats,
            custom: Mutex::new(custom.clone()),
            sampled: Mutex::new(Sampled::begin(clock::now())),
            is_told: AtomicBool::new(false),
            again: Notify::new(),
        });
        let (stop, keeps) = (self.ended.child_token(), Arc::clone(&relay));
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move { keeps.keep().await }));
        Followed { relay, stop: stop.clone(), _guard: stop.drop_guard() }
    }
}

impl Relay {
    /// Whether this is still the process that a Pod shows.
    fn is(&self, shown: &Shown) -> bool {
        (self.address, &self.container, self.seats) == (shown.address, &shown.container, shown.seats)
    }

    /// Goes by this from now on.
    fn look_by(&self, custom: &Custom, note: Note) {
        self.sampled().is_noted(note);
        let mut known = self.custom();
        if *known != *custom {
            known.clone_from(custom);
            self.again.notify_one();
        }
    }

    /// Looks, for ever.
    async fn keep(&self) {
        let (mut last, mut known) = (None, false);
        loop {
            self.turn().await;
            let custom = self.custom().clone();
            let obeys = self.sampled().obeys(custom.drain.is_some());
            let seen = tokio::time::timeout(WITHIN, self.look(&custom)).await.unwrap_or(Err(Refused::Unreachable));
            let interval = sampled::interval(custom.interval, Arc::strong_count(&self.shared.count) - 1);
            if self.learn(seen, obeys, interval, &mut known) {
                (self.shared.wake)(&self.pool);
            }
            let refused = seen.err();
            if refused != last {
                self.log(refused);
            }
            last = refused;
            let pause = Duration::try_from(interval).unwrap_or(Duration::MAX);
            let _ = tokio::time::timeout(pause, self.again.notified()).await;
        }
    }

    /// Waits until the rate of all looks allows one more.
    async fn turn(&self) {
        let wait = self.shared.pace.lock().unwrap_or_else(PoisonError::into_inner).take(1.0, clock::monotonic());
        tokio::time::sleep(wait).await;
    }

    /// Takes what a look has shown; whether that is news. `known`: whether anything is known of the relay.
    fn learn(&self, seen: Result<u32, Refused>, obeys: Obeys, interval: SignedDuration, known: &mut bool) -> bool {
        let (now, mut sampled, was_known) = (clock::now(), self.sampled(), *known);
        let outcome = seen.map_or_else(Refused::as_str, |_| "taken");
        self.shared.metrics.samples.with_label_values(&[outcome]).inc();
        let says_more = seen.is_ok_and(|sessions| sampled.is_seen(obeys, sessions, interval, now));
        // What was known holds for a while without another look.
        *known = matches!(sampled.listening().load(self.seats, now), Occupancy::Known { .. });
        says_more || was_known && !*known
    }

    async fn look(&self, custom: &Custom) -> Result<u32, Refused> {
        let unreachable = |_| Refused::Unreachable;
        let request = self.shared.http.get(self.url(&custom.path)).header(ACCEPT, FORMAT);
        let mut answer = request.send().await.map_err(unreachable)?;
        if answer.status() != http::StatusCode::OK {
            return Err(Refused::Status);
        }
        // Of a text that ends with its connection nobody can tell whether it is whole.
        if ![CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| answer.headers().contains_key(name)) {
            return Err(Unreadable::Malformed.into());
        }
        let mut reader = Reader::new(&custom.sessions);
        while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
            reader.feed(&piece)?;
        }
        sampled::sessions(reader.end()?, self.seats)
    }

    /// Tells it to take no new sessions, or to take them again.
    async fn tell(&self, path: &str, method: Method, order: Order) {
        let sent = self.shared.http.request(method, self.url(path)).timeout(WITHIN).send().await;
        let taken = sent.is_ok_and(|answer| answer.status().is_success());
        if taken {
            self.sampled().has_obeyed(order);
            self.again.notify_one();
        } else {
            tracing::info!(pool = %self.pool, relay = %self.address, path, ?order, "a relay of another image did not take an order: it is given again");
        }
        self.is_told.store(false, Ordering::Release);
        self.shared.metrics.orders.with_label_values(&[if taken { "taken" } else { "failed" }]).inc();
    }

    /// Only ever at the Pod's own address.
    fn url(&self, path: &str) -> Url {
        let mut url = Url::parse(&format!("http://{}", self.address)).expect("an address is a URL");
        url.set_path(path);
        url
    }

    fn log(&self, refused: Option<Refused>) {
        let (pool, relay) = (&self.pool, self.address);
        if let Some(why) = refused {
            tracing::info!(%pool, %relay, %why, "how many sessions a relay has cannot be told");
        } else {
            tracing::debug!(%pool, %relay, "a relay tells how many sessions it has");
        }
    }

    fn custom(&self) -> MutexGuard<'_, Custom> {
        self.custom.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sampled(&self) -> MutexGuard<'_, Sampled> {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "samples_tests.rs"]
mod tests;
