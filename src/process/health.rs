//! `/healthz`, `/readyz` and `/metrics`, on a port that is not the public one.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus::Registry;

/// What keeps a process from being ready, in words; nothing = ready. Not ready until first set.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<Result<String, String>>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Err("starting".to_owned()))))
    }
}

impl Readiness {
    /// Sets the state.
    pub fn set(&self, state: Result<(), String>) {
        self.set_with(state.map(|()| String::new()));
    }

    /// Sets the state; of a ready process also what else is to be said of it.
    pub fn set_with(&self, state: Result<String, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The state.
    pub fn get(&self) -> Result<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The routes of the health port.
pub fn router(readiness: Readiness, registry: Registry) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(|State(readiness): State<Readiness>| async move {
                match readiness.get() {
                    Ok(more) if more.is_empty() => (StatusCode::OK, "ok\n".to_owned()),
                    Ok(more) => (StatusCode::OK, format!("ok: {more}\n")),
                    Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
                }
            }),
        )
        .with_state(readiness)
        .route(
            "/metrics",
            get(move || async move {
                match super::metrics::encode(&registry) {
                    Ok(text) => (StatusCode::OK, text),
                    Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
                }
            }),
        )
}
