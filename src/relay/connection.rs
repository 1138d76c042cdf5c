//! One participant's connection: messages from its socket into the room, frames from the room to its socket.
//!
//! Reading and writing go on independently in one task, so that a member that does not read can still be heard, and
//! one that only writes cannot lock up. Keeps no message and looks into none, but for the address in addressed mode.
//!
//! What costs is the system call, so one read takes all that has come, and a writer that was at it a moment ago lets the
//! others have their turn first: what they say joins the same write. Nothing is held for who is idle.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use tokio::io::AsyncRead as _;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::farewell::{Parting, part};
use super::memory::Arriving;
use super::notices;
use super::outbox::Outbox;
use super::scratch;
use super::socket::Socket;
use super::state::{Membership, Peer};
use super::turns::{Turn, rest};
use super::websocket::{Decoder, Fault, Item, Message, ping_frame, pong_frame};
use crate::decide::quota::Bucket;
use crate::decide::room::{End, MemberId, Mode, QueueLimits, Told};
use crate::process::clock;

/// What is taken out of the queue for one write: room comes back in such steps.
const AT_ONCE: QueueLimits = QueueLimits { frames: 256, bytes: 256 * 1024 };
/// Who was written to within this time lets the others say something first, for the same write. Much shorter than what
/// anybody notices, and long enough that whoever is written to often is written to less often.
const CROWDED: Duration = Duration::from_millis(2);
/// Reads before the others have their turn.
const READS: usize = 4;
/// A read of so many bytes is much: who brings that waits for a turn before the next one.
const MUCH: usize = 32 * 1024;
/// Messages that are passed on before the others have their turn.
const MESSAGES: usize = 128;
/// Answers to pings that may wait for the socket; a peer that does not take them is not read on.
const PONGS: usize = 64;
/// Pauses for the sake of slow readers are saved up to this: shorter ones are not kept by the timer.
const PAUSE: Duration = Duration::from_millis(1);
/// How long nobody is read while the relay holds as many bytes as it may.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// What a message may take before it has come to its end, in bytes, also while such messages take too much in all: until
/// the next ping.
const SMALL: usize = 16 * 1024;

/// Serves a participant until it leaves or is ended. `read` came behind the handshake.
pub(super) async fn run(socket: Socket, read: Bytes, membership: Membership) {
    let mut connection = Connection::new(socket, read, membership);
    let parting = loop {
        match poll_fn(|cx| connection.poll(cx)).await {
            Step::Part(parting) => break parting,
            Step::Take => {
                tokio::task::yield_now().await;
                if let Err(parting) = connection.take() {
                    break parting;
                }
            }
        }
    };
    let Connection { socket, membership, decoder, inbox, outbox, .. } = connection;
    let relay = membership.relay().clone();
    relay.metrics.closed(parting.label());
    // The place is free from now on, also while the goodbye takes its time.
    drop(membership);
    let goodbye = Box::pin(part(socket, decoder, &inbox, outbox.begun(), parting));
    let _ = timeout(relay.config.goodbye, goodbye).await;
}

/// What a connection needs next.
#[derive(Debug)]
enum Step {
    /// The room has something, and nothing is being written: take it once the others had their turn.
    Take,
    /// It is over.
    Part(Parting),
}

/// Why no more is read.
enum Hold {
    /// The peer was too fast, or somebody else's queue is long.
    Pause(Pin<Box<Sleep>>),
    /// A message has no room where it goes. After this time whoever it is for takes nothing.
    Full { to: MemberId, frame: Bytes, bytes: usize, patience: Pin<Box<Sleep>> },
}

struct Connection {
    socket: Socket,
    membership: Membership,
    decoder: Decoder,
    /// What the decoder holds.
    arriving: Arriving,
    /// What was read and not looked at.
    inbox: Bytes,
    hold: Option<Hold>,
    /// Where it waits for its turn while it brings much.
    turn: Option<Box<Turn>>,
    /// Messages that were passed on in this turn.
    said: usize,
    /// Pauses that were not made.
    owed: Duration,
    outbox: Outbox,
    /// Whether the room counts frames as being written.
    taken: bool,
    /// Whether the room may have something new.
    news: bool,
    /// When frames were last taken for a write.
    took: Duration,
    messages: Bucket,
    bytes: Bucket,
    /// Runs at the earliest of the three moments below.
    alarm: Pin<Box<Sleep>>,
    heard: Duration,
    next_ping: Duration,
    /// When what waits for a member that is ended must be written.
    leave_by: Option<(Duration, End)>,
}

