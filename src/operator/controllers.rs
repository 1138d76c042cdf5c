//! Runs passes: what wakes them, how many at a time, how long each may take, and when a failed one is tried again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt as _};
use kube::{Client, Resource, ResourceExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;

use super::context::{Context, Failures, Filled, IssuerCache};
use super::error::Error;
use super::streams::Streams;
use super::watch::{self, ChildWatches, Guarded, Wake, lobby_of, own_changes};
use super::{CONTROLLER, Metrics, lobby, pool};
use crate::api::condition::{ACCEPTED, Reason};
use crate::api::{Lobby, RelayPool};
use crate::decide::plan::OperatorConfig;
use crate::decide::{backoff, status as decide_status};
use crate::process::{clock, secret};

/// Time for one pass.
const DEADLINE: Duration = Duration::from_secs(30);
/// Everything is looked at again after so long, for what no watch tells.
const RESYNC: Duration = Duration::from_secs(300);
/// When a namespace that is not granted is looked at again: no watch tells of a RoleBinding.
const UNGRANTED_RETRY: Duration = Duration::from_secs(15);
/// Passes at a time, of each kind.
const CONCURRENCY: u16 = 16;

/// Runs both controllers until `ended`.
pub(crate) async fn run(
    client: Client,
    config: OperatorConfig,
    watch_namespaces: Vec<String>,
    metrics: Metrics,
    ended: CancellationToken,
) {
    let (lobby_sender, lobby_wakes) = mpsc::unbounded_channel();
    let (pool_sender, pool_wakes) = mpsc::unbounded_channel();
    let wake = Wake { lobby: lobby_sender, pool: pool_sender };
    let filled = Filled::default();
    let (lobbies, lobby_stream) = watch::objects::<Lobby>(&client, filled.lobbies.clone());
    let (pools, pool_stream) = watch::objects::<RelayPool>(&client, filled.pools.clone());
    let (nodes, node_stream) = watch::nodes(&client, filled.nodes.clone());
    tokio::spawn(ended.clone().run_until_cancelled_owned(node_stream.for_each(|_| std::future::ready(()))));
    let reporter = Reporter { controller: CONTROLLER.into(), instance: None };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        children: ChildWatches::new(client.clone(), wake.clone(), ended.clone()),
        streams: Streams::new(wake.lobby.clone(), ended.clone()),
        client,
        config,
        watch_namespaces,
        lobbies: lobbies.clone(),
        pools: pools.clone(),
        nodes,
        filled,
        metrics,
        failures: Failures::default(),
        issuer: IssuerCache::default(),
    });

    // A pool's change is its lobby's business as well: the relay table is made of pools' statuses. The wake comes after
    // the store has the change, so that the lobby's pass sees it.
    let to_lobby = wake.lobby.clone();
    let (store, metrics) = (pools.clone(), context.metrics.clone());
    let pool_stream = pool_stream.inspect_ok(move |pool| {
        if let Some(lobby) = pool.0.as_ref().ok().and_then(lobby_of) {
            let _ = to_lobby.send(lobby);
        }
        count_unreadable(&store, &metrics);
    });
    let pool_stream = pool_stream.predicate_filter(own_changes, PredicateConfig::default());

    // Pools wait for their lobby to be accepted, and follow who is admitted.
    let to_pools = wake.pool.clone();
    let all_pools = pools.clone();
    let present = lobbies.clone();
    let lobby_changes = move |lobby: &Guarded<Lobby>| {
        // A deletion looks like the object that was there before, but the store no longer has it.
        let gone = present.get(&ObjectRef::from_obj(lobby)).is_none();
        let mut hasher = DefaultHasher::new();
        (own_changes(lobby)?, accepted(lobby), gone, keys(lobby), authority(lobby)).hash(&mut hasher);
        Some(hasher.finish())
    };
    let (store, metrics) = (lobbies.clone(), context.metrics.clone());
    let lobby_stream = lobby_stream.inspect_ok(move |_| count_unreadable(&store, &metrics));
    let lobby_stream = lobby_stream.predicate_filter(lobby_changes, PredicateConfig::default());
    let (shared, present) = (Arc::clone(&context), lobbies.clone());
    let lobby_stream = lobby_stream.inspect_ok(move |lobby| {
        let changed = ObjectRef::<Guarded<Lobby>>::from_obj(lobby);
        if present.get(&changed).is_none() {
            shared.streams.forget(&changed);
        }
        for pool in all_pools.state() {
            if pool.0.as_ref().is_ok_and(|pool| lobby_of(pool).as_ref() == Some(&changed)) {
                let _ = to_pools.send(ObjectRef::from_obj(&*pool));
            }
        }
    });

    let settings = Config::default().concurrency(CONCURRENCY);
    let lobby_runs = Controller::for_stream(lobby_stream, lobbies)
        .reconcile_on(UnboundedReceiverStream::new(lobby_wakes))
        .with_config(settings.clone())
        .graceful_shutdown_on(ended.clone().cancelled_owned())
        .run(pass::<Lobby>, failed::<Lobby>, Arc::clone(&context));
    let pool_runs = Controller::for_stream(pool_stream, pools)
        .reconcile_on(UnboundedReceiverStream::new(pool_wakes))
        .with_config(settings)
        .graceful_shutdown_on(ended.cancelled_owned())
        .run(pass::<RelayPool>, failed::<RelayPool>, context);
    futures::future::join(lobby_runs.for_each(log_end), pool_runs.for_each(log_end)).await;
}

