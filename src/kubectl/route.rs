//! `kubectl convene route`: where a lobby would send somebody, as the lobby itself explains it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::table::{Table, harmless};
use crate::api::Lobby;
use crate::process::tls::client_config;
use crate::wire::explain::{AddressKnown, AddressView, RouteView};
use crate::wire::session::{GeoPoint, Problem, RankedPool, Rung};
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
    /// Where somebody at this address would be sent, instead of who asks. Only the lobby's administrator is told: it takes
    /// the token of the lobby's Secret.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// File with the administrator's token, instead of the lobby's Secret.
    #[arg(long, value_name = "FILE", requires = "ip")]
    admin_token_file: Option<PathBuf>,
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

    fn query(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("location", self.from.clone()),
            ("region", self.region.clone()),
            ("latencies", self.latency.clone()),
            ("residency", self.residency.clone()),
            ("ip", self.ip.map(|ip| ip.to_string())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Whether the administrator's token must be read from the lobby's Secret.
    pub(super) const fn needs_secret(&self) -> bool {
        self.ip.is_some() && self.admin_token_file.is_none()
    }

    /// The administrator's token, where one is needed: of a file, or what stands in the lobby's Secret.
    fn token(&self, of_secret: Option<String>) -> anyhow::Result<Option<String>> {
        if self.ip.is_none() {
            return Ok(None);
        }
        let token = match &self.admin_token_file {
            Some(file) => std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?,
            None => of_secret.context("--ip: there is no administrator's token: give --admin-token-file")?,
        };
        Ok(Some(token.trim().to_owned()))
    }

    /// Whether the lobby's object must be read first.
    pub(super) const fn needs_lobby(&self) -> bool {
        self.url.is_none()
    }
}

/// Whether what is sent to this URL stays on this machine or is encrypted.
fn keeps_secrets(base: &str) -> bool {
    let local = |url: reqwest::Url| match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    };
    base.starts_with("https://") || base.parse().is_ok_and(local)
}

/// Asks the lobby. `token` = the administrator's, as it stands in the lobby's Secret.
pub(super) async fn ask(args: &Args, lobby: Option<&Lobby>, token: Option<String>) -> anyhow::Result<RouteView> {
    let base = args.base(lobby)?;
    let token = args.token(token)?;
    if token.is_some() && !keeps_secrets(&base) {
        bail!(
            "--ip: the administrator's token is not sent to {base} in plain: `kubectl port-forward` the lobby and give --url"
        );
    }
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
    let mut request = http.get(format!("{base}/v1/route")).query(&args.query());
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.with_context(not_reached)?;
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
    let wanted = wanted.map_or_else(String::new, |wanted| format!(" Best would be pool {wanted}, had it room."));
    let to = harmless(&format!("{to}{wanted}"));
    // Where the client's own words say enough, that its address says nothing is of no interest.
    let matters = |view: &&AddressView| {
        view.address.is_some() || route.ranking.iter().all(|pool| pool.rung == Rung::DeclaredOrder)
    };
    let address = route.address.as_ref().filter(matters).map_or_else(String::new, said);
    if route.ranking.is_empty() { format!("{to}\n") } else { format!("{to}\n{address}\n{}", table.render()) }
}

/// What the address says, in words.
fn said(view: &AddressView) -> String {
    let AddressView { address, known, location, network, system } = view;
    let Some(address) = address else {
        return "The address says nothing of a place: it is none of the public internet, or a proxy's.\n".to_owned();
    };
    let place = match (known, location) {
        (AddressKnown::Found, Some(GeoPoint { latitude, longitude })) => format!("is at {latitude},{longitude}"),
        (AddressKnown::Found | AddressKnown::Unknown, _) => "is in no database of places".to_owned(),
        (AddressKnown::NotOnEarth, _) => "is nowhere on earth, says the database of places".to_owned(),
        (AddressKnown::NoPublicAddress, _) => "is not public".to_owned(),
        (AddressKnown::NoDatabase, _) => "cannot be looked up: no database of places is good now".to_owned(),
        (AddressKnown::NotAsked, _) => "is not looked up: the lobby has no database of places".to_owned(),
    };
    let measured = match (network, system) {
        (Some(network), Some(system)) => {
            format!("clients of its network {network} and of AS{system} have measured before")
        }
        (Some(network), None) => format!("clients of its network {network} have measured before"),
        (None, Some(system)) => format!("clients of AS{system}, of which it is, have measured before"),
        (None, None) => "of its network too little was measured".to_owned(),
    };
    format!("{}\n", harmless(&format!("Address {address} {place}; {measured}.")))
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
A session would go to relay tokyo-0 of pool tokyo. Best would be pool osaka, had it room.

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
            ip: None,
            admin_token_file: None,
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
        assert_eq!(args(None).query(), [("location", "-35.68,139.69".to_owned())]);
    }

    #[test]
    fn what_an_address_says_is_told_in_words() {
        let words = |view: serde_json::Value| said(&serde_json::from_value(view).expect("a view"));
        let found = json!({"address": "203.0.113.7", "known": "found", "network": "203.0.113.0/24",
            "location": {"latitude": 35.5, "longitude": 139.5}});
        assert_eq!(
            words(found),
            "Address 203.0.113.7 is at 35.5,139.5; clients of its network 203.0.113.0/24 have measured before.\n"
        );
        let unknown = words(json!({"address": "203.0.113.7", "known": "unknown"}));
        assert!(unknown.contains("in no database") && unknown.contains("too little was measured"), "{unknown}");
        assert!(words(json!({"known": "noPublicAddress"})).contains("says nothing of a place"));
    }

    #[test]
    fn the_administrators_token_goes_nowhere_in_plain() {
        for good in ["https://meet.example.com", "http://localhost:8080", "http://127.0.0.1", "http://[::1]:8080"] {
            assert!(keeps_secrets(good), "{good}");
        }
        for bad in ["http://meet.example.com", "http://localhost.example.com", "http://10.0.0.1", "http://127.0.0.1.a"]
        {
            assert!(!keeps_secrets(bad), "{bad}");
        }
    }
}
