//! How often a network may ask by UDP: what a forged source address can be flooded with is bounded.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::DefaultKeyedRateLimiter;
use ipnet::IpNet;

use crate::decide::dns::{Due, coarse, due};
use crate::process::peers::rates;

/// Networks whose rate is remembered; while there are more, everybody is told to come by TCP.
const MAX_NETWORKS: usize = 100_000;

/// The rates of all networks.
#[derive(Debug)]
pub(super) struct Limiter {
    rate: Option<DefaultKeyedRateLimiter<IpAddr>>,
    over: AtomicU64,
}

impl Limiter {
    /// `per_second` answers for one /24 or /56, twice as many at once; 0 = any number.
    pub(super) fn new(per_second: u32) -> Self {
        Self { rate: rates(per_second), over: AtomicU64::new(0) }
    }

    /// What a question from this address gets.
    pub(super) fn due(&self, address: IpAddr) -> Due {
        let Some(rate) = &self.rate else { return Due::Answer };
        let network = coarse(IpNet::from(address.to_canonical())).addr();
        if rate.len() >= MAX_NETWORKS {
            return Due::Truncated;
        }
        if rate.check_key(&network).is_ok() {
            return due(None);
        }
        due(Some(self.over.fetch_add(1, Ordering::Relaxed)))
    }

    /// Forgets networks that were quiet.
    pub(super) fn sweep(&self) {
        if let Some(rate) = &self.rate {
            rate.retain_recent();
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
}
