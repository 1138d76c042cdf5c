//! Stores that watches keep, and what each event of a watch touches. A deletion that a watch has missed is told by the next
//! list only, by what is not in it.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use futures::{Stream, TryStreamExt as _, stream};
use kube::Resource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{reflector, watcher};
use tokio_util::sync::CancellationToken;

/// A store of what is watched, which `filled` is cancelled for once it holds the first list, and the objects that are touched,
/// deletions included. Each is yielded when the store has the change; those of a list when all of it is there.
pub(super) fn kept<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    filled: CancellationToken,
) -> (Store<K>, impl Stream<Item = watcher::Result<K>>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let (store, writer) = reflector::store();
    let mut keeper = Keeper { store: store.clone(), writer, filled };
    let touched = events.map_ok(move |event| {
        let touched = keeper.take(event).into_iter();
        stream::iter(touched.map(|object| Ok(Arc::unwrap_or_clone(object))))
    });
    (store, touched.try_flatten())
}

struct Keeper<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    writer: Writer<K>,
    filled: CancellationToken,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Keeper<K> {
    fn take(&mut self, event: Event<K>) -> Vec<Arc<K>> {
        let before = if matches!(event, Event::InitDone) { self.store.state() } else { vec![] };
        self.writer.apply_watcher_event(&event);
        match event {
            Event::Apply(object) | Event::Delete(object) => vec![Arc::new(object)],
            Event::Init | Event::InitApply(_) => vec![],
            Event::InitDone => {
                // kube 5's own `wait_until_ready` wakes only one of several waiters, and its controllers wait too.
                self.filled.cancel();
                let is_gone = |object: &K| self.store.get(&ObjectRef::from_obj(object)).is_none();
                let gone = before.into_iter().filter(|object| is_gone(object));
                gone.chain(self.store.state()).collect()
            }
        }
    }
}

/// Whom the children belong to that a watch has told of; nothing else of them is kept.
#[derive(Debug)]
pub(super) struct Owners<O> {
    known: HashSet<O>,
    /// Those of the list that is under way.
    listed: HashSet<O>,
}

impl<O> Default for Owners<O> {
    fn default() -> Self {
        Self { known: HashSet::new(), listed: HashSet::new() }
    }
}

impl<O: Clone + Eq + Hash> Owners<O> {
    /// Takes an event; the owners of what it touches. After a list, those of what is in it and of what was there before.
    pub(super) fn touched<K>(&mut self, event: &Event<K>, owners: impl Fn(&K) -> Vec<O>) -> HashSet<O> {
        match event {
            Event::Apply(child) | Event::Delete(child) => {
                let touched: HashSet<O> = owners(child).into_iter().collect();
                self.known.extend(touched.iter().cloned());
                touched
            }
            Event::Init => {
                self.listed.clear();
                HashSet::new()
            }
            Event::InitApply(child) => {
                self.listed.extend(owners(child));
                HashSet::new()
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let before = std::mem::replace(&mut self.known, listed.clone());
                before.into_iter().chain(listed).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use futures::channel::mpsc;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt as _;
    use serde_json::json;

    use super::*;

    fn object(name: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n"}})).expect("a ConfigMap")
    }

    /// What is touched, each with whether the store has it.
    async fn touched(events: Vec<Event<ConfigMap>>) -> Vec<String> {
        let (store, touched) = kept(stream::iter(events.into_iter().map(Ok)), CancellationToken::new());
        let mut said = vec![];
        let mut touched = std::pin::pin!(touched);
        while let Some(object) = touched.next().await {
            let object = object.expect("no error");
            let there = store.get(&ObjectRef::from_obj(&object)).is_some();
            said.push(format!("{} {}", if there { "+" } else { "-" }, object.name_any()));
        }
        said
    }

    fn list(names: &[&str]) -> Vec<Event<ConfigMap>> {
        let shown = names.iter().map(|name| Event::InitApply(object(name)));
        std::iter::once(Event::Init).chain(shown).chain([Event::InitDone]).collect()
    }

    #[tokio::test]
    async fn the_store_has_what_is_yielded() {
        let mut events = list(&["a"]);
        events.extend([Event::Apply(object("b")), Event::Delete(object("a"))]);
        assert_eq!(touched(events).await, ["+ a", "+ b", "- a"]);
    }

    #[tokio::test]
    async fn a_list_shows_what_the_watch_has_missed() {
        let mut events = list(&["a", "b"]);
        events.extend(list(&["b"]));
        assert_eq!(touched(events.clone()).await[2..], ["- a", "+ b"]);
        // One that broke off says nothing.
        events.extend([Event::Init, Event::InitApply(object("z")), Event::Init, Event::InitDone]);
        assert_eq!(touched(events).await[4..], ["- b"]);
    }

    #[tokio::test]
    async fn it_is_filled_once_a_list_is_complete() {
        let filled = CancellationToken::new();
        let (send, events) = mpsc::unbounded();
        let (store, touched) = kept(events, filled.clone());
        let mut touched = std::pin::pin!(touched);
        for event in [Event::Init, Event::InitApply(object("a"))] {
            send.unbounded_send(Ok(event)).expect("it is watched");
        }
        assert!(futures::poll!(touched.next()).is_pending());
        assert!(!filled.is_cancelled() && store.is_empty());
        send.unbounded_send(Ok(Event::InitDone)).expect("it is watched");
        assert_eq!(touched.next().await.expect("an object").expect("no error").name_any(), "a");
        assert!(filled.is_cancelled());
    }

    #[test]
    fn owners_of_what_is_not_listed_any_more_are_touched() {
        let mut owners = Owners::default();
        let mut take = |event: Event<&'static str>| {
            let touched = owners.touched(&event, |child| child.split(' ').map(str::to_owned).collect());
            let mut touched: Vec<String> = touched.into_iter().collect();
            touched.sort();
            touched.join(" ")
        };
        let mut list = |shown: &[&'static str]| {
            let events = shown.iter().map(|child| Event::InitApply(*child));
            let before: Vec<String> = std::iter::once(Event::Init).chain(events).map(&mut take).collect();
            assert!(before.iter().all(String::is_empty), "it is not complete");
            take(Event::InitDone)
        };
        assert_eq!(list(&["a b", "a", "c"]), "a b c");
        assert_eq!(list(&["a", "d"]), "a b c d");
        assert_eq!(list(&[]), "a d");
        assert_eq!(list(&[]), "");
        assert_eq!((take(Event::Apply("e")), take(Event::Delete("e"))), ("e".to_owned(), "e".to_owned()));
    }
}
