//! What is taken and what is refused: a table of forgeries, and properties.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::wire::claims::Role;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "lobby-uid";
const RELAY: &str = "pod-uid/boot-id";

struct Pair {
    pair: EcdsaKeyPair,
    key: SigningKey,
}

impl Pair {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let key = SigningKey::from_pem(&pkcs8_pem(&pair).expect("PEM")).expect("our own PEM");
        Self { pair, key }
    }

    /// Any header and payload, signed correctly.
    fn sign(&self, header: &Value, payload: &Value) -> String {
        self.sign_text(&header.to_string(), &payload.to_string())
    }

    fn sign_text(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = self.pair.sign(&random, signed.as_bytes()).expect("signed");
        format!("{signed}.{}", encode(signature.as_ref()))
    }

    fn header(&self) -> Value {
        json!({"typ": JOIN_TYP, "alg": "ES256", "kid": self.key.kid()})
    }
}

static OURS: LazyLock<Pair> = LazyLock::new(Pair::new);
static FOREIGN: LazyLock<Pair> = LazyLock::new(Pair::new);
static KEYS: LazyLock<VerifyKeys> = LazyLock::new(|| VerifyKeys::from_jwks(&OURS.key.jwks()).expect("our own key set"));

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn claims() -> JoinClaims {
    JoinClaims {
        iss: ISSUER.to_owned(),
        aud: RELAY.to_owned(),
        sid: "session".to_owned(),
        epoch: 3,
        sub: "p1".to_owned(),
        role: Role::Host,
        jti: "t1".to_owned(),
        iat: NOW,
        nbf: NOW,
        exp: NOW + JOIN_LIFE_SECONDS,
    }
}

fn payload() -> Value {
    serde_json::to_value(claims()).expect("JSON")
}

fn probe() -> ProbeClaims {
    ProbeClaims { iss: ISSUER.to_owned(), aud: RELAY.to_owned(), iat: NOW, exp: NOW + PROBE_LIFE_SECONDS }
}

fn record() -> RecordClaims {
    RecordClaims {
        iss: ISSUER.to_owned(),
        sid: "session".to_owned(),
        epoch: 3,
        aud: RELAY.to_owned(),
        host_token_hash: "h".to_owned(),
        join_key_hash: "j".to_owned(),
        approval: false,
        iat: NOW,
    }
}

fn verify(token: &str) -> Result<JoinClaims, Refused> {
    KEYS.verify_join(token, ISSUER, RELAY, NOW)
}

/// Our header with one member changed; null takes it away.
fn header_with(name: &str, value: Value) -> String {
    OURS.sign(&changed(OURS.header(), name, value), &payload())
}

/// Our payload with one member changed; null takes it away.
fn payload_with(name: &str, value: Value) -> String {
    OURS.sign(&OURS.header(), &changed(payload(), name, value))
}

fn changed(mut object: Value, name: &str, value: Value) -> Value {
    let members = object.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), value)
    };
    object
}

/// A good token's three parts.
fn parts() -> (String, String, String) {
    let token = OURS.key.sign_join(&claims());
    let mut parts = token.split('.').map(str::to_owned);
    let mut part = || parts.next().expect("three parts");
    (part(), part(), part())
}

#[test]
fn what_is_signed_verifies() {
    assert_eq!(verify(&OURS.key.sign_join(&claims())), Ok(claims()));
    assert_eq!(verify(&OURS.sign(&OURS.header(), &payload())), Ok(claims()), "the forger's own tool works");
    assert_eq!(verify(&payload_with("later", json!("ignored"))), Ok(claims()), "newer versions may say more");
    let signed = OURS.key.sign_record(&record());
    assert_eq!(KEYS.verify_record(&signed, ISSUER, RELAY), Ok(record()));
    assert_eq!(KEYS.verify_record(&signed, "other", RELAY), Err(Refused));
    assert_eq!(KEYS.verify_record(&signed, ISSUER, "other"), Err(Refused));
    assert_eq!(KEYS.verify_record(&OURS.key.sign_join(&claims()), ISSUER, RELAY), Err(Refused));
}

