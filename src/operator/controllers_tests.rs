//! Who is woken by what.

use futures::stream;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::json;

use super::*;
use crate::operator::kept::kept;

fn node(ready: &str) -> Node {
    let conditions = json!([{"type": "Ready", "status": ready}]);
    serde_json::from_value(json!({"metadata": {"name": "one"}, "status": {"conditions": conditions}})).expect("a node")
}

fn pool(name: &str) -> Guarded<RelayPool> {
    let spec = json!({"lobbyRef": {"name": "demo"}, "region": "eu-west-1", "server": {"convene": {}}});
    let pool = json!({
        "apiVersion": "convene.dev/v1alpha1", "kind": "RelayPool",
        "metadata": {"name": name, "namespace": "n", "uid": name}, "spec": spec,
    });
    serde_json::from_value(pool).expect("a pool")
}

#[tokio::test]
async fn pools_look_at_their_relays_when_a_node_changes_or_goes() {
    let (pools, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Apply(pool("a")));
    let list = |ready| [Event::Init, Event::InitApply(node(ready)), Event::InitDone];
    let woken_by = async |more: Vec<Event<Node>>| {
        let ((lobbies, _), (wakes, mut woken)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let wake = Wake { lobbies, pools: wakes, memories: Arc::default() };
        let events = list("True").into_iter().chain(more).map(Ok);
        let (nodes, touched) = kept(stream::iter(events), CancellationToken::new());
        follow_nodes(touched, nodes, wake, pools.clone()).await;
        let mut times = 0;
        while woken.recv().await.is_some() {
            times += 1;
        }
        times - 1
    };
    assert_eq!(woken_by(vec![Event::Apply(node("True"))]).await, 0, "nothing that matters");
    assert_eq!(woken_by(vec![Event::Apply(node("False"))]).await, 1);
    assert_eq!(woken_by(vec![Event::Delete(node("True"))]).await, 1);
    assert_eq!(woken_by(vec![Event::Init, Event::InitDone]).await, 1, "it went while nobody watched");
    assert_eq!(woken_by(list("True").into()).await, 0);
}

#[tokio::test]
async fn a_late_word_of_a_relay_makes_no_memory_of_a_pool_that_is_gone() {
    let ((lobbies, _), (wakes, mut woken)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let wake = Wake { lobbies, pools: wakes, memories: Arc::default() };
    let (gone, there) = (PoolRef::new("gone").within("n"), PoolRef::new("there").within("n"));
    wake.memories.begin(&there);
    let news = relay_news(wake.clone());
    for pool in [&gone, &there] {
        news(pool, ());
        assert_eq!(woken.recv().await.as_ref(), Some(pool));
    }
    assert_eq!(wake.memories.known(&gone, |_| ()), None);
    assert!(wake.memories.known(&there, |memory| memory.news_since).flatten().is_some());
}

#[test]
fn what_can_be_read_again_is_looked_at_and_a_status_alone_is_not() {
    let pool = |status: serde_json::Value| {
        let meta = json!({"name": "a", "namespace": "team", "uid": "1", "generation": 3});
        let spec = json!({"lobbyRef": {"name": "demo"}, "region": "eu-west-1"});
        let pool = json!({"metadata": meta, "spec": spec, "status": status});
        serde_json::from_value::<Guarded<RelayPool>>(pool).expect("its metadata can be read")
    };
    let (readable, other) = (pool(json!(null)), pool(json!({"sessions": 1})));
    let unreadable = pool(json!({"sessions": "many"}));
    assert!(readable.0.is_ok() && other.0.is_ok() && unreadable.0.is_err());
    assert_ne!(changes(&unreadable), changes(&readable));
    assert_eq!(changes(&readable), changes(&other));
}
