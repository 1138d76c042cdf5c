//! Tables and properties of whose request it is.

use proptest::prelude::*;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn proxies(header: Header) -> Proxies {
    let trusted = ["10.0.0.0/8", "2001:db8:1::/48"].map(|text| proxy(text).expect("a network"));
    Proxies::new(trusted.to_vec(), header).expect("a short list")
}

/// Who asks where `peer` sends these lines.
fn asks(header: Header, peer: &str, lines: &[(&str, &str)]) -> (String, Heard) {
    let of = |name: &str| lines.iter().filter(|(of, _)| *of == name).map(|(_, line)| line.as_bytes()).collect();
    let caller = proxies(header).caller(address(peer), of);
    (caller.address.to_string(), caller.heard)
}

#[test]
fn the_right_most_address_that_is_no_trusted_proxys_is_the_clients() {
    let x = |peer: &str, lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        asks(Header::XForwardedFor, peer, &lines)
    };
    let of = |address: &str, heard| (address.to_owned(), heard);
    for (peer, lines, caller) in [
        ("192.0.2.1", &[][..], of("192.0.2.1", Heard::Connection)),
        ("192.0.2.1", &["203.0.113.9"], of("192.0.2.1", Heard::Ignored)),
        ("10.0.0.1", &[], of("10.0.0.1", Heard::Connection)),
        ("10.0.0.1", &["203.0.113.9"], of("203.0.113.9", Heard::Proxy)),
        ("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], of("203.0.113.9", Heard::Proxy)),
        // The client itself wrote what stands on the left.
        ("10.0.0.1", &["198.51.100.1, 203.0.113.9"], of("203.0.113.9", Heard::Proxy)),
        ("10.0.0.1", &["198.51.100.1", "203.0.113.9"], of("203.0.113.9", Heard::Proxy)),
        ("10.0.0.1", &["10.9.9.9, 203.0.113.9, 10.0.0.2"], of("203.0.113.9", Heard::Proxy)),
        ("10.0.0.1", &["203.0.113.9", "10.0.0.3,10.0.0.2"], of("203.0.113.9", Heard::Proxy)),
        ("2001:db8:1::7", &["[2001:db8:9::1]:443"], of("2001:db8:9::1", Heard::Proxy)),
        ("10.0.0.1", &["203.0.113.9:55123"], of("203.0.113.9", Heard::Proxy)),
        // Somebody inside.
        ("10.0.0.1", &["10.4.4.4"], of("10.4.4.4", Heard::Proxy)),
        // Not readable: whoever is behind the last proxy that is known.
        ("10.0.0.1", &["203.0.113.9, unknown"], of("10.0.0.1", Heard::Unreadable)),
        ("10.0.0.1", &["203.0.113.9, , 10.0.0.2"], of("10.0.0.2", Heard::Unreadable)),
        ("10.0.0.1", &[""], of("10.0.0.1", Heard::Unreadable)),
    ] {
        assert_eq!(x(peer, lines), caller, "{peer} {lines:?}");
    }
    // A header that these proxies do not write.
    let other = [("forwarded", "for=198.51.100.1")];
    assert_eq!(asks(Header::XForwardedFor, "10.0.0.1", &other), of("10.0.0.1", Heard::Connection));
    assert_eq!(asks(Header::XForwardedFor, "192.0.2.1", &other), of("192.0.2.1", Heard::Ignored));
}

#[test]
fn the_header_of_rfc_7239_is_read_with_its_quotes() {
    for (line, caller) in [
        ("for=203.0.113.9", Some("203.0.113.9")),
        ("For=\"203.0.113.9:4711\";proto=https;by=10.0.0.1", Some("203.0.113.9")),
        ("for=198.51.100.1, for=\"[2001:db8:9::1]:4711\"", Some("2001:db8:9::1")),
        ("for=203.0.113.9;host=\"a,b;for=1.2.3.4\"", Some("203.0.113.9")),
        ("for=203.0.113.9;host=\"\\\",for=1.2.3.4\"", Some("203.0.113.9")),
        ("for=_hidden", None),
        ("for=unknown", None),
        ("proto=https", None),
        ("for=1.2.3.4;for=203.0.113.9", None),
        ("for=\"203.0.113.9", None),
        ("for=198.51.100.1;host=\", for=203.0.113.9", None),
        ("for=198.51.100.1;host=\"\\, for=\"[2001:db8:9::1]\"", None),
    ] {
        let expected = match caller {
            Some(caller) => (caller.to_owned(), Heard::Proxy),
            None => ("10.0.0.1".to_owned(), Heard::Unreadable),
        };
        assert_eq!(asks(Header::Forwarded, "10.0.0.1", &[("forwarded", line)]), expected, "{line}");
    }
}

#[test]
fn a_way_that_is_too_long_is_not_believed() {
    let way = |hops: usize| vec!["10.0.0.2"; hops].join(",");
    let long = format!("203.0.113.9,{}", way(MAX_HOPS));
    assert_eq!(asks(Header::XForwardedFor, "10.0.0.1", &[("x-forwarded-for", &long)]).1, Heard::Unreadable);
    let short = format!("203.0.113.9,{}", way(MAX_HOPS - 1));
    assert_eq!(asks(Header::XForwardedFor, "10.0.0.1", &[("x-forwarded-for", &short)]).0, "203.0.113.9");
}

