//! How long host and guest take to be back: printed, and no test of limits, since machines are busy. `make bench-client`.

use std::time::Duration;

use convene::client::Approve;
use convene::process::clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::handoff::tell;
use crate::scene::{Guest, World, in_time};
use crate::streams::echo;
use crate::tap::Fault;

/// Times from a fault until four bytes have gone from the guest to the host and back.
struct Times(Vec<Duration>);

impl Times {
    async fn echo(&mut self, socket: &mut TcpStream, round: u32) {
        let begin = clock::monotonic();
        socket.write_all(&round.to_be_bytes()).await.expect("taken");
        let mut got = [0; 4];
        in_time("the echo", socket.read_exact(&mut got)).await.expect("received");
        assert_eq!(got, round.to_be_bytes());
        self.0.push(clock::monotonic().saturating_sub(begin));
    }

    fn print(mut self, after: &str) {
        self.0.sort();
        let at = |percent: usize| self.0[(self.0.len() * percent).div_ceil(100) - 1];
        tell(&format!("after {after}: p50 {:?}, p99 {:?}, most {:?} of {}", at(50), at(99), at(100), self.0.len()));
    }
}

async fn after(fault: Fault, what: &str, rounds: u32) {
    let world = World::new(1).await;
    let host = world.share(echo().await, Approve::All).await;
    let guest = Guest::join(&host.link);
    let (mut socket, mut times) = (guest.dial().await, Times(Vec::new()));
    for round in 0..rounds {
        world.wires[0].fault(fault);
        times.echo(&mut socket, round).await;
    }
    times.print(what);
    guest.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: make bench-client"]
async fn times_after_a_closed_connection() {
    after(Fault::Closed, "a closed connection", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, a measurement: make bench-client"]
async fn times_after_silence() {
    tokio::join!(
        after(Fault::Silent, "silence in both directions", 50),
        after(Fault::NothingUp, "silence towards the relay", 50),
        after(Fault::NothingDown, "silence towards the clients", 50),
    );
}

/// The relay where the session lives, in turns.
async fn elsewhere(what: &str, rounds: u32, away: impl Fn(&mut World, usize), back: impl AsyncFn(&mut World, usize)) {
    let mut world = World::new(2).await;
    let host = world.share(echo().await, Approve::All).await;
    let guest = Guest::join(&host.link);
    let (mut socket, mut times) = (guest.dial().await, Times(Vec::new()));
    times.echo(&mut socket, 0).await;
    times.0.clear();
    for round in 0..rounds {
        let home = round as usize % 2;
        away(&mut world, home);
        times.echo(&mut socket, round).await;
        back(&mut world, home).await;
    }
    times.print(what);
    guest.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: make bench-client"]
async fn times_after_a_killed_relay() {
    elsewhere("a killed relay", 100, World::kill, async |world: &mut World, relay| world.restart(relay).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, a measurement: make bench-client"]
async fn times_after_a_relay_was_cut_off() {
    let back = async |world: &mut World, relay| {
        world.heal(relay);
        world.linked().await;
    };
    elsewhere("a relay was cut off", 40, |world, relay| world.partition(relay), back).await;
}
