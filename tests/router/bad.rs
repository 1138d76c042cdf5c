//! What is malformed, too much, or too slow: refused, counted, and not noticed by others.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use crate::world::{PARIS, Running, eventually, table};

/// `relays.example.com A`, with EDNS and a client subnet.
fn question() -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in ["relays", "example", "com", ""] {
        bytes.push(u8::try_from(label.len()).expect("short"));
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 1, 0, 1, 0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100]);
    bytes
}

async fn from(address: &str, to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).await.expect("a socket");
    socket.connect(to).await.expect("connected");
    socket
}

/// Answers that come until a good one to a question with another id; one that is lost is asked again.
async fn answers_before_the_last(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut last = question();
    last[..2].copy_from_slice(&[0xff, 0xfe]);
    let (mut answers, mut buffer) = (Vec::new(), [0; 4096]);
    for _ in 0..30 {
        socket.send(&last).await.expect("sent");
        while let Ok(Ok(length)) = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut buffer)).await {
            if buffer[..2] == [0xff, 0xfe] {
                return answers;
            }
            answers.push(buffer[..length].to_vec());
        }
    }
    unreachable!("the router does not answer any more");
}

#[tokio::test]
async fn what_dig_can_say_wrongly_is_refused_as_the_rfcs_have_it() {
    let router = Running::start(&table()).await;
    for (arguments, status, reason) in [
        ("+ednsopt=8:00030000", "FORMERR", "subnet"),
        ("+ednsopt=8:00012100cb007100ff", "FORMERR", "subnet"),
        ("+ednsopt=8:00011818cb0071", "FORMERR", "subnet"),
        ("+ednsopt=8:0001", "FORMERR", "subnet"),
        ("+edns=1 +noednsneg", "BADVERS", "version"),
        ("+opcode=notify", "NOTIMP", "opcode"),
        ("+opcode=update", "NOTIMP", "opcode"),
    ] {
        let line = format!("convene_router_rejected_total{{reason=\"{reason}\"}}");
        let before = router.metric(&line).await;
        let dug = router.dig(&format!("relays.example.com A {arguments}")).await;
        assert_eq!((dug.status(), dug.answers().len()), (status, 0), "{arguments}: {dug:?}");
        assert_eq!(router.metric(&line).await, before + 1, "{arguments}");
    }
    assert_eq!(router.near(PARIS).await.len(), 2);
    router.stop().await;
}

#[tokio::test]
async fn changed_bytes_break_nothing_and_no_answer_is_six_times_its_question() {
    let router = Running::start_with(&table(), &["--rate=0"]).await;
    let socket = from("127.0.0.1", router.dns).await;
    let change = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6);
    let mut runner = TestRunner::new(Config { cases: 1, ..Config::default() });
    let strategy = prop::collection::vec(change, 40);
    // By the numbers that answers repeat.
    let mut asked: HashMap<[u8; 2], usize> = HashMap::new();
    let mut answered = 0;
    for _ in 0..20 {
        for changes in strategy.new_tree(&mut runner).expect("values").current() {
            let mut bytes = question();
            for (at, byte, how) in changes {
                let at = at.index(bytes.len() + 1);
                match how {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, byte),
                    _ if at < bytes.len() => bytes[at] = byte,
                    _ => bytes.push(byte),
                }
            }
            // Its own number, whatever has become of the question's.
            let id = u16::try_from(asked.len()).expect("few").to_be_bytes();
            if let Some(start) = bytes.get_mut(..2) {
                start.copy_from_slice(&id);
            }
            socket.send(&bytes).await.expect("sent");
            asked.insert(id, bytes.len());
            if asked.len().is_multiple_of(8) {
                for answer in answers_before_the_last(&socket).await {
                    let question = asked[&[answer[0], answer[1]]];
                    assert!(answer.len() < 6 * question, "{} bytes for {question}", answer.len());
                    assert_eq!(answer[2] & 0x80, 0x80, "an answer is marked as one");
                    answered += 1;
                }
            }
        }
    }
    assert!(answered > 100, "{answered} answers");
    assert!(router.metrics().await.contains("convene_router_rejected_total"), "some of it was no question");
    router.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_is_sent_to_tcp_and_others_do_not_notice() {
    let router = Running::start_with(&table(), &["--rate=5"]).await;
    let flood = from("127.0.0.1", router.dns).await;
    let question = question();
    let (mut whole, mut cut, mut buffer) = (0, 0, [0; 4096]);
    let mut flooded = 0;
    // Until it has been told off, whatever the machine's pace.
    while cut < 20 && flooded < 5000 {
        for _ in 0..20 {
            flood.send(&question).await.expect("sent");
            flooded += 1;
        }
        while let Ok(Ok(length)) = tokio::time::timeout(Duration::from_millis(20), flood.recv(&mut buffer)).await {
            let is_cut = buffer[2] & 2 == 2;
            assert!(!is_cut || length <= question.len(), "no longer than the question: {length}");
            (whole, cut) = if is_cut { (whole, cut + 1) } else { (whole + 1, cut) };
        }
    }
    assert!(cut >= 20, "{whole} whole and {cut} cut of {flooded}");
    assert!(router.metric("convene_router_rejected_total{reason=\"rate\"}").await > 0, "others get nothing");
    // The same network by TCP, and another network by UDP.
    assert_eq!(router.dig(&format!("relays.example.com A +tcp +subnet={PARIS}")).await.answers().len(), 2);
    let other = from("127.0.1.1", router.dns).await;
    other.send(&question).await.expect("sent");
    let length = tokio::time::timeout(Duration::from_secs(20), other.recv(&mut buffer)).await.expect("in time");
    assert!(length.expect("an answer") > question.len() && buffer[2] & 2 == 0, "answered in full");
    router.stop().await;
}

