//! Messages against hickory's own reader, and against bytes that are none.

use std::net::Ipv4Addr;

use hickory_proto::op::MessageType;
use proptest::prelude::*;

use super::*;
use crate::decide::dns::Nameserver;

fn zone() -> Zone {
    let name = Name::parse("relays.example.com").expect("a name");
    let nameservers = vec![Nameserver { name: name.child(&["ns1"]), addresses: vec![Ipv4Addr::LOCALHOST.into()] }];
    Zone { name, ttl: 20, nameservers }
}

/// A question with EDNS, where `options` are given.
fn question(name: &str, type_: u16, options: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(options.is_some())];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("short"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(type_.to_be_bytes());
    bytes.extend([0, 1]);
    if let Some(options) = options {
        bytes.extend([0, 0, 41, 0x10, 0, 0, 0, 0, 0]);
        bytes.extend(u16::try_from(options.len()).expect("short").to_be_bytes());
        bytes.extend(options);
    }
    bytes
}

fn a(count: u8) -> Answer {
    let record = |n| Record { owner: None, ttl: 20, data: Data::A(Ipv4Addr::new(192, 0, 2, n)) };
    Answer { code: Code::NoError, records: (0..count).map(record).collect(), soa: None, near: true }
}

#[test]
fn a_question_is_read_and_its_answer_is_whole() {
    let bytes = question("ReLays.Example.COM", 1, Some(&[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2, 0, 10, 0, 2, 9, 9]));
    let question = read(&bytes).expect("whole");
    assert_eq!((question.name.to_string().as_str(), question.kind), ("relays.example.com.", Kind::A));
    assert_eq!(question.subnet.map(|subnet| subnet.scope().to_string()).as_deref(), Some("192.0.2.0/24"));
    let answer = question.answer(&zone(), &a(4), 24, true).expect("written");
    let message = Message::from_vec(&answer).expect("read");
    assert_eq!((message.metadata.id, message.metadata.message_type), (0x1234, MessageType::Response));
    assert!(
        message.metadata.authoritative && message.metadata.recursion_desired && !message.metadata.recursion_available
    );
    assert_eq!(message.answers.len(), 4);
    // As it was asked, letter by letter.
    assert!(message.queries.iter().all(|query| query.name().to_ascii() == "ReLays.Example.COM."));
    assert!(message.answers.iter().all(|record| record.name.to_ascii() == "ReLays.Example.COM."));
    let edns = message.edns.expect("EDNS is answered by EDNS");
    assert_eq!((edns.max_payload(), edns.version()), (TAKES_UDP, 0));
    assert!(answer.ends_with(&[0, 8, 0, 7, 0, 1, 24, 24, 192, 0, 2]), "{answer:?}");
    assert!(answer.len() <= bytes.len() * 3, "{} bytes for {}", answer.len(), bytes.len());
}

/// What ADR 0037 says of amplification.
#[test]
fn the_longest_answers_by_udp_are_so_many_times_their_questions() {
    // Names as long as they may be for an answer to be whole; longer ones come by TCP.
    let target = zone().name.child(&["r".repeat(22).as_str(), "n".repeat(22).as_str()]);
    let (v4, v6) = (Ipv4Addr::LOCALHOST, std::net::Ipv6Addr::LOCALHOST);
    let of = |n: u16, data: &Data| {
        // No two records are alike.
        let mut data = data.clone();
        match &mut data {
            Data::Srv { port, .. } | Data::Https { port, .. } => *port = n,
            _ => {}
        }
        Record { owner: None, ttl: 20, data }
    };
    let https = Data::Https { priority: 1, port: 1, target: target.clone(), v4: vec![v4], v6: vec![v6] };
    let cases = [
        ("relays.example.com", 1, Data::A(v4), 4),
        ("relays.example.com", 28, Data::Aaaa(v6), 4),
        ("relays.example.com", 65, https, 4),
        ("_ws._tcp.relays.example.com", 33, Data::Srv { priority: 10, port: 1, target: target.clone() }, 4),
        ("relays.example.com", 2, Data::Ns(target.clone()), 4),
        ("relays.example.com", 6, Data::Soa { primary: target.clone(), minimum: 20 }, 1),
        ("relays.example.com", 255, Data::NotAll, 1),
    ];
    let mut tenths = Vec::new();
    for (name, type_, data, count) in cases {
        let bytes = question(name, type_, Some(&[]));
        let records = (1..=count).map(|n| of(n, &data)).collect();
        let answer = Answer { code: Code::NoError, records, soa: None, near: true };
        let answer = read(&bytes).expect("whole").answer(&zone(), &answer, 0, true).expect("written");
        assert!(answer.len() <= MAX_UDP && answer[2] & 2 == 0, "whole: {name} {type_}, {} bytes", answer.len());
        tenths.push((type_, answer.len() * 10 / bytes.len()));
    }
    assert_eq!(tenths, [(1, 23), (28, 33), (65, 107), (33, 70), (2, 31), (6, 29), (255, 14)]);
}

