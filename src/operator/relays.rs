//! What is decided of a pool's relays, and how it is carried out. The decisions themselves are
//! [`crate::decide::scale`] and [`crate::decide::drain`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;

use super::apply::Writer;
use super::context::Context;
use super::controllers::RESYNC;
use super::error::Error;
use super::memory::Ground;
use super::pool::{key, until};
use super::samples::Shown;
use super::watch::PoolRef;
use super::{ears, status, watch};
use crate::api::scaling::ScalingPast;
use crate::api::{ANNOTATION_DRAIN, RelayPool};
use crate::decide::drain::{self, Action, End, Note, Target};
use crate::decide::listening::Listening;
use crate::decide::plan::{custom, names};
use crate::decide::relays::{self as see, Sight};
use crate::decide::scale;
use crate::decide::valid::{Custom, LobbyOf, Software};
use crate::wire::control::Server;
use crate::wire::orders::Order;

/// A pool and its relays as a pass sees them.
#[derive(Clone, Copy)]
pub(crate) struct Crew<'a> {
    pub(crate) pool: &'a RelayPool,
    pub(crate) ground: &'a Ground,
    pub(crate) pods: &'a [Pod],
    pub(crate) nodes: &'a BTreeMap<String, Node>,
}

/// What was decided, and from what.
pub(crate) struct Decided {
    pub(crate) pool: drain::Pool,
    pub(crate) drains: drain::Decision,
    pub(crate) scaling: Option<scale::Decision>,
    /// URLs of relays that have one, by name.
    pub(crate) urls: BTreeMap<String, String>,
    /// How many relays there were to be before, where scaling has changed that.
    changed_from: Option<i32>,
}

impl Decided {
    /// When to decide again if nothing is heard before.
    pub(crate) fn look_again(&self) -> Duration {
        let scaling = self.scaling.as_ref().and_then(|scaling| scaling.look_again);
        self.drains.look_again.into_iter().chain(scaling).min().map_or(RESYNC, until)
    }
}

/// Decides how many relays there are to be, and which leave.
pub(crate) fn decide(crew: &Crew<'_>, context: &Context, now: Timestamp) -> Decided {
    let (heard, served) = (listen(crew.pool, crew.pods, context), served(crew.pool));
    let urls = see::urls(&crew.ground.valid, crew.pods, &crew.ground.children, crew.nodes);
    let sight =
        Sight { pool: crew.pool, pods: crew.pods, nodes: crew.nodes, heard: &heard, urls: &urls, served: &served };
    let mut pool = see::pool(sight, crew.ground.relays.generation(), now);
    let key = key(crew.pool);
    let mut changed_from = None;
    let scaling = crew.ground.policy.as_ref().map(|policy| {
        let seen = see::load(sight, &pool, demand(crew, context), now);
        let past = past(crew.pool, &pool, context);
        let decision = scale::decide(policy, &seen, &past, now);
        changed_from = (decision.replicas != past.replicas).then_some(past.replicas);
        context.memories().with(&key, |memory| memory.past = Some(decision.past.clone()));
        decision
    });
    if scaling.is_none() {
        context.memories().with(&key, |memory| memory.past = None);
    }
    let desired = scaling.as_ref().map_or(crew.ground.valid.replicas, |decision| decision.replicas);
    pool.desired = u32::try_from(desired).unwrap_or(0);
    let drains = drain::decide(&pool, now);
    Decided { pool, drains, scaling, urls, changed_from }
}

/// Decides by `rule` what becomes of the relays of a pool of which none is made: it is being deleted, or not accepted.
pub(crate) fn decide_without_making(
    pool: &RelayPool,
    pods: &[Pod],
    rule: fn(&drain::Pool, Timestamp) -> drain::Decision,
    context: &Context,
    now: Timestamp,
) -> Decided {
    let (heard, served, urls) = (listen(pool, pods, context), served(pool), BTreeMap::new());
    let nodes = nodes_of(pods, context);
    let sight = Sight { pool, pods, nodes: &nodes, heard: &heard, urls: &urls, served: &served };
    let seen = see::pool(sight, String::new(), now);
    let drains = rule(&seen, now);
    Decided { pool: seen, drains, scaling: None, urls, changed_from: None }
}

