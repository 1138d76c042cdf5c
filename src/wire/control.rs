//! How the operator and the control ports of lobbies and relays know one another: by names in certificates of the
//! operator's own authority. They are under a domain of nobody's, and are never looked up: the operator reads the address
//! off the name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Name of the operator, in the certificate that it shows.
pub const OPERATOR: &str = "operator.control.convene";
/// What the names of all servers end in.
const DOMAIN: &str = ".control.convene";

/// Whose control port it is: a lobby's or a pool's. All its processes have the one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server(String);

impl Server {
    /// A lobby.
    pub fn lobby(namespace: &str, name: &str) -> Self {
        Self(format!("{name}.{namespace}.lobby{DOMAIN}"))
    }

    /// The relays of a pool.
    pub fn pool(namespace: &str, name: &str) -> Self {
        Self(format!("{name}.{namespace}.relay{DOMAIN}"))
    }

    /// Name in its certificate.
    pub fn certificate_name(&self) -> String {
        format!("*.{}", self.0)
    }

    /// Host name of the process of it at an address.
    pub fn host(&self, address: IpAddr) -> String {
        let label = match address {
            IpAddr::V4(address) => address.octets().map(|byte| byte.to_string()).join("-"),
            IpAddr::V6(address) => address.segments().map(|segment| format!("{segment:x}")).join("-"),
        };
        format!("{label}.{}", self.0)
    }
}

/// The address that such a host name stands for; nothing for any other name.
pub fn address_of(host: &str) -> Option<IpAddr> {
    let (label, _) = host.strip_suffix(DOMAIN)?.split_once('.')?;
    let parts: Vec<&str> = label.split('-').collect();
    if let Ok(parts) = <[&str; 4]>::try_from(parts.as_slice()) {
        let mut bytes = [0; 4];
        for (byte, part) in bytes.iter_mut().zip(parts) {
            *byte = part.parse().ok()?;
        }
        return Some(Ipv4Addr::from(bytes).into());
    }
    let parts = <[&str; 8]>::try_from(parts.as_slice()).ok()?;
    let mut segments = [0; 8];
    for (segment, part) in segments.iter_mut().zip(parts) {
        *segment = u16::from_str_radix(part, 16).ok()?;
    }
    Some(Ipv6Addr::from(segments).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_these() {
        let (pool, lobby) = (Server::pool("team", "eu"), Server::lobby("team", "hub"));
        assert_eq!(pool.certificate_name(), "*.eu.team.relay.control.convene");
        assert_eq!(pool.host([10, 0, 0, 7].into()), "10-0-0-7.eu.team.relay.control.convene");
        assert_eq!(lobby.certificate_name(), "*.hub.team.lobby.control.convene");
        let address: IpAddr = "fd00::1:a".parse().expect("an address");
        assert_eq!(lobby.host(address), "fd00-0-0-0-0-0-1-a.hub.team.lobby.control.convene");
    }

    #[test]
    fn other_names_are_no_addresses() {
        let wrong = [
            "",
            ".control.convene",
            "10-0-0-7.control.convene",
            "10-0-0.eu.team.relay.control.convene",
            "10-0-0-256.eu.team.relay.control.convene",
            "10-0-0-7.eu.team.relay.control.convene.example.org",
            "fd00--1.eu.team.relay.control.convene",
            "1-2-3-4-5-6-7-10000.eu.team.relay.control.convene",
            "localhost",
            "10.0.0.7",
            OPERATOR,
        ];
        for host in wrong {
            assert_eq!(address_of(host), None, "{host}");
        }
    }

    proptest! {
        #[test]
        fn any_address_comes_back(v4: u32, v6: u128) {
            for address in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())] {
                prop_assert_eq!(address_of(&Server::pool("n", "p").host(address)), Some(address));
            }
        }

        #[test]
        fn no_text_is_too_strange(host in ".{0,80}") {
            let _ = address_of(&host);
            let _ = address_of(&format!("{host}{DOMAIN}"));
        }
    }
}
