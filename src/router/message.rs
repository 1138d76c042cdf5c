//! Messages of the DNS: what a question's bytes say, and an answer's bytes. Functions of bytes alone, which are fuzzed. What
//! it must not do: decide what the answer is ([`crate::decide::dns`]).
//!
//! Names and records are read and written by hickory-proto. The frame of a question is read here, stricter than that library
//! reads it: whatever a question has no use for is refused, and an option that is not as RFC 7871 has it is never guessed at.

use std::str::FromStr as _;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::svcb::{IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, HINFO, HTTPS, NS, SOA, SRV, SVCB};
use hickory_proto::rr::{DNSClass, Name as WireName, RData, Record as WireRecord, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use crate::decide::dns::{Answer, Code, Data, Kind, Name, Record, Subnet, Zone};

/// Bytes of a message's header.
const HEADER: usize = 12;
/// Bytes of a question that are taken by UDP: they fit a packet of IPv6's smallest MTU without fragments (DNS flag day 2020).
const TAKES_UDP: u16 = 1232;
/// Largest answer by UDP, to anybody (RFC 1035), whatever they say that they take: what is longer comes by TCP, where the address
/// that gets it cannot be forged. Ours are rarely that long.
pub const MAX_UDP: usize = 512;
/// Records after the question that are looked through for the one of EDNS.
const MAX_ADDITIONAL: u16 = 4;
/// Code of the option for which network is asked (RFC 7871), and type of the record with the options.
const CLIENT_SUBNET: u16 = 8;
const OPT: u16 = 41;
/// Types of the questions for what has changed of a zone, and for all of it.
const IXFR: u16 = 251;
const AXFR: u16 = 252;

/// A question that can be answered.
#[derive(Clone, Debug)]
pub struct Question {
    head: Head,
    query: Query,
    /// The name that is asked for.
    pub name: Name,
    /// What of it.
    pub kind: Kind,
    /// For which network, where that is said.
    pub subnet: Option<Subnet>,
}

/// What an answer repeats.
#[derive(Clone, Copy, Debug)]
struct Head {
    id: u16,
    op_code: OpCode,
    recursion_desired: bool,
    /// They speak EDNS.
    has_edns: bool,
    /// The bit DO, by which records of DNSSEC are asked for: there are none here, and it is repeated all the same (RFC 3225 §3).
    wants_dnssec: bool,
}

/// Why bytes are no question for us.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing is said to that: it may not even be a question.
    Silent(&'static str),
    /// It is said what is wrong.
    Told(Box<Told>),
}

/// What is wrong with a question.
#[derive(Clone, Debug)]
pub struct Told {
    /// In a word.
    pub reason: &'static str,
    head: Head,
    query: Option<Query>,
    code: ResponseCode,
}

impl Fault {
    /// In a word, for the count.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Silent(reason) => reason,
            Self::Told(told) => told.reason,
        }
    }

    /// The bytes of what is said to it, if anything is.
    pub fn answer(&self) -> Option<Vec<u8>> {
        let Self::Told(told) = self else { return None };
        let mut message = begin(told.head, told.query.as_ref(), told.code);
        message.edns = edns(told.head);
        message.to_vec().ok()
    }
}

