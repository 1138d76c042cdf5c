//! Objects for the tests of this module, as the API server holds them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::common::Location;
use crate::api::{Lobby, RelayPool};
use crate::decide::authority::{Certificates, ControlCertificates, ControlKey, LinkKeys};
use crate::decide::plan::names;
use crate::decide::token::SigningKey;
use crate::decide::valid::{ControlInputs, GeoIpInputs, KeyInputs, LinkInputs, LobbyInputs, LobbyKeys, PoolInputs};

/// A private key that signs nothing outside of tests.
pub(crate) const SIGNING_KEY: &str = include_str!("../../tests/plan/signing-key.pem");

/// Labels of namespaces.
pub(crate) type NamespaceLabels = BTreeMap<String, BTreeMap<String, String>>;

/// A time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

/// A lobby that is accepted.
pub(crate) fn lobby(namespace: &str, name: &str, spec: Value) -> Lobby {
    let mut lobby = Lobby::new(name, serde_json::from_value(spec).expect("a spec"));
    complete(&mut lobby);
    lobby.metadata.namespace = Some(namespace.to_owned());
    let accepted = json!({"conditions": [{
        "type": "Accepted", "status": "True", "reason": "AsPlanned", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    lobby.status = Some(serde_json::from_value(accepted).expect("a status"));
    lobby
}

/// What validating a lobby reads, where nothing of it stands yet and no pool names it.
pub(crate) fn lobby_inputs<'a>(lobby: &'a Lobby, namespace_labels: &'a NamespaceLabels) -> LobbyInputs<'a> {
    LobbyInputs {
        lobby,
        keys: key_inputs(None),
        link: link_inputs(None),
        control: control_inputs(None),
        tls_secret_there: true,
        geoip: GeoIpInputs { claim_there: true, allowed: &[] },
        dns_endpoints_there: true,
        redis_secret: None,
        fresh_password: "a-password".to_owned(),
        pools: vec![],
        namespace_labels,
    }
}

/// A pool with these fields besides those that it must have; for the lobby `hub` of its namespace unless told otherwise.
#[expect(clippy::needless_pass_by_value, reason = "a literal is written where it is passed")]
pub(crate) fn pool(namespace: &str, name: &str, spec: Value) -> RelayPool {
    let mut all = json!({"lobbyRef": {"name": "hub"}, "region": "eu-west-1"});
    for (key, value) in spec.as_object().expect("a spec is an object") {
        all[key] = value.clone();
    }
    let mut pool = RelayPool::new(name, serde_json::from_value(all).expect("a spec"));
    complete(&mut pool);
    pool.metadata.namespace = Some(namespace.to_owned());
    pool
}

fn complete<K: kube::Resource<DynamicType = ()>>(object: &mut K) {
    let name = object.meta().name.clone().unwrap_or_default();
    let meta = object.meta_mut();
    meta.uid = Some(format!("uid-of-{name}"));
    meta.generation = Some(1);
    meta.creation_timestamp = Some(Time(at(1_000)));
}

/// Fresh secrets for a lobby.
pub(crate) fn keys() -> LobbyKeys {
    LobbyKeys { signing_key: SIGNING_KEY.to_owned(), admin_token: "admin".to_owned() }
}

/// The keys of a lobby that has this Secret and no other.
pub(crate) fn key_inputs(secret: Option<&Secret>) -> KeyInputs<'_> {
    let fresh_key = SIGNING_KEY.to_owned();
    KeyInputs { secret, slots: vec![], published: None, fresh: keys(), fresh_key, now: at(1_000) }
}

/// The keys of the link of a lobby that has this Secret, and certificates that say nothing.
pub(crate) fn link_inputs(secret: Option<&Secret>) -> LinkInputs<'_> {
    let fresh = LinkKeys { authority: SIGNING_KEY.to_owned(), server: SIGNING_KEY.to_owned() };
    let certify = &|_: &LinkKeys| {
        Ok(Certificates { authority: "authority".to_owned(), link: "link".to_owned(), link_ends: 5_000 })
    };
    LinkInputs { secret, fresh, certify }
}

/// The key of the control port of an owner that has this Secret, and certificates that say nothing.
pub(crate) fn control_inputs(secret: Option<&Secret>) -> ControlInputs<'_> {
    let certify = &|_: &ControlKey| {
        Ok(ControlCertificates { server: "control".to_owned(), authorities: "authorities".to_owned() })
    };
    ControlInputs { secret, fresh: ControlKey(SIGNING_KEY.to_owned()), certify }
}

/// A lobby's ConfigMap with its public keys and its authority.
pub(crate) fn published_keys() -> ConfigMap {
    let jwks = SigningKey::from_pem(SIGNING_KEY).expect("a key").jwks().to_string();
    let data = [(names::JWKS, jwks), (names::AUTHORITY, "authority".to_owned())];
    ConfigMap { data: Some(data.map(|(key, text)| (key.to_owned(), text)).into()), ..ConfigMap::default() }
}

/// What validating a pool reads.
pub(crate) fn inputs<'a>(
    pool: &'a RelayPool,
    lobby: Option<&'a Lobby>,
    lobby_config: Option<&'a ConfigMap>,
    namespace_labels: &'a NamespaceLabels,
) -> PoolInputs<'a> {
    PoolInputs {
        pool,
        lobby,
        lobby_config,
        tls_secret_there: true,
        credential_there: true,
        control: control_inputs(None),
        namespace_labels,
        locate,
    }
}

fn locate(region: &str) -> Option<Location> {
    (region == "eu-west-1").then_some(Location { latitude: 53.35, longitude: -6.26 })
}
