//! What the router learns beside the table: what the lobby says of its regions, and the addresses of relays' names. What
//! could not be learnt leaves what is known as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::state::State;
use crate::decide::dns::{Atlas, Load, Name, Regions};
use crate::process::tls;
use crate::wire::regions::{MAX_NOT_HEARD, RegionLoad};

/// How often the lobby is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Time of one request to it.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest answer of the lobby, in bytes: some thousands of regions.
const MAX_ANSWER: usize = 1024 * 1024;
/// How often names are looked up again.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);
/// Time to look one up, and how many are at a time.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_UPS: usize = 32;
/// For how long a router that has just started waits for names before it says that it is ready.
const FIRST_ROUND: Duration = Duration::from_secs(15);
/// Names that are looked up: as many as the relays of 64 pools.
const MAX_NAMES: usize = 4096;
/// Addresses of one name that are kept.
const MAX_ADDRESSES: usize = 4;

/// Asks the lobby at `url` for its regions until `shutdown`. `ca` = file of the authorities that its certificate may be
/// signed by.
pub(super) async fn follow_regions(url: &str, ca: Option<&Path>, state: &State, shutdown: &CancellationToken) {
    let url = format!("{}/v1/regions", url.trim_end_matches('/'));
    let mut client: Option<(Vec<u8>, reqwest::Client)> = None;
    let mut was_heard = None;
    loop {
        let heard = ask(&url, ca, &mut client).await;
        let outcome = match &heard {
            Ok(_) => "heard",
            Err((outcome, _)) => outcome,
        };
        state.metrics.region_reads.with_label_values(&[outcome]).inc();
        match heard {
            Ok(regions) => {
                if was_heard != Some(true) {
                    tracing::info!(url, regions = regions.len(), "the lobby says how its regions are");
                }
                was_heard = Some(true);
                state.heard_regions(&regions);
            }
            Err((_, why)) => {
                if was_heard != Some(false) {
                    tracing::warn!(
                        url,
                        why = format!("{why:#}"),
                        "the lobby does not say how its regions are; what it said last counts for a minute, then the table alone"
                    );
                }
                was_heard = Some(false);
            }
        }
        state.show_ages();
        if shutdown.run_until_cancelled(tokio::time::sleep(ASK_EVERY)).await.is_none() {
            return;
        }
    }
}

async fn ask(
    url: &str,
    ca: Option<&Path>,
    client: &mut Option<(Vec<u8>, reqwest::Client)>,
) -> Result<Regions, (&'static str, anyhow::Error)> {
    let failed = |error: anyhow::Error| ("failed", error);
    // The authority may be made anew.
    let authorities = match ca {
        Some(path) => tokio::fs::read(path).await.with_context(|| path.display().to_string()).map_err(failed)?,
        None => Vec::new(),
    };
    let client = match client {
        Some((of, client)) if *of == authorities => client.clone(),
        _ => {
            let new = connect(ca).map_err(failed)?;
            *client = Some((authorities, new.clone()));
            new
        }
    };
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    let mut answer = answer.map_err(|error| failed(error.into()))?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(error.into()))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(("broken", anyhow::anyhow!("its answer has more than {MAX_ANSWER} bytes")));
        }
    }
    read(&body).map_err(|error| ("broken", error.into()))
}

fn connect(ca: Option<&Path>) -> anyhow::Result<reqwest::Client> {
    let config = tls::client_config(ca)?;
    let builder =
        reqwest::Client::builder().timeout(ASK_TIMEOUT).no_proxy().redirect(reqwest::redirect::Policy::none());
    Ok(builder.tls_backend_preconfigured(config).build()?)
}

fn read(body: &[u8]) -> serde_json::Result<Regions> {
    let regions: Vec<RegionLoad> = serde_json::from_slice(body)?;
    let load = |RegionLoad { region, relays, free_seats, not_heard }| {
        let not_heard = not_heard.into_iter().take(MAX_NOT_HEARD).collect();
        (region, Load { relays, free_seats, not_heard })
    };
    Ok(regions.into_iter().map(load).collect())
}

/// Looks up the addresses of the relays' names until `shutdown`.
pub(super) async fn follow_names(state: &State, shutdown: &CancellationToken) {
    shutdown.run_until_cancelled(look_ups(state, look_up, FIRST_ROUND)).await;
}

/// What a name was found to lead to.
type Found = Option<(Name, Vec<IpAddr>)>;

/// Round after round. After `at_most` the router is not kept from being ready by those that are not found.
async fn look_ups<F: Future<Output = Found>>(state: &State, look_up: impl Fn(Name) -> F, at_most: Duration) {
    loop {
        let atlas = state.board().atlas.clone();
        if let Some(atlas) = &atlas {
            let mut round = std::pin::pin!(look_up_all(state, &look_up, Atlas::names(atlas.table())));
            if tokio::time::timeout(at_most, &mut round).await.is_err() {
                // Those that are known already are not to wait for one that nobody answers for.
                state.looked_up();
                round.await;
            }
            state.looked_up();
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_UP_EVERY) => {}
            () = state.renamed.notified() => {}
        }
    }
}

