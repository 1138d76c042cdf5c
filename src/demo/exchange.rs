//! Bytes between a host and a guest: messages whose every byte both ends can compute, so that a missing, doubled,
//! swapped or changed one is found; and how long each round trip took.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest::{self, Digest};
use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::client::Socket;
use crate::process::clock;

/// Sent until both ends are known to be in the room.
const PROBE: &str = "convene demo: are you there?";
/// Between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// In which the other end must be there, or the next message.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages that the host sends ahead of their answers in the second half. In the first half it waits for each answer,
/// so that the round trips are those of single messages.
const WINDOW: u32 = 8;
/// Sizes in bytes: the edges of WebSocket's length fields, and what lies between.
const SIZES: [usize; 12] = [1, 17, 125, 126, 500, 1000, 1500, 4096, 10_000, 65_535, 65_536, 40_000];

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToGuest,
    ToHost,
}

/// What was exchanged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exchanged {
    /// Messages that arrived, both ways.
    pub(super) messages: u32,
    /// Their payload.
    pub(super) bytes: u64,
    /// Round trips of the host's messages that went alone.
    pub(super) round_trips: Vec<Duration>,
}

/// The message `index` of a session that is known by `seed`: every third is text.
fn message(seed: u64, way: Way, index: u32) -> Message {
    let size = SIZES[(index as usize).wrapping_mul(5) % SIZES.len()];
    let salt = if way == Way::ToGuest { 0x9e37_79b9_7f4a_7c15 } else { 0xc2b2_ae3d_27d4_eb4f };
    let mut state = (seed ^ salt).wrapping_add(u64::from(index) << 17) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        // xorshift64: no two messages share their bytes.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    if index.is_multiple_of(3) {
        let text: String = bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        Message::text(text)
    } else {
        Message::binary(bytes)
    }
}

fn payload(message: &Message) -> &[u8] {
    match message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
        _ => &[],
    }
}

/// Exchanges `count` messages each way; an error tells the first that was lost or changed.
pub(super) async fn exchange(
    host: &mut Socket,
    guest: &mut Socket,
    seed: u64,
    count: u32,
) -> anyhow::Result<Exchanged> {
    meet(host, guest).await.context("host and guest do not meet")?;
    let (hosts, guests) = tokio::try_join!(play_host(host, seed, count), play_guest(guest, seed, count))?;
    ensure!(hosts.sent.as_ref() == guests.received.as_ref(), "the guest's bytes are not those of the host");
    ensure!(guests.sent.as_ref() == hosts.received.as_ref(), "the host's bytes are not those of the guest");
    let bytes = hosts.bytes + guests.bytes;
    Ok(Exchanged { messages: 2 * count, bytes, round_trips: hosts.round_trips })
}

/// A relay sends to whoever is in the room: before anything counts, each end must have heard the other.
async fn meet(host: &mut Socket, guest: &mut Socket) -> anyhow::Result<()> {
    let met = async {
        let mut answered = false;
        loop {
            if !answered {
                host.send(Message::text(PROBE)).await?;
            }
            tokio::select! {
                heard = next(guest) => {
                    heard?;
                    guest.send(Message::text(PROBE)).await?;
                }
                heard = next(host) => {
                    heard?;
                    return anyhow::Ok(());
                }
                () = tokio::time::sleep(PROBE_EVERY) => answered = false,
            }
        }
    };
    tokio::time::timeout(PATIENCE, met).await.context("not within 10 s")?
}

/// What one end saw.
struct End {
    sent: Digest,
    received: Digest,
    /// Received.
    bytes: u64,
    round_trips: Vec<Duration>,
}

