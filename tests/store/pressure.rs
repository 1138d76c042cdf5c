//! Placements from many clients at once through three lobby processes, of which one after another is killed and started
//! anew, to relays that keep our own rules of seats. `CONVENE_PLACEMENTS` says how many; the default is small.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use convene::decide::seats::{Effect, SeatLimits, Seats};
use convene::decide::sessions::{Limits, LinkUp, Order, OrderKind, Refused};
use convene::lobby::store::{Store as _, Via};
use convene::process::clock;
use convene::wire::claims::RecordClaims;
use convene::wire::link::Load;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::server::Server;
use crate::values::{self, Connected, eventually, grant, home, link};

const LEASE_SECONDS: u32 = 2;
const LIMITS: Limits = Limits { lease: Duration::from_secs(LEASE_SECONDS as u64), ..values::LIMITS };
const RELAYS: [&str; 4] = ["r0", "r1", "r2", "r3"];
const CAPACITY: u32 = 60;
const CLIENTS: u32 = 48;

/// A lobby process that can be killed.
struct Process {
    connected: Connected,
    killed: CancellationToken,
}

impl Process {
    async fn start(server: &Server) -> Arc<Self> {
        let connected = Connected::to(server.url(), "x", LIMITS, None).await;
        let killed = CancellationToken::new();
        let (store, until) = (Arc::clone(&connected.store), killed.clone());
        tokio::spawn(async move {
            while until.run_until_cancelled(tokio::time::sleep(Duration::from_millis(250))).await.is_some() {
                let _ = store.sweep().await;
            }
        });
        Arc::new(Self { connected, killed })
    }
}

struct World {
    processes: RwLock<Vec<Arc<Process>>>,
    next_link: AtomicU64,
    /// Orders to hold a session that a relay had no seat for.
    overfull: AtomicU32,
    granted: AtomicU32,
    full: AtomicU32,
    away: AtomicU32,
    stop: CancellationToken,
}

impl World {
    fn process(&self, number: usize) -> Arc<Process> {
        let processes = self.processes.read().expect("not poisoned");
        Arc::clone(&processes[number % processes.len()])
    }

    fn replace(&self, number: usize, new: Arc<Process>) {
        let old = std::mem::replace(&mut self.processes.write().expect("not poisoned")[number], new);
        // Nothing is told to anybody: its links end, its orders stay where they are.
        old.killed.cancel();
    }
}

fn obey(world: &World, seats: &Mutex<Seats>, order: &Order) -> Vec<Effect> {
    let (mut seats, now) = (seats.lock().expect("not poisoned"), clock::monotonic());
    match &order.kind {
        OrderKind::Hold(_) => {
            let record = Some(format!("{} {}", order.session, order.epoch));
            let effects = seats.hold(&order.session, order.epoch, record, LEASE_SECONDS, now);
            if !effects.is_empty() {
                world.overfull.fetch_add(1, Ordering::Relaxed);
            }
            effects
        }
        OrderKind::Renew => seats.renew(&order.session, order.epoch, LEASE_SECONDS, now),
        OrderKind::Close => seats.close(&order.session, order.epoch, now),
        OrderKind::Move => seats.move_away(&order.session, order.epoch, now),
        OrderKind::Leave | OrderKind::Stay => unreachable!("nobody orders a relay to leave here"),
    }
}

fn up(pod: &str, number: u64, seats: &Mutex<Seats>) -> LinkUp {
    let home = home(pod, "boot");
    let record = |record: String| {
        let (id, epoch) = record.split_once(' ').expect("a record of ours");
        RecordClaims {
            iss: "lobby".to_owned(),
            sid: id.to_owned(),
            epoch: epoch.parse().expect("a number"),
            aud: home.audience(),
            host_token_hash: format!("{id} host"),
            join_key_hash: format!("{id} key"),
            approval: false,
            iat: 100,
        }
    };
    let records = seats.lock().expect("not poisoned").records().into_iter().map(record).collect();
    LinkUp {
        link: number,
        dial: values::no_dial(),
        home: home.clone(),
        capacity: CAPACITY,
        records,
        open: HashSet::new(),
        keys: vec![],
    }
}

enum News {
    Load(Load),
    Ended(String, u64),
}

async fn hear(process: Arc<Process>, link: u64, pod: &'static str, mut said: mpsc::UnboundedReceiver<News>) {
    let via = Via { pod_uid: pod, link };
    while let Some(news) = said.recv().await {
        let _ = match news {
            News::Load(load) => process.connected.store.load(via, load).await,
            News::Ended(session, epoch) => process.connected.store.ended(via, &session, epoch).await,
        };
    }
}

