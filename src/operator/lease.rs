//! Leader election: thin I/O around [`crate::decide::lease`].
//!
//! It has a client of its own without retries and with a deadline for each request, so that a renewal can never outlive
//! the lease it renews.

#![expect(clippy::disallowed_methods, reason = "this is where the Lease is written")]

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use super::fence::Fence;
use crate::decide::lease::{self, Decision, Sighting};
use crate::process::clock;

/// Name of the Lease.
pub(crate) const NAME: &str = "convene-operator";
/// Time for one request; well below the time between giving up and being succeeded.
const REQUEST: Duration = Duration::from_secs(3);

/// A place in the queue for leadership.
pub(crate) struct Candidate {
    api: Api<Lease>,
    me: String,
    sighting: Option<Sighting>,
    fence: Fence,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("no answer within {} s", REQUEST.as_secs())]
    Silent(#[from] tokio::time::error::Elapsed),
    #[error("it was written by somebody else meanwhile")]
    Conflict,
}

impl Candidate {
    /// A candidate named `me` for the Lease in `namespace`. `client` must not retry. `fence` is open while it leads.
    pub(crate) fn new(client: Client, namespace: &str, me: String, fence: Fence) -> Self {
        Self { api: Api::namespaced(client, namespace), me, sighting: None, fence }
    }

    /// Returns once this candidate leads.
    pub(crate) async fn acquire(&mut self) {
        loop {
            let started = clock::monotonic();
            match self.attempt().await {
                Ok(true) => {
                    self.renewed(started);
                    return;
                }
                Ok(false) => {}
                Err(trouble) => tracing::warn!(%trouble, "cannot read or write Lease {NAME}"),
            }
            sleep(unsigned(lease::RETRY_EVERY)).await;
        }
    }

    /// Renews until that fails for too long or somebody else leads; then returns. Its caller must stop acting at once.
    pub(crate) async fn hold(&mut self) {
        let mut renewed = clock::monotonic();
        loop {
            let round = async {
                sleep(unsigned(lease::RENEW_EVERY)).await;
                let started = clock::monotonic();
                (started, self.attempt().await)
            };
            // Whatever is under way then, the time is over.
            let left = (renewed + unsigned(lease::GIVE_UP_AFTER)).saturating_sub(clock::monotonic());
            match timeout(left, round).await {
                Ok((started, Ok(true))) => {
                    self.renewed(started);
                    renewed = started;
                }
                Ok((_, Ok(false))) => {
                    tracing::error!("somebody else holds Lease {NAME}");
                    return;
                }
                Ok((_, Err(trouble))) => tracing::warn!(%trouble, "cannot renew Lease {NAME}"),
                Err(_) => {
                    tracing::error!("Lease {NAME} could not be renewed for {} s", lease::GIVE_UP_AFTER.as_secs());
                    return;
                }
            }
        }
    }

    /// What was renewed by an attempt that began then may be acted on until it is given up.
    fn renewed(&self, started: Duration) {
        self.fence.open_until(started + unsigned(lease::GIVE_UP_AFTER));
    }

    /// Gives leadership away, so that the next need not wait.
    pub(crate) async fn release(&mut self) {
        let released = async {
            let current = timeout(REQUEST, self.api.get(NAME)).await??;
            if lease::holder(&current) == self.me {
                let spec = lease::release(&current);
                self.write(&current, spec).await?;
            }
            Ok::<_, Trouble>(())
        };
        if let Err(trouble) = released.await {
            tracing::warn!(%trouble, "cannot release Lease {NAME}; others take over once it has run out");
        }
    }

    /// One look and, where decided, one write. True = this candidate leads.
    async fn attempt(&mut self) -> Result<bool, Trouble> {
        let now = clock::steady();
        let current = timeout(REQUEST, self.api.get_opt(NAME)).await??;
        let sighting = Sighting::after(self.sighting.take(), current.as_ref(), &self.me, now);
        let spec = match lease::decide(current.as_ref(), &self.me, &sighting, now) {
            Decision::Wait => {
                self.sighting = Some(sighting);
                return Ok(false);
            }
            Decision::Write(spec) => spec,
        };
        match current {
            Some(current) => self.write(&current, spec).await,
            None => self.create(spec).await,
        }
    }

    async fn create(&self, spec: LeaseSpec) -> Result<bool, Trouble> {
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(spec) };
        match timeout(REQUEST, self.api.create(&PostParams::default(), &lease)).await? {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes over the version that was read, and no other.
    async fn write(&self, current: &Lease, spec: LeaseSpec) -> Result<bool, Trouble> {
        let next = Lease { metadata: current.metadata.clone(), spec: Some(spec) };
        match timeout(REQUEST, self.api.replace(NAME, &PostParams::default(), &next)).await? {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() => Err(Trouble::Conflict),
            Err(error) => Err(error.into()),
        }
    }
}

fn unsigned(duration: jiff::SignedDuration) -> Duration {
    duration.unsigned_abs()
}
