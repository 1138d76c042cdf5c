//! The loads: rooms whose members send at a rate or as fast as they are heard, many idle connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use convene::process::clock;
use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{connect, frame, listen};
use crate::server::{Kind, Server, Ticket};

/// Handshakes at a time.
const AT_ONCE: usize = 64;
/// Time to get going before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// A timer may be so late without being counted; what the generator is later than that counts as waiting.
const TIMER: Duration = Duration::from_millis(2);
/// Digits of the stamp in each message: when it was sent, and by whom.
const STAMP: usize = 20;

/// What the members of all rooms do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) rooms: usize,
    pub(crate) members: usize,
    /// Length of a message.
    pub(crate) bytes: usize,
    pub(crate) pace: Pace,
    /// How long it is measured.
    pub(crate) time: Duration,
}

/// How fast a member sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Messages per second.
    Rate(f64),
    /// So many messages that not all others have heard.
    Window(usize),
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Deliveries per second.
    pub(crate) delivered: f64,
    /// Deliveries per CPU-second of the server.
    pub(crate) per_cpu: f64,
    /// Latency in milliseconds of the median, the slowest hundredth, the slowest thousandth.
    pub(crate) latency: [f64; 3],
}

/// What came of many idle connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// Connections made per second.
    pub(crate) connects: f64,
    /// The same per CPU-second of the server.
    pub(crate) per_cpu: f64,
    /// Resident bytes of the server for each.
    pub(crate) bytes: f64,
}

/// What all members share. One thread does everything.
struct World {
    kind: Kind,
    load: Load,
    measuring: Cell<bool>,
    delivered: Cell<u64>,
    /// Microseconds.
    latencies: RefCell<Vec<u32>>,
    failed: RefCell<Option<anyhow::Error>>,
    members: Vec<Sender>,
}

#[derive(Default)]
struct Sender {
    /// How often others have heard this member.
    heard: Cell<usize>,
    more: Notify,
}

/// Puts a load on a server.
pub(crate) async fn run(server: &Server, load: Load) -> anyhow::Result<Outcome> {
    let count = load.rooms * load.members;
    let streams = open(server, &tickets(server, count, load.members)).await?;
    let world = Rc::new(World {
        kind: server.kind,
        load,
        measuring: Cell::new(false),
        delivered: Cell::new(0),
        latencies: RefCell::default(),
        failed: RefCell::default(),
        members: (0..count).map(|_| Sender::default()).collect(),
    });
    let local = LocalSet::new();
    for (number, stream) in streams.into_iter().enumerate() {
        let (reading, writing) = stream.into_split();
        let (one, other) = (Rc::clone(&world), Rc::clone(&world));
        local.spawn_local(async move {
            let error = listen(reading, |message| one.hear(number, message)).await.err();
            *one.failed.borrow_mut() = error;
        });
        local.spawn_local(async move { other.speak(number, writing).await });
    }
    local.run_until(measure(server, &world)).await
}

async fn measure(server: &Server, world: &World) -> anyhow::Result<Outcome> {
    sleep(WARM_UP).await;
    world.measuring.set(true);
    let (started, cpu) = (clock::monotonic(), server.cpu()?);
    sleep(world.load.time).await;
    world.measuring.set(false);
    let (time, cpu) = (clock::monotonic().saturating_sub(started), server.cpu()?.saturating_sub(cpu));
    if let Some(error) = world.failed.borrow_mut().take() {
        return Err(error.context(server.kind.name()));
    }
    let mut latencies = world.latencies.take();
    ensure!(!latencies.is_empty(), "nothing was delivered");
    latencies.sort_unstable();
    let delivered = precise(world.delivered.get());
    let at = |per_mille: usize| {
        let place = (latencies.len() * per_mille / 1000).min(latencies.len() - 1);
        f64::from(latencies[place]) / 1000.0
    };
    Ok(Outcome {
        delivered: delivered / time.as_secs_f64(),
        per_cpu: delivered / cpu.as_secs_f64().max(0.01),
        latency: [at(500), at(990), at(999)],
    })
}

/// Opens many connections to a new server and leaves them alone.
pub(crate) async fn idle(server: &Server, count: usize) -> anyhow::Result<Idle> {
    let before = server.memory()?;
    // Signing is a lobby's work.
    let tickets = tickets(server, count, 5);
    let (started, cpu) = (clock::monotonic(), server.cpu()?);
    let streams = open(server, &tickets).await?;
    let (time, cpu) = (clock::monotonic().saturating_sub(started), server.cpu()?.saturating_sub(cpu));
    // What a garbage collector or an allocator gives back soon does not count.
    sleep(Duration::from_secs(3)).await;
    let bytes = server.memory()?.saturating_sub(before);
    drop(streams);
    let many = precise(count as u64);
    Ok(Idle {
        connects: many / time.as_secs_f64(),
        per_cpu: many / cpu.as_secs_f64().max(0.01),
        bytes: precise(bytes) / many,
    })
}

/// For rooms of so many members.
fn tickets(server: &Server, count: usize, members: usize) -> Vec<Ticket> {
    (0..count).map(|number| server.ticket(number / members, number)).collect()
}

async fn open(server: &Server, tickets: &[Ticket]) -> anyhow::Result<Vec<TcpStream>> {
    let opening = tickets.iter().enumerate().map(|(number, ticket)| connect(server.address, number, ticket));
    let opened: Vec<_> = futures::stream::iter(opening).buffered(AT_ONCE).collect().await;
    opened.into_iter().collect()
}

