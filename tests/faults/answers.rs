//! The operator lives, and the API server's answers are lost, wrong, late or old.

use std::time::Duration;

use convene::api::Lobby;
use faultline::{Fault, Plan, Rule, Verb, When};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::json;

use crate::crash::Reference;
use crate::hollow::Scene;
use crate::oracle;
use crate::run::{Behind, CLIENT, QUIET, run, settled};
use crate::support::within;
use crate::workload::{PATIENCE, Step, Workload, named, small};
use crate::world::World;

fn of(verbs: &[&str], resources: &[&str]) -> When {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    When { verbs: words(verbs), resources: words(resources), ..When::default() }
}

/// The first so many that fit.
fn first(times: u32, when: When, fault: Fault) -> Plan {
    Plan { rules: vec![Rule { times: Some(times), ..Rule::always(when, fault) }] }
}

fn answer(status: u16, committed: bool) -> Fault {
    let retry_after = (status == 429).then_some(1);
    Fault::Answer { status, retry_after, committed }
}

/// Runs `create` under each of these plans; all must come to the undisturbed end.
async fn under(world: &World, plans: Vec<(String, Plan)>) {
    let workload = named("create");
    let reference = Reference::of(world, &workload).await;
    let runs = plans.into_iter().map(async |(what, plan)| {
        let outcome = run(world, &workload, vec![plan]).await;
        let met = outcome.met();
        assert!(met > 0, "{what}: nothing met the plan");
        println!("answers      {what}: {met} met");
        reference.assert_equal(&what, &outcome);
    });
    futures::future::join_all(runs).await;
}

pub(crate) async fn refusals_of_the_moment_are_got_over(world: &World) {
    let mut plans = Vec::new();
    for (status, committed) in [(409, false), (429, false), (500, false), (503, false), (504, true)] {
        for times in [1, 3] {
            let plan = first(times, of(&["write"], &[]), answer(status, committed));
            plans.push((format!("{status} for the first {times} writes"), plan));
        }
        plans.push((
            format!("{status} for the first statuses"),
            first(2, of(&["write"], &["*/status"]), answer(status, committed)),
        ));
        plans.push((format!("{status} for Pods"), first(2, of(&["create"], &["pods"]), answer(status, committed))));
        plans.push((format!("{status} for reads"), first(6, of(&["list", "get"], &[]), answer(status, false))));
    }
    under(world, plans).await;
}

pub(crate) async fn answers_that_break_off_or_come_late_are_got_over(world: &World) {
    let plans = [
        ("answers to writes break off", first(3, of(&["write"], &[]), Fault::CutAnswer { after_bytes: 20 })),
        ("lists break off", first(6, of(&["list"], &[]), Fault::CutAnswer { after_bytes: 20 })),
        ("requests never arrive", first(3, of(&["write"], &[]), Fault::Drop)),
        ("everything takes 200 ms more", first(u32::MAX, When::default(), Fault::Delay { milliseconds: 200 })),
    ];
    under(world, plans.map(|(what, plan)| (what.to_owned(), plan)).into()).await;
}

pub(crate) async fn watches_that_end_are_begun_again(world: &World) {
    let plans = [
        ("410 for the first events", first(6, of(&["watch"], &[]), Fault::Gone)),
        ("410 for our own kinds", first(4, of(&["watch"], &["lobbies", "relaypools"]), Fault::Gone)),
        ("watches are refused", first(6, of(&["watch"], &[]), answer(500, false))),
        ("watches never arrive", first(6, of(&["watch"], &[]), Fault::Drop)),
    ];
    under(world, plans.map(|(what, plan)| (what.to_owned(), plan)).into()).await;
}

