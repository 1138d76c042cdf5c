//! The control port: what this relay carries and which orders it obeys, as server-sent events; and the operator's orders.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures::StreamExt as _;
use futures::stream::unfold;
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::refusal::problem;
use super::state::Relay;
use super::{LOAD_EVERY, LOAD_GAP};
use crate::wire::orders::{MAX_ORDER_BYTES, ORDERS_PATH, Order};
use crate::wire::stats::{EVENTS_PATH, LOAD_EVENT};

/// Open streams at a time.
const STREAMS: usize = 16;
/// In which an order must have come.
const ORDER_WITHIN: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
struct Control {
    relay: Arc<Relay>,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The routes of the control port. Streams end with `stop`.
pub(super) fn router(relay: Arc<Relay>, stop: CancellationToken) -> Router {
    let streams = Arc::new(Semaphore::new(STREAMS));
    Router::new()
        .route(EVENTS_PATH, get(events))
        .route(ORDERS_PATH, post(orders))
        .fallback(async || problem(StatusCode::NOT_FOUND, "not_found", "There is nothing here"))
        .method_not_allowed_fallback(async || {
            problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Not for this method")
        })
        .with_state(Control { relay, streams, stop })
}

/// Takes an order. Whether it is obeyed stands in the events: one that comes late is taken all the same.
async fn orders(State(control): State<Control>, body: Body) -> Response {
    let invalid = |title: &str| {
        control.relay.metrics.ordered("invalid");
        problem(StatusCode::BAD_REQUEST, "invalid_order", title)
    };
    let Ok(Ok(bytes)) = timeout(ORDER_WITHIN, to_bytes(body, MAX_ORDER_BYTES)).await else {
        return invalid("The order did not come whole, in time and within its size");
    };
    match serde_json::from_slice::<Order>(&bytes) {
        Ok(order) => {
            control.relay.order(order);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => invalid(&format!("Not an order that this relay knows: {error}")),
    }
}

/// The report at once, then each second and on change.
async fn events(State(control): State<Control>) -> Response {
    let Ok(permit) = Arc::clone(&control.streams).try_acquire_owned() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", "Too many event streams are open");
    };
    let counted = Counted::new(control.relay.metrics.event_streams.clone(), permit);
    let report = control.relay.report();
    let mut every = interval(LOAD_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = unfold((report, every, counted, true), |(mut report, mut every, counted, first)| async move {
        if first {
            every.tick().await;
        } else {
            // Many changes in a moment are one event.
            sleep(LOAD_GAP).await;
            tokio::select! {
                changed = report.changed() => changed.ok()?,
                _ = every.tick() => {}
            }
        }
        let now = report.borrow_and_update().clone();
        let event = Event::default().event(LOAD_EVENT).json_data(now).ok()?;
        Some((Ok::<_, Infallible>(event), (report, every, counted, false)))
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