#[test]
fn an_answer_that_cannot_be_written_fails_and_is_not_silence() {
    let asked = read(&question("relays.example.com", 33, Some(&[]))).expect("whole");
    let target = Name::of_labels([[b'a'; 64].as_slice()]);
    let srv = Record { owner: None, ttl: 20, data: Data::Srv { priority: 1, port: 1, target } };
    assert_eq!(asked.answer(&zone(), &Answer { records: vec![srv], ..a(0) }, 0, true), None, "no label is that long");
    let message = Message::from_vec(&asked.failed().expect("written")).expect("read");
    assert_eq!((message.metadata.response_code, message.metadata.id), (ResponseCode::ServFail, 0x1234));
    assert!(!message.metadata.authoritative);
}

#[test]
fn who_asks_for_dnssec_is_told_that_they_did() {
    let mut bytes = question("relays.example.com", 1, Some(&[]));
    let flags = bytes.len() - 4;
    for wants in [false, true] {
        bytes[flags] = if wants { 0x80 } else { 0 };
        let question = read(&bytes).expect("whole");
        let mut wrong = bytes.clone();
        // Of a version that nobody knows.
        wrong[flags - 1] = 1;
        let told = read(&wrong).expect_err("too new").answer();
        for answer in [question.answer(&zone(), &a(1), 0, true), question.truncated(&zone()), told] {
            let edns = Message::from_vec(&answer.expect("written")).expect("read").edns.expect("EDNS");
            assert_eq!(edns.flags().dnssec_ok, wants);
        }
    }
}

#[test]
fn what_is_too_long_for_udp_is_empty_and_says_to_come_by_tcp() {
    let long = |n: usize| Record {
        owner: None,
        ttl: 20,
        data: Data::Srv {
            priority: 1,
            port: 1,
            target: Name::parse(&format!("{n}.{}.{}.example", "a".repeat(60), "b".repeat(60))).expect("a name"),
        },
    };
    let answer = Answer { records: (0..4).map(long).collect(), ..a(0) };
    let plain = read(&question("relays.example.com", 33, None)).expect("whole");
    let cut = plain.answer(&zone(), &answer, 0, true).expect("written");
    let message = Message::from_vec(&cut).expect("read");
    assert!(message.metadata.truncation && message.answers.is_empty() && cut.len() <= 512, "{message:?}");
    let whole = plain.answer(&zone(), &answer, 0, false).expect("written");
    let message = Message::from_vec(&whole).expect("read");
    assert!(!message.metadata.truncation && message.answers.len() == 4 && message.edns.is_none());
    let more = read(&question("relays.example.com", 33, Some(&[]))).expect("whole");
    let cut = more.answer(&zone(), &answer, 0, true).expect("written");
    let message = Message::from_vec(&cut).expect("read");
    assert!(message.metadata.truncation && cut.len() <= 512, "nor who says that they take more: {message:?}");
}

#[test]
fn every_kind_of_record_is_written_as_hickory_reads_it() {
    let target = Name::parse("dublin-0.live.relays.example.com").expect("a name");
    let kinds = [
        Data::Aaaa("2001:db8::1".parse().expect("an address")),
        Data::Ns(target.clone()),
        Data::Soa { primary: target.clone(), minimum: 20 },
        Data::Srv { priority: 10, port: 443, target: target.clone() },
        Data::Https { priority: 1, port: 8443, target, v4: vec![Ipv4Addr::LOCALHOST], v6: vec![] },
        Data::NotAll,
    ];
    let expected = [
        "AAAA 2001:db8::1",
        "NS dublin-0.live.relays.example.com.",
        "SOA dublin-0.live.relays.example.com. hostmaster.relays.example.com. 1 3600 600 86400 20",
        "SRV 10 0 443 dublin-0.live.relays.example.com.",
        "HTTPS 1 dublin-0.live.relays.example.com. port=8443 ipv4hint=127.0.0.1,",
        "HINFO RFC8482 ",
    ];
    for (data, expected) in kinds.into_iter().zip(expected) {
        let asked = read(&question("relays.example.com", 255, None)).expect("whole");
        let answer = Answer { records: vec![Record { owner: None, ttl: 7, data }], ..a(0) };
        let message = Message::from_vec(&asked.answer(&zone(), &answer, 0, true).expect("written")).expect("read");
        let record = message.answers.first().expect("a record");
        assert_eq!(format!("{} {}", record.record_type(), record.data).trim_end(), expected.trim_end());
        assert_eq!(record.ttl, 7);
    }
}

