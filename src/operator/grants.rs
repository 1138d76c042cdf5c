//! What is known of the operator's right to work in namespaces. It is asked for, and kept for a moment for all that is there.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::Client;

use super::error::Error;
use super::fetch;
use crate::decide::grant::Grant;
use crate::process::clock;

/// By namespace. Losing it costs a question.
#[derive(Debug, Default)]
pub(crate) struct Grants(Mutex<HashMap<String, Grant>>);

impl Grants {
    /// Whether the operator may work in a namespace, as it was answered a moment ago, or now.
    pub(crate) async fn ask(&self, client: &Client, namespace: &str) -> Result<Grant, Error> {
        let known = self.lock().get(namespace).copied();
        if let Some(known) = known.filter(|known| known.believed_for(clock::monotonic()).is_some()) {
            return Ok(known);
        }
        let answer = fetch::is_granted(client, namespace).await;
        let (mut grants, now) = (self.lock(), clock::monotonic());
        grants.retain(|_, grant| !grant.is_old(now));
        // Where there is no answer, nothing is known: the time without one does not count.
        let before = grants.remove(namespace);
        let grant = Grant::after(before, answer?, now);
        grants.insert(namespace.to_owned(), grant);
        Ok(grant)
    }

    /// Something has failed in a namespace, perhaps since the right has gone: it is asked for again.
    pub(crate) fn doubt(&self, namespace: &str) {
        self.lock().retain(|known, grant| known != namespace || matches!(grant, Grant::Denied { .. }));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Grant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
