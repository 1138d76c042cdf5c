//! What happens to a session, as server-sent events for its host: first how it stands, then what changes, until it ends.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream::unfold;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use prometheus::IntGauge;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::api::{SessionPath, id};
use super::extract::bearer;
use super::problem::Refusal;
use super::watch::Following;
use crate::decide::events::{between, first};
use crate::decide::sessions::Seen;
use crate::wire::session::{Problem, SessionEvent};

/// Open streams of this process, and of one session in this process.
const STREAMS: usize = 512;
const STREAMS_OF_ONE: usize = 8;
/// Longest life of a stream.
const MAX_LIFE: Duration = Duration::from_hours(1);
/// How long the first event is waited for while the store is away.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// A comment is sent after so long without an event, so that both ends and what is between them see that the other lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Tells nginx, and what behaves like it, not to hold events back.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Open streams by their session.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<HashMap<String, usize>>);

impl Streams {
    /// Counts one more; none = there are as many as may be.
    fn open(self: &Arc<Self>, session: &str, gauge: &IntGauge) -> Option<Open> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = open.get(session).copied().unwrap_or(0);
        if open.values().sum::<usize>() >= STREAMS || of_one >= STREAMS_OF_ONE {
            return None;
        }
        open.insert(session.to_owned(), of_one + 1);
        gauge.inc();
        Some(Open { streams: Arc::clone(self), session: session.to_owned(), gauge: gauge.clone() })
    }
}

/// An open stream, counted until it is dropped.
struct Open {
    streams: Arc<Streams>,
    session: String,
    gauge: IntGauge,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.session);
            }
        }
    }
}

/// Query of the stream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Life {
    #[serde(rename = "for")]
    seconds: Option<u64>,
}

/// Tells what happens to a session, as server-sent events: first `snapshot`, then what changes, and `closed` at its end,
/// after which the stream ends. Whoever comes back begins with a snapshot again, so no event has an id. What came and went
/// within a quarter of a second may not be told.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/events", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session"),
        ("for" = Option<u64>, Query, minimum = 0, maximum = 3600, description = "Seconds after which the stream ends; 3600 unless given. 0 = the snapshot alone"),
    ),
    security(("hostToken" = []), ("adminToken" = [])),
    responses(
        (status = 200, description = "Events; the name of each is the `type` of its data", body = SessionEvent, content_type = "text/event-stream"),
        (status = 400, description = "`invalid_query`", body = Problem),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`; only told to the admin", body = Problem),
        (status = 503, description = "`too_many_streams`, `rebuilding`, `store_unavailable`", body = Problem),
    )
)]
pub(super) async fn stream(
    State(shared): State<Shared>,
    path: SessionPath,
    headers: HeaderMap,
    life: Result<Query<Life>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(Life { seconds }) = life.map_err(|error| Refusal::invalid_query(error.body_text()))?;
    let life = seconds.map_or(MAX_LIFE, Duration::from_secs);
    if life > MAX_LIFE {
        return Err(Refusal::invalid_query("for: must be 0 to 3600 seconds".to_owned()));
    }
    let (lobby, session) = (&shared.lobby, id(path));
    lobby.controlled(&session, bearer(&headers)).await?;
    let gauge = lobby.metrics.event_streams.with_label_values::<&str>(&[]);
    let open = shared.streams.open(&session, &gauge).ok_or(Refusal::too_many_streams())?;
    let telling = Telling {
        following: lobby.watch.follow(&session),
        told: None,
        next: VecDeque::new(),
        until: Instant::now() + life,
        first_until: Instant::now() + FIRST_WITHIN,
        over: false,
        stop: shared.shutdown.clone(),
        _open: open,
    };
    let events = unfold(telling, |mut telling| async move {
        let event = telling.next().await?;
        let event = Event::default().event(event.as_str()).json_data(&event).ok()?;
        Some((Ok::<_, Infallible>(event), telling))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(NO_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// What one stream has told and is to tell. A client that reads slowly gets the difference to what it was told last.
struct Telling {
    following: Following,
    told: Option<Arc<Seen>>,
    next: VecDeque<SessionEvent>,
    until: Instant,
    first_until: Instant,
    over: bool,
    stop: CancellationToken,
    _open: Open,
}

impl Telling {
    async fn next(&mut self) -> Option<SessionEvent> {
        loop {
            if let Some(event) = self.next.pop_front() {
                self.over = event == SessionEvent::Closed;
                return Some(event);
            }
            if self.over {
                return None;
            }
            let until = if self.told.is_none() { self.until.max(self.first_until) } else { self.until };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = sleep_until(until) => return None,
                changed = self.following.changed() => changed.ok()?,
            }
            let Some(seen) = self.following.borrow_and_update().clone() else { continue };
            self.next.extend(self.told.as_deref().map_or_else(|| first(&seen), |told| between(told, &seen)));
            self.told = Some(seen);
        }
    }
}
