//! The pass over a relay pool that is being deleted: its relays leave, then it may go. Its other children go with it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::apply::Writer;
use super::context::Context;
use super::controllers::RESYNC;
use super::error::{Error, not_granted};
use super::pool::{keep_to, key, write};
use super::{finalizer, relays};
use crate::api::{FINALIZER_DRAIN, RelayPool, RelayPoolStatus};
use crate::decide::drain;
use crate::decide::grant::{Grant, LOST_AFTER};
use crate::decide::status as say;
use crate::decide::valid::{Invalid, Owner};
use crate::process::clock;

/// How often it is looked at whether the operator may still work in the pool's namespace: nobody tells.
const STILL_GRANTED: Duration = Duration::from_secs(15);

/// Has the pool's relays leave. Returns when to look again.
pub(super) async fn end(pool: &RelayPool, context: &Context) -> Result<Duration, Error> {
    let namespace = pool.namespace().unwrap_or_default();
    if !pool.finalizers().iter().any(|name| name == FINALIZER_DRAIN) {
        context.forget_pool(&key(pool));
        return Ok(RESYNC);
    }
    let Some(owner) = Owner::of(pool) else { return Ok(RESYNC) };
    if !context.watches(&namespace) {
        // Perhaps another operator's.
        return Ok(RESYNC);
    }
    let grant = context.grants.ask(&context.client, &namespace).await?;
    if grant.is_lost() {
        // With a namespace, its grants go before its pools do. Nothing can be done for the relays any more; those that are
        // deleted with it drain by themselves, in the time that Kubernetes lets them.
        tracing::info!(pool = %key(pool), "a pool goes without being drained: its namespace is granted no longer");
        return let_go(pool, context).await;
    }
    match grant {
        Grant::Held { .. } => {
            let left = leave(pool, &owner, context).await;
            if left.is_err() {
                context.grants.doubt(&namespace);
            }
            left
        }
        Grant::Denied { .. } => wait(pool, grant, context).await,
    }
}

async fn let_go(pool: &RelayPool, context: &Context) -> Result<Duration, Error> {
    finalizer::remove(pool, FINALIZER_DRAIN, context).await?;
    context.forget_pool(&key(pool));
    Ok(RESYNC)
}

/// Says that the right to work in the namespace has gone, and asks for it again soon.
async fn wait(pool: &RelayPool, grant: Grant, context: &Context) -> Result<Duration, Error> {
    let Invalid { reason, message } = not_granted(&pool.namespace().unwrap_or_default());
    let seconds = LOST_AFTER.as_secs();
    let message =
        format!("{message}. The pool is being deleted: after {seconds} s without that right it goes undrained");
    let again = grant.believed_for(clock::monotonic()).unwrap_or_default() + Duration::from_millis(5);
    context.memories().with(&key(pool), |memory| memory.patience = Some(again));
    let invalid = |why: &Invalid| say::pool::invalid(pool, why, None, clock::now());
    write(pool, Err(Invalid { reason, message }.into()), invalid, again, context).await
}

/// The next step of its relays' drains.
async fn leave(pool: &RelayPool, owner: &Owner, context: &Context) -> Result<Duration, Error> {
    let pods = context.children.pods(&owner.namespace, &owner.uid).await?;
    let certified = certified(&pods, context).await;
    let decided = relays::decide_without_making(pool, &pods, drain::decide, context, clock::now());
    if decided.drains.finished {
        return let_go(pool, context).await;
    }
    if let Err(Error::Invalid(why)) = certified {
        return keep_to(pool, why, owner, &pods, &decided, context).await;
    }
    if let Err(error) = certified {
        tracing::warn!(pool = %key(pool), %error, "no relay can be told to leave: their deadlines pass all the same");
    }
    let writer = Writer { client: &context.client, owner, metrics: &context.metrics };
    relays::carry_out(&pool.name_any(), &pods, &decided, &writer, context).await?;
    let next = say::pool::leaving(pool, &decided.drains, clock::now());
    let never = |_: &Invalid| RelayPoolStatus::default();
    write(pool, Ok(next), never, decided.look_again().min(STILL_GRANTED), context).await
}

/// The operator's own certificate comes with its authorities, and with it what relays report and obey. Without one, time
/// goes on all the same; and where no relay is left, none is needed.
async fn certified(pods: &[Pod], context: &Context) -> Result<(), Error> {
    if pods.is_empty() { Ok(()) } else { context.control.authorities().await.map(drop) }
}