#[test]
fn forged_forms_are_refused() {
    let (header, body, signature) = parts();
    let whole = format!("{header}.{body}.{signature}");
    let table = [
        ("nothing", String::new()),
        ("words", "let me in".to_owned()),
        ("dots", "..".to_owned()),
        ("one part", header.clone()),
        ("two parts", format!("{header}.{body}")),
        ("no signature", format!("{header}.{body}.")),
        ("four parts", format!("{whole}.{signature}")),
        ("five parts, as if encrypted", format!("{whole}..")),
        ("a space before", format!(" {whole}")),
        ("a line after", format!("{whole}\n")),
        ("a zero byte after", format!("{whole}\0")),
        ("padded parts", format!("{header}==.{body}.{signature}")),
        ("a padded signature", format!("{whole}==")),
        ("another alphabet", format!("{header}.{body}.{}", signature.replacen(['-', '_'], "+", 86) + "+")),
        ("with its scheme", format!("Bearer {whole}")),
        ("too long", OURS.sign(&OURS.header(), &changed(payload(), "x", json!("x".repeat(MAX_TOKEN_BYTES))))),
        ("a payload that is not JSON", OURS.sign_text(&OURS.header().to_string(), "sid=session")),
        ("a payload that is a list", OURS.sign(&OURS.header(), &json!([payload()]))),
        ("a header that is not JSON", OURS.sign_text("alg=ES256", &payload().to_string())),
        (
            "a claim twice",
            OURS.sign_text(&OURS.header().to_string(), &payload().to_string().replacen('{', r#"{"aud":"x","#, 1)),
        ),
    ];
    for (name, token) in table {
        assert_eq!(verify(&token), Err(Refused), "{name}");
    }
}

#[test]
fn forged_signatures_and_headers_are_refused() {
    let (header, body, signature) = parts();
    let raw = URL_SAFE_NO_PAD.decode(&signature).expect("base64");
    let signed_as = |bytes: &[u8]| format!("{header}.{body}.{}", encode(bytes));
    let none = encode(changed(OURS.header(), "alg", json!("none")).to_string());
    let foreign_jwk = FOREIGN.key.jwks()["keys"][0].clone();
    let foreign = |name: &str, value: Value| FOREIGN.sign(&changed(OURS.header(), name, value), &payload());
    let table = [
        ("another's key under our id", FOREIGN.sign(&OURS.header(), &payload())),
        ("another's key under its own id", FOREIGN.sign(&FOREIGN.header(), &payload())),
        ("a key that the token brings", foreign("jwk", foreign_jwk)),
        ("a key that the token links", foreign("jku", json!("https://evil.example/jwks.json"))),
        ("a certificate that the token links", foreign("x5u", json!("https://evil.example/cert.pem"))),
        ("no algorithm, no signature", format!("{none}.{body}.")),
        ("no algorithm, a signature", format!("{none}.{body}.{signature}")),
        ("`None`", header_with("alg", json!("None"))),
        ("the algorithm in small letters", header_with("alg", json!("es256"))),
        ("algorithm absent", header_with("alg", Value::Null)),
        ("ES384", header_with("alg", json!("ES384"))),
        ("RS256", header_with("alg", json!("RS256"))),
        ("EdDSA", header_with("alg", json!("EdDSA"))),
        ("HS256 with the public key as secret", hs256_with_public_key()),
        ("type absent", header_with("typ", Value::Null)),
        ("type JWT", header_with("typ", json!("JWT"))),
        ("type in capitals", header_with("typ", json!(JOIN_TYP.to_uppercase()))),
        ("a record's type", header_with("typ", json!(RECORD_TYP))),
        ("a record", OURS.key.sign_record(&record())),
        ("to measure with", OURS.key.sign_probe(&probe())),
        ("key id absent", header_with("kid", Value::Null)),
        ("key id empty", header_with("kid", json!(""))),
        ("key id unknown", header_with("kid", json!("unknown"))),
        ("key id as a path", header_with("kid", json!("../../../../dev/null"))),
        ("key id as SQL", header_with("kid", json!("' UNION SELECT 'key"))),
        ("key id a number", header_with("kid", json!(1))),
        ("signature of zeros", signed_as(&[0; 64])),
        ("signature too short", signed_as(&raw[..63])),
        ("signature too long", signed_as(&[raw.as_slice(), &[0]].concat())),
        ("signature of r alone", signed_as(&raw[..32])),
        ("r and s swapped", signed_as(&[&raw[32..], &raw[..32]].concat())),
        ("signature as DER", signed_as(&der(&raw))),
        ("another token's signature", {
            let other = OURS.key.sign_join(&JoinClaims { jti: "t2".to_owned(), ..claims() });
            format!("{header}.{body}.{}", other.rsplit('.').next().expect("three parts"))
        }),
    ];
    for (name, token) in table {
        assert_eq!(verify(&token), Err(Refused), "{name}");
    }
}

#[test]
fn wrong_claims_are_refused() {
    let text = |text: &str| json!(text);
    let table: &[(&str, Value)] = &[
        ("iss", text("another-lobby")),
        ("iss", text("")),
        ("iss", Value::Null),
        ("aud", text("pod-uid/another-boot")),
        ("aud", text("another-pod/boot-id")),
        ("aud", text("pod-uid")),
        ("aud", json!([RELAY])),
        ("aud", json!([RELAY, "another"])),
        ("aud", Value::Null),
        ("sid", text("")),
        ("sid", Value::Null),
        ("sub", text("")),
        ("sub", Value::Null),
        ("jti", text("")),
        ("jti", json!(1)),
        ("jti", Value::Null),
        ("role", text("admin")),
        ("role", text("Host")),
        ("role", Value::Null),
        ("epoch", json!(-1)),
        ("epoch", text("3")),
        ("epoch", json!(3.5)),
        ("epoch", Value::Null),
        ("exp", json!(NOW)),
        ("exp", json!(NOW - 1)),
        ("exp", json!(NOW + JOIN_LIFE_SECONDS + 1)),
        ("exp", text("1800000060")),
        ("exp", json!(1_800_000_060.5)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(u64::MAX)),
        ("exp", Value::Null),
        ("nbf", json!(NOW + CLOCK_SKEW_SECONDS + 1)),
        ("nbf", text("1800000000")),
        ("nbf", json!(i64::MAX)),
        ("nbf", Value::Null),
        ("iat", json!(NOW + CLOCK_SKEW_SECONDS + 1)),
        ("iat", json!(NOW - 1)),
        ("iat", json!(i64::MIN)),
        ("iat", Value::Null),
    ];
    for (claim, value) in table {
        assert_eq!(verify(&payload_with(claim, value.clone())), Err(Refused), "{claim} = {value}");
    }
}

#[test]
fn relays_of_other_clusters_are_taken_for_their_own_pool_and_lobby_only() {
    const LOBBY: &str = "https://meet.example.com";
    let good = RelayClaims {
        iss: "sydney".to_owned(),
        aud: LOBBY.to_owned(),
        sub: "sydney.uid".to_owned(),
        relay: "sydney-0".to_owned(),
        boot: "boot".to_owned(),
        jti: "t1".to_owned(),
        iat: NOW,
        exp: NOW + RELAY_LIFE_SECONDS,
    };
    let taken = |claims: &RelayClaims, pool: &str, lobby: &str, now: i64| {
        KEYS.verify_relay(&OURS.key.sign_relay(claims), pool, lobby, now).is_ok()
    };
    assert!(taken(&good, "sydney", LOBBY, NOW) && taken(&good, "sydney", LOBBY, NOW + 59));
    assert!(taken(&good, "sydney", LOBBY, NOW - CLOCK_SKEW_SECONDS));
    assert!(!taken(&good, "sydney", LOBBY, NOW + 60) && !taken(&good, "sydney", LOBBY, NOW - 60));
    assert!(!taken(&good, "perth", LOBBY, NOW) && !taken(&good, "sydney", "https://other", NOW));
    let wrong = |change: fn(&mut RelayClaims)| {
        let mut claims = good.clone();
        change(&mut claims);
        !taken(&claims, "sydney", LOBBY, NOW)
    };
    assert!(wrong(|claims| claims.sub = "uid".to_owned()) && wrong(|claims| claims.sub = "sydney.".to_owned()));
    assert!(wrong(|claims| claims.sub = "sydney2.uid".to_owned()) && wrong(|claims| claims.jti.clear()));
    assert!(wrong(|claims| claims.boot.clear()) && wrong(|claims| claims.exp += 1) && wrong(|claims| claims.exp = NOW));
    assert!(wrong(|claims| claims.iat = i64::MIN) && wrong(|claims| claims.exp = i64::MAX));
    // A token for a participant, or a record, of the same key is no proof.
    let join = OURS.key.sign_join(&claims());
    assert!(KEYS.verify_relay(&join, ISSUER, RELAY, NOW).is_err());
    assert!(KEYS.verify_relay(&FOREIGN.key.sign_relay(&good), "sydney", LOBBY, NOW).is_err());
    let nowhere = RelayClaims { aud: String::new(), ..good };
    assert!(!taken(&nowhere, "sydney", "", NOW), "a lobby without a URL is nobody's audience");
}

#[test]
fn clocks_may_differ_a_little_at_the_start_and_not_at_the_end() {
    let token = OURS.key.sign_join(&claims());
    let at = |now| KEYS.verify_join(&token, ISSUER, RELAY, now).is_ok();
    assert!(!at(NOW - CLOCK_SKEW_SECONDS - 1));
    assert!(at(NOW - CLOCK_SKEW_SECONDS));
    assert!(at(NOW + JOIN_LIFE_SECONDS - 1));
    assert!(!at(NOW + JOIN_LIFE_SECONDS));
}

#[test]
fn a_token_to_measure_with_is_for_one_run_of_one_relay() {
    let token = OURS.key.sign_probe(&probe());
    let verify = |token: &str, issuer, relay| KEYS.verify_probe(token, issuer, relay, NOW);
    assert_eq!(verify(&token, ISSUER, RELAY), Ok(probe()));
    assert_eq!(verify(&token, "another", RELAY), Err(Refused));
    assert_eq!(verify(&token, ISSUER, "pod-uid/another"), Err(Refused));
    assert_eq!(verify(&FOREIGN.key.sign_probe(&probe()), ISSUER, RELAY), Err(Refused));
    for other in [OURS.key.sign_join(&claims()), OURS.key.sign_record(&record())] {
        assert_eq!(verify(&other, ISSUER, RELAY), Err(Refused), "signed for something else");
    }
}

#[test]
fn keys_of_both_ages_verify_while_they_overlap() {
    let both = json!({"keys": [OURS.key.jwks()["keys"][0], FOREIGN.key.jwks()["keys"][0]]});
    let both = VerifyKeys::from_jwks(&both).expect("two keys");
    assert_eq!(both.len(), 2);
    for pair in [&*OURS, &*FOREIGN] {
        assert!(both.verify_join(&pair.key.sign_join(&claims()), ISSUER, RELAY, NOW).is_ok());
    }
    assert_eq!(VerifyKeys::default().verify_join(&OURS.key.sign_join(&claims()), ISSUER, RELAY, NOW), Err(Refused));
}

#[test]
fn broken_key_sets_are_refused_whole() {
    let good = OURS.key.jwks()["keys"][0].clone();
    let set = |name: &str, value: Value| json!({"keys": [good, changed(good.clone(), name, value)]});
    let table = [
        ("not a set", json!([])),
        ("no keys", json!({})),
        ("keys not a list", json!({"keys": {}})),
        ("a key not an object", json!({"keys": ["x"]})),
        ("RSA", set("kty", json!("RSA"))),
        ("P-384", set("crv", json!("P-384"))),
        ("no id", set("kid", Value::Null)),
        ("an empty id", set("kid", json!(""))),
        ("x not base64url", set("x", json!("++++"))),
        ("x too short", set("x", json!("AAAA"))),
        ("no point on the curve", set("x", good["y"].clone())),
    ];
    for (name, jwks) in table {
        assert!(VerifyKeys::from_jwks(&jwks).is_err(), "{name}");
    }
    let p384 = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for bad in ["", "key", p384, &p384.replace("PRIVATE", "EC PRIVATE")] {
        assert_eq!(SigningKey::from_pem(bad).err(), Some(KeyError::Private));
    }
}

#[test]
fn keys_do_not_print_themselves() {
    let secret = pkcs8_pem(&OURS.pair).expect("PEM");
    let printed = format!("{:?} {:?}", OURS.key, *KEYS);
    assert!(printed.contains(OURS.key.kid()));
    assert!(secret.lines().all(|line| !printed.contains(line)));
}

fn hs256_with_public_key() -> String {
    let header = encode(changed(OURS.header(), "alg", json!("HS256")).to_string());
    let signed = format!("{header}.{}", encode(payload().to_string()));
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, OURS.pair.public_key().as_ref());
    format!("{signed}.{}", encode(aws_lc_rs::hmac::sign(&secret, signed.as_bytes())))
}

/// The same signature in the form that TLS uses.
fn der(raw: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        if bytes.first().is_some_and(|first| *first >= 0x80) {
            bytes.insert(0, 0);
        }
        [vec![2, u8::try_from(bytes.len()).expect("short")], bytes].concat()
    };
    let both = [integer(&raw[..32]), integer(&raw[32..])].concat();
    [vec![0x30, u8::try_from(both.len()).expect("short")], both].concat()
}

