//! The pass over one relay pool: fetch, valid, decide, plan, apply, status. What is only about relays (a report, a Pod, a
//! node) goes on from what the last whole pass found, and reads nothing from the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource as _, ResourceExt as _};

use super::apply::Writer;
use super::context::Context;
use super::controllers::RESYNC;
use super::error::{Error, not_granted};
use super::fetch::Objects;
use super::memory::{Ground, Written};
use super::relays::{Crew, Decided};
use super::watch::PoolRef;
use super::{control, ending, fetch, finalizer, keys, relays, status, watch};
use crate::api::common::Location;
use crate::api::condition::Reason;
use crate::api::lobby::AdmitFrom;
use crate::api::{FINALIZER_DRAIN, Lobby, RelayPool, RelayPoolStatus};
use crate::decide::authority::ControlKey;
use crate::decide::backoff::Attempt;
use crate::decide::plan::{self, ChildKind, names};
use crate::decide::relays as see;
use crate::decide::scale::Policy;
use crate::decide::status as say;
use crate::decide::status::pool::Worth;
use crate::decide::valid::{self, ControlInputs, Invalid, LobbyOf, PoolInputs, Software, ValidPool};
use crate::decide::{drain, regions};
use crate::process::clock;
use crate::wire::control::Server;

/// Brings one pool to its spec and writes its status, whatever came of it. Returns when to look again.
pub(crate) async fn reconcile(pool: &RelayPool, context: &Context) -> Result<Duration, Error> {
    context.memories().meet(&key(pool), &pool.uid().unwrap_or_default());
    let pool = &as_written(pool, context);
    let namespace = pool.namespace().unwrap_or_default();
    if pool.meta().deletion_timestamp.is_some() {
        return ending::end(pool, context).await;
    }
    let passed =
        if context.watches(&namespace) { pass(pool, context).await } else { Err(not_granted(&namespace).into()) };
    match passed {
        Ok((status, again)) => write(pool, Ok(status), |_| RelayPoolStatus::default(), again, context).await,
        // Where nobody granted the namespace, its Pods cannot be read either.
        Err(Error::Invalid(why))
            if why.reason != Reason::NamespaceNotGranted || context.children.has_read(&namespace) =>
        {
            keep(pool, why, context).await
        }
        Err(error) => refuse(pool, error, context).await,
    }
}

/// The pool is not accepted, and its relays cannot be seen.
async fn refuse(pool: &RelayPool, why: Error, context: &Context) -> Result<Duration, Error> {
    let invalid = |why: &Invalid| say::pool::invalid(pool, why, None, clock::now());
    write(pool, Err(why), invalid, RESYNC, context).await
}

/// The pool is not accepted: its relays stay as they are, but for what people and nodes ask.
async fn keep(pool: &RelayPool, why: Invalid, context: &Context) -> Result<Duration, Error> {
    let Some(owner) = valid::Owner::of(pool) else { return Err(why.into()) };
    tracing::debug!(%why, "a pool that is not accepted keeps its relays");
    let pods = match context.children.pods(&owner.namespace, &owner.uid).await {
        Ok(pods) => pods,
        Err(error) => return refuse(pool, error, context).await,
    };
    let decided = relays::decide_without_making(pool, &pods, drain::keep, context, clock::now());
    keep_to(pool, why, &owner, &pods, &decided, context).await
}

/// Says why the pool cannot be worked with; what was decided of its relays is carried out all the same.
pub(super) async fn keep_to(
    pool: &RelayPool,
    why: Invalid,
    owner: &valid::Owner,
    pods: &[Pod],
    decided: &Decided,
    context: &Context,
) -> Result<Duration, Error> {
    let again = decided.look_again();
    context.memories().with(&key(pool), |memory| memory.patience = Some(again));
    let invalid = |why: &Invalid| say::pool::invalid(pool, why, Some(&decided.drains), clock::now());
    let reported = write(pool, Err(why.into()), invalid, again, context).await;
    let writer = Writer { client: &context.client, owner, metrics: &context.metrics };
    relays::carry_out(&pool.name_any(), pods, decided, &writer, context).await?;
    reported
}

/// Writes the status, unless it says what was written last; numbers that move all the time are written now and then.
pub(super) async fn write(
    pool: &RelayPool,
    passed: Result<RelayPoolStatus, Error>,
    invalid: impl FnOnce(&Invalid) -> RelayPoolStatus,
    again: Duration,
    context: &Context,
) -> Result<Duration, Error> {
    let key = key(pool);
    let written = context.memories().with(&key, |memory| memory.written.as_ref().map(|written| written.at));
    if let (Ok(next), Some(before), Some(at)) = (&passed, &pool.status, written) {
        match say::pool::worth(before, next, at, clock::now()) {
            Worth::Nothing => return Ok(again),
            Worth::Later(time) => return Ok(again.min(until(time))),
            Worth::Now => {}
        }
    }
    let next = passed.as_ref().ok().cloned();
    let reported = status::report(context, pool, pool.status.as_ref(), passed, invalid, |status| &status.conditions);
    let reported = reported.await;
    // What was not answered may not stand there: the next pass writes it again.
    let over = pool.resource_version();
    let stands = next.filter(|_| reported.is_ok());
    let stands = stands.map(|status| Written { status, at: clock::now(), since: clock::monotonic(), over });
    context.memories().with(&key, |memory| memory.written = stands);
    reported.map(|()| again)
}

