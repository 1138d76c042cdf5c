//! Downloads from a real server on loopback: new, unchanged, packed, broken, too slow to be told, and by TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap as Headers, StatusCode as Code};
use axum::response::{IntoResponse as _, Response as Answered};

use super::super::tests::mmdb::Style;
use super::super::tests::{PARIS, of_paris_and_tokyo};
use super::super::{GeoIp, Located};
use super::*;

/// What the server says next, and the questions that it was asked.
#[derive(Clone, Debug, Default)]
struct Server(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    body: Vec<u8>,
    etag: Option<&'static str>,
    status: Option<Code>,
    asked: Vec<Option<String>>,
}

impl Server {
    async fn start() -> (Self, SocketAddr) {
        let server = Self::default();
        let router = axum::Router::new().fallback(answer).with_state(server.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, address)
    }

    fn says(&self, body: &[u8], etag: Option<&'static str>, status: Option<Code>) {
        let mut said = self.0.lock().expect("unpoisoned");
        (said.body, said.etag, said.status) = (body.to_vec(), etag, status);
    }

    fn asked(&self) -> Vec<Option<String>> {
        std::mem::take(&mut self.0.lock().expect("unpoisoned").asked)
    }
}

async fn answer(State(Server(said)): State<Server>, headers: Headers) -> Answered {
    let mut said = said.lock().expect("unpoisoned");
    let known = headers.get("if-none-match").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    said.asked.push(known.clone());
    if let Some(status) = said.status {
        return (status, [("location", "http://127.0.0.1:9/elsewhere.mmdb")]).into_response();
    }
    if known.is_some() && known.as_deref() == said.etag {
        return Code::NOT_MODIFIED.into_response();
    }
    let mut answer = said.body.clone().into_response();
    if let Some(etag) = said.etag {
        answer.headers_mut().insert("etag", etag.parse().expect("a value"));
    }
    answer
}

fn remote(address: SocketAddr, folder: &Path) -> Remote {
    Remote::new(format!("http://{address}/places.mmdb").parse().expect("a URL"), folder, Reading::default())
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
    let mut packed = Vec::new();
    encoder.read_to_end(&mut packed).expect("packed");
    packed
}

/// How a question ended, of a process whose file serves if it is there.
async fn outcome(remote: &Remote) -> Result<Fetched, &'static str> {
    remote.fetch(None, remote.file.exists()).await.map_err(|failed| failed.outcome)
}

#[tokio::test]
async fn what_has_changed_is_fetched_and_nothing_else_replaces_it() {
    let (server, address) = Server::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let remote = remote(address, folder.path());
    let (nested, flat) = (of_paris_and_tokyo(Style::Nested), of_paris_and_tokyo(Style::Flat));
    let held = || std::fs::read(&remote.file).expect("a file");

    server.says(&nested, Some("\"1\""), None);
    assert_eq!(outcome(&remote).await, Ok(Fetched::New));
    assert_eq!(held(), nested);
    assert_eq!(outcome(&remote).await, Ok(Fetched::Unchanged));
    assert_eq!(server.asked(), [None, Some("\"1\"".to_owned())]);

    server.says(&packed(&flat), Some("\"2\""), None);
    assert_eq!(outcome(&remote).await, Ok(Fetched::New));
    assert_eq!(held(), flat, "unpacked");

    let mut torn = packed(&nested);
    torn.truncate(torn.len() / 2);
    let country = of_paris_and_tokyo(Style::Country);
    for (body, status, expected) in [
        (&nested[..nested.len() / 2], None, "broken"),
        (&torn, None, "broken"),
        (&country, None, "no_places"),
        (&nested, Some(Code::NOT_FOUND), "refused"),
        (&nested, Some(Code::FOUND), "refused"),
    ] {
        server.says(body, Some("\"3\""), status);
        assert_eq!(outcome(&remote).await, Err(expected));
        assert_eq!(held(), flat, "after {expected}");
    }
    server.asked();
    server.says(&nested, None, None);
    assert_eq!(outcome(&remote).await, Ok(Fetched::New));
    assert_eq!(server.asked(), [Some("\"2\"".to_owned())], "what was refused is not taken for what is there");
    assert_eq!(outcome(&remote).await, Ok(Fetched::New));
    assert_eq!(server.asked(), [None], "nothing is known of what the server said nothing of");
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).expect("listed").collect();
    left.retain(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.path().with_extension("") == remote.file.with_extension(""))
    });
    assert_eq!(left.len(), 2, "the database, what was said of it, and no parts of downloads: {left:?}");
}

#[tokio::test]
async fn a_redirect_names_where_it_leads_and_a_lost_file_is_fetched_again() {
    let (server, address) = Server::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let remote = remote(address, folder.path());
    server.says(b"", None, Some(Code::FOUND));
    let why = remote.fetch(None, false).await.expect_err("refused").why.to_string();
    assert!(why.contains("leads to http://127.0.0.1:9/elsewhere.mmdb"), "{why}");

    let database = of_paris_and_tokyo(Style::Nested);
    server.says(&database, Some("\"1\""), None);
    assert_eq!(outcome(&remote).await, Ok(Fetched::New));
    std::fs::remove_file(&remote.file).expect("removed");
    assert_eq!(outcome(&remote).await, Ok(Fetched::New));
    // Torn on its disk: the server need not have another one.
    std::fs::write(&remote.file, "").expect("written");
    assert_eq!(remote.fetch(None, false).await.map_err(|failed| failed.outcome), Ok(Fetched::New));
    assert!(std::fs::read(&remote.file).expect("a file") == database);

    let nowhere = Remote::new(remote.url.clone(), &folder.path().join("missing"), Reading::default());
    assert_eq!(outcome(&nowhere).await, Err("unwritable"));
}

