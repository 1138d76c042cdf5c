//! A region that fails while clients arrive: where they are sent then, how soon, and how they come back. Each arrival asks
//! the lobby, takes the seat that it is told of, and leaves.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use convene::api::{ANNOTATION_WISH, LABEL_POOL, WISH_LEAVE};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::client::{LobbyApi, Seat};
use crate::faults::kill;
use crate::install::Install;
use crate::sick::processes;
use crate::support::{run, within};

const DUBLIN: (f64, f64) = (53.35, -6.26);
/// Between two arrivals.
const EVERY: Duration = Duration::from_millis(200);
/// In which answers must move away from a relay that is of no use.
const MOVED: Duration = Duration::from_secs(8);
/// Arrivals in a row that are where they should be.
const SETTLED: usize = 15;
/// Seats of each relay.
const SEATS: usize = 8;

/// What a client was answered, and what came of it.
#[derive(Clone, Debug)]
struct Arrival {
    asked: Instant,
    region: Result<String, String>,
    relay: String,
    seat: Result<(), String>,
}

/// Clients that arrive, one after another, until this is dropped.
struct Arrivals {
    all: Arc<Mutex<Vec<Option<Arrival>>>>,
    stop: CancellationToken,
}

impl Arrivals {
    fn begin(lobby: &LobbyApi) -> Self {
        let (all, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let arrivals = Self { all: Arc::clone(&all), stop: stop.clone() };
        let lobby = lobby.clone();
        tokio::spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
                let (lobby, all) = (lobby.clone(), Arc::clone(&all));
                let at = {
                    let mut all = all.lock().expect("no arrival panics");
                    all.push(None);
                    all.len() - 1
                };
                tokio::spawn(async move {
                    let arrival = arrive(&lobby).await;
                    all.lock().expect("no arrival panics")[at] = Some(arrival);
                });
            }
        });
        arrivals
    }

    /// Those that asked after a moment and are through, in the order in which they came.
    fn since(&self, from: Instant) -> Vec<Arrival> {
        let all = self.all.lock().expect("no arrival panics");
        all.iter().flatten().filter(|arrival| arrival.asked >= from).cloned().collect()
    }

    /// Waits until the last ones all went to a region, and got a seat there.
    async fn settle(&self, from: Instant, region: &str) {
        within(60, &format!("clients go to {region}"), async || {
            let all = self.since(from);
            let last: Vec<&Arrival> = all.iter().rev().take(SETTLED).collect();
            let there = |arrival: &&&Arrival| arrival.region.as_deref() == Ok(region) && arrival.seat.is_ok();
            let count = last.iter().take_while(there).count();
            if count == SETTLED { Ok(()) } else { Err(format!("{count} in a row; last {:?}", last.first())) }
        })
        .await;
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn arrive(lobby: &LobbyApi) -> Arrival {
    let asked = Instant::now();
    match lobby.create(DUBLIN.0, DUBLIN.1).await {
        Err(why) => Arrival { asked, region: Err(why.clone()), relay: String::new(), seat: Err(why) },
        Ok(created) => {
            let seat = Seat::take(&created.connect).await.map(drop);
            lobby.close(&created.session.id, &created.host_token).await;
            Arrival { asked, region: Ok(created.session.region), relay: created.session.relay, seat }
        }
    }
}

/// The one relay of a pool, whatever it is called by now.
async fn relay_of(install: &Install, namespace: &str, pool: &str) -> Pod {
    let pods: Api<Pod> = Api::namespaced(install.client.clone(), namespace);
    let of_pool = ListParams::default().labels(&format!("{LABEL_POOL}={pool}"));
    let found = pods.list(&of_pool).await.expect("lists").items;
    found.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).expect("a relay")
}

/// Packets of a Pod that are all dropped, until this is dropped itself.
struct CutOff(String);

impl CutOff {
    async fn new(install: &Install, namespace: &str, pool: &str) -> Self {
        let found = relay_of(install, namespace, pool).await;
        let cut = Self(processes(&found.uid().expect("a UID")).first().expect("it runs").clone());
        for chain in ["INPUT", "OUTPUT"] {
            cut.iptables(&["-I", chain, "-j", "DROP"]);
        }
        cut
    }

    /// In the network namespace of the Pod, which is this test's own.
    fn iptables(&self, arguments: &[&str]) {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.0, "--net", "iptables", "--wait"]).args(arguments);
        run(command, None).expect("the rule is set");
    }
}

impl Drop for CutOff {
    fn drop(&mut self) {
        for chain in ["INPUT", "OUTPUT"] {
            self.iptables(&["-D", chain, "-j", "DROP"]);
        }
    }
}

/// Asserts that from [`MOVED`] after `from` on, until now, nobody was sent to `region`.
fn left(what: &str, arrivals: &[Arrival], from: Instant, region: &str) {
    let late = |arrival: &&Arrival| arrival.asked >= from + MOVED && arrival.region.as_deref() == Ok(region);
    let late: Vec<&Arrival> = arrivals.iter().filter(late).collect();
    assert!(late.is_empty(), "{what}: {late:?}");
}