#[test]
fn networks_that_hold_nearly_everybody_are_refused() {
    for good in ["10.0.0.0/8", "192.0.2.1", "fd00::/8", "2001::/16", "::ffff:192.0.2.1", " 10.1.2.3/8 "] {
        assert!(proxy(good).is_ok(), "{good}");
    }
    assert_eq!(proxy("10.1.2.3/8").expect("a network").to_string(), "10.0.0.0/8");
    for (bad, why) in [
        (
            "0.0.0.0/0",
            "0.0.0.0/0 is too large: a trusted network has at least 8 bits, since nearly everybody could be in it",
        ),
        (
            "2000::/3",
            "2000::/3 is too large: a trusted network has at least 16 bits, since nearly everybody could be in it",
        ),
        (
            "2a00::/15",
            "2a00::/15 is too large: a trusted network has at least 16 bits, since nearly everybody could be in it",
        ),
        (
            "::ffff:0.0.0.0/103",
            "0.0.0.0/7 is too large: a trusted network has at least 8 bits, since nearly everybody could be in it",
        ),
        ("10.0.0.0/33", "10.0.0.0/33 is neither an address nor a network such as 10.0.0.0/8"),
        ("proxy", "proxy is neither an address nor a network such as 10.0.0.0/8"),
    ] {
        assert_eq!(proxy(bad).expect_err("bad").to_string(), why);
    }
    let mapped = proxy("::ffff:10.1.0.0/104").expect("a network");
    assert_eq!(mapped.to_string(), "10.0.0.0/8", "IPv4 in IPv6 form");
    let trusts = Proxies::new(vec![mapped], Header::default()).expect("short");
    assert!(trusts.trusts(address("10.0.0.1")) && trusts.trusts(address("::ffff:10.0.0.1")));
    let read = |network: &str, header| Proxies::read(&[network.to_owned()], header);
    assert!(read("10.0.0.0/8", "x-forwarded-for").is_ok_and(|proxies| proxies.header == Header::XForwardedFor));
    assert!(read("10.0.0.0/8", "forwarded").is_ok_and(|proxies| proxies.header == Header::Forwarded));
    assert_eq!(read("10.0.0.0/8", "via"), Err(BadProxies::NoHeader("via".to_owned())));
    assert!(read("x", "forwarded").is_err());
    let many = vec![proxy("10.0.0.1").expect("an address"); MAX_NETWORKS + 1];
    assert_eq!(Proxies::new(many, Header::default()), Err(BadProxies::TooMany(MAX_NETWORKS + 1)));
}

#[test]
fn only_public_addresses_say_where_somebody_is() {
    for (text, public) in [
        ("192.168.1.1", false),
        ("10.1.1.1", false),
        ("172.31.0.1", false),
        ("172.32.0.1", true),
        ("127.0.0.1", false),
        ("169.254.1.1", false),
        ("100.64.0.1", false),
        ("100.128.0.1", true),
        ("0.1.2.3", false),
        ("224.0.0.1", false),
        ("255.255.255.255", false),
        ("8.8.8.8", true),
        ("::1", false),
        ("fe80::1", false),
        ("fd00::1", false),
        ("::ffff:10.0.0.1", false),
        ("::ffff:8.8.8.8", true),
        ("2a00:1450::1", true),
    ] {
        assert_eq!(is_public(address(text)), public, "{text}");
    }
    let place = |heard| Caller { address: address("8.8.8.8"), heard }.place();
    assert!(place(Heard::Connection).is_some() && place(Heard::Proxy).is_some());
    assert!(place(Heard::Ignored).is_none() && place(Heard::Unreadable).is_none(), "that is a proxy's");
}

proptest! {
    /// Whatever a client writes: nobody but the one whom its proxy saw, or nobody that is known.
    #[test]
    fn no_client_can_say_that_it_is_somebody_else(
        claimed in "(for=|[ -~]|\"|\\\\|;|,|198.51.100.1){0,12}",
        seen in prop::sample::select(vec!["203.0.113.9", "\"[2001:db8:9::1]:80\""]),
        header in prop::sample::select(vec![Header::XForwardedFor, Header::Forwarded]),
        appended in any::<bool>(),
    ) {
        let (hop, whom) = match header {
            Header::Forwarded => (format!("for={seen}"), node(seen.trim_matches('"')).expect("an address").to_string()),
            Header::XForwardedFor => ("203.0.113.9".to_owned(), "203.0.113.9".to_owned()),
        };
        let together = format!("{claimed}, {hop}");
        let lines: &[&str] = if appended { &[&together] } else { &[&claimed, &hop] };
        let lines: Vec<(&str, &str)> = lines.iter().map(|line| (header.name(), *line)).collect();
        let found = asks(header, "10.0.0.1", &lines);
        let unreadable = ("10.0.0.1".to_owned(), Heard::Unreadable);
        prop_assert!(found == (whom, Heard::Proxy) || (appended && header == Header::Forwarded && found == unreadable), "{:?}", found);
    }
}