/// Reads a question.
pub fn read(bytes: &[u8]) -> Result<Question, Fault> {
    let [id_high, id_low, flags, _, counts @ ..] = bytes else { return Err(Fault::Silent("short")) };
    let Some((counts, _)) = counts.split_at_checked(HEADER - 4) else { return Err(Fault::Silent("short")) };
    if flags & 0x80 != 0 {
        // Whoever answers answers may be made to talk to itself for ever.
        return Err(Fault::Silent("response"));
    }
    let mut head = Head {
        id: u16::from_be_bytes([*id_high, *id_low]),
        op_code: OpCode::from_u8((flags >> 3) & 0xf),
        recursion_desired: flags & 1 == 1,
        has_edns: false,
        wants_dnssec: false,
    };
    let told = |reason, head, query: Option<&Query>, code| {
        Fault::Told(Box::new(Told { reason, head, query: query.cloned(), code }))
    };
    if head.op_code != OpCode::Query {
        return Err(told("opcode", head, None, ResponseCode::NotImp));
    }
    let [0, 1, 0, 0, 0, authority @ (0 | 1), more_high, more_low] = counts else {
        return Err(told("counts", head, None, ResponseCode::FormErr));
    };
    let more = u16::from_be_bytes([*more_high, *more_low]);
    let mut decoder = BinDecoder::new(bytes);
    let query = decoder.read_slice(HEADER).ok().and_then(|_| Query::read(&mut decoder).ok());
    let Some(query) = query.filter(|_| more <= MAX_ADDITIONAL) else {
        return Err(told("question", head, None, ResponseCode::FormErr));
    };
    // Who wants what has changed of the zone says what they have (RFC 1995). Nobody else has a use for that section.
    if *authority > 0 {
        let is_other = matches!(additional(&mut decoder), Some(Additional::Other));
        if !is_other || u16::from(query.query_type()) != IXFR {
            return Err(told("counts", head, Some(&query), ResponseCode::FormErr));
        }
    }
    let mut options: Option<Options<'_>> = None;
    for _ in 0..more {
        match additional(&mut decoder) {
            Some(Additional::Edns(_)) if options.is_some() => {
                return Err(told("edns", head, Some(&query), ResponseCode::FormErr));
            }
            Some(Additional::Edns(found)) => options = Some(found),
            Some(Additional::Other) => {}
            None => return Err(told("additional", head, Some(&query), ResponseCode::FormErr)),
        }
    }
    if !decoder.is_empty() {
        return Err(told("trailing", head, Some(&query), ResponseCode::FormErr));
    }
    head.has_edns = options.is_some();
    head.wants_dnssec = options.as_ref().is_some_and(|options| options.wants_dnssec);
    if options.as_ref().is_some_and(|options| options.version != 0) {
        return Err(told("version", head, Some(&query), ResponseCode::BADVERS));
    }
    let subnet = match options.map_or(Ok(None), |options| subnet(options.data)) {
        Ok(subnet) => subnet,
        Err(reason) => return Err(told(reason, head, Some(&query), ResponseCode::FormErr)),
    };
    if query.query_class() != DNSClass::IN {
        return Err(told("class", head, Some(&query), ResponseCode::Refused));
    }
    let (name, kind) = (Name::of_labels(query.name().iter()), kind(query.query_type()));
    Ok(Question { head, query, name, kind, subnet })
}

/// A record after the question.
enum Additional<'a> {
    Edns(Options<'a>),
    Other,
}

/// What the record of EDNS says (RFC 6891).
struct Options<'a> {
    version: u8,
    wants_dnssec: bool,
    data: &'a [u8],
}

/// The next record after the question: that of EDNS, or another; `None` = it cannot be read.
fn additional<'a>(decoder: &mut BinDecoder<'a>) -> Option<Additional<'a>> {
    let owner = WireName::read(decoder).ok()?;
    let type_ = decoder.read_u16().ok()?.unverified();
    let _class = decoder.read_u16().ok()?;
    let [_, version, flags, _] = decoder.read_u32().ok()?.unverified().to_be_bytes();
    let length = decoder.read_u16().ok()?.unverified();
    let data = decoder.read_slice(usize::from(length)).ok()?.unverified();
    match type_ {
        OPT if !owner.is_root() => None,
        OPT => Some(Additional::Edns(Options { version, wants_dnssec: flags & 0x80 != 0, data })),
        _ => Some(Additional::Other),
    }
}

/// For which network is asked. Other options are passed over; none may be broken.
fn subnet(mut options: &[u8]) -> Result<Option<Subnet>, &'static str> {
    let mut found = None;
    while !options.is_empty() {
        let [code_high, code_low, length_high, length_low, rest @ ..] = options else { return Err("edns") };
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let (data, rest) = rest.split_at_checked(length).ok_or("edns")?;
        if u16::from_be_bytes([*code_high, *code_low]) == CLIENT_SUBNET {
            let subnet = Subnet::parse(data).map_err(|_| "subnet")?;
            if found.replace(subnet).is_some() {
                return Err("subnet");
            }
        }
        options = rest;
    }
    Ok(found)
}

fn kind(record_type: RecordType) -> Kind {
    match u16::from(record_type) {
        1 => Kind::A,
        2 => Kind::Ns,
        6 => Kind::Soa,
        28 => Kind::Aaaa,
        33 => Kind::Srv,
        65 => Kind::Https,
        IXFR | AXFR => Kind::Transfer,
        255 => Kind::Any,
        _ => Kind::Other,
    }
}

