//! Where a relay's URL leads: scheme, host and port. What it must not do: look a host up.

use std::net::{IpAddr, Ipv6Addr};

use super::name::Name;

/// Whose URL it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name, which has addresses elsewhere.
    Named(Name),
}

/// What a WebSocket URL says of where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// By TLS.
    pub tls: bool,
    /// To whom.
    pub host: Host,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Reads a relay's URL, such as `wss://relay-0.example.com` or `ws://203.0.113.7:31234`; `None` = it leads nowhere.
    pub fn parse(url: &str) -> Option<Self> {
        let (tls, rest) = url.strip_prefix("wss://").map(|rest| (true, rest)).or_else(|| {
            let rest = url.strip_prefix("ws://")?;
            Some((false, rest))
        })?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (v6, rest) = rest.split_once(']')?;
            let address: Ipv6Addr = v6.parse().ok()?;
            (Host::Address(address.into()), if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        } else {
            let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
            let address = host.parse::<IpAddr>().map(Host::Address);
            (address.or_else(|_| Name::parse(host).map(Host::Named)).ok()?, port)
        };
        let port = match port {
            None if tls => 443,
            None => 80,
            // Digits alone: Rust would take a sign.
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port > 0)?
            }
            Some(_) => return None,
        };
        Some(Self { tls, host, port })
    }

    /// The same place by HTTP, without a path: `https://relay-0.example.com`.
    pub fn http_url(url: &str) -> Option<String> {
        let Self { tls, .. } = Self::parse(url)?;
        let rest = url.split_once("://")?.1;
        let authority = rest.split(['/', '?', '#']).next()?;
        Some(format!("{}://{authority}", if tls { "https" } else { "http" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_relays_lead_to_host_and_port() {
        let read = |url: &str| {
            let Endpoint { tls, host, port } = Endpoint::parse(url)?;
            let host = match host {
                Host::Address(address) => address.to_string(),
                Host::Named(name) => name.to_string(),
            };
            Some((tls, host, port))
        };
        assert_eq!(read("ws://203.0.113.7:31234"), Some((false, "203.0.113.7".to_owned(), 31234)));
        assert_eq!(read("ws://203.0.113.7/x"), Some((false, "203.0.113.7".to_owned(), 80)));
        assert_eq!(read("wss://[2001:db8::1]"), Some((true, "2001:db8::1".to_owned(), 443)));
        assert_eq!(read("wss://[2001:db8::1]:8443/a:b"), Some((true, "2001:db8::1".to_owned(), 8443)));
        assert_eq!(read("wss://R-0.Example.com"), Some((true, "r-0.example.com.".to_owned(), 443)));
        for wrong in [
            "",
            "http://a",
            "ws://",
            "ws://a:0",
            "ws://a:65536",
            "ws://a:",
            "ws://a:+80",
            "wss://[2001:db8::1]:+443",
            "ws://[::1",
            "ws://[::1]x",
            "ws://user@a",
            "ws://a b",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(Endpoint::http_url("ws://203.0.113.7:1/x").as_deref(), Some("http://203.0.113.7:1"));
        assert_eq!(Endpoint::http_url("wss://[2001:db8::1]?x").as_deref(), Some("https://[2001:db8::1]"));
        assert_eq!(Endpoint::http_url("http://203.0.113.7"), None);
    }
}