#[tokio::test]
async fn a_process_serves_what_it_has_fetched_and_the_next_one_too_while_the_server_is_away() {
    let (server, address) = Server::start().await;
    server.says(&of_paris_and_tokyo(Style::Nested), Some("\"1\""), None);
    let folder = tempfile::tempdir().expect("a folder");
    let start = |port: u16| {
        let url = format!("http://127.0.0.1:{port}/places.mmdb").parse().expect("a URL");
        let download = Args {
            geoip_url: vec![url],
            geoip_folder: Some(folder.path().to_owned()),
            geoip_every_hours: 24,
            geoip_ca: None,
        };
        let args = super::super::Args { download, geoip_max_age_days: 365, ..super::super::Args::default() };
        let mut catalogue = Catalogue::new();
        (GeoIp::new(&args, super::super::Metrics::new(&mut catalogue)), catalogue)
    };
    let client = "203.0.113.77".parse().expect("an address");
    let located = async |geoip: &GeoIp| {
        while !matches!(geoip.locate(client), Located::At(point) if (point.latitude, point.longitude) == PARIS) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let stop = tokio_util::sync::CancellationToken::new();
    let (first, catalogue) = start(address.port());
    assert_eq!(first.locate(client), Located::NoDatabase, "nobody waits for it");
    tokio::select! {
        () = first.follow(&stop) => unreachable!("it goes on"),
        () = located(&first) => {}
    }
    let text = crate::process::metrics::encode(&catalogue.registry()).expect("text");
    assert!(text.contains("convene_geoip_downloads_total{outcome=\"new\"} 1"), "{text}");
    assert!(text.contains(&format!("convene_geoip_serving{{file=\"http://{address}/places.mmdb\"}} 1")), "{text}");

    // A machine that lost its power, and left an empty file of which it was said what the server has.
    let files = std::fs::read_dir(folder.path()).expect("listed").flatten().map(|entry| entry.path());
    let file = files.into_iter().find(|path| path.extension() == Some("mmdb".as_ref())).expect("it was downloaded");
    std::fs::write(&file, "").expect("written");
    server.asked();
    let (torn, _) = start(address.port());
    tokio::select! {
        () = torn.follow(&stop) => unreachable!("it goes on"),
        () = located(&torn) => {}
    }
    assert_eq!(server.asked(), [None]);

    server.says(b"", None, Some(Code::SERVICE_UNAVAILABLE));
    let (second, _) = start(address.port());
    tokio::select! {
        () = second.follow(&stop) => unreachable!("it goes on"),
        () = located(&second) => {}
    }
    stop.cancel();
    second.follow(&stop).await;
}

#[tokio::test]
async fn a_server_is_believed_by_its_authority_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let ca = folder.path().join("ca.crt");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let body = of_paris_and_tokyo(Style::Nested);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (acceptor, body) = (acceptor.clone(), body.clone());
            tokio::spawn(async move {
                let stream = hyper_util::rt::TokioIo::new(acceptor.accept(stream).await.ok()?);
                let router = axum::Router::new().fallback(async || body);
                let service = hyper_util::service::TowerToHyperService::new(router);
                hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await.ok()
            });
        }
    });
    let url = format!("https://localhost:{port}/places.mmdb").parse().expect("a URL");
    let remote = Remote::new(url, folder.path(), Reading::default());
    let fetch = async || remote.fetch(Some(&ca), true).await.map_err(|failed| failed.outcome);
    // The authority may be named before it is there.
    assert_eq!(fetch().await, Err("unreachable"));
    std::fs::write(&ca, "no certificate").expect("written");
    assert_eq!(fetch().await, Err("unreachable"));
    std::fs::write(&ca, made.cert.pem()).expect("written");
    assert_eq!(fetch().await, Ok(Fetched::New));
}

#[test]
fn what_is_packed_is_bounded_by_what_comes_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let bomb = folder.path().join("bomb");
    // A thousand times as large as its file.
    let zeros = std::io::repeat(0).take(MAX_FILE_BYTES + 1024);
    let mut encoder = flate2::read::GzEncoder::new(zeros, flate2::Compression::fast());
    std::io::copy(&mut encoder, &mut File::create(&bomb).expect("a file")).expect("packed");
    assert!(std::fs::metadata(&bomb).expect("there").len() < MAX_FILE_BYTES / 100);
    let file = folder.path().join("places.mmdb");
    let placed = place(&bomb, &file, &Version::default(), &Reading::default());
    assert_eq!(placed.map_err(|failed| failed.outcome), Err("too_large"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("listed").flatten().map(|entry| entry.path()).collect();
    assert_eq!(left, [bomb], "nothing of it is left");
}
