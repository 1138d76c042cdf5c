//! Runs passes: what wakes them, how many at a time, how long each may take, and when a failed one is tried again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;

use super::context::{Context, Failures, Filled, IssuerCache};
use super::control::Control;
use super::ears::LobbyNews;
use super::error::Error;
use super::grants::Grants;
use super::orders::Orders;
use super::samples::Samples;
use super::streams::Streams;
use super::watch::{self, ChildWatches, Guarded, LobbyRef, PoolRef, Wake, lobby_of, own_changes};
use super::{CONTROLLER, Metrics, lobby, pool};
use crate::api::condition::{ACCEPTED, Reason};
use crate::api::relay_pool::RelayPhase;
use crate::api::{Lobby, RelayPool};
use crate::decide::backoff::Attempt;
use crate::decide::plan::{OperatorConfig, table};
use crate::decide::{relays, status as decide_status};
use crate::process::clock;

/// Time for one pass.
const DEADLINE: Duration = Duration::from_secs(30);
/// Everything is looked at again after so long, for what no watch tells.
pub(super) const RESYNC: Duration = Duration::from_secs(300);
/// When an object is looked at again that waits for something which no watch tells of.
const WAITING_RETRY: Duration = Duration::from_secs(15);
/// The same where its namespace is not granted: a refusal may have been believed for 5 s by then.
const UNGRANTED_RETRY: Duration = Duration::from_secs(10);
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
    let wake = Wake { lobbies: lobby_sender, pools: pool_sender, memories: Arc::default() };
    let filled = Filled::default();
    let (lobbies, lobby_stream) = watch::objects::<Lobby>(&client, filled.lobbies.clone());
    let (pools, pool_stream) = watch::objects::<RelayPool>(&client, filled.pools.clone());
    let (nodes, node_stream) = watch::nodes(&client, filled.nodes.clone());
    tokio::spawn(ended.clone().run_until_cancelled_owned(follow_nodes(
        node_stream,
        nodes.clone(),
        wake.clone(),
        pools.clone(),
    )));
    let reporter = Reporter { controller: CONTROLLER.into(), instance: None };
    let control = Control::new(client.clone(), &config.operator_namespace, metrics.clone());
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        children: ChildWatches::new(client.clone(), wake.clone(), ended.clone()),
        lobby_streams: Streams::new(control.client(), lobby_news(wake.clone(), pools.clone()), ended.clone()),
        relay_streams: Streams::new(control.client(), relay_news(wake.clone()), ended.clone()),
        orders: Orders::new(control.client(), metrics.clone(), ended.clone()),
        samples: Samples::new(metrics.clone(), sample_news(wake.clone()), ended.clone()),
        wake: wake.clone(),
        control,
        client,
        config,
        watch_namespaces,
        lobbies: lobbies.clone(),
        pools: pools.clone(),
        nodes,
        filled,
        metrics,
        failures: Failures::default(),
        grants: Grants::default(),
        written: super::status::Written::default(),
        issuer: IssuerCache::default(),
    });

    let lobby_stream = lobby_changes(lobby_stream, Arc::clone(&context));
    let pool_stream = pool_changes(pool_stream, Arc::clone(&context));
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

/// Changes of pools that their own passes must see. A pool's change is its lobby's business as well: the relay table is made
/// of pools' statuses. The store has the change by then, so that the lobby's pass sees it.
fn pool_changes(
    touched: impl Stream<Item = Result<Guarded<RelayPool>, watcher::Error>>,
    context: Arc<Context>,
) -> impl Stream<Item = Result<Guarded<RelayPool>, watcher::Error>> {
    let mut told = HashMap::new();
    let touched = touched.inspect_ok(move |pool| {
        let is_there = !forget_if_gone(pool, &context);
        let readable = pool.0.as_ref().ok();
        if readable.is_none() {
            // Its lobby knows nothing of it, until it can be read again.
            told.remove(&PoolRef::from_obj(pool));
        }
        if let Some(lobby) = readable.filter(|pool| is_news_to_lobby(&mut told, pool, is_there)).and_then(lobby_of) {
            context.wake.lobby(lobby);
        }
        count_unreadable(&context.pools, &context.metrics);
    });
    touched.predicate_filter(changes, PredicateConfig::default())
}

