//! Who dials the relay link: verification of projected service-account tokens, offline, given the cluster's keys and
//! the time.
//!
//! The algorithm belongs to the key, never to the token's header. What it must not do: decide whether the pod is a relay
//! of this lobby; the caller looks the verified identity up in the relay table.

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use super::token::{KeyError, Refused};

/// Longest service-account token that is looked at, in bytes.
pub const MAX_IDENTITY_BYTES: usize = 8192;

/// Seconds by which the clocks of API server and lobby may differ.
const CLOCK_SKEW_SECONDS: i64 = 10;

/// The pod that a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its service account.
    pub service_account: String,
}

/// Public keys of a cluster's token issuer, by id, each with its one algorithm.
#[derive(Clone, Default)]
pub struct ClusterKeys(HashMap<String, (Algorithm, DecodingKey)>);

impl std::fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl ClusterKeys {
    /// Reads a key set as the API server publishes it. `null` is a cluster without keys: nobody is believed. Keys of
    /// kinds that are not known here (neither RSA for RS256 nor P-256 for ES256) are passed over.
    pub fn from_jwks(jwks: &Value) -> Result<Self, KeyError> {
        if jwks.is_null() {
            return Ok(Self::default());
        }
        let keys = jwks.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or_else(|| KeyError::Public("`keys` is missing".to_owned()))?;
        let mut read = HashMap::new();
        for key in keys {
            let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
            let parsed = match (text("kty"), text("alg"), text("crv")) {
                ("RSA", "RS256" | "", _) => {
                    DecodingKey::from_rsa_components(text("n"), text("e")).map(|key| (Algorithm::RS256, key))
                }
                ("EC", "ES256" | "", "P-256") => {
                    DecodingKey::from_ec_components(text("x"), text("y")).map(|key| (Algorithm::ES256, key))
                }
                _ => continue,
            };
            let parsed = parsed.map_err(|error| KeyError::Public(format!("key `{}`: {error}", text("kid"))))?;
            if !text("kid").is_empty() {
                read.insert(text("kid").to_owned(), parsed);
            }
        }
        Ok(Self(read))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies a service-account token of `issuer` for `audience` at `now` (seconds since 1970), bound to a pod.
    pub fn verify(&self, token: &str, issuer: &str, audience: &str, now: i64) -> Result<PodIdentity, Refused> {
        if token.len() > MAX_IDENTITY_BYTES || issuer.is_empty() || audience.is_empty() {
            return Err(Refused);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused)?;
        let (algorithm, key) = header.kid.as_deref().and_then(|kid| self.0.get(kid)).ok_or(Refused)?;
        if header.alg != *algorithm {
            return Err(Refused);
        }
        let mut validation = Validation::new(*algorithm);
        // Times and audience are compared below against values, not against this library's clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(|_| Refused)?.claims;
        let timely = claims.nbf <= now.saturating_add(CLOCK_SKEW_SECONDS) && now < claims.exp;
        if timely && claims.iss == issuer && claims.aud.contains(audience) { claims.identity() } else { Err(Refused) }
    }
}

/// What is read of a service-account token; the API server writes more.
#[derive(Clone, Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    nbf: i64,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn contains(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Kubernetes {
    namespace: String,
    pod: Pod,
    serviceaccount: ServiceAccount,
}

#[derive(Clone, Debug, Deserialize)]
struct Pod {
    name: String,
    uid: String,
}

#[derive(Clone, Debug, Deserialize)]
struct ServiceAccount {
    name: String,
}

impl Claims {
    fn identity(self) -> Result<PodIdentity, Refused> {
        let Kubernetes { namespace, pod, serviceaccount } = self.kubernetes;
        let filled = ![&namespace, &pod.name, &pod.uid, &serviceaccount.name].iter().any(|text| text.is_empty());
        if !filled || self.sub != format!("system:serviceaccount:{namespace}:{}", serviceaccount.name) {
            return Err(Refused);
        }
        Ok(PodIdentity { namespace, name: pod.name, uid: pod.uid, service_account: serviceaccount.name })
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
