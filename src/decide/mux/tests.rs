//! Two ends, a connection that breaks anywhere, and programs that read and write in any order: every byte arrives once.

use proptest::prelude::*;

use super::*;

const QUEUE: usize = 1024 * 1024;

/// One end with its programs.
struct End {
    mux: Mux,
    decoder: Decoder,
    /// On the way to this end.
    pipe: VecDeque<u8>,
    wrote: BTreeMap<u32, Vec<u8>>,
    read: BTreeMap<u32, Vec<u8>>,
    finished: Vec<u32>,
    ends_seen: Vec<u32>,
    gone: Vec<u32>,
}

impl End {
    fn new(side: Side) -> Self {
        Self {
            mux: Mux::new(side),
            decoder: Decoder::default(),
            pipe: VecDeque::new(),
            wrote: BTreeMap::new(),
            read: BTreeMap::new(),
            finished: Vec::new(),
            ends_seen: Vec::new(),
            gone: Vec::new(),
        }
    }

    fn note(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Opened(id) => {
                    self.wrote.insert(id, Vec::new());
                    self.read.insert(id, Vec::new());
                }
                Event::Gone(id, _) => self.gone.push(id),
                Event::Readable(_) | Event::Room(_) => {}
            }
        }
    }

    fn open(&mut self) {
        if let Some(id) = self.mux.open() {
            self.note(vec![Event::Opened(id)]);
        }
    }

    fn write(&mut self, pick: usize, count: usize) {
        let Some((id, wrote)) = pick_of(&mut self.wrote, pick) else { return };
        let count = self.mux.room(id).unwrap_or(0).min(count);
        let start = wrote.len() as u64;
        let bytes: Vec<u8> = (start..).take(count).map(|at| byte(id, at)).collect();
        self.mux.push(id, &bytes);
        wrote.extend(bytes);
    }

    fn finish(&mut self, pick: usize) {
        let Some((id, _)) = pick_of(&mut self.wrote, pick) else { return };
        self.mux.finish(id);
        if !self.finished.contains(&id) {
            self.finished.push(id);
        }
    }

    fn read(&mut self, pick: usize, count: usize) {
        let Some((id, read)) = pick_of(&mut self.read, pick) else { return };
        match self.mux.next(id, count) {
            Some(Next::Bytes(bytes)) => {
                self.mux.took(id, bytes.len());
                read.extend(bytes);
            }
            Some(Next::End) if !self.ends_seen.contains(&id) => {
                self.mux.took(id, 1);
                self.ends_seen.push(id);
            }
            Some(Next::End | Next::Wait) | None => {}
        }
    }

    /// Takes `count` bytes off the pipe.
    fn hear(&mut self, count: usize) {
        let count = self.pipe.len().min(count);
        let bytes: Vec<u8> = self.pipe.drain(..count).collect();
        self.decoder.push(&bytes);
        while let Some((frame, size)) = self.decoder.next_frame().expect("a frame") {
            let events = self.mux.hear(frame, size).expect("kept to the protocol");
            self.note(events);
        }
    }
}

fn byte(id: u32, at: u64) -> u8 {
    (at.wrapping_mul(31).wrapping_add(u64::from(id) * 7) >> 3).to_le_bytes()[0]
}

fn pick_of<V>(map: &mut BTreeMap<u32, V>, pick: usize) -> Option<(u32, &mut V)> {
    let index = pick.checked_rem(map.len())?;
    map.iter_mut().nth(index).map(|(id, value)| (*id, value))
}

struct World {
    host: End,
    guest: End,
}

impl World {
    fn new() -> Self {
        let mut world = Self { host: End::new(Side::Host), guest: End::new(Side::Guest) };
        world.connect();
        world
    }

    /// The connection is lost with all that is on the way, and a new one begins.
    fn connect(&mut self) {
        let (hosts, guests) = (self.host.mux.resume(), self.guest.mux.resume());
        for (end, peer) in [(&mut self.host, &guests), (&mut self.guest, &hosts)] {
            end.pipe.clear();
            end.decoder = Decoder::default();
            let events = end.mux.attach(peer, QUEUE).expect("honest ends fit");
            end.note(events);
        }
    }

