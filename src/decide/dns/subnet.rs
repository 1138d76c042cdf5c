//! The client subnet of EDNS (RFC 7871): for which network a resolver asks. Strict where the RFC is: what is malformed is
//! refused and never guessed at. Nothing finer than a /24 or /56 is used, or told to be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Finest network that an answer is for, in bits: the RFC's own advice for privacy (§11.1), and the size at which caches
/// still share answers.
const MAX_SCOPE_V4: u8 = 24;
/// The same of IPv6.
const MAX_SCOPE_V6: u8 = 56;
/// A network with fewer bits is spread over too large a part of the world to be at one place.
const MIN_PLACE_V4: u8 = 16;
const MIN_PLACE_V6: u8 = 32;

/// Why an option is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its fixed part.
    #[error("the client subnet is too short")]
    Short,
    /// Neither IPv4 nor IPv6, nor none.
    #[error("the client subnet's family is unknown")]
    Family,
    /// More bits than an address has.
    #[error("the client subnet's prefix is longer than an address")]
    Prefix,
    /// A question may not say how far an answer holds.
    #[error("the client subnet's scope must be 0 in a question")]
    Scope,
    /// Not as many octets as the prefix needs.
    #[error("the client subnet has not as many octets as its prefix needs")]
    Length,
    /// Bits behind the prefix.
    #[error("the client subnet has bits behind its prefix")]
    Bits,
}

/// For which network is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// As long as was said.
    network: IpNet,
    /// As was said: 0 = none, with no network.
    family: u16,
}

impl Subnet {
    /// Reads the data of the option.
    pub fn parse(option: &[u8]) -> Result<Self, Malformed> {
        let [family_high, family_low, source, scope, address @ ..] = option else { return Err(Malformed::Short) };
        let family = u16::from_be_bytes([*family_high, *family_low]);
        let bits = match family {
            // Who wants no network looked at may leave its family out as well: older `dig +subnet=0` does.
            0 => 0,
            1 => 32,
            2 => 128,
            _ => return Err(Malformed::Family),
        };
        if *source > bits {
            return Err(Malformed::Prefix);
        }
        if *scope != 0 {
            return Err(Malformed::Scope);
        }
        if address.len() != usize::from(source.div_ceil(8)) {
            return Err(Malformed::Length);
        }
        let mut octets = [0_u8; 16];
        octets.iter_mut().zip(address).for_each(|(octet, given)| *octet = *given);
        let [a, b, c, d, ..] = octets;
        let address = if bits == 128 { IpAddr::from(Ipv6Addr::from(octets)) } else { Ipv4Addr::new(a, b, c, d).into() };
        let network = IpNet::new(address, *source).map_err(|_| Malformed::Prefix)?;
        if network.trunc() == network { Ok(Self { network, family }) } else { Err(Malformed::Bits) }
    }

    /// The data of the option in the answer: the question's network again, and for which part of it the answer holds.
    pub fn answered(&self, scope: u8) -> Vec<u8> {
        let [high, low] = self.family.to_be_bytes();
        let octets = match self.network.addr() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let source = self.network.prefix_len();
        [high, low, source, scope].into_iter().chain(octets.into_iter().take(usize::from(source.div_ceil(8)))).collect()
    }

    /// The network for which an answer by nearness holds.
    pub fn scope(&self) -> IpNet {
        coarse(self.network)
    }

    /// No network is told: any client may be meant.
    pub fn is_of_anybody(&self) -> bool {
        self.network.prefix_len() == 0
    }

    /// An address of that network, if it is small enough to be at a place.
    pub fn place(&self) -> Option<IpAddr> {
        let least = if self.network.addr().is_ipv4() { MIN_PLACE_V4 } else { MIN_PLACE_V6 };
        (self.network.prefix_len() >= least).then(|| self.scope().addr())
    }
}

/// No finer than answers are.
pub fn coarse(network: IpNet) -> IpNet {
    let most = if network.addr().is_ipv4() { MAX_SCOPE_V4 } else { MAX_SCOPE_V6 };
    IpNet::new(network.addr(), network.prefix_len().min(most)).map_or(network, |network| network.trunc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks_are_read_and_no_finer_than_answers_are() {
        for (bytes, scope, place) in [
            (vec![0, 1, 24, 0, 192, 0, 2], "192.0.2.0/24", Some("192.0.2.0")),
            (vec![0, 1, 32, 0, 192, 0, 2, 7], "192.0.2.0/24", Some("192.0.2.0")),
            (vec![0, 1, 22, 0, 192, 0, 0], "192.0.0.0/22", Some("192.0.0.0")),
            (vec![0, 1, 8, 0, 10], "10.0.0.0/8", None),
            (vec![0, 1, 0, 0], "0.0.0.0/0", None),
            (vec![0, 0, 0, 0], "0.0.0.0/0", None),
            (vec![0, 2, 64, 0, 0x20, 1, 0xd, 0xb8, 0, 1, 2, 3], "2001:db8:1:200::/56", Some("2001:db8:1:200::")),
            (vec![0, 2, 20, 0, 0x20, 1, 0], "2001::/20", None),
        ] {
            let subnet = Subnet::parse(&bytes).expect("whole");
            assert_eq!(subnet.scope().to_string(), scope);
            assert_eq!(subnet.place().map(|place| place.to_string()).as_deref(), place, "{scope}");
            assert_eq!(subnet.is_of_anybody(), scope.ends_with("/0"));
            let mut again = bytes.clone();
            again[3] = 9;
            assert_eq!(subnet.answered(9), again);
        }
    }

    #[test]
    fn what_the_rfc_does_not_allow_is_refused() {
        for (bytes, why) in [
            (&[0, 1, 24][..], Malformed::Short),
            (&[0, 3, 0, 0], Malformed::Family),
            (&[0, 0, 8, 0, 10], Malformed::Prefix),
            (&[0, 0, 0, 0, 0], Malformed::Length),
            (&[1, 1, 8, 0, 10], Malformed::Family),
            (&[0, 1, 33, 0, 1, 2, 3, 4, 5], Malformed::Prefix),
            (&[0, 2, 129, 0], Malformed::Prefix),
            (&[0, 1, 24, 24, 192, 0, 2], Malformed::Scope),
            (&[0, 1, 24, 0, 192, 0], Malformed::Length),
            (&[0, 1, 24, 0, 192, 0, 2, 0], Malformed::Length),
            (&[0, 1, 0, 0, 0], Malformed::Length),
            (&[0, 1, 20, 0, 192, 0, 0x1f], Malformed::Bits),
        ] {
            assert_eq!(Subnet::parse(bytes), Err(why), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_given_back(bytes in prop::collection::vec(any::<u8>(), 0..24), family in 0..4_u8, length in 0..140_u8) {
            let mut bytes = bytes;
            for (at, value) in [(0, 0), (1, family), (2, length), (3, 0)] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if let Ok(subnet) = Subnet::parse(&bytes) {
                prop_assert_eq!(subnet.answered(0), bytes);
                let scope = subnet.scope();
                let most = if scope.addr().is_ipv4() { MAX_SCOPE_V4 } else { MAX_SCOPE_V6 };
                prop_assert!(scope.prefix_len() <= most);
            }
        }
    }
}
