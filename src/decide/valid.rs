//! From objects as users wrote them to values that a plan can be made of.
//!
//! After this step nobody reads a spec: what is not in [`ValidLobby`] or [`ValidPool`] does not count.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;

use crate::api::common::{Exposure, IngressExposure, LoadBalancerExposure, Location, RelayTls};
use crate::api::condition::Reason;
use crate::api::dns::Dns;
use crate::api::endpoints::ExternalDns;
use crate::api::lobby::{AdmitFrom, AdmittedPools, ManagedRedis, Store};
use crate::api::{Lobby, PodOverrides, RelayPool};
use crate::decide::authority::{Certificates, LinkKeys};
use crate::decide::plan::names;
use crate::decide::scale::BadPolicy;
use crate::decide::selector;
use crate::wire::routing::Routing;
use crate::wire::table::RemotePool;

mod clients;
mod control;
mod keys;
mod link;
mod lobby_of;
mod remote;
mod routing;
mod software;

pub use clients::{Clients, GeoIpInputs, Hindered, NoUrlFolder, UrlFolder, geoip_claim};
pub use control::{Control, ControlInputs};
pub use keys::{KeyInputs, LobbyKeys, Slot, Tokens};
pub use link::LinkInputs;
pub use lobby_of::LobbyOf;
pub use software::{Custom, Software};

/// A spec cannot be worked with until somebody changes something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// Stable word.
    pub reason: Reason,
    /// What is wrong, where, and what to do.
    pub message: String,
}

impl Invalid {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Identity of an object that owns children.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Reference that children carry.
    pub reference: OwnerReference,
}

impl Owner {
    /// Of an object that the API server has given a UID.
    pub fn of<K: kube::Resource<DynamicType = ()>>(object: &K) -> Option<Self> {
        Some(Self {
            namespace: object.namespace()?,
            name: object.name_any(),
            uid: object.uid()?,
            reference: object.controller_owner_ref(&())?,
        })
    }
}

/// How a server is reached: the one member of [`Exposure`] that is set.
#[derive(Clone, Debug, PartialEq)]
pub enum Exposed {
    /// Inside the cluster.
    Internal,
    /// On a port of the nodes.
    NodePort,
    /// Through a load balancer each.
    LoadBalancer(LoadBalancerExposure),
    /// Through an Ingress controller.
    Ingress(IngressExposure),
}

impl From<Option<&Exposure>> for Exposed {
    /// The API server holds that exactly one member is set, if any.
    fn from(exposure: Option<&Exposure>) -> Self {
        let Some(exposure) = exposure else { return Self::Internal };
        if let Some(ingress) = &exposure.ingress {
            Self::Ingress(ingress.clone())
        } else if let Some(balancer) = &exposure.load_balancer {
            Self::LoadBalancer(balancer.clone())
        } else if exposure.node_port.is_some() {
            Self::NodePort
        } else {
            Self::Internal
        }
    }
}

/// Where a lobby keeps its sessions: the one member of `spec.store` that is set.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// In its one process.
    Memory,
    /// In Redis.
    Redis {
        /// Secret with the URL.
        secret: String,
        /// Port in that URL.
        port: u16,
    },
    /// In a Redis that the operator runs.
    Managed(ManagedRedis),
}

impl From<Option<&Store>> for Stored {
    /// The API server holds that exactly one member is set, if any.
    fn from(store: Option<&Store>) -> Self {
        let redis = store.and_then(|store| store.redis.as_ref());
        if let Some(managed) = redis.and_then(|redis| redis.managed.as_ref()) {
            return Self::Managed(managed.clone());
        }
        match redis.and_then(|redis| Some((redis.secret_ref.as_ref()?, u16::try_from(redis.port).ok()?))) {
            Some((secret, port)) => Self::Redis { secret: secret.name.clone(), port },
            None => Self::Memory,
        }
    }
}

/// The Secret of a Redis that the operator runs.
#[derive(Clone, PartialEq, Eq)]
pub enum RedisSecret {
    /// There is none yet: it gets this password.
    New {
        /// Of characters that a URL takes as they are.
        password: String,
    },
    /// It stands.
    Standing {
        /// The server's settings in it.
        config: String,
    },
}