/// The nodes on which these relays run, as far as those exist.
pub(crate) fn nodes_of(pods: &[Pod], context: &Context) -> BTreeMap<String, Node> {
    let named: BTreeSet<String> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    let found = named.into_iter().filter_map(|name| {
        let node = context.nodes.get(&ObjectRef::new(&name))?;
        Some((name, Node::clone(&node)))
    });
    found.collect()
}

/// Follows the relays' streams, or looks at those of another image; what was heard of each so far.
fn listen(pool: &RelayPool, pods: &[Pod], context: &Context) -> BTreeMap<String, Listening> {
    if let Some(custom) = Custom::of(&pool.spec) {
        let shown = pods.iter().filter_map(|pod| Some((pod.uid()?, shown(pod)?))).collect();
        return context.samples.follow(&key(pool), &custom, &shown);
    }
    let processes: BTreeMap<String, SocketAddr> =
        pods.iter().filter_map(|pod| Some((pod.uid()?, control_port(pod)?))).collect();
    let heard = context.relay_streams.follow(&key(pool), &processes);
    heard.into_iter().map(|(uid, ear)| (uid, ear.0)).collect()
}

/// Where a relay's process takes orders and tells of itself; nothing before it has an address.
fn control_port(pod: &Pod) -> Option<SocketAddr> {
    Some(SocketAddr::new(address(pod)?, u16::try_from(names::CONTROL_PORT).ok()?))
}

/// A relay of another image; nothing before it has an address.
fn shown(pod: &Pod) -> Option<Shown> {
    let container = pod.status.as_ref()?.container_statuses.iter().flatten().next();
    Some(Shown {
        address: SocketAddr::new(address(pod)?, custom::metrics_port(pod)?),
        container: container.and_then(|container| container.container_id.clone()),
        seats: see::capacity(pod).unwrap_or(0),
        note: Note::read(pod.annotations().get(ANNOTATION_DRAIN).map(String::as_str)),
    })
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

/// UIDs of the relays of which it was written down that they were ready.
fn served(pool: &RelayPool) -> BTreeSet<String> {
    let relays = pool.status.iter().flat_map(|status| &status.relays);
    relays.filter(|relay| relay.served_since.is_some()).map(|relay| relay.pod_uid.clone()).collect()
}

/// What the lobby is asked for. One of another cluster is not heard, and relays of another image have none: what the relays
/// say themselves must do.
fn demand(crew: &Crew<'_>, context: &Context) -> Option<scale::Demand> {
    if let Software::Custom(_) | Software::Convene { lobby: LobbyOf::Elsewhere { .. }, .. } = crew.ground.valid.software
    {
        return Some(scale::Demand::default());
    }
    let heard = context.lobby_streams.heard(&watch::lobby_of(crew.pool)?);
    ears::demand(heard.values(), &crew.ground.valid.owner.namespace, &crew.ground.valid.owner.name)
}

/// What scaling remembers: of this process, or of one before, or nothing.
fn past(pool: &RelayPool, seen: &drain::Pool, context: &Context) -> ScalingPast {
    let known = context.memories().with(&key(pool), |memory| memory.past.clone());
    let written = || pool.status.as_ref().and_then(|status| Some(status.scaling.as_ref()?.past.clone()));
    known.or_else(written).unwrap_or_else(|| {
        let staying = seen.relays.iter().filter(|relay| !relay.terminating && relay.note.drain.is_none()).count();
        ScalingPast::begin(i32::try_from(staying).unwrap_or(i32::MAX))
    })
}

/// Carries out what was decided of an accepted pool, but for what its plan made already; tells of it.
pub(crate) async fn act(
    crew: &Crew<'_>,
    decided: &Decided,
    writer: &Writer<'_>,
    context: &Context,
) -> Result<(), Error> {
    if let (Some(decision), Some(before)) = (&decided.scaling, decided.changed_from) {
        let reason = if decision.replicas > before { "ScaledUp" } else { "ScaledDown" };
        let clamp = decision.clamp.map_or_else(|| "none".to_owned(), |clamp| format!("{clamp:?}"));
        let rule = format!("{:?}", decision.rule);
        let rule = rule.split('(').next().unwrap_or_default();
        context.metrics.scalings.with_label_values(&[reason, rule, clamp.as_str()]).inc();
        status::tell(context, crew.pool, EventType::Normal, reason, format!("from {before} to {decision}")).await;
    }
    if let Some(decision) = &decided.scaling {
        context.metrics.show_scaling(&writer.owner.namespace, &writer.owner.name, decision);
    }
    carry_out(&crew.pool.name_any(), crew.pods, decided, writer, context).await?;
    for (relay, cause) in cut(decided) {
        let note = format!("{relay} goes although sessions are on it: it has waited as long as it may ({cause:?})");
        status::tell(context, crew.pool, EventType::Warning, "DrainTimedOut", note).await;
    }
    Ok(())
}

/// Relays that go with sessions.
fn cut(decided: &Decided) -> impl Iterator<Item = (String, drain::Cause)> + '_ {
    decided.drains.actions.iter().filter_map(|action| match action {
        Action::Delete { relay, end: End::Deadline(cause), .. } => Some((format!("relay {}", relay.ordinal), *cause)),
        _ => None,
    })
}

