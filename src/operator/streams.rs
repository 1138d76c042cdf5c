//! The event streams of lobby processes, followed for as long as their Pods serve: what each said last. A stream that
//! ends is dialled again; who says nothing for a while counts as not known, never as anything else.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::watch::{Guarded, WakeLobby};
use crate::api::Lobby;
use crate::decide::backoff::Waits;
use crate::decide::heard::Heard;
use crate::process::{clock, secret, sse};
use crate::wire::stats::{EVENTS_PATH, STORE_EVENT, StoreState};

/// Time for a connection and the head of the answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A stream tells each second; one that is quiet for so long is dialled again.
const QUIET: Duration = Duration::from_secs(3);
/// Who has said nothing for so long is not known.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Waits between attempts.
const WAITS: Waits = Waits { first: Duration::from_millis(200), longest: Duration::from_secs(2) };

/// A lobby as the operator's stores name it.
pub(crate) type LobbyRef = ObjectRef<Guarded<Lobby>>;

/// All streams that are followed.
pub(crate) struct Streams {
    http: reqwest::Client,
    wake: WakeLobby,
    ended: CancellationToken,
    lobbies: Mutex<HashMap<LobbyRef, BTreeMap<String, Followed>>>,
}

/// One process. Dropped, it is followed no more.
struct Followed {
    address: SocketAddr,
    heard: Arc<Mutex<Heard<StoreState>>>,
    _stop: DropGuard,
}

impl Streams {
    /// None yet. All end with `ended`; what changes wakes the lobby's pass.
    pub(crate) fn new(wake: WakeLobby, ended: CancellationToken) -> Self {
        // Plain HTTP by address: neither a proxy nor the system's certificates, which the image has not.
        let http = reqwest::Client::builder().no_proxy().tls_certs_only(std::iter::empty());
        let http = http.redirect(reqwest::redirect::Policy::none()).build().expect("these settings need nothing");
        Self { http, wake, ended, lobbies: Mutex::default() }
    }

    /// Follows these processes of a lobby (control ports by the UIDs of their Pods) from now on, and no others; what each
    /// has said last.
    pub(crate) fn follow(&self, lobby: &LobbyRef, processes: &BTreeMap<String, SocketAddr>) -> Vec<Heard<StoreState>> {
        let mut lobbies = self.lobbies.lock().unwrap_or_else(PoisonError::into_inner);
        if processes.is_empty() {
            lobbies.remove(lobby);
            return vec![];
        }
        let followed = lobbies.entry(lobby.clone()).or_default();
        followed.retain(|uid, known| processes.get(uid) == Some(&known.address));
        for (uid, address) in processes {
            followed.entry(uid.clone()).or_insert_with(|| self.start(lobby, *address));
        }
        followed.values().map(|known| *known.heard.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Follows a lobby no more.
    pub(crate) fn forget(&self, lobby: &LobbyRef) {
        self.lobbies.lock().unwrap_or_else(PoisonError::into_inner).remove(lobby);
    }

    fn start(&self, lobby: &LobbyRef, address: SocketAddr) -> Followed {
        let (stop, heard) = (self.ended.child_token(), Arc::default());
        let stream = Stream {
            http: self.http.clone(),
            url: format!("http://{address}{EVENTS_PATH}"),
            heard: Arc::clone(&heard),
            wake: self.wake.clone(),
            lobby: lobby.clone(),
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(stream.keep()));
        Followed { address, heard, _stop: stop.drop_guard() }
    }
}

/// One stream.
struct Stream {
    http: reqwest::Client,
    url: String,
    heard: Arc<Mutex<Heard<StoreState>>>,
    wake: WakeLobby,
    lobby: LobbyRef,
}

impl Stream {
    /// Listens, for ever.
    async fn keep(self) {
        let (mut failures, mut last) = (0_u32, clock::monotonic());
        loop {
            let listened = self.listen(|| {
                last = clock::monotonic();
                failures = 0;
            });
            let Err(error) = listened.await;
            tracing::debug!(url = self.url, %error, "an event stream has ended");
            if clock::monotonic().saturating_sub(last) >= SILENT_AFTER {
                self.hear(Heard::Silent);
            }
            failures = failures.saturating_add(1);
            tokio::time::sleep(WAITS.after(failures, secret::random_fraction())).await;
        }
    }

    async fn listen(&self, mut told: impl FnMut()) -> anyhow::Result<std::convert::Infallible> {
        let answer = tokio::time::timeout(CONNECT_WITHIN, self.http.get(&self.url).send()).await??;
        let mut answer = answer.error_for_status()?;
        let mut events = sse::Events::default();
        loop {
            let piece = tokio::time::timeout(QUIET, answer.chunk()).await??;
            let piece = piece.ok_or_else(|| anyhow::anyhow!("it was closed"))?;
            for event in events.feed(&piece)?.into_iter().filter(|event| event.name == STORE_EVENT) {
                let state: StoreState = serde_json::from_str(&event.data)?;
                told();
                self.hear(Heard::Told(state));
            }
        }
    }

    fn hear(&self, now: Heard<StoreState>) {
        let before = std::mem::replace(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner), now);
        if before != now {
            // A closed channel means that the operator is ending.
            let _ = self.wake.send(self.lobby.clone());
        }
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