/// The question as it goes by TCP.
fn framed() -> Vec<u8> {
    let question = question();
    [&u16::try_from(question.len()).expect("short").to_be_bytes()[..], &question].concat()
}

async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("bound");
    socket.connect(to).await.expect("connected")
}

#[tokio::test]
async fn connections_are_bounded_for_each_network_and_many_questions_share_one() {
    let router = Running::start(&table()).await;
    let connect = async |address: &str| connect(address, router.dns).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(connect("127.0.0.1").await);
        idle.push(connect("127.0.0.99").await);
    }
    eventually("those above the limit are closed", async || {
        router.metric("convene_router_tcp_refused_total{reason=\"network\"}").await == 8
    })
    .await;
    let mut other = connect("127.0.1.1").await;
    let (question, framed) = (question(), framed());
    for _ in 0..3 {
        // In pieces, as a network may bring it.
        let (first, rest) = framed.split_at(5);
        other.write_all(first).await.expect("sent");
        other.write_all(rest).await.expect("sent");
        let length = usize::from(other.read_u16().await.expect("an answer"));
        let mut answer = vec![0; length];
        other.read_exact(&mut answer).await.expect("whole");
        assert_eq!(answer[..2], question[..2]);
    }
    // A question that is announced to be larger than any is.
    other.write_all(&[0xff, 0xff, 0]).await.expect("sent");
    assert_eq!(other.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed");
    router.stop().await;
}

#[tokio::test]
async fn who_asks_more_than_a_connection_may_gets_all_answers_to_what_it_may() {
    let router = Running::start(&table()).await;
    let mut stream = connect("127.0.0.1", router.dns).await;
    // More than are answered: the rest lies unread when the router ends the connection.
    stream.write_all(&framed().repeat(400)).await.expect("sent");
    for answered in 0..256 {
        let length = stream.read_u16().await.unwrap_or_else(|error| panic!("{answered} answers, then {error}"));
        stream.read_exact(&mut vec![0; usize::from(length)]).await.expect("whole");
    }
    assert_eq!(stream.read(&mut [0; 1]).await.expect("no reset"), 0, "ended");
    assert_eq!(router.metric("convene_router_tcp_refused_total{reason=\"questions\"}").await, 1);
    router.stop().await;
}

#[tokio::test]
async fn no_more_connections_are_open_than_may_be_and_who_says_nothing_is_not_waited_for() {
    // Both ends of each connection are in this process.
    convene::process::files::raise_limit();
    let router = Running::start(&table()).await;
    let refused =
        async |reason: &str| router.metric(&format!("convene_router_tcp_refused_total{{reason=\"{reason}\"}}")).await;
    let mut idle = Vec::new();
    // Again where the first have been ended before the last were opened.
    while refused("connections").await == 0 {
        for network in 0..40 {
            for _ in 0..32 {
                idle.push(connect(&format!("127.0.{network}.1"), router.dns).await);
            }
        }
    }
    eventually("who says nothing is ended", async || refused("timeout").await > 0).await;
    drop(idle);
    eventually("there is room again", async || {
        router.dig(&format!("relays.example.com A +tcp +time=2 +subnet={PARIS}")).await.answers().len() == 2
    })
    .await;
    router.stop().await;
}
