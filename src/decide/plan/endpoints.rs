//! The DNSEndpoint of a lobby: names of its regions, for external-dns. Relays that take sessions; where a name has none, those
//! that are there, since a name that is taken away takes longer to come back than a relay.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Child, ChildKind, meta, names};
use crate::api::endpoints::{DNSEndpoint, DnsEndpointSpec, Endpoint, ExternalDns};
use crate::decide::dns::{Endpoint as At, Host};
use crate::decide::valid::ValidLobby;
use crate::wire::table::RelayTable;

/// Most records of one name and type: what fits an answer by UDP.
const MOST: usize = 8;

/// The object. Without records it stands all the same: what it held before goes with them.
pub(super) fn child(lobby: &ValidLobby, settings: &ExternalDns, table: &RelayTable) -> Child {
    let owner = &lobby.owner;
    let object = DNSEndpoint {
        metadata: meta(owner, names::lobby_dns(&owner.name), names::lobby_labels(&owner.name)),
        spec: DnsEndpointSpec { endpoints: records(settings, table) },
    };
    Child::new(ChildKind::DnsEndpoint, object)
}

/// The hosts of a region's relays.
#[derive(Default)]
struct Hosts {
    /// Of those that take sessions.
    open: Vec<Host>,
    /// Of all.
    all: Vec<Host>,
}

/// The records of all names, in the order of regions as they are declared.
pub fn records(settings: &ExternalDns, table: &RelayTable) -> Vec<Endpoint> {
    let mut regions: Vec<(&str, Hosts)> = Vec::new();
    for pool in &table.pools {
        let at = regions.iter().position(|(region, _)| *region == pool.region).unwrap_or_else(|| {
            regions.push((&pool.region, Hosts::default()));
            regions.len() - 1
        });
        let Some((_, hosts)) = regions.get_mut(at) else { continue };
        for relay in &pool.relays {
            let Some(At { host, .. }) = At::parse(&relay.url) else { continue };
            if !relay.cordoned && !relay.leaving {
                hosts.open.push(host.clone());
            }
            hosts.all.push(host);
        }
    }
    // Addresses alone: a name with others below it, that may be a zone's own, cannot be another name for something.
    let in_turn = |of: fn(&Hosts) -> &Vec<Host>| -> Vec<Host> {
        let mut lists: Vec<_> =
            regions.iter().map(|(_, hosts)| of(hosts).iter().filter(|host| is_address(host))).collect();
        // One of each region after the other, so that every region has its part of the common name.
        std::iter::from_fn(|| Some(lists.iter_mut().filter_map(Iterator::next).cloned().collect::<Vec<_>>()))
            .take_while(|turn| !turn.is_empty())
            .flatten()
            .collect()
    };
    let ttl = i64::from(settings.ttl_seconds);
    let common = Hosts { open: in_turn(|hosts| &hosts.open), all: in_turn(|hosts| &hosts.all) };
    let mut found = of_name(&settings.domain, ttl, common.published());
    for (region, hosts) in &regions {
        found.extend(of_name(&format!("{region}.{}", settings.domain), ttl, hosts.published()));
    }
    found
}

impl Hosts {
    /// Those that take sessions, or all where none does.
    fn published(&self) -> &[Host] {
        if self.open.is_empty() { &self.all } else { &self.open }
    }
}

fn is_address(host: &Host) -> bool {
    matches!(host, Host::Address(_))
}