impl Connection {
    fn new(socket: Socket, read: Bytes, membership: Membership) -> Self {
        let config = &membership.relay().config;
        let now = clock::monotonic();
        Self {
            decoder: Decoder::new(config.max_message_bytes),
            arriving: Arriving::new(&membership.relay().memory),
            inbox: read,
            hold: None,
            turn: None,
            said: 0,
            owed: Duration::ZERO,
            outbox: Outbox::default(),
            taken: false,
            news: true,
            took: Duration::ZERO,
            messages: Bucket::new(config.messages_per_participant, now),
            bytes: Bucket::new(config.bytes_per_participant, now),
            alarm: Box::pin(sleep(config.ping_every.min(config.silent_after))),
            heard: now,
            next_ping: now + config.ping_every,
            leave_by: None,
            socket,
            membership,
        }
    }

    /// Does all that can be done now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let woken = self.membership.woken(cx);
        self.news |= woken.write;
        match self.proceed(woken.speak, cx) {
            Ok(true) => Poll::Ready(Step::Take),
            Ok(false) => Poll::Pending,
            Err(parting) => Poll::Ready(Step::Part(parting)),
        }
    }

    /// Whether there is something to take.
    fn proceed(&mut self, may_speak: bool, cx: &mut Context<'_>) -> Result<bool, Parting> {
        while self.alarm.as_mut().poll(cx).is_ready() {
            self.ring()?;
        }
        let mut idle = self.write(cx)?;
        self.read(may_speak, cx)?;
        while self.outbox.interjections() > 0 {
            // Pongs came up while reading; too many of them stopped it.
            let stopped = self.outbox.interjections() >= PONGS;
            idle = self.write(cx)?;
            if !stopped || !idle {
                break;
            }
            self.read(false, cx)?;
        }
        if self.news && idle && clock::monotonic().saturating_sub(self.took) > CROWDED {
            self.take()?;
            idle = self.write(cx)?;
        }
        if self.news && !idle {
            self.look_for_end(cx)?;
        }
        Ok(self.news && idle)
    }

    /// What time brings: pings, silence, the end of a farewell; sets the alarm again.
    fn ring(&mut self) -> Result<(), Parting> {
        let config = &self.membership.relay().config;
        let now = clock::monotonic();
        let silent_at = self.heard + config.silent_after;
        // Who is not read on cannot be heard.
        if now >= silent_at && self.hold.is_none() {
            return Err(Parting::Silent);
        }
        if let Some((by, end)) = self.leave_by
            && now >= by
        {
            return Err(Parting::Ended(end));
        }
        if now >= self.next_ping {
            self.next_ping = now + config.ping_every;
            if !self.outbox.has_moved() {
                return Err(Parting::Ended(End::SlowReader));
            }
            self.check_pieces(0)?;
            // One at a time: the peer has not even taken the last.
            if self.outbox.interjections() < PONGS {
                self.outbox.interject(ping_frame());
            }
        }
        let silent_at = if now >= silent_at { now + config.silent_after } else { silent_at };
        let next = self.leave_by.map_or(self.next_ping, |(by, _)| by.min(self.next_ping)).min(silent_at);
        self.alarm.as_mut().reset(Instant::now() + next.saturating_sub(now));
        Ok(())
    }

    /// A member that is ended while its last frames do not go out: a slow one may never read, the others have a moment.
    fn look_for_end(&mut self, cx: &mut Context<'_>) -> Result<(), Parting> {
        match self.membership.room().end_of(self.membership.id()) {
            Some(End::SlowReader) => Err(Parting::Ended(End::SlowReader)),
            Some(end) if self.leave_by.is_none() => {
                let goodbye = self.membership.relay().config.goodbye;
                self.leave_by = Some((clock::monotonic() + goodbye, end));
                self.alarm.as_mut().reset(Instant::now() + goodbye);
                cx.waker().wake_by_ref();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes what the room has, for the next write.
    fn take(&mut self) -> Result<(), Parting> {
        self.news = false;
        let taken = self.membership.room().take(self.membership.id(), AT_ONCE, Peer::wake).ok_or(Parting::Broken)?;
        self.taken = !taken.frames.is_empty();
        if let Some(end) = taken.end.filter(|_| !self.taken) {
            return Err(Parting::Ended(end));
        }
        if self.taken {
            let metrics = &self.membership.relay().metrics;
            metrics.messages_out.inc_by(taken.frames.len() as u64);
            metrics.bytes_out.inc_by(taken.bytes as u64);
            self.outbox.fill(taken.frames);
            self.took = clock::monotonic();
        }
        Ok(())
    }

    /// Writes all that there is. Whether everything is written.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, Parting> {
        loop {
            match self.outbox.poll_write(&mut self.socket, cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(_)) => return Err(Parting::Broken),
                Poll::Ready(Ok(())) if !self.taken => return Ok(true),
                // The room must know that it is written, and may have more.
                Poll::Ready(Ok(())) => self.take()?,
            }
        }
    }

    /// Reads and passes on until there is nothing, or a reason to wait.
    fn read(&mut self, mut may_speak: bool, cx: &mut Context<'_>) -> Result<(), Parting> {
        let mut reads = 0;
        self.said = 0;
        if let Some(turn) = &mut self.turn {
            turn.end();
        }
        loop {
            if self.outbox.interjections() >= PONGS || !self.released(std::mem::take(&mut may_speak), cx) {
                return Ok(());
            }
            if reads == READS || self.said >= MESSAGES {
                rest(cx);
                return Ok(());
            }
            if self.membership.relay().memory.left() == 0 {
                self.membership.relay().metrics.full.inc();
                self.hold = Some(Hold::Pause(Box::pin(sleep(FULL_PAUSE))));
                continue;
            }
            if !self.inbox.is_empty() {
                let inbox = std::mem::take(&mut self.inbox);
                let seen = self.hear(&inbox, clock::monotonic())?;
                self.inbox = inbox.slice(seen..);
                continue;
            }
            if self.turn.as_mut().is_some_and(|turn| turn.poll_take(cx).is_pending()) {
                return Ok(());
            }
            reads += 1;
            let bytes = scratch::with(|buffer| self.read_some(buffer, cx))?;
            if bytes < MUCH {
                self.turn = None;
            } else if self.turn.is_none() {
                self.turn = Some(Box::new(Turn::new(&self.membership.relay().turns)));
            }
            if bytes == 0 {
                return Ok(());
            }
            if self.turn.is_some() {
                reads = READS;
            }
        }
    }

    /// How many bytes were read.
    fn read_some(&mut self, buffer: &mut tokio::io::ReadBuf<'_>, cx: &mut Context<'_>) -> Result<usize, Parting> {
        match Pin::new(&mut self.socket).poll_read(cx, buffer) {
            Poll::Pending => return Ok(0),
            Poll::Ready(Err(_)) => return Err(Parting::Broken),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Err(Parting::Broken),
            Poll::Ready(Ok(())) => {}
        }
        let now = clock::monotonic();
        self.heard = now;
        let input = buffer.filled();
        let seen = self.hear(input, now)?;
        if let Some(rest) = input.get(seen..).filter(|rest| !rest.is_empty()) {
            self.inbox = Bytes::copy_from_slice(rest);
        }
        // All that was sent counts, also what is no message.
        let wait = self.bytes.take(precise(input.len()), now);
        self.wait(wait);
        Ok(input.len())
    }

    /// While messages that have not come to their ends take too much, who holds more than `least` of that must leave, and
    /// come back.
    fn check_pieces(&self, least: usize) -> Result<(), Parting> {
        let crowded = self.arriving.bytes() > least && self.membership.relay().memory.is_full_of_pieces();
        if crowded { Err(Parting::Full) } else { Ok(()) }
    }

    /// Whether reading may go on: a pause is over, a message has found its room.
    fn released(&mut self, may_speak: bool, cx: &mut Context<'_>) -> bool {
        let Some(hold) = self.hold.as_mut() else { return true };
        match hold {
            Hold::Pause(pause) => {
                if pause.as_mut().poll(cx).is_pending() {
                    return false;
                }
            }
            Hold::Full { to, frame, bytes, patience } => {
                let (to, late) = (*to, patience.as_mut().poll(cx).is_ready());
                if !may_speak && !late {
                    return false;
                }
                let mut room = self.membership.room();
                if !may_speak {
                    room.end_slow(to, Peer::wake);
                }
                let left = self.membership.relay().memory.left();
                let told = room.tell(self.membership.id(), to, frame, *bytes, left, Peer::wake);
                if told == Told::Absent {
                    notices::absent(&mut room, self.membership.id(), to);
                }
                drop(room);
                if told == Told::Full {
                    let slow_after = self.membership.relay().config.slow_after;
                    patience.as_mut().reset(Instant::now() + slow_after);
                    let _ = patience.as_mut().poll(cx);
                    return false;
                }
            }
        }
        self.hold = None;
        true
    }

    /// Looks at what was read, until there is a reason to wait. Returns how many bytes are done with.
    fn hear(&mut self, input: &[u8], now: Duration) -> Result<usize, Parting> {
        let mut rest = input;
        while let Some(item) = self.decoder.next(&mut rest).map_err(Parting::from)? {
            match item {
                Item::Message(message) => self.pass_on(message)?,
                Item::Ping(payload) => self.outbox.interject(pong_frame(&payload)),
                Item::Pong => {}
                Item::Close(code) => return Err(Parting::Left(code)),
            }
            let wait = self.messages.take(1.0, now);
            self.wait(wait);
            self.said += 1;
            if self.said >= MESSAGES || self.hold.is_some() || self.outbox.interjections() >= PONGS {
                break;
            }
        }
        if self.arriving.set(self.decoder.arriving()) {
            self.check_pieces(SMALL)?;
        }
        Ok(input.len() - rest.len())
    }

    /// Who sends too fast is read more slowly.
    fn wait(&mut self, wait: Duration) {
        if wait.is_zero() {
            return;
        }
        self.membership.relay().metrics.throttled.inc();
        let until = Instant::now() + wait;
        match &self.hold {
            // The rest of the debt is paid later.
            Some(Hold::Full { .. }) => {}
            Some(Hold::Pause(pause)) if pause.deadline() >= until => {}
            _ => self.hold = Some(Hold::Pause(Box::pin(sleep_until(until)))),
        }
    }

    fn pass_on(&mut self, message: Message) -> Result<(), Parting> {
        let relay = self.membership.relay();
        let bytes = message.payload().len();
        relay.metrics.messages_in.inc();
        relay.metrics.bytes_in.inc_by(bytes as u64);
        let id = self.membership.id();
        match self.membership.mode() {
            Mode::Broadcast => {
                let (buffer, start) = message.into_frame();
                let frame = relay.memory.keep(buffer, start);
                self.owed += self.membership.room().say(id, &frame, bytes, relay.memory.left(), Peer::wake).pause;
                if self.owed >= PAUSE {
                    self.hold = Some(Hold::Pause(Box::pin(sleep(std::mem::take(&mut self.owed)))));
                }
            }
            Mode::Addressed => {
                let (to, message) = notices::readdress(message, id).ok_or(Parting::NotAddressed)?;
                let (buffer, start) = message.into_frame();
                let frame = relay.memory.keep(buffer, start);
                let mut room = self.membership.room();
                match room.tell(id, to, &frame, bytes, relay.memory.left(), Peer::wake) {
                    Told::Queued | Told::Mute => {}
                    Told::Absent => notices::absent(&mut room, id, to),
                    Told::Full => {
                        relay.metrics.held_back.inc();
                        let patience = Box::pin(sleep(relay.config.slow_after));
                        drop(room);
                        self.hold = Some(Hold::Full { to, frame, bytes, patience });
                    }
                }
            }
        }
        Ok(())
    }
}

impl From<Fault> for Parting {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Protocol => Self::Protocol,
            Fault::NotText => Self::NotText,
            Fault::TooBig => Self::TooBig,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far less than 2^52 bytes are read at once")]
const fn precise(bytes: usize) -> f64 {
    bytes as f64
}
