//! What the router learns beside the table: what the lobby says of its regions, and the addresses of relays' names. What
//! could not be learnt leaves what is known as it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::state::State;
use crate::decide::dns::{Atlas, Load, Name, Regions};
use crate::process::tls;

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
const LOOK_UPS: usize = 8;
/// Names that are looked up: as many as the relays of 64 pools.
const MAX_NAMES: usize = 4096;
/// Addresses of one name that are kept.
const MAX_ADDRESSES: usize = 4;

/// One region, of what `GET /v1/regions` says of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    #[serde(rename = "region")]
    name: String,
    relays: u32,
    free_seats: u32,
}

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
    let regions: Vec<Region> = serde_json::from_slice(body)?;
    let load = |Region { name, relays, free_seats }| (name, Load { relays, free_seats });
    Ok(regions.into_iter().map(load).collect())
}

/// Looks up the addresses of the relays' names until `shutdown`.
pub(super) async fn follow_names(state: &State, shutdown: &CancellationToken) {
    loop {
        let mut names = Atlas::names(state.board().atlas.table());
        if names.len() > MAX_NAMES {
            tracing::warn!(names = names.len(), most = MAX_NAMES, "too many names of relays: the rest is left out");
            names = names.into_iter().take(MAX_NAMES).collect();
        }
        let found = futures::stream::iter(names.clone()).map(look_up).buffer_unordered(LOOK_UPS);
        let found: BTreeMap<Name, Vec<IpAddr>> = found.filter_map(std::future::ready).collect().await;
        state.found(&names, found);
        let again = async {
            tokio::select! {
                () = tokio::time::sleep(LOOK_UP_EVERY) => {}
                () = state.renamed.notified() => {}
            }
        };
        if shutdown.run_until_cancelled(again).await.is_none() {
            return;
        }
    }
}

async fn look_up(name: Name) -> Option<(Name, Vec<IpAddr>)> {
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
    use super::*;

    #[test]
    fn what_a_lobby_says_is_read_and_what_later_ones_add_passed_over() {
        let body = br#"[{"region":"a","latitude":1.0,"longitude":2.0,"relays":2,"freeSeats":7,"probes":[]}]"#;
        let regions = read(body).expect("whole");
        assert_eq!(regions, Regions::from([("a".to_owned(), Load { relays: 2, free_seats: 7 })]));
        for wrong in ["", "{}", r#"[{"region":"a"}]"#, r#"[{"region":"a","relays":-1,"freeSeats":0}]"#] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
