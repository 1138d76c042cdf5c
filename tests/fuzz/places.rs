//! What says who and where a client is: headers of proxies, databases of places, and what a store keeps of networks.

use std::net::IpAddr;
use std::time::Duration;

use convene::decide::address::{Header, Heard, Proxies, is_public, proxy};
use convene::decide::networks::{Kept, Networks};
use convene::process::geoip::Database;

/// The proxy that asks, which is trusted, as is its network.
const PEER: &str = "10.0.0.1";

/// The first byte says which header; the rest are its lines, as a client wrote them. Then the proxy says whom it saw.
pub(crate) fn forwarded(data: &[u8]) -> bool {
    let Some((kind, data)) = data.split_first() else { return false };
    let (header, seen) = match kind {
        b'f' => (Header::Forwarded, &b"for=\"[2001:db8::9]:80\""[..]),
        _ => (Header::XForwardedFor, &b"2001:db8::9"[..]),
    };
    let peer: IpAddr = PEER.parse().expect("an address");
    let proxies = Proxies::new(vec![proxy("10.0.0.0/8").expect("a network")], header).expect("a short list");
    let mut lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let of = |lines: &[&[u8]]| proxies.caller(peer, |name| if name == header.name() { lines.to_vec() } else { vec![] });
    let caller = of(&lines);
    assert!(caller.place().is_none_or(is_public));
    let stranger = proxies.caller("192.0.2.1".parse().expect("an address"), |_| lines.clone());
    assert_eq!((stranger.address.to_string().as_str(), stranger.heard), ("192.0.2.1", Heard::Ignored));
    lines.push(seen);
    let behind = of(&lines);
    assert_eq!((behind.address.to_string().as_str(), behind.heard), ("2001:db8::9", Heard::Proxy));
    let last = lines.len() - 2;
    let together = [lines[last], b", ", seen].concat();
    lines.truncate(last);
    lines.push(&together);
    let behind = of(&lines);
    let is_seen = behind.address.to_string() == "2001:db8::9" && behind.heard == Heard::Proxy;
    assert!(is_seen || behind.heard == Heard::Unreadable && behind.address == peer, "{behind:?}");
    caller.heard == Heard::Proxy
}

/// Whatever the file holds: it is refused, or each address has a place in it or none.
pub(crate) fn geoip(data: &[u8]) -> bool {
    let Ok(database) = Database::parse(data.to_vec()) else { return false };
    for address in ["203.0.113.1", "2001:db8::1", "::", "255.255.255.255", "::ffff:203.0.113.1"] {
        let _ = database.locate(address.parse().expect("an address"));
    }
    true
}

/// Whatever a store keeps of a network: it is refused, or kept again as the same.
pub(crate) fn networks(data: &[u8]) -> bool {
    let Ok(text) = String::from_utf8(data.to_vec()) else { return false };
    let (network, now) = ("192.0.2.0/24".parse().expect("a network"), Duration::from_secs(1_000_000));
    let take = |text: &str| {
        let mut networks = Networks::default();
        let kept = Kept { network, number: 7, text: text.to_owned() };
        networks.take_in(&kept, kept.read(now), Some(64500), now).ok()?;
        assert!(networks.unkept(1).is_empty(), "what a store has is not written again");
        let (told, question) = networks.recall("192.0.2.9".parse().expect("an address"), Some(64500), false, now);
        let told = question.map_or_else(|| told.clone(), |question| told.clone().with(&question.answer(now)));
        assert!(told.latencies.values().all(|ms| (0.0..=60_000.0).contains(ms)), "{told:?}");
        networks.is_unkept();
        Some(networks.unkept(1).pop().map(|unkept| unkept.kept().text))
    };
    let Some(taken) = take(&text) else { return false };
    if let Some(ours) = taken {
        assert_eq!(take(&ours), Some(Some(ours.clone())), "a text of ours stays what it is");
    }
    true
}
