//! Forged, stale and foreign service-account tokens.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::*;

const ISSUER: &str = "https://kubernetes.default.svc";
const AUDIENCE: &str = "lobby-uid";
const NOW: i64 = 1_800_000_000;

struct Keys {
    ec: EncodingKey,
    rsa: EncodingKey,
    jwks: Value,
}

fn keys() -> Keys {
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let point = ec.public_key().as_ref().to_vec();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = rsa.public_key();
    let jwks = json!({"keys": [
        {"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "ec", "x": encode(&point[1..33]), "y": encode(&point[33..65])},
        {"kty": "RSA", "alg": "RS256", "kid": "rsa", "use": "sig",
            "n": encode(public.modulus().big_endian_without_leading_zero()),
            "e": encode(public.exponent().big_endian_without_leading_zero())},
        {"kty": "EC", "crv": "P-521", "alg": "ES512", "kid": "another kind", "x": "AA", "y": "AA"},
    ]});
    let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa).expect("a document");
    let rsa_pem = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref()));
    Keys {
        ec: EncodingKey::from_ec_pem(crate::decide::token::pkcs8_pem(&ec).expect("a document").as_bytes())
            .expect("a key"),
        rsa: EncodingKey::from_rsa_pem(rsa_pem.as_bytes()).expect("a key"),
        jwks,
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "system:serviceaccount:team-a:tokyo-relay", "aud": [AUDIENCE],
        "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 3540, "jti": "7f0c",
        "kubernetes.io": {
            "namespace": "team-a",
            "node": {"name": "node-1", "uid": "node-uid"},
            "pod": {"name": "tokyo-0", "uid": "pod-uid"},
            "serviceaccount": {"name": "tokyo-relay", "uid": "sa-uid"},
        },
    })
}

fn sign(key: &EncodingKey, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(ToOwned::to_owned);
    jsonwebtoken::encode(&header, claims, key).expect("signed")
}

#[test]
fn a_pods_own_token_tells_who_it_is() {
    let keys = keys();
    let cluster = ClusterKeys::from_jwks(&keys.jwks).expect("read");
    assert_eq!(cluster.len(), 2);
    let expected = PodIdentity {
        namespace: "team-a".to_owned(),
        name: "tokyo-0".to_owned(),
        uid: "pod-uid".to_owned(),
        service_account: "tokyo-relay".to_owned(),
    };
    let mut one_audience = claims();
    one_audience["aud"] = json!(AUDIENCE);
    for token in [
        sign(&keys.ec, Algorithm::ES256, Some("ec"), &claims()),
        sign(&keys.rsa, Algorithm::RS256, Some("rsa"), &claims()),
        sign(&keys.rsa, Algorithm::RS256, Some("rsa"), &one_audience),
    ] {
        assert_eq!(cluster.verify(&token, ISSUER, AUDIENCE, NOW), Ok(expected.clone()));
    }
}

#[test]
fn claims_that_do_not_hold_are_refused() {
    let keys = keys();
    let cluster = ClusterKeys::from_jwks(&keys.jwks).expect("read");
    let edits: &[(&str, &str, Value)] = &[
        ("another issuer", "/iss", json!("https://elsewhere")),
        ("another audience", "/aud", json!(["another-lobby"])),
        ("no audience", "/aud", json!([])),
        ("the API server's audience", "/aud", json!("https://kubernetes.default.svc")),
        ("expired", "/exp", json!(NOW)),
        ("expiry as text", "/exp", json!("1900000000")),
        ("no expiry", "/exp", Value::Null),
        ("not yet valid", "/nbf", json!(NOW + 60)),
        ("start as text", "/nbf", json!("0")),
        ("subject of another namespace", "/sub", json!("system:serviceaccount:team-b:tokyo-relay")),
        ("subject of another account", "/sub", json!("system:serviceaccount:team-a:default")),
        ("a user", "/sub", json!("admin")),
        ("no pod", "/kubernetes.io/pod", Value::Null),
        ("empty pod UID", "/kubernetes.io/pod/uid", json!("")),
        ("empty pod name", "/kubernetes.io/pod/name", json!("")),
        ("no Kubernetes claims", "/kubernetes.io", Value::Null),
        ("no service account", "/kubernetes.io/serviceaccount", Value::Null),
    ];
    for (case, path, value) in edits {
        let mut edited = claims();
        *edited.pointer_mut(path).expect(case) = value.clone();
        let token = sign(&keys.ec, Algorithm::ES256, Some("ec"), &edited);
        assert_eq!(cluster.verify(&token, ISSUER, AUDIENCE, NOW), Err(Refused), "{case}");
    }
}

#[test]
fn tokens_that_the_cluster_did_not_sign_are_refused() {
    let (keys, strangers) = (keys(), keys());
    let cluster = ClusterKeys::from_jwks(&keys.jwks).expect("read");
    let good = sign(&keys.ec, Algorithm::ES256, Some("ec"), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"ec"}"#);
    let hmac = EncodingKey::from_secret(keys.jwks.to_string().as_bytes());
    for (case, token) in [
        ("a stranger's key", sign(&strangers.ec, Algorithm::ES256, Some("ec"), &claims())),
        ("a stranger's RSA key", sign(&strangers.rsa, Algorithm::RS256, Some("rsa"), &claims())),
        ("no key id", sign(&keys.ec, Algorithm::ES256, None, &claims())),
        ("an unknown key id", sign(&keys.ec, Algorithm::ES256, Some("other"), &claims())),
        ("the id of the other key", sign(&keys.ec, Algorithm::ES256, Some("rsa"), &claims())),
        ("another algorithm of the same key", sign(&keys.rsa, Algorithm::RS512, Some("rsa"), &claims())),
        ("a padding that was not agreed", sign(&keys.rsa, Algorithm::PS256, Some("rsa"), &claims())),
        ("a MAC under the public key", sign(&hmac, Algorithm::HS256, Some("ec"), &claims())),
        ("no algorithm", format!("{none}.{}.", parts[1])),
        ("no algorithm, old signature", format!("{none}.{}.{}", parts[1], parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("claims of another token", {
            let other = URL_SAFE_NO_PAD.encode(claims().to_string().replace("tokyo-0", "tokyo-1"));
            format!("{}.{other}.{}", parts[0], parts[2])
        }),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("nothing", String::new()),
        ("no token", "Bearer".to_owned()),
        ("too long", format!("{good}{}", "A".repeat(MAX_IDENTITY_BYTES))),
    ] {
        assert_eq!(cluster.verify(&token, ISSUER, AUDIENCE, NOW), Err(Refused), "{case}");
    }
    assert_eq!(cluster.verify(&good, "", AUDIENCE, NOW), Err(Refused));
    assert_eq!(cluster.verify(&good, ISSUER, "", NOW), Err(Refused));
    assert_eq!(ClusterKeys::default().verify(&good, ISSUER, AUDIENCE, NOW), Err(Refused));
}

#[test]
fn key_sets_that_are_none_are_told_from_empty_ones() {
    assert!(ClusterKeys::from_jwks(&Value::Null).is_ok_and(|keys| keys.is_empty()));
    assert!(ClusterKeys::from_jwks(&json!({"keys": []})).is_ok_and(|keys| keys.is_empty()));
    for broken in
        [json!({}), json!([]), json!("x"), json!({"keys": [{"kty": "RSA", "kid": "a", "n": "*", "e": "AQAB"}]})]
    {
        assert!(ClusterKeys::from_jwks(&broken).is_err(), "{broken}");
    }
}
