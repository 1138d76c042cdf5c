//! Bytes of several guests and connections, and what happens when somebody does not read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use convene::client::{Approve, Ending, Event, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::scene::{Guest, World, in_time};

/// Serves each connection with `serve`.
pub async fn server<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (Target, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    (Target::Port(address.to_string()), address)
}

/// Sends back what comes, and ends when the other side does.
pub async fn echo() -> Target {
    let serve = |mut socket: TcpStream| async move {
        let (mut from, mut to) = socket.split();
        tokio::io::copy(&mut from, &mut to).await.ok();
    };
    server(serve).await.0
}

/// Byte `at` of the stream `seed`.
pub fn byte(seed: usize, at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761).wrapping_add(seed * 7919) >> 7).to_le_bytes()[0]
}

pub fn bytes(seed: usize, count: usize) -> Vec<u8> {
    (0..count).map(|at| byte(seed, at)).collect()
}

/// Sends bytes and its end, and checks that the same come back.
async fn round(socket: TcpStream, stream: usize, count: usize) {
    let (mut from, mut to) = socket.into_split();
    let sent = bytes(stream, count);
    let copy = sent.clone();
    let writing = async move {
        to.write_all(&copy).await.expect("sent");
        to.shutdown().await.expect("ended");
    };
    let mut got = Vec::new();
    let receive = async { from.read_to_end(&mut got).await.expect("received") };
    in_time("a round", async { tokio::join!(writing, receive) }).await;
    assert!(got == sent, "stream {stream}: {} bytes of {}", got.len(), sent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_guests_with_several_connections_each() {
    let world = World::new(1).await;
    let host = world.share(echo().await, Approve::All).await;
    let guests = [Guest::join(&host.link), Guest::join(&host.link)];
    let mut rounds = Vec::new();
    for (index, guest) in guests.iter().enumerate() {
        for connection in 0..6 {
            let socket = guest.dial().await;
            rounds.push(tokio::spawn(round(socket, index * 100 + connection, 300_000 + connection * 1000)));
        }
    }
    for finished in futures::future::join_all(rounds).await {
        finished.expect("every byte came back");
    }
    // Both sides of each connection show one code, and each connection its own.
    let mut codes = Vec::new();
    for guest in &guests {
        codes.push(
            guest.events.find(|event| if let Event::Joined { code } = event { Some(code.clone()) } else { None }).await,
        );
    }
    assert_ne!(codes[0], codes[1]);
    for code in &codes {
        let same = |event: &Event| matches!(event, Event::GuestJoined { code: shown, name, .. } if shown == code && name == "Ada");
        host.events.count(1, same).await;
    }
    for guest in guests {
        assert_eq!(guest.stop().await, Ending::Done("ended".to_owned()));
    }
    host.events.count(2, |event| matches!(event, Event::GuestLeft { why: "it left", .. })).await;
    assert_eq!(host.stop().await, Ending::Done("ended".to_owned()));
    world.lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_direction_can_end_before_the_other() {
    let world = World::new(1).await;
    // Answers only once it has seen the end.
    let serve = |mut socket: TcpStream| async move {
        let mut got = Vec::new();
        socket.read_to_end(&mut got).await.expect("received");
        socket.write_all(format!("{} bytes", got.len()).as_bytes()).await.expect("sent");
    };
    let host = world.share(server(serve).await.0, Approve::All).await;
    let guest = Guest::join(&host.link);
    let mut socket = guest.dial().await;
    socket.write_all(&bytes(1, 100_000)).await.expect("sent");
    socket.shutdown().await.expect("ended");
    let mut answer = String::new();
    in_time("the answer", socket.read_to_string(&mut answer)).await.expect("an answer");
    assert_eq!(answer, "100000 bytes");
    guest.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_stops_its_sender_and_nobody_else() {
    const ALL: usize = 24 * 1024 * 1024;
    let world = World::new(1).await;
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let serve = move |mut socket: TcpStream| {
        let count = Arc::clone(&count);
        async move {
            let mut first = [0];
            socket.read_exact(&mut first).await.expect("a request");
            if first[0] == b'e' {
                socket.write_all(b"echo").await.expect("sent");
                return;
            }
            for start in (0..ALL).step_by(65536) {
                let piece: Vec<u8> = (start..start + 65536).map(|at| byte(9, at)).collect();
                if socket.write_all(&piece).await.is_err() {
                    return;
                }
                count.fetch_add(piece.len(), Ordering::Relaxed);
            }
        }
    };
    let host = world.share(server(serve).await.0, Approve::All).await;
    let guest = Guest::join(&host.link);
    let mut slow = guest.dial().await;
    slow.write_all(b"a").await.expect("asked");
    // The sender stands still once all buffers on the way are full.
    let mut before = usize::MAX;
    crate::world::eventually("the sender stops", async || {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let now = written.load(Ordering::Relaxed);
        std::mem::replace(&mut before, now) == now && now > 0
    })
    .await;
    assert!(before < ALL, "it was not stopped: {before} bytes");
    let mut other = guest.dial().await;
    other.write_all(b"e").await.expect("asked");
    let mut answer = String::new();
    in_time("another stream", other.read_to_string(&mut answer)).await.expect("an answer");
    assert_eq!(answer, "echo");
    let mut got = Vec::new();
    in_time("the rest", slow.read_to_end(&mut got)).await.expect("received");
    assert_eq!(got.len(), ALL);
    assert!(got.iter().enumerate().all(|(at, got)| *got == byte(9, at)), "every byte is right");
    guest.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_broken_off_is_broken_off_at_the_other_end() {
    let world = World::new(1).await;
    // Nobody listens there any more.
    let nobody = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        listener.local_addr().expect("an address")
    };
    let host = world.share(Target::Port(nobody.to_string()), Approve::All).await;
    let guest = Guest::join(&host.link);
    let mut socket = guest.dial().await;
    let mut got = Vec::new();
    let read = in_time("the reset", socket.read_to_end(&mut got)).await;
    assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
    guest.events.count(1, |event| *event == Event::Unreachable).await;
    guest.stop().await;
    host.stop().await;
}