impl World {
    fn hear(&self, me: usize, message: &[u8]) {
        // Only this one puts several messages into one.
        let several = self.kind == Kind::Centrifuge;
        for message in message.split(|byte| several && *byte == b'\n') {
            self.hear_one(me, message);
        }
    }

    fn hear_one(&self, me: usize, message: &[u8]) {
        let Some((sent, sender)) = stamp(self.kind, message) else { return };
        if sender == me {
            return;
        }
        if let Some(sender) = self.members.get(sender) {
            sender.heard.set(sender.heard.get() + 1);
            sender.more.notify_one();
        }
        if self.measuring.get() {
            self.delivered.set(self.delivered.get() + 1);
            let late = clock::monotonic().saturating_sub(sent).as_micros();
            self.latencies.borrow_mut().push(u32::try_from(late).unwrap_or(u32::MAX));
        }
    }

    async fn speak(&self, me: usize, mut writing: OwnedWriteHalf) {
        let others = self.load.members - 1;
        let Some(sender) = self.members.get(me) else { return };
        let period = match self.load.pace {
            Pace::Rate(rate) => Duration::from_secs_f64(1.0 / rate),
            Pace::Window(_) => Duration::ZERO,
        };
        // Anywhere in the first period: members do not speak in step. Fibonacci hashing spreads evenly.
        let phase = u32::try_from(me).unwrap_or_default().wrapping_mul(2_654_435_769);
        let mut next = Instant::now() + period.mul_f64(f64::from(phase) / f64::from(u32::MAX));
        for said in 0_usize.. {
            let sent = match self.load.pace {
                Pace::Rate(_) => {
                    sleep_until(next).await;
                    let late = next.elapsed().saturating_sub(TIMER);
                    next += period;
                    clock::monotonic().saturating_sub(late)
                }
                Pace::Window(window) => {
                    while said >= window + sender.heard.get() / others {
                        sender.more.notified().await;
                    }
                    clock::monotonic()
                }
            };
            let message = message(self.kind, sent, me, said, self.load.bytes);
            if writing.write_all(&frame(&message)).await.is_err() {
                return;
            }
        }
    }
}

/// A message of about so many bytes that says when it was sent and by whom.
fn message(kind: Kind, sent: Duration, me: usize, said: usize, bytes: usize) -> Vec<u8> {
    let stamp = format!("{:016x}{me:04x}", sent.as_nanos());
    if kind == Kind::Centrifuge {
        let message = format!("{{\"send\":{{\"data\":\"{stamp}{}\"}}}}", ".".repeat(bytes - STAMP - 20));
        return message.into_bytes();
    }
    if kind != Kind::YWebsocket {
        return [stamp.as_bytes(), &vec![b'.'; bytes - STAMP]].concat();
    }
    // y-protocols: message type 1 = awareness; a count of states; of each the client's number, clock and JSON.
    let state = format!("{{\"t\":\"{stamp}\",\"p\":\"{}\"}}", ".".repeat(bytes - STAMP - 32));
    let mut update = vec![1];
    for number in [me + 1, said + 1, state.len()] {
        number_of(&mut update, number);
    }
    update.extend(state.as_bytes());
    let mut message = vec![1];
    number_of(&mut message, update.len());
    message.extend(update);
    message
}

/// Seven bits a byte, the lowest first, as lib0 writes numbers.
fn number_of(out: &mut Vec<u8>, mut number: usize) {
    while number > 127 {
        out.push(0x80 | low(number));
        number >>= 7;
    }
    out.push(low(number));
}

fn low(number: usize) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or_default()
}

/// When a message was sent and by whom, if it is one of ours.
fn stamp(kind: Kind, message: &[u8]) -> Option<(Duration, usize)> {
    let behind = |mark: &[u8]| Some(message.windows(mark.len()).position(|part| part == mark)? + mark.len());
    let start = match kind {
        Kind::YWebsocket => behind(b"\"t\":\"")?,
        Kind::Centrifuge => behind(b"\"data\":\"")?,
        Kind::Convene | Kind::Ws => 0,
    };
    let digits = std::str::from_utf8(message.get(start..start + STAMP)?).ok()?;
    let (time, sender) = digits.split_at(16);
    Some((Duration::from_nanos(u64::from_str_radix(time, 16).ok()?), usize::from_str_radix(sender, 16).ok()?))
}

/// The highest rate of 100 rooms of five at which the slowest hundredth takes less than 50 ms: deliveries per second.
pub(crate) async fn highest(server: impl Fn() -> anyhow::Result<Server>, time: Duration) -> anyhow::Result<f64> {
    let (mut good, mut bad, mut best) = (0.0, f64::INFINITY, 0.0_f64);
    let mut rate = 10.0;
    for _ in 0..10 {
        let load = Load { rooms: 100, members: 5, bytes: 256, pace: Pace::Rate(rate), time };
        // A new one each time: what an overloaded one has not yet done is not the next rate's.
        let outcome = run(&server()?, load).await;
        let wanted = rate * 500.0 * 4.0;
        match outcome {
            Ok(outcome) if outcome.latency[1] < 50.0 && outcome.delivered > 0.97 * wanted => {
                good = rate;
                best = best.max(outcome.delivered);
            }
            _ => bad = rate,
        }
        if bad / good < 1.1 {
            break;
        }
        rate = if bad.is_finite() { f64::midpoint(good, bad) } else { good * 2.0 };
    }
    (best > 0.0).then_some(best).context("not even the lowest rate was sustained")
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
const fn precise(count: u64) -> f64 {
    count as f64
}
