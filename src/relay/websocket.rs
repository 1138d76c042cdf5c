//! The server's side of RFC 6455, strictly: bytes from a client become messages, messages become frames. No I/O.
//!
//! A message is taken apart once and put together once: its payload is unmasked on its way into the buffer that is
//! then shared by all who get it. Memory is taken for what has arrived, never for what a header promises.

use axum::body::Bytes;

/// Longest header of a frame that a server sends, in bytes; left free before each payload.
const HEADER_ROOM: usize = 10;
/// Longest payload of a control frame, in bytes.
const MAX_CONTROL: usize = 125;
/// Memory that is taken ahead of what has arrived, in bytes.
const AHEAD: usize = 16 * 1024;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A whole message.
    Message(Message),
    /// Wants this back.
    Ping(Vec<u8>),
    /// An answer.
    Pong,
    /// Goodbye, and why.
    Close(Option<u16>),
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It breaks RFC 6455.
    Protocol,
    /// A text is not UTF-8.
    NotText,
    /// A message is above the limit.
    TooBig,
}

/// A whole message, with room for a header before its payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    text: bool,
    buffer: Vec<u8>,
}

impl Message {
    fn new(text: bool) -> Self {
        Self { text, buffer: Vec::new() }
    }

    /// Whether it is a text.
    pub(super) fn is_text(&self) -> bool {
        self.text
    }

    /// Its payload.
    pub(super) fn payload(&self) -> &[u8] {
        self.buffer.get(HEADER_ROOM..).unwrap_or_default()
    }

    /// Its payload, to be changed in place.
    pub(super) fn payload_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(HEADER_ROOM..).unwrap_or_default()
    }

    /// The one frame in which it goes to whoever gets it: a buffer, and where in it the frame begins.
    pub(super) fn into_frame(mut self) -> (Vec<u8>, usize) {
        if self.buffer.is_empty() {
            self.buffer.resize(HEADER_ROOM, 0);
        }
        let (header, length) = header(if self.text { TEXT } else { BINARY }, self.payload().len());
        let start = HEADER_ROOM - length;
        for (at, byte) in header.into_iter().take(length).enumerate() {
            if let Some(place) = self.buffer.get_mut(start + at) {
                *place = byte;
            }
        }
        (self.buffer, start)
    }

    /// Adds `masked`, unmasked; `more` is what else the frame still brings.
    fn add(&mut self, masked: &[u8], mask: [u8; 4], more: usize) {
        if self.buffer.is_empty() {
            self.buffer.reserve_exact(HEADER_ROOM + masked.len() + more.min(AHEAD));
            self.buffer.resize(HEADER_ROOM, 0);
        } else if self.buffer.capacity() - self.buffer.len() < masked.len() {
            self.buffer.reserve(masked.len() + more.min(AHEAD));
        }
        let start = self.buffer.len();
        self.buffer.extend_from_slice(masked);
        unmask(self.buffer.get_mut(start..).unwrap_or_default(), mask);
    }
}

/// A text from the relay itself, as a frame.
pub(super) fn text_frame(text: &str) -> Bytes {
    frame(TEXT, text.as_bytes())
}

/// A ping without a payload.
pub(super) fn ping_frame() -> Bytes {
    frame(PING, &[])
}

/// The answer to a ping. Control frames that were taken are short enough.
pub(super) fn pong_frame(payload: &[u8]) -> Bytes {
    frame(PONG, payload)
}

/// A goodbye. Reasons of the relay's own are short enough for a control frame.
pub(super) fn close_frame(code: Option<u16>, reason: &str) -> Bytes {
    let payload = code.map(|code| [&code.to_be_bytes(), reason.as_bytes()].concat());
    frame(CLOSE, &payload.unwrap_or_default())
}

/// Header of a frame, not masked, and how many bytes of it count.
#[expect(clippy::cast_possible_truncation, reason = "each length is compared before")]
fn header(opcode: u8, length: usize) -> ([u8; HEADER_ROOM], usize) {
    let mut header = [0; HEADER_ROOM];
    header[0] = FIN | opcode;
    if length < 126 {
        header[1] = length as u8;
        (header, 2)
    } else if length < 0x1_0000 {
        header[1] = 126;
        header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        (header, 4)
    } else {
        header[1] = 127;
        header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        (header, 10)
    }
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let (header, length) = header(opcode, payload.len());
    [header.get(..length).unwrap_or_default(), payload].concat().into()
}

/// `mask` begins at the first byte.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*word) {
            word.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// A frame whose header was read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    last: bool,
    opcode: u8,
    /// Rotated so that it begins at the next byte.
    mask: [u8; 4],
    /// Bytes of the payload that have not arrived.
    left: usize,
}

/// Takes apart what one client sends.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Most bytes of a message.
    most: usize,
    /// The first bytes of a header whose rest has not arrived.
    header: [u8; 14],
    got: usize,
    frame: Option<Frame>,
    /// What has arrived of a message.
    message: Option<Message>,
    /// What has arrived of a control frame.
    control: Vec<u8>,
}

