//! Clients that measure how far the regions of their lobby are: over real relays, of which some are slow or silent.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use convene::client::{Approve, Event, measure};
use convene::decide::measure::{AGAIN_AFTER, Measured, SAMPLES, Survey};
use convene::wire::session::ClientPlace;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::scene::{Guest, Host, REGIONS, World, in_time};
use crate::streams::echo;
use crate::world::eventually;

/// Farther than any region of a real lobby, and than a busy machine makes loopback.
const FAR_MS: u64 = 400;

async fn home(world: &World, measure: bool) -> String {
    let (lobby, target) = (world.lobby.url(""), echo().await);
    let host = Host::share_from(&lobby, None, target, Approve::All, Duration::from_secs(60), measure);
    let host = host.await.expect("a session");
    let region = |event: &Event| if let Event::Ready { region, .. } = event { Some(region.clone()) } else { None };
    let region = host.events.find(region).await;
    host.stop().await;
    region
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_measures_beats_what_the_map_says() {
    let world = World::new(2).await;
    world.wires[0].delay(FAR_MS);
    assert_eq!(home(&world, false).await, REGIONS[0].0, "where it says that it is");
    assert_eq!(home(&world, true).await, REGIONS[1].0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_to_where_a_guest_has_measured_that_it_is_near() {
    let world = World::new(2).await;
    world.wires[0].delay(FAR_MS);
    let host = world.share(echo().await, Approve::All).await;
    let guest = Guest::measuring(&host.link, AGAIN_AFTER);
    let near = format!("{}-0", REGIONS[1].0);
    guest.events.count(1, |event| matches!(event, Event::Connected { relay, .. } if *relay == near)).await;
    host.events.count(1, |event| matches!(event, Event::Back { .. })).await;
    guest.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_stays_measures_again_and_comes_back_with_what_it_found() {
    let world = World::new(2).await;
    let host = world.share(echo().await, Approve::All).await;
    let guest = Guest::measuring(&host.link, Duration::from_millis(200));
    let relay = |at: usize| format!("{}-0", REGIONS[at].0);
    let (here, there) = (relay(0), relay(1));
    guest.events.count(1, |event| matches!(event, Event::Connected { relay, .. } if *relay == here)).await;
    // The way to the first has become long, as when somebody goes home.
    world.wires[0].delay(FAR_MS);
    let before = world.wires[1].connections();
    eventually("it has measured some times more", async || world.wires[1].connections() > before + 3).await;
    world.wires[0].cut();
    guest.events.count(1, |event| matches!(event, Event::Connected { relay, .. } if *relay == there)).await;
    guest.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_region_is_far_and_a_silent_one_is_not_known() {
    let world = World::new(3).await;
    world.wires[0].delay(FAR_MS);
    world.wires[2].partition();
    let (lobby, mut survey) = (world.lobby.url(""), Survey::default());
    let mut round = async || {
        let nowhere = ClientPlace::default();
        let regions = in_time("a round", measure(&lobby, &nowhere, &mut survey)).await.expect("measured");
        assert!(regions.iter().all(|region| region.probes.len() == 1), "the lobby still hears all relays");
        survey.latencies()
    };
    let latencies = round().await;
    let (far, near) = (latencies.get(REGIONS[0].0), latencies[REGIONS[1].0]);
    assert!(far.is_none_or(|far| *far >= 399.0), "{latencies:?}");
    assert!(near > 0.0 && far.is_none_or(|far| near < *far), "{latencies:?}");
    assert!(!latencies.contains_key(REGIONS[2].0), "{latencies:?}");
    assert_eq!(world.wires[1].connections(), 1, "setting one up is no part of a sample");
    // What is not known is asked again, and what is, stays.
    world.wires[2].heal();
    let latencies = round().await;
    assert!(latencies[REGIONS[1].0] > 0.0 && latencies.contains_key(REGIONS[2].0), "{latencies:?}");
}

/// What one round finds of somebody who knows nothing yet.
async fn found(world: &World) -> BTreeMap<String, Measured> {
    let (lobby, nowhere, mut survey) = (world.lobby.url(""), ClientPlace::default(), Survey::default());
    in_time("a round", measure(&lobby, &nowhere, &mut survey)).await.expect("measured");
    survey.measured()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_relay_of_a_region_that_has_answered_takes_no_sample_from_it() {
    let world = World::with(&REGIONS[..2], 2).await;
    // The third sample comes after the moment in which the second relay would have been asked.
    world.wires.iter().for_each(|wire| wire.delay(100));
    // A machine that stands still loses samples.
    eventually("all samples of both regions", async || {
        let found = found(&world).await;
        found.len() == 2 && found.values().all(|of| of.samples == SAMPLES && of.ms >= 99.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_region_is_told_although_a_near_one_has_answered() {
    let world = World::new(2).await;
    // Opening takes one round trip here, and the sample comes after the second in which the near one is known.
    world.wires[0].delay(600);
    // A machine that stands still hears too late of the far one.
    eventually("both regions", async || {
        let found = found(&world).await;
        found.contains_key(REGIONS[1].0) && found.get(REGIONS[0].0).is_some_and(|far| far.ms >= 599.0)
    })
    .await;
}

/// The command `convene measure` with these arguments: whether it succeeded, what it printed and what it said.
pub async fn command(arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convene"));
    command.args(["--log=warn", "measure"]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let ended = in_time("the command ends", command.output()).await.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (ended.status.success(), text(ended.stdout), text(ended.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_what_it_has_measured() {
    let world = World::new(3).await;
    world.wires[0].delay(FAR_MS);
    world.wires[2].partition();
    let lobby = world.lobby.url("");
    let (succeeded, printed, said) = command(&[&lobby, "--output=json"]).await;
    assert!(succeeded, "{said}");
    let lines: Vec<Value> = serde_json::from_str(&printed).expect("a JSON list");
    assert_eq!(lines.len(), 3, "{printed}");
    assert_eq!(lines[0]["region"], REGIONS[1].0, "the nearest first: {printed}");
    assert!(lines[0]["ms"].as_f64().expect("a number") > 0.0 && lines[0]["samples"].as_u64() > Some(0), "{printed}");
    assert!(lines.contains(&json!({"region": REGIONS[2].0, "samples": 0})), "not known: {printed}");
    let (_, printed, _) = command(&[&lobby]).await;
    assert!(printed.starts_with("REGION ") && printed.contains("no answer"), "{printed}");

    let (succeeded, printed, said) = command(&["http://127.0.0.1:1"]).await;
    assert!(!succeeded && printed.is_empty() && said.contains("the lobby does not name its regions"), "{said}");
}
