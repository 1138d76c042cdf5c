//! Questions of the DNS, as the router reads them, with the whole way to the answer's bytes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use convene::decide::dns::{Asker, Atlas, Code, Name, Nameserver, Zone, answer};
use convene::router::message::{MAX_UDP, read};
use convene::wire::table::RelayTable;
use serde_json::json;

static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    let name = Name::parse("relays.example.com").expect("a name");
    let nameservers = vec![Nameserver { name: name.child(&["ns1"]), addresses: vec![[192, 0, 2, 53].into()] }];
    Zone { name, ttl: 20, nameservers }
});

static ATLAS: LazyLock<Atlas> = LazyLock::new(|| {
    let relay = |n: u8, url: &str| json!({"name": format!("tokyo-{n}"), "podUid": format!("{n}"), "url": url, "capacity": 9, "cordoned": n == 3});
    let relays = [
        relay(0, "wss://192.0.2.1"),
        relay(1, "ws://[2001:db8::1]:7"),
        relay(2, "wss://192.0.2.2:8443"),
        relay(3, "ws://192.0.2.3"),
    ];
    let pool = json!({"namespace": "live", "name": "tokyo", "region": "asia-northeast1", "latitude": 35.7, "longitude": 139.7, "relays": relays});
    let table: RelayTable = serde_json::from_value(
        json!({"lobbyUid": "lobby", "url": "", "cluster": {"issuer": "", "jwks": null}, "pools": [pool]}),
    )
    .expect("a table");
    Atlas::new(table, &BTreeMap::new())
});

/// A question is answered for its own id within what UDP may carry, and what is none is told so in no more bytes than it had,
/// or not at all.
pub(crate) fn dns(data: &[u8]) -> bool {
    let question = match read(data) {
        Ok(question) => question,
        Err(fault) => {
            if let Some(bytes) = fault.answer() {
                assert!(bytes.starts_with(&data[..2]) && bytes[2] & 0x80 != 0, "{}", fault.reason());
                // Names that point back to what stood before are written whole.
                assert!(bytes.len() <= data.len() + 255 + 11, "{} bytes for {}", bytes.len(), data.len());
            }
            return false;
        }
    };
    let network = question.subnet.map_or_else(|| "192.0.2.0/24".parse().expect("a network"), |subnet| subnet.scope());
    let asker = Asker { point: None, network, turn: 0 };
    let found = answer(&ZONE, Some(&ATLAS), None, &asker, (&question.name, question.kind));
    assert_eq!(found.code == Code::Refused, found.records.is_empty() && found.soa.is_none());
    for (bytes, most) in [
        (question.answer(&ZONE, &found, network.prefix_len(), true), MAX_UDP),
        (question.answer(&ZONE, &found, network.prefix_len(), false), usize::from(u16::MAX)),
        (question.truncated(&ZONE), 512),
    ] {
        let bytes = bytes.expect("every answer can be written");
        assert!(bytes.starts_with(&data[..2]) && bytes[2] & 0x80 != 0 && bytes.len() <= most);
    }
    true
}