impl Decoder {
    /// For messages of at most so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { most, header: [0; 14], got: 0, frame: None, message: None, control: Vec::new() }
    }

    /// Bytes of memory that a message takes of which the rest is missing.
    pub(super) fn arriving(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.buffer.capacity())
    }

    /// The next item; what belongs to it is taken off `input`. Nothing = `input` is used up.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Fault> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.read_header(input)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let (now, later) = input.split_at(frame.left.min(input.len()));
            *input = later;
            frame.left -= now.len();
            if frame.opcode >= CLOSE {
                self.add_control(now, frame.mask);
            } else if let Some(message) = self.message.as_mut() {
                message.add(now, frame.mask, frame.left);
            }
            frame.mask.rotate_left(now.len() % 4);
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
            if let Some(item) = self.end_of(frame)? {
                return Ok(Some(item));
            }
        }
    }

    fn add_control(&mut self, masked: &[u8], mask: [u8; 4]) {
        let start = self.control.len();
        self.control.extend_from_slice(masked);
        unmask(self.control.get_mut(start..).unwrap_or_default(), mask);
    }

    fn end_of(&mut self, frame: Frame) -> Result<Option<Item>, Fault> {
        match frame.opcode {
            CLOSE => close(&std::mem::take(&mut self.control)).map(Some),
            PING => Ok(Some(Item::Ping(std::mem::take(&mut self.control)))),
            PONG => {
                self.control = Vec::new();
                Ok(Some(Item::Pong))
            }
            _ if frame.last => {
                let message = self.message.take().ok_or(Fault::Protocol)?;
                if message.is_text() && std::str::from_utf8(message.payload()).is_err() {
                    return Err(Fault::NotText);
                }
                Ok(Some(Item::Message(message)))
            }
            _ => Ok(None),
        }
    }

    /// Collects a header and looks at it as soon as its parts are there.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Fault> {
        let mut need = 2_usize;
        loop {
            let missing = need.saturating_sub(self.got);
            let (now, later) = input.split_at(missing.min(input.len()));
            if let Some(place) = self.header.get_mut(self.got..self.got + now.len()) {
                place.copy_from_slice(now);
            }
            *input = later;
            self.got += now.len();
            if self.got < need {
                return Ok(None);
            }
            let whole = self.check_start()?;
            if need == whole {
                self.got = 0;
                return self.begin(whole).map(Some);
            }
            need = whole;
        }
    }

    /// Looks at the first two bytes; returns the length of the whole header.
    fn check_start(&self) -> Result<usize, Fault> {
        let [first, second, ..] = self.header;
        let (opcode, short) = (first & 0x0f, second & 0x7f);
        let known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
        let reserved = first & 0x70 != 0;
        let long_control = opcode >= CLOSE && (first & FIN == 0 || usize::from(short) > MAX_CONTROL);
        // A message goes on with continuations only, and nothing else does.
        let out_of_turn = opcode < CLOSE && (opcode == CONTINUATION) != self.message.is_some();
        if reserved || !known || second & MASKED == 0 || long_control || out_of_turn {
            return Err(Fault::Protocol);
        }
        Ok(match short {
            126 => 8,
            127 => 14,
            _ => 6,
        })
    }

    fn begin(&mut self, whole: usize) -> Result<Frame, Fault> {
        let h = self.header;
        let (length, shortest) = match whole {
            6 => (u64::from(h[1] & 0x7f), 0),
            8 => (u64::from(u16::from_be_bytes([h[2], h[3]])), 126),
            _ => (u64::from_be_bytes([h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9]]), 0x1_0000),
        };
        if length < shortest || length >> 63 != 0 {
            return Err(Fault::Protocol);
        }
        let mask = match whole {
            6 => [h[2], h[3], h[4], h[5]],
            8 => [h[4], h[5], h[6], h[7]],
            _ => [h[10], h[11], h[12], h[13]],
        };
        let opcode = h[0] & 0x0f;
        let left = usize::try_from(length).map_err(|_| Fault::TooBig)?;
        if opcode < CLOSE {
            let before = self.message.as_ref().map_or(0, |message| message.payload().len());
            if left > self.most.saturating_sub(before) {
                return Err(Fault::TooBig);
            }
            self.message.get_or_insert_with(|| Message::new(opcode == TEXT));
        }
        Ok(Frame { last: h[0] & FIN != 0, opcode, mask, left })
    }
}

fn close(payload: &[u8]) -> Result<Item, Fault> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(Item::Close(None)) } else { Err(Fault::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    // RFC 6455 §7.4 and its registry: 1004 to 1006 and 1015 are never sent.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Fault::Protocol);
    }
    std::str::from_utf8(reason).map_err(|_| Fault::NotText)?;
    Ok(Item::Close(Some(code)))
}

// Named, since the fuzz targets include this file from elsewhere.
#[cfg(test)]
#[path = "websocket/tests.rs"]
mod tests;
