//! The control interface: plan in, log out, as JSON over HTTP.
//!
//! | request | what it does |
//! | --- | --- |
//! | `GET /plan`, `PUT /plan` | the plan; counting starts anew |
//! | `GET /log?from=N` | entries from the N-th on (0 = all), one JSON object a line |
//! | `GET /held` | requests that wait |
//! | `POST /held/{id}/forward`, `POST /held/{id}/drop` | how one goes on |
//! | `POST /record/on`, `POST /record/off` | whether answers to reads are kept for `replay` |

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::held::{Held, Release};
use crate::plan::Plan;
use crate::proxy::Proxy;

/// Routes of the control interface. For loopback: whoever reaches it decides what the clients see.
pub fn router(proxy: Proxy) -> Router {
    Router::new()
        .route("/plan", get(plan).put(set_plan))
        .route("/log", get(log))
        .route("/held", get(held))
        .route("/held/{id}/{how}", post(release))
        .route("/record/{on}", post(record))
        .with_state(proxy)
}

async fn plan(State(proxy): State<Proxy>) -> Json<Plan> {
    Json(proxy.plan())
}

async fn set_plan(State(proxy): State<Proxy>, Json(plan): Json<Plan>) -> StatusCode {
    proxy.set_plan(plan);
    StatusCode::NO_CONTENT
}

async fn log(State(proxy): State<Proxy>, RawQuery(query): RawQuery) -> Result<String, StatusCode> {
    let from = match query.as_deref().and_then(|query| query.strip_prefix("from=")) {
        Some(number) => number.parse().map_err(|_| StatusCode::BAD_REQUEST)?,
        None => 0,
    };
    let lines = proxy.log().entries(from).into_iter().map(|entry| serde_json::to_string(&entry));
    let lines: Result<Vec<String>, _> = lines.collect();
    let lines = lines.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

async fn held(State(proxy): State<Proxy>) -> Json<Vec<Held>> {
    Json(proxy.held())
}

async fn release(State(proxy): State<Proxy>, Path((id, how)): Path<(u64, String)>) -> StatusCode {
    let release = match how.as_str() {
        "forward" => Release::Forward,
        "drop" => Release::Drop,
        _ => return StatusCode::NOT_FOUND,
    };
    if proxy.release(id, release) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn record(State(proxy): State<Proxy>, Path(on): Path<String>) -> StatusCode {
    match on.as_str() {
        "on" => proxy.record(true),
        "off" => proxy.record(false),
        _ => return StatusCode::NOT_FOUND,
    }
    StatusCode::NO_CONTENT
}
