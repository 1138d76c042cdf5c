//! Watches over namespaces, before an API server that is a function.

use std::future::pending;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

/// Lists these relay Pods, and nothing of any other kind; its watches tell of nothing.
#[derive(Clone)]
struct Server(Arc<Mutex<Pods>>);

/// What is said of Pods.
#[derive(Clone, Debug)]
enum Pods {
    Listed(Vec<&'static str>),
    /// Nothing, where they are asked for by labels.
    Silence,
    /// This status to whoever asks.
    Refused(StatusCode),
}

impl Server {
    fn says(pods: Pods) -> Self {
        Self(Arc::new(Mutex::new(pods)))
    }

    fn has(&self, pods: &[&'static str]) {
        *self.0.lock().expect("no test panics here") = Pods::Listed(pods.to_vec());
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let answer = move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, std::io::Error>(server.answer(request.uri()).await) }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    async fn answer(&self, asked: &http::Uri) -> Response<Body> {
        if asked.query().is_some_and(|query| query.contains("watch=true")) {
            return pending().await;
        }
        let said = self.0.lock().expect("no test panics here").clone();
        let by_labels = asked.query().is_some_and(|query| query.contains("labelSelector"));
        let (status, pods) = match said {
            _ if !asked.path().ends_with("/pods") => (StatusCode::OK, vec![]),
            Pods::Listed(pods) => (StatusCode::OK, pods),
            Pods::Silence if by_labels => return pending().await,
            Pods::Silence => (StatusCode::OK, vec![]),
            Pods::Refused(status) => (status, vec![]),
        };
        let items: Vec<Value> = pods.into_iter().map(pod).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
        let refusal = json!({"kind": "Status", "status": "Failure", "message": "no", "code": status.as_u16()});
        let body = if status.is_success() { list } else { refusal };
        Response::builder().status(status).body(Body::from(body.to_string().into_bytes())).expect("an answer")
    }
}

fn pod(name: &str) -> Value {
    let owner = json!({"apiVersion": "convene.dev/v1alpha1", "kind": "RelayPool", "name": "a", "uid": "owner"});
    json!({"metadata": {
        "name": name, "namespace": "preview", "uid": name, "resourceVersion": "1", "ownerReferences": [owner],
    }})
}

/// Whoever may wake holds a sender of it.
fn wake() -> (Wake, UnboundedReceiver<PoolRef>) {
    let (pools, woken) = unbounded_channel();
    (Wake { lobbies: unbounded_channel().0, pools, memories: Arc::default() }, woken)
}

async fn names(children: &ChildWatches) -> Vec<String> {
    children.pods("preview", "owner").await.expect("it reads them").iter().map(kube::ResourceExt::name_any).collect()
}

#[tokio::test]
async fn a_namespace_that_is_left_is_watched_no_more_and_one_that_comes_back_is_read_anew() {
    let (server, (wake, mut woken)) = (Server::says(Pods::Listed(vec![])), wake());
    let children = ChildWatches::new(server.client(), wake, CancellationToken::new());
    server.has(&["a-0"]);
    assert_eq!(names(&children).await, ["a-0"]);
    server.has(&["a-1"]);
    children.leave("preview", || true);
    assert_eq!(names(&children).await, ["a-0"], "an object of ours is there: it is watched on");
    children.leave("elsewhere", || false);
    children.leave("preview", || false);
    assert!(!children.has_read("preview"));
    assert_eq!(names(&children).await, ["a-1"], "not what was known of the one before");

    children.leave("preview", || false);
    drop(children);
    let ended = async { while woken.recv().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("every watch of the namespace ends");
}

#[tokio::test]
async fn who_comes_to_a_namespace_while_it_is_left_finds_it_watched() {
    let (server, (wake, _woken)) = (Server::says(Pods::Listed(vec![])), wake());
    let children = ChildWatches::new(server.client(), wake, CancellationToken::new());
    for pod in ["a-0", "a-1", "a-2", "a-3"] {
        server.has(&[pod]);
        let runtime = Handle::current();
        std::thread::scope(|scope| {
            let pass = || {
                let _entered = runtime.enter();
                children.ensure("preview");
            };
            children.leave("preview", || {
                scope.spawn(pass);
                false
            });
        });
        assert_eq!(names(&children).await, [pod]);
    }
}

#[tokio::test]
async fn pods_that_cannot_be_read_are_not_waited_for() {
    let read = async |pods| {
        let mut children = ChildWatches::new(Server::says(pods).client(), wake().0, CancellationToken::new());
        children.read_within = Duration::from_millis(20);
        let read = children.pods("preview", "owner").await;
        (read.expect_err("nothing was read").to_string(), children.has_read("preview"))
    };
    let (why, has_read) = read(Pods::Refused(StatusCode::FORBIDDEN)).await;
    assert!(why.contains("may not work in namespace preview"), "{why}");
    assert!(!has_read);
    let (why, _) = read(Pods::Silence).await;
    assert!(
        why.contains("read the relays of namespace preview: ") && why.contains("no watch has listed them"),
        "{why}"
    );
    let (why, _) = read(Pods::Refused(StatusCode::INTERNAL_SERVER_ERROR)).await;
    assert!(why.contains("look at Pods of namespace preview: "), "{why}");
}