impl std::fmt::Debug for RedisSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisSecret")
    }
}

/// A lobby that can be planned.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidLobby {
    /// Whose children the plan makes.
    pub owner: Owner,
    /// Public base URL that the user gave.
    pub url: Option<String>,
    /// How clients reach it.
    pub exposed: Exposed,
    /// Secret with the certificate of its port for clients, which speaks TLS then.
    pub tls_secret: Option<String>,
    /// Where it keeps its sessions.
    pub stored: Stored,
    /// Its processes.
    pub replicas: i32,
    /// Pod overrides.
    pub template: PodOverrides,
    /// Secrets to be created, where there are none yet.
    pub new_keys: Option<LobbyKeys>,
    /// The Secret of its Redis, if the operator runs that.
    pub redis: Option<RedisSecret>,
    /// The keys of its tokens.
    pub tokens: Tokens,
    /// The certificates by which its relays know it.
    pub certificates: Certificates,
    /// The keys behind them, where there are none yet.
    pub new_link_keys: Option<LinkKeys>,
    /// How its control port and the operator know one another.
    pub control: Control,
    /// Pools of other clusters that it admits.
    pub remote: Vec<RemotePool>,
    /// How it chooses among its pools.
    pub routing: Routing,
    /// What it is told of its clients' addresses.
    pub clients: Clients,
    /// The zone that its routers answer for.
    pub dns: Option<Dns>,
    /// What external-dns is told.
    pub external_dns: Option<ExternalDns>,
    /// Whether the cluster has the kind by which it is told.
    pub dns_endpoints_there: bool,
    /// Admitted pools, in declared order.
    pub pools: Vec<RelayPool>,
}

/// Everything that validating a lobby reads.
#[derive(Debug)]
pub struct LobbyInputs<'a> {
    /// The object.
    pub lobby: &'a Lobby,
    /// Its keys.
    pub keys: KeyInputs<'a>,
    /// The keys under which its relays link to it.
    pub link: LinkInputs<'a>,
    /// The key of its control port.
    pub control: ControlInputs<'a>,
    /// Whether the Secret of `spec.tls` is there.
    pub tls_secret_there: bool,
    /// What is known of where its databases of places are.
    pub geoip: GeoIpInputs<'a>,
    /// Whether the cluster has the kind DNSEndpoint, as far as that matters.
    pub dns_endpoints_there: bool,
    /// The Secret of its own Redis, if there is one.
    pub redis_secret: Option<&'a Secret>,
    /// A fresh password, for a Redis that has none.
    pub fresh_password: String,
    /// All pools that name it, admitted or not.
    pub pools: Vec<RelayPool>,
    /// Labels of the pools' namespaces, where they matter.
    pub namespace_labels: &'a BTreeMap<String, BTreeMap<String, String>>,
}

/// Validates a lobby.
pub fn lobby(inputs: LobbyInputs<'_>) -> Result<ValidLobby, Invalid> {
    let object = inputs.lobby;
    let owner = Owner::of(object).ok_or_else(|| Invalid::new(Reason::Pending, "the object has no UID yet"))?;
    let tls_secret = object.spec.tls.as_ref().map(|tls| tls.secret_name.clone());
    find_tls(tls_secret.as_deref(), inputs.tls_secret_there, &owner)?;
    let remote = remote::pools(&object.spec.relay_pools.remote)?;
    let (tokens, new_keys) = keys::tokens(object, &owner, inputs.keys)?;
    let (certificates, new_link_keys) = link::link(&owner, inputs.link)?;
    let control = control::control(&owner, &inputs.control)?;
    let mut pools = admitted(object, inputs.pools, inputs.namespace_labels);
    pools.sort_by_key(|pool| (pool.creation_timestamp().map(|t| t.0), pool.namespace(), pool.name_any()));
    let stored = Stored::from(object.spec.store.as_ref());
    let redis = match (&stored, inputs.redis_secret) {
        (Stored::Memory | Stored::Redis { .. }, _) => None,
        (Stored::Managed(_), None) => Some(RedisSecret::New { password: inputs.fresh_password }),
        (Stored::Managed(_), Some(secret)) => Some(standing_redis(secret, &owner)?),
    };
    Ok(ValidLobby {
        redis,
        owner,
        url: object.spec.url.clone(),
        // Processes with a memory each would all grant the same seats.
        replicas: if stored == Stored::Memory { 1 } else { object.spec.replicas },
        stored,
        exposed: Exposed::from(object.spec.exposure.as_ref()),
        tls_secret,
        template: object.spec.template.clone(),
        new_keys,
        tokens,
        certificates,
        new_link_keys,
        control,
        remote,
        routing: routing::routing(object.spec.routing.as_ref()),
        dns: object.spec.routing.as_ref().and_then(|routing| routing.dns.clone()),
        external_dns: object.spec.routing.as_ref().and_then(|routing| routing.external_dns.clone()),
        dns_endpoints_there: inputs.dns_endpoints_there,
        clients: Clients::new(&object.spec, inputs.geoip),
        pools,
    })
}

