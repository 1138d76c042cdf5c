//! The only writer of status and of events. Writes only what changed.

#![expect(clippy::disallowed_methods, reason = "this is where statuses are written")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::context::Context;
use super::error::{Error, transient};
use crate::api::FIELD_MANAGER;
use crate::api::condition::{ACCEPTED, AVAILABLE, STALLED};
use crate::decide::valid::Invalid;

/// The API server's limit for the text of an event, in bytes.
const MAX_NOTE: usize = 1024;

/// Writes what came of a pass: the status that it made, or what `invalid` says of a spec that cannot be worked with.
/// A pass that failed otherwise says nothing: it is tried again.
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
    let before = previous.map_or(&[][..], conditions);
    write(context, object, previous, &next, (before, conditions(&next))).await?;
    outcome
}

/// Writes `next` unless it is what stands there, and tells of what changed in events.
async fn write<K, S>(
    context: &Context,
    object: &K,
    previous: Option<&S>,
    next: &S,
    conditions: (&[Condition], &[Condition]),
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
    S: Serialize + PartialEq,
{
    if previous == Some(next) {
        return Ok(());
    }
    let name = object.name_any();
    let api = Api::<K>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // An object that was deleted and made anew meanwhile must not get the old one's status.
        "metadata": {"uid": object.uid()},
        "status": next,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
        Ok(_) => context.metrics.writes.with_label_values(&[&K::kind(&()), "status"]).inc(),
        Err(error) => return Err(transient(&format!("write the status of {} {name}", K::kind(&())), error)),
    }
    for event in events(conditions.0, conditions.1) {
        // Events are for people; a pass does not fail for one.
        if let Err(error) = context.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::debug!(%error, "cannot publish an event");
        }
    }
    Ok(())
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
            let mut note = format!("{}={}: {}", condition.type_, condition.status, condition.message);
            note.truncate(note.floor_char_boundary(MAX_NOTE));
            Event {
                type_: if stalled { EventType::Warning } else { EventType::Normal },
                reason: condition.reason.clone(),
                note: Some(note),
                action: "Reconcile".to_owned(),
                secondary: None,
            }
        })
        .collect()
}
