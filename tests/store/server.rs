//! A Redis server of a test's own: on loopback, on a free port, without persistence, gone with the test.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running server.
pub struct Server {
    pub port: u16,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further settings.
    pub async fn start_with(settings: &[String]) -> Self {
        for _ in 0..20 {
            if let Some(server) = Self::start_so(free_port(), settings).await {
                return server;
            }
        }
        unreachable!("redis-server does not start on any of 20 free ports");
    }

    /// None if the port was taken meanwhile.
    pub async fn start_at(port: u16) -> Option<Self> {
        Self::start_so(port, &[]).await
    }

    async fn start_so(port: u16, settings: &[String]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let port_text = port.to_string();
        let mut child = Command::new("redis-server")
            .args(["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--repl-diskless-sync-delay", "0", "--dir"])
            .arg(folder.path())
            .args(settings)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server runs: install it with hack/setup.sh (Debian's package redis-server)");
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("a URL");
        for _ in 0..500 {
            if child.try_wait().expect("its state").is_some() {
                return None;
            }
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                let answer: redis::RedisResult<String> = redis::cmd("PING").query_async(&mut connection).await;
                if answer.is_ok() {
                    return Some(Self { port, child, _folder: folder });
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("redis-server does not answer on port {port}");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub async fn command(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
        let (name, arguments) = words.split_first().expect("a command");
        redis::cmd(name).arg(arguments).query_async(&mut connection).await.expect("an answer")
    }
}

/// A server with settings that are all given, and data that outlive it.
pub struct Running(Child);

impl Running {
    pub fn start(arguments: &[String]) -> Self {
        let child = Command::new("redis-server").args(arguments).stdout(Stdio::null()).spawn();
        Self(child.expect("redis-server runs: install it with hack/setup.sh (Debian's package redis-server)"))
    }

    /// Ends it as the kubelet does.
    pub fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        assert!(self.0.wait().expect("its end").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
