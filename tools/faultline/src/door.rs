//! Where a client comes in. Each replica of a controller gets a door of its own, by whose name rules and log know it.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::proxy::{Caller, Shared};

/// Shows a client one namespace as if it were all, of these resources: so several controllers that look at a whole cluster
/// can share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Plurals, of which lists and watches over all namespaces become those of one.
    pub resources: Vec<String>,
    /// That namespace.
    pub namespace: String,
}

impl Scope {
    /// The path to ask for instead: `/apis/group/v1/things` becomes `/apis/group/v1/namespaces/x/things`.
    pub(crate) fn apply(&self, path: &str) -> Option<String> {
        let (before, resource) = path.rsplit_once('/')?;
        let depth = if before.starts_with("/apis/") { 3 } else { 2 };
        let whole = before.matches('/').count() == depth && self.resources.iter().any(|known| known == resource);
        whole.then(|| format!("{before}/namespaces/{}/{resource}", self.namespace))
    }
}

/// A listening port for one client; plain HTTP on loopback. Closed when dropped.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    closed: CancellationToken,
    connections: TaskTracker,
    /// Writes on their way to the server: these end, whatever becomes of their connection.
    writes: TaskTracker,
}

impl Door {
    pub(crate) fn open(
        shared: Arc<Shared>,
        listener: TcpListener,
        name: &str,
        scope: Option<Scope>,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (closed, connections) = (CancellationToken::new(), TaskTracker::new());
        let writes = TaskTracker::new();
        let caller = Arc::new(Caller { shared, client: name.to_owned(), scope, writes: writes.clone() });
        let (ended, accepted) = (closed.clone(), connections.clone());
        connections.spawn(closed.clone().run_until_cancelled_owned(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let connection = serve(stream, Arc::clone(&caller));
                        accepted.spawn(ended.clone().run_until_cancelled_owned(connection));
                    }
                    // Out of descriptors, most likely: some get free.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                }
            }
        }));
        Ok(Self { address, closed, connections, writes })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As the server's address in a kubeconfig.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts the client off for good, at once: what it has sent and is not on its way to the server never gets there, and
    /// no answer comes back. Returns once the server has answered what was on its way.
    pub async fn close(self) {
        self.closed.cancel();
        self.connections.close();
        self.connections.wait().await;
        self.writes.close();
        self.writes.wait().await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

async fn serve(stream: TcpStream, caller: Arc<Caller>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| Arc::clone(&caller).answer(request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away, or a fault that closes the connection: both are expected.
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lists_of_the_named_resources_are_narrowed() {
        let scope = Scope { resources: vec!["pods".to_owned(), "things".to_owned()], namespace: "x".to_owned() };
        let narrowed = |path: &str| scope.apply(path);
        assert_eq!(narrowed("/api/v1/pods").as_deref(), Some("/api/v1/namespaces/x/pods"));
        assert_eq!(narrowed("/apis/a.dev/v1/things").as_deref(), Some("/apis/a.dev/v1/namespaces/x/things"));
        for same in ["/api/v1/nodes", "/api/v1/namespaces/y/pods", "/apis/a.dev/v1/namespaces/y/things", "/pods"] {
            assert_eq!(narrowed(same), None, "{same}");
        }
    }
}
