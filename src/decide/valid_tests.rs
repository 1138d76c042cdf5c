//! Tables: every reason for which a spec is not worked with, who is admitted, and in which order.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::decide::fixtures::{self, NamespaceLabels, SIGNING_KEY, at, inputs, published_keys};

/// What is wrong, what the Secret holds, and which key the message names.
type Broken<'a> = (&'a str, Vec<(&'a str, &'a [u8])>, &'a str);

fn validate(lobby: &Lobby, secret: Option<&Secret>, pools: Vec<RelayPool>) -> Result<ValidLobby, Invalid> {
    let labels = [("labelled".to_owned(), [("team".to_owned(), "a".to_owned())].into())].into();
    super::lobby(LobbyInputs { keys: fixtures::key_inputs(secret), pools, ..fixtures::lobby_inputs(lobby, &labels) })
}

fn hub(relay_pools: &Value) -> Lobby {
    fixtures::lobby("here", "hub", json!({"relayPools": relay_pools}))
}

fn secret(owner_uid: &str, entries: &[(&str, &[u8])]) -> Secret {
    let mut secret = Secret::default();
    secret.metadata.name = Some("hub-lobby-keys".to_owned());
    secret.metadata.owner_references =
        Some(vec![OwnerReference { uid: owner_uid.to_owned(), ..OwnerReference::default() }]);
    secret.data = Some(entries.iter().map(|(key, bytes)| ((*key).to_owned(), ByteString(bytes.to_vec()))).collect());
    secret
}

fn reason<T: std::fmt::Debug>(result: Result<T, Invalid>) -> Reason {
    result.expect_err("it is refused").reason
}

#[test]
fn an_object_without_uid_waits() {
    let mut lobby = hub(&json!({}));
    lobby.metadata.uid = None;
    assert_eq!(reason(validate(&lobby, None, vec![])), Reason::Pending);
    let mut pool = fixtures::pool("here", "p", json!({}));
    pool.metadata.uid = None;
    assert_eq!(reason(super::pool(&inputs(&pool, None, None, &NamespaceLabels::new()))), Reason::Pending);
}

#[test]
fn only_a_shared_store_has_several_processes() {
    let of = |spec: Value| {
        let valid = validate(&fixtures::lobby("here", "hub", spec), None, vec![]).expect("valid");
        (valid.stored, valid.replicas)
    };
    let redis = json!({"redis": {"secretRef": {"name": "r"}}});
    let shared = |port| Stored::Redis { secret: "r".to_owned(), port };
    assert_eq!(of(json!({})), (Stored::Memory, 1));
    assert_eq!(of(json!({"replicas": 3, "store": {"memory": {}}})), (Stored::Memory, 1));
    assert_eq!(of(json!({"store": redis})), (shared(6379), 1));
    let elsewhere = json!({"redis": {"secretRef": {"name": "r"}, "port": 7000}});
    assert_eq!(of(json!({"replicas": 3, "store": elsewhere})), (shared(7000), 3));
}

#[test]
fn keys_are_made_once() {
    let lobby = hub(&json!({}));
    let fresh = validate(&lobby, None, vec![]).expect("valid");
    assert_eq!(fresh.new_keys, Some(fixtures::keys()));
    let good = [("signing-key.pem", SIGNING_KEY.as_bytes()), ("admin-token", b"t")];
    let kept = validate(&lobby, Some(&secret("uid-of-hub", &good)), vec![]).expect("valid");
    assert_eq!(kept.new_keys, None);
    let public = |valid: ValidLobby| match valid.tokens {
        Tokens::Own { published, .. } => published.keys,
        Tokens::Given { .. } => vec![],
    };
    assert_eq!((public(kept.clone()).len(), public(kept)), (1, public(fresh)));
}

#[test]
fn further_keys_are_made_in_slots_and_only_what_their_own_map_holds_counts() {
    let lobby = hub(&json!({}));
    let good = [("signing-key.pem", SIGNING_KEY.as_bytes()), ("admin-token", b"t".as_slice())];
    let first = secret("uid-of-hub", &good);
    let of = |slots: Vec<(u8, Option<&str>)>| {
        let slots = slots.into_iter().map(|(slot, owner)| Slot {
            slot,
            holder_uid: "holder".to_owned(),
            secret: owner.map(|owner| {
                let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
                secret(owner, &[("signing-key.pem", pem.as_bytes())])
            }),
        });
        let keys = KeyInputs { slots: slots.collect(), ..fixtures::key_inputs(Some(&first)) };
        let labels = NamespaceLabels::new();
        let valid = super::lobby(LobbyInputs { keys, ..fixtures::lobby_inputs(&lobby, &labels) });
        match valid.expect("valid").tokens {
            Tokens::Own { published, slots, create, .. } => {
                (published.keys.len(), slots.into_iter().collect::<Vec<u8>>(), create.map(|(slot, _)| slot))
            }
            Tokens::Given { .. } => unreachable!("they are its own"),
        }
    };
    assert_eq!(of(vec![]), (1, vec![1], Some(1)));
    assert_eq!(of(vec![(1, Some("holder"))]), (2, vec![1], None));
    // Begun and not ended, or its Secret is an older one that is still on its way out.
    assert_eq!(of(vec![(2, None)]), (1, vec![2], Some(2)));
    assert_eq!(of(vec![(3, Some("holder-of-before"))]), (1, vec![3], Some(3)));
}

