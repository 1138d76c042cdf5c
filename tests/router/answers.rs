//! What `dig` is told.

use crate::world::{OFF_EARTH, PARIS, RIO, Running, TOKYO, table};

#[tokio::test]
async fn each_network_gets_the_relays_that_are_nearest_to_it() {
    let router = Running::start(&table()).await;
    let tokyo = router.dig("relays.example.com A +subnet=203.0.113.77/32").await;
    assert_eq!((tokyo.status(), tokyo.answers()), ("NOERROR", vec!["192.0.2.9".to_owned()]), "{tokyo:?}");
    assert_eq!(tokyo.subnet(), Some("203.0.113.77/32/24"), "it holds for the whole /24");
    assert!(tokyo.flags().contains("aa") && !tokyo.flags().contains("ra"), "{tokyo:?}");
    assert_eq!(tokyo.ttls(), [20]);
    assert_eq!(router.dig("relays.example.com AAAA +subnet=203.0.113.0/24").await.answers(), ["2001:db8::9"]);
    assert_eq!(router.near(PARIS).await, ["192.0.2.1", "192.0.2.2"]);
    let rio = router.dig("relays.example.com A +subnet=2001:db8:77::1/128").await;
    assert_eq!((rio.answers(), rio.subnet()), (vec!["192.0.2.20".to_owned()], Some("2001:db8:77::1/128/56")));
    assert_eq!(router.near(RIO).await, ["192.0.2.20"]);
    // There is no IPv6 near Rio; resolvers keep that for all the world, so they are told so, and not for long.
    let none = router.dig(&format!("relays.example.com AAAA +subnet={RIO}")).await;
    assert_eq!((none.status(), none.answers(), none.subnet()), ("NOERROR", vec![], Some("2001:db8:77::/56/0")));
    assert!(matches!(&none.authority()[..], [soa] if soa.ends_with(" 5")), "{none:?}");
    // Of these nothing is known, or nothing may be: declared order.
    for network in [OFF_EARTH, "192.168.7.0/24", "8.0.0.0/8", "0.0.0.0/0", "::/0"] {
        assert_eq!(router.near(network).await, ["192.0.2.1", "192.0.2.2"], "{network}");
    }
    assert_eq!(router.metric("convene_router_geoip_lookups_total{outcome=\"not_on_earth\"}").await, 1);
    let withheld = router.dig("relays.example.com A +subnet=0").await;
    assert_eq!(withheld.subnet(), Some("0.0.0.0/0/0"));
    // As other versions write it: of no family.
    let withheld = router.dig("relays.example.com A +ednsopt=8:00000000").await;
    assert_eq!(
        (withheld.status(), withheld.sorted()),
        ("NOERROR", vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()])
    );
    assert!(withheld.subnet().is_some_and(|subnet| subnet.ends_with("/0/0")), "{withheld:?}");
    let signed = router.dig("relays.example.com A +dnssec").await;
    assert!(signed.text.contains("EDNS: version: 0, flags: do;"), "RFC 3225: {signed:?}");
    // Asked without a network there is none in the answer.
    assert_eq!(router.dig("relays.example.com A").await.subnet(), None);
    router.stop().await;
}

#[tokio::test]
async fn names_of_regions_relays_and_services_are_answered_by_udp_and_tcp() {
    let router = Running::start(&table()).await;
    for transport in ["+notcp", "+tcp", "+noedns"] {
        for (question, status, answers) in [
            ("asia-northeast1.relays.example.com A", "NOERROR", vec!["192.0.2.9"]),
            ("Asia-NorthEast1-Pool.Relays.Example.COM A", "NOERROR", vec!["192.0.2.9"]),
            ("dublin-1.live.relays.example.com A", "NOERROR", vec!["192.0.2.2"]),
            ("ns1.relays.example.com A", "NOERROR", vec!["192.0.2.53"]),
            ("relays.example.com NS", "NOERROR", vec!["ns1.relays.example.com.", "ns2.example.net."]),
            (
                "relays.example.com SOA",
                "NOERROR",
                vec!["ns1.relays.example.com. hostmaster.relays.example.com. 1 3600 600 86400 20"],
            ),
            (
                "_ws._tcp.eu-west-1.relays.example.com SRV",
                "NOERROR",
                vec!["10 0 31000 dublin-0.live.relays.example.com.", "10 0 31001 dublin-1.live.relays.example.com."],
            ),
            (
                "_wss._tcp.asia-northeast1.relays.example.com SRV",
                "NOERROR",
                vec!["10 0 443 tokyo-0.live.relays.example.com.", "10 0 8443 tokyo-1.live.relays.example.com."],
            ),
            (
                "tokyo-0.live.relays.example.com TYPE65",
                "NOERROR",
                vec!["1 tokyo-0.live.relays.example.com. port=443 ipv4hint=192.0.2.9"],
            ),
            ("relays.example.com TXT", "NOERROR", vec![]),
            ("live.relays.example.com A", "NOERROR", vec![]),
            ("relays.example.com ANY", "NOERROR", vec!["\"RFC8482\" \"\""]),
            ("nothing.relays.example.com A", "NXDOMAIN", vec![]),
            ("example.com A", "REFUSED", vec![]),
            ("www.example.org MX", "REFUSED", vec![]),
            ("version.bind TXT CH", "REFUSED", vec![]),
        ] {
            let dug = router.dig(&format!("{question} {transport}")).await;
            assert_eq!(
                (dug.status(), dug.sorted()),
                (status, answers.iter().map(ToString::to_string).collect()),
                "{dug:?}"
            );
            let negative = answers.is_empty() && status != "REFUSED";
            let authority = dug.authority();
            assert_eq!(authority.len(), usize::from(negative), "{dug:?}");
            assert!(authority.iter().all(|record| record.starts_with("SOA ")), "{dug:?}");
        }
    }
    let transfer = router.dig("relays.example.com AXFR").await;
    assert!(transfer.text.contains("Transfer failed"), "{transfer:?}");
    assert!(
        router.metric("convene_router_queries_total{kind=\"a\",outcome=\"nxdomain\",transport=\"tcp\"}").await >= 1
    );
    router.stop().await;
}

#[tokio::test]
async fn services_name_the_next_pool_behind_the_nearest() {
    let router = Running::start(&table()).await;
    let srv = router.dig(&format!("_convene._tcp.relays.example.com SRV +subnet={TOKYO}")).await.sorted();
    assert_eq!(srv.len(), 4, "{srv:?}");
    assert!(srv[..2].iter().all(|record| record.starts_with("10 0 ") && record.contains("tokyo")), "{srv:?}");
    assert!(srv[2..].iter().all(|record| record.starts_with("20 0 ") && !record.contains("tokyo")), "{srv:?}");
    router.stop().await;
}
