//! The demo's side of the lobby's API and of a relay's WebSocket. Plain HTTP: it runs beside the lobby.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::{HeaderValue, Method, StatusCode};
use reqwest::Response;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::process::{clock, secret};
use crate::wire::regions::RegionView;
use crate::wire::session::{ClientPlace, Connect, CreateSession, JoinSession, Joined, Problem, SessionCreated};

/// How long the lobby may take to start, or to find room.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Of one request or connection attempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A participant's connection.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One lobby, as its clients reach it.
#[derive(Clone, Debug)]
pub(super) struct LobbyApi {
    http: reqwest::Client,
    base: String,
}

impl LobbyApi {
    pub(super) fn new(base: &str) -> anyhow::Result<Self> {
        // The demo's lobby speaks plain HTTP, and the image has no system's certificates that could be looked for.
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).tls_certs_only(std::iter::empty()).build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The `declared` regions, or where none are given all that the lobby names when it first answers. Waits while the
    /// lobby starts and until each of them has a relay that serves.
    pub(super) async fn regions_once_serving(&self, declared: &[String]) -> anyhow::Result<Vec<RegionView>> {
        let begin = clock::monotonic();
        let mut declared = declared.to_vec();
        loop {
            let why = match self.regions().await {
                Ok(regions) => {
                    if declared.is_empty() {
                        declared = regions.iter().map(|region| region.region.clone()).collect();
                    }
                    match serving(&declared, regions) {
                        Ok(regions) => return Ok(regions),
                        Err(why) => anyhow::anyhow!(why),
                    }
                }
                Err(error) => error,
            };
            if clock::monotonic().saturating_sub(begin) > PATIENCE {
                return Err(why.context(format!("the lobby at {} is not ready after 30 s", self.base)));
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    pub(super) async fn regions(&self) -> anyhow::Result<Vec<RegionView>> {
        parsed(self.http.get(self.url("/v1/regions")).send().await?).await
    }

    /// Creates a session for a host at `place`; asks again while the lobby says that it may.
    pub(super) async fn create(&self, place: ClientPlace) -> anyhow::Result<SessionCreated> {
        let body = CreateSession { place, ..CreateSession::default() };
        // The same key for all attempts: an answer that was lost makes no second session.
        let key = secret::random_id();
        let request = || self.http.post(self.url("/v1/sessions")).header("idempotency-key", &key).json(&body);
        parsed(self.patiently(request).await?).await.context("create")
    }

    /// Joins as a guest.
    pub(super) async fn join(&self, session: &str, join_key: &str) -> anyhow::Result<Joined> {
        let body = JoinSession { join_key: Some(join_key.to_owned()), lost_epoch: None, ..JoinSession::default() };
        let request = || self.http.post(self.url(&format!("/v1/sessions/{session}/join"))).json(&body);
        parsed(self.patiently(request).await?).await.context("join")
    }

    /// Closes a session as its host.
    pub(super) async fn close(&self, session: &str, host_token: &str) -> anyhow::Result<()> {
        let request =
            || self.http.request(Method::DELETE, self.url(&format!("/v1/sessions/{session}"))).bearer_auth(host_token);
        let answer = self.patiently(request).await?;
        ensure!(answer.status() == StatusCode::NO_CONTENT, "close: {}", answer.status());
        Ok(())
    }

    /// Sends until the answer is not "later".
    async fn patiently(&self, request: impl Fn() -> reqwest::RequestBuilder) -> anyhow::Result<Response> {
        let begin = clock::monotonic();
        loop {
            let answer = request().send().await;
            let later = answer.as_ref().map_or(true, |answer| {
                matches!(answer.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
            });
            if !later || clock::monotonic().saturating_sub(begin) > PATIENCE {
                return Ok(answer?);
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }
}

/// The declared regions of the lobby's answer, or what they lack.
fn serving(declared: &[String], mut answered: Vec<RegionView>) -> Result<Vec<RegionView>, String> {
    answered.retain(|region| declared.contains(&region.region));
    let serves = |name: &&String| answered.iter().any(|region| region.region == **name && region.relays > 0);
    let away: Vec<&str> = declared.iter().filter(|name| !serves(name)).map(String::as_str).collect();
    if !away.is_empty() {
        return Err(format!("no relay serves in {}", away.join(", ")));
    }
    if answered.iter().all(|region| region.free_seats == 0) {
        return Err("no region has a free seat".to_owned());
    }
    Ok(answered)
}

async fn parsed<T: DeserializeOwned>(answer: Response) -> anyhow::Result<T> {
    let status = answer.status();
    if status.is_success() {
        return answer.json().await.context("an answer that is not understood");
    }
    match answer.json::<Problem>().await {
        Ok(problem) => bail!("{status}: {} ({}) {}", problem.code, problem.title, problem.detail.unwrap_or_default()),
        Err(_) => bail!("{status}"),
    }
}

/// Connects to a relay with a pass.
pub(super) async fn connect(pass: &Connect) -> anyhow::Result<Socket> {
    let mut request = pass.url.as_str().into_client_request().with_context(|| format!("connect to {}", pass.url))?;
    let token = HeaderValue::try_from(format!("Bearer {}", pass.token)).context("a token that fits a header")?;
    request.headers_mut().insert(http::header::AUTHORIZATION, token);
    // The end of a message must not wait for the acknowledgement of its begin.
    let no_delay = true;
    let connecting = tokio_tungstenite::connect_async_with_config(request, None, no_delay);
    let connected = tokio::time::timeout(REQUEST_TIMEOUT, connecting).await;
    let at = || format!("connect to {}", pass.url);
    let (socket, _) = connected.context("no answer in 10 s").with_context(at)?.with_context(at)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_region_must_serve_and_one_must_have_room() {
        let region = |name: &str, relays, free_seats| RegionView {
            region: name.to_owned(),
            latitude: 0.0,
            longitude: 0.0,
            relays,
            free_seats,
            probes: Vec::new(),
        };
        let both = ["a".to_owned(), "b".to_owned()];
        let other = region("c", 0, 0);
        let found = serving(&both, vec![region("a", 1, 0), other.clone(), region("b", 2, 7)]).expect("both serve");
        assert_eq!(found.iter().map(|region| region.region.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let table = [
            (vec![], "no relay serves in a, b"),
            (vec![region("a", 1, 5)], "no relay serves in b"),
            (vec![region("a", 1, 5), region("b", 0, 0)], "no relay serves in b"),
            (vec![region("a", 1, 0), region("b", 1, 0), region("c", 1, 5)], "no region has a free seat"),
        ];
        for (answered, why) in table {
            assert_eq!(serving(&both, answered).expect_err(why), why);
        }
        // A lobby that names none yet.
        assert_eq!(serving(&[], vec![]).expect_err("none"), "no region has a free seat");
    }
}
