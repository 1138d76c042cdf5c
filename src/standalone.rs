//! `convene standalone`: a lobby and one relay in one process, with keys made for this run, to try the client without
//! Kubernetes. Listens where it is told, which is loopback unless somebody means more; keeps nothing.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::decide::token::{SigningKey, pkcs8_pem};
use crate::process::{clock, secret};
use crate::wire::routing::Routing;
use crate::wire::table::{ClusterIssuer, PoolEntry, RelayEntry, RelayTable};
use crate::{lobby, relay};

/// The one relay's name, and its pool's.
const POOL: &str = "standalone";
const RELAY: &str = "standalone-0";
/// Who signs the relay's identity: stands for a cluster.
const ISSUER: &str = "https://standalone.invalid";
/// Seats of the relay.
const CAPACITY: u32 = 100;
/// Life of the relay's identity, which is longer than anybody tries something out.
const IDENTITY_SECONDS: i64 = 10 * 365 * 86_400;

/// Arguments of `convene standalone`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Address of the lobby. The relay takes any free port of the same address.
    #[arg(long, env = "CONVENE_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[derive(clap::Parser)]
struct Lobby {
    #[command(flatten)]
    args: lobby::Args,
}

#[derive(clap::Parser)]
struct Relay {
    #[command(flatten)]
    args: relay::Args,
}

/// Serves until `shutdown`.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let address = args.listen;
    let public = TcpListener::bind(address).await;
    let public =
        public.with_context(|| format!("--listen: cannot listen on {address}; give another, such as 127.0.0.1:0"))?;
    // Many parts are in it, so it is large.
    Box::pin(serve(public, shutdown, |url| {
        let text = format!("lobby and relay run until Ctrl-C; in other terminals:\n\n  export CONVENE_LOBBY={url}\n  convene share 127.0.0.1:8000\n\n");
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }))
    .await
}

/// Serves on a socket that is already bound; `ready` gets the lobby's URL.
pub async fn serve(public: TcpListener, shutdown: CancellationToken, ready: impl FnOnce(&str)) -> anyhow::Result<()> {
    let address = public.local_addr()?;
    let url = format!("http://{address}");
    let relays = relay::Listeners {
        public: TcpListener::bind((address.ip(), 0)).await?,
        health: any_port().await?,
        control: any_port().await?,
    };
    let relay_url = format!("ws://{}", relays.public.local_addr()?);
    let (lobby_uid, pod_uid) = (secret::random_id(), secret::random_id());
    // Readable by this user only.
    let folder = tempfile::tempdir().context("make a folder for the keys of this run")?;
    write_keys(folder.path(), &lobby_uid, &pod_uid, &url, &relay_url)?;
    let path = |name: &str| folder.path().join(name).into_os_string();
    let listeners = lobby::Listeners { public, health: any_port().await?, control: any_port().await?, link: None };
    // As `--name=value`: a random id may begin with a dash.
    let option = |name: &str, value: &OsStr| {
        let mut option = OsString::from(format!("--{name}="));
        option.push(value);
        option
    };
    let lobby_args = Lobby::try_parse_from([
        "lobby".into(),
        option("keys-dir", &path("")),
        option("table-file", &path("relays.json")),
    ])?;
    let relay_args = Relay::try_parse_from([
        "relay".into(),
        option("lobby-url", url.as_ref()),
        option("lobby-uid", lobby_uid.as_ref()),
        option("pod-uid", pod_uid.as_ref()),
        option("capacity", CAPACITY.to_string().as_ref()),
        option("drain-seconds", "0".as_ref()),
        option("identity-file", &path("identity")),
        option("jwks-file", &path("jwks.json")),
    ])?;
    ready(&url);
    let (lobby, relay) = tokio::join!(
        lobby::serve(lobby_args.args, listeners, shutdown.clone()),
        relay::serve(relay::Config::from(relay_args.args), relays, shutdown.clone()),
    );
    lobby.and(relay)
}

async fn any_port() -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

/// What a cluster would give lobby and relay as files.
fn write_keys(folder: &Path, lobby_uid: &str, pod_uid: &str, url: &str, relay_url: &str) -> anyhow::Result<()> {
    let make = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).context("make a key");
    let signing = pkcs8_pem(&make()?)?;
    let jwks = SigningKey::from_pem(&signing)?.jwks();
    let cluster = make()?;
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).with_context(|| format!("write {name} for this run"))
    };
    write("signing-key.pem", &signing)?;
    write("admin-token", &secret::random_secret())?;
    write("jwks.json", &jwks.to_string())?;
    write("identity", &identity(&cluster, lobby_uid, pod_uid)?)?;
    let entry = RelayEntry {
        name: RELAY.to_owned(),
        pod_uid: pod_uid.to_owned(),
        url: relay_url.to_owned(),
        capacity: CAPACITY,
        cordoned: false,
        leaving: false,
    };
    let pool = PoolEntry {
        namespace: POOL.to_owned(),
        name: POOL.to_owned(),
        region: POOL.to_owned(),
        latitude: 0.0,
        longitude: 0.0,
        relays: vec![entry],
    };
    let issuer = ClusterIssuer { issuer: ISSUER.to_owned(), jwks: public_keys(&cluster) };
    let table = RelayTable {
        lobby_uid: lobby_uid.to_owned(),
        url: url.to_owned(),
        cluster: issuer,
        keys: None,
        remote: vec![],
        routing: Routing::default(),
        pools: vec![pool],
    };
    write("relays.json", &serde_json::to_string(&table)?)
}

fn public_keys(key: &EcdsaKeyPair) -> Value {
    // The point, uncompressed: a byte that says so, x, y.
    let point = key.public_key().as_ref();
    let coordinate = |range| point.get(range).map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": POOL, "x": coordinate(1..33), "y": coordinate(33..65),
    }]})
}

/// The relay's identity, in the form of a service-account token.
fn identity(key: &EcdsaKeyPair, lobby_uid: &str, pod_uid: &str) -> anyhow::Result<String> {
    let now = clock::unix_seconds();
    let claims = json!({
        "iss": ISSUER, "sub": format!("system:serviceaccount:{POOL}:relay"), "aud": [lobby_uid],
        "iat": now, "nbf": now, "exp": now + IDENTITY_SECONDS,
        "kubernetes.io": {
            "namespace": POOL, "pod": {"name": RELAY, "uid": pod_uid},
            "serviceaccount": {"name": "relay", "uid": POOL},
        },
    });
    let header = Header { kid: Some(POOL.to_owned()), ..Header::new(Algorithm::ES256) };
    let key = EncodingKey::from_ec_pem(pkcs8_pem(key)?.as_bytes())?;
    Ok(jsonwebtoken::encode(&header, &claims, &key)?)
}