#[test]
fn keys_of_the_user_are_named_and_not_read() {
    let lobby = fixtures::lobby("here", "hub", json!({"tokens": {"secretRef": {"name": "mine"}}}));
    let valid = validate(&lobby, None, vec![]).expect("valid");
    assert_eq!(valid.tokens, Tokens::Given { secret: "mine".to_owned() });
}

#[test]
fn a_broken_secret_is_named_and_never_replaced() {
    let key = SIGNING_KEY.as_bytes();
    let other_curve = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key").serialize_pem();
    let renamed = SIGNING_KEY.replace("PRIVATE KEY", "EC PRIVATE KEY");
    let no_base64 = SIGNING_KEY.replace("MIG", "!!!");
    let cut = &SIGNING_KEY[..SIGNING_KEY.len() / 2];
    let table: [Broken<'_>; 11] = [
        ("nothing in it", vec![], "signing-key.pem"),
        ("no signing key", vec![("admin-token", b"t")], "signing-key.pem"),
        ("no admin token", vec![("signing-key.pem", key)], "admin-token"),
        ("empty signing key", vec![("signing-key.pem", b""), ("admin-token", b"t")], "signing-key.pem"),
        ("empty admin token", vec![("signing-key.pem", key), ("admin-token", b"")], "admin-token"),
        ("key is not text", vec![("signing-key.pem", b"\xff\xfe"), ("admin-token", b"t")], "signing-key.pem"),
        ("token is not text", vec![("signing-key.pem", key), ("admin-token", b"\xc3\x28")], "admin-token"),
        ("key is no PEM", vec![("signing-key.pem", b"hello"), ("admin-token", b"t")], "signing-key.pem"),
        ("another tag", vec![("signing-key.pem", renamed.as_bytes()), ("admin-token", b"t")], "signing-key.pem"),
        ("another curve", vec![("signing-key.pem", other_curve.as_bytes()), ("admin-token", b"t")], "signing-key.pem"),
        ("not base64", vec![("signing-key.pem", no_base64.as_bytes()), ("admin-token", b"t")], "signing-key.pem"),
    ];
    for (what, entries, names) in table {
        let refused = validate(&hub(&json!({})), Some(&secret("uid-of-hub", &entries)), vec![]).expect_err(what);
        assert_eq!(refused.reason, Reason::SecretInvalid, "{what}");
        assert!(refused.message.contains("hub-lobby-keys") && refused.message.contains(names), "{what}: {refused}");
        assert!(!refused.message.contains("MIG") && !refused.message.contains("BEGIN"), "{what}: tells the key");
    }
    let cut = [("signing-key.pem", cut.as_bytes()), ("admin-token", b"t".as_slice())];
    assert_eq!(reason(validate(&hub(&json!({})), Some(&secret("uid-of-hub", &cut)), vec![])), Reason::SecretInvalid);
}

