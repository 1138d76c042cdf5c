//! The only writer of status and of events. Writes only what changed.

#![expect(clippy::disallowed_methods, reason = "this is where statuses are written")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::context::Context;
use super::error::{Error, transient};
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
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
    S: Serialize + PartialEq,
{
    let (next, outcome) = match passed {
        Ok(next) => (next, Ok(())),
        Err(Error::Invalid(why)) => (invalid(&why), Err(why.into())),
        Err(error) => return Err(error),
    };
    if previous != Some(&next) {
        let patch = patch(object, &next);
        let (kind, name) = (K::kind(&()), object.name_any());
        let api = Api::<K>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let written = api.patch_status(&name, &params, &Patch::Apply(&patch)).await;
        written.map_err(|error| transient(&format!("write the status of {kind} {name}"), error))?;
        context.metrics.writes.with_label_values(&[&*kind, "status"]).inc();
        for event in events(previous.map_or(&[][..], conditions), conditions(&next)) {
            // Events are for people; a pass does not fail for one.
            if let Err(error) = context.recorder.publish(&event, &object.object_ref(&())).await {
                tracing::debug!(%error, "cannot publish an event");
            }
        }
    }
    outcome
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

/// One event for each of Accepted and Available that is known and changed its status or reason. A warning is what needs a
/// person; waiting is normal.
fn events(before: &[Condition], after: &[Condition]) -> Vec<Event> {
    let told = [ACCEPTED, AVAILABLE];
    let stalled = after.iter().any(|condition| condition.type_ == STALLED && condition.status == "True");
    let changed = after
        .iter()
        .filter(|condition| told.contains(&condition.type_.as_str()) && condition.status != "Unknown")
        .filter(|condition| {
            let known = before.iter().find(|known| known.type_ == condition.type_);
            known.is_none_or(|known| (&known.status, &known.reason) != (&condition.status, &condition.reason))
        });
    changed
        .map(|condition| {
            let note = format!("{}={}: {}", condition.type_, condition.status, condition.message);
            Event {
                type_: if stalled { EventType::Warning } else { EventType::Normal },
                reason: condition.reason.clone(),
                note: Some(event_text(note)),
                action: "Reconcile".to_owned(),
                secondary: None,
            }
        })
        .collect()
}