impl Question {
    /// The bytes of the answer; `scope` = for which part of the question's network it holds, in bits. By UDP a long one is
    /// cut: without records, and with TC set, so that they come by TCP.
    pub fn answer(&self, zone: &Zone, answer: &Answer, scope: u8, udp: bool) -> Option<Vec<u8>> {
        let code = match answer.code {
            Code::NoError => ResponseCode::NoError,
            Code::NxDomain => ResponseCode::NXDomain,
            Code::Refused => ResponseCode::Refused,
            Code::NotYet => ResponseCode::ServFail,
        };
        let mut message = begin(self.head, Some(&self.query), code);
        message.metadata.authoritative = !matches!(answer.code, Code::Refused | Code::NotYet);
        let records = |records: &[Record]| -> Option<Vec<WireRecord>> {
            records.iter().map(|record| wire(record, self.query.name(), zone)).collect()
        };
        message.answers = records(&answer.records)?;
        message.authorities = records(answer.soa.as_slice())?;
        self.add_edns(&mut message, scope);
        let bytes = message.to_vec().ok()?;
        if udp && bytes.len() > MAX_UDP { self.truncated(zone) } else { Some(bytes) }
    }

    /// An answer without records that says to come by TCP; that of another zone is not ours to give.
    pub fn truncated(&self, zone: &Zone) -> Option<Vec<u8>> {
        let mut message = begin(self.head, Some(&self.query), ResponseCode::NoError);
        message.metadata.authoritative = self.name.below(&zone.name).is_some();
        message.metadata.truncation = true;
        self.add_edns(&mut message, 0);
        message.to_vec().ok()
    }

    /// That there is an answer, and that it cannot be given: who asks would wait for one that never comes.
    pub fn failed(&self) -> Option<Vec<u8>> {
        let mut message = begin(self.head, Some(&self.query), ResponseCode::ServFail);
        self.add_edns(&mut message, 0);
        message.to_vec().ok()
    }

    fn add_edns(&self, message: &mut Message, scope: u8) {
        message.edns = edns(self.head).map(|mut edns| {
            if let Some(subnet) = &self.subnet {
                edns.options_mut().insert(EdnsOption::Unknown(CLIENT_SUBNET, subnet.answered(scope)));
            }
            edns
        });
    }
}

fn begin(head: Head, query: Option<&Query>, code: ResponseCode) -> Message {
    let mut message = Message::response(head.id, head.op_code);
    message.metadata.recursion_desired = head.recursion_desired;
    message.metadata.response_code = code;
    message.queries.extend(query.cloned());
    message
}

/// That of an answer, where the question has one.
fn edns(head: Head) -> Option<Edns> {
    head.has_edns.then(|| {
        let mut edns = Edns::new();
        edns.set_max_payload(TAKES_UDP).set_dnssec_ok(head.wants_dnssec);
        edns
    })
}

/// A record as it is written. The name that was asked for is written as it was asked, whichever case its letters have:
/// resolvers tell by that whose answer it is.
fn wire(record: &Record, asked: &WireName, zone: &Zone) -> Option<WireRecord> {
    let name = |name: &Name| WireName::from_str(&name.to_string()).ok();
    let owner = record.owner.as_ref().map_or_else(|| Some(asked.clone()), name)?;
    let data = match &record.data {
        Data::A(address) => RData::A(A(*address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Data::Ns(nameserver) => RData::NS(NS(name(nameserver)?)),
        // Nobody copies this zone: its numbers say how long a copy would live, and one that never changes is as good as any.
        Data::Soa { primary, minimum } => {
            let responsible = name(&zone.name.child(&["hostmaster"]))?;
            RData::SOA(SOA::new(name(primary)?, responsible, 1, 3600, 600, 86_400, *minimum))
        }
        Data::Srv { priority, port, target } => RData::SRV(SRV::new(*priority, 0, *port, name(target)?)),
        Data::Https { priority, port, target, v4, v6 } => {
            let mut parameters = vec![(SvcParamKey::Port, SvcParamValue::Port(*port))];
            if !v4.is_empty() {
                let hints = v4.iter().copied().map(A).collect();
                parameters.push((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(hints))));
            }
            if !v6.is_empty() {
                let hints = v6.iter().copied().map(AAAA).collect();
                parameters.push((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(hints))));
            }
            RData::HTTPS(HTTPS(SVCB::new(*priority, name(target)?, parameters)))
        }
        Data::NotAll => RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new())),
    };
    Some(WireRecord::from_rdata(owner, record.ttl, data))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