/// How long to wait for the retry of a pass that failed.
pub(crate) fn wait(pool: &RelayPool, wait: Duration, context: &Context) -> Duration {
    context.memories().known(&key(pool), |memory| memory.wait(wait, clock::monotonic())).unwrap_or(wait)
}

/// Time until then, and a moment: times are compared in whole milliseconds at least.
pub(super) fn until(time: Timestamp) -> Duration {
    let left = time.duration_since(clock::now());
    Duration::try_from(left).unwrap_or(Duration::ZERO) + Duration::from_millis(5)
}

pub(super) fn key(pool: &RelayPool) -> PoolRef {
    ObjectRef::new(&pool.name_any()).within(&pool.namespace().unwrap_or_default())
}

async fn pass(pool: &RelayPool, context: &Context) -> Result<(RelayPoolStatus, Duration), Error> {
    let (namespace, key) = (pool.namespace().unwrap_or_default(), key(pool));
    let news = context.memories().with(&key, |memory| memory.news_since.take());
    let fresh = clock::monotonic().saturating_sub(RESYNC);
    let known = context.memories().ground(&key, pool.metadata.generation, fresh);
    let is_whole = known.is_none();
    let ground = if let Some(ground) = known { ground } else { Arc::new(look_anew(pool, context).await?) };
    let pods = context.children.pods(&namespace, &ground.valid.owner.uid).await?;
    let nodes = relays::nodes_of(&pods, context);
    let crew = Crew { pool, ground: &ground, pods: &pods, nodes: &nodes };
    let decided = relays::decide(&crew, context, clock::now());

    let created = decided.drains.actions.iter().filter_map(|action| match action {
        drain::Action::Create { ordinal, .. } => Some(*ordinal),
        _ => None,
    });
    let made: BTreeSet<u32> = created.collect();
    let planned = plan::pool::Relays {
        made_from: ground.relays.made_from.clone(),
        addressed: see::addressed(&pool.spec, &decided.pool, &made),
        made,
    };
    let addresses = addresses(&ground.valid, &decided.urls);
    let writer = Writer { client: &context.client, owner: &ground.valid.owner, metrics: &context.metrics };
    let differs = planned.addressed != ground.relays.addressed || addresses != ground.valid.addresses;
    let (stands, mut urls) = if is_whole || differs || !planned.made.is_empty() {
        let valid = ValidPool { addresses, ..ground.valid.clone() };
        let plan = plan::pool::plan(&valid, &planned, &context.config);
        // What is made once must not be planned again.
        let lasts = plan.secrets.is_empty();
        let applied = writer.apply(plan, ground.children.clone()).await?;
        context.children.made(&namespace, applied.pods);
        let ground = Ground {
            generation: ground.generation,
            policy: ground.policy.clone(),
            relays: plan::pool::Relays { made: BTreeSet::new(), ..planned.clone() },
            children: applied.children,
            valid,
            at: ground.at,
        };
        let urls = see::urls(&ground.valid, &pods, &ground.children, &nodes);
        (if lasts { context.memories().keep(&key, ground) } else { Arc::new(ground) }, urls)
    } else {
        (Arc::clone(&ground), decided.urls.clone())
    };
    relays::act(&crew, &decided, &writer, context).await?;

    if let Some(since) = news.filter(|_| !decided.drains.actions.is_empty()) {
        let took = clock::monotonic().saturating_sub(since).as_secs_f64();
        context.metrics.decision_seconds.with_label_values::<&str>(&[]).observe(took);
    }

    let standing = context.children.pods(&namespace, &ground.valid.owner.uid).await?;
    urls.retain(|name, _| standing.iter().any(|pod| pod.name_any() == *name));
    let passed = say::pool::Passed {
        valid: &stands.valid,
        pods: &standing,
        urls: &urls,
        planned: &planned,
        desired: decided.pool.desired,
        drains: &decided.drains,
        scaling: decided.scaling.as_ref(),
    };
    Ok((say::pool::applied(pool, passed, clock::now()), decided.look_again().min(RESYNC)))
}

/// A whole look, unless the last one has refused the pool and the retry is not due: what a relay says changes none of that.
async fn look_anew(pool: &RelayPool, context: &Context) -> Result<Ground, Error> {
    let (key, attempt) = (key(pool), Attempt::of(pool.meta()));
    if let Some(why) = context.memories().refused(&key, &attempt, clock::monotonic()) {
        return Err(why.into());
    }
    context.memories().begin(&key);
    let found = look(pool, context).await;
    if let Err(Error::Invalid(why)) = &found {
        context.memories().refuse(&key, attempt, why.clone());
    }
    found
}

