//! A tunnel between a host and one guest: many streams in one connection, and from one connection to the next without
//! losing or doubling a byte. Plain values: what to send is asked for, what came is told.
//!
//! Each side keeps what it sent until the other side's program took it. A new connection begins with both telling how
//! far each stream has come ([`Resume`]); each goes on from there.

mod frame;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

pub use frame::{BadFrame, Decoder, Frame, HEADER, MAX_BODY, MAX_DATA, Why};
pub use stream::Next;
use stream::Stream;

use crate::wire::tunnel::Resume;

/// Bytes that may wait in one direction of a stream.
pub const STREAM_CREDIT: usize = 1024 * 1024;
/// Bytes that may wait in one direction of a tunnel, over all streams.
pub const TUNNEL_CREDIT: usize = 16 * 1024 * 1024;
/// Streams that a tunnel has at once.
pub const MAX_STREAMS: usize = 256;
/// Most bytes on the way in one direction, also if the relay would take more.
const MAX_WINDOW: u64 = 1024 * 1024;
/// Least bytes on the way: below it a connection would crawl.
const MIN_WINDOW: u64 = 64 * 1024;
/// Tell what was heard once it is so much; a quarter of the smallest window, so that it never waits for itself.
const HEARD_AFTER: u64 = MIN_WINDOW / 4;
/// What a sender lets wait in a tunnel: with what every stream may just be reading, no more than the credit.
const SENDER_CREDIT: usize = TUNNEL_CREDIT - MAX_STREAMS * MAX_DATA;
/// Small frames that may wait; more are asked for only by who means harm.
const MAX_URGENT: usize = 1024;

/// The other end breaks the protocol: its connection is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] BadFrame),
    /// The frame does not fit what was before.
    #[error("the other end does not keep to the protocol")]
    Protocol,
}

/// Which side of the tunnel this is. Only guests open streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Shares.
    Host,
    /// Was invited.
    Guest,
}

/// What the caller has to see to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest has opened a stream.
    Opened(u32),
    /// There may be more to give out.
    Readable(u32),
    /// There may be room for more.
    Room(u32),
    /// The stream is over, not in order.
    Gone(u32, Why),
}

/// The bytes on their way through one connection.
#[derive(Debug)]
struct Wire {
    window: u64,
    sent: u64,
    heard: u64,
    received: u64,
    told: u64,
}

/// Whether a frame counts among what is on the way. Those that may cross the begin of a connection do not.
const fn counts(frame: &Frame) -> bool {
    !matches!(frame, Frame::Heard(_) | Frame::Ping | Frame::Pong)
}

/// One side of a tunnel.
#[derive(Debug)]
pub struct Mux {
    side: Side,
    streams: BTreeMap<u32, Stream>,
    highest: u32,
    /// Small frames that go before all data.
    urgent: VecDeque<Frame>,
    wire: Option<Wire>,
    /// The stream that sent last; the one after it is next.
    turn: u32,
}

impl Mux {
    /// A tunnel without streams and without a connection.
    pub const fn new(side: Side) -> Self {
        Self { side, streams: BTreeMap::new(), highest: 0, urgent: VecDeque::new(), wire: None, turn: 0 }
    }

    /// How far this side has come.
    pub fn resume(&self) -> Resume {
        let streams = self.streams.iter().map(|(id, stream)| (*id, stream.received())).collect();
        Resume { highest: self.highest, streams }
    }