fn any_claims() -> impl Strategy<Value = JoinClaims> {
    let id = "[a-zA-Z0-9_-]{1,40}";
    (id, id, id, any::<u64>(), any::<bool>(), 1_i64..=JOIN_LIFE_SECONDS).prop_map(
        |(sid, sub, jti, epoch, host, life)| {
            let role = if host { Role::Host } else { Role::Guest };
            JoinClaims { sid, sub, jti, epoch, role, exp: NOW + life, ..claims() }
        },
    )
}

proptest! {
    #[test]
    fn any_good_claims_survive_signing(claims in any_claims()) {
        prop_assert_eq!(verify(&OURS.key.sign_join(&claims)), Ok(claims));
    }

    #[test]
    fn any_changed_byte_is_refused(claims in any_claims(), at in any::<prop::sample::Index>(), by in 1_u8..128) {
        let mut token = OURS.key.sign_join(&claims).into_bytes();
        let at = at.index(token.len());
        token[at] = (token[at] ^ by) & 0x7f;
        let token = String::from_utf8(token).expect("ASCII");
        prop_assert_eq!(verify(&token), Err(Refused));
    }

    #[test]
    fn any_text_is_refused_and_crashes_nothing(text in ".{0,300}", a in "[A-Za-z0-9_-]{0,80}", b in "[A-Za-z0-9_-]{0,80}") {
        prop_assert_eq!(verify(&text), Err(Refused));
        prop_assert_eq!(verify(&format!("{a}.{b}.{a}")), Err(Refused));
    }

    #[test]
    fn any_other_payload_is_refused(name in "[a-z]{1,5}", value in any::<i64>()) {
        let payload = json!({name: value});
        prop_assert_eq!(verify(&OURS.sign(&OURS.header(), &payload)), Err(Refused));
    }

    #[test]
    fn a_token_is_good_exactly_in_its_time(iat in NOW - 200..NOW + 200, nbf in NOW - 200..NOW + 200, life in -5_i64..120) {
        let token = OURS.key.sign_join(&JoinClaims { iat, nbf, exp: iat + life, ..claims() });
        let good = (1..=JOIN_LIFE_SECONDS).contains(&life)
            && NOW < iat + life
            && iat <= NOW + CLOCK_SKEW_SECONDS
            && nbf <= NOW + CLOCK_SKEW_SECONDS;
        prop_assert_eq!(verify(&token).is_ok(), good);
    }

    #[test]
    fn a_token_to_measure_with_is_good_exactly_in_its_time(iat in NOW - 400..NOW + 400, life in -5_i64..400) {
        let token = OURS.key.sign_probe(&ProbeClaims { iat, exp: iat + life, ..probe() });
        let good = (1..=PROBE_LIFE_SECONDS).contains(&life) && NOW < iat + life && iat <= NOW + CLOCK_SKEW_SECONDS;
        prop_assert_eq!(KEYS.verify_probe(&token, ISSUER, RELAY, NOW).is_ok(), good);
    }
}