/// Changes of lobbies that their own passes must see. Pools wait for their lobby to be accepted, and follow who is admitted.
fn lobby_changes(
    touched: impl Stream<Item = Result<Guarded<Lobby>, watcher::Error>>,
    context: Arc<Context>,
) -> impl Stream<Item = Result<Guarded<Lobby>, watcher::Error>> {
    let known = Arc::clone(&context);
    let matters = move |lobby: &Guarded<Lobby>| {
        // A deletion looks like the object that was there before, but the store no longer has it.
        let gone = is_gone(lobby, &known);
        let mut hasher = DefaultHasher::new();
        (changes(lobby)?, accepted(lobby), gone, keys(lobby), authority(lobby)).hash(&mut hasher);
        Some(hasher.finish())
    };
    let counts = Arc::clone(&context);
    let touched = touched.inspect_ok(move |_| count_unreadable(&counts.lobbies, &counts.metrics));
    touched.predicate_filter(matters, PredicateConfig::default()).inspect_ok(move |lobby| {
        forget_if_gone(lobby, &context);
        let changed = LobbyRef::from_obj(lobby);
        for pool in context.pools.state() {
            if pool.0.as_ref().is_ok_and(|pool| lobby_of(pool).as_ref() == Some(&changed)) {
                context.wake.pool(ObjectRef::from_obj(&*pool));
            }
        }
    })
}

/// A node that is cordoned, falls ill or goes is the business of its relays; that is rare, and passes over relays read nothing.
async fn follow_nodes(
    touched: impl Stream<Item = Result<Node, watcher::Error>>,
    nodes: Store<Node>,
    wake: Wake,
    pools: Store<Guarded<RelayPool>>,
) {
    let matters = move |node: &Node| {
        let mut hasher = DefaultHasher::new();
        // A deletion looks like the node that was there before.
        let gone = nodes.get(&ObjectRef::from_obj(node)).is_none();
        (relays::matters(node), gone).hash(&mut hasher);
        Some(hasher.finish())
    };
    let changes = touched.predicate_filter(matters, PredicateConfig::default());
    let mut changes = std::pin::pin!(changes);
    while let Some(changed) = changes.next().await {
        if let Err(error) = changed {
            tracing::debug!(%error, "watching nodes: trying again");
            continue;
        }
        pools.state().iter().for_each(|pool| wake.relays_of(ObjectRef::from_obj(&**pool)));
    }
}

/// Changes of an object that its own pass must see. One that could not be read, and now can, was not looked at meanwhile.
fn changes<K: Resource>(object: &Guarded<K>) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    (own_changes(object)?, object.0.is_ok()).hash(&mut hasher);
    Some(hasher.finish())
}

/// Whether anything of a pool has changed that its lobby is made from. Numbers of sessions are not among it.
fn is_news_to_lobby(told: &mut HashMap<PoolRef, u64>, pool: &RelayPool, is_there: bool) -> bool {
    let key = PoolRef::new(&pool.name_any()).within(&pool.namespace().unwrap_or_default());
    if !is_there {
        told.remove(&key);
        return true;
    }
    let mut hasher = DefaultHasher::new();
    let entry = serde_json::to_string(&table::pool_entry(pool)).unwrap_or_default();
    // Those that serve are counted in the lobby's status.
    let relays = pool.status.iter().flat_map(|status| &status.relays);
    let serving = relays.filter(|relay| relay.phase == RelayPhase::Ready).count();
    (own_changes(pool), entry, serving).hash(&mut hasher);
    let said = hasher.finish();
    told.insert(key, said) != Some(said)
}

/// Whom to wake for what a lobby says.
fn lobby_news(wake: Wake, pools: Store<Guarded<RelayPool>>) -> impl Fn(&LobbyRef, LobbyNews) + Send + Sync {
    move |lobby, news| match news {
        LobbyNews::Store => wake.lobby(lobby.clone()),
        LobbyNews::Demand { namespace, pool } => wake.relays_of(ObjectRef::new(&pool).within(&namespace)),
        LobbyNews::AllPools => {
            let named = |pool: &Guarded<RelayPool>| pool.0.as_ref().ok().and_then(lobby_of).as_ref() == Some(lobby);
            let pools = pools.state();
            pools.iter().filter(|pool| named(pool)).for_each(|pool| wake.relays_of(ObjectRef::from_obj(&**pool)));
        }
    }
}

/// Whom to wake for what a relay says.
fn relay_news(wake: Wake) -> impl Fn(&PoolRef, ()) + Send + Sync {
    move |pool, ()| {
        wake.memories.known(pool, |memory| {
            memory.news_since.get_or_insert_with(clock::monotonic);
        });
        wake.relays_of(pool.clone());
    }
}

/// The same, for what a look at a relay of another image has shown.
fn sample_news(wake: Wake) -> impl Fn(&PoolRef) + Send + Sync {
    let wake = relay_news(wake);
    move |pool| wake(pool, ())
}

/// What has a pass of its own.
trait Reconcile: Resource<DynamicType = ()> + Clone + Send + Sync + 'static {
    /// Fetch, valid, plan, apply, status. Returns when to look again.
    fn reconcile(&self, context: &Context) -> impl Future<Output = Result<Duration, Error>> + Send;

    /// All objects of the kind.
    fn all(context: &Context) -> &Store<Guarded<Self>>;

    /// Forgets one that is not there any more.
    fn forget(gone: &ObjectRef<Guarded<Self>>, context: &Context);

    /// How long to wait after a pass that failed: no longer than this.
    fn wait(&self, wait: Duration, _context: &Context) -> Duration {
        wait
    }
}