    /// A new connection to a side that has come so far, through a relay that lets so many bytes wait for one member.
    pub fn attach(&mut self, peer: &Resume, queue_bytes: usize) -> Result<Vec<Event>, Broken> {
        self.detach();
        let mut events = Vec::new();
        let theirs: BTreeMap<u32, u64> = peer.streams.iter().copied().collect();
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            if let Some(received) = theirs.get(&id) {
                stream.rewind(*received)?;
            } else if self.side == Side::Guest && id > peer.highest {
                stream.begin()?;
            } else {
                // The other side forgets a stream when it is over on both sides, or broken off.
                if !stream.is_complete() {
                    events.push(Event::Gone(id, Why::Broken));
                }
                self.streams.remove(&id);
            }
        }
        // Of all that the relay lets wait for one member, a quarter: the other end's own messages, the overhead of TLS
        // and of WebSocket come on top, and together it must stay below half.
        let window = (queue_bytes as u64 / 4).clamp(MIN_WINDOW, MAX_WINDOW);
        self.wire = Some(Wire { window, sent: 0, heard: 0, received: 0, told: 0 });
        events.extend(self.streams.keys().flat_map(|id| [Event::Readable(*id), Event::Room(*id)]));
        self.sweep();
        Ok(events)
    }

    /// The connection is gone.
    pub fn detach(&mut self) {
        self.wire = None;
        self.urgent.clear();
    }

    /// Whether there is a connection.
    pub const fn is_attached(&self) -> bool {
        self.wire.is_some()
    }

    /// Streams that are not over.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Opens a stream, as a guest; none if there are too many.
    pub fn open(&mut self) -> Option<u32> {
        if self.side == Side::Host || self.streams.len() >= MAX_STREAMS {
            return None;
        }
        self.highest = self.highest.checked_add(1)?;
        self.streams.insert(self.highest, Stream::default());
        Some(self.highest)
    }

    /// Bytes that [`Mux::push`] takes now for a stream, at most [`MAX_DATA`]; none if the stream is gone.
    pub fn room(&self, id: u32) -> Option<usize> {
        Some(self.streams.get(&id)?.room().min(SENDER_CREDIT.saturating_sub(self.held())).min(MAX_DATA))
    }

    fn held(&self) -> usize {
        self.streams.values().map(Stream::held).sum()
    }

    /// Takes bytes of the local program, of which there must be no more than [`Mux::room`].
    pub fn push(&mut self, id: u32, bytes: &[u8]) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.push(bytes);
        }
    }

    /// The local program sends no more.
    pub fn finish(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.finish();
        }
    }

    /// Breaks a stream off.
    pub fn reset(&mut self, id: u32, why: Why) {
        if self.streams.remove(&id).is_some() && self.wire.is_some() {
            self.urgent.push_back(Frame::Reset { stream: id, why });
        }
    }

    /// What the local program gets next, at most `most` bytes; none if the stream is gone.
    pub fn next(&mut self, id: u32, most: usize) -> Option<Next> {
        self.streams.get_mut(&id).map(|stream| stream.next(most))
    }

    /// The local program took so many bytes; its end counts as one.
    pub fn took(&mut self, id: u32, bytes: usize) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.took(bytes as u64);
        }
    }

    /// Sends a message of the session itself, before all data.
    pub fn control(&mut self, json: Vec<u8>) {
        self.urgent.push_back(Frame::Control(json));
    }

    /// Asks the other end for a sign of life.
    pub fn ping(&mut self) {
        if self.wire.is_some() {
            self.urgent.push_back(Frame::Ping);
        }
    }

    /// Takes a frame of `size` bytes that came through the connection. Control frames are for the caller.
    pub fn hear(&mut self, frame: Frame, size: usize) -> Result<Vec<Event>, Broken> {
        let Some(wire) = self.wire.as_mut().filter(|_| self.urgent.len() < MAX_URGENT) else {
            return Err(Broken::Protocol);
        };
        if counts(&frame) {
            wire.received += size as u64;
        }
        match frame {
            Frame::Heard(bytes) if bytes > wire.sent => return Err(Broken::Protocol),
            Frame::Heard(bytes) => wire.heard = wire.heard.max(bytes),
            Frame::Ping if self.urgent.contains(&Frame::Pong) => {}
            Frame::Ping => self.urgent.push_back(Frame::Pong),
            Frame::Pong | Frame::Control(_) => {}
            Frame::Open { stream } => return self.hear_open(stream),
            Frame::Reset { stream, why } => {
                let gone = self.streams.remove(&stream).is_some();
                return Ok(gone.then_some(Event::Gone(stream, why)).into_iter().collect());
            }
            Frame::Data { stream, offset, bytes } => {
                if self.streams.values().map(Stream::waiting).sum::<usize>() + bytes.len() > TUNNEL_CREDIT {
                    return Err(Broken::Protocol);
                }
                return self.with(stream, |known| known.hear_data(offset, &bytes), Event::Readable(stream));
            }
            Frame::Fin { stream, offset } => {
                return self.with(stream, |known| known.hear_fin(offset), Event::Readable(stream));
            }
            Frame::Taken { stream, offset } => {
                let full = self.held() >= SENDER_CREDIT;
                let mut events = self.with(stream, |known| known.hear_taken(offset), Event::Room(stream))?;
                if full {
                    events = self.streams.keys().map(|id| Event::Room(*id)).collect();
                }
                self.sweep();
                return Ok(events);
            }
        }
        Ok(Vec::new())
    }

    fn hear_open(&mut self, stream: u32) -> Result<Vec<Event>, Broken> {
        if self.side == Side::Guest || stream <= self.highest {
            return Err(Broken::Protocol);
        }
        self.highest = stream;
        if self.streams.len() >= MAX_STREAMS {
            self.urgent.push_back(Frame::Reset { stream, why: Why::TooMuch });
            return Ok(Vec::new());
        }
        self.streams.insert(stream, Stream::heard_of());
        Ok(vec![Event::Opened(stream)])
    }

    /// A frame for a stream that this side broke off meanwhile says nothing; one for a stream that never was does.
    fn with(
        &mut self,
        id: u32,
        hear: impl FnOnce(&mut Stream) -> Result<(), Broken>,
        event: Event,
    ) -> Result<Vec<Event>, Broken> {
        match self.streams.get_mut(&id) {
            Some(stream) => hear(stream).map(|()| vec![event]),
            None if id <= self.highest => Ok(Vec::new()),
            None => Err(Broken::Protocol),
        }
    }

    /// Appends frames to send now to `out`, until it holds `most` bytes or there are none.
    pub fn fill(&mut self, out: &mut Vec<u8>, most: usize) {
        let begin = out.len();
        while out.len() - begin < most {
            let Some(frame) = self.next_frame() else { break };
            let size = frame.encode(out) as u64;
            if let Some(wire) = self.wire.as_mut().filter(|_| counts(&frame)) {
                wire.sent += size;
            }
        }
        self.sweep();
    }

    fn next_frame(&mut self) -> Option<Frame> {
        let wire = self.wire.as_mut()?;
        if let Some(frame) = self.urgent.pop_front() {
            return Some(frame);
        }
        if wire.received - wire.told >= HEARD_AFTER {
            wire.told = wire.received;
            return Some(Frame::Heard(wire.received));
        }
        for (id, stream) in &mut self.streams {
            if !stream.opened {
                stream.opened = true;
                return Some(Frame::Open { stream: *id });
            }
            if let Some(offset) = stream.news() {
                return Some(Frame::Taken { stream: *id, offset });
            }
        }
        let most = usize::try_from(wire.window.saturating_sub(wire.sent - wire.heard)).unwrap_or(0).min(MAX_DATA);
        if most == 0 {
            return None;
        }
        let after = self.turn;
        let mut order: Vec<u32> = self.streams.range(after.saturating_add(1)..).map(|(id, _)| *id).collect();
        order.extend(self.streams.range(..=after).map(|(id, _)| *id));
        order.into_iter().find_map(|id| {
            let stream = self.streams.get_mut(&id)?;
            let frame = match stream.data(most) {
                Some((offset, bytes)) => Frame::Data { stream: id, offset, bytes },
                None => Frame::Fin { stream: id, offset: stream.fin()? },
            };
            self.turn = id;
            Some(frame)
        })
    }

    /// Forgets streams that are over on both sides.
    fn sweep(&mut self) {
        self.streams.retain(|_, stream| !stream.is_done());
    }
}
