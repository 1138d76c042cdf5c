//! The processes as users start them: `convene standalone`, `share` and `join`, with their links, events and exit codes.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use crate::scene::in_time;
use crate::streams::echo;

struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

fn convene(arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convene"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().expect("it runs");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    Process { child, lines }
}

impl Process {
    /// The next event of this name.
    async fn event(&mut self, name: &str) -> Value {
        in_time(name, async {
            loop {
                let line = self.lines.next_line().await.expect("read").expect("more events");
                let event: Value = serde_json::from_str(&line).expect("a JSON object a line");
                if event["event"] == name {
                    return event;
                }
            }
        })
        .await
    }

    async fn write(&mut self, line: &str) {
        self.child.stdin.as_mut().expect("piped").write_all(line.as_bytes()).await.expect("taken");
    }

    async fn code(mut self) -> Option<i32> {
        in_time("the end", self.child.wait()).await.expect("it ran").code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn share_and_join_as_processes() {
    let public = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", public.local_addr().expect("an address"));
    let stop = CancellationToken::new();
    let serve = Box::pin(convene::standalone::serve(public, stop.clone(), |_| {}));
    let standalone = tokio::spawn(async { serve.await.inspect_err(|error| eprintln!("standalone: {error:#}")) });
    let convene::client::Target::Port(target) = echo().await else { unreachable!("a port") };
    let mut host = convene(&["share", "--lobby", &url, "--json", &target]);
    let link = host.event("ready").await["link"].as_str().expect("a link").to_owned();

    let mut refused = convene(&["join", "-", "--json", "--name", "Eve"]);
    refused.write(&format!("{link}\n")).await;
    let asks = host.event("asks").await;
    assert_eq!(asks["name"], "Eve");
    assert_eq!(refused.event("waiting").await["code"], asks["code"]);
    host.write("no JSON\n").await;
    host.write(&format!("{{\"guest\":{},\"allow\":false}}\n", asks["guest"])).await;
    assert_eq!(refused.code().await, Some(3));

    let mut guest = convene(&["join", &link, "--json"]);
    let asks = host.event("asks").await;
    host.write(&format!("{{\"guest\":{},\"allow\":true}}\n", asks["guest"])).await;
    let address = guest.event("listening").await["address"].as_str().expect("an address").to_owned();
    let mut socket = TcpStream::connect(address).await.expect("connected");
    socket.write_all(b"hello").await.expect("sent");
    let mut got = [0; 5];
    in_time("the echo", socket.read_exact(&mut got)).await.expect("received");
    assert_eq!(&got, b"hello");

    let pid = host.child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status().expect("sh").success());
    assert_eq!(host.code().await, Some(0));
    assert_eq!(guest.code().await, Some(5));
    assert_eq!(convene(&["join", "http://127.0.0.1:1/j/x"]).code().await, Some(1));
    assert_eq!(convene(&["share"]).code().await, Some(2));
    stop.cancel();
    in_time("the end", standalone).await.expect("no panic").expect("no error");
}