/// Everything that a whole pass reads, and whether it can be worked with.
async fn look(pool: &RelayPool, context: &Context) -> Result<Ground, Error> {
    let at = clock::monotonic();
    let namespace = pool.namespace().unwrap_or_default();
    let children = children(pool, context).await?;
    finalizer::ensure(pool, FINALIZER_DRAIN, context).await?;
    let lobby = lobby_of(pool, context);
    let lobby_config = lobby_config(pool, context).await?;
    let tls_secret_there = match &pool.spec.tls {
        Some(tls) => fetch::has_secret(&context.client, &namespace, &tls.secret_name).await?,
        None => true,
    };
    let credential_there = match pool.spec.lobby_ref.as_ref().and_then(|lobby| lobby.remote.as_ref()) {
        Some(remote) => fetch::has_secret(&context.client, &namespace, &remote.credential_secret_ref.name).await?,
        None => true,
    };
    let namespace_labels = match lobby.as_ref().map(|lobby| lobby.spec.relay_pools.from) {
        Some(AdmitFrom::Selector) => {
            fetch::namespace_labels(&context.client, std::iter::once(namespace.clone())).await?
        }
        Some(AdmitFrom::Same | AdmitFrom::All) | None => BTreeMap::new(),
    };
    let name = pool.name_any();
    let authorities = context.control.authorities().await?;
    let control_secret = fetch::optional::<Secret>(&context.client, &namespace, &names::pool_control(&name)).await?;
    let control_certificate = control::published(&children, names::pool(&name));
    let server = Server::pool(&namespace, &name);
    let valid = valid::pool(&PoolInputs {
        pool,
        lobby: lobby.as_ref(),
        lobby_config: lobby_config.as_ref(),
        tls_secret_there,
        credential_there,
        control: ControlInputs {
            secret: control_secret.as_ref(),
            fresh: ControlKey(keys::fresh_key()),
            certify: &|key| authorities.certify(&server, key, control_certificate.as_deref(), clock::now()),
        },
        namespace_labels: &namespace_labels,
        locate,
    })?;
    let policy = pool.spec.scaling.as_ref().map(|scaling| Policy::of(scaling, pool.spec.sessions_per_relay));
    let policy = policy.transpose().map_err(|bad| valid::bad_scaling(&bad))?;
    valid::wakes_from_zero(pool)?;
    let before = pool.status.as_ref().and_then(|status| status.made_from.as_ref());
    let made_from = plan::pool::made_from(&valid, before, &context.config.image);
    let addressed = children.keys().filter(|(kind, _)| *kind == ChildKind::Service);
    let addressed = addressed.filter_map(|(_, name)| names::ordinal(&valid.owner.name, name)).collect();
    let relays = plan::pool::Relays { made_from, addressed, made: BTreeSet::new() };
    Ok(Ground { generation: pool.metadata.generation, valid, policy, relays, children, at })
}

/// What stands in the cluster for the pool; from now on, its changes wake the pool's pass.
async fn children(pool: &RelayPool, context: &Context) -> Result<Objects, Error> {
    let namespace = pool.namespace().unwrap_or_default();
    context.expect_granted(&namespace).await?;
    let (uid, labels) = (pool.uid().unwrap_or_default(), names::pool_labels(&pool.name_any()));
    let observed = fetch::children(&context.client, &namespace, &uid, &labels, &ChildKind::OF_POOLS).await?;
    context.children.ensure(&namespace);
    Ok(observed)
}

/// The pool with the status that was written last: the store of pools has it a moment later.
fn as_written(pool: &RelayPool, context: &Context) -> RelayPool {
    let written = context.memories().known(&key(pool), |memory| memory.written.clone()).flatten();
    let version = pool.metadata.resource_version.as_deref();
    let newer = written.filter(|written| written.stands(version, clock::monotonic()));
    RelayPool { status: newer.map(|written| written.status).or_else(|| pool.status.clone()), ..pool.clone() }
}

/// Where clients reach the relays that there are. Relays tell a lobby of another cluster, which has no other way to know.
fn addresses(valid: &ValidPool, urls: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    match valid.software {
        Software::Convene { lobby: LobbyOf::Elsewhere { .. }, .. } => urls.clone(),
        Software::Convene { lobby: LobbyOf::Here { .. }, .. } | Software::Custom(_) => BTreeMap::new(),
    }
}

fn lobby_of(pool: &RelayPool, context: &Context) -> Option<Lobby> {
    let found = context.lobbies.get(&watch::lobby_of(pool)?)?;
    found.0.as_ref().ok().cloned()
}

/// The lobby's ConfigMap. In a namespace that is not ours it counts as absent: the pool then waits for its lobby.
async fn lobby_config(pool: &RelayPool, context: &Context) -> Result<Option<ConfigMap>, Error> {
    let Some(reference) = watch::lobby_of(pool) else { return Ok(None) };
    let namespace = reference.namespace.unwrap_or_default();
    match fetch::optional(&context.client, &namespace, &names::lobby(&reference.name)).await {
        Err(Error::Invalid(_)) => Ok(None),
        other => other,
    }
}

/// Coordinates of a region of a public cloud.
fn locate(region: &str) -> Option<Location> {
    regions::lookup(region).map(|known| Location { latitude: known.latitude, longitude: known.longitude })
}
