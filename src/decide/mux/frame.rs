//! The frames that two ends exchange inside their TLS connection, as bytes.
//!
//! A frame is its kind (1 byte), the length of its body (4 bytes, big endian) and the body. Whoever sends an unknown
//! kind, a body that is too long or one of the wrong length ends the connection.

/// Longest body in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// Most bytes of a stream in one frame.
pub const MAX_DATA: usize = 16 * 1024;
/// Bytes before each body.
pub const HEADER: usize = 5;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message of the session itself, as JSON: proof, admission, and so on.
    Control(Vec<u8>),
    /// The guest has a new stream.
    Open {
        /// Its number; each is higher than those before.
        stream: u32,
    },
    /// Bytes of a stream.
    Data {
        /// Which.
        stream: u32,
        /// Where in the stream the first byte belongs.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A stream ends in this direction.
    Fin {
        /// Which.
        stream: u32,
        /// Its length in this direction.
        offset: u64,
    },
    /// A stream is broken off in both directions.
    Reset {
        /// Which.
        stream: u32,
        /// Why.
        why: Why,
    },
    /// How much of a stream the local program took; the end counts as one byte. More may be sent, and what is before
    /// it may be forgotten.
    Taken {
        /// Which.
        stream: u32,
        /// Bytes from the stream's begin.
        offset: u64,
    },
    /// Bytes of frames that came through this connection so far; this frame, pings and pongs do not count. Bounds what
    /// is on the way.
    Heard(u64),
    /// Asks for [`Frame::Pong`].
    Ping,
    /// Answers [`Frame::Ping`].
    Pong,
}

/// Why a stream is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The local connection broke.
    Broken,
    /// The host could not reach what it shares.
    Unreachable,
    /// There are too many streams, or the other end does not read what it asked for.
    TooMuch,
}

/// What came is not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// The body is longer than [`MAX_BODY`].
    #[error("a frame that is too long")]
    TooLong,
    /// The kind is unknown or the body does not fit it.
    #[error("a frame that is not understood")]
    NotUnderstood,
}

impl Frame {
    /// Appends the frame to `out`; gives the number of bytes.
    pub fn encode(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[self.kind(), 0, 0, 0, 0]);
        match self {
            Self::Control(json) => out.extend_from_slice(json),
            Self::Open { stream } => out.extend_from_slice(&stream.to_be_bytes()),
            Self::Data { stream, offset, bytes } => {
                number(out, *stream, *offset);
                out.extend_from_slice(bytes);
            }
            Self::Fin { stream, offset } | Self::Taken { stream, offset } => number(out, *stream, *offset),
            Self::Reset { stream, why } => {
                out.extend_from_slice(&stream.to_be_bytes());
                out.push(match why {
                    Why::Broken => 0,
                    Why::Unreachable => 1,
                    Why::TooMuch => 2,
                });
            }
            Self::Heard(bytes) => out.extend_from_slice(&bytes.to_be_bytes()),
            Self::Ping | Self::Pong => {}
        }
        let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
        out[start + 1..start + HEADER].copy_from_slice(&length.to_be_bytes());
        out.len() - start
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Control(_) => 1,
            Self::Open { .. } => 2,
            Self::Data { .. } => 3,
            Self::Fin { .. } => 4,
            Self::Reset { .. } => 5,
            Self::Taken { .. } => 6,
            Self::Heard(_) => 7,
            Self::Ping => 8,
            Self::Pong => 9,
        }
    }
}

fn number(out: &mut Vec<u8>, stream: u32, offset: u64) {
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&offset.to_be_bytes());
}

/// Collects bytes until they make frames.
#[derive(Debug, Default)]
pub struct Decoder {
    waiting: Vec<u8>,
    /// How much of `waiting` was given out.
    used: usize,
}

