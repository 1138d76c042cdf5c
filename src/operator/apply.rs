//! The only writer of children.
//!
//! Children are applied server-side, in order, and only where they differ from the plan. Pods are made by POST, and changed
//! and deleted with preconditions, never applied, so that nothing stale revives one. What is ours and no longer planned goes.

#![expect(clippy::disallowed_methods, reason = "this is where children are written")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::DynamicObject;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Metrics;
use super::error::{Error, transient, writing};
use super::fetch::{Objects, owned_by};
use crate::api::condition::Reason;
use crate::api::{ANNOTATION_DRAIN, FIELD_MANAGER, LABEL_OCCUPIED};
use crate::decide::drain::Note;
use crate::decide::drift;
use crate::decide::plan::{Applied, Child, ChildKind, HeldSecret, Plan};
use crate::decide::valid::{Invalid, Owner};

/// Writes the children of one owner.
pub(crate) struct Writer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) owner: &'a Owner,
    pub(crate) metrics: &'a Metrics,
}

impl Writer<'_> {
    /// Brings the cluster to the plan, from what stands there `before`; returns what stands then. Cut off anywhere, the next
    /// pass goes on from what it finds.
    pub(crate) async fn apply(&self, plan: Plan, mut before: Objects) -> Result<Applied, Error> {
        // Taken apart without `..`, so that nothing planned can be forgotten here.
        let Plan { secrets, held_secrets, children, pods } = plan;
        for secret in &secrets {
            self.create_once(secret).await?;
        }
        let mut standing = BTreeMap::new();
        for child in &children {
            let known = before.remove(&(child.kind, child.name.clone()));
            let object = self.apply_child(child, known).await?;
            standing.insert((child.kind, child.name.clone()), object);
        }
        for held in held_secrets {
            let holder = standing.get(&(ChildKind::ConfigMap, held.holder.clone()));
            self.create_held(held, holder).await?;
        }
        for ((kind, name), object) in &before {
            self.prune(*kind, name, object).await?;
        }
        let mut made = Vec::new();
        for pod in &pods {
            made.extend(self.create_pod(pod).await?);
        }
        Ok(Applied { children: standing, pods: made })
    }

    /// Somebody else's object of the same name is no success: the next pass finds and names it.
    async fn create_once(&self, secret: &Secret) -> Result<(), Error> {
        let doing = format!("create Secret {}", secret.name_any());
        let api = self.api::<Secret>();
        api.create(&PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }, secret)
            .await
            .map_err(|error| writing(&doing, error))?;
        self.count("Secret", "create");
        Ok(())
    }

    /// Makes a Secret that goes with the ConfigMap which owns it. One that is in its place may only be on its way out.
    async fn create_held(&self, held: HeldSecret, holder: Option<&Value>) -> Result<(), Error> {
        let HeldSecret { holder: name, mut secret } = held;
        let uid = holder.and_then(|holder| holder.pointer("/metadata/uid")?.as_str()).unwrap_or_default().to_owned();
        let of = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            name: name.clone(),
            uid,
            ..OwnerReference::default()
        };
        secret.metadata.owner_references = Some(vec![of]);
        match self.create_once(&secret).await {
            Err(Error::Outrun { doing, source }) if matches!(&*source, kube::Error::Api(status) if status.is_already_exists()) =>
            {
                let known = self.api::<Secret>().get_opt(&name).await;
                let known = known.map_err(|error| transient(&format!("read Secret {name}"), error))?;
                let was_held = |secret: &Secret| secret.owner_references().iter().any(|of| of.name == name);
                if known.as_ref().is_none_or(was_held) {
                    return Err(Error::Outrun { doing, source });
                }
                Err(self.conflict("Secret", &name).into())
            }
            done => done,
        }
    }

    async fn apply_child(&self, child: &Child, known: Option<Value>) -> Result<Value, Error> {
        let resource = child.kind.resource();
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.owner.namespace, &resource);
        let known = match known {
            Some(known) => Some(known),
            None => self.unlabelled(&api, child).await?,
        };
        if let Some(known) = known
            && drift::settled(child, &known)
        {
            return Ok(known);
        }
        let doing = format!("apply {} {}", resource.kind, child.name);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let object = api.patch(&child.name, &params, &Patch::Apply(&child.object)).await;
        let object = object.map_err(|error| writing(&doing, error))?;
        self.count(&resource.kind, "apply");
        serde_json::to_value(object).map_err(|error| transient(&doing, kube::Error::SerdeError(error)))
    }

    /// An object of the planned name that does not carry our labels: ours if we own it, else a conflict.
    async fn unlabelled(&self, api: &Api<DynamicObject>, child: &Child) -> Result<Option<Value>, Error> {
        let kind = child.kind.resource().kind;
        let doing = format!("read {kind} {}", child.name);
        let Some(object) = api.get_opt(&child.name).await.map_err(|error| transient(&doing, error))? else {
            return Ok(None);
        };
        if owned_by(object.owner_references(), &self.owner.uid) {
            return Ok(serde_json::to_value(object).ok());
        }
        Err(self.conflict(&kind, &child.name).into())
    }

    fn conflict(&self, kind: &str, name: &str) -> Invalid {
        let message = format!(
            "{kind} {name} exists in namespace {} and belongs to somebody else: rename or remove it, or give this object another name",
            self.owner.namespace
        );
        Invalid { reason: Reason::NameConflict, message }
    }

    async fn prune(&self, kind: ChildKind, name: &str, object: &Value) -> Result<(), Error> {
        if object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()) {
            return Ok(());
        }
        let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
        let resource = kind.resource();
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.owner.namespace, &resource);
        self.delete(&api, &resource.kind, name, uid.map(str::to_owned)).await
    }

    /// Makes a relay's Pod. One of that name that is ours already is as good.
    async fn create_pod(&self, pod: &Pod) -> Result<Option<Pod>, Error> {
        let (api, name) = (self.api::<Pod>(), pod.name_any());
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, pod).await {
            Ok(made) => {
                self.count("Pod", "create");
                Ok(Some(made))
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let known = api.get_opt(&name).await.map_err(|error| transient(&format!("read Pod {name}"), error))?;
                match known {
                    Some(pod) if !owned_by(pod.owner_references(), &self.owner.uid) => {
                        Err(self.conflict("Pod", &name).into())
                    }
                    ours => Ok(ours),
                }
            }
            Err(error) => Err(writing(&format!("create Pod {name}"), error)),
        }
    }

    /// Writes what stands on a relay's Pod about its drains, and whether it is occupied, to the version that was seen.
    /// Nothing: it has changed since, or is gone.
    pub(crate) async fn note(
        &self,
        name: &str,
        resource_version: &str,
        note: &Note,
        occupied: bool,
    ) -> Result<Option<Pod>, Error> {
        let patch = json!({"metadata": {
            "resourceVersion": resource_version,
            "annotations": {ANNOTATION_DRAIN: note.write()},
            // `null` takes it off.
            "labels": {LABEL_OCCUPIED: occupied.then_some("true")},
        }});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.api::<Pod>().patch(name, &params, &Patch::Merge(&patch)).await {
            Ok(pod) => {
                self.count("Pod", "patch");
                Ok(Some(pod))
            }
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(None),
            Err(error) => Err(writing(&format!("write the drain of Pod {name}"), error)),
        }
    }

    /// Deletes a relay's Pod as it was seen, and returns it as it goes. Nothing: it has changed since, or is gone.
    pub(crate) async fn delete_pod(&self, name: &str, uid: &str, resource_version: &str) -> Result<Option<Pod>, Error> {
        let preconditions =
            Preconditions { uid: Some(uid.to_owned()), resource_version: Some(resource_version.to_owned()) };
        let params = DeleteParams::background().preconditions(preconditions);
        match self.api::<Pod>().delete(name, &params).await {
            Ok(gone) => {
                self.count("Pod", "delete");
                Ok(gone.left())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(None),
            Err(error) => Err(writing(&format!("delete Pod {name}"), error)),
        }
    }

    /// Deletes exactly the object that was seen; one that is gone, or changed since, is left to the next pass.
    async fn delete<K>(&self, api: &Api<K>, kind: &str, name: &str, uid: Option<String>) -> Result<(), Error>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let params = DeleteParams::background().preconditions(Preconditions { uid, resource_version: None });
        match api.delete(name, &params).await {
            Ok(_) => {
                self.count(kind, "delete");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(writing(&format!("delete {kind} {name}"), error)),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Serialize,
    {
        Api::namespaced(self.client.clone(), &self.owner.namespace)
    }

    fn count(&self, kind: &str, verb: &str) {
        self.metrics.writes.with_label_values(&[kind, verb]).inc();
    }
}
