//! How often a network may ask by UDP: what a forged source address can be flooded with is bounded.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::DefaultKeyedRateLimiter;
use ipnet::IpNet;

use crate::decide::dns::{Due, coarse, due};
use crate::process::peers::rates;

/// The rates of all networks: of as many as there are, in memory that does not grow. Networks share rates, by a hash that
/// nobody outside can foretell. Each has a part in one of both halves, and is above its rate when both of these are: one that
/// shares one of them with a flood hardly ever shares the other one with another.
#[derive(Debug)]
pub(super) struct Limiter {
    rates: Option<DefaultKeyedRateLimiter<(bool, u16)>>,
    hasher: RandomState,
    over: AtomicU64,
}

impl Limiter {
    /// `per_second` answers for one /24 or /56, twice as many at once; 0 = any number.
    pub(super) fn new(per_second: u32) -> Self {
        Self { rates: rates(per_second), hasher: RandomState::new(), over: AtomicU64::new(0) }
    }

    /// What a question from this address gets.
    pub(super) fn due(&self, address: IpAddr) -> Due {
        let Some(rates) = &self.rates else { return Due::Answer };
        let network = coarse(IpNet::from(address.to_canonical())).addr();
        let [a, b, c, d, ..] = self.hasher.hash_one(network).to_be_bytes();
        // Both count each question.
        let keys = [(false, u16::from_be_bytes([a, b])), (true, u16::from_be_bytes([c, d]))];
        let within = keys.map(|key| rates.check_key(&key).is_ok());
        if within.contains(&true) { due(None) } else { due(Some(self.over.fetch_add(1, Ordering::Relaxed))) }
    }

    /// Forgets networks that were quiet.
    pub(super) fn sweep(&self) {
        if let Some(rates) = &self.rates {
            rates.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_one_rate_and_others_do_not_notice() {
        let limiter = Limiter::new(1);
        let asks = |address: &str| limiter.due(address.parse().expect("an address"));
        assert_eq!(
            [asks("192.0.2.1"), asks("192.0.2.200"), asks("192.0.2.3")],
            [Due::Answer, Due::Answer, Due::Truncated]
        );
        assert_eq!([asks("192.0.2.1"), asks("::ffff:192.0.2.9")], [Due::Nothing, Due::Truncated]);
        assert_eq!(asks("198.51.100.1"), Due::Answer);
        assert_eq!([asks("2001:db8::1"), asks("2001:db8:0:ff::2")], [Due::Answer, Due::Answer]);
        assert_ne!(asks("2001:db8:0:77::3"), Due::Answer);
        assert_eq!(Limiter::new(0).due(IpAddr::from([192, 0, 2, 1])), Due::Answer);
    }

    #[test]
    fn a_flood_from_all_the_world_takes_no_memory_and_leaves_most_networks_their_answers() {
        let limiter = Limiter::new(1);
        let network = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(n << 8));
        // A tenth of what there are rates for, each above its own.
        let flood = 6_500;
        let above = (0..flood).filter(|n| [(); 3].map(|()| limiter.due(network(*n)))[2] != Due::Answer).count();
        // A rate gives a third answer after a second, for which this may have had to wait.
        assert!(above > 6_400, "{above} of {flood} are above their rate");
        let answered = (flood..2 * flood).filter(|n| limiter.due(network(*n)) == Due::Answer).count();
        // By chance some 1 % share both.
        assert!(answered > 6_200, "{answered} of {flood} others");
        for n in 0..400_000 {
            limiter.due(network(n));
        }
        let kept = limiter.rates.as_ref().map_or(0, DefaultKeyedRateLimiter::len);
        assert!(kept <= 2 * 65_536, "{kept}");
    }
}
