//! What says who and where a client is: headers of proxies, and databases of places.

use std::net::IpAddr;

use convene::decide::address::{Header, Heard, Proxies, is_public, proxy};
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
