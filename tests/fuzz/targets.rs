//! What is fuzzed: every parser that reads bytes from outside, each as one function of bytes. It says whether it took
//! them, and panics where something that was taken is not what it must be.

#[path = "bytes.rs"]
mod bytes;
#[path = "dns.rs"]
mod dns;
#[path = "places.rs"]
mod places;
#[path = "route.rs"]
mod route;

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use convene::decide::exposition::Reader;
use convene::decide::identity::ClusterKeys;
use convene::decide::sampled;
use convene::decide::token::{self, SigningKey, VerifyKeys, pkcs8_pem};
use convene::process::sse::Events;
use convene::wire::claims::{JOIN_LIFE_SECONDS, JOIN_TYP, RELAY_LIFE_SECONDS, RELAY_TYP};
use convene::wire::link::{FromLobby, FromRelay};
use convene::wire::orders::Order;
use convene::wire::relay::{Notice, OWN_PROTOCOL_PREFIX, TOKEN_PROTOCOL_PREFIX};
use convene::wire::session::{CreateSession, JoinSession, MoveSession, RenameSession};
use convene::wire::table::RelayTable;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::credentials;

/// The time at which tokens of the corpus are good, seconds since 1970.
const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "lobby";
const AUDIENCE: &str = "pod/boot";
/// A pool of another cluster, and its lobby's URL.
const POOL: &str = "sydney";
const URL: &str = "https://meet.example.com";
/// Header lines of one input.
const LINES: usize = 64;

/// One parser.
pub(crate) type Target = (&'static str, fn(&[u8]) -> bool);

/// All of them, by the names of their folders in `corpus/`.
pub(crate) const ALL: [Target; 32] = [
    ("certificate", bytes::certificate),
    ("create-session", |data| same_form::<CreateSession>(data)),
    ("credentials", shown),
    ("dns", dns::dns),
    ("events", events),
    ("exposition", exposition),
    ("forwarded", places::forwarded),
    ("from-guest", bytes::from_guest),
    ("from-host", bytes::from_host),
    ("from-lobby", |data| same_value::<FromLobby>(data)),
    ("from-relay", |data| same_value::<FromRelay>(data)),
    ("geoip", places::geoip),
    ("identity-payload", identity_payload),
    ("invite", bytes::invite),
    ("join-payload", join_payload),
    ("join-session", |data| same_form::<JoinSession>(data)),
    ("jwks", jwks),
    ("move-session", |data| same_form::<MoveSession>(data)),
    ("networks", places::networks),
    ("notice", |data| same_value::<Notice>(data)),
    ("order", |data| same_value::<Order>(data)),
    ("place", route::place),
    ("public-key", public_key),
    ("query", route::query),
    ("redis-reply", bytes::redis_reply),
    ("relay-payload", relay_payload),
    ("rename-session", |data| same_form::<RenameSession>(data)),
    ("signing-key", bytes::signing_key),
    ("table", |data| same_form::<RelayTable>(data)),
    ("token", token),
    ("tunnel", bytes::tunnel),
    ("websocket", bytes::websocket),
];

static PAIR: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"));
static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_pem(&pkcs8_pem(&PAIR).expect("PEM")).expect("our own PEM"));
static JOIN_KEYS: LazyLock<VerifyKeys> = LazyLock::new(|| VerifyKeys::from_jwks(&KEY.jwks()).expect("our own"));
static CLUSTER_KEYS: LazyLock<ClusterKeys> = LazyLock::new(|| ClusterKeys::from_jwks(&KEY.jwks()).expect("our own"));

/// What was read is written and read again as the same.
fn same_value<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(data: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(data) else { return false };
    let text = serde_json::to_vec(&value).expect("it can be written");
    assert_eq!(serde_json::from_slice::<T>(&text).expect("it can be read again"), value);
    true
}

/// What was read is written in a form that can be read: floats may differ in their last digit.
fn same_form<T: Serialize + DeserializeOwned>(data: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(data) else { return false };
    let text = serde_json::to_vec(&value).expect("it can be written");
    assert!(serde_json::from_slice::<T>(&text).is_ok(), "it can be read again: {}", String::from_utf8_lossy(&text));
    true
}

