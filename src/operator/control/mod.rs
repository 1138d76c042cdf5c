//! The operator's side of the control ports of lobbies and relays: authorities of its own, in one Secret of its namespace,
//! what they sign, and the client that shows its certificate. Only whoever leads comes here, and only this file writes that
//! Secret.

#![expect(clippy::disallowed_methods, reason = "this is where the authorities are written")]

mod authorities;
mod client;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::Mutex;

pub(crate) use authorities::Authorities;
pub(crate) use client::ControlClient;

use super::Metrics;
use super::error::{Error, transient};
use super::fetch::Objects;
use crate::api::FIELD_MANAGER;
use crate::api::condition::Reason;
use crate::decide::authority::Life;
use crate::decide::plan::{ChildKind, names};
use crate::decide::valid::Invalid;
use crate::process::clock;

/// Name of the Secret with the authorities.
const SECRET: &str = "convene-operator-authority";
/// Its type, which nobody can change: another Secret of this name is not ours.
const TYPE: &str = "convene.dev/authority";
/// How long it is taken as it was read.
const FRESH: Duration = Duration::from_secs(300);

/// The authorities as they were last read, and the client.
pub(crate) struct Control {
    secrets: Api<Secret>,
    namespace: String,
    metrics: Metrics,
    known: Mutex<Option<Known>>,
    client: ControlClient,
}

struct Known {
    read: Duration,
    authorities: Arc<Authorities>,
    /// Of the operator's own certificate.
    shown: Life,
}

impl Control {
    /// With its Secret in `namespace`.
    pub(crate) fn new(client: Client, namespace: &str, metrics: Metrics) -> Self {
        let secrets = Api::namespaced(client, namespace);
        Self {
            secrets,
            namespace: namespace.to_owned(),
            metrics,
            known: Mutex::default(),
            client: ControlClient::new(),
        }
    }

    /// The client, which shows its certificate once [`Control::authorities`] was called, and for as long as it is.
    pub(crate) fn client(&self) -> ControlClient {
        self.client.clone()
    }

    /// The authorities, made or renewed where it is time; and with them, the operator's own certificate.
    pub(crate) async fn authorities(&self) -> Result<Arc<Authorities>, Error> {
        let mut known = self.known.lock().await;
        let now = clock::now();
        if let Some(known) = known.as_ref()
            && clock::monotonic().saturating_sub(known.read) < FRESH
            && !known.authorities.is_due(now)
            && !known.shown.is_over_soon(now)
        {
            return Ok(Arc::clone(&known.authorities));
        }
        let read = clock::monotonic();
        let authorities = Arc::new(self.standing(now).await?);
        let unusable = |what: String| self.unusable(&what);
        let shown = authorities.show(now).map_err(unusable)?;
        let life = shown.life;
        self.client.renew(shown, authorities.roots(now)).map_err(|error| self.unusable(&error.to_string()))?;
        *known = Some(Known { read, authorities: Arc::clone(&authorities), shown: life });
        Ok(authorities)
    }

    async fn standing(&self, now: Timestamp) -> Result<Authorities, Error> {
        let failed = |doing: &str, error| self.failed(doing, error);
        let Some(secret) = self.secrets.get_opt(SECRET).await.map_err(|error| failed("read", error))? else {
            let made = Authorities::default().renewed(now).map_err(|what| self.unusable(&what))?;
            let secret = secret(&made, ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() });
            self.secrets.create(&write(), &secret).await.map_err(|error| failed("create", error))?;
            self.metrics.writes.with_label_values(&["Secret", "create"]).inc();
            tracing::info!(secret = SECRET, namespace = self.namespace, "made an authority for control ports");
            return Ok(made);
        };
        if secret.type_.as_deref() != Some(TYPE) {
            return Err(self.unusable(&format!("it is not of type {TYPE}, so it is somebody else's")).into());
        }
        let found = Authorities::read(&secret.data.unwrap_or_default());
        if !found.is_due(now) {
            return Ok(found);
        }
        let next = found.renewed(now).map_err(|what| self.unusable(&what))?;
        // Its version goes with it: what somebody else has written meanwhile is not written over.
        let secret = self::secret(&next, secret.metadata);
        self.secrets.replace(SECRET, &write(), &secret).await.map_err(|error| failed("replace", error))?;
        self.metrics.writes.with_label_values(&["Secret", "replace"]).inc();
        tracing::info!(secret = SECRET, namespace = self.namespace, "made a further authority for control ports");
        Ok(next)
    }

    fn failed(&self, doing: &str, error: kube::Error) -> Error {
        let doing = format!("{doing} Secret {SECRET} in namespace {}", self.namespace);
        match &error {
            kube::Error::Api(status) if status.is_forbidden() => {
                let message = format!(
                    "{doing}: the operator may not; its chart gives it that right (Role convene-operator-authority), so upgrade the release, or repair that Role and its RoleBinding"
                );
                Invalid { reason: Reason::Refused, message }.into()
            }
            _ => transient(&doing, error),
        }
    }

    fn unusable(&self, what: &str) -> Invalid {
        let message = format!(
            "Secret {SECRET} in namespace {}, with the operator's authority for control ports: {what}. Delete it to have another made",
            self.namespace
        );
        Invalid { reason: Reason::SecretInvalid, message }
    }
}

fn write() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn secret(authorities: &Authorities, mut metadata: ObjectMeta) -> Secret {
    metadata.managed_fields = None;
    let (key, value) = names::MANAGED_BY;
    metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    Secret { metadata, type_: Some(TYPE.to_owned()), data: Some(authorities.entries()), ..Secret::default() }
}

/// The certificate of control ports that an owner's ConfigMap publishes.
pub(crate) fn published(observed: &Objects, config_map: String) -> Option<String> {
    let config = observed.get(&(ChildKind::ConfigMap, config_map))?;
    config.get("data")?.get(names::CONTROL_CERTIFICATE).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
pub(crate) mod tests;
