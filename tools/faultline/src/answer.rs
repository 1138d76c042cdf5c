//! Answers as the proxy gives them: whole, streamed, or made up.

use std::convert::Infallible;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

/// Body of an answer. Its error closes the connection.
pub(crate) type Body = UnsyncBoxBody<Bytes, Broken>;

/// Says to close the connection: what a client sees when its server dies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the plan closes this connection")
    }
}

impl std::error::Error for Broken {}

/// An answer of which everything is known.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Whole {
    /// A `Status` of Kubernetes, which no server has said.
    pub(crate) fn made_up(status: u16, retry_after: Option<u64>, why: &str) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        Self { status, headers, body: failure(status, why).into() }
    }

    pub(crate) fn response(self) -> Response<Body> {
        let body = Full::new(self.body).map_err(|never: Infallible| match never {}).boxed_unsync();
        respond(self.status, self.headers, body)
    }

    /// The same, that breaks off after so many bytes.
    pub(crate) fn cut(self, after: usize) -> Response<Body> {
        let mut part = self.body;
        part.truncate(after);
        let breaks = futures::stream::once(async {
            // What was written before is sent first.
            tokio::task::yield_now().await;
            Err(Broken)
        });
        let frames = futures::StreamExt::chain(futures::stream::iter([Ok(Frame::data(part))]), breaks);
        respond(self.status, self.headers, StreamBody::new(frames).boxed_unsync())
    }
}

/// An answer that comes piece by piece.
pub(crate) fn streamed(
    status: StatusCode,
    headers: HeaderMap,
    pieces: mpsc::Receiver<Result<Bytes, Broken>>,
) -> Response<Body> {
    let frames = ReceiverStream::new(pieces).map(|piece| piece.map(Frame::data));
    respond(status, headers, StreamBody::new(frames).boxed_unsync())
}

fn respond(status: StatusCode, mut headers: HeaderMap, body: Body) -> Response<Body> {
    // Lengths and framing are this connection's own matter.
    for own in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(own);
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A `Status` that says no.
pub(crate) fn failure(status: StatusCode, why: &str) -> String {
    let reason = match status.as_u16() {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    };
    let message = format!("faultline: {why}");
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": message, "code": status.as_u16()})
        .to_string()
}