/// A relay's life: it dials some process, obeys and reports, and dials again.
async fn relay(world: Arc<World>, number: usize, seats: Arc<Mutex<Seats>>) {
    let pod = RELAYS[number];
    let mut dials = number;
    while !world.stop.is_cancelled() {
        dials += 1;
        let process = world.process(dials);
        let store = &process.connected.store;
        let via = Via { pod_uid: pod, link: world.next_link.fetch_add(1, Ordering::Relaxed) };
        let (link, mut orders, cut) = link(via.link, "boot");
        if values::linked(store, up(pod, via.link, &seats), link).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        // What it says goes its own way, one after another, and holds up no order.
        let (say, said) = mpsc::unbounded_channel();
        let hearing = tokio::spawn(hear(Arc::clone(&process), via.link, pod, said));
        let mut load = tokio::time::interval(Duration::from_millis(20));
        let mut holds = 0;
        loop {
            let effects = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => {
                        holds += u64::from(matches!(order.kind, OrderKind::Hold(_)));
                        obey(&world, &seats, &order)
                    }
                    None => break,
                },
                _ = load.tick() => {
                    let ended = seats.lock().expect("not poisoned").tick(clock::monotonic());
                    let now = seats.lock().expect("not poisoned").stats();
                    assert!(now.sessions + now.leases <= CAPACITY, "{pod} holds too many");
                    let _ = say.send(News::Load(Load { stats: now, holds: Some(holds) }));
                    ended
                }
                () = cut.cancelled() => break,
                () = process.killed.cancelled() => break,
                () = world.stop.cancelled() => return,
            };
            for effect in effects {
                if let Effect::Ended { session, epoch } = effect {
                    let _ = say.send(News::Ended(session, epoch));
                }
            }
        }
        drop(say);
        hearing.abort();
        if !process.killed.is_cancelled() {
            store.link_down(via).await;
        }
    }
}

/// Places one session as a lobby and its client do: looks, chooses, asks, and asks again a little later. Most sessions
/// end at once, the others are never claimed.
async fn place(world: &World, number: u32) {
    for attempt in 0_u32.. {
        let process = world.process(number.wrapping_add(attempt) as usize);
        let store = &process.connected.store;
        let view = store.view();
        let takes = |pod: &&str| view.runs.get(*pod).is_some_and(|run| run.takes("boot", CAPACITY, LIMITS.silent));
        let Some(pod) = RELAYS.into_iter().find(takes) else {
            world.full.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        // Another id each time: a grant whose answer was lost is left to its lease.
        let id = format!("s{number}-{attempt}");
        match store.grant(grant(&id, home(pod, "boot"), CAPACITY)).await {
            Ok(Ok(_)) => {
                world.granted.fetch_add(1, Ordering::Relaxed);
                if !number.is_multiple_of(64) {
                    let _ = store.close(&id).await;
                }
                return;
            }
            Ok(Err(Refused::NotThere)) => {}
            Ok(Err(other)) => unreachable!("{other:?}"),
            Err(_) => {
                world.away.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_seat_is_given_twice_and_none_is_lost_while_processes_are_killed() {
    let placements: u32 = std::env::var("CONVENE_PLACEMENTS").map_or(3000, |text| text.parse().expect("a number"));
    let server = Server::start().await;
    let processes = vec![Process::start(&server).await, Process::start(&server).await, Process::start(&server).await];
    let world = Arc::new(World {
        processes: RwLock::new(processes),
        next_link: AtomicU64::new(1),
        overfull: AtomicU32::new(0),
        granted: AtomicU32::new(0),
        full: AtomicU32::new(0),
        away: AtomicU32::new(0),
        stop: CancellationToken::new(),
    });
    let limits = SeatLimits { capacity: CAPACITY, participants_per_session: 8, idle: Duration::from_secs(60) };
    let seats: Vec<_> = RELAYS.iter().map(|_| Arc::new(Mutex::new(Seats::new(limits)))).collect();
    for (number, seats) in seats.iter().enumerate() {
        tokio::spawn(relay(Arc::clone(&world), number, Arc::clone(seats)));
    }
    eventually("all relays are linked", async || world.process(0).connected.store.view().linked() == RELAYS.len())
        .await;

    let (begin, next) = (clock::monotonic(), AtomicU32::new(0));
    let client = async || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= placements {
                return;
            }
            place(&world, number).await;
        }
    };
    let killer = async {
        for round in 1..6_u32 {
            while next.load(Ordering::Relaxed) < placements / 6 * round {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let new = Process::start(&server).await;
            world.replace(round as usize % 3, new);
        }
    };
    tokio::join!(futures::future::join_all((0..CLIENTS).map(|_| client())), killer);
    let took = clock::monotonic().saturating_sub(begin);
    let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    eprintln!(
        "{placements} placements in {took:?}: {} granted; {} looks found no room, {} asked a process without its store",
        count(&world.granted),
        count(&world.full),
        count(&world.away)
    );
    assert_eq!(count(&world.granted), placements);
    eventually("every seat has returned with its lease", async || {
        let store = &world.process(0).connected.store;
        let view = store.view();
        let held = seats.iter().any(|seats| !seats.lock().expect("not poisoned").is_empty());
        !held && view.linked() == RELAYS.len() && view.runs.values().all(|run| run.used() == 0)
    })
    .await;
    assert_eq!(count(&world.overfull), 0, "seats that were given and not there");
    world.stop.cancel();
}
