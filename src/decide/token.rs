//! Signing and verifying the lobby's tokens, given key and time.
//!
//! ES256 only (RFC 7518 §3.4): the header's algorithm is compared, never followed.

use std::collections::HashMap;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::wire::claims::{
    JOIN_LIFE_SECONDS, JOIN_TYP, JoinClaims, PROBE_LIFE_SECONDS, PROBE_TYP, ProbeClaims, RECORD_TYP,
    RELAY_LIFE_SECONDS, RELAY_TYP, RecordClaims, RelayClaims,
};
use crate::wire::keys::{KeySet, MAX_KEYS};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 2048;

/// Seconds by which the clocks of lobby and relay may differ.
const CLOCK_SKEW_SECONDS: i64 = 5;

/// Why a key could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not a private key on P-256.
    #[error("not a PKCS#8 PEM private key on the curve P-256")]
    Private,
    /// Not a key set of public keys on P-256 for ES256, each with a `kid`.
    #[error("not a JSON Web Key Set of P-256 public keys with kid: {0}")]
    Public(String),
}

/// A token was refused. There is one value and no reason: whoever presents a bad token learns nothing from the answer.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("token refused")]
pub struct Refused;

/// A private key and the id under which its public half is published.
pub struct SigningKey {
    kid: String,
    key: EncodingKey,
    public: Value,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a PKCS#8 PEM private key on P-256.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = pem::parse(text).map_err(|_| KeyError::Private)?;
        if der.tag() != "PRIVATE KEY" {
            return Err(KeyError::Private);
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.contents())
            .map_err(|_| KeyError::Private)?;
        let point = pair.public_key().as_ref();
        // Uncompressed SEC 1 point: 0x04, x, y.
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else { return Err(KeyError::Private) };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let kid = thumbprint(&x, &y);
        let public = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": x, "y": y});
        let key = EncodingKey::from_ec_pem(text.as_bytes()).map_err(|_| KeyError::Private)?;
        Ok(Self { kid, key, public })
    }

    /// The id of the key: its thumbprint (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half, a JSON Web Key.
    pub fn public(&self) -> &Value {
        &self.public
    }

    /// The public half as a key set (RFC 7517).
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.public]})
    }

    /// Signs a token for one connection.
    pub fn sign_join(&self, claims: &JoinClaims) -> String {
        self.sign(JOIN_TYP, claims)
    }

    /// Signs a token to measure with.
    pub fn sign_probe(&self, claims: &ProbeClaims) -> String {
        self.sign(PROBE_TYP, claims)
    }

    /// Signs a session's record.
    pub fn sign_record(&self, claims: &RecordClaims) -> String {
        self.sign(RECORD_TYP, claims)
    }

    /// Signs who a relay of another cluster is.
    pub fn sign_relay(&self, claims: &RelayClaims) -> String {
        self.sign(RELAY_TYP, claims)
    }

    fn sign<C: Serialize>(&self, typ: &str, claims: &C) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.key).expect("claims are JSON and the key was checked when read")
    }
}

/// The public half of a key on P-256 as a JSON Web Key, from its PEM (`openssl pkey -pubout`).
pub fn public_key(text: &str) -> Result<Value, KeyError> {
    /// SubjectPublicKeyInfo of an uncompressed point on P-256, up to the point's coordinates.
    const HEAD: &[u8] = &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    let none = || KeyError::Public("not the PEM of a public key on P-256".to_owned());
    let read = pem::parse(text).ok().filter(|read| read.tag() == "PUBLIC KEY").ok_or_else(none)?;
    let point = read.contents().strip_prefix(HEAD).filter(|point| point.len() == 64).ok_or_else(none)?;
    let (x, y) = point.split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let key =
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": thumbprint(&x, &y), "x": x, "y": y});
    VerifyKeys::from_keys(std::slice::from_ref(&key))?;
    Ok(key)
}

/// The id of the key by which a token or record says that it is signed.
pub fn kid_of(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).ok()?.kid
}

/// Private half of a fresh key on P-256, from a generator's PKCS#8 document.
pub fn pkcs8_pem(pair: &EcdsaKeyPair) -> Result<String, KeyError> {
    let document = pair.to_pkcs8v1().map_err(|_| KeyError::Private)?;
    Ok(pem::encode(&pem::Pem::new("PRIVATE KEY", document.as_ref())))
}

/// RFC 7638 over the required members of an EC key in lexicographic order.
fn thumbprint(x: &str, y: &str) -> String {
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes()))
}

/// Public keys by id, parsed once.
#[derive(Clone, Default)]
pub struct VerifyKeys(HashMap<String, ParsedPublicKey>);

impl std::fmt::Debug for VerifyKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl VerifyKeys {
    /// Reads a key set; every key must be on P-256 and have an id.
    pub fn from_jwks(jwks: &Value) -> Result<Self, KeyError> {
        let keys = jwks.get("keys").and_then(Value::as_array);
        Self::from_keys(keys.ok_or_else(|| KeyError::Public("`keys` is missing".to_owned()))?)
    }

