//! The only writer of finalizers: what must be done before an object of ours may go.

#![expect(clippy::disallowed_methods, reason = "this is where finalizers are written")]

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde_json::json;

use super::context::Context;
use super::error::{Error, writing};
use super::fetch::Namespaced;
use crate::api::FIELD_MANAGER;

/// What the garbage collector puts on an object whose dependents are deleted before it.
const FOREGROUND: &str = "foregroundDeletion";

/// Whether the cluster is already deleting all children of an object: nothing is made for it any more.
pub(crate) fn is_dismantled<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == FOREGROUND)
}

/// Puts a finalizer on an object that has none, before anything is made for it.
pub(crate) async fn ensure<K: Namespaced>(object: &K, name: &str, context: &Context) -> Result<(), Error> {
    let mut finalizers = object.finalizers().to_vec();
    if finalizers.iter().any(|known| known == name) {
        return Ok(());
    }
    finalizers.push(name.to_owned());
    write(object, &finalizers, context).await
}

/// Takes a finalizer off an object: it may go.
pub(crate) async fn remove<K: Namespaced>(object: &K, name: &str, context: &Context) -> Result<(), Error> {
    let left: Vec<String> = object.finalizers().iter().filter(|known| *known != name).cloned().collect();
    if left.len() == object.finalizers().len() {
        return Ok(());
    }
    write(object, &left, context).await
}

/// Writes to the version that was seen; if somebody was faster, the change wakes another pass.
async fn write<K: Namespaced>(object: &K, finalizers: &[String], context: &Context) -> Result<(), Error> {
    let (kind, name) = (K::kind(&()), object.name_any());
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers}});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let api = Api::<K>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    match api.patch(&name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => {
            context.metrics.writes.with_label_values(&[&*kind, "finalizer"]).inc();
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(writing(&format!("write the finalizers of {kind} {name}"), error)),
    }
}
