//! share and join over https and wss, under a private authority: with it, and not without.

use std::path::{Path, PathBuf};
use std::time::Duration;

use convene::client::{Approve, Ending};
use convene::process::http::PublicArgs;
use convene::process::tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::measuring;
use crate::relay::Seat;
use crate::scene::{Guest, Host, in_time};
use crate::streams::{bytes, echo};
use crate::world::{Cluster, Running, eventually, pool, table};

/// Writes a new authority, and a pair for `localhost` that it signed; the authority's file.
fn write_pair(folder: &Path) -> PathBuf {
    let mut params = CertificateParams::new([]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let signed = params.signed_by(&key, &authority).expect("signed");
    let ca = folder.join("ca.pem");
    for (path, text) in [
        (&ca, authority.pem()),
        (&folder.join("tls.crt"), signed.pem()),
        (&folder.join("tls.key"), key.serialize_pem()),
    ] {
        std::fs::write(path, text).expect("written");
    }
    ca
}

#[tokio::test(flavor = "multi_thread")]
async fn share_and_join_over_tls_with_a_private_authority() {
    let (ours, others) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (ca, another) = (write_pair(ours.path()), write_pair(others.path()));
    let (certificate, key) = (ours.path().join("tls.crt"), ours.path().join("tls.key"));
    let cluster = Cluster::new();
    let relay = Seat::reserve("eu-west-1-0");
    let mut entry = pool("eu-west-1", 53.35, -6.26, 1, 10);
    entry.relays[0].url = relay.url().replace("ws://127.0.0.1", "wss://localhost");
    let files = tls::Args { tls_cert: Some(certificate.clone()), tls_key: Some(key.clone()) };
    let mut table = table(&cluster, vec![entry]);
    // The lobby's port is not known yet; the links that it makes are checked for their scheme below.
    table.url = String::new();
    let change = |args: &mut convene::lobby::Args| args.public = PublicArgs { tls: files, ..PublicArgs::default() };
    let lobby = Running::start_with(&table, change).await;
    let trusted = reqwest::Certificate::from_pem(&std::fs::read(&ca).expect("read")).expect("a certificate");
    let http = reqwest::Client::builder().tls_certs_only([trusted]).build().expect("a client");
    let url = format!("https://localhost:{}", lobby.address.port());
    let keys = http.get(format!("{url}/v1/jwks.json")).send().await.expect("trusted").text().await.expect("keys");
    let more = ["--tls-cert", certificate.to_str().expect("UTF-8"), "--tls-key", key.to_str().expect("UTF-8")];
    let more = [more.as_slice(), &["--lobby-ca", ca.to_str().expect("UTF-8")]].concat();
    let more: Vec<String> = more.into_iter().map(str::to_owned).collect();
    let _pod = relay.start_with(&url, &cluster, &keys, 10, &more);
    eventually("the relay is linked", async || lobby.metrics().await.contains("convene_lobby_relays_linked 1")).await;

    let short = Duration::from_secs(1);
    for untrusted in [None, Some(another.clone())] {
        let host = Host::share(&url, untrusted, echo().await, Approve::All, short);
        let Err(Ending::GaveUp(why)) = host.await else { unreachable!("no session") };
        assert!(why.contains("certificate"), "{why}");
    }
    let (measured, printed, _) = measuring::command(&[&url, "--ca", ca.to_str().expect("UTF-8")]).await;
    assert!(measured && printed.contains("\neu-west-1 ") && !printed.contains("no answer"), "{printed}");
    let host = Host::share(&url, Some(ca.clone()), echo().await, Approve::All, Duration::from_secs(60));
    let host = host.await.expect("shared");
    assert!(host.link.starts_with(&format!("{url}/j/")), "{}", host.link);
    let stranger = Guest::trusting(&host.link, Some(another), short);
    let Ending::GaveUp(why) = stranger.ended().await else { unreachable!("gave up") };
    assert!(why.contains("certificate"), "{why}");
    let guest = Guest::trusting(&host.link, Some(ca), Duration::from_secs(60));
    let mut socket = guest.dial().await;
    let sent = bytes(6, 300_000);
    let (mut from, mut to) = socket.split();
    let mut got = vec![0; sent.len()];
    let (write, read) =
        in_time("the echo", async { tokio::join!(to.write_all(&sent), from.read_exact(&mut got)) }).await;
    assert!(write.is_ok() && read.is_ok() && got == sent);
    guest.stop().await;
    host.stop().await;
}
