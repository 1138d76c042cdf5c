//! The control ports of a real lobby and a real relay: with their files, they tell the operator and nobody else.

use std::net::SocketAddr;
use std::path::Path;

use convene::process::control::Args;
use convene::wire::control::OPERATOR;
use convene::wire::stats::EVENTS_PATH;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity};

use crate::relay::Seat;
use crate::world::{Cluster, Running, pool, table};
use crate::{PLACES, linked};

/// Puts into a folder what a port needs; certificate and key of somebody of this name, and by whom they are signed.
fn certify(folder: &Path, name: &str) -> (Identity, Certificate) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    let sign = |name: &str, purpose: ExtendedKeyUsagePurpose| {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &issuer).expect("signed").pem(), key.serialize_pem())
    };
    let (certificate, key) = sign("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    for (name, text) in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", issuer.pem())] {
        std::fs::write(folder.join(name), text).expect("written");
    }
    let (certificate, key) = sign(name, ExtendedKeyUsagePurpose::ClientAuth);
    let identity = Identity::from_pem(format!("{certificate}{key}").as_bytes()).expect("PEM");
    (identity, Certificate::from_pem(issuer.pem().as_bytes()).expect("PEM"))
}

/// What a stream begins with.
async fn told(client: &Client, port: SocketAddr) -> Result<String, reqwest::Error> {
    let mut answer = client.get(format!("https://localhost:{}{EVENTS_PATH}", port.port())).send().await?;
    let piece = answer.chunk().await?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&piece).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn lobby_and_relay_tell_the_operator_and_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (identity, root) = certify(folder.path(), OPERATOR);
    let file = |name: &str| Some(folder.path().join(name));
    let cluster = Cluster::new();
    let (region, latitude, longitude) = PLACES[0];
    let seat = Seat::reserve(&format!("{region}-0"));
    let mut entry = pool(region, latitude, longitude, 1, 1);
    entry.relays[0].url = seat.url();
    let change = |args: &mut convene::lobby::Args| {
        let listen = args.control.listen;
        args.control =
            Args { listen, certificate: file("tls.crt"), key: file("tls.key"), authorities: file("ca.crt") };
    };
    let lobby = Running::start_with(&table(&cluster, vec![entry]), change).await;
    let more = [("cert", "tls.crt"), ("key", "tls.key"), ("ca", "ca.crt")]
        .map(|(option, name)| format!("--control-{option}={}", folder.path().join(name).display()));
    let jwks = lobby.jwks().await;
    let relay = seat.start_with(&lobby.url(""), &cluster, &jwks, 1, &more);
    linked(&lobby, 1).await;

    let trusting = || Client::builder().tls_certs_only([root.clone()]);
    let operator = trusting().identity(identity).build().expect("a client");
    let somebody = certify(tempfile::tempdir().expect("a folder").path(), OPERATOR).0;
    let others = [trusting().build(), trusting().identity(somebody).build()].map(|client| client.expect("a client"));
    for (port, event) in [(lobby.control, "event: store"), (relay.control, "event: load")] {
        assert!(told(&operator, port).await.expect("told").contains(event), "{event}");
        for other in &others {
            assert!(told(other, port).await.is_err(), "somebody else is told: {event}");
        }
        assert!(reqwest::get(format!("http://{port}{EVENTS_PATH}")).await.is_err(), "told in the clear: {event}");
    }
    lobby.stop().await;
}
