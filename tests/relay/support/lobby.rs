//! The lobby of a relay under test: it says what a test has it say, and keeps what it hears.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use convene::wire::link::{FromLobby, FromRelay};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::PATIENCE;

/// A lobby, as far as a relay sees one.
pub(crate) struct Lobby {
    pub(crate) address: SocketAddr,
    state: LobbyState,
    heard: mpsc::UnboundedReceiver<FromRelay>,
}

#[derive(Clone)]
struct LobbyState {
    link: Arc<Mutex<Option<mpsc::UnboundedSender<String>>>>,
    open: Arc<Mutex<bool>>,
    /// What the relay said when it last dialled.
    identity: Arc<Mutex<String>>,
    heard: mpsc::UnboundedSender<FromRelay>,
}

impl Lobby {
    pub(crate) async fn start() -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let open = Arc::new(Mutex::new(true));
        let state = LobbyState { link: Arc::default(), open, identity: Arc::default(), heard: sender };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/v1/{route}", get(link)).with_state(state.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { address, state, heard }
    }

    /// The next message that is wanted; others are skipped.
    pub(crate) async fn next(&mut self, wanted: impl Fn(&FromRelay) -> bool) -> FromRelay {
        let wait = async {
            loop {
                let message = self.heard.recv().await.expect("the test holds a sender");
                if wanted(&message) {
                    return message;
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("in time")
    }

    /// Waits for a load.
    pub(crate) async fn load(&mut self, sessions: u32, leases: u32, participants: u32) {
        self.next(|message| {
            matches!(message, FromRelay::Load(load)
                if (load.stats.sessions, load.stats.leases, load.stats.participants) == (sessions, leases, participants))
        })
        .await;
    }

    /// Waits for the end of a session.
    pub(crate) async fn ended(&mut self, session: &str) {
        let ended = FromRelay::Ended { session: session.to_owned(), epoch: 1 };
        self.next(|message| *message == ended).await;
    }

    /// Waits for the claim of a session's lease.
    pub(crate) async fn opened(&mut self, session: &str) {
        let opened = FromRelay::Opened { session: session.to_owned(), epoch: 1 };
        self.next(|message| *message == opened).await;
    }

    /// Gives an order.
    pub(crate) fn order(&self, order: &FromLobby) {
        self.say(serde_json::to_string(order).expect("JSON"));
    }

    /// Says anything.
    pub(crate) fn say(&self, text: String) {
        let link = self.state.link.lock().expect("not poisoned");
        link.as_ref().expect("a link").send(text).expect("sent");
    }

    /// What the relay said when it last dialled.
    pub(crate) fn identity(&self) -> String {
        self.state.identity.lock().expect("not poisoned").clone()
    }

    /// Goes away, or comes back.
    pub(crate) fn set_open(&self, open: bool) {
        *self.state.open.lock().expect("not poisoned") = open;
        if !open {
            self.state.link.lock().expect("not poisoned").take();
        }
    }
}

async fn link(
    State(state): State<LobbyState>,
    Path(route): Path<String>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    assert_eq!(route, "relay-link");
    let identity = headers["authorization"].to_str().expect("text").strip_prefix("Bearer ").expect("a bearer");
    identity.clone_into(&mut state.identity.lock().expect("not poisoned"));
    if !*state.open.lock().expect("not poisoned") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    upgrade.on_upgrade(|socket| serve_link(state, socket))
}

async fn serve_link(state: LobbyState, mut socket: WebSocket) {
    let (sender, mut orders) = mpsc::unbounded_channel();
    *state.link.lock().expect("not poisoned") = Some(sender);
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(order) = order else { return };
                let _ = socket.send(Message::text(order)).await;
            }
            message = socket.recv() => {
                let Some(Ok(message)) = message else { return };
                let Message::Text(text) = message else { continue };
                let message: FromRelay = serde_json::from_str(&text).expect("a message of the link");
                if matches!(message, FromRelay::Hello { .. }) {
                    let welcome = serde_json::to_string(&FromLobby::Welcome { at: None, lobby: None }).expect("JSON");
                    let _ = socket.send(Message::text(welcome)).await;
                }
                let _ = state.heard.send(message);
            }
        }
    }
}