#[test]
fn keys_of_the_link_are_made_once_and_a_broken_one_is_named() {
    let lobby = hub(&json!({}));
    let labels = NamespaceLabels::new();
    let with = |secret: Option<&Secret>| {
        super::lobby(LobbyInputs { link: fixtures::link_inputs(secret), ..fixtures::lobby_inputs(&lobby, &labels) })
    };
    assert!(with(None).expect("valid").new_link_keys.is_some());
    let key = SIGNING_KEY.as_bytes();
    let good = secret("uid-of-hub", &[("authority-key.pem", key), ("tls.key", key)]);
    assert_eq!(with(Some(&good)).expect("valid").new_link_keys, None);
    let table: [Broken<'_>; 4] = [
        ("nothing in it", vec![], "authority-key.pem"),
        ("no key of the port", vec![("authority-key.pem", key)], "tls.key"),
        ("no PEM", vec![("authority-key.pem", b"hello"), ("tls.key", key)], "authority-key.pem"),
        ("not text", vec![("authority-key.pem", key), ("tls.key", b"\xff\xfe")], "tls.key"),
    ];
    for (what, entries, names) in table {
        let refused = with(Some(&secret("uid-of-hub", &entries))).expect_err(what);
        assert_eq!(refused.reason, Reason::SecretInvalid, "{what}");
        assert!(refused.message.contains("hub-lobby-link") && refused.message.contains(names), "{what}: {refused}");
    }
    let foreign = secret("uid-of-another", &[("authority-key.pem", key), ("tls.key", key)]);
    assert_eq!(reason(with(Some(&foreign))), Reason::NameConflict);
    let cannot = LinkInputs { certify: &|_| Err("no".to_owned()), ..fixtures::link_inputs(None) };
    let refused = super::lobby(LobbyInputs { link: cannot, ..fixtures::lobby_inputs(&lobby, &labels) });
    assert_eq!(reason(refused), Reason::SecretInvalid);
}

#[test]
fn somebody_elses_secret_is_a_conflict_however_good() {
    let good = [("signing-key.pem", SIGNING_KEY.as_bytes()), ("admin-token", b"t".as_slice())];
    let mut foreign = secret("uid-of-another", &good);
    assert_eq!(reason(validate(&hub(&json!({})), Some(&foreign), vec![])), Reason::NameConflict);
    foreign.metadata.owner_references = None;
    assert_eq!(reason(validate(&hub(&json!({})), Some(&foreign), vec![])), Reason::NameConflict);
}

#[test]
fn a_lobby_admits_by_namespace() {
    let selector = |team: &str| json!({"from": "Selector", "selector": {"matchLabels": {"team": team}}});
    let table = [
        (json!({}), vec!["here"]),
        (json!({"from": "Same"}), vec!["here"]),
        (json!({"from": "All"}), vec!["here", "labelled", "unread"]),
        (selector("a"), vec!["labelled"]),
        (selector("b"), vec![]),
        // Labels that could not be read match nothing, not even a selector that matches all.
        (json!({"from": "Selector", "selector": {}}), vec!["labelled"]),
        // The API server refuses these; if they came past it, nobody is let in.
        (json!({"from": "Selector"}), vec![]),
        (json!({"from": "Selector", "selector": {"matchExpressions": [{"key": "team", "operator": "Near"}]}}), vec![]),
    ];
    for (relay_pools, expected) in table {
        let pools = ["here", "labelled", "unread"].map(|namespace| fixtures::pool(namespace, "p", json!({})));
        let valid = validate(&hub(&relay_pools), None, pools.to_vec()).expect("valid");
        let admitted: Vec<_> = valid.pools.iter().filter_map(kube::ResourceExt::namespace).collect();
        assert_eq!(admitted, expected, "{relay_pools}");
    }
}

#[test]
fn pools_stand_in_order_of_age_and_deleted_ones_until_they_are_gone() {
    let aged = |namespace: &str, name: &str, seconds: i64| {
        let mut pool = fixtures::pool(namespace, name, json!({}));
        pool.metadata.creation_timestamp = Some(Time(at(seconds)));
        pool
    };
    let mut deleted = aged("here", "deleted", 1);
    deleted.metadata.deletion_timestamp = Some(Time(at(50)));
    let mut pools = vec![
        aged("b", "a", 7),
        aged("a", "z", 7),
        deleted,
        aged("a", "b", 7),
        aged("z", "old", 3),
        aged("a", "new", 9),
    ];
    let expected = ["here/deleted", "z/old", "a/b", "a/z", "b/a", "a/new"];
    for _ in 0..pools.len() {
        pools.rotate_left(1);
        let valid = validate(&hub(&json!({"from": "All"})), None, pools.clone()).expect("valid");
        let order: Vec<_> = valid
            .pools
            .iter()
            .map(|pool| format!("{}/{}", pool.namespace().unwrap_or_default(), pool.name_any()))
            .collect();
        assert_eq!(order, expected);
    }
}

#[test]
fn a_pool_needs_a_lobby_that_is_there() {
    let none = NamespaceLabels::new();
    let pool = fixtures::pool("here", "p", json!({}));
    let config = published_keys();
    assert_eq!(reason(super::pool(&inputs(&pool, None, Some(&config), &none))), Reason::LobbyNotFound);
    let mut lobby = hub(&json!({}));
    lobby.metadata.deletion_timestamp = Some(Time(at(50)));
    assert_eq!(reason(super::pool(&inputs(&pool, Some(&lobby), Some(&config), &none))), Reason::LobbyNotFound);
    let elsewhere = json!({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}});
    let refusing = hub(&elsewhere);
    assert_eq!(reason(super::pool(&inputs(&pool, Some(&refusing), Some(&config), &none))), Reason::RefNotPermitted);
}