/// A pod that mounts a Secret which is not there does not start, so nothing is changed before it is.
fn find_tls(secret: Option<&str>, is_there: bool, owner: &Owner) -> Result<(), Invalid> {
    let Some(secret) = secret.filter(|_| !is_there) else { return Ok(()) };
    let namespace = &owner.namespace;
    let message = format!(
        "spec.tls.secretName: there is no Secret {secret} in namespace {namespace}: make it (kubectl -n {namespace} create secret tls {secret} --cert=… --key=…, or a Certificate of cert-manager), or name another. Until then everything stays as it is"
    );
    Err(Invalid::new(Reason::SecretNotFound, message))
}

/// What the lobby and its Redis mount must be there; what stands in it is not ours to judge.
fn standing_redis(secret: &Secret, owner: &Owner) -> Result<RedisSecret, Invalid> {
    is_ours(secret, owner)?;
    let text = |key: &str| {
        let name = names::lobby_redis(&owner.name);
        let message = format!(
            "Secret {name}: key `{key}` is missing, empty or not text. Restore it, or delete it to have a new password made (the Redis is then started anew)"
        );
        text_of(secret, key).ok_or_else(|| Invalid::new(Reason::SecretInvalid, message))
    };
    text(names::REDIS_URL)?;
    Ok(RedisSecret::Standing { config: text(names::REDIS_CONFIG)? })
}

fn is_ours(secret: &Secret, owner: &Owner) -> Result<(), Invalid> {
    if secret.owner_references().iter().any(|reference| reference.uid == owner.uid) {
        return Ok(());
    }
    let message = format!(
        "Secret {} exists and belongs to somebody else: rename this object or remove the Secret",
        secret.name_any()
    );
    Err(Invalid::new(Reason::NameConflict, message))
}

fn text_of(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.is_empty())
}

fn secret_invalid(owner: &Owner, name: &str, what: &str) -> Invalid {
    let of = &owner.name;
    let message = format!(
        "Secret {name} of Lobby {of}: {what}. Restore it, or delete it to have new keys made (open sessions must then be joined anew)"
    );
    Invalid::new(Reason::SecretInvalid, message)
}

/// Whether a lobby admits pools of a namespace.
pub fn admits(lobby: &Lobby, pool_namespace: &str, labels: &BTreeMap<String, BTreeMap<String, String>>) -> bool {
    let AdmittedPools { from, selector, remote: _ } = &lobby.spec.relay_pools;
    match from {
        AdmitFrom::All => true,
        AdmitFrom::Same => lobby.namespace().as_deref() == Some(pool_namespace),
        AdmitFrom::Selector => match (selector, labels.get(pool_namespace)) {
            (Some(selector), Some(labels)) => selector::matches(selector, labels),
            (Some(_), None) | (None, _) => false,
        },
    }
}

/// Of the pools that name a lobby, those that it admits.
pub fn admitted(
    lobby: &Lobby,
    pools: Vec<RelayPool>,
    labels: &BTreeMap<String, BTreeMap<String, String>>,
) -> Vec<RelayPool> {
    pools.into_iter().filter(|pool| admits(lobby, &pool.namespace().unwrap_or_default(), labels)).collect()
}

