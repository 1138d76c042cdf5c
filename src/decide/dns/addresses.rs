//! Addresses that were found for the names of relays, and how long they count. What it must not do: look a name up, or know
//! why one was not found.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::endpoint::{Endpoint, Host};
use super::name::Name;
use crate::wire::table::RelayTable;

/// For how long a name keeps addresses that are not found any more. A resolver may be away for minutes; where a name was taken out
/// of the DNS, its addresses are somebody else's some day.
const LIFE: Duration = Duration::from_secs(3600);

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(BTreeMap<Name, Found>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    addresses: Vec<IpAddr>,
    /// When last.
    at: Duration,
}

impl Addresses {
    /// These were found for a name. Those that lead nowhere from elsewhere do not count, and none is no news.
    pub fn hear(&mut self, name: Name, mut addresses: Vec<IpAddr>, now: Duration) {
        addresses.retain(|address| leads_somewhere(*address));
        if !addresses.is_empty() {
            self.0.insert(name, Found { addresses, at: now });
        }
    }

    /// Forgets the names that the table does not have any more, and those that were not found for an hour, while their pools
    /// have relays with other addresses: an old address is better than none.
    pub fn forget(&mut self, table: &RelayTable, now: Duration) {
        let mut keep = BTreeSet::new();
        for pool in &table.pools {
            let endpoints = pool.relays.iter().filter_map(|relay| Endpoint::parse(&relay.url));
            let hosts: Vec<Host> = endpoints.map(|endpoint| endpoint.host).collect();
            let has_fresh = hosts.iter().any(|host| match host {
                Host::Address(_) => true,
                Host::Named(name) => self.is_fresh(name, now),
            });
            keep.extend(hosts.into_iter().filter_map(|host| match host {
                Host::Named(name) if !has_fresh || self.is_fresh(&name, now) => Some(name),
                Host::Named(_) | Host::Address(_) => None,
            }));
        }
        self.0.retain(|name, _| keep.contains(name));
    }

    fn is_fresh(&self, name: &Name, now: Duration) -> bool {
        self.0.get(name).is_some_and(|found| now.saturating_sub(found.at) <= LIFE)
    }

    /// Whether a name has some.
    pub fn has(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    /// All of them.
    pub fn by_name(&self) -> BTreeMap<Name, Vec<IpAddr>> {
        self.0.iter().map(|(name, found)| (name.clone(), found.addresses.clone())).collect()
    }
}

/// Whether an address can be one of a relay for anybody else than the machine that looked it up.
fn leads_somewhere(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || is_link_local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::table::{PoolEntry, RelayEntry};

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    fn pool(urls: &[&str]) -> PoolEntry {
        let relay = |url: &&str| RelayEntry {
            name: (*url).to_owned(),
            pod_uid: String::new(),
            url: (*url).to_owned(),
            capacity: 1,
            cordoned: false,
            leaving: false,
        };
        PoolEntry {
            namespace: "live".to_owned(),
            name: "p".to_owned(),
            region: "r".to_owned(),
            latitude: 0.0,
            longitude: 0.0,
            relays: urls.iter().map(relay).collect(),
        }
    }

    fn heard(names: &[(&str, u64)]) -> Addresses {
        let mut addresses = Addresses::default();
        for (text, at) in names {
            addresses.hear(name(text), vec![[192, 0, 2, 1].into()], Duration::from_secs(*at));
        }
        addresses
    }

    /// Which names have addresses two hours after the start.
    fn kept(pools: Vec<PoolEntry>, names: &[(&str, u64)]) -> Vec<String> {
        let mut addresses = heard(names);
        addresses.forget(&RelayTable { pools, ..RelayTable::default() }, Duration::from_secs(7200));
        addresses.by_name().into_keys().map(|name| name.to_string()).collect()
    }

    #[test]
    fn what_was_not_found_for_an_hour_is_forgotten_while_its_pool_has_others() {
        let (old, new) = (("old.example", 3599), ("new.example", 3600));
        assert_eq!(kept(vec![pool(&["wss://old.example", "wss://new.example"])], &[old, new]), ["new.example."]);
        assert_eq!(kept(vec![pool(&["wss://old.example", "ws://192.0.2.7"])], &[old]), Vec::<String>::new());
        // The only one that there is, though others of the pool may be found one day.
        assert_eq!(kept(vec![pool(&["wss://old.example", "wss://never.example"])], &[old]), ["old.example."]);
        assert_eq!(kept(vec![pool(&["wss://old.example"]), pool(&["wss://new.example"])], &[old, new]).len(), 2);
        // Of two pools that have it, one has nothing else.
        let both = vec![pool(&["wss://old.example", "wss://new.example"]), pool(&["wss://old.example"])];
        assert_eq!(kept(both, &[old, new]).len(), 2);
        assert_eq!(kept(vec![pool(&[])], &[new]), Vec::<String>::new(), "the table has it no more");
    }

    #[test]
    fn addresses_that_mean_another_machine_elsewhere_are_none() {
        let parse =
            |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect::<Vec<IpAddr>>();
        let mut addresses = heard(&[]);
        let nowhere = ["127.0.0.1", "127.3.2.1", "::1", "0.0.0.0", "::", "169.254.1.1", "fe80::1"];
        addresses.hear(name("a.example"), parse(&nowhere), Duration::ZERO);
        assert!(!addresses.has(&name("a.example")));
        let some = ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1"];
        addresses.hear(name("a.example"), parse(&[&nowhere[..], &some].concat()), Duration::ZERO);
        assert_eq!(addresses.by_name()[&name("a.example")], parse(&some));
        addresses.hear(name("a.example"), parse(&nowhere), Duration::ZERO);
        assert!(addresses.has(&name("a.example")), "what it had stays");
    }
}