/// Nothing is answered for longer than a leader may act without its Lease: it ends, is started again, and goes on.
pub(crate) async fn an_api_server_that_answers_nothing_is_waited_for(world: &World) {
    for status in [429, 500, 503] {
        let workload = named("create");
        let reference = Reference::of(world, &workload).await;
        let (scene, proxy) = (Scene::new(world).await, world.proxy());
        let operator = Behind::start(&scene, &proxy, CLIENT).await;
        let half = workload.steps.len() / 2;
        for step in &workload.steps[..half] {
            step.run(&scene).await;
        }
        proxy.set_plan(first(u32::MAX, When::default(), answer(status, false)));
        let asked = proxy.log().len();
        tokio::time::sleep(Duration::from_secs(12)).await;
        let asked = proxy.log().len() - asked;
        // Two kinds, their children's watches and the Lease, each with its own backoff.
        assert!(asked < 600, "{asked} requests in 12 s to a server that says {status}");
        println!("answers      {status} for all: {asked} requests in 12 s");
        proxy.set_plan(Plan::default());
        for step in &workload.steps[half..] {
            step.run(&scene).await;
        }
        settled(&proxy, QUIET).await;
        let state = crate::state::read(world, &scene.namespace).await;
        reference.assert_state(&format!("after {status} for all"), &state);
        operator.kill().await;
        world.forget(&scene.namespace).await;
    }
}

/// Two changes of which the first is never told: what counts is the last.
pub(crate) async fn an_event_that_never_came_is_not_missed(world: &World) {
    let change = |replicas: i32| Step::Change("a", json!({"replicas": replicas}));
    let says = Step::Says(crate::workload::Kind::Pool, "a", "Ready=True/AsPlanned");
    let workload = Workload {
        name: "swallowed",
        quick: false,
        before: small(),
        steps: vec![change(3), change(1), change(2), Step::Ready(2), says],
    };
    let reference = Reference::of(world, &workload).await;
    let swallow = first(2, of(&["watch"], &["relaypools"]), Fault::Swallow);
    let outcome = run(world, &workload, vec![swallow]).await;
    let swallowed = outcome.log.iter().filter(|entry| entry.fault == Some(Fault::Swallow)).count();
    assert_eq!(swallowed, 2);
    reference.assert_state("an event was swallowed", &outcome.state);
    let made = oracle::counts(&outcome.log[outcome.before..]);
    assert!(!made.contains_key("pods a-2"), "what was never told was never done: {made:?}");
}

/// Watches say nothing any more, and do not end. Once they do, what happened meanwhile is found.
pub(crate) async fn what_happened_while_a_watch_was_silent_is_found(world: &World) {
    silent(world, Some(Duration::from_secs(6))).await;
}

/// The same, and they never end: the client itself gives them up after five minutes.
pub(crate) async fn a_watch_that_is_silent_for_ever_is_given_up(world: &World) {
    silent(world, None).await;
}

async fn silent(world: &World, until: Option<Duration>) {
    let (scene, proxy) = (Scene::new(world).await, world.proxy());
    let operator = Behind::start(&scene, &proxy, CLIENT).await;
    for step in small() {
        step.run(&scene).await;
    }
    settled(&proxy, QUIET).await;
    // Of one that is silent for ever, those that come after it are not.
    let times = if until.is_some() { u32::MAX } else { 1 };
    proxy.set_plan(first(times, of(&["watch"], &["relaypools"]), Fault::Stall));
    Step::Change("a", json!({"replicas": 3})).run(&scene).await;
    tokio::time::sleep(until.unwrap_or(Duration::from_secs(10))).await;
    let pods = world.api::<Pod>(&scene.namespace).list(&ListParams::default()).await.expect("lists").items.len();
    assert_eq!(pods, 1, "somebody heard of the change all the same: this proves nothing");
    if until.is_some() {
        proxy.set_plan(Plan::default());
    } else {
        tokio::time::sleep(Duration::from_secs(300 - PATIENCE / 2)).await;
    }
    Step::Ready(3).run(&scene).await;
    operator.kill().await;
    world.forget(&scene.namespace).await;
}

