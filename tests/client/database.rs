//! psql through the client: a session of PostgreSQL's own protocol, over a wire that breaks under it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use convene::client::{Approve, Event};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};

use crate::scene::{Guest, World, in_time};
use crate::streams::server;
use crate::world::eventually;

const ROWS: usize = 40_000;

/// Debian keeps each version's programs in a folder of its own.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("postgresql, which hack/setup.sh installs");
    let mut folders: Vec<PathBuf> = versions.map(|version| version.expect("listed").path().join("bin")).collect();
    folders.retain(|folder| folder.join("initdb").exists());
    folders.sort();
    folders.pop().expect("a version of postgresql with its server")
}

/// A program of PostgreSQL, which refuses to run as root.
fn program(name: &str) -> Command {
    let path = programs().join(name);
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(path);
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").expect("Linux").uid() == 0
}

/// A server on a socket in `folder`, with no port.
async fn start(folder: &Path) -> (Child, PathBuf) {
    if is_root() {
        assert!(Command::new("chown").arg("postgres").arg(folder).status().await.expect("chown runs").success());
    }
    let data = folder.join("data");
    let mut made = program("initdb");
    made.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]).arg(&data);
    let made = in_time("initdb", made.current_dir(folder).stdout(Stdio::null()).status()).await.expect("it runs");
    assert!(made.success());
    let mut postgres = program("postgres");
    postgres.args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"]).arg(folder).arg("-D").arg(&data);
    let postgres = postgres.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let child = postgres.spawn().expect("it runs");
    let socket = folder.join(".s.PGSQL.5432");
    eventually("the server listens", async || UnixStream::connect(&socket).await.is_ok()).await;
    (child, socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_goes_on_over_a_broken_wire() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut postgres, socket) = start(folder.path()).await;
    let serve = move |mut client: TcpStream| {
        let socket = socket.clone();
        async move {
            let mut behind = UnixStream::connect(socket).await.expect("connected");
            tokio::io::copy_bidirectional(&mut client, &mut behind).await.ok();
        }
    };
    let world = World::new(2).await;
    let host = world.share(server(serve).await.0, Approve::All).await;
    let guest = Guest::join(&host.link);
    let port = guest.port().await.port().to_string();
    let mut psql = Command::new("psql");
    psql.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "postgres",
        "--no-psqlrc",
        "--quiet",
        "--no-align",
        "--tuples-only",
    ]);
    psql.args(["-v", "ON_ERROR_STOP=1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut running = psql.spawn().expect("psql, which hack/setup.sh installs");
    let (mut to, from) = (running.stdin.take().expect("piped"), running.stdout.take().expect("piped"));
    let mut lines = BufReader::new(from).lines();
    let mut next = async || in_time("a line of psql", lines.next_line()).await.expect("read").unwrap_or_default();
    let mut ask = async |what: &str| to.write_all(what.as_bytes()).await.expect("taken");

    ask("create temp table t as select x, md5(x::text) as m from generate_series(1, 40000) x;\n").await;
    ask("select count(*) from t;\n").await;
    assert_eq!(next().await, ROWS.to_string());
    world.wires[0].cut();
    // The temporary table is there only if it is still the same session of the server.
    ask("select x, m from t order by x;\n").await;
    for row in 1..=ROWS {
        let line = next().await;
        let (number, hash) = line.split_once('|').expect("two columns");
        assert_eq!((number, hash.len()), (row.to_string().as_str(), 32), "{line}");
        if row == ROWS / 4 {
            world.wires[0].cut();
        }
    }
    world.partition(0);
    ask("select count(distinct m) from t;\n").await;
    assert_eq!(next().await, ROWS.to_string());
    guest.events.count(1, |event| matches!(event, Event::Connected { relay, .. } if relay == "us-east1-0")).await;
    ask("\\q\n").await;
    assert!(in_time("psql", running.wait()).await.expect("it ran").success());
    guest.stop().await;
    host.stop().await;
    // In order, so that it takes its shared memory along.
    let pid = postgres.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.expect("kill runs").success());
    in_time("the server's end", postgres.wait()).await.expect("it ended");
}
