//! Relays that die or leave, wires that break or go silent: nothing is lost or doubled.

use std::time::Duration;

use convene::client::{Approve, Ending, Event};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::scene::{Guest, World, in_time};
use crate::streams::{byte, bytes, echo};
use crate::tap::Fault;

pub fn tell(text: &str) {
    // For whoever reads the log of the tests.
    std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes()).expect("printed");
}

/// Both ways at once through one connection, with something happening in the middle.
pub async fn through(socket: TcpStream, count: usize, meanwhile: impl AsyncFn(usize)) {
    let (mut from, mut to) = socket.into_split();
    let send = async move {
        for start in (0..count).step_by(32768) {
            let piece: Vec<u8> = (start..count.min(start + 32768)).map(|at| byte(3, at)).collect();
            to.write_all(&piece).await.expect("sent");
        }
        to.shutdown().await.expect("ended");
    };
    let receive = async {
        let (mut got, mut buffer) = (0, vec![0; 65536]);
        loop {
            let read = from.read(&mut buffer).await.expect("received");
            if read == 0 {
                return got;
            }
            assert!(buffer[..read].iter().enumerate().all(|(at, value)| *value == byte(3, got + at)), "after {got}");
            got += read;
            meanwhile(got).await;
        }
    };
    let (got, ()) = in_time("all bytes", async { tokio::join!(receive, send) }).await;
    assert_eq!(got, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_costs_no_byte() {
    let mut world = World::new(2).await;
    let host = world.share(echo().await, Approve::All).await;
    let guest = Guest::join(&host.link);
    let socket = guest.dial().await;
    let first = std::sync::Mutex::new(Some(world.pods.remove(0)));
    through(socket, 8 * 1024 * 1024, async |got| {
        if got > 2 * 1024 * 1024 {
            drop(first.lock().expect("not poisoned").take());
        }
    })
    .await;
    let moved = |event: &Event| matches!(event, Event::Connected { relay, .. } if relay == "us-east1-0");
    guest.events.count(1, moved).await;
    guest.events.count(1, |event| matches!(event, Event::Back { .. })).await;
    tell(&format!("killed relay: {:?}", guest.events.all()));
    guest.stop().await;
    host.stop().await;
    world.lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_wires_cost_no_byte() {
    let world = World::new(1).await;
    let host = world.share(echo().await, Approve::All).await;
    let guest = Guest::join(&host.link);
    let socket = guest.dial().await;
    let cuts = std::sync::atomic::AtomicUsize::new(0);
    through(socket, 6 * 1024 * 1024, async |got| {
        let due = got / (1024 * 1024);
        if due > cuts.load(std::sync::atomic::Ordering::Relaxed) {
            cuts.store(due, std::sync::atomic::Ordering::Relaxed);
            world.wires[0].cut();
        }
    })
    .await;
    guest.events.count(3, |event| matches!(event, Event::Back { .. })).await;
    guest.stop().await;
    host.stop().await;
}

/// A relay that nobody hears, or that hears nobody.
#[tokio::test(flavor = "multi_thread")]
async fn silence_in_any_direction_is_noticed_and_costs_no_byte() {
    let silent = async |fault: Fault| {
        let world = World::new(1).await;
        let host = world.share(echo().await, Approve::All).await;
        let guest = Guest::join(&host.link);
        let mut socket = guest.dial().await;
        world.wires[0].fault(fault);
        let sent = bytes(4, 200_000);
        socket.write_all(&sent).await.expect("taken");
        let mut got = vec![0; sent.len()];
        in_time("the echo", socket.read_exact(&mut got)).await.expect("received");
        assert!(got == sent, "{fault:?}");
        // Whichever of the two notices first; the other may see it go.
        let silent = |event: &Event| matches!(event, Event::Lost { why } if why.contains("silent"));
        assert!(host.events.all().iter().chain(&guest.events.all()).any(silent), "{fault:?}");
        guest.stop().await;
        host.stop().await;
    };
    tokio::join!(silent(Fault::Silent), silent(Fault::NothingUp), silent(Fault::NothingDown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_cut_off_from_everybody_costs_no_byte() {
    let world = World::new(2).await;
    let host = world.share(echo().await, Approve::All).await;
    let guest = Guest::join(&host.link);
    let once = std::sync::Once::new();
    through(guest.dial().await, 4 * 1024 * 1024, async |got| {
        if got > 1024 * 1024 {
            once.call_once(|| world.partition(0));
        }
    })
    .await;
    guest.events.count(1, |event| matches!(event, Event::Connected { relay, .. } if relay == "us-east1-0")).await;
    // Once it is heard again, nobody goes back to it.
    world.heal(0);
    world.linked().await;
    through(guest.dial().await, 100_000, async |_| ()).await;
    guest.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_give_up_after_their_time() {
    let mut world = World::new(1).await;
    let give_up = Duration::from_secs(2);
    let host = world.share_for(echo().await, Approve::All, give_up).await;
    let guest = Guest::with(&host.link, None, give_up);
    let mut socket = guest.dial().await;
    drop(world.pods.remove(0));
    let Ending::GaveUp(why) = guest.ended().await else { unreachable!("gave up") };
    assert!(why.contains("no way to the host within 2 s"), "{why}");
    let Ending::GaveUp(why) = host.ended().await else { unreachable!("gave up") };
    assert!(why.contains("no way back within 2 s"), "{why}");
    let mut rest = Vec::new();
    let read = in_time("the local end", socket.read_to_end(&mut rest)).await;
    assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset), "not a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_session_is_over_for_all() {
    let world = World::new(1).await;
    let host = world.share(echo().await, Approve::All).await;
    let guest = Guest::join(&host.link);
    guest.port().await;
    host.stop().await;
    assert_eq!(guest.ended().await, Ending::Closed("the session was closed".to_owned()));
}