async fn play_host(socket: &mut Socket, seed: u64, count: u32) -> anyhow::Result<End> {
    let (mut sent, mut received) = (digest::Context::new(&digest::SHA256), digest::Context::new(&digest::SHA256));
    let (mut sent_at, mut round_trips) = (Duration::ZERO, Vec::new());
    let (mut next_to_send, mut bytes) = (0, 0);
    for index in 0..count {
        let alone = index < count.div_ceil(2);
        let ahead = if alone { 1 } else { WINDOW };
        while next_to_send < count.min(index + ahead) {
            let message = message(seed, Way::ToGuest, next_to_send);
            sent.update(payload(&message));
            sent_at = clock::monotonic();
            send(socket, message).await.context("the host sends")?;
            next_to_send += 1;
        }
        let got = expect(socket, seed, Way::ToHost, index).await?;
        received.update(payload(&got));
        bytes += payload(&got).len() as u64;
        if alone {
            round_trips.push(clock::monotonic().saturating_sub(sent_at));
        }
    }
    Ok(End { sent: sent.finish(), received: received.finish(), bytes, round_trips })
}

async fn play_guest(socket: &mut Socket, seed: u64, count: u32) -> anyhow::Result<End> {
    let (mut sent, mut received) = (digest::Context::new(&digest::SHA256), digest::Context::new(&digest::SHA256));
    let mut bytes = 0;
    for index in 0..count {
        let got = expect(socket, seed, Way::ToGuest, index).await?;
        received.update(payload(&got));
        bytes += payload(&got).len() as u64;
        let answer = message(seed, Way::ToHost, index);
        sent.update(payload(&answer));
        send(socket, answer).await.context("the guest sends")?;
    }
    Ok(End { sent: sent.finish(), received: received.finish(), bytes, round_trips: Vec::new() })
}

/// The next message, which must be this one to the last byte and of the same kind.
async fn expect(socket: &mut Socket, seed: u64, way: Way, index: u32) -> anyhow::Result<Message> {
    let what = || format!("message {index} {}", if way == Way::ToGuest { "to the guest" } else { "to the host" });
    loop {
        let got = tokio::time::timeout(PATIENCE, next(socket)).await;
        let got = got.with_context(|| format!("{} did not arrive", what()))?.with_context(what)?;
        if matches!(&got, Message::Text(text) if text.as_str() == PROBE) {
            continue;
        }
        ensure!(got == message(seed, way, index), "{} is not what was sent", what());
        return Ok(got);
    }
}

async fn send(socket: &mut Socket, message: Message) -> anyhow::Result<()> {
    tokio::time::timeout(PATIENCE, socket.send(message)).await.context("not taken in 10 s")?.map_err(Into::into)
}

async fn next(socket: &mut Socket) -> anyhow::Result<Message> {
    loop {
        match socket.next().await {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => return Ok(message),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(frame))) => bail!("the relay closed the connection: {frame:?}"),
            Some(Err(error)) => return Err(error.into()),
            None => bail!("the connection ended"),
        }
    }
}

/// Waits until the relay closes the connection, as it must when the session is closed.
pub(super) async fn closed(socket: &mut Socket) -> anyhow::Result<()> {
    let ended = async { while !matches!(socket.next().await, None | Some(Ok(Message::Close(_)) | Err(_))) {} };
    tokio::time::timeout(PATIENCE, ended).await.context("the session was closed, but not its connections")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn messages_differ_in_kind_size_and_bytes_and_can_be_computed_again() {
        let mut seen = HashSet::new();
        let (mut texts, mut sizes) = (0, HashSet::new());
        for way in [Way::ToGuest, Way::ToHost] {
            for index in 0..60 {
                let one = message(7, way, index);
                assert_eq!(one, message(7, way, index));
                texts += u32::from(one.is_text());
                sizes.insert(payload(&one).len());
                // The single bytes of the smallest may agree.
                assert!(seen.insert(payload(&one).to_vec()) || payload(&one).len() == 1, "{way:?} {index}");
            }
        }
        assert_eq!(texts, 40);
        assert_eq!(sizes, SIZES.into_iter().collect());
        assert_ne!(message(7, Way::ToGuest, 1), message(8, Way::ToGuest, 1));
    }
}
