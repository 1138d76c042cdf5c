//! Forged and odd tokens: every one gets the same answer, byte for byte, and is counted; none is let in.

use std::collections::BTreeMap;

use convene::process::clock;
use convene::wire::claims::{JoinClaims, RECORD_TYP, audience};
use convene::wire::link::FromLobby;
use serde_json::{Value, json};

use crate::forge::{Pair, changed, encode, es384};
use crate::site::{HOME, Site};
use crate::support::{POD_UID, until};

/// What is wrong with it, the reason that must be counted, the token, and the session for which it is shown.
type Row = (String, &'static str, String, &'static str);

#[tokio::test]
async fn every_forged_token_gets_the_same_refusal_and_none_is_let_in() {
    let ours = Pair::new();
    let mut site = Site::start(&[]).await;
    // The relay's own key is one that this test can forge with.
    std::fs::write(site.folder.path().join("jwks.json"), ours.key.jwks().to_string()).expect("written");
    let mut table = Vec::new();
    until("the new keys", async || {
        let token = ours.key.sign_join(&site.claims("probe"));
        site.answer_head(HOME, "/s/probe", &[format!("Authorization: Bearer {token}")])
            .await
            .starts_with("HTTP/1.1 101")
    })
    .await;
    let good = serde_json::to_value(site.claims("s")).expect("JSON");
    table.extend(forms(&ours, &good));
    table.extend(headers(&ours, &good));
    table.extend(claims(&ours, &good));
    table.extend(of_others(&mut site, &ours).await);
    assert!(table.len() >= 40, "{} rows", table.len());
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, reason, token, session) in &table {
        let before = site.refused(reason).await;
        let line = format!("Authorization: Bearer {token}");
        let answer = site.answer(HOME, &format!("/s/{session}"), &[line]).await;
        answers.entry(answer).or_default().push(name.clone());
        assert_eq!(site.refused(reason).await, before + 1, "{name}: counted as {reason}");
    }
    // The same from the other two places of a token, where it can stand there at all.
    for (name, _, token, session) in table.iter().filter(|row| row.2.bytes().all(|byte| byte.is_ascii_graphic())) {
        let offer = format!("Sec-WebSocket-Protocol: convene.broadcast, convene.token.{token}");
        for (path, lines) in [(format!("/s/{session}?token={token}"), vec![]), (format!("/s/{session}"), vec![offer])] {
            let answer = site.answer(HOME, &path, &lines).await;
            answers.entry(answer).or_default().push(format!("{name}, elsewhere"));
        }
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    let answer = answers.into_keys().next().expect("one");
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\n"), "{answer}");
    assert_eq!(site.metric("convene_relay_participants").await, 0, "nobody was let in");
    let token = ours.sign(&ours.header(), &changed(good, "jti", json!("the good one")));
    let head = site.answer_head(HOME, "/s/s", &[format!("Authorization: Bearer {token}")]).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "the forger's tool makes good tokens too: {head}");
}

fn forms(ours: &Pair, good: &Value) -> Vec<Row> {
    let whole = ours.sign(&ours.header(), good);
    let parts: Vec<&str> = whole.split('.').collect();
    let (header, body, signature) = (parts[0], parts[1], parts[2]);
    let text = good.to_string();
    let twice = |name: &str, value: &str| {
        ours.sign_text(&ours.header().to_string(), &text.replacen('{', &format!("{{\"{name}\":{value},"), 1))
    };
    let rows = [
        ("words", "let-me-in".to_owned()),
        ("dots", "..".to_owned()),
        ("two parts", format!("{header}.{body}")),
        ("no signature", format!("{header}.{body}.")),
        ("four parts", format!("{whole}.{signature}")),
        ("five parts", format!("{whole}..")),
        ("padded header", format!("{header}==.{body}.{signature}")),
        ("padded signature", format!("{whole}==")),
        ("standard base64", format!("{header}.{body}.{}++", &signature[..signature.len() - 2])),
        ("cut signature", format!("{header}.{body}.{}", &signature[..signature.len() - 4])),
        ("changed payload", format!("{header}.{}.{signature}", encode(text.replace("guest", "host")))),
        ("oversized", ours.sign(&ours.header(), &changed(good.clone(), "x", json!("x".repeat(4000))))),
        ("unicode", "eyJ\u{e9}.\u{1f600}.\u{4e2d}".to_owned()),
        ("payload is a list", ours.sign(&ours.header(), &json!([good]))),
        ("payload is no JSON", ours.sign_text(&ours.header().to_string(), "sid=s")),
        ("header is no JSON", ours.sign_text("alg=ES256", &text)),
        ("header with a BOM", ours.sign_text(&format!("\u{feff}{}", ours.header()), &text)),
        ("audience twice", twice("aud", "\"x\"")),
        ("session twice", twice("sid", "\"s\"")),
        ("end twice", twice("exp", "9999999999")),
        ("deeply nested", ours.sign_text(&ours.header().to_string(), &("[".repeat(1000) + &"]".repeat(1000)))),
    ];
    // What is no text is no bearer.
    let reason = |name: &str| if name == "unicode" { "no_token" } else { "bad_token" };
    rows.map(|(name, token)| (name.to_owned(), reason(name), token, "s")).into()
}

