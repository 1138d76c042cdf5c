//! Watches over namespaces, before an API server that is a function.

use std::future::pending;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

/// Lists these relay Pods, and nothing of any other kind; its watches tell of nothing.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<&'static str>>>);

impl Server {
    fn has(&self, pods: &[&'static str]) {
        *self.0.lock().expect("no test panics here") = pods.to_vec();
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
        let is_of_relays =
            asked.path().ends_with("/pods") && asked.query().is_some_and(|query| query.contains("relay"));
        let pods = self.0.lock().expect("no test panics here").clone();
        let items: Vec<Value> = pods.into_iter().filter(|_| is_of_relays).map(pod).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
        Response::builder().status(StatusCode::OK).body(Body::from(list.to_string().into_bytes())).expect("an answer")
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
    children.pods("preview", "owner").await.iter().map(kube::ResourceExt::name_any).collect()
}

#[tokio::test]
async fn a_namespace_that_is_left_is_watched_no_more_and_one_that_comes_back_is_read_anew() {
    let (server, (wake, mut woken)) = (Server::default(), wake());
    let children = ChildWatches::new(server.client(), wake, CancellationToken::new());
    server.has(&["a-0"]);
    assert_eq!(names(&children).await, ["a-0"]);
    server.has(&["a-1"]);
    children.leave("preview", || true);
    assert_eq!(names(&children).await, ["a-0"], "an object of ours is there: it is watched on");
    children.leave("elsewhere", || false);
    children.leave("preview", || false);
    assert!(!children.knows("preview"));
    assert_eq!(names(&children).await, ["a-1"], "not what was known of the one before");

    children.leave("preview", || false);
    drop(children);
    let ended = async { while woken.recv().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("every watch of the namespace ends");
}

#[tokio::test]
async fn who_comes_to_a_namespace_while_it_is_left_finds_it_watched() {
    let (server, (wake, _woken)) = (Server::default(), wake());
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