/// Any bytes, signed with the key that the parser trusts.
fn signed(typ: &str, payload: &[u8]) -> String {
    let header = json!({"typ": typ, "alg": "ES256", "kid": KEY.kid()}).to_string();
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = PAIR.sign(&SystemRandom::new(), text.as_bytes()).expect("signed");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// However a stream is cut, the same events come out of it.
fn events(data: &[u8]) -> bool {
    let whole = Events::default().feed(data).expect("inputs are short");
    let mut cut = Events::default();
    let pieces: Vec<_> = data.chunks(3).flat_map(|piece| cut.feed(piece).expect("inputs are short")).collect();
    assert_eq!(pieces, whole);
    !whole.is_empty()
}

/// Metrics of a relay of another image: what is learnt is a number of sessions, however the text is cut.
fn exposition(data: &[u8]) -> bool {
    let read = |step: usize| {
        let mut reader = Reader::new("rooms");
        data.chunks(step).try_for_each(|piece| reader.feed(piece)).and_then(|()| reader.end())
    };
    let whole = read(data.len().max(1));
    assert_eq!(read(3), whole);
    let Ok(sum) = whole else { return false };
    assert!(sum >= 0.0, "{sum}");
    assert!(sampled::sessions(sum, 10).is_err() || sum <= 100.0, "{sum}");
    true
}

fn join_payload(data: &[u8]) -> bool {
    let Ok(claims) = JOIN_KEYS.verify_join(&signed(JOIN_TYP, data), ISSUER, AUDIENCE, NOW) else { return false };
    assert!(claims.iss == ISSUER && claims.aud == AUDIENCE, "{claims:?}");
    assert!(NOW < claims.exp && claims.exp - claims.iat <= JOIN_LIFE_SECONDS && claims.nbf <= NOW + 60);
    assert!(![&claims.sid, &claims.sub, &claims.jti].iter().any(|text| text.is_empty()), "{claims:?}");
    // A claim that is not read may be a number that no value holds.
    if let Ok(payload) = serde_json::from_slice::<Value>(data) {
        assert_eq!(payload["sid"], claims.sid.as_str(), "there is one session in it");
    }
    true
}

fn relay_payload(data: &[u8]) -> bool {
    let Ok(claims) = JOIN_KEYS.verify_relay(&signed(RELAY_TYP, data), POOL, URL, NOW) else { return false };
    assert!(claims.iss == POOL && claims.aud == URL && claims.sub.starts_with("sydney."), "{claims:?}");
    assert!(NOW < claims.exp && claims.exp - claims.iat <= RELAY_LIFE_SECONDS && claims.iat <= NOW + 60);
    assert!(![&claims.relay, &claims.boot, &claims.jti].iter().any(|text| text.is_empty()), "{claims:?}");
    true
}

/// A public key in PEM is one that can verify.
fn public_key(data: &[u8]) -> bool {
    let Some(key) = std::str::from_utf8(data).ok().and_then(|text| token::public_key(text).ok()) else { return false };
    assert!(VerifyKeys::from_jwks(&json!({"keys": [key]})).is_ok());
    true
}

fn identity_payload(data: &[u8]) -> bool {
    let Ok(pod) = CLUSTER_KEYS.verify(&signed("JWT", data), ISSUER, AUDIENCE, NOW) else { return false };
    assert!(![&pod.namespace, &pod.name, &pod.uid, &pod.service_account].iter().any(|text| text.is_empty()), "{pod:?}");
    if let Ok(payload) = serde_json::from_slice::<Value>(data) {
        assert_eq!(payload["kubernetes.io"]["pod"]["uid"], pod.uid.as_str());
    }
    true
}

/// Nobody without the key makes a token, for any of the five that verify.
fn token(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let join = JOIN_KEYS.verify_join(&text, ISSUER, AUDIENCE, NOW).is_ok();
    let record = JOIN_KEYS.verify_record(&text, ISSUER, AUDIENCE).is_ok();
    let probe = JOIN_KEYS.verify_probe(&text, ISSUER, AUDIENCE, NOW).is_ok();
    let identity = CLUSTER_KEYS.verify(&text, ISSUER, AUDIENCE, NOW).is_ok();
    let relay = JOIN_KEYS.verify_relay(&text, POOL, URL, NOW).is_ok();
    assert!(!join && !record && !probe && !identity && !relay, "forged: {text}");
    false
}

fn jwks(data: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return false };
    let given = value["keys"].as_array().map_or(0, Vec::len);
    if let Ok(keys) = ClusterKeys::from_jwks(&value) {
        assert!(keys.len() <= given);
    }
    let Ok(keys) = VerifyKeys::from_jwks(&value) else { return false };
    assert!(keys.len() <= given);
    true
}

/// A query in the first line, then header lines.
fn shown(data: &[u8]) -> bool {
    let mut lines = data.split(|byte| *byte == b'\n');
    let query = lines.next().and_then(|query| std::str::from_utf8(query).ok());
    let mut headers = HeaderMap::new();
    for line in lines.take(LINES) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(line[at + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let selected = credentials::subprotocol(&headers);
    if let Some(selected) = &selected {
        let selected = selected.to_str().expect("text");
        assert!(!selected.starts_with(TOKEN_PROTOCOL_PREFIX), "a token is never told back");
        let own = selected.starts_with(OWN_PROTOCOL_PREFIX);
        assert!(!own || ["convene.v1", "convene.broadcast"].contains(&selected), "{selected}");
    }
    let _ = credentials::mode(selected.as_ref());
    let listed = ["https://app.example.com".to_owned()];
    if credentials::origin_allowed(&headers, &listed) {
        let mut origins = headers.get_all("origin").iter();
        assert!(origins.all(|origin| origin.as_bytes().eq_ignore_ascii_case(listed[0].as_bytes())));
        assert!(headers.get_all("origin").iter().count() <= 1);
    }
    let token = credentials::token(&headers, query);
    assert!(token.is_none_or(|token| !token.is_empty()));
    token.is_some()
}