    fn send(&mut self, from_host: bool, most: usize) {
        let (from, to) = if from_host { (&mut self.host, &mut self.guest) } else { (&mut self.guest, &mut self.host) };
        let mut bytes = Vec::new();
        from.mux.fill(&mut bytes, most);
        to.pipe.extend(bytes);
        assert!(to.pipe.len() <= QUEUE / 2, "{} bytes wait at the relay", to.pipe.len());
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open => self.guest.open(),
            Step::Write(host, pick, count) => self.end(host).write(pick, count),
            Step::Finish(host, pick) => self.end(host).finish(pick),
            Step::Read(host, pick, count) => self.end(host).read(pick, count),
            Step::Send(host, most) => self.send(host, most),
            Step::Hear(host, count) => self.end(host).hear(count),
            Step::Lose => self.connect(),
        }
    }

    fn end(&mut self, host: bool) -> &mut End {
        if host { &mut self.host } else { &mut self.guest }
    }

    /// All programs end what they write and read to the end.
    fn settle(&mut self) {
        for pick in 0..self.guest.wrote.len() {
            self.guest.finish(pick);
        }
        for _ in 0..10_000 {
            for host in [true, false] {
                self.send(host, 64 * 1024);
                self.end(!host).hear(usize::MAX);
                for pick in 0..self.host.wrote.len() {
                    self.host.finish(pick);
                }
                for pick in 0..self.end(!host).read.len() {
                    self.end(!host).read(pick, usize::MAX);
                }
            }
            if self.host.mux.streams() + self.guest.mux.streams() == 0 {
                return;
            }
        }
        unreachable!("the streams do not end: {:?} {:?}", self.host.mux, self.guest.mux);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Open,
    Write(bool, usize, usize),
    Finish(bool, usize),
    Read(bool, usize, usize),
    Send(bool, usize),
    Hear(bool, usize),
    Lose,
}

fn any_step() -> impl Strategy<Value = Step> {
    let host = any::<bool>;
    prop_oneof![
        1 => Just(Step::Open),
        4 => (host(), 0..8_usize, 1..40_000_usize).prop_map(|(host, pick, count)| Step::Write(host, pick, count)),
        1 => (host(), 0..8_usize).prop_map(|(host, pick)| Step::Finish(host, pick)),
        3 => (host(), 0..8_usize, 1..40_000_usize).prop_map(|(host, pick, count)| Step::Read(host, pick, count)),
        6 => (host(), 1..70_000_usize).prop_map(|(host, most)| Step::Send(host, most)),
        6 => (host(), 1..70_000_usize).prop_map(|(host, count)| Step::Hear(host, count)),
        1 => Just(Step::Lose),
    ]
}

proptest! {
    #[test]
    fn no_byte_is_lost_or_doubled_wherever_the_connection_breaks(steps in proptest::collection::vec(any_step(), 0..150)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.settle();
        prop_assert_eq!(&world.host.read, &world.guest.wrote);
        prop_assert_eq!(&world.guest.read, &world.host.wrote);
        for end in [&world.host, &world.guest] {
            prop_assert!(end.gone.is_empty(), "broken off: {:?}", end.gone);
            prop_assert_eq!(end.ends_seen.len(), end.read.len());
        }
    }
}

#[test]
fn who_does_not_read_holds_no_more_than_the_credit() {
    let mut world = World::new();
    world.guest.open();
    world.guest.open();
    for _ in 0..200 {
        world.guest.write(0, MAX_DATA);
        world.send(false, 64 * 1024);
        world.host.hear(usize::MAX);
        world.send(true, 64 * 1024);
        world.guest.hear(usize::MAX);
    }
    assert_eq!(world.guest.wrote[&1].len(), STREAM_CREDIT, "no more is read from the local program");
    assert_eq!(world.guest.mux.room(1), Some(0));
    // The other stream is not held up.
    world.guest.write(1, 5);
    world.send(false, 64 * 1024);
    world.host.hear(usize::MAX);
    world.host.read(1, 5);
    assert_eq!(world.host.read[&2], world.guest.wrote[&2]);
    world.settle();
    assert_eq!(world.host.read, world.guest.wrote);
}

