//! Real programs through the client: curl and ssh.

use std::path::Path;
use std::process::Stdio;

use aws_lc_rs::digest;
use convene::client::{Approve, Event, Target};
use tokio::process::Command;

use crate::scene::{Guest, World, in_time};
use crate::streams::bytes;

const FEW: usize = 20 * 1000 * 1000;
const MANY: usize = 200 * 1000 * 1000;

#[tokio::test(flavor = "multi_thread")]
async fn curl_downloads_while_the_relay_is_killed() {
    download(FEW).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run it by name"]
async fn curl_downloads_200_mb_while_the_relay_is_killed() {
    download(MANY).await;
}

async fn download(size: usize) {
    let mut world = World::new(2).await;
    let content = axum::body::Bytes::from(bytes(5, size));
    let expected = digest::digest(&digest::SHA256, &content);
    let served = axum::Router::new().route("/file", axum::routing::get(async move || content));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move { axum::serve(listener, served).await });
    let host = world.share(Target::Port(target), Approve::All).await;
    let guest = Guest::join(&host.link);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    let url = format!("http://{}/file", guest.port().await);
    let mut curl = Command::new("curl");
    let curl = curl.args(["--silent", "--show-error", "--fail", "--output"]).arg(&file).arg(&url).kill_on_drop(true);
    let mut running = curl.spawn().expect("curl, which hack/setup.sh installs");
    in_time("half of it", async {
        while std::fs::metadata(&file).map_or(0, |file| file.len()) < size as u64 / 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(world.pods.remove(0));
    assert!(in_time("curl", running.wait()).await.expect("it ran").success());
    let got = std::fs::read(&file).expect("the file");
    assert_eq!(got.len(), size);
    assert_eq!(digest::digest(&digest::SHA256, &got).as_ref(), expected.as_ref());
    guest.events.count(1, |event| matches!(event, Event::Back { .. })).await;
    guest.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_logs_in_and_goes_on_over_a_broken_wire() {
    let sshd = Path::new("/usr/sbin/sshd");
    assert!(sshd.exists(), "openssh-server is missing: hack/setup.sh installs it");
    // Debian's sshd wants it when it runs as root, and its service, which does not run here, would make it.
    std::fs::create_dir_all("/run/sshd").ok();
    let world = World::new(1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    for key in ["host", "user"] {
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]).status();
        assert!(made.await.expect("ssh-keygen runs").success());
    }
    let authorized = std::fs::read(path("user.pub")).expect("a key");
    std::fs::write(path("authorized"), authorized).expect("written");
    let settings = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n",
        path("host"),
        path("authorized"),
    );
    std::fs::write(path("settings"), settings).expect("written");
    // One process for each connection, as inetd would run it: no port of its own, nothing to wait for.
    let settings = path("settings");
    let serve = move |socket: tokio::net::TcpStream| {
        let settings = settings.clone();
        async move {
            let mut sshd = Command::new("/usr/sbin/sshd");
            let sshd = sshd.args(["-i", "-e", "-f", &settings]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = sshd.stderr(Stdio::null()).kill_on_drop(true).spawn().expect("sshd runs");
            let (mut to, mut from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
            let (mut from_client, mut to_client) = socket.into_split();
            tokio::select! {
                _ = tokio::io::copy(&mut from_client, &mut to) => {}
                _ = tokio::io::copy(&mut from, &mut to_client) => {}
            }
        }
    };
    let host = world.share(crate::streams::server(serve).await.0, Approve::All).await;
    let guest = Guest::join(&host.link);
    let port = guest.port().await.port().to_string();
    let mut ssh = Command::new("ssh");
    ssh.args(["-p", &port, "-i", &path("user"), "-F", "none", "-o", "BatchMode=yes"]);
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", &format!("UserKnownHostsFile={}", path("known"))]);
    // It says something, waits for a line, and says more.
    ssh.args(["127.0.0.1", "echo ready; read line; echo \"got $line\"; head -c 1000000 /dev/zero | wc -c"]);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut running = ssh.spawn().expect("ssh runs");
    let (mut to, from) = (running.stdin.take().expect("piped"), running.stdout.take().expect("piped"));
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(from));
    let mut next = async || in_time("a line of ssh", lines.next_line()).await.expect("read").unwrap_or_default();
    assert_eq!(next().await, "ready");
    world.wires[0].cut();
    tokio::io::AsyncWriteExt::write_all(&mut to, b"over a new wire\n").await.expect("sent");
    assert_eq!(next().await, "got over a new wire");
    assert_eq!(next().await, "1000000");
    assert!(in_time("ssh", running.wait()).await.expect("it ran").success());
    guest.stop().await;
    host.stop().await;
}
