//! Addressed mode: what the relay itself tells members, and the number before each payload.

use std::sync::Arc;

use axum::body::Bytes;

use super::Config;
use super::state::Peer;
use super::websocket::{Message, text_frame};
use crate::decide::room::{MemberId, Room};
use crate::wire::relay::{ADDRESS_BYTES, Member, Notice};

type SharedMembers = Room<Bytes, Arc<Peer>>;

/// Tells a new member who it is and who is there, and the others that it has come.
pub(super) fn welcome(room: &mut SharedMembers, id: MemberId, config: &Config) {
    let member = |member, peer: &Peer| Member { member, participant: peer.participant.clone(), role: peer.role };
    let (new, members): (Vec<Member>, Vec<Member>) =
        room.members().map(|(id, peer)| member(id, peer)).partition(|member| member.member == id);
    let (queue_bytes, max_message_bytes) = (config.queue.bytes, config.max_message_bytes);
    tell(room, id, &Notice::Welcome { you: id, members, queue_bytes, max_message_bytes });
    for new in new {
        tell_others(room, id, &Notice::Joined(new));
    }
}

/// Tells the others that a member has left.
pub(super) fn left(room: &mut SharedMembers, member: MemberId) {
    tell_others(room, member, &Notice::Left { member });
}

/// Tells a member that whom it wrote to is not there.
pub(super) fn absent(room: &mut SharedMembers, id: MemberId, member: MemberId) {
    tell(room, id, &Notice::Left { member });
}

/// Whom a message is for, and the message as that one gets it: with the number of its sender.
pub(super) fn readdress(mut message: Message, sender: MemberId) -> Option<(MemberId, Message)> {
    if message.is_text() {
        return None;
    }
    let address = message.payload_mut().first_chunk_mut::<ADDRESS_BYTES>()?;
    let to = MemberId::from_be_bytes(*address);
    *address = sender.to_be_bytes();
    Some((to, message))
}

fn tell(room: &mut SharedMembers, id: MemberId, notice: &Notice) {
    let frame = text_frame(&text(notice));
    let bytes = frame.len();
    room.notify(id, frame, bytes, Peer::wake);
}

fn tell_others(room: &mut SharedMembers, but: MemberId, notice: &Notice) {
    let frame = text_frame(&text(notice));
    room.notify_others(but, &frame, frame.len(), Peer::wake);
}

fn text(notice: &Notice) -> String {
    serde_json::to_string(notice).expect("a notice is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::websocket::{Decoder, Item};

    fn message(opcode: u8, payload: &[u8]) -> Message {
        let length = u8::try_from(payload.len()).expect("short");
        // Masked with zeros.
        let bytes = [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat();
        match Decoder::new(100).next(&mut &bytes[..]) {
            Ok(Some(Item::Message(message))) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_address_becomes_the_senders() {
        let readdressed = |message, sender| {
            readdress(message, sender).map(|(to, message)| {
                let (buffer, start) = message.into_frame();
                (to, buffer[start..].to_vec())
            })
        };
        let long = readdressed(message(2, &[0, 0, 1, 2, 9, 8]), 0x0304);
        assert_eq!(long, Some((0x0102, vec![0x82, 6, 0, 0, 3, 4, 9, 8])));
        assert_eq!(readdressed(message(2, &[0, 0, 0, 1]), 2), Some((1, vec![0x82, 4, 0, 0, 0, 2])));
        assert_eq!(readdress(message(2, &[0, 0, 0]), 2), None);
        assert_eq!(readdress(message(1, b"text"), 1), None);
    }
}
