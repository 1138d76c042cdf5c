//! The control port: whether this lobby process reaches its store and what it is asked for, as server-sent events.
//! Read-only.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::StreamExt as _;
use futures::stream::unfold;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::problem::Refusal;
use super::state::Lobby;
use crate::wire::stats::{DEMAND_EVENT, Demand, EVENTS_PATH, STORE_EVENT, StoreState};

/// Open streams at a time.
const STREAMS: usize = 16;
/// How often it is looked whether something has changed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it is told when nothing has.
const TELL_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct Control {
    lobby: Arc<Lobby>,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The routes of the control port. Streams end with `stop`.
pub(super) fn router(lobby: Arc<Lobby>, stop: CancellationToken) -> Router {
    let streams = Arc::new(Semaphore::new(STREAMS));
    Router::new()
        .route(EVENTS_PATH, get(events))
        .fallback(async || Refusal::not_found())
        .method_not_allowed_fallback(async || Refusal::method_not_allowed())
        .with_state(Control { lobby, streams, stop })
}

/// What one stream has told last, and when.
struct Told {
    lobby: Arc<Lobby>,
    store: Option<(StoreState, Instant)>,
    demand: Option<(Demand, Instant)>,
    look: tokio::time::Interval,
    _permit: OwnedSemaphorePermit,
}

impl Told {
    /// What is to be told now, if anything is.
    fn next(&mut self) -> Option<Event> {
        let store = StoreState { available: !self.lobby.store.is_away() };
        if is_due(self.store.as_ref(), &store) {
            self.store = Some((store, Instant::now()));
            return event(STORE_EVENT, &store);
        }
        // Without a table there are no pools to tell of; unknown is not zero.
        let demand = self.lobby.demand(&*self.lobby.table()?);
        if is_due(self.demand.as_ref(), &demand) {
            let event = event(DEMAND_EVENT, &demand);
            self.demand = Some((demand, Instant::now()));
            return event;
        }
        None
    }
}

/// What has changed, and what was told a while ago.
fn is_due<T: PartialEq>(last: Option<&(T, Instant)>, now: &T) -> bool {
    last.is_none_or(|(last, at)| last != now || at.elapsed() >= TELL_EVERY)
}

fn event(name: &str, value: &impl Serialize) -> Option<Event> {
    Event::default().event(name).json_data(value).ok()
}

/// Everything at once, then each second and on change.
async fn events(State(control): State<Control>) -> Response {
    let Ok(permit) = Arc::clone(&control.streams).try_acquire_owned() else {
        return Refusal::overloaded().into_response();
    };
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let told = Told { lobby: control.lobby, store: None, demand: None, look, _permit: permit };
    let stream = unfold(told, |mut told| async move {
        let event = loop {
            if let Some(event) = told.next() {
                break event;
            }
            told.look.tick().await;
        };
        Some((Ok::<_, Infallible>(event), told))
    });
    Sse::new(stream.take_until(control.stop.cancelled_owned())).into_response()
}
