//! Leader election: thin I/O around [`crate::decide::lease`].
//!
//! It has a client of its own without retries and with a deadline for each request, so that a renewal can never outlive
//! the lease it renews.

#![expect(clippy::disallowed_methods, reason = "this is where the Lease is written")]

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{sleep, timeout};

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
    /// A candidate named `me` for the Lease in `namespace`. `client` must not retry.
    pub(crate) fn new(client: Client, namespace: &str, me: String) -> Self {
        Self { api: Api::namespaced(client, namespace), me, sighting: None }
    }

    /// Returns once this candidate leads.
    pub(crate) async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
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
                Ok((started, Ok(true))) => renewed = started,
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

    /// Gives leadership away, so that the next need not wait.
    pub(crate) async fn release(&mut self) {
        let released = async {
            let current = timeout(REQUEST, self.api.get(NAME)).await??;
            if holder(&current) == Some(&self.me) {
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
        let Some(current) = timeout(REQUEST, self.api.get_opt(NAME)).await?? else {
            return self.create(now).await;
        };
        let sighting = self.sight(&current, now);
        match lease::decide(&current, &self.me, &sighting, now) {
            Decision::Wait => Ok(false),
            Decision::Write(spec) => self.write(&current, spec).await,
        }
    }

    fn sight(&mut self, lease: &Lease, now: Timestamp) -> Sighting {
        let version = lease.resource_version().unwrap_or_default();
        let sighting = match self.sighting.take() {
            Some(known) if known.version == version => known,
            _ => Sighting { version, since: now },
        };
        self.sighting = Some(sighting.clone());
        sighting
    }

    async fn create(&self, now: Timestamp) -> Result<bool, Trouble> {
        let sighting = Sighting { version: String::new(), since: now };
        let Decision::Write(spec) = lease::decide(&Lease::default(), &self.me, &sighting, now) else {
            return Ok(false);
        };
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

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref()
}

fn unsigned(duration: jiff::SignedDuration) -> Duration {
    duration.unsigned_abs()
}
