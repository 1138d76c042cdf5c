//! Everything that a pass reads of the cluster.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use futures::future::try_join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{Error, reading};
use crate::decide::plan::{ChildKind, names};

/// What stands in the cluster for one owner: children that carry our labels and belong to it.
pub(crate) type Objects = BTreeMap<(ChildKind, String), Value>;

/// Which children an owner has.
pub(crate) async fn children(
    client: &Client,
    namespace: &str,
    owner_uid: &str,
    labels: &names::Labels,
    kinds: &[ChildKind],
) -> Result<Objects, Error> {
    let params = ListParams::default().labels(&names::selector_text(labels));
    let lists = kinds.iter().map(|&kind| {
        let params = &params;
        async move {
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind.resource());
            let doing = format!("list {}", kind.resource().plural);
            let list = api.list(params).await.map_err(|error| reading(&doing, namespace, error))?;
            Ok::<_, Error>((kind, list.items))
        }
    });
    let lists = try_join_all(lists).await?;
    let objects = lists.into_iter().flat_map(|(kind, items)| items.into_iter().map(move |item| (kind, item)));
    let owned = objects
        .filter(|(_, object)| owned_by(object.owner_references(), owner_uid))
        .filter_map(|(kind, object)| Some(((kind, object.name_any()), serde_json::to_value(object).ok()?)));
    Ok(owned.collect())
}

/// The DNSEndpoints of an owner; none = the cluster has no such kind, or the operator may not look at it.
pub(crate) async fn endpoints(
    client: &Client,
    namespace: &str,
    owner_uid: &str,
    labels: &names::Labels,
) -> Result<Option<Objects>, Error> {
    let kind = ChildKind::DnsEndpoint;
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind.resource());
    let list = match api.list(&ListParams::default().labels(&names::selector_text(labels))).await {
        Ok(list) => list,
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => return Ok(None),
        Err(error) => return Err(super::error::transient("list dnsendpoints", error)),
    };
    let owned = list.items.into_iter().filter(|object| owned_by(object.owner_references(), owner_uid));
    Ok(Some(owned.filter_map(|object| Some(((kind, object.name_any()), serde_json::to_value(object).ok()?))).collect()))
}

/// Control ports of the pods of a lobby that serve, by the pods' UIDs.
pub(crate) async fn processes(
    client: &Client,
    namespace: &str,
    lobby: &str,
) -> Result<BTreeMap<String, SocketAddr>, Error> {
    let params = ListParams::default().labels(&names::selector_text(&names::lobby_selector(lobby)));
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let list = api.list(&params).await.map_err(|error| reading("list pods", namespace, error))?;
    let serving = list.items.into_iter().filter_map(|pod| {
        let status = pod.status.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
        let address: IpAddr = status.pod_ip.as_ref()?.parse().ok()?;
        Some((pod.uid()?, SocketAddr::new(address, u16::try_from(names::CONTROL_PORT).ok()?)))
    });
    Ok(serving.collect())
}

/// Whether the operator may work in a namespace: it may if it may look at Pods there.
pub(crate) async fn is_granted(client: &Client, namespace: &str) -> Result<bool, Error> {
    match Api::<Pod>::namespaced(client.clone(), namespace).list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(false),
        Err(error) => Err(super::error::transient(&format!("look at Pods of namespace {namespace}"), error)),
    }
}

/// Whether one of these references names the owner.
pub(crate) fn owned_by(
    references: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference],
    owner_uid: &str,
) -> bool {
    references.iter().any(|reference| reference.uid == owner_uid)
}

/// Labels of namespaces. One that may not be read, or is not there, has none: a selector then does not match it.
pub(crate) async fn namespace_labels(
    client: &Client,
    namespaces: impl Iterator<Item = String>,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, Error> {
    let mut found = BTreeMap::new();
    for name in namespaces {
        if found.contains_key(&name) {
            continue;
        }
        match Api::<Namespace>::all(client.clone()).get(&name).await {
            Ok(namespace) => drop(found.insert(name, namespace.labels().clone())),
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {}
            Err(error) => return Err(super::error::transient(&format!("read namespace {name}"), error)),
        }
    }
    Ok(found)
}

/// Whether a Secret of the user's is there. Of its content nothing is read, nor sent by the API server.
pub(crate) async fn has_secret(client: &Client, namespace: &str, name: &str) -> Result<bool, Error> {
    let found = Api::<Secret>::namespaced(client.clone(), namespace).get_metadata_opt(name).await;
    let found = found.map_err(|error| reading(&format!("look for Secret {name}"), namespace, error))?;
    Ok(found.is_some_and(|secret| secret.metadata.deletion_timestamp.is_none()))
}

/// An object of a namespace, of a type that is known when compiled.
pub(crate) trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
}

/// One object, if it is there and may be read.
pub(crate) async fn optional<K: Namespaced>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Error> {
    let doing = format!("read {} {name}", K::kind(&()));
    Api::<K>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
        .map_err(|error| reading(&doing, namespace, error))
}