    /// Reads a key set that was handed on by a process of ours.
    pub fn from_set(set: &KeySet) -> Result<Self, KeyError> {
        if set.keys.len() > MAX_KEYS {
            return Err(KeyError::Public(format!("{} keys are more than {MAX_KEYS}", set.keys.len())));
        }
        Self::from_keys(&set.keys)
    }

    /// Reads some keys, each on P-256 and with an id.
    pub fn from_keys(keys: &[Value]) -> Result<Self, KeyError> {
        let mut read = HashMap::new();
        for key in keys {
            let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
            if text("kty") != "EC" || text("crv") != "P-256" || text("kid").is_empty() {
                return Err(KeyError::Public(format!("key `{}`", text("kid"))));
            }
            let public = point(text("x"), text("y"))
                .and_then(|point| ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok())
                .ok_or_else(|| KeyError::Public(format!("key `{}` is no point on the curve", text("kid"))))?;
            read.insert(text("kid").to_owned(), public);
        }
        Ok(Self(read))
    }

    /// Their ids, in no order.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies a token for one connection to the relay named by `audience` at `now` (seconds since 1970).
    /// The caller still refuses a `jti` that it has seen and a session that is not the token's.
    pub fn verify_join(&self, token: &str, issuer: &str, audience: &str, now: i64) -> Result<JoinClaims, Refused> {
        self.verify(JOIN_TYP, token, |claims: &JoinClaims| {
            let timely = claims.nbf <= now + CLOCK_SKEW_SECONDS
                && claims.iat <= now + CLOCK_SKEW_SECONDS
                && now < claims.exp
                && claims.exp.checked_sub(claims.iat).is_some_and(|life| (1..=JOIN_LIFE_SECONDS).contains(&life));
            let filled = ![&claims.sid, &claims.sub, &claims.jti].iter().any(|text| text.is_empty());
            timely && filled && claims.iss == issuer && claims.aud == audience
        })
    }

    /// Verifies a token to measure with at the relay named by `audience` at `now` (seconds since 1970).
    pub fn verify_probe(&self, token: &str, issuer: &str, audience: &str, now: i64) -> Result<ProbeClaims, Refused> {
        self.verify(PROBE_TYP, token, |claims: &ProbeClaims| {
            let timely = claims.iat <= now + CLOCK_SKEW_SECONDS
                && now < claims.exp
                && claims.exp.checked_sub(claims.iat).is_some_and(|life| (1..=PROBE_LIFE_SECONDS).contains(&life));
            timely && claims.iss == issuer && claims.aud == audience
        })
    }

    /// Verifies a session's record of the lobby `issuer`, held by the relay named by `audience`.
    pub fn verify_record(&self, record: &str, issuer: &str, audience: &str) -> Result<RecordClaims, Refused> {
        self.verify(RECORD_TYP, record, |claims: &RecordClaims| claims.iss == issuer && claims.aud == audience)
    }

    /// Verifies who a relay of the pool `pool` of another cluster is, to the lobby named by `audience` at `now` (seconds
    /// since 1970). The caller still refuses a `jti` that it has seen.
    pub fn verify_relay(&self, token: &str, pool: &str, audience: &str, now: i64) -> Result<RelayClaims, Refused> {
        self.verify(RELAY_TYP, token, |claims: &RelayClaims| {
            let timely = claims.iat <= now + CLOCK_SKEW_SECONDS
                && now < claims.exp
                && claims.exp.checked_sub(claims.iat).is_some_and(|life| (1..=RELAY_LIFE_SECONDS).contains(&life));
            let uid = claims.sub.strip_prefix(pool).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
            let filled = ![uid, &claims.relay, &claims.boot, &claims.jti].iter().any(|text| text.is_empty());
            timely && filled && claims.iss == pool && !audience.is_empty() && claims.aud == audience
        })
    }

    /// The claims of a token whose signature holds. A signature costs some hundred times what the rest does, so it comes
    /// last: who does not even know for which relay and when a token would be good has none looked at.
    fn verify<C: DeserializeOwned>(&self, typ: &str, token: &str, good: impl Fn(&C) -> bool) -> Result<C, Refused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refused);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused)?;
        if header.alg != Algorithm::ES256 || header.typ.as_deref() != Some(typ) {
            return Err(Refused);
        }
        let key = header.kid.as_deref().and_then(|kid| self.0.get(kid)).ok_or(Refused)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(Refused)?;
        let (_, payload) = signed.split_once('.').ok_or(Refused)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused);
        let claims: C = serde_json::from_slice(&decode(payload)?).map_err(|_| Refused)?;
        if !good(&claims) {
            return Err(Refused);
        }
        key.verify_sig(signed.as_bytes(), &decode(signature)?).map_err(|_| Refused)?;
        Ok(claims)
    }
}

/// The uncompressed SEC 1 point (0x04, x, y) of a key's coordinates in base64url.
fn point(x: &str, y: &str) -> Option<Vec<u8>> {
    let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.decode(part).ok().filter(|part| part.len() == 32));
    Some([&[4][..], &x?, &y?].concat())
}

#[cfg(test)]
mod tests;