impl Reconcile for Lobby {
    async fn reconcile(&self, context: &Context) -> Result<Duration, Error> {
        lobby::reconcile(self, context).await.map(|()| RESYNC)
    }

    fn all(context: &Context) -> &Store<Guarded<Self>> {
        &context.lobbies
    }

    fn forget(gone: &LobbyRef, context: &Context) {
        context.lobby_streams.forget(gone);
    }
}

impl Reconcile for RelayPool {
    fn reconcile(&self, context: &Context) -> impl Future<Output = Result<Duration, Error>> + Send {
        pool::reconcile(self, context)
    }

    fn all(context: &Context) -> &Store<Guarded<Self>> {
        &context.pools
    }

    fn forget(gone: &PoolRef, context: &Context) {
        context.forget_pool(gone);
    }

    fn wait(&self, wait: Duration, context: &Context) -> Duration {
        pool::wait(self, wait, context)
    }
}

fn is_gone<K: Reconcile>(object: &Guarded<K>, context: &Context) -> bool {
    K::all(context).get(&ObjectRef::from_obj(object)).is_none()
}

/// What outlives passes over an object ends with it. Whether it has gone.
fn forget_if_gone<K: Reconcile>(object: &Guarded<K>, context: &Context) -> bool {
    let is_gone = is_gone(object, context);
    if is_gone {
        K::forget(&ObjectRef::from_obj(object), context);
        context.failures.forget(&key(object));
        context.leave_if_empty(&object.namespace().unwrap_or_default());
    }
    is_gone
}

async fn pass<K: Reconcile>(object: Arc<Guarded<K>>, context: Arc<Context>) -> Result<Action, Error> {
    let ended = timed(&object, &context).await;
    // It may have gone meanwhile: nobody else ends what its last pass has begun.
    forget_if_gone(&*object, &context);
    ended
}

/// A pass within its time, counted.
async fn timed<K: Reconcile>(object: &Guarded<K>, context: &Context) -> Result<Action, Error> {
    let Ok(readable) = &object.0 else {
        // A newer version wrote it, or it is older than the schema: it stays as it is until it can be read.
        return Ok(Action::await_change());
    };
    let kind = K::kind(&());
    let started = clock::monotonic();
    let work = async {
        // A missing pool would take its relays out of a table, so nothing is decided before the stores are filled.
        context.filled.wait().await;
        readable.reconcile(context).await
    };
    let ended = tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(Error::Deadline(DEADLINE.as_secs())));
    let seconds = clock::monotonic().saturating_sub(started).as_secs_f64();
    context.metrics.seconds.with_label_values(&[&kind]).observe(seconds);
    let outcome = ended.as_ref().map_or_else(|error| error.reason().as_str(), |_| "ok");
    context.metrics.reconciles.with_label_values(&[&*kind, outcome]).inc();
    let again = ended?;
    context.failures.forget(&key(object));
    Ok(Action::requeue(again))
}

/// When an object whose pass failed is looked at again.
#[expect(clippy::needless_pass_by_value, reason = "kube's signature")]
fn failed<K: Reconcile>(object: Arc<Guarded<K>>, error: &Error, context: Arc<Context>) -> Action {
    let (key, attempt) = (key(&*object), Attempt::of(object.meta()));
    if is_gone(&*object, &context) {
        tracing::debug!(object = key, %error, "the last pass over it failed: it has gone meanwhile");
        return Action::await_change();
    }
    let mut is_odd = false;
    let wait = match error {
        Error::Invalid(why) if why.reason == Reason::NamespaceNotGranted => UNGRANTED_RETRY,
        // Waiting for other objects is not an error; their changes wake us.
        Error::Invalid(why) if decide_status::waits(why.reason) => WAITING_RETRY,
        Error::Outrun { .. } => {
            let outrun = context.failures.outrun(&key, &attempt);
            is_odd = outrun.is_odd;
            outrun.wait
        }
        Error::Invalid(_) | Error::Transient { .. } | Error::Deadline(_) => context.failures.another(&key, &attempt),
    };
    match error {
        Error::Invalid(invalid) => {
            tracing::info!(object = key, reason = invalid.reason.as_str(), %error, "not accepted");
        }
        Error::Outrun { .. } if is_odd => {
            tracing::warn!(object = key, %error, retry_seconds = wait.as_secs(), "others are faster again and again");
        }
        Error::Outrun { .. } => tracing::debug!(object = key, %error, "looking again"),
        Error::Transient { .. } | Error::Deadline(_) => {
            tracing::warn!(object = key, %error, retry_seconds = wait.as_secs(), "pass failed");
        }
    }
    Action::requeue(object.0.as_ref().map_or(wait, |readable| readable.wait(wait, &context)))
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

#[cfg(test)]
#[path = "controllers_tests.rs"]
mod tests;
