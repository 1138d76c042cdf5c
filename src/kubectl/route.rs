//! `kubectl convene route`: where a lobby would send somebody, as the lobby itself explains it.

use std::path::PathBuf;
use std::time::Duration;

use super::table::{Table, harmless};
use crate::api::Lobby;
use crate::process::tls::client_config;
use crate::wire::session::{Problem, RankedPool, RouteView};
use anyhow::{Context as _, bail};

/// For one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Arguments of `route`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the Lobby.
    lobby: String,
    /// Latitude and longitude in decimal degrees, such as 35.68,139.69.
    #[arg(long, value_name = "LAT,LON", allow_hyphen_values = true)]
    from: Option<String>,
    /// Name of a region.
    #[arg(long)]
    region: Option<String>,
    /// Round trips in milliseconds by region, such as asia-northeast1=8.5,eu-west-1=240.
    #[arg(long, value_name = "REGION=MS,…")]
    latency: Option<String>,
    /// Where the session must reside.
    #[arg(long)]
    residency: Option<String>,
    /// Base URL of the lobby, where it is not reached under the one in its status: after a `kubectl port-forward`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// File with further authorities (PEM) by one of which the lobby's certificate may be signed.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Args {
    pub(super) fn lobby(&self) -> &str {
        &self.lobby
    }

    /// The base URL, of the arguments or of the lobby's status.
    fn base(&self, lobby: Option<&Lobby>) -> anyhow::Result<String> {
        let told = lobby.and_then(|lobby| lobby.status.as_ref()?.url.clone());
        let Some(base) = self.url.clone().or(told) else {
            bail!("lobby {} has no URL yet: look at its status, or give --url", self.lobby);
        };
        if !(base.starts_with("http://") || base.starts_with("https://")) {
            bail!("--url: {base} is not a URL of a lobby; it must begin with https:// or http://");
        }
        Ok(base.trim_end_matches('/').to_owned())
    }

    fn query(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("location", &self.from),
            ("region", &self.region),
            ("latencies", &self.latency),
            ("residency", &self.residency),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    /// Whether the lobby's object must be read first.
    pub(super) const fn needs_lobby(&self) -> bool {
        self.url.is_none()
    }
}

/// Asks the lobby.
pub(super) async fn ask(args: &Args, lobby: Option<&Lobby>) -> anyhow::Result<RouteView> {
    let base = args.base(lobby)?;
    let http = reqwest::Client::builder()
        .timeout(ANSWER_WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(client_config(args.ca.as_deref())?)
        .build()
        .context("prepare HTTP")?;
    let not_reached = || {
        format!(
            "cannot reach the lobby at {base}: where it is not reachable from here, `kubectl port-forward` it and give --url"
        )
    };
    let answer = http.get(format!("{base}/v1/route")).query(&args.query()).send().await.with_context(not_reached)?;
    if answer.status().is_success() {
        return answer.json().await.context("read the lobby's answer");
    }
    let status = answer.status();
    let problem: Problem = answer.json().await.with_context(|| format!("the lobby at {base} answered {status}"))?;
    let detail = problem.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
    bail!("{}{}", harmless(&problem.title), harmless(&detail))
}

/// What is shown of it.
pub(super) fn render(route: &RouteView) -> String {
    let mut table = Table::new(&["POOL", "REGION", "KNOWN BY", "ESTIMATE", "LOAD", "SCORE", "FREE", "WHY"]);
    for RankedPool { pool, region, rung, estimate_ms, free_seats, load, score, reason, .. } in &route.ranking {
        let ms = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |ms| format!("{ms:.1}ms"));
        table.row(vec![
            pool.clone(),
            region.clone(),
            rung.as_str().to_owned(),
            ms(*estimate_ms),
            format!("{:.0}%", load * 100.0),
            score.map_or_else(|| "?".to_owned(), |score| format!("{score:.1}")),
            free_seats.to_string(),
            reason.clone(),
        ]);
    }
    let to = match (&route.relay, &route.pool) {
        (Some(relay), Some(pool)) => format!("A session would go to relay {relay} of pool {pool}."),
        _ => "A session would find no room now.".to_owned(),
    };
    let wanted = route.wanted.as_ref().filter(|wanted| Some(*wanted) != route.pool.as_ref());
    let wanted = wanted.map_or_else(String::new, |wanted| format!(" Best would be pool {wanted}, if all were empty."));
    let to = harmless(&format!("{to}{wanted}"));
    if route.ranking.is_empty() { format!("{to}\n") } else { format!("{to}\n\n{}", table.render()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn route(relay: Option<&str>) -> RouteView {
        serde_json::from_value(json!({
            "pool": relay.map(|_| "tokyo"), "relay": relay, "wanted": "osaka",
            "ranking": [
                {"pool": "osaka", "region": "asia-northeast2", "rung": "measured", "estimateMs": 4.0, "freeSeats": 0,
                    "load": 1.0, "score": 6.0, "reason": "first by the round trip that the client measured; full"},
                {"pool": "tokyo", "region": "asia-northeast1", "rung": "declaredOrder", "freeSeats": 7, "load": 0.3,
                    "reason": "number 2 in declared order; the first that has room: chosen"},
            ],
        }))
        .expect("a route")
    }

    #[test]
    fn every_pool_is_shown_and_what_is_not_known_is_no_number() {
        let expected = "\
A session would go to relay tokyo-0 of pool tokyo. Best would be pool osaka, if all were empty.

POOL    REGION            KNOWN BY        ESTIMATE   LOAD   SCORE   FREE   WHY
osaka   asia-northeast2   measured        4.0ms      100%   6.0     0      first by the round trip that the client measured; full
tokyo   asia-northeast1   declaredOrder   ?          30%    ?       7      number 2 in declared order; the first that has room: chosen
";
        assert_eq!(render(&route(Some("tokyo-0"))), expected);
        assert!(render(&route(None)).starts_with("A session would find no room now. Best would be pool osaka"));
    }

    #[test]
    fn the_lobbys_url_is_that_of_its_status_unless_given() {
        let args = |url: Option<&str>| Args {
            lobby: "meet".to_owned(),
            from: Some("-35.68,139.69".to_owned()),
            region: None,
            latency: None,
            residency: None,
            url: url.map(str::to_owned),
            ca: None,
        };
        let lobby: Lobby = serde_json::from_value(json!({
            "apiVersion": "convene.dev/v1alpha1", "kind": "Lobby", "metadata": {"name": "meet"}, "spec": {},
            "status": {"url": "https://meet.example.com/"},
        }))
        .expect("a lobby");
        assert_eq!(args(None).base(Some(&lobby)).expect("a URL"), "https://meet.example.com");
        assert_eq!(args(Some("http://localhost:8080")).base(None).expect("a URL"), "http://localhost:8080");
        assert!(args(Some("localhost")).base(None).is_err());
        let none = Lobby { status: None, ..lobby };
        assert!(args(None).base(Some(&none)).expect_err("none").to_string().contains("give --url"));
        assert_eq!(args(None).query(), [("location", "-35.68,139.69")]);
    }
}