/// Writes, orders and deletions, in their order. Who was faster than us wakes another pass; an order that is lost is given
/// again.
pub(crate) async fn carry_out(
    pool: &str,
    pods: &[Pod],
    decided: &Decided,
    writer: &Writer<'_>,
    context: &Context,
) -> Result<(), Error> {
    let server = Server::pool(&writer.owner.namespace, pool);
    let key = PoolRef::new(pool).within(&writer.owner.namespace);
    let give = |relay: &Target, order: Order| {
        if !context.samples.order(&key, &relay.uid, order) {
            let pod = pods.iter().find(|pod| pod.uid().as_ref() == Some(&relay.uid));
            context.orders.give(&server, pod.and_then(control_port), order);
        }
    };
    for action in &decided.drains.actions {
        match action {
            // Made with the plan.
            Action::Create { .. } => {}
            Action::Write { relay, resource_version, note, occupied } => {
                let name = names::relay(pool, relay.ordinal);
                if let Some(pod) = writer.note(&name, resource_version, note, *occupied).await? {
                    context.children.wrote(resource_version, pod);
                }
            }
            Action::Cordon { relay, number } => give(relay, Order::Cordon { number: *number }),
            // The lobby's table says it too, but a lobby of another cluster hears of it by the relay alone.
            Action::HandOver { relay, number } => give(relay, Order::HandOver { number: *number }),
            Action::Uncordon { relay, number } => give(relay, Order::Uncordon { number: *number }),
            Action::Delete { relay, resource_version, end } => {
                let name = names::relay(pool, relay.ordinal);
                if let Some(gone) = writer.delete_pod(&name, &relay.uid, resource_version).await? {
                    context.children.wrote(resource_version, gone);
                    count_end(decided, relay, *end, context);
                }
            }
        }
    }
    Ok(())
}

/// Tells how a relay ended, and how long it drained.
fn count_end(decided: &Decided, relay: &Target, end: End, context: &Context) {
    let how = match end {
        End::Empty => "Empty",
        End::Deadline(_) => "Deadline",
        End::NeverServed => "NeverServed",
        End::Over(_) => "Over",
        End::Now => "Now",
    };
    let drain = decided.drains.relays.iter().find(|view| view.uid == relay.uid).and_then(|view| view.drain);
    let cause = drain.map_or_else(|| "None".to_owned(), |drain| format!("{:?}", drain.cause));
    if let Some(drain) = drain {
        let took = crate::process::clock::now().duration_since(drain.since).as_secs_f64();
        context.metrics.drain_seconds.with_label_values(&[cause.as_str(), how]).observe(took);
    }
    tracing::info!(relay = relay.ordinal, uid = relay.uid, how, cause, "a relay goes");
}
