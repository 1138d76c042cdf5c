//! The certificates of control ports: made, renewed and repaired by the operator with the rights of the chart. This case has
//! a control plane of its own, since the authority is one for an operator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use convene::wire::control::Server;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use serde_json::json;

use crate::support::{eventually, lobby, pool};
use crate::world::{SYSTEM, World, pool_goes, pool_says};

const AUTHORITY: &str = "convene-operator-authority";

/// What the pods of one owner mount.
struct Mounted {
    certificate: String,
    authorities: String,
    key: String,
}

impl Mounted {
    /// As it stands in the cluster; an error while it does not.
    async fn read(world: &World, namespace: &str, config_map: &str, secret: &str) -> Result<Self, String> {
        let map: ConfigMap = world.api(namespace).get(config_map).await.map_err(|error| error.to_string())?;
        let mut data = map.data.unwrap_or_default();
        let mut entry = |key: &str| data.remove(key).ok_or_else(|| format!("{config_map} has no {key}"));
        let (certificate, authorities) = (entry("control.crt")?, entry("control-ca.crt")?);
        let secret: Secret = world.api(namespace).get(secret).await.map_err(|error| error.to_string())?;
        let key = secret.data.unwrap_or_default().remove("tls.key").ok_or("the Secret has no key")?;
        Ok(Self { certificate, authorities, key: String::from_utf8(key.0).map_err(|error| error.to_string())? })
    }

    /// Whether certificate and key belong together, and who trusts these authorities takes them for this server's.
    fn is_good_for(&self, server: &Server, authorities: &str) -> Result<(), String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|error| error.to_string())?;
        CertifiedKey::from_der(vec![der.clone()], key, &provider).map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(authority.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.map_err(|error| error.to_string())?;
        let name = ServerName::try_from(server.host([10, 0, 0, 7].into())).expect("a name");
        let taken = verifier.verify_server_cert(&der, &[], &name, &[], UnixTime::now());
        taken.map(drop).map_err(|error| error.to_string())
    }
}

/// Both owners' pods have what the authority's Secret signs; those authorities.
async fn certified(world: &World, namespace: &str, authorities: usize) -> String {
    eventually(&format!("both are certified, and {authorities} authorities count"), async || {
        let authority: Secret = world.api(SYSTEM).get(AUTHORITY).await.map_err(|error| error.to_string())?;
        let entries = authority.data.unwrap_or_default();
        let certificates = entries.iter().filter(|(name, _)| name.strip_suffix(".crt").is_some());
        let trusted: String = certificates.map(|(_, pem)| String::from_utf8_lossy(&pem.0).into_owned()).collect();
        if entries.len() != 2 * authorities {
            return Err(format!("{:?}", entries.keys()));
        }
        let owners = [
            (Server::lobby(namespace, "demo"), "demo-lobby", "demo-lobby-control"),
            (Server::pool(namespace, "a"), "a-relays", "a-relays-control"),
        ];
        for (server, config_map, secret) in owners {
            let mounted = Mounted::read(world, namespace, config_map, secret).await?;
            if mounted.authorities != trusted {
                return Err(format!("{config_map} has other authorities"));
            }
            mounted.is_good_for(&server, &trusted)?;
        }
        Ok(trusted)
    })
    .await
}

/// An authority that was made so many days ago, as the operator would have.
fn aged(days: u64) -> BTreeMap<String, ByteString> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let begins = now - days * 86_400;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Convene operator");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(begins);
    params.not_after = params.not_before + Duration::from_secs(365 * 86_400);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("signed").pem();
    [("crt", certificate), ("key", key.serialize_pem())]
        .map(|(ending, text)| (format!("{begins}.{ending}"), ByteString(text.into_bytes())))
        .into()
}

fn secret(type_: &str, data: BTreeMap<String, ByteString>) -> Secret {
    let mut secret = Secret { type_: Some(type_.to_owned()), data: Some(data), ..Secret::default() };
    secret.metadata.name = Some(AUTHORITY.to_owned());
    secret
}