#[test]
fn a_refusal_across_namespaces_is_the_same_whether_the_lobby_is_there_or_not() {
    let none = NamespaceLabels::new();
    let config = published_keys();
    let spec = json!({"lobbyRef": {"name": "hub", "namespace": "there"}, "region": "nowhere"});
    let pool = fixtures::pool("here", "p", spec);
    let refusal =
        |lobby: Option<&Lobby>| super::pool(&inputs(&pool, lobby, Some(&config), &none)).expect_err("refused");
    let absent = refusal(None);
    assert_eq!(absent.reason, Reason::RefNotPermitted);
    let selector = json!({"relayPools": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}});
    let closed = fixtures::lobby("there", "hub", json!({}));
    let selecting = fixtures::lobby("there", "hub", selector);
    let mut unready = closed.clone();
    unready.status = None;
    let mut leaving = fixtures::lobby("there", "hub", json!({"relayPools": {"from": "All"}}));
    leaving.metadata.deletion_timestamp = Some(Time(at(50)));
    for lobby in [closed, selecting, unready, leaving] {
        assert_eq!(refusal(Some(&lobby)), absent);
    }
}

#[test]
fn a_pool_waits_until_its_lobby_has_published_keys() {
    let none = NamespaceLabels::new();
    let pool = fixtures::pool("here", "p", json!({}));
    let ready = hub(&json!({}));
    let mut silent = ready.clone();
    silent.status = None;
    let mut refused = ready.clone();
    refused.status.as_mut().expect("a status").conditions[0].status = "False".to_owned();
    let of = |entries: &[(&str, &str)]| ConfigMap {
        data: Some(entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()),
        ..ConfigMap::default()
    };
    let published = |text: &str| of(&[(names::JWKS, text), (names::AUTHORITY, "an authority")]);
    let no_keys = r#"{"version": 0, "keys": []}"#;
    let no_curve = r#"{"keys": [{"kty": "RSA", "kid": "a"}]}"#;
    let table = [
        (&silent, Some(published_keys())),
        (&refused, Some(published_keys())),
        (&ready, None),
        (&ready, Some(ConfigMap::default())),
        (&ready, Some(published("not JSON"))),
        (&ready, Some(published("{}"))),
        (&ready, Some(published(no_curve))),
        // An earlier operator wrote it.
        (&ready, Some(of(&[(names::JWKS, no_keys)]))),
        (&ready, Some(of(&[(names::JWKS, no_keys), (names::AUTHORITY, "")]))),
    ];
    for (index, (lobby, config)) in table.iter().enumerate() {
        let result = super::pool(&inputs(&pool, Some(lobby), config.as_ref(), &none));
        assert_eq!(reason(result), Reason::LobbyNotReady, "row {index}");
    }
    super::pool(&inputs(&pool, Some(&ready), Some(&published_keys()), &none)).expect("a ready lobby takes it");
    // A lobby with keys of the user's tells them itself.
    let none_here = published(no_keys);
    super::pool(&inputs(&pool, Some(&ready), Some(&none_here), &none)).expect("a ready lobby takes it");
}

#[test]
fn a_pool_needs_a_place() {
    let (none, lobby, config) = (NamespaceLabels::new(), hub(&json!({})), published_keys());
    let valid = |spec: Value| {
        let pool = fixtures::pool("here", "p", spec);
        super::pool(&inputs(&pool, Some(&lobby), Some(&config), &none))
    };
    let place = |spec: Value| {
        let valid = valid(spec).expect("valid");
        (valid.region, valid.location.latitude)
    };
    let given = json!({"latitude": 1.0, "longitude": 2.0});
    assert_eq!(place(json!({"region": "eu-west-1"})), ("eu-west-1".to_owned(), 53.35));
    assert_eq!(place(json!({"region": "eu-west-1", "location": given})), ("eu-west-1".to_owned(), 1.0));
    assert_eq!(place(json!({"region": "office", "location": given})), ("office".to_owned(), 1.0));
    assert_eq!(place(json!({"region": null, "location": given})), ("p".to_owned(), 1.0));
    let refused = valid(json!({"region": "office"})).expect_err("nobody knows where that is");
    assert!(refused.reason == Reason::UnknownRegion && refused.message.contains("office"), "{refused}");
    assert_eq!(reason(valid(json!({"region": null}))), Reason::UnknownRegion);
}

