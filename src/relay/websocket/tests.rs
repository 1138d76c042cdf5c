//! Frames: tables of what is refused, and random messages in random pieces.

use proptest::prelude::*;

use super::*;

fn framed(message: Message) -> Vec<u8> {
    let (buffer, start) = message.into_frame();
    buffer[start..].to_vec()
}

const MASK: [u8; 4] = [7, 0, 255, 90];

fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let (mut head, length) = header(0, payload.len());
    head[0] = first;
    head[1] |= MASKED;
    let mut masked = payload.to_vec();
    unmask(&mut masked, MASK);
    [&head[..length], &MASK, &masked].concat()
}

fn all(decoder: &mut Decoder, mut input: &[u8]) -> Result<Vec<Item>, Fault> {
    let mut items = Vec::new();
    while let Some(item) = decoder.next(&mut input)? {
        items.push(item);
    }
    assert!(input.is_empty());
    Ok(items)
}

fn first(input: &[u8]) -> Result<Vec<Item>, Fault> {
    all(&mut Decoder::new(1000), input)
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    let text = |payload: &[u8]| client_frame(FIN | TEXT, payload);
    let close = |payload: &[u8]| client_frame(FIN | CLOSE, payload);
    let part = |first: u8| client_frame(first, b"x");
    let table: Vec<(&str, Vec<u8>, Fault)> = vec![
        ("reserved bit 1", client_frame(FIN | 0x40 | TEXT, b""), Fault::Protocol),
        ("reserved bit 2", client_frame(FIN | 0x20 | TEXT, b""), Fault::Protocol),
        ("reserved bit 3", client_frame(FIN | 0x10 | PING, b""), Fault::Protocol),
        ("opcode 3", client_frame(FIN | 3, b""), Fault::Protocol),
        ("opcode 11", client_frame(FIN | 0x0b, b""), Fault::Protocol),
        ("no mask", vec![FIN | TEXT, 0], Fault::Protocol),
        ("ping in parts", client_frame(PING, b""), Fault::Protocol),
        ("long ping", client_frame(FIN | PING, &[0; 126]), Fault::Protocol),
        ("continues nothing", part(FIN), Fault::Protocol),
        ("text in a message", [part(TEXT), part(FIN | TEXT)].concat(), Fault::Protocol),
        ("continues what is over", [part(TEXT), part(FIN), part(FIN)].concat(), Fault::Protocol),
        ("length of 2 bytes for 125", vec![FIN | BINARY, MASKED | 0x7e, 0, 125, 0, 0, 0, 0], Fault::Protocol),
        (
            "length of 8 bytes",
            [&[FIN | BINARY, MASKED | 0x7f][..], &65535_u64.to_be_bytes(), &MASK].concat(),
            Fault::Protocol,
        ),
        (
            "length above 2^63",
            [&[FIN | BINARY, MASKED | 0x7f][..], &u64::MAX.to_be_bytes(), &MASK].concat(),
            Fault::Protocol,
        ),
        ("too big", [&[FIN | BINARY, MASKED | 0x7f][..], &(1_u64 << 40).to_be_bytes(), &MASK].concat(), Fault::TooBig),
        ("too big by one", client_frame(FIN | BINARY, &[0; 1001]), Fault::TooBig),
        ("too big in parts", [client_frame(BINARY, &[0; 600]), client_frame(FIN, &[0; 401])].concat(), Fault::TooBig),
        ("no text", text(b"\xff"), Fault::NotText),
        ("half a letter", text(b"\xc3"), Fault::NotText),
        ("close of one byte", close(&[3]), Fault::Protocol),
        ("close with text that is none", close(b"\x03\xe8\xff"), Fault::NotText),
    ];
    for (name, bytes, fault) in table {
        assert_eq!(first(&bytes), Err(fault), "{name}");
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535_u16] {
        assert_eq!(first(&close(&code.to_be_bytes())), Err(Fault::Protocol), "{code}");
    }
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 3000, 4410, 4999_u16] {
        assert_eq!(first(&close(&code.to_be_bytes())), Ok(vec![Item::Close(Some(code))]), "{code}");
    }
    assert_eq!(first(&close(b"")), Ok(vec![Item::Close(None)]));
}

#[test]
fn control_frames_come_between_the_parts_of_a_message() {
    let bytes = [
        client_frame(TEXT, "é".as_bytes().split_at(1).0),
        client_frame(FIN | PING, b"now"),
        client_frame(CONTINUATION, b""),
        client_frame(FIN | PONG, b"x"),
        client_frame(FIN, "é".as_bytes().split_at(1).1),
    ];
    let items = first(&bytes.concat()).expect("all well");
    let [Item::Ping(ping), Item::Pong, Item::Message(message)] = &items[..] else { panic!("{items:?}") };
    assert_eq!((&ping[..], message.is_text(), message.payload()), (&b"now"[..], true, "é".as_bytes()));
}

#[test]
fn no_memory_is_taken_for_a_promise() {
    let most = 64 * 1024 * 1024;
    let mut decoder = Decoder::new(most);
    let head = [&[FIN | BINARY, MASKED | 0x7f][..], &(most as u64).to_be_bytes(), &MASK, &[1]].concat();
    assert_eq!(all(&mut decoder, &head), Ok(vec![]));
    let taken = decoder.message.expect("begun").buffer.capacity();
    assert!(taken <= HEADER_ROOM + 1 + AHEAD, "{taken}");
}

#[test]
fn frames_of_the_relay_are_short_and_not_masked() {
    assert_eq!(&text_frame("hi")[..], b"\x81\x02hi");
    assert_eq!(&ping_frame()[..], b"\x89\x00");
    assert_eq!(&pong_frame(b"x")[..], b"\x8a\x01x");
    assert_eq!(&close_frame(Some(1012), "moved")[..], b"\x88\x07\x03\xf4moved");
    assert_eq!(&close_frame(None, "")[..], b"\x88\x00");
    assert_eq!(framed(Message::new(false)), b"\x82\x00");
}

proptest! {
    #[test]
    fn messages_in_any_pieces_come_out_whole(
        messages in prop::collection::vec((any::<bool>(), "\\PC{0,40}", 1_usize..40, 1_usize..4), 1..12),
        pieces in prop::collection::vec(1_usize..300, 1..20),
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (text, letters, times, parts) in messages {
            let opcode = if text { TEXT } else { BINARY };
            let payload = letters.repeat(times).into_bytes();
            let size = payload.len().div_ceil(parts).max(1);
            let chunks: Vec<&[u8]> = if payload.is_empty() { vec![&[]] } else { payload.chunks(size).collect() };
            for (at, chunk) in chunks.iter().enumerate() {
                let last = if at + 1 == chunks.len() { FIN } else { 0 };
                bytes.extend(client_frame(last | if at == 0 { opcode } else { CONTINUATION }, chunk));
            }
            let (head, length) = header(opcode, payload.len());
            expected.push([&head[..length], &payload].concat());
        }
        let mut decoder = Decoder::new(usize::MAX);
        let mut got = Vec::new();
        let mut rest = &bytes[..];
        for size in pieces.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (mut piece, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            while let Some(item) = decoder.next(&mut piece).expect("all well") {
                let Item::Message(message) = item else { panic!("{item:?}") };
                got.push(framed(message));
            }
        }
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut decoder = Decoder::new(1000);
        let mut input = &bytes[..];
        while let Ok(Some(_)) = decoder.next(&mut input) {}
        prop_assert!(decoder.message.is_none_or(|message| message.payload().len() <= 1000));
    }
}