/// The operator does not see its own status for a while, and what it tells goes there and back: the last word stands.
pub(crate) async fn a_status_that_goes_there_and_back_is_right(world: &World) {
    let (scene, proxy) = (Scene::new(world).await, world.proxy());
    let operator = Behind::start(&scene, &proxy, CLIENT).await;
    for step in small() {
        step.run(&scene).await;
    }
    settled(&proxy, QUIET).await;
    proxy.set_plan(first(u32::MAX, of(&["watch"], &["lobbies"]), Fault::Stall));
    let lobbies = world.api::<Lobby>(&scene.namespace);
    for (ready, relays) in [(false, 0), (true, 1)] {
        scene.relay_is_ready("a-0", ready).await;
        within(PATIENCE, &format!("the lobby counts {relays} relays"), async || {
            let lobby = lobbies.get("demo").await.map_err(|error| error.to_string())?;
            let counted = lobby.status.map(|status| status.relays);
            if counted == Some(relays) { Ok(()) } else { Err(format!("{counted:?}")) }
        })
        .await;
    }
    proxy.set_plan(Plan::default());
    operator.kill().await;
    world.forget(&scene.namespace).await;
}

/// A new operator is told of an older world, in which there was only one relay: it takes nothing away that it cannot see,
/// makes nothing twice, and finds the present once it can.
pub(crate) async fn old_lists_take_nothing_away(world: &World) {
    let (scene, proxy) = (Scene::new(world).await, world.proxy());
    let operator = Behind::start(&scene, &proxy, CLIENT).await;
    proxy.record(true);
    for step in small() {
        step.run(&scene).await;
    }
    settled(&proxy, QUIET).await;
    operator.kill().await;
    // A start with nothing to do reads all there is.
    let operator = Behind::start(&scene, &proxy, CLIENT).await;
    settled(&proxy, QUIET).await;
    proxy.record(false);
    Step::Change("a", json!({"replicas": 3})).run(&scene).await;
    Step::Ready(3).run(&scene).await;
    Step::Says(crate::workload::Kind::Pool, "a", "Ready=True/AsPlanned").run(&scene).await;
    settled(&proxy, QUIET).await;
    operator.kill().await;
    let before = crate::state::read(world, &scene.namespace).await;
    let uids = |state: &crate::state::State| -> Vec<String> {
        let pods = state.iter().filter(|(name, _)| name.starts_with("Pod/"));
        pods.filter_map(|(_, leaves)| leaves.get("/metadata/uid").cloned()).collect()
    };
    let rules = vec![
        // The Lease and the cluster's keys are of now; all else is old.
        Rule::always(of(&["list"], &[]), Fault::Replay),
        Rule::always(of(&["get"], &["secrets", "configmaps"]), Fault::Replay),
        Rule::always(of(&["watch"], &[]), Fault::Stall),
    ];
    proxy.set_plan(Plan { rules });
    let mark = proxy.log().len();
    let operator = Behind::start(&scene, &proxy, CLIENT).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let log = proxy.log().entries(mark);
    let replayed = log.iter().filter(|entry| entry.fault == Some(Fault::Replay)).count();
    assert!(replayed > 10, "only {replayed} reads were answered with old things");
    let deleted = log.iter().filter(|entry| entry.took_effect() && entry.target.verb == Verb::Delete);
    assert_eq!(deleted.map(|entry| entry.target.to_string()).collect::<Vec<_>>(), Vec::<String>::new());
    proxy.set_plan(Plan::default());
    Step::Ready(3).run(&scene).await;
    Step::Says(crate::workload::Kind::Pool, "a", "Ready=True/AsPlanned").run(&scene).await;
    settled(&proxy, QUIET).await;
    assert_eq!(uids(&before), uids(&crate::state::read(world, &scene.namespace).await), "relays were replaced");
    operator.kill().await;
    world.forget(&scene.namespace).await;
}
