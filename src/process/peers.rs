//! Who is at the other end, for limits: addresses that count as one, and how many connections each has open.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// What counts as one client: an IPv4 address, or the /64 of an IPv6 one, in which every host can take any address.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// A rate for each key, such as an address: `per_second`, twice as many at once; none = any number, which is what 0 means.
pub fn rates<K: Clone + Eq + Hash>(per_second: u32) -> Option<DefaultKeyedRateLimiter<K>> {
    let rate = NonZeroU32::new(per_second)?;
    let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(1));
    Some(RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)))
}

/// How many each address has open, and how many it may have.
#[derive(Clone, Debug)]
pub struct PerAddress {
    most: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl PerAddress {
    /// At most so many of one address.
    pub fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// Lets one in, unless its address has as many as it may. It counts until the guard is dropped.
    pub fn enter(&self, address: IpAddr) -> Option<Guard> {
        self.enter_below(address, self.most)
    }

    /// The same, unless its address has `most` already.
    pub fn enter_below(&self, address: IpAddr, most: usize) -> Option<Guard> {
        let address = network(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&address).copied().unwrap_or_default();
        if count >= most.min(self.most) {
            return None;
        }
        open.insert(address, count + 1);
        Some(Guard { open: Arc::clone(&self.open), address })
    }
}

/// One that is open.
#[derive(Debug)]
pub struct Guard {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let network_of = |text: &str| network(address(text)).to_string();
        assert_eq!(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network_of("192.0.2.7"), "192.0.2.7");
        assert_eq!(network_of("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn an_address_is_let_in_up_to_its_limit_and_forgotten_when_it_left() {
        let peers = PerAddress::new(2);
        let (first, second) = (peers.enter(address("2001:db8::1")), peers.enter(address("2001:db8::2")));
        assert!(first.is_some() && second.is_some());
        assert!(peers.enter(address("2001:db8::3")).is_none());
        assert!(peers.enter_below(address("192.0.2.1"), 0).is_none());
        let other = peers.enter(address("127.0.0.2"));
        assert!(other.is_some());
        drop((first, second, other));
        assert!(peers.open.lock().expect("not poisoned").is_empty());
    }
}
