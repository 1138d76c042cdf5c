//! What went through the proxy, in order: the evidence. One [`Entry`] is one line of JSON.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::plan::Fault;
use crate::target::Target;

/// One request that has ended, or one event of a watch. No body, no header: nothing secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its number among what its client and all others have sent; events have numbers of their own.
    pub number: u64,
    /// When it was read, in milliseconds since the proxy began.
    pub at: u64,
    /// The door that it came through.
    pub client: String,
    /// What it is about.
    #[serde(flatten)]
    pub target: Target,
    /// Of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Exchange>,
    /// Of an event: ADDED, MODIFIED, DELETED, BOOKMARK, ERROR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// What happened to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// A request and the server's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// First half of SHA-256 of the body, in hex; empty without a body.
    pub body: String,
    /// The server's status code; absent when it was never sent, or could not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl Entry {
    /// Whether the server did what this asked for.
    pub fn took_effect(&self) -> bool {
        let status = self.request.as_ref().and_then(|request| request.status);
        self.target.verb.mutates() && status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether this made an object: a create, or an apply of one that was not there.
    pub fn created(&self) -> bool {
        self.took_effect() && self.request.as_ref().is_some_and(|request| request.status == Some(201))
    }
}

type Sink = Box<dyn std::io::Write + Send>;

/// All entries since the proxy began.
pub struct Log {
    began: Instant,
    entries: Mutex<Vec<Entry>>,
    sink: Mutex<Option<Sink>>,
}

impl Default for Log {
    fn default() -> Self {
        Self { began: Instant::now(), entries: Mutex::default(), sink: Mutex::default() }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// Also writes each entry there, as a line.
    pub fn write_to(&self, sink: Box<dyn std::io::Write + Send>) {
        *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(sink);
    }

    /// Milliseconds since the proxy began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long ago that was.
    pub fn since(&self, at: u64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(at))
    }

    /// Entries from the `from`-th on; 0 = all.
    pub fn entries(&self, from: usize) -> Vec<Entry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(from..).unwrap_or_default().to_vec()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing went through yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&self, entry: Entry) {
        if let Some(sink) = self.sink.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let line = serde_json::to_string(&entry).unwrap_or_default();
            // A reader that has gone stops nothing; the entries are still here.
            let _ = writeln!(sink, "{line}").and_then(|()| sink.flush());
        }
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}
