//! A real relay in this process, as its pod would run it.

use std::net::{SocketAddr, TcpListener};

use clap::Parser;
use convene::relay::{Args, Config, Listeners, serve};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::world::{Cluster, LOBBY_UID, Running, uid};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// The ports of a relay that does not run yet: its address stands in the table before.
pub(crate) struct Seat {
    name: String,
    public: TcpListener,
}

/// A running relay. It has threads of its own, so that it can be killed as a whole.
pub(crate) struct Pod {
    runtime: Option<Runtime>,
    /// Address of its control port.
    pub(crate) control: SocketAddr,
    _folder: tempfile::TempDir,
}

fn any_port() -> TcpListener {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    listener.set_nonblocking(true).expect("made so");
    listener
}

impl Seat {
    pub(crate) fn reserve(name: &str) -> Self {
        Self { name: name.to_owned(), public: any_port() }
    }

    /// At an address that a killed relay had, as soon as the kernel gives it back.
    pub(crate) async fn reserve_at(name: &str, address: SocketAddr) -> Self {
        let mut bound = None;
        crate::world::eventually("the address is free", async || {
            bound = TcpListener::bind(address).ok();
            bound.is_some()
        })
        .await;
        let public = bound.expect("just bound");
        public.set_nonblocking(true).expect("made so");
        Self { name: name.to_owned(), public }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.public.local_addr().expect("an address"))
    }

    pub(crate) fn start(self, lobby: &Running, cluster: &Cluster, jwks: &str, capacity: u32) -> Pod {
        self.start_with(&lobby.url(""), cluster, jwks, capacity, &[])
    }

    /// As a relay of another cluster: of the pool `pool`, by the key in `folder`, at the address that stands there.
    pub(crate) fn start_remote(self, lobby_url: &str, pool: &str, folder: &std::path::Path, capacity: u32) -> Pod {
        let file = |name: &str| folder.join(name).display().to_string();
        std::fs::write(file("addresses.json"), serde_json::json!({&self.name: self.url()}).to_string())
            .expect("written");
        let arguments = [
            "relay".to_owned(),
            format!("--lobby-url={lobby_url}"),
            format!("--pool-key={}", file("key.pem")),
            format!("--pool-name={pool}"),
            format!("--relay-name={}", self.name),
            format!("--addresses-file={}", file("addresses.json")),
            format!("--jwks-file={}", file("none")),
            format!("--pod-uid={}", uid(&self.name)),
            format!("--capacity={capacity}"),
            "--drain-seconds=0".to_owned(),
        ];
        self.run(Cli::parse_from(arguments).args, tempfile::tempdir().expect("a folder"))
    }

    /// With further arguments, and a lobby at any URL.
    pub(crate) fn start_with(
        self,
        lobby_url: &str,
        cluster: &Cluster,
        jwks: &str,
        capacity: u32,
        more: &[String],
    ) -> Pod {
        let folder = tempfile::tempdir().expect("a folder");
        let (identity, keys) = (folder.path().join("token"), folder.path().join("jwks.json"));
        std::fs::write(&identity, cluster.relay_token(&self.name)).expect("written");
        std::fs::write(&keys, jwks).expect("written");
        let (capacity, pod_uid) = (capacity.to_string(), uid(&self.name));
        let arguments = [
            "relay",
            "--lobby-url",
            lobby_url,
            "--lobby-uid",
            LOBBY_UID,
            "--identity-file",
            identity.to_str().expect("UTF-8"),
            "--jwks-file",
            keys.to_str().expect("UTF-8"),
            "--pod-uid",
            &pod_uid,
            "--capacity",
            &capacity,
            "--drain-seconds",
            "0",
        ];
        let args = Cli::parse_from(arguments.into_iter().chain(more.iter().map(String::as_str))).args;
        self.run(args, folder)
    }

    fn run(self, args: Args, folder: tempfile::TempDir) -> Pod {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (runtime, control_port) = (runtime.expect("a thread"), any_port());
        let control = control_port.local_addr().expect("an address");
        runtime.spawn(async move {
            let tokio = |listener| tokio::net::TcpListener::from_std(listener).expect("registered");
            let listeners =
                Listeners { public: tokio(self.public), health: tokio(any_port()), control: tokio(control_port) };
            serve(Config::from(args), listeners, CancellationToken::new()).await
        });
        Pod { control, runtime: Some(runtime), _folder: folder }
    }
}

impl Pod {
    /// Ends it as SIGKILL would: nothing is said to anybody, and the kernel closes its sockets.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill();
    }
}
