//! A forger's workshop: any header and any payload, signed or not, beside one good token.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use aws_lc_rs::{hmac, rand::SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use convene::decide::token::{SigningKey, pkcs8_pem};
use convene::wire::claims::JOIN_TYP;
use serde_json::{Value, json};

/// A key pair whose secret half is at hand.
pub(crate) struct Pair {
    pair: EcdsaKeyPair,
    pub(crate) key: SigningKey,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let key = SigningKey::from_pem(&pkcs8_pem(&pair).expect("PEM")).expect("our own PEM");
        Self { pair, key }
    }

    /// The header of a good token of this key.
    pub(crate) fn header(&self) -> Value {
        json!({"typ": JOIN_TYP, "alg": "ES256", "kid": self.key.kid()})
    }

    /// Any header and payload, signed correctly.
    pub(crate) fn sign(&self, header: &Value, payload: &Value) -> String {
        self.sign_text(&header.to_string(), &payload.to_string())
    }

    /// Any two texts, signed correctly.
    pub(crate) fn sign_text(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
        format!("{signed}.{}", encode(signature.as_ref()))
    }

    /// Signed with the public half as a shared secret, in three forms that a careless verifier might use.
    pub(crate) fn hs256(&self, payload: &Value) -> Vec<String> {
        let point = self.pair.public_key().as_ref().to_vec();
        let jwk = self.key.jwks()["keys"][0].to_string().into_bytes();
        let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", point.clone())).into_bytes();
        let header = changed(self.header(), "alg", json!("HS256"));
        [point, jwk, pem]
            .map(|secret| {
                let signed = format!("{}.{}", encode(header.to_string()), encode(payload.to_string()));
                let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
                format!("{signed}.{}", encode(hmac::sign(&key, signed.as_bytes())))
            })
            .into()
    }
}

/// Signed on P-384, under a header that names any key.
pub(crate) fn es384(header: &Value, payload: &Value) -> String {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
    let signed = format!("{}.{}", encode(header.to_string()), encode(payload.to_string()));
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
    format!("{signed}.{}", encode(signature.as_ref()))
}

/// With one member changed; null takes it away.
pub(crate) fn changed(mut object: Value, name: &str, value: Value) -> Value {
    let members = object.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), value)
    };
    object
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
