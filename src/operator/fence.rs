//! Lets no write through that its sender might not lead for any more.
//!
//! A process that stood still (its machine was paused, or had no time for it) goes on in the middle of a pass, with the next
//! step a write, before anybody tells it that its time is over. So each write looks at the clock itself, last of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{Either, Ready, ready};
use http::Request;
use kube::client::Body;
use tower::{BoxError, Layer, Service};

use crate::process::clock;

/// Until when this process may write; shut at first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence(Arc<AtomicU64>);

/// Why a write was not sent.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not sent: leadership was not renewed in time")]
struct Shut;

impl Fence {
    /// Writes may go through until then, by [`clock::monotonic`].
    pub(crate) fn open_until(&self, end: Duration) {
        self.0.store(u64::try_from(end.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn is_open(&self, now: Duration) -> bool {
        now < Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl<S> Layer<S> for Fence {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced { inner, fence: self.clone() }
    }
}

/// A client's way to the API server, behind a fence.
#[derive(Clone, Debug)]
pub(crate) struct Fenced<S> {
    inner: S,
    fence: Fence,
}

impl<S> Service<Request<Body>> for Fenced<S>
where
    S: Service<Request<Body>>,
    S::Error: Into<BoxError>,
    BoxError: From<S::Error>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Either<futures::future::ErrInto<S::Future, BoxError>, Ready<Result<S::Response, BoxError>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let reads = request.method().is_safe();
        if reads || self.fence.is_open(clock::monotonic()) {
            Either::Left(futures::TryFutureExt::err_into(self.inner.call(request)))
        } else {
            Either::Right(ready(Err(Shut.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn only_reads_get_through_once_it_is_shut() {
        let fence = Fence::default();
        let ask = async |method: Method| {
            let server = tower::service_fn(async |_: Request<Body>| Ok::<_, std::io::Error>("answered"));
            let request = Request::builder().method(method).body(Body::empty()).expect("a request");
            fence.layer(server).oneshot(request).await.is_ok()
        };
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        // The clock is far from both of these.
        for (end, open) in [(Duration::ZERO, false), (Duration::from_secs(1 << 40), true), (Duration::ZERO, false)] {
            fence.open_until(end);
            assert!(ask(Method::GET).await);
            for method in &writes {
                assert_eq!(ask(method.clone()).await, open, "{method}");
            }
        }
    }
}
