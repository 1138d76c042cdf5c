//! Whose request it is: the address of the client, also where proxies that are trusted stand in between.
//!
//! Whoever speaks to us can write any header, so what a header says counts only as far as trusted proxies wrote it: from
//! the right, up to the first address that is none of theirs. What stands before that was said by somebody else.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};

/// Hops that are looked at. Longer ways are not believed.
const MAX_HOPS: usize = 32;
/// Fewest bits of a trusted network: whoever trusts everybody believes what anybody says.
const MIN_PREFIX: u8 = 8;
/// Fewest bits where it is of public IPv6: less is the providers of a continent.
const MIN_PREFIX_PUBLIC_V6: u8 = 16;
/// Most networks of proxies.
const MAX_NETWORKS: usize = 256;

/// The header in which the trusted proxies say for whom they ask. Only one: a proxy that writes the one passes the other
/// on as it came, from anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// `X-Forwarded-For`: addresses, separated by commas.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl Header {
    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// The proxies that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    trusted: Vec<IpNet>,
    header: Header,
}

/// What is wrong with a list of proxies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProxies {
    /// A header in which no proxy says for whom it asks.
    #[error("{0} is neither X-Forwarded-For nor Forwarded")]
    NoHeader(String),
    /// Text that is no network.
    #[error("{0} is neither an address nor a network such as 10.0.0.0/8")]
    NoNetwork(String),
    /// A network of (nearly) all addresses.
    #[error(
        "{0} is too large: a trusted network has at least {bits} bits, since nearly everybody could be in it",
        bits = fewest_bits(*.0)
    )]
    TooLarge(IpNet),
    /// Too long a list.
    #[error("{0} networks are too many: at most {MAX_NETWORKS}")]
    TooMany(usize),
}

/// Reads an address or a network, as proxies are listed.
pub fn proxy(text: &str) -> Result<IpNet, BadProxies> {
    let text = text.trim();
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    trusted(network.map_err(|_| BadProxies::NoNetwork(text.to_owned()))?)
}

/// A network as addresses are compared with it, if it may be trusted. IPv4 in IPv6 form is IPv4.
fn trusted(network: IpNet) -> Result<IpNet, BadProxies> {
    let mapped = |six: Ipv6Net| {
        let (address, bits) = (six.addr().to_ipv4_mapped()?, six.prefix_len().checked_sub(96)?);
        IpNet::new(address.into(), bits).ok()
    };
    let network = match network {
        IpNet::V4(_) => network,
        IpNet::V6(six) => mapped(six).unwrap_or(network),
    };
    if network.prefix_len() < fewest_bits(network) { Err(BadProxies::TooLarge(network)) } else { Ok(network.trunc()) }
}

const fn fewest_bits(network: IpNet) -> u8 {
    match network {
        IpNet::V6(six) if !six.addr().is_unique_local() => MIN_PREFIX_PUBLIC_V6,
        IpNet::V4(_) | IpNet::V6(_) => MIN_PREFIX,
    }
}

/// Where an address was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// From the connection.
    Connection,
    /// From the connection; a header that says something else came from nobody who is trusted.
    Ignored,
    /// From a trusted proxy's header.
    Proxy,
    /// The last trusted proxy that is known; it did not say, or not readably, for whom it asks.
    Unreadable,
}

impl Heard {
    /// What became of the header of proxies, in a word for metrics; nothing where there was none.
    pub const fn metric(self) -> Option<&'static str> {
        match self {
            Self::Connection => None,
            Self::Ignored => Some("ignored"),
            Self::Proxy => Some("believed"),
            Self::Unreadable => Some("unreadable"),
        }
    }
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What limits go by.
    pub address: IpAddr,
    /// Where it was learnt.
    pub heard: Heard,
}

impl Caller {
    /// The address, if it says something of where the client is. That of a proxy says nothing, and one who writes such a
    /// header may be a proxy of which nobody has told us; an address that is not public may be a gateway's, with all the
    /// world behind it.
    pub fn place(self) -> Option<IpAddr> {
        let of_client = match self.heard {
            Heard::Connection | Heard::Proxy => true,
            Heard::Ignored | Heard::Unreadable => false,
        };
        (of_client && is_public(self.address)).then_some(self.address)
    }
}

impl Proxies {
    /// Reads addresses and networks, and the name of the header that they write.
    pub fn read(trusted: &[String], header: &str) -> Result<Self, BadProxies> {
        let all = [Header::XForwardedFor, Header::Forwarded];
        let known = all.into_iter().find(|known| known.name().eq_ignore_ascii_case(header));
        let header = known.ok_or_else(|| BadProxies::NoHeader(header.to_owned()))?;
        Self::new(trusted.iter().map(|text| proxy(text)).collect::<Result<_, _>>()?, header)
    }

    /// These networks, which write this header.
    pub fn new(networks: Vec<IpNet>, header: Header) -> Result<Self, BadProxies> {
        if networks.len() > MAX_NETWORKS {
            return Err(BadProxies::TooMany(networks.len()));
        }
        Ok(Self { trusted: networks.into_iter().map(trusted).collect::<Result<_, _>>()?, header })
    }

    /// Whether this is the address of a trusted proxy.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Whose request came over a connection from `peer`. `lines` = all values of a header of this name, as they came.
    pub fn caller<'a>(&self, peer: IpAddr, lines: impl Fn(&str) -> Vec<&'a [u8]>) -> Caller {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            let said = [Header::XForwardedFor, Header::Forwarded].iter().any(|header| !lines(header.name()).is_empty());
            return Caller { address: peer, heard: if said { Heard::Ignored } else { Heard::Connection } };
        }
        let lines = lines(self.header.name());
        let hops = lines.iter().rev().flat_map(|line| self.header.hops(line).into_iter().rev());
        let mut last = Caller { address: peer, heard: Heard::Connection };
        for (count, hop) in hops.enumerate() {
            let Some(address) = hop.filter(|_| count < MAX_HOPS) else {
                return Caller { heard: Heard::Unreadable, ..last };
            };
            last = Caller { address, heard: Heard::Proxy };
            if !self.trusts(address) {
                return last;
            }
        }
        // All of the way is trusted: the first of it asks for itself.
        last
    }
}

impl Header {
    /// The hops of one line, from left to right; none where one cannot be read.
    fn hops(self, line: &[u8]) -> Vec<Option<IpAddr>> {
        let Ok(line) = std::str::from_utf8(line) else { return vec![None] };
        match self {
            Self::XForwardedFor => line.split(',').map(node).collect(),
            Self::Forwarded => split(line, ',')
                .map_or_else(|| vec![None], |elements| elements.into_iter().map(forwarded_for).collect()),
        }
    }
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = split(element, ';')?.into_iter().filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, value) = named.next()?;
    // Twice is not once: who knows which of them the proxy wrote.
    if named.next().is_some() {
        return None;
    }
    let value = value.trim();
    node(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address with or without a port, IPv6 with or without brackets.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// The parts between separators that stand outside quotes. None where a quote does not end: then somebody may have opened
/// it to hide what a proxy wrote behind it.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.extend(text.get(begin..at));
                begin = at + character.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(text.get(begin..));
    (!quoted).then_some(parts)
}

/// Whether an address is one of the public internet; of others nobody outside knows where they are.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let own = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast();
            !(own || shared || v4.is_multicast() || a == 0 || a >= 240)
        }
        // All that is given out is in 2000::/3.
        IpAddr::V6(v6) => v6.segments()[0] >> 13 == 1,
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