/// What has a pass of its own.
trait Reconcile: Resource<DynamicType = ()> + Send + Sync + 'static {
    /// Fetch, valid, plan, apply, status.
    fn reconcile(&self, context: &Context) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Reconcile for Lobby {
    fn reconcile(&self, context: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        lobby::reconcile(self, context)
    }
}

impl Reconcile for RelayPool {
    fn reconcile(&self, context: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        pool::reconcile(self, context)
    }
}

async fn pass<K: Reconcile>(object: Arc<Guarded<K>>, context: Arc<Context>) -> Result<Action, Error> {
    let Ok(readable) = &object.0 else {
        // A newer version wrote it, or it is older than the schema: it stays as it is until it can be read.
        return Ok(Action::await_change());
    };
    if object.meta().deletion_timestamp.is_some() {
        context.failures.forget(&key(&*object));
        return Ok(Action::await_change());
    }
    let kind = K::kind(&());
    let started = clock::monotonic();
    let work = async {
        // A missing pool would take its relays out of a table, so nothing is decided before the stores are filled.
        context.filled.wait().await;
        readable.reconcile(&context).await
    };
    let ended = tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(Error::Deadline(DEADLINE.as_secs())));
    let seconds = clock::monotonic().saturating_sub(started).as_secs_f64();
    context.metrics.seconds.with_label_values(&[&kind]).observe(seconds);
    let outcome = ended.as_ref().map_or_else(|error| error.reason().as_str(), |()| "ok");
    context.metrics.reconciles.with_label_values(&[&*kind, outcome]).inc();
    ended?;
    context.failures.forget(&key(&*object));
    Ok(Action::requeue(RESYNC))
}

/// When an object whose pass failed is looked at again.
#[expect(clippy::needless_pass_by_value, reason = "kube's signature")]
fn failed<K: Reconcile>(object: Arc<Guarded<K>>, error: &Error, context: Arc<Context>) -> Action {
    let key = key(&*object);
    let wait = match error {
        Error::Invalid(invalid) if invalid.reason == Reason::NamespaceNotGranted => UNGRANTED_RETRY,
        // Waiting for other objects is not an error; their changes wake us.
        Error::Invalid(invalid) if decide_status::waits(invalid.reason) => UNGRANTED_RETRY,
        Error::Invalid(_) | Error::Transient { .. } | Error::Deadline(_) => {
            backoff::PASSES.after(context.failures.another(&key), secret::random_fraction())
        }
    };
    match error {
        Error::Invalid(invalid) => {
            tracing::info!(object = key, reason = invalid.reason.as_str(), %error, "not accepted");
        }
        Error::Transient { .. } | Error::Deadline(_) => {
            tracing::warn!(object = key, %error, retry_seconds = wait.as_secs(), "pass failed");
        }
    }
    Action::requeue(wait)
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} {}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any())
}

fn accepted(lobby: &Guarded<Lobby>) -> bool {
    let status = lobby.0.as_ref().ok().and_then(|lobby| lobby.status.as_ref());
    let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
    conditions.any(|condition| condition.type_ == ACCEPTED && condition.status == "True")
}

/// Ids of the lobby's keys: its pools' relays are to have them.
fn keys(lobby: &Guarded<Lobby>) -> Vec<&str> {
    let tokens = lobby.0.as_ref().ok().and_then(|lobby| lobby.status.as_ref()?.tokens.as_ref());
    tokens.into_iter().flat_map(|tokens| &tokens.keys).map(|key| key.id.as_str()).collect()
}

/// What the lobby's relays trust: its pools hand it on.
fn authority(lobby: &Guarded<Lobby>) -> Option<&str> {
    let status = lobby.0.as_ref().ok()?.status.as_ref()?;
    status.link.as_ref().map(|link| link.authority.as_str())
}

fn count_unreadable<K: Resource<DynamicType = ()> + Clone>(store: &Store<Guarded<K>>, metrics: &Metrics) {
    let unreadable = store.state().iter().filter(|object| object.0.is_err()).count();
    metrics.unreadable.with_label_values(&[&K::kind(&())]).set(i64::try_from(unreadable).unwrap_or(i64::MAX));
}

/// The controller's own trouble; that of passes is told by [`failed`].
async fn log_end<T, E, Q: std::error::Error + 'static>(end: Result<T, kube::runtime::controller::Error<E, Q>>)
where
    E: std::error::Error + 'static,
{
    match end {
        // An object that went before its pass began.
        Ok(_)
        | Err(
            kube::runtime::controller::Error::ObjectNotFound(_)
            | kube::runtime::controller::Error::ReconcilerFailed(..),
        ) => {}
        Err(error) => tracing::warn!(%error, "watching our kinds: trying again"),
    }
}