fn headers(ours: &Pair, good: &Value) -> Vec<Row> {
    let foreign = Pair::new();
    let with = |name: &str, value: Value| ours.sign(&changed(ours.header(), name, value), good);
    let forged = |name: &str, value: Value| foreign.sign(&changed(ours.header(), name, value), good);
    let none = |word: &str| {
        let header = encode(changed(ours.header(), "alg", json!(word)).to_string());
        format!("{header}.{}.", encode(good.to_string()))
    };
    let mut rows = vec![
        ("alg none", none("none")),
        ("alg None", none("None")),
        ("alg nOnE, signed", with("alg", json!("nOnE"))),
        ("alg absent", with("alg", Value::Null)),
        ("alg a list", with("alg", json!(["ES256"]))),
        ("alg ES384, key of ours", with("alg", json!("ES384"))),
        ("alg ES384, on P-384", es384(&changed(ours.header(), "alg", json!("ES384")), good)),
        ("alg ES256, on P-384", es384(&ours.header(), good)),
        ("alg ES256K", with("alg", json!("ES256K"))),
        ("alg RS256", with("alg", json!("RS256"))),
        ("alg EdDSA", with("alg", json!("EdDSA"))),
        ("kid absent", with("kid", Value::Null)),
        ("kid unknown", with("kid", json!("unknown"))),
        ("kid a path", with("kid", json!("../../../../../dev/null"))),
        ("kid SQL", with("kid", json!("x' UNION SELECT 'key'--"))),
        ("kid a command", with("kid", json!("|/bin/true"))),
        ("kid with a zero byte", with("kid", json!(format!("{}\u{0}", ours.key.kid())))),
        ("kid a list", with("kid", json!([ours.key.kid()]))),
        ("typ absent", with("typ", Value::Null)),
        ("typ JWT", with("typ", json!("JWT"))),
        ("typ of a record", with("typ", json!(RECORD_TYP))),
        ("another's key under our id", foreign.sign(&ours.header(), good)),
        ("another's key under its own id", foreign.sign(&foreign.header(), good)),
        ("jwk in the header", forged("jwk", foreign.key.jwks()["keys"][0].clone())),
        ("jku in the header", forged("jku", json!("https://evil.example/jwks.json"))),
        ("x5u in the header", forged("x5u", json!("https://evil.example/cert.pem"))),
        ("x5c in the header", forged("x5c", json!(["MIIB"]))),
    ];
    rows.extend(ours.hs256(good).into_iter().map(|token| ("HS256 with the public key", token)));
    rows.into_iter().map(|(name, token)| (name.to_owned(), "bad_token", token, "s")).collect()
}

fn claims(ours: &Pair, good: &Value) -> Vec<Row> {
    let now = clock::unix_seconds();
    let aud = good["aud"].clone();
    let table: Vec<(&str, Value)> = vec![
        ("exp", json!((now + 30).to_string())),
        ("exp", json!(1e300)),
        ("exp", json!(-1)),
        ("exp", json!(now - 1)),
        ("exp", json!(now + 86_400)),
        ("exp", json!(u64::MAX)),
        ("exp", Value::Null),
        ("nbf", json!(now.to_string())),
        ("nbf", json!(now + 600)),
        ("nbf", json!(1.5)),
        ("nbf", Value::Null),
        ("iat", json!(now + 600)),
        ("iat", json!(-1)),
        ("iat", json!({})),
        ("iat", Value::Null),
        ("aud", json!([aud])),
        ("aud", json!("*")),
        ("aud", json!(format!("{POD_UID}/"))),
        ("aud", Value::Null),
        ("iss", json!("another-lobby")),
        ("iss", Value::Null),
        ("sid", json!(["s"])),
        ("sid", json!("")),
        ("sid", Value::Null),
        ("sub", Value::Null),
        ("role", json!("admin")),
        ("role", Value::Null),
        ("epoch", json!("1")),
        ("epoch", json!(-1)),
        ("epoch", json!(1.0)),
        ("epoch", Value::Null),
        ("jti", json!("")),
        ("jti", json!(7)),
        ("jti", Value::Null),
    ];
    let row = |(name, value): (&str, Value)| {
        let token = ours.sign(&ours.header(), &changed(good.clone(), name, value.clone()));
        (format!("{name} = {value}"), "bad_token", token, "s")
    };
    table.into_iter().map(row).collect()
}

/// Tokens that are good somewhere else, or were.
async fn of_others(site: &mut Site, ours: &Pair) -> Vec<Row> {
    let good = site.claims("s");
    let sign = |claims: JoinClaims| ours.key.sign_join(&claims);
    let used = sign(site.claims("s"));
    let head = site.answer_head(HOME, "/s/s", &[format!("Authorization: Bearer {used}")]).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    site.lobby.order(&FromLobby::Close { session: "gone".to_owned(), epoch: 3 });
    site.lobby.next(|message| format!("{message:?}").contains("gone")).await;
    until("it has left", async || site.metric("convene_relay_participants").await == 0).await;
    let rows = [
        (
            "another relay's",
            "bad_token",
            sign(JoinClaims { aud: audience("another", &site.boot_id), ..good.clone() }),
            "s",
        ),
        ("another boot's", "bad_token", sign(JoinClaims { aud: audience(POD_UID, "another"), ..good.clone() }), "s"),
        ("another lobby's", "bad_token", sign(JoinClaims { iss: "another".to_owned(), ..good.clone() }), "s"),
        ("another session's", "other_session", sign(good.clone()), "t"),
        ("an old epoch", "stale_epoch", sign(JoinClaims { epoch: 0, ..good.clone() }), "s"),
        ("a closed session's", "stale_epoch", sign(JoinClaims { epoch: 3, ..site.claims("gone") }), "gone"),
        ("used before", "replayed", used, "s"),
    ];
    rows.map(|(name, reason, token, session)| (name.to_owned(), reason, token, session)).into()
}