impl Decoder {
    /// Takes what came. Holds at most one unfinished frame beyond it if [`Decoder::next_frame`] is asked until it has none.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.used > 0 {
            self.waiting.drain(..self.used);
            self.used = 0;
        }
        self.waiting.extend_from_slice(bytes);
    }

    /// The next whole frame and how many bytes it was, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<(Frame, usize)>, BadFrame> {
        let rest = &self.waiting[self.used..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, length @ ..] = *header;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| BadFrame::TooLong)?;
        if length > MAX_BODY {
            return Err(BadFrame::TooLong);
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let frame = parse(kind, body).ok_or(BadFrame::NotUnderstood)?;
        self.used += HEADER + length;
        Ok(Some((frame, HEADER + length)))
    }
}

fn parse(kind: u8, body: &[u8]) -> Option<Frame> {
    Some(match kind {
        1 => Frame::Control(body.to_vec()),
        2 => Frame::Open { stream: u32::from_be_bytes(body.try_into().ok()?) },
        3 => {
            let (stream, offset, bytes) = numbered(body)?;
            let fits = !bytes.is_empty() && bytes.len() <= MAX_DATA;
            fits.then(|| Frame::Data { stream, offset, bytes: bytes.to_vec() })?
        }
        4 | 6 => {
            let (stream, offset, rest) = numbered(body)?;
            let frame = if kind == 4 { Frame::Fin { stream, offset } } else { Frame::Taken { stream, offset } };
            rest.is_empty().then_some(frame)?
        }
        5 => {
            let (stream, why) = body.split_first_chunk::<4>()?;
            let why = match why {
                [0] => Why::Broken,
                [1] => Why::Unreachable,
                [2] => Why::TooMuch,
                _ => return None,
            };
            Frame::Reset { stream: u32::from_be_bytes(*stream), why }
        }
        7 => Frame::Heard(u64::from_be_bytes(body.try_into().ok()?)),
        8 if body.is_empty() => Frame::Ping,
        9 if body.is_empty() => Frame::Pong,
        _ => return None,
    })
}

fn numbered(body: &[u8]) -> Option<(u32, u64, &[u8])> {
    let (stream, rest) = body.split_first_chunk::<4>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    Some((u32::from_be_bytes(*stream), u64::from_be_bytes(*offset), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let bytes = |most| proptest::collection::vec(any::<u8>(), 1..most);
        let why = prop_oneof![Just(Why::Broken), Just(Why::Unreachable), Just(Why::TooMuch)];
        prop_oneof![
            bytes(300).prop_map(Frame::Control),
            any::<u32>().prop_map(|stream| Frame::Open { stream }),
            (any::<u32>(), any::<u64>(), bytes(300)).prop_map(|(stream, offset, bytes)| Frame::Data {
                stream,
                offset,
                bytes
            }),
            (any::<u32>(), any::<u64>()).prop_map(|(stream, offset)| Frame::Fin { stream, offset }),
            (any::<u32>(), any::<u64>()).prop_map(|(stream, offset)| Frame::Taken { stream, offset }),
            (any::<u32>(), why).prop_map(|(stream, why)| Frame::Reset { stream, why }),
            any::<u64>().prop_map(Frame::Heard),
            Just(Frame::Ping),
            Just(Frame::Pong),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(frames in proptest::collection::vec(any_frame(), 0..12), step in 1..64_usize) {
            let (mut bytes, mut sizes) = (Vec::new(), Vec::new());
            for frame in &frames {
                sizes.push(frame.encode(&mut bytes));
            }
            let (mut decoder, mut got) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                while let Some(next) = decoder.next_frame().expect("frames of our own") {
                    got.push(next);
                }
            }
            prop_assert_eq!(got, frames.into_iter().zip(sizes).collect::<Vec<_>>());
        }

        #[test]
        fn noise_makes_no_trouble(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.push(&noise);
            while let Ok(Some((_, size))) = decoder.next_frame() {
                prop_assert!(size <= HEADER + MAX_BODY);
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_kept() {
        let mut decoder = Decoder::default();
        decoder.push(&[3, 0, 1, 0, 1]);
        assert_eq!(decoder.next_frame(), Err(BadFrame::TooLong));
    }
}