pub(crate) async fn one_authority_certifies_all_control_ports_and_is_succeeded_in_time(_shared: &World) {
    let world = World::start().await;
    let namespace = world.namespace("control");
    let own: Api<Secret> = world.api(SYSTEM);
    // One that stands, and whose time for a successor has come.
    own.create(&PostParams::default(), &secret("convene.dev/authority", aged(300))).await.expect("creates");
    let operator = world.operator("first").await;
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({})));
    world.pods_ready(&namespace, 1).await;
    let both = certified(&world, &namespace, 2).await;
    // The new one signs only once everybody knows it.
    let old = both.split_inclusive("-----END CERTIFICATE-----\n").next().expect("one").to_owned();
    let pools = async || Mounted::read(&world, &namespace, "a-relays", "a-relays-control").await.expect("it stands");
    let first = pools().await;
    first.is_good_for(&Server::pool(&namespace, "a"), &old).expect("signed by the one of before");
    assert!(first.is_good_for(&Server::pool(&namespace, "b"), &both).is_err(), "good for another pool");

    // What is broken is repaired; a key that was deleted is made anew.
    let broken = json!({"data": {"control.crt": "broken", "control-ca.crt": ""}});
    let maps: Api<ConfigMap> = world.api(&namespace);
    maps.patch("a-relays", &PatchParams::default(), &Patch::Merge(&broken)).await.expect("patches");
    assert_eq!(certified(&world, &namespace, 2).await, both);
    let secrets: Api<Secret> = world.api(&namespace);
    secrets.delete("a-relays-control", &DeleteParams::default()).await.expect("deletes");
    let touch = json!({"spec": {"replicas": 2}});
    world.pools(&namespace).patch("a", &PatchParams::default(), &Patch::Merge(&touch)).await.expect("patches");
    world.pods_ready(&namespace, 2).await;
    assert_eq!(certified(&world, &namespace, 2).await, both);
    assert_ne!(pools().await.key, first.key);

    // The next operator goes on with it; where there is none, it makes one and certifies everything under it.
    operator.stop().await;
    let operator = world.operator("second").await;
    world.kubectl.create(&namespace, &pool("b", &json!({})));
    pool_says(&world.pools(&namespace), "b", "Accepted", "True/AsPlanned").await;
    assert_eq!(certified(&world, &namespace, 2).await, both);
    operator.stop().await;
    own.delete(AUTHORITY, &DeleteParams::default()).await.expect("deletes");
    let operator = world.operator("third").await;
    let other = certified(&world, &namespace, 1).await;
    assert!(!both.contains(&other));
    operator.stop().await;

    // Somebody else's Secret of that name is not touched, and what stands stays.
    own.delete(AUTHORITY, &DeleteParams::default()).await.expect("deletes");
    let theirs = [("a".to_owned(), ByteString(b"b".to_vec()))];
    let theirs = own.create(&PostParams::default(), &secret("Opaque", theirs.into())).await.expect("creates");
    let operator = world.operator("fourth").await;
    pool_says(&world.pools(&namespace), "a", "Accepted", "False/SecretInvalid").await;
    assert_eq!(own.get(AUTHORITY).await.expect("reads"), theirs);
    assert_eq!(pools().await.authorities, other);
    // What is deleted leaves all the same, and says what is wrong; what needs no order waits for none.
    let pools = world.pools(&namespace);
    pools.delete("a", &DeleteParams::default()).await.expect("deletes");
    pool_says(&pools, "a", "Draining", "True/RelaysLeave").await;
    pool_says(&pools, "a", "Accepted", "False/SecretInvalid").await;
    let now = json!({"spec": {"deletionPolicy": "Now"}});
    pools.patch("a", &PatchParams::default(), &Patch::Merge(&now)).await.expect("patches");
    pool_goes(&pools, "a", 20).await;
    operator.stop().await;
}

pub(crate) async fn of_secrets_in_its_own_namespace_the_operator_has_one(world: &World) {
    let may = |verb: &str, what: &str| {
        let account = format!("--as=system:serviceaccount:{SYSTEM}:convene-operator");
        world.kubectl.attempt(&["-n", SYSTEM, "auth", "can-i", verb, what, &account], None).is_ok()
    };
    let own = format!("secret/{AUTHORITY}");
    for (verb, what, expected) in [
        ("get", own.as_str(), true),
        ("update", &own, true),
        ("create", "secrets", true),
        ("delete", &own, false),
        ("patch", &own, false),
        ("get", "secret/another", false),
        ("update", "secret/another", false),
        ("list", "secrets", false),
        ("watch", "secrets", false),
    ] {
        assert_eq!(may(verb, what), expected, "{verb} {what}");
    }
}