#[test]
fn the_secret_of_a_redis_of_ones_own_is_made_once_and_never_taken_over() {
    let lobby = fixtures::lobby("here", "hub", json!({"replicas": 3, "store": {"redis": {"managed": {}}}}));
    let owner = lobby.uid().expect("a UID");
    let labels = NamespaceLabels::new();
    let validate = |redis_secret: Option<&Secret>| {
        super::lobby(LobbyInputs { redis_secret, ..fixtures::lobby_inputs(&lobby, &labels) })
    };
    let fresh = validate(None).expect("valid");
    assert_eq!((fresh.replicas, fresh.redis), (3, Some(RedisSecret::New { password: "a-password".to_owned() })));
    let whole: [(&str, &[u8]); 2] = [("url", b"redis://a"), ("redis.conf", b"user default off")];
    let standing = validate(Some(&secret(&owner, &whole))).expect("valid");
    assert_eq!(standing.redis, Some(RedisSecret::Standing { config: "user default off".to_owned() }));
    let refused = |secret: &Secret| validate(Some(secret)).map(|_| ()).expect_err("refused");
    assert_eq!(refused(&secret("another", &whole)).reason, Reason::NameConflict);
    for left in 0..2 {
        let broken = refused(&secret(&owner, &whole[left..=left]));
        assert_eq!(broken.reason, Reason::SecretInvalid);
        assert!(broken.message.contains(&format!("`{}`", whole[1 - left].0)), "{}", broken.message);
    }
}

/// Half of a key that signs nothing outside of tests.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAfHan34jVvv0HYj7GHLrledifzvE
jJw25UK2BdAyoGQhdhpnrmAZwv1Q3k/Rmq4SD9QtBqCbaWVLCPLyJr041g==
-----END PUBLIC KEY-----
";

#[test]
fn pools_of_other_clusters_are_listed_with_their_places_and_keys() {
    let listed = |remote: Value| validate(&hub(&json!({"remote": [remote]})), None, vec![]).map(|valid| valid.remote);
    let place = |remote: Value| {
        let found = listed(remote).expect("valid").remove(0);
        (found.region, found.latitude, found.keys.len())
    };
    let off_the_curve = PUBLIC_KEY.replace("AfHan34", "BfHan34");
    let keys = json!([PUBLIC_KEY]);
    let own = json!({"latitude": 1.0, "longitude": 2.0});
    assert_eq!(
        place(json!({"name": "a", "region": "eu-west-1", "publicKeys": keys})),
        ("eu-west-1".to_owned(), 53.35, 1)
    );
    assert_eq!(place(json!({"name": "a", "location": own, "publicKeys": keys})), ("a".to_owned(), 1.0, 1));
    let both = json!({"name": "a", "region": "eu-west-1", "location": own, "publicKeys": [off_the_curve]});
    assert_eq!(place(both), ("eu-west-1".to_owned(), 1.0, 0), "a key that is none proves nothing");
    assert_eq!(reason(listed(json!({"name": "a", "region": "mars", "publicKeys": keys}))), Reason::UnknownRegion);
}

#[test]
fn a_pool_with_its_lobby_elsewhere_needs_nothing_here_but_its_key() {
    let none = NamespaceLabels::new();
    let spec = |remote: Value| json!({"lobbyRef": {"remote": remote}});
    let remote = json!({"url": "https://meet.example.com:8443", "credentialSecretRef": {"name": "key"}});
    let pool = fixtures::pool("here", "p", spec(remote.clone()));
    let valid = super::pool(&inputs(&pool, None, None, &none)).expect("valid");
    let lobby = |valid: ValidPool| match valid.software {
        Software::Convene { lobby, .. } => lobby,
        Software::Custom(_) => panic!("its relays are Convene's own"),
    };
    let elsewhere = |pool: &str| LobbyOf::Elsewhere {
        url: "https://meet.example.com:8443".to_owned(),
        port: 8443,
        pool: pool.to_owned(),
        credential: "key".to_owned(),
    };
    assert_eq!(lobby(valid), elsewhere("p"));
    let mut named = remote;
    named["poolName"] = json!("other");
    let other = fixtures::pool("here", "p", spec(named));
    assert_eq!(lobby(super::pool(&inputs(&other, None, None, &none)).expect("valid")), elsewhere("other"));
    let missing = PoolInputs { credential_there: false, ..inputs(&pool, None, None, &none) };
    let refused = super::pool(&missing).expect_err("refused");
    assert_eq!(refused.reason, Reason::SecretNotFound);
    assert!(refused.message.contains("Secret key in namespace here"), "{refused}");
}
