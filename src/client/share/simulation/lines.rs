//! Relays and the wires to them in simulated time: late, silent for a while, cut, dead. What arrives is whole and in
//! order, as TCP has it.

use std::collections::VecDeque;

use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::client::net::{address, addressed};
use crate::wire::claims::Role;
use crate::wire::relay::{Member, Notice};

/// Milliseconds from one look to the next.
pub(super) const STEP: u64 = 10;
/// Bytes that a relay lets wait for one member.
pub(super) const QUEUE: usize = 512 * 1024;
/// Bytes that wait in a client's socket before it is full.
const SOCKET: usize = 128 * 1024;
/// Largest message.
const MESSAGE: usize = 256 * 1024;
/// After which the lobby counts a silent relay as gone, in milliseconds.
const GONE_AFTER: u64 = 5_000;
/// After which a relay counts a silent member as gone, in milliseconds.
const MEMBER_GONE_AFTER: u64 = 20_000;
const NEVER: u64 = u64::MAX;

/// Numbers that anybody can draw again: xorshift64 (Marsaglia, 2003).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        // Seeds that are near to one another begin alike otherwise.
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.roll(2);
        }
        dice
    }

    pub(super) fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below.max(1)
    }

    pub(super) fn one_in(&mut self, many: u64) -> bool {
        self.roll(many) == 0
    }
}

/// One direction of a wire.
#[derive(Default)]
struct Line {
    items: VecDeque<(u64, Message)>,
    bytes: usize,
    latency: u64,
    silent_until: u64,
    broken: bool,
}

impl Line {
    fn send(&mut self, now: u64, jitter: u64, message: Message) {
        if !self.broken {
            let due = (now + self.latency + jitter).max(self.items.back().map_or(0, |(due, _)| *due));
            self.bytes += message.len();
            self.items.push_back((due, message));
        }
    }

    fn take(&mut self, now: u64) -> Option<Message> {
        let (due, _) = self.items.front()?;
        if now < self.silent_until || now < *due {
            return None;
        }
        let (_, message) = self.items.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }

    fn clear(&mut self) {
        self.items.clear();
        self.bytes = 0;
    }

    fn cut(&mut self) {
        self.clear();
        self.broken = true;
    }
}

/// A connection of an end to a relay.
struct Wire {
    owner: usize,
    relay: usize,
    number: u32,
    up: Line,
    down: Line,
    /// The relay has it.
    member: bool,
    /// When each side notices that it broke.
    end_told: u64,
    relay_told: u64,
}

#[derive(Default)]
struct Relay {
    numbers: u32,
    /// Dead until then.
    back: u64,
    /// Cut off from all since then.
    frozen: Option<u64>,
}

/// What an end hears.
pub(super) enum Heard {
    Message(Message),
    Nothing,
    Lost,
}

/// Who is an end: the host is the first.
pub(super) const HOST: usize = 0;

