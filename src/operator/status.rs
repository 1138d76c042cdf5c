//! The only writer of status and of events. Writes only what changed.

#![expect(clippy::disallowed_methods, reason = "this is where statuses are written")]

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::{Value, json};

use super::context::Context;
use super::error::{Error, transient};
use super::fetch::Namespaced;
use crate::api::FIELD_MANAGER;
use crate::api::condition::{ACCEPTED, AVAILABLE, STALLED};
use crate::decide::status::event_text;
use crate::decide::valid::Invalid;

/// Writes what came of a pass, unless it is what stands there: the status that it made, or what `invalid` says of a spec
/// that cannot be worked with. What changed is told in events. A pass that failed otherwise says nothing: it is tried again.
pub(crate) async fn report<K, S>(
    context: &Context,
    object: &K,
    previous: Option<&S>,
    passed: Result<S, Error>,
    invalid: impl FnOnce(&Invalid) -> S,
    conditions: fn(&S) -> &[Condition],
) -> Result<(), Error>
where
    K: Namespaced,
    S: Serialize + PartialEq,
{
    let (next, outcome) = match passed {
        Ok(next) => (next, Ok(())),
        Err(Error::Invalid(why)) => (invalid(&why), Err(why.into())),
        Err(error) => return Err(error),
    };
    let (uid, sum) = (object.uid().unwrap_or_default(), sum(&next));
    if previous != Some(&next) || !context.written.may_stand(&uid, sum) {
        let patch = patch(object, &next);
        context.written.begins(&uid, || uids(context));
        let (kind, name) = (K::kind(&()), object.name_any());
        let api = Api::<K>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let written = api.patch_status(&name, &params, &Patch::Apply(&patch)).await;
        written.map_err(|error| transient(&format!("write the status of {kind} {name}"), error))?;
        context.written.ends(&uid, sum);
        context.metrics.writes.with_label_values(&[&*kind, "status"]).inc();
        let next = conditions(&next);
        let type_ = if is_stalled(next) { EventType::Warning } else { EventType::Normal };
        for condition in worth_an_event(previous.map_or(&[][..], conditions), next) {
            let note = format!("{}={}: {}", condition.type_, condition.status, condition.message);
            tell(context, object, type_, &condition.reason, note).await;
        }
    }
    outcome
}

/// Publishes an event. They are for people: a pass does not fail for one.
pub(crate) async fn tell<K>(context: &Context, object: &K, type_: EventType, reason: &str, note: String)
where
    K: Resource<DynamicType = ()>,
{
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(event_text(note)),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::debug!(%error, "cannot publish an event");
    }
}

/// What this process wrote last as each object's status, by UID. The stores have it only a moment later: a status that goes
/// from one value to another and back would otherwise be taken for one that stands there still.
#[derive(Debug, Default)]
pub(crate) struct Written(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    /// `None` while it is not known what stands there.
    by_uid: HashMap<String, Option<u64>>,
    /// With more than so many it is time to forget those that are gone.
    enough: usize,
}

impl Written {
    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing else was written since, as far as is known.
    fn may_stand(&self, uid: &str, sum: u64) -> bool {
        self.lock().by_uid.get(uid).is_none_or(|written| *written == Some(sum))
    }

    /// From now on until the answer it is not known what stands there. `there` tells the UIDs of all objects.
    fn begins(&self, uid: &str, there: impl FnOnce() -> HashSet<String>) {
        let mut sums = self.lock();
        if sums.by_uid.len() > sums.enough {
            let there = there();
            sums.by_uid.retain(|uid, _| there.contains(uid));
            sums.enough = 2 * sums.by_uid.len() + 64;
        }
        sums.by_uid.insert(uid.to_owned(), None);
    }

    fn ends(&self, uid: &str, sum: u64) {
        self.lock().by_uid.insert(uid.to_owned(), Some(sum));
    }
}

fn uids(context: &Context) -> HashSet<String> {
    let (lobbies, pools) = (context.lobbies.state(), context.pools.state());
    let (lobbies, pools) =
        (lobbies.iter().filter_map(|object| object.uid()), pools.iter().filter_map(|object| object.uid()));
    lobbies.chain(pools).collect()
}

fn sum(status: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(status).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

fn patch<K: Resource<DynamicType = ()>>(object: &K, status: &impl Serialize) -> Value {
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // An object that was deleted and made anew meanwhile must not get the old one's status.
        "metadata": {"uid": object.uid()},
        "status": status,
    })
}

/// Accepted and Available, each where it is known and changed its status or reason.
fn worth_an_event<'a>(before: &'a [Condition], after: &'a [Condition]) -> impl Iterator<Item = &'a Condition> {
    let told = |condition: &&Condition| [ACCEPTED, AVAILABLE].contains(&condition.type_.as_str());
    after.iter().filter(told).filter(|condition| condition.status != "Unknown").filter(|condition| {
        let known = before.iter().find(|known| known.type_ == condition.type_);
        known.is_none_or(|known| (&known.status, &known.reason) != (&condition.status, &condition.reason))
    })
}

/// What needs a person is a warning; waiting is normal.
fn is_stalled(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| condition.type_ == STALLED && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_stands_only_if_it_was_written_last_and_answered() {
        let written = Written::default();
        let none = HashSet::new;
        assert!(written.may_stand("a", 1), "another process may have written it");
        written.begins("a", none);
        assert!(!written.may_stand("a", 1), "nobody has answered");
        written.ends("a", 1);
        assert!(written.may_stand("a", 1) && !written.may_stand("a", 2) && written.may_stand("b", 2));
    }

    #[test]
    fn what_is_gone_is_forgotten_in_time() {
        let written = Written::default();
        for number in 0..10_000 {
            written.begins(&number.to_string(), || HashSet::from(["1".to_owned()]));
            written.ends(&number.to_string(), 7);
        }
        assert!(written.lock().by_uid.len() < 200);
        assert!(!written.may_stand("1", 8), "what is there is not forgotten");
    }
}