/// A and AAAA of addresses; a CNAME where there is one host name and nothing else.
fn of_name(name: &str, ttl: i64, hosts: &[Host]) -> Vec<Endpoint> {
    let endpoint = |record_type: &str, targets: Vec<String>| Endpoint {
        dns_name: name.to_owned(),
        record_ttl: ttl,
        record_type: record_type.to_owned(),
        targets,
    };
    let of_family = |is_v4: bool| {
        let addresses = hosts.iter().filter_map(|host| match host {
            Host::Address(address) if address.to_canonical().is_ipv4() == is_v4 => Some(address.to_canonical()),
            Host::Address(_) | Host::Named(_) => None,
        });
        let mut first: Vec<IpAddr> = Vec::new();
        addresses.for_each(|address| {
            if !first.contains(&address) && first.len() < MOST {
                first.push(address);
            }
        });
        // The order in an object means nothing: sorted, it changes only with what is in it.
        first.sort();
        first.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let families = [("A", of_family(true)), ("AAAA", of_family(false))];
    let mut found: Vec<Endpoint> = families
        .into_iter()
        .filter(|(_, targets)| !targets.is_empty())
        .map(|(record_type, targets)| endpoint(record_type, targets))
        .collect();
    let named: BTreeSet<String> = hosts
        .iter()
        .filter_map(|host| match host {
            Host::Named(name) => Some(name.to_string().trim_end_matches('.').to_owned()),
            Host::Address(_) => None,
        })
        .collect();
    if found.is_empty() && named.len() == 1 {
        found.push(endpoint("CNAME", named.into_iter().collect()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::table::{PoolEntry, RelayEntry};

    fn pool(region: &str, relays: &[(&str, bool)]) -> PoolEntry {
        let relay = |(index, (url, cordoned)): (usize, &(&str, bool))| RelayEntry {
            name: format!("{region}-{index}"),
            pod_uid: format!("{region}-{index}"),
            url: (*url).to_owned(),
            capacity: 1,
            cordoned: *cordoned,
            leaving: false,
        };
        PoolEntry {
            namespace: "n".to_owned(),
            name: region.to_owned(),
            region: region.to_owned(),
            latitude: 0.0,
            longitude: 0.0,
            relays: relays.iter().enumerate().map(relay).collect(),
        }
    }

    fn told(pools: Vec<PoolEntry>) -> Vec<String> {
        let settings = ExternalDns { domain: "r.example.com".to_owned(), ttl_seconds: 60 };
        let records = records(&settings, &RelayTable { pools, ..RelayTable::default() });
        let text = |endpoint: &Endpoint| {
            format!(
                "{} {} {} {}",
                endpoint.dns_name,
                endpoint.record_ttl,
                endpoint.record_type,
                endpoint.targets.join(",")
            )
        };
        records.iter().map(text).collect()
    }

    #[test]
    fn names_mean_relays_that_take_sessions() {
        let eu = pool("eu", &[("ws://192.0.2.2:1", false), ("ws://192.0.2.1:1", false), ("ws://192.0.2.3:1", true)]);
        let asia = pool("asia", &[("wss://[2001:db8::1]", false), ("", false)]);
        let leaving = pool("us", &[("ws://192.0.2.9:1", true)]);
        let named = pool("sa", &[("wss://lb.example.net", false)]);
        assert_eq!(
            told(vec![eu, asia, leaving, named, pool("none", &[])]),
            [
                "r.example.com 60 A 192.0.2.1,192.0.2.2",
                "r.example.com 60 AAAA 2001:db8::1",
                "eu.r.example.com 60 A 192.0.2.1,192.0.2.2",
                "asia.r.example.com 60 AAAA 2001:db8::1",
                "us.r.example.com 60 A 192.0.2.9",
                "sa.r.example.com 60 CNAME lb.example.net",
            ]
        );
    }

    #[test]
    fn relays_that_leave_stand_only_where_a_name_has_no_others() {
        let leaving = |url| [(url, true)];
        let (old, new) = (pool("eu", &leaving("ws://192.0.2.1:1")), pool("eu", &[("ws://192.0.2.2:1", false)]));
        let of_eu = ["r.example.com 60 A 192.0.2.2", "eu.r.example.com 60 A 192.0.2.2"];
        assert_eq!(told(vec![old.clone(), new.clone()]), of_eu);
        assert_eq!(told(vec![new, old.clone()]), of_eu, "whichever comes first");
        let us = pool("us", &leaving("ws://192.0.2.9:1"));
        assert_eq!(
            told(vec![old, us]),
            [
                "r.example.com 60 A 192.0.2.1,192.0.2.9",
                "eu.r.example.com 60 A 192.0.2.1",
                "us.r.example.com 60 A 192.0.2.9",
            ],
            "a name that is taken away takes longer to come back than a relay"
        );
    }

    #[test]
    fn every_region_has_its_part_of_the_common_name() {
        let many: Vec<String> = (0..20).map(|n| format!("ws://192.0.2.{n}:1")).collect();
        let many: Vec<(&str, bool)> = many.iter().map(|url| (url.as_str(), false)).collect();
        let told = told(vec![pool("eu", &many), pool("us", &[("ws://198.51.100.1:1", false)])]);
        assert!(told.iter().any(|line| line.starts_with("r.example.com") && line.contains("198.51.100.1")), "{told:?}");
        assert!(told.iter().all(|line| line.matches(',').count() < MOST), "{told:?}");
        assert_eq!(told.len(), 3);
    }
}