/// Each counts as soon as it is found.
async fn look_up_all<F: Future<Output = Found>>(
    state: &State,
    look_up: &impl Fn(Name) -> F,
    mut names: BTreeSet<Name>,
) {
    if names.len() > MAX_NAMES {
        tracing::warn!(names = names.len(), most = MAX_NAMES, "too many names of relays: the rest is left out");
        names = names.into_iter().take(MAX_NAMES).collect();
    }
    // Those that are gone, or not found yet.
    state.found(&names, BTreeMap::new());
    let looked_up = futures::stream::iter(names.clone()).map(look_up).buffer_unordered(LOOK_UPS);
    let mut found = std::pin::pin!(looked_up.filter_map(std::future::ready).ready_chunks(LOOK_UPS));
    while let Some(found) = found.next().await {
        state.found(&names, found.into_iter().collect());
    }
}

async fn look_up(name: Name) -> Found {
    // With its last dot no search list is gone through; without it, names count that only this machine knows.
    let dotted = name.to_string();
    let host = dotted.trim_end_matches('.');
    let mut found = addresses(&dotted).await;
    if found.is_empty() {
        found = addresses(host).await;
    }
    // Sorted, so that an order that changes with each look is no change; both families have their part.
    found.sort();
    found.dedup();
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = found.into_iter().partition(IpAddr::is_ipv4);
    let found: Vec<IpAddr> = v4.into_iter().take(MAX_ADDRESSES).chain(v6.into_iter().take(MAX_ADDRESSES)).collect();
    (!found.is_empty()).then_some((name, found))
}

async fn addresses(host: &str) -> Vec<IpAddr> {
    match tokio::time::timeout(LOOK_UP_TIMEOUT, tokio::net::lookup_host((host, 0))).await {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip().to_canonical()).collect(),
        Ok(Err(error)) => {
            tracing::debug!(host, %error, "no address of a relay's name was found");
            Vec::new()
        }
        Err(_) => {
            tracing::debug!(host, "looking up a relay's name took too long");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::process::table::Taker as _;
    use crate::router::state::tests::state;

    /// One name that is found at once, and one for which nobody answers.
    async fn one_of_two(name: Name) -> Found {
        if name.labels().first().is_some_and(|label| label == "dead") {
            return std::future::pending().await;
        }
        Some((name, vec![IpAddr::from([192, 0, 2, 7])]))
    }

    fn offer(state: &State) {
        let relay = |name: &str| json!({"name": name, "podUid": name, "url": format!("wss://{name}.example.net"), "capacity": 1, "cordoned": false});
        let pool = json!({"namespace": "n", "name": "p", "region": "r", "latitude": 1, "longitude": 2, "relays": [relay("dead"), relay("live")]});
        let table = json!({"lobbyUid": "u", "url": "", "cluster": {"issuer": "", "jwks": null}, "pools": [pool]});
        state.take_table("test", &table.to_string()).expect("a table");
    }

    async fn eventually(what: &str, is_so: impl Fn() -> bool) {
        let looks = async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looks).await.expect(what);
    }

    #[tokio::test]
    async fn a_router_is_ready_once_names_were_looked_up_and_no_name_waits_for_another() {
        let (state, readiness) = state();
        offer(&state);
        assert!(readiness.get().expect_err("not ready").contains("looked up"));
        let has_address = || state.board().atlas.as_ref().is_some_and(|atlas| atlas.targets().count() == 1);
        let found = async {
            eventually("the live one is found", has_address).await;
            readiness.get()
        };
        let ready = tokio::select! {
            ready = found => ready,
            () = look_ups(&state, one_of_two, Duration::from_secs(3600)) => unreachable!("it goes on for ever"),
        };
        assert!(ready.is_err(), "one is still looked for: {ready:?}");
        tokio::select! {
            () = eventually("the dead one is not waited for", || readiness.get().is_ok()) => {}
            () = look_ups(&state, one_of_two, Duration::ZERO) => unreachable!("it goes on for ever"),
        }
    }

    #[test]
    fn what_a_lobby_says_is_read_and_what_later_ones_add_passed_over() {
        let body = br#"[{"region":"a","latitude":1.0,"longitude":2.0,"relays":2,"freeSeats":7,"probes":[]}]"#;
        let regions = read(body).expect("whole");
        let told = |not_heard| Regions::from([("a".to_owned(), Load { relays: 2, free_seats: 7, not_heard })]);
        assert_eq!(regions, told(BTreeSet::new()), "as lobbies of before say it, and the public port");
        let body = br#"[{"region":"a","relays":2,"freeSeats":7,"notHeard":["u","v"],"later":1}]"#;
        assert_eq!(read(body).expect("whole"), told(["u", "v"].map(str::to_owned).into()));
        for wrong in ["", "{}", r#"[{"region":"a"}]"#, r#"[{"region":"a","relays":-1,"freeSeats":0}]"#] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
