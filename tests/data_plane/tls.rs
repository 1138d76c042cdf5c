//! Lobby and relays by TLS: the link at its own port under its own authority, and the ports for clients under another.

use std::net::SocketAddr;
use std::path::Path;

use clap::Parser as _;
use convene::lobby::LinkArgs;
use convene::process::http::PublicArgs;
use convene::process::tls;
use convene::router;
use convene::wire::regions::RegionLoad;
use convene::wire::session::{Connect, SessionCreated};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::StatusCode;
use serde_json::json;
use tokio::net::{TcpListener, UdpSocket};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{Connector, connect_async_tls_with_config};
use tokio_util::sync::CancellationToken;

use crate::relay::{Pod, Seat};
use crate::world::{Cluster, Running, eventually, pool, table, uid};
use crate::{PLACES, Socket, connect, create, heard, join, linked, reserved};

const CAPACITY: u32 = 10;

/// Signs certificates for `localhost`.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// One whose own certificate stands in `ca.crt` of a folder.
    fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        std::fs::write(folder.join("ca.crt"), issuer.pem()).expect("written");
        Self(issuer)
    }

    /// Puts a new pair into the folder that is good to the end of a year.
    fn pair(&self, folder: &Path, year: i32) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.0).expect("signed");
        for (name, text) in [("tls.crt", signed.pem()), ("tls.key", key.serialize_pem())] {
            std::fs::write(folder.join("new"), text).expect("written");
            std::fs::rename(folder.join("new"), folder.join(name)).expect("renamed");
        }
    }
}

fn link(folder: &Path, listen: SocketAddr) -> LinkArgs {
    let file = |name| Some(folder.join(name));
    LinkArgs { listen, certificate: file("tls.crt"), key: file("tls.key") }
}

fn public(folder: &Path) -> tls::Args {
    tls::Args { tls_cert: Some(folder.join("tls.crt")), tls_key: Some(folder.join("tls.key")) }
}

