//! The control port: the load of this relay as server-sent events. Read-only.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::StreamExt as _;
use futures::stream::unfold;
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::refusal::problem;
use super::state::Relay;
use super::{LOAD_EVERY, LOAD_GAP};
use crate::wire::stats::EVENTS_PATH;

/// Open streams at a time.
const STREAMS: usize = 16;

#[derive(Clone, Debug)]
struct Control {
    relay: Arc<Relay>,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The routes of the control port. Streams end with `stop`.
pub(super) fn router(relay: Arc<Relay>, stop: CancellationToken) -> Router {
    let streams = Arc::new(Semaphore::new(STREAMS));
    Router::new().route(EVENTS_PATH, get(events)).with_state(Control { relay, streams, stop })
}

/// The load at once, then each second and on change.
async fn events(State(control): State<Control>) -> Response {
    let Ok(permit) = Arc::clone(&control.streams).try_acquire_owned() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", "Too many event streams are open");
    };
    let counted = Counted::new(control.relay.metrics.event_streams.clone(), permit);
    let stats = control.relay.stats();
    let mut every = interval(LOAD_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = unfold((stats, every, counted, true), |(mut stats, mut every, counted, first)| async move {
        if first {
            every.tick().await;
        } else {
            // Many changes in a moment are one event.
            sleep(LOAD_GAP).await;
            tokio::select! {
                changed = stats.changed() => changed.ok()?,
                _ = every.tick() => {}
            }
        }
        let now = stats.borrow_and_update().clone();
        let event = Event::default().event("load").json_data(now).ok()?;
        Some((Ok::<_, Infallible>(event), (stats, every, counted, false)))
    });
    Sse::new(stream.take_until(control.stop.cancelled_owned())).into_response()
}

/// An open stream.
struct Counted {
    open: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Counted {
    fn new(open: IntGauge, permit: OwnedSemaphorePermit) -> Self {
        open.inc();
        Self { open, _permit: permit }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.dec();
    }
}