/// All wires, two relays, and what the lobby knows.
pub(super) struct Net {
    pub(super) now: u64,
    pub(super) dice: Dice,
    wires: Vec<Wire>,
    relays: [Relay; 2],
    /// Where the session lives.
    home: usize,
    lobby_away: u64,
    /// Most bytes that waited for a guest.
    pub(super) most_for_guest: usize,
    /// What went wrong so far, for people.
    pub(super) faults: u32,
}

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: 0,
            dice: Dice::new(seed),
            wires: Vec::new(),
            relays: Default::default(),
            home: 0,
            lobby_away: 0,
            most_for_guest: 0,
            faults: 0,
        }
    }

    /// Where the lobby sends whoever asks; none = it does not answer, or knows no relay.
    pub(super) fn ask_lobby(&mut self) -> Option<usize> {
        if self.now < self.lobby_away {
            return None;
        }
        let home = &self.relays[self.home];
        let gone = home.frozen.is_some_and(|since| self.now > since + GONE_AFTER) || self.now < home.back;
        let other = 1 - self.home;
        if gone && self.serves(other) {
            self.home = other;
        }
        Some(self.home)
    }

    fn serves(&self, relay: usize) -> bool {
        self.relays[relay].frozen.is_none() && self.now >= self.relays[relay].back
    }

    /// Connects an end; none if the relay does not answer or does not let it in.
    pub(super) fn enter(&mut self, owner: usize, relay: usize) -> Option<usize> {
        if !self.serves(relay) || self.home != relay {
            return None;
        }
        self.relays[relay].numbers += 1;
        let number = self.relays[relay].numbers;
        let latency = 1 + self.dice.roll(60);
        let line = || Line { latency, ..Line::default() };
        let others: Vec<usize> = self.members(relay).collect();
        let members = others.iter().map(|at| member(&self.wires[*at])).collect();
        let (up, down) = (line(), line());
        let wire = Wire { owner, relay, number, up, down, member: true, end_told: NEVER, relay_told: NEVER };
        let joined = Notice::Joined(member(&wire));
        self.wires.push(wire);
        let at = self.wires.len() - 1;
        self.tell(at, &Notice::Welcome { you: number, members, queue_bytes: QUEUE, max_message_bytes: MESSAGE });
        for other in others {
            self.tell(other, &joined);
        }
        Some(at)
    }

    fn members(&self, relay: usize) -> impl Iterator<Item = usize> {
        self.wires.iter().enumerate().filter(move |(_, wire)| wire.member && wire.relay == relay).map(|(at, _)| at)
    }

    /// Whose number this is at the relay of a wire.
    pub(super) fn owner(&self, wire: usize, number: u32) -> usize {
        let same = |other: &&Wire| other.relay == self.wires[wire].relay && other.number == number;
        self.wires.iter().rev().find(same).expect("a member of this relay").owner
    }

    fn tell(&mut self, wire: usize, notice: &Notice) {
        self.deliver(wire, Message::text(serde_json::to_string(notice).expect("JSON")));
    }

    fn deliver(&mut self, at: usize, message: Message) {
        let jitter = self.dice.roll(20);
        let wire = &mut self.wires[at];
        wire.down.send(self.now, jitter, message);
        if wire.owner != HOST {
            self.most_for_guest = self.most_for_guest.max(wire.down.bytes);
        }
        if wire.down.bytes > QUEUE {
            // A slow reader.
            self.close(at);
        }
    }

    fn close(&mut self, at: usize) {
        let wire = &mut self.wires[at];
        wire.down.clear();
        wire.down.send(self.now, 0, Message::Close(None));
        self.leave(at);
    }

    fn leave(&mut self, at: usize) {
        self.wires[at].member = false;
        let (relay, number) = (self.wires[at].relay, self.wires[at].number);
        let others: Vec<usize> = self.members(relay).collect();
        for other in others {
            self.tell(other, &Notice::Left { member: number });
        }
    }

    /// Time goes on, and the relays pass on what has come.
    pub(super) fn step(&mut self) {
        self.now += STEP;
        for at in 0..self.wires.len() {
            if self.wires[at].member && self.wires[at].relay_told <= self.now {
                self.leave(at);
            }
            while self.wires[at].member
                && let Some(message) = self.wires[at].up.take(self.now)
            {
                self.pass(at, &message);
            }
        }
    }

    fn pass(&mut self, at: usize, message: &Message) {
        match message {
            Message::Binary(bytes) => {
                let (to, payload) = address(bytes).expect("an address");
                let target = self.members(self.wires[at].relay).find(|other| self.wires[*other].number == to);
                match target {
                    Some(target) => self.deliver(target, addressed(self.wires[at].number, payload)),
                    None => self.tell(at, &Notice::Left { member: to }),
                }
            }
            Message::Ping(_) => self.deliver(at, Message::Pong(Bytes::new())),
            _ => self.leave(at),
        }
    }

    /// The next message for an end.
    pub(super) fn hear(&mut self, wire: usize) -> Heard {
        let wire = &mut self.wires[wire];
        if self.now >= wire.end_told {
            return Heard::Lost;
        }
        wire.down.take(self.now).map_or(Heard::Nothing, Heard::Message)
    }

    /// Whether an end's socket takes a message.
    pub(super) fn room(&self, wire: usize) -> bool {
        self.wires[wire].up.bytes < SOCKET
    }

    pub(super) fn send(&mut self, wire: usize, message: Message) {
        let jitter = self.dice.roll(20);
        self.wires[wire].up.send(self.now, jitter, message);
    }

    /// An end gives its wire up; the relay hears of it when the wire lets it.
    pub(super) fn hang_up(&mut self, wire: usize) {
        let wire = &mut self.wires[wire];
        wire.down.cut();
        let silent = if wire.up.silent_until == NEVER { self.now + MEMBER_GONE_AFTER } else { wire.up.silent_until };
        wire.relay_told = wire.relay_told.min(silent.max(self.now + wire.up.latency));
    }

    /// Something goes wrong.
    pub(super) fn fault(&mut self) {
        self.faults += 1;
        let relay = usize::from(self.dice.one_in(2));
        match self.dice.roll(10) {
            0..=2 => self.cut(),
            3..=5 => self.stall(),
            6 => self.kill(relay),
            7 if self.relays[relay].frozen.is_some() => self.heal(relay),
            7 => self.freeze(relay),
            8 => self.move_home(),
            _ => self.lobby_away = self.now + 500 + self.dice.roll(4_000),
        }
    }

    /// Whatever does not serve serves again. What is silent stays so: nobody tells an end that it will be.
    pub(super) fn repair(&mut self) {
        self.lobby_away = 0;
        for relay in 0..self.relays.len() {
            self.relays[relay].back = 0;
            self.heal(relay);
        }
    }

    fn any_wire(&mut self) -> Option<usize> {
        let open: Vec<usize> = (0..self.wires.len()).filter(|at| self.wires[*at].member).collect();
        let pick = self.dice.roll(open.len() as u64);
        open.get(usize::try_from(pick).expect("an index")).copied()
    }

    /// A wire breaks with all that is on it; each side notices in its time, or one not at all.
    fn cut(&mut self) {
        let Some(at) = self.any_wire() else { return };
        let told = [self.dice.roll(1_500), self.dice.roll(1_500)].map(|after| self.now + after);
        let silent = self.dice.one_in(3);
        let wire = &mut self.wires[at];
        wire.up.cut();
        wire.down.cut();
        wire.relay_told = told[0];
        wire.end_told = if silent { NEVER } else { told[1] };
    }

    /// One direction or both pass nothing for a while: shorter or longer than anybody waits, or for ever.
    fn stall(&mut self) {
        let Some(at) = self.any_wire() else { return };
        let until = if self.dice.one_in(5) { NEVER } else { self.now + 200 + self.dice.roll(9_000) };
        let which = self.dice.roll(3);
        let wire = &mut self.wires[at];
        for (line, meant) in [(&mut wire.up, which != 0), (&mut wire.down, which != 1)] {
            line.silent_until = if meant { until } else { line.silent_until };
        }
    }

    /// A relay dies with its wires, whose ends notice at once or never.
    fn kill(&mut self, relay: usize) {
        let silent = self.dice.one_in(3);
        self.relays[relay] = Relay { numbers: 0, back: self.now + 1_000 + self.dice.roll(8_000), frozen: None };
        for wire in self.wires.iter_mut().filter(|wire| wire.relay == relay) {
            wire.member = false;
            wire.up.cut();
            wire.down.cut();
            wire.end_told = wire.end_told.min(if silent { NEVER } else { self.now + STEP });
        }
    }

    /// A relay is cut off from everybody, the lobby too.
    fn freeze(&mut self, relay: usize) {
        self.relays[relay].frozen = Some(self.now);
        self.silence(relay, NEVER);
    }

    fn heal(&mut self, relay: usize) {
        if self.relays[relay].frozen.take().is_some() {
            self.silence(relay, self.now);
            // It hears that its session lives elsewhere.
            if self.home != relay {
                self.close_all(relay);
            }
        }
    }

    fn silence(&mut self, relay: usize, until: u64) {
        for wire in self.wires.iter_mut().filter(|wire| wire.relay == relay && wire.member) {
            (wire.up.silent_until, wire.down.silent_until) = (until, until);
        }
    }

    fn move_home(&mut self) {
        let old = self.home;
        if self.serves(1 - old) {
            self.home = 1 - old;
            if self.relays[old].frozen.is_none() {
                self.close_all(old);
            }
        }
    }

    fn close_all(&mut self, relay: usize) {
        let all: Vec<usize> = self.members(relay).collect();
        for at in all {
            self.wires[at].member = false;
            self.wires[at].down.send(self.now, 0, Message::Close(None));
        }
    }
}

fn member(wire: &Wire) -> Member {
    let role = if wire.owner == HOST { Role::Host } else { Role::Guest };
    Member { member: wire.number, participant: format!("{}", wire.owner), role }
}