/// A pool that can be planned.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidPool {
    /// Whose children the plan makes.
    pub owner: Owner,
    /// What its relays run, and what that needs.
    pub software: Software,
    /// Region as clients see it.
    pub region: String,
    /// Where the relays are.
    pub location: Location,
    /// Seats of one relay.
    pub sessions_per_relay: i32,
    /// Relays.
    pub replicas: i32,
    /// Seconds that a leaving relay waits for its sessions.
    pub drain_seconds: i32,
    /// How clients reach the relays.
    pub exposed: Exposed,
    /// TLS of their ports for clients.
    pub tls: Option<RelayTls>,
    /// Pod overrides.
    pub template: PodOverrides,
    /// URLs for clients of its relays by their names, as far as they were observed: a lobby of another cluster learns them
    /// from the relays alone.
    pub addresses: BTreeMap<String, String>,
}

/// Everything that validating a pool reads.
#[derive(Debug)]
pub struct PoolInputs<'a> {
    /// The object.
    pub pool: &'a RelayPool,
    /// The lobby that it names, if that exists.
    pub lobby: Option<&'a Lobby>,
    /// Whether the Secret of `spec.tls` is there.
    pub tls_secret_there: bool,
    /// Whether the Secret of `spec.lobbyRef.remote` is there.
    pub credential_there: bool,
    /// The key of the relays' control ports.
    pub control: ControlInputs<'a>,
    /// The lobby's ConfigMap, if there is one.
    pub lobby_config: Option<&'a ConfigMap>,
    /// Labels of the pool's namespace, where they matter.
    pub namespace_labels: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// Where cloud regions are.
    pub locate: fn(&str) -> Option<Location>,
}

/// Validates a pool.
pub fn pool(inputs: &PoolInputs<'_>) -> Result<ValidPool, Invalid> {
    let object = inputs.pool;
    let spec = &object.spec;
    let owner = Owner::of(object).ok_or_else(|| Invalid::new(Reason::Pending, "the object has no UID yet"))?;
    let software = software::software(inputs, &owner)?;
    let location = place(spec.region.as_deref(), spec.location, inputs.locate)?;
    find_tls(spec.tls.as_ref().map(|tls| tls.secret_name.as_str()), inputs.tls_secret_there, &owner)?;
    Ok(ValidPool {
        region: spec.region.clone().unwrap_or_else(|| owner.name.clone()),
        software,
        location,
        sessions_per_relay: spec.sessions_per_relay,
        replicas: spec.replicas,
        drain_seconds: spec.drain.timeout_seconds,
        exposed: Exposed::from(spec.exposure.as_ref()),
        tls: spec.tls.clone(),
        template: spec.template.clone(),
        addresses: BTreeMap::new(),
        owner,
    })
}

/// A scaling policy that cannot be followed.
pub fn bad_scaling(bad: &BadPolicy) -> Invalid {
    Invalid::new(
        Reason::ScalingInvalid,
        format!("spec.scaling.{bad}. Until it is put right, everything stays as it is"),
    )
}

/// Only a lobby of this cluster can be heard asking for a pool that has no relays.
pub fn wakes_from_zero(pool: &RelayPool) -> Result<(), Invalid> {
    let leaves_none = pool.spec.scaling.as_ref().is_some_and(|scaling| scaling.scale_to_zero.is_some());
    if leaves_none && pool.spec.lobby_ref.as_ref().is_some_and(|lobby| lobby.remote.is_some()) {
        let message = "spec.scaling.scaleToZero: a lobby of another cluster cannot wake this pool, since it is heard through the pool's relays alone: remove scaleToZero";
        return Err(Invalid::new(Reason::ScalingInvalid, message));
    }
    Ok(())
}

fn place(
    region: Option<&str>,
    location: Option<Location>,
    locate: fn(&str) -> Option<Location>,
) -> Result<Location, Invalid> {
    if let Some(location) = location {
        return Ok(location);
    }
    let region = region.unwrap_or_default();
    locate(region).ok_or_else(|| {
        let message = format!("spec.region: {region} is not a region that carries coordinates: make a new pool that also sets spec.location");
        Invalid::new(Reason::UnknownRegion, message)
    })
}

#[cfg(test)]
#[path = "valid_tests.rs"]
mod tests;
