//! A relay as its lobby sees one: a link that says what the test wants, and remembers what it was told.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use convene::wire::link::{FromLobby, FromRelay, Load};
use convene::wire::stats::RelayStats;
use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::world::{Cluster, Running, eventually};

/// What a relay knows; it outlives its links.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Record and epoch of each session that is held.
    pub held: BTreeMap<String, (String, u64)>,
    pub closed: Vec<(String, u64)>,
    pub open: Vec<String>,
    pub messages: Vec<FromLobby>,
    /// Orders to hold a session, of this link.
    pub holds: u64,
    /// What it says of itself while it is kept alive.
    pub cordoned: bool,
    pub draining: bool,
}

/// A linked fake relay.
pub struct FakeRelay {
    pub memory: Arc<Mutex<Memory>>,
    say: mpsc::UnboundedSender<FromRelay>,
    pub ended: CancellationToken,
    _stop: DropGuard,
}

/// Dials the link with a bearer token; the HTTP answer if it is refused.
pub async fn dial(
    lobby: &Running,
    token: Option<&str>,
) -> Result<
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
    Box<http::Response<Option<Vec<u8>>>>,
> {
    let url = format!("ws://{}/v1/relay-link", lobby.address);
    let mut request = url.into_client_request().expect("a request");
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response),
        Err(other) => unreachable!("no answer: {other}"),
    }
}

impl FakeRelay {
    /// Links up as the relay `name` with nothing held.
    pub async fn link(lobby: &Running, cluster: &Cluster, name: &str, capacity: u32) -> Self {
        Self::link_with(lobby, cluster, name, "boot-1", capacity, Memory::default()).await
    }

    /// Links up with what an earlier link left in `memory`, and reports load each 200 ms.
    pub async fn link_with(
        lobby: &Running,
        cluster: &Cluster,
        name: &str,
        boot_id: &str,
        capacity: u32,
        memory: Memory,
    ) -> Self {
        let socket = dial(lobby, Some(&cluster.relay_token(name))).await.expect("admitted");
        let (mut sink, mut stream) = socket.split();
        let hello = FromRelay::Hello {
            boot_id: boot_id.to_owned(),
            version: "test".to_owned(),
            capacity,
            records: memory.held.values().map(|(record, _)| record.clone()).collect(),
            open: memory.open.clone(),
            keys: Vec::new(),
            url: None,
        };
        sink.send(text(&hello)).await.expect("sent");
        let memory = Arc::new(Mutex::new(Memory { messages: Vec::new(), holds: 0, ..memory }));
        let (say, mut said) = mpsc::unbounded_channel();
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (heard, stopped, done) = (Arc::clone(&memory), stop.clone(), ended.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stopped.cancelled() => break,
                    message = said.recv() => match message {
                        Some(message) => drop(sink.send(text(&message)).await),
                        None => break,
                    },
                    frame = stream.next() => match frame {
                        Some(Ok(Message::Text(frame))) => {
                            hear(&heard, serde_json::from_str(frame.as_str()).expect("an order"));
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        _ => break,
                    },
                }
            }
            done.cancel();
        });
        let relay = Self { memory, say, ended, _stop: stop.drop_guard() };
        eventually("the relay is welcome", async || {
            relay.know(|memory| memory.messages.iter().any(|message| matches!(message, FromLobby::Welcome { .. })))
        })
        .await;
        relay
    }

    pub fn say(&self, message: FromRelay) {
        let _ = self.say.send(message);
    }

    pub fn load(&self, capacity: u32, sessions: u32, leases: u32) {
        let stats = RelayStats { capacity, sessions, leases, participants: sessions, ..RelayStats::default() };
        let holds = Some(self.know(|memory| memory.holds));
        self.say(FromRelay::Load(Load { stats, holds }));
    }

    /// Somebody has connected.
    pub fn open(&self, session: &str) {
        let epoch = self.know(|memory| {
            memory.open.push(session.to_owned());
            memory.held.get(session).map_or(1, |(_, epoch)| *epoch)
        });
        self.say(FromRelay::Opened { session: session.to_owned(), epoch });
    }

    pub fn know<T>(&self, of: impl FnOnce(&mut Memory) -> T) -> T {
        of(&mut self.memory.lock().expect("not poisoned"))
    }

    /// Reports its load until it is dropped.
    pub fn keep_alive(&self, capacity: u32) {
        let (say, ended, memory) = (self.say.clone(), self.ended.clone(), Arc::clone(&self.memory));
        tokio::spawn(async move {
            while !ended.is_cancelled() {
                let load = {
                    let memory = memory.lock().expect("not poisoned");
                    let (held, open) = (count(memory.held.len()), count(memory.open.len()));
                    let stats = RelayStats {
                        capacity,
                        sessions: open,
                        leases: held.saturating_sub(open),
                        participants: open,
                        cordoned: memory.cordoned,
                        draining: memory.draining,
                    };
                    Load { stats, holds: Some(memory.holds) }
                };
                if say.send(FromRelay::Load(load)).is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("few")
}

fn hear(memory: &Mutex<Memory>, message: FromLobby) {
    let mut memory = memory.lock().expect("not poisoned");
    match &message {
        FromLobby::Hold { session, epoch, record, .. } => {
            memory.holds += 1;
            memory.held.insert(session.clone(), (record.clone(), *epoch));
        }
        FromLobby::Close { session, epoch } | FromLobby::Move { session, epoch } => {
            memory.held.remove(session);
            memory.open.retain(|open| open != session);
            memory.closed.push((session.clone(), *epoch));
        }
        FromLobby::Record { session, epoch, record } => {
            if let Some(held) = memory.held.get_mut(session).filter(|(_, held)| held == epoch) {
                held.0.clone_from(record);
            }
        }
        // Whether it obeys an order to leave is the case's to say.
        FromLobby::Leave
        | FromLobby::Stay
        | FromLobby::Keys(_)
        | FromLobby::Welcome { .. }
        | FromLobby::Renew { .. }
        | FromLobby::Unknown => {}
    }
    memory.messages.push(message);
}

fn text(message: &FromRelay) -> Message {
    Message::text(serde_json::to_string(message).expect("JSON"))
}