#[test]
fn all_streams_together_hold_no_more_than_the_tunnels_credit() {
    let mut world = World::new();
    for _ in 0..40 {
        world.guest.open();
    }
    for pick in 0..40 {
        for _ in 0..64 {
            world.guest.write(pick, MAX_DATA);
        }
    }
    let written: usize = world.guest.wrote.values().map(Vec::len).sum();
    assert_eq!(written, SENDER_CREDIT);
    world.settle();
    assert_eq!(world.host.read, world.guest.wrote);
}

#[test]
fn a_stream_that_is_broken_off_is_gone_on_both_sides_also_if_the_word_is_lost() {
    for lost in [false, true] {
        let mut world = World::new();
        world.guest.open();
        world.guest.write(0, 100);
        world.send(false, 1000);
        world.host.hear(1000);
        world.host.mux.reset(1, Why::Unreachable);
        world.send(true, 1000);
        if lost {
            world.connect();
        } else {
            world.guest.hear(1000);
        }
        assert_eq!(world.guest.gone, [1], "lost: {lost}");
        assert_eq!((world.guest.mux.streams(), world.host.mux.streams()), (0, 0));
        // What was still on the way to it does no harm.
        world.send(false, 1000);
        world.host.hear(1000);
    }
}

#[test]
fn an_end_that_breaks_the_protocol_is_found_out() {
    let data = |stream, offset, length| Frame::Data { stream, offset, bytes: vec![0; length] };
    let broken: [&[Frame]; 9] = [
        &[data(1, 0, 1)],
        &[Frame::Open { stream: 2 }, Frame::Open { stream: 2 }],
        &[Frame::Open { stream: 2 }, Frame::Open { stream: 1 }],
        &[Frame::Open { stream: 1 }, data(1, 1, 1)],
        &[Frame::Open { stream: 1 }, data(1, 0, 1), data(1, 0, 1)],
        &[Frame::Open { stream: 1 }, Frame::Fin { stream: 1, offset: 0 }, data(1, 1, 1)],
        &[Frame::Open { stream: 1 }, Frame::Fin { stream: 1, offset: 5 }],
        &[Frame::Open { stream: 1 }, Frame::Taken { stream: 1, offset: 1 }],
        &[Frame::Heard(1)],
    ];
    for frames in broken {
        let mut world = World::new();
        let (last, before) = frames.split_last().expect("some");
        for frame in before {
            assert!(world.host.mux.hear(frame.clone(), 10).is_ok(), "{frames:?}");
        }
        assert_eq!(world.host.mux.hear(last.clone(), 10), Err(Broken::Protocol), "{frames:?}");
    }
    let mut world = World::new();
    world.guest.open();
    assert_eq!(world.guest.mux.hear(Frame::Open { stream: 2 }, 9), Err(Broken::Protocol), "only guests open");
    // More than the credit, in pieces that are in order.
    let mut world = World::new();
    world.host.mux.hear(Frame::Open { stream: 1 }, 9).expect("opened");
    let pieces = (0..=STREAM_CREDIT / MAX_DATA).map(|piece| data(1, (piece * MAX_DATA) as u64, MAX_DATA));
    let results: Vec<bool> = pieces.map(|piece| world.host.mux.hear(piece, MAX_DATA).is_ok()).collect();
    assert_eq!(results.iter().filter(|fine| !**fine).count(), 1, "the last only");
}

#[test]
fn a_resume_that_cannot_be_is_refused() {
    let mut world = World::new();
    world.guest.open();
    world.guest.write(0, 10);
    for received in [11, u64::MAX] {
        let lie = Resume { highest: 1, streams: vec![(1, received)] };
        assert_eq!(world.guest.mux.attach(&lie, QUEUE), Err(Broken::Protocol));
    }
}

#[test]
fn a_flood_of_pings_is_answered_once() {
    let mut world = World::new();
    for _ in 0..10 {
        world.host.mux.hear(Frame::Ping, 5).expect("fine");
    }
    let mut bytes = Vec::new();
    world.host.mux.fill(&mut bytes, 1000);
    assert_eq!(bytes.len(), HEADER);
}
