//! What must be the same in a disturbed run and in one that nobody disturbed. Plain functions of values.

use std::collections::{BTreeMap, BTreeSet};

use faultline::{Entry, Verb};

use crate::state::State;
use crate::world::World;

/// Where values differ from run to run: kind and place in the object, with `*` for a position in a list.
pub(crate) type Mask = BTreeSet<(String, String)>;

/// Places that may differ; `*` is any one step. Anything else that differs between two undisturbed runs is a finding, so
/// the mask cannot grow unseen.
const MAY_DIFFER: &[&str] = &[
    // The API server's own.
    "*/metadata/uid",
    "*/metadata/resourceVersion",
    "*/metadata/creationTimestamp",
    "*/metadata/ownerReferences/*/uid",
    "Service/spec/clusterIP",
    "Service/spec/clusterIPs/*",
    // Times.
    "*/status/conditions/*/lastTransitionTime",
    "RelayPool/status/relays/*/servedSince",
    "Lobby/status/link/ends",
    "Lobby/status/tokens/keys/*/since",
    // Keys, and what is made of them.
    "Secret/data/admin-token",
    "Secret/data/*.key",
    "Secret/data/*.pem",
    "ConfigMap/data/*.crt",
    "ConfigMap/data/jwks.json/keys/*/*",
    "ConfigMap/data/jwks.json/version",
    "ConfigMap/data/relays.json/keys/keys/*/*",
    "ConfigMap/data/relays.json/keys/version",
    "Lobby/status/link/authority",
    "Lobby/status/tokens/keys/*/id",
    // Of what stands in for relays.
    "Pod/status/podIP",
    "Pod/status/podIPs/*/ip",
    // UIDs of others, and hashes over them.
    "*/metadata/annotations/convene.dev~1plan",
    "Pod/metadata/annotations/convene.dev~1generation",
    "Pod/spec/containers/*/env/CONVENE_LOBBY_UID/value",
    "Pod/spec/volumes/*/projected/sources/*/serviceAccountToken/audience",
    "ConfigMap/data/relays.json/lobbyUid",
    "ConfigMap/data/relays.json/pools/*/relays/*/podUid",
    "RelayPool/status/relays/*/podUid",
    "RelayPool/status/relays/*/generation",
    "RelayPool/status/madeFrom/spec",
];

/// What differs between two undisturbed runs.
pub(crate) fn mask(first: &State, second: &State) -> Mask {
    let mut mask = Mask::new();
    for (name, leaves) in first {
        let Some(others) = second.get(name) else { continue };
        let differing = leaves.iter().filter(|(place, value)| others.get(*place).is_some_and(|other| other != *value));
        mask.extend(differing.map(|(place, _)| general(name, place)));
    }
    mask
}

/// Places of a mask that nobody expected.
pub(crate) fn unexpected(mask: &Mask) -> Vec<String> {
    let places = mask.iter().map(|(kind, place)| format!("{kind}{place}"));
    places.filter(|place| !MAY_DIFFER.iter().any(|known| fits(known, place))).collect()
}

fn fits(pattern: &str, place: &str) -> bool {
    let (patterns, steps): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), place.split('/').collect());
    let step_fits = |(pattern, step): (&&str, &&str)| match pattern.strip_prefix('*') {
        Some(end) => step.ends_with(end),
        None => pattern == step,
    };
    patterns.len() == steps.len() && patterns.iter().zip(&steps).all(step_fits)
}

fn general(name: &str, place: &str) -> (String, String) {
    let kind = name.split('/').next().unwrap_or_default().to_owned();
    let parts = place.split('/').map(|part| if part.parse::<u32>().is_ok() { "*" } else { part });
    (kind, parts.collect::<Vec<_>>().join("/"))
}

/// O1: in what the state differs from that of the undisturbed run.
pub(crate) fn differences(reference: &State, state: &State, mask: &Mask) -> Vec<String> {
    let mut found = Vec::new();
    for name in reference.keys().chain(state.keys()).collect::<BTreeSet<_>>() {
        let (Some(expected), Some(seen)) = (reference.get(name), state.get(name)) else {
            let what = if state.contains_key(name) { "should not be there" } else { "is missing" };
            found.push(format!("{name} {what}"));
            continue;
        };
        for place in expected.keys().chain(seen.keys()).collect::<BTreeSet<_>>() {
            let (expected, seen) = (expected.get(place), seen.get(place));
            let masked = expected.is_some() && seen.is_some() && mask.contains(&general(name, place));
            if expected != seen && !masked {
                found.push(format!("{name}{place}: {seen:?} instead of {expected:?}"));
            }
        }
    }
    found
}

/// How often each object was made and deleted; events, which are for people and may be lost, are not counted.
pub(crate) fn counts(log: &[Entry]) -> BTreeMap<String, (u32, u32)> {
    let mut counts = BTreeMap::<String, (u32, u32)>::new();
    for entry in log.iter().filter(|entry| !matches!(entry.target.resource.as_str(), "events" | "leases")) {
        let (made, deleted) = (entry.created(), entry.took_effect() && entry.target.verb == Verb::Delete);
        if made || deleted {
            let count = counts.entry(format!("{} {}", entry.target.resource, entry.target.name)).or_default();
            count.0 += u32::from(made);
            count.1 += u32::from(deleted);
        }
    }
    counts
}

/// O2: which objects were made or deleted more or less often.
pub(crate) fn count_differences(reference: &[Entry], log: &[Entry]) -> Vec<String> {
    let (expected, seen) = (counts(reference), counts(log));
    let names: BTreeSet<&String> = expected.keys().chain(seen.keys()).collect();
    let differing = names.into_iter().filter_map(|name| {
        let (expected, seen) =
            (expected.get(name).copied().unwrap_or_default(), seen.get(name).copied().unwrap_or_default());
        (expected != seen).then(|| format!("{name}: made and deleted {seen:?} times instead of {expected:?}"))
    });
    differing.collect()
}

pub(crate) async fn what_differs_between_runs_is_masked_and_nothing_else(_: &World) {
    let state = |uid: &str, replicas: &str, more: &[&str]| {
        let leaves = [("/metadata/uid", uid), ("/status/relays/0/podUid", uid), ("/spec/replicas", replicas)];
        let leaves: BTreeMap<String, String> =
            leaves.iter().map(|(place, value)| ((*place).to_owned(), (*value).to_owned())).collect();
        more.iter().chain(&["RelayPool/a"]).map(|name| ((*name).to_owned(), leaves.clone())).collect::<State>()
    };
    let (first, second) = (state("1", "3", &[]), state("2", "3", &[]));
    let mask = mask(&first, &second);
    let expected = [("RelayPool", "/metadata/uid"), ("RelayPool", "/status/relays/*/podUid")];
    assert_eq!(mask, expected.iter().map(|(kind, place)| ((*kind).to_owned(), (*place).to_owned())).collect());
    assert_eq!(unexpected(&mask), Vec::<String>::new());
    assert!(fits("*/a/*.pem", "K/a/x.pem") && !fits("*/a/*.pem", "K/a/x.crt") && !fits("*/a", "K/a/b"));
    assert_eq!(differences(&first, &state("9", "3", &[]), &mask), Vec::<String>::new());
    assert_eq!(differences(&first, &state("9", "4", &["RelayPool/b"]), &mask).len(), 2);
    let mut without = state("9", "3", &[]);
    for leaves in without.values_mut() {
        leaves.remove("/metadata/uid");
    }
    assert_eq!(differences(&first, &without, &mask).len(), 1, "what is masked must still be there");
}
