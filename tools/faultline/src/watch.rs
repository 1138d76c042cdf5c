//! The stream of a watch, event by event.

use std::sync::Arc;

use hyper::body::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::answer::{Broken, failure};
use crate::log::Entry;
use crate::plan::Fault;
use crate::proxy::Shared;
use crate::target::Target;

/// The parts of an event that rules ask for.
#[derive(Debug, Default, Deserialize)]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    object: Object,
}

#[derive(Debug, Default, Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
}

/// One watch on its way from the server to a client.
pub(crate) struct Stream {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: String,
    pub(crate) target: Target,
    pub(crate) pieces: mpsc::Sender<Result<Bytes, Broken>>,
}

impl Stream {
    /// Passes events on until either side ends, or a fault does.
    pub(crate) async fn run(self, mut response: reqwest::Response) {
        let mut lines = Lines::default();
        loop {
            let chunk = tokio::select! {
                chunk = response.chunk() => chunk,
                // The client has gone.
                () = self.pieces.closed() => return,
            };
            let Ok(chunk) = chunk else {
                let _ = self.pieces.send(Err(Broken)).await;
                return;
            };
            let Some(chunk) = chunk else { return };
            for line in lines.take(&chunk) {
                if !self.event(line).await {
                    return;
                }
            }
        }
    }

    /// Passes one event on. False = the stream ends.
    async fn event(&self, line: Bytes) -> bool {
        let event: Event = serde_json::from_slice(&line).unwrap_or_default();
        let Metadata { name, namespace } = event.object.metadata;
        let target = Target { namespace, name, ..self.target.clone() };
        // Before the plan is asked, so that a change after this is not missed.
        let mut revision = self.shared.revision.subscribe();
        let fault = self.shared.rules().event(&self.client, &target);
        let (number, at) = (self.shared.number_of_event(), self.shared.log.now());
        let client = self.client.clone();
        self.shared.log.push(Entry {
            number,
            at,
            client,
            target,
            request: None,
            event: Some(event.kind),
            fault: fault.clone(),
        });
        match fault {
            Some(Fault::Swallow) => true,
            Some(Fault::Gone) => {
                let status = failure(http::StatusCode::GONE, "too old resource version");
                let last = format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n");
                let _ = self.pieces.send(Ok(last.into())).await;
                false
            }
            Some(Fault::Stall) => {
                tokio::select! {
                    _ = revision.changed() => {}
                    () = self.pieces.closed() => {}
                }
                false
            }
            // Faults of requests never meet an event.
            Some(_) | None => self.pieces.send(Ok(line)).await.is_ok(),
        }
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The lines that are whole now, with their ends.
    fn take(&mut self, chunk: &[u8]) -> Vec<Bytes> {
        self.rest.extend_from_slice(chunk);
        let mut whole = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let after = self.rest.split_off(end + 1);
            whole.push(Bytes::from(std::mem::replace(&mut self.rest, after)));
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut lines = Lines::default();
        assert!(lines.take(b"{\"a\":").is_empty());
        assert_eq!(lines.take(b"1}\n{}\n{"), [Bytes::from("{\"a\":1}\n"), Bytes::from("{}\n")]);
        assert_eq!(lines.take(b"}\n"), [Bytes::from("{}\n")]);
    }
}
