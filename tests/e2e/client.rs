//! A person's part: the lobby's HTTP API and a WebSocket to the relay that the lobby names.

use std::time::Duration;

use convene::wire::session::{
    ClientPlace, Connect, CreateSession, GeoPoint, JoinSession, Joined, MoveSession, Problem, SessionCreated,
    SessionView,
};
use futures::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest as _};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Time in which an answer or a message must come.
const SOON: Duration = Duration::from_secs(5);

/// A lobby's API.
#[derive(Clone, Debug)]
pub(crate) struct LobbyApi {
    http: reqwest::Client,
    url: String,
}

impl LobbyApi {
    pub(crate) fn new(url: &str) -> Self {
        let http = reqwest::Client::builder().timeout(SOON).no_proxy().build().expect("a client");
        Self { http, url: url.to_owned() }
    }

    /// Creates a session for a host at these coordinates.
    pub(crate) async fn create(&self, latitude: f64, longitude: f64) -> Result<SessionCreated, String> {
        let location = Some(GeoPoint { latitude, longitude });
        self.create_at(ClientPlace { location, ..ClientPlace::default() }).await
    }

    /// Creates a session for a host that says this of where it is.
    pub(crate) async fn create_at(&self, place: ClientPlace) -> Result<SessionCreated, String> {
        let body = CreateSession { place, ..CreateSession::default() };
        self.post("/v1/sessions", None, &body).await
    }

    /// Joins as a guest.
    pub(crate) async fn join(&self, session: &str, join_key: Option<&String>) -> Result<Joined, String> {
        let body = JoinSession { join_key: join_key.cloned(), lost_epoch: None, ..JoinSession::default() };
        self.post(&format!("/v1/sessions/{session}/join"), None, &body).await
    }

    /// Joins again as the host.
    pub(crate) async fn rejoin(&self, session: &str, host_token: &str) -> Result<Joined, String> {
        self.post(&format!("/v1/sessions/{session}/join"), Some(host_token), &JoinSession::default()).await
    }

    /// Moves a session to a pool.
    pub(crate) async fn relocate(&self, session: &str, host_token: &str, pool: &str) -> Result<SessionView, String> {
        let body = MoveSession { pool: Some(pool.to_owned()), ..MoveSession::default() };
        self.post(&format!("/v1/sessions/{session}/move"), Some(host_token), &body).await
    }

    /// Ends a session.
    pub(crate) async fn close(&self, session: &str, host_token: &str) {
        let request = self.http.delete(format!("{}/v1/sessions/{session}", self.url)).bearer_auth(host_token);
        let answer = request.send().await.expect("the lobby answers");
        assert!(answer.status().is_success(), "closing: {}", answer.status());
    }

    /// Status and body of a GET.
    pub(crate) async fn get(&self, path: &str, bearer: Option<&str>) -> (u16, String) {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        let answer = request.send().await.expect("the lobby answers");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    async fn post<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        bearer: Option<&str>,
        body: &B,
    ) -> Result<A, String> {
        let mut request = self.http.post(format!("{}{path}", self.url)).json(body);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if status.is_success() {
            return serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"));
        }
        let problem: Result<Problem, _> = serde_json::from_str(&text);
        Err(problem.map_or_else(|_| format!("{status}: {text}"), |problem| problem.code))
    }
}

/// A connection to a session on a relay.
pub(crate) struct Seat(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Seat {
    /// Connects with the pass that the lobby gave.
    pub(crate) async fn take(connect: &Connect) -> Result<Self, String> {
        Self::knock(&connect.url, &connect.token).await
    }

    /// Connects with any token; a refusal is told as status and body.
    pub(crate) async fn knock(url: &str, token: &str) -> Result<Self, String> {
        let mut request = url.into_client_request().expect("a URL");
        let bearer = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert("authorization", bearer);
        let connecting = tokio::time::timeout(SOON, tokio_tungstenite::connect_async(request)).await;
        match connecting.map_err(|_| format!("{url} does not answer"))? {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(tungstenite::Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                Err(format!("{} {}", answer.status(), String::from_utf8_lossy(&body)))
            }
            Err(error) => Err(format!("{url}: {error}")),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) -> Result<(), String> {
        self.0.send(Message::text(text)).await.map_err(|error| error.to_string())
    }

    /// The next text message.
    pub(crate) async fn receive(&mut self) -> Result<String, String> {
        self.receive_within(SOON).await
    }

    /// The next text message, or why there is none: the close frame, or the end of the connection.
    pub(crate) async fn receive_within(&mut self, time: Duration) -> Result<String, String> {
        let next = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                    Some(Ok(Message::Close(frame))) => {
                        return Err(frame.map_or_else(
                            || "closed".to_owned(),
                            |frame| format!("closed {} {}", u16::from(frame.code), frame.reason),
                        ));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Err("ended".to_owned()),
                }
            }
        };
        tokio::time::timeout(time, next).await.map_err(|_| "no message in time".to_owned())?
    }
}

/// Sends both ways and checks that each text arrives as it was sent.
pub(crate) async fn talk(host: &mut Seat, guest: &mut Seat) -> Result<(), String> {
    for round in 0..20 {
        let text = format!("{round}: {}", "ü".repeat(round * 50));
        host.send(&text).await?;
        let heard = guest.receive().await?;
        guest.send(&text).await?;
        let echoed = host.receive().await?;
        if heard != text || echoed != text {
            return Err(format!("sent {text:?}, heard {heard:?}, echoed {echoed:?}"));
        }
    }
    Ok(())
}
