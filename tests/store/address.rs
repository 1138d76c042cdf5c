//! How a lobby reaches its Redis: the files of a mounted Secret, which may change while it runs; TLS with the user's own
//! authority; a user that may do no more than the lobby must.

use std::path::Path;

use convene::lobby::store::{Files, Unusable, Via};
use convene::lobby::store::{Links, Redis, Settings, Store as _};
use convene::wire::stats::RelayStats;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::failing::{granted, up};
use crate::server::{Server, free_port};
use crate::values::{Connected, LIMITS, eventually, link, linked};

/// As the documents say it (`examples/redis`): what a lobby needs of the server, and nothing dangerous.
const RIGHTS: &str = "~{*}:* resetchannels -@all +@read +@write +@scripting +@connection -@dangerous +info +time";

/// A lobby's life in short: a relay links up, a session gets a seat and is found.
pub(crate) async fn works(at: &Connected) {
    let (first, mut orders, _) = link(1, "boot");
    linked(&at.store, up("a", 1, 3, &[]), first).await.expect("there");
    granted(at, "s", "a").await.expect("room");
    let order = tokio::time::timeout(std::time::Duration::from_secs(20), orders.recv()).await;
    assert_eq!(order.expect("in time").expect("an order").session, "s");
    at.store.load(Via { pod_uid: "a", link: 1 }, RelayStats::default().into()).await.expect("there");
    at.store.opened(Via { pod_uid: "a", link: 1 }, "s", 1).await.expect("there");
    at.store.refresh().await.expect("there");
    at.store.page(None, 10).await.expect("there");
    at.store.sweep().await.expect("there");
    at.store.close("s").await.expect("there");
}

pub(crate) async fn ask(url: &str, words: &[&str]) -> redis::RedisResult<redis::Value> {
    let mut connection = redis::Client::open(url).expect("a URL").get_multiplexed_async_connection().await?;
    redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
}

#[tokio::test]
async fn a_user_with_the_documented_rights_suffices_and_another_password_is_taken_while_it_runs() {
    let server = Server::start().await;
    let user = |password: &str| {
        let line = format!("ACL SETUSER lobby reset on >{password} {RIGHTS}");
        line.split(' ').map(str::to_owned).collect::<Vec<String>>()
    };
    let set = async |password: &str| {
        let line = user(password);
        server.command(&line.iter().map(String::as_str).collect::<Vec<_>>()).await;
    };
    set("first").await;
    let url = |password: &str| format!("redis://lobby:{password}@127.0.0.1:{}", server.port);
    let lobby = Connected::to(url("first"), "x", LIMITS, None).await;
    works(&lobby).await;
    assert!(ask(&url("first"), &["FLUSHALL"]).await.is_err() && ask(&url("first"), &["KEYS", "*"]).await.is_err());

    // First the server has another password and sends everybody away, then the files say it.
    set("second").await;
    server.command(&["CLIENT", "KILL", "USER", "lobby"]).await;
    eventually("it is away", async || lobby.store.is_away()).await;
    lobby.change("url", &url("second"));
    eventually("it is there again", async || !lobby.store.is_away()).await;
    works(&lobby).await;
}

#[tokio::test]
async fn a_lobby_follows_its_files_to_another_server_and_broken_ones_change_nothing() {
    let (one, two) = (Server::start().await, Server::start().await);
    let lobby = Connected::to(one.url(), "x", LIMITS, None).await;
    works(&lobby).await;
    let at_two = async || ask(&two.url(), &["EXISTS", "{x}:inc"]).await.expect("an answer") == redis::Value::Int(1);
    for broken in ["", "no URL", "http://127.0.0.1"] {
        lobby.change("url", broken);
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert!(!lobby.store.is_away() && !at_two().await, "{broken:?}: a broken file is no reason to leave");
    }
    lobby.change("url", &two.url());
    eventually("it asks the other server", at_two).await;
    eventually("it is there again", async || !lobby.store.is_away()).await;
    works(&lobby).await;
}

/// An authority of a test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Settings of a server that speaks TLS with a certificate of this authority.
    fn settings(&self, folder: &Path, port: u16) -> Vec<String> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        let written = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let (certificate, key) = (written("tls.crt", certificate.pem()), written("tls.key", key.serialize_pem()));
        let settings = ["--tls-port", &port.to_string(), "--tls-auth-clients", "no", "--tls-cert-file", &certificate]
            .map(str::to_owned);
        settings.into_iter().chain(["--tls-key-file".to_owned(), key]).collect()
    }
}

#[tokio::test]
async fn tls_needs_an_authority_that_the_server_is_of() {
    let (authority, stranger, folder, port) =
        (Authority::new(), Authority::new(), tempfile::tempdir().expect("a folder"), free_port());
    let _server = Server::start_with(&authority.settings(folder.path(), port)).await;
    let url = format!("rediss://127.0.0.1:{port}");
    let lobby = Connected::begin(url, Some(&stranger.0.pem()), "x", LIMITS, None).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(lobby.store.is_away(), "a stranger's server");
    // Beside the stranger, and while it runs.
    lobby.change("ca.crt", &format!("{}{}", stranger.0.pem(), authority.0.pem()));
    eventually("the store is there", async || !lobby.store.is_away()).await;
    works(&lobby).await;
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_said_without_what_is_in_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = Files { url: folder.path().join("url"), ca: folder.path().join("ca.crt") };
    let settings = Settings { files: files.clone(), prefix: "x".to_owned(), time: None };
    let told = async || Redis::new(&settings, LIMITS, Links::default()).await.expect_err("it is broken");
    let (url, ca) = (files.url.display().to_string(), files.ca.display().to_string());
    assert!(matches!(told().await, Unusable::File(path, _) if path == url));
    let authority = Authority::new().0.pem();
    let table = [
        ("redis//user:secret@host", "", Unusable::NoUrl(url.clone())),
        ("redis://user:secret@host:6379", &authority, Unusable::NoTls(ca.clone())),
        ("rediss://user:secret@host:6379", "no certificate", Unusable::NoAuthority(ca.clone())),
        (
            "rediss://user:secret@host:6379",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            Unusable::NoAuthority(ca.clone()),
        ),
    ];
    for (text, authorities, expected) in table {
        std::fs::write(&files.url, text).expect("written");
        std::fs::write(&files.ca, authorities).expect("written");
        let error = told().await;
        assert_eq!(error, expected);
        assert!(!format!("{error} {error:?} {settings:?}").contains("secret"));
    }
}