/// A relay that dials the lobby's link port and trusts the authority in the folder.
fn start(seat: Seat, lobby: &Running, cluster: &Cluster, folder: &Path, more: &[String]) -> Pod {
    let url = format!("https://localhost:{}", lobby.link.port());
    let trusted = format!("--lobby-ca={}", folder.join("ca.crt").display());
    let more: Vec<String> = std::iter::once(trusted).chain(more.iter().cloned()).collect();
    // It learns the lobby's keys by the link.
    seat.start_with(&url, cluster, r#"{"keys": []}"#, CAPACITY, &more)
}

async fn link_ends(lobby: &Running) -> Option<i64> {
    let metrics = lobby.metrics().await;
    let line = r#"convene_tls_certificate_end_seconds{port="link"} "#;
    metrics.lines().find_map(|text| text.strip_prefix(line)?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_link_at_a_port_of_their_own_and_those_of_before_at_the_public_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let cluster = Cluster::new();
    let (mut seats, pools) = reserved(&PLACES[..2], CAPACITY);
    // The certificate is not there yet: the lobby serves all the same.
    let change = |args: &mut convene::lobby::Args| args.link = link(folder.path(), args.link.listen);
    let lobby = Running::start_with(&table(&cluster, pools), change).await;
    assert_eq!(link_ends(&lobby).await, Some(0));
    let jwks = lobby.jwks().await;
    let (before, now) = (seats.pop().expect("two"), seats.pop().expect("two"));
    let address: SocketAddr = now.url().trim_start_matches("ws://").parse().expect("an address");
    let _before = before.start(&lobby, &cluster, &jwks, CAPACITY);
    let mut pod = start(now, &lobby, &cluster, folder.path(), &[]);
    linked(&lobby, 1).await;
    authority.pair(folder.path(), 2090);
    linked(&lobby, 2).await;

    let created = create(&lobby, PLACES[0].0).await;
    let mut host = connect(&created.connect).await.expect("connected");
    let mut guest = connect(&join(&lobby, &created).await.expect("a pass").connect).await.expect("connected");
    heard(&mut host, &mut guest, "by a relay that is linked by TLS").await;

    // Nothing but the link is served there, and what routers ask.
    let root = reqwest::Certificate::from_pem(&std::fs::read(folder.path().join("ca.crt")).expect("read"));
    let client = reqwest::Client::builder().tls_certs_only([root.expect("a certificate")]).build().expect("a client");
    for (path, status) in [
        ("/v1/sessions", StatusCode::NOT_FOUND),
        ("/v1/jwks.json", StatusCode::NOT_FOUND),
        ("/v1/regions", StatusCode::OK),
        ("/v1/relay-link", StatusCode::UNAUTHORIZED),
    ] {
        let answer = client.get(format!("https://localhost:{}{path}", lobby.link.port())).send().await;
        assert_eq!(answer.expect("an answer").status(), status, "{path}");
    }

    // Renewed: links that stand stay, and new ones are made under it.
    let first = link_ends(&lobby).await;
    authority.pair(folder.path(), 2091);
    eventually("the new certificate is taken", async || link_ends(&lobby).await > first).await;
    linked(&lobby, 2).await;
    heard(&mut guest, &mut host, "still here").await;
    pod.kill();
    linked(&lobby, 1).await;
    let lost = [(0, vec![uid(&format!("{}-0", PLACES[0].0))]), (1, vec![])];
    eventually("routers are told of which relay nothing is heard", async || {
        let answer = client.get(format!("https://localhost:{}/v1/regions", lobby.link.port())).send().await;
        let Ok(regions) = answer.expect("an answer").json::<Vec<RegionLoad>>().await else { return false };
        regions.into_iter().map(|region| (region.relays, region.not_heard)).eq(lost.clone())
    })
    .await;
    let seat = Seat::reserve_at(&format!("{}-0", PLACES[0].0), address).await;
    let _again = start(seat, &lobby, &cluster, folder.path(), &[]);
    linked(&lobby, 2).await;
    lobby.stop().await;
}

#[derive(Debug, clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: router::Args,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_hears_at_the_port_of_the_link_which_regions_serve() {
    let folder = tempfile::tempdir().expect("a folder");
    Authority::new(folder.path()).pair(folder.path(), 2090);
    let cluster = Cluster::new();
    let (mut seats, pools) = reserved(&PLACES[..2], CAPACITY);
    let change = |args: &mut convene::lobby::Args| args.link = link(folder.path(), args.link.listen);
    let lobby = Running::start_with(&table(&cluster, pools), change).await;
    let port = |seat: &Seat| seat.url().rsplit(':').next().expect("a port").to_owned();
    let (second, first) = (seats.pop().expect("two"), seats.pop().expect("two"));
    let (first_port, second_port) = (port(&first), port(&second));
    // Before all have linked up, routers are told nothing.
    let mut pods = [first, second].map(|seat| start(seat, &lobby, &cluster, folder.path(), &[]));
    linked(&lobby, 2).await;

    let any = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let tcp = any().await;
    let dns = tcp.local_addr().expect("an address").port().to_string();
    // Asked by TCP alone: any port will do for the other.
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let listeners = router::Listeners { udp: vec![udp], tcp: vec![tcp], public: any().await, health: any().await };
    let args = Cli::try_parse_from([
        "router".to_owned(),
        "--zone=relays.example.com".to_owned(),
        "--nameservers=ns1.example.net".to_owned(),
        format!("--table-file={}", lobby.table_file().display()),
        format!("--lobby-url=https://localhost:{}", lobby.link.port()),
        format!("--lobby-ca={}", folder.path().join("ca.crt").display()),
    ]);
    let stop = CancellationToken::new();
    let task = tokio::spawn(router::serve(args.expect("arguments").args, listeners, stop.clone()));
    let best = async || {
        let mut command = tokio::process::Command::new("dig");
        command.args([
            "-r",
            "@127.0.0.1",
            "-p",
            &dns,
            "+tcp",
            "+short",
            "+tries=1",
            "_ws._tcp.relays.example.com",
            "SRV",
        ]);
        let output = command.output().await.expect("dig runs: install it with hack/setup.sh");
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let best = answer.lines().find_map(|line| line.strip_prefix("10 0 ")).unwrap_or_default();
        best.split(' ').next().unwrap_or_default().to_owned()
    };
    eventually("of two that serve, the declared order counts", async || best().await == first_port).await;
    pods[0].kill();
    eventually("the region that serves is first", async || best().await == second_port).await;
    pods[1].kill();
    eventually("where none serves, the declared order counts", async || best().await == first_port).await;
    stop.cancel();
    task.await.expect("it ends").expect("well");
    lobby.stop().await;
}

async fn secure(pass: &Connect, ca: &Path) -> Socket {
    let mut request = pass.url.as_str().into_client_request().expect("a URL");
    request.headers_mut().insert("authorization", format!("Bearer {}", pass.token).parse().expect("a header"));
    let connector = Connector::Rustls(tls::client(ca).await.expect("an authority"));
    connect_async_tls_with_config(request, None, false, Some(connector)).await.expect("let in").0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_where_everything_is_by_tls() {
    let (ours, theirs) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for folder in [&ours, &theirs] {
        Authority::new(folder.path()).pair(folder.path(), 2090);
    }
    let cluster = Cluster::new();
    let (region, latitude, longitude) = PLACES[0];
    let seat = Seat::reserve(&format!("{region}-0"));
    let mut entry = pool(region, latitude, longitude, 1, CAPACITY);
    entry.relays[0].url = seat.url().replace("ws://127.0.0.1", "wss://localhost");
    let change = |args: &mut convene::lobby::Args| {
        args.public = PublicArgs { tls: public(theirs.path()), ..PublicArgs::default() };
        args.link = link(ours.path(), args.link.listen);
    };
    let lobby = Running::start_with(&table(&cluster, vec![entry]), change).await;
    let file = |option: &str, name: &str| format!("--{option}={}", theirs.path().join(name).display());
    let certificate = [file("tls-cert", "tls.crt"), file("tls-key", "tls.key")];
    let _pod = start(seat, &lobby, &cluster, ours.path(), &certificate);
    linked(&lobby, 1).await;

    let ca = theirs.path().join("ca.crt");
    let root = reqwest::Certificate::from_pem(&std::fs::read(&ca).expect("read")).expect("a certificate");
    let client = reqwest::Client::builder().tls_certs_only([root]).build().expect("a client");
    let url = format!("https://localhost:{}/v1/sessions", lobby.address.port());
    let created: SessionCreated =
        client.post(&url).json(&json!({})).send().await.expect("an answer").json().await.expect("a session");
    assert!(created.connect.url.starts_with("wss://localhost:"), "{}", created.connect.url);
    assert!(created.join_link.starts_with("https://localhost:"), "{}", created.join_link);
    let body = json!({"joinKey": created.join_key});
    let answer = client.post(format!("{url}/{}/join", created.session.id)).json(&body).send().await;
    let joined: convene::wire::session::Joined = answer.expect("an answer").json().await.expect("a pass");
    let (mut host, mut guest) = (secure(&created.connect, &ca).await, secure(&joined.connect, &ca).await);
    heard(&mut host, &mut guest, "by TLS").await;
    lobby.stop().await;
}