#[test]
fn what_is_no_question_is_told_so_or_passed_over() {
    let good = question("relays.example.com", 1, Some(&[]));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let subnet = |option: &[u8]| question("relays.example.com", 1, Some(option));
    for (bytes, reason, code) in [
        (good[..11].to_vec(), "short", None),
        (with(2, 0x81), "response", None),
        (with(2, 0x29), "opcode", Some(ResponseCode::NotImp)),
        (with(5, 2), "counts", Some(ResponseCode::FormErr)),
        (with(7, 1), "counts", Some(ResponseCode::FormErr)),
        (with(11, 9), "question", Some(ResponseCode::FormErr)),
        (good[..20].to_vec(), "question", Some(ResponseCode::FormErr)),
        (good[..good.len() - 1].to_vec(), "additional", Some(ResponseCode::FormErr)),
        ([&good[..], &[0]].concat(), "trailing", Some(ResponseCode::FormErr)),
        (with(good.len() - 5, 1), "version", Some(ResponseCode::BADVERS)),
        (with(35, 3), "class", Some(ResponseCode::Refused)),
        (subnet(&[0, 8, 0]), "edns", Some(ResponseCode::FormErr)),
        (subnet(&[0, 8, 0, 9, 0, 1]), "edns", Some(ResponseCode::FormErr)),
        (subnet(&[0, 8, 0, 4, 0, 3, 0, 0]), "subnet", Some(ResponseCode::FormErr)),
        (subnet(&[0, 8, 0, 8, 0, 1, 24, 0, 192, 0, 2, 1]), "subnet", Some(ResponseCode::FormErr)),
        (subnet(&[0, 8, 0, 4, 0, 1, 0, 0, 0, 8, 0, 4, 0, 1, 0, 0]), "subnet", Some(ResponseCode::FormErr)),
    ] {
        let fault = read(&bytes).expect_err(reason);
        assert_eq!(fault.reason(), reason);
        let answer = fault.answer().map(|answer| Message::from_vec(&answer).expect("read"));
        // By number: BADVERS shares its own with another.
        let number = |code: ResponseCode| u16::from(code);
        assert_eq!(answer.as_ref().map(|message| number(message.metadata.response_code)), code.map(number), "{reason}");
        if let Some(message) = answer {
            assert_eq!((message.metadata.id, message.answers.len()), (0x1234, 0));
        }
    }
}

/// `bytes` with a record of the authority section behind the question: what a secondary has of the zone (RFC 1995).
fn with_soa(bytes: &[u8], type_: u16) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[9] += 1;
    bytes.extend([0xc0, 12]);
    bytes.extend(type_.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
    bytes.extend([0; 20]);
    bytes
}

#[test]
fn a_transfer_may_say_what_is_there_already_and_nothing_else_may() {
    let transfer = with_soa(&question("relays.example.com", 251, None), 6);
    assert_eq!(read(&transfer).map(|question| question.kind).map_err(|fault| fault.reason()), Ok(Kind::Transfer));
    for wrong in [
        with_soa(&question("relays.example.com", 1, None), 6),
        with_soa(&question("relays.example.com", 252, None), 6),
        with_soa(&transfer, 6),
        with_soa(&question("relays.example.com", 251, None), OPT),
    ] {
        assert_eq!(read(&wrong).expect_err("too much").reason(), "counts");
    }
}

#[test]
fn who_is_told_to_come_by_tcp_is_told_with_authority_for_our_zone_alone() {
    for (name, authoritative) in [("Tokyo.relays.example.com", true), ("example.org", false)] {
        let asked = read(&question(name, 1, None)).expect("whole");
        let message = Message::from_vec(&asked.truncated(&zone()).expect("written")).expect("read");
        assert!(message.metadata.truncation, "{name}");
        assert_eq!(message.metadata.authoritative, authoritative, "{name}");
    }
}

proptest! {
    #[test]
    fn no_bytes_break_it_and_no_fault_is_longer_than_what_it_is_told_of(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        at in 0..40_usize,
        good in any::<bool>(),
    ) {
        let mut input = if good { question("relays.example.com", 1, Some(&[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2])) } else { Vec::new() };
        let at = at.min(input.len());
        input.splice(at..(at + bytes.len().min(3)).min(input.len()), bytes);
        match read(&input) {
            Ok(question) => {
                let bytes = question.answer(&zone(), &a(4), 0, true).expect("written");
                prop_assert!(bytes.len() <= MAX_UDP);
                prop_assert!(Message::from_vec(&bytes).is_ok());
                // The four addresses, and an option or two.
                prop_assert!(bytes.len() <= input.len() + 4 * 16 + 11, "{} bytes for {}", bytes.len(), input.len());
                prop_assert!(question.truncated(&zone()).expect("written").len() <= input.len() + 11);
            }
            Err(fault) => {
                if let Some(answer) = fault.answer() {
                    prop_assert!(answer.len() <= input.len() + 11, "{} bytes for {}", answer.len(), input.len());
                }
            }
        }
    }
}