/// When the answers changed from one region to another, from the first on.
fn turns(arrivals: &[Arrival]) -> Vec<Instant> {
    let told: Vec<(&String, Instant)> =
        arrivals.iter().filter_map(|arrival| Some((arrival.region.as_ref().ok()?, arrival.asked))).collect();
    told.windows(2).filter(|pair| pair[0].0 != pair[1].0).map(|pair| pair[1].1).collect()
}

/// What is asserted of each fault, which came at `from`. A relay that comes back may be named a moment before its node port
/// is open.
fn judge(what: &str, arrivals: &[Arrival], from: Instant) {
    let turns = turns(arrivals);
    let since_turn = |arrival: &Arrival| {
        let last = turns.iter().filter(|turn| **turn <= arrival.asked).max().unwrap_or(&from);
        arrival.asked.duration_since(*last)
    };
    let wrong: Vec<&Arrival> = arrivals.iter().filter(|arrival| arrival.seat.is_err()).collect();
    let longest = wrong.iter().map(|arrival| since_turn(arrival)).max().unwrap_or_default();
    println!(
        "{what}: {} arrivals, {} without a seat, for {:.1} s at most; answers changed {} times",
        arrivals.len(),
        wrong.len(),
        longest.as_secs_f64(),
        turns.len()
    );
    assert!(longest <= MOVED, "{what}: {wrong:?}");
    assert!(turns.len() <= 2, "{what}: there and back, and not to and fro: {arrivals:?}");
}

pub(crate) async fn a_region_that_falls_out_is_left_and_come_back_to_without_flapping(install: &Install) {
    let namespace = "e2e-regions";
    let seats = json!({"replicas": 1, "sessionsPerRelay": SEATS});
    let with = |mut more: Value| {
        more.as_object_mut().expect("an object").extend(seats.as_object().expect("an object").clone());
        more
    };
    let pools = [("eu", with(json!({}))), ("us", with(json!({"region": "us-east1"})))];
    let lobby = install.world(namespace, &pools).await;
    let arrivals = Arrivals::begin(&lobby);
    let (eu, us) = ("eu-west-1", "us-east1");
    arrivals.settle(Instant::now(), eu).await;

    let from = Instant::now();
    kill(install, namespace, &["pod", "eu-0"]);
    within(60, "another relay runs in place of the killed one", async || {
        let went = arrivals.since(from).iter().any(|arrival| arrival.region.as_deref() == Ok(us));
        if went { Ok(()) } else { Err("nobody was sent elsewhere yet".to_owned()) }
    })
    .await;
    arrivals.settle(from, eu).await;
    judge("relay killed", &arrivals.since(from), from);

    let from = Instant::now();
    let cut = CutOff::new(install, namespace, "eu").await;
    arrivals.settle(from, us).await;
    left("relay cut off", &arrivals.since(from), from, eu);
    drop(cut);
    arrivals.settle(Instant::now(), eu).await;
    judge("relay cut off", &arrivals.since(from), from);

    let from = Instant::now();
    install.scale(namespace, "eu", 0);
    arrivals.settle(from, us).await;
    left("pool emptied", &arrivals.since(from), from, eu);
    install.scale(namespace, "eu", 1);
    arrivals.settle(Instant::now(), eu).await;
    judge("pool emptied", &arrivals.since(from), from);

    let from = Instant::now();
    let old = relay_of(install, namespace, "eu").await.name_any();
    let leave = format!("{ANNOTATION_WISH}={WISH_LEAVE}");
    install.kubectl.run(&["-n", namespace, "annotate", "pod", &old, &leave], None);
    within(60, "the cordoned relay gets no session any more, and the region has another", async || {
        let all = arrivals.since(from);
        let last: Vec<&Arrival> = all.iter().rev().take(SETTLED).collect();
        let elsewhere = |arrival: &&&Arrival| arrival.relay != old && arrival.region.as_deref() == Ok(eu);
        let count = last.iter().take_while(elsewhere).count();
        if count == SETTLED { Ok(()) } else { Err(format!("{count} in a row; last {:?}", last.first())) }
    })
    .await;
    let all = arrivals.since(from);
    let late: Vec<_> = all.iter().filter(|arrival| arrival.asked >= from + MOVED && arrival.relay == old).collect();
    assert!(late.is_empty(), "relay cordoned: {late:?}");
    judge("relay cordoned", &all, from);

    let mut held = Vec::new();
    within(30, "the region is full", async || {
        let created = lobby.create(DUBLIN.0, DUBLIN.1).await?;
        if created.session.region == eu {
            let seat = Seat::take(&created.connect).await?;
            held.push((created, seat));
        } else {
            lobby.close(&created.session.id, &created.host_token).await;
        }
        // The others are of clients that come and go.
        if held.len() == SEATS { Ok(()) } else { Err(format!("{} of {SEATS} seats", held.len())) }
    })
    .await;
    let from = Instant::now();
    arrivals.settle(from, us).await;
    left("region full", &arrivals.since(from), from, eu);
    for (created, seat) in held {
        drop(seat);
        lobby.close(&created.session.id, &created.host_token).await;
    }
    arrivals.settle(Instant::now(), eu).await;
    judge("region full", &arrivals.since(from), from);
}
