//! A lobby, relays, hosts and guests in this process, with wires between them that can be tapped and cut.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use convene::client::{self, Answer, Approve, Ending, Event, JoinOptions, Say, ShareOptions, Target};
use convene::decide::invite::Invite;
use convene::wire::session::ClientPlace;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::relay::{Pod, Seat};
use crate::tap::Tap;
use crate::world::{Cluster, Running, eventually, pool, table};

/// Regions in the order in which hosts of these tests get them.
pub const REGIONS: [(&str, f64, f64); 3] =
    [("eu-west-1", 53.35, -6.26), ("us-east1", 33.20, -80.01), ("asia-south1", 19.08, 72.88)];

pub struct World {
    pub lobby: Running,
    pub cluster: Cluster,
    /// In the order of [`REGIONS`].
    pub pods: Vec<Pod>,
    /// Between clients and each relay.
    pub wires: Vec<Tap>,
    /// Between each relay and the lobby.
    pub links: Vec<Tap>,
}

impl World {
    /// A lobby and a relay in each of the first `relays` regions.
    pub async fn new(relays: usize) -> Self {
        Self::at(&REGIONS[..relays]).await
    }

    /// A lobby and a relay in each of these regions.
    pub async fn at(regions: &[(&str, f64, f64)]) -> Self {
        Self::with(regions, 1).await
    }

    /// A lobby and so many relays in each of these regions, one region after the other.
    pub async fn with(regions: &[(&str, f64, f64)], relays: u32) -> Self {
        let cluster = Cluster::new();
        let (mut seats, mut pools, mut wires) = (Vec::new(), Vec::new(), Vec::new());
        for (region, latitude, longitude) in regions {
            let mut entry = pool(region, *latitude, *longitude, relays, 10);
            for relay in &mut entry.relays {
                let seat = Seat::reserve(&relay.name);
                let wire = Tap::before(seat.url().trim_start_matches("ws://").parse().expect("an address")).await;
                relay.url = format!("ws://{}", wire.address);
                seats.push(seat);
                wires.push(wire);
            }
            pools.push(entry);
        }
        let lobby = Running::start(&table(&cluster, pools)).await;
        let jwks = lobby.jwks().await;
        let (mut pods, mut links) = (Vec::new(), Vec::new());
        for seat in seats {
            let link = Tap::before(lobby.address).await;
            pods.push(seat.start_with(&format!("http://{}", link.address), &cluster, &jwks, 10, &[]));
            links.push(link);
        }
        let world = Self { lobby, cluster, pods, wires, links };
        world.linked().await;
        world
    }

    /// Waits until the lobby hears all relays.
    pub async fn linked(&self) {
        let line = format!("convene_lobby_relays_linked {}", self.wires.len());
        eventually("all relays are linked", async || self.lobby.metrics().await.contains(&line)).await;
    }

    /// Kills a relay as SIGKILL would.
    pub fn kill(&mut self, relay: usize) {
        self.pods[relay].kill();
    }

    /// Starts a relay that was killed once more, where it was.
    pub async fn restart(&mut self, relay: usize) {
        let (jwks, lobby) = (self.lobby.jwks().await, format!("http://{}", self.links[relay].address));
        let seat = Seat::reserve_at(&format!("{}-0", REGIONS[relay].0), self.wires[relay].behind).await;
        self.pods[relay] = seat.start_with(&lobby, &self.cluster, &jwks, 10, &[]);
        self.linked().await;
    }

    /// Cuts a relay off from everybody: clients and lobby.
    pub fn partition(&self, relay: usize) {
        self.wires[relay].partition();
        self.links[relay].partition();
    }

    /// Ends that.
    pub fn heal(&self, relay: usize) {
        self.wires[relay].heal();
        self.links[relay].heal();
    }

    /// A host in the first region that shares `target`.
    pub async fn share(&self, target: Target, approve: Approve) -> Host {
        self.share_for(target, approve, Duration::from_secs(60)).await
    }

    pub async fn share_for(&self, target: Target, approve: Approve, give_up: Duration) -> Host {
        Host::share(&self.lobby.url(""), None, target, approve, give_up).await.expect("a session")
    }
}

pub struct Host {
    pub link: String,
    pub events: Events,
    answers: mpsc::Sender<Answer>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<Ending>>,
}

impl Host {
    /// Shares through the lobby at a URL; how it ended if that brought no session.
    pub async fn share(
        lobby: &str,
        ca: Option<PathBuf>,
        target: Target,
        approve: Approve,
        give_up: Duration,
    ) -> Result<Self, Ending> {
        // Here all relays are equally near.
        Self::share_from(lobby, ca, target, approve, give_up, false).await
    }

    /// The same, by a host that may also measure.
    pub async fn share_from(
        lobby: &str,
        ca: Option<PathBuf>,
        target: Target,
        approve: Approve,
        give_up: Duration,
        measure: bool,
    ) -> Result<Self, Ending> {
        let place = ClientPlace { region: Some(REGIONS[0].0.to_owned()), ..ClientPlace::default() };
        Self::start(ShareOptions { lobby: lobby.to_owned(), ca, place, measure, target, approve, give_up }).await
    }

    /// Shares from a place.
    pub async fn share_at(lobby: &str, place: ClientPlace, target: Target, approve: Approve) -> Self {
        let (lobby, give_up) = (lobby.to_owned(), Duration::from_secs(60));
        let options = ShareOptions { lobby, ca: None, place, measure: false, target, approve, give_up };
        Self::start(options).await.expect("a session")
    }

    async fn start(options: ShareOptions) -> Result<Self, Ending> {
        let (heard, events) = Events::new();
        let (answers, receiver) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let mut task = tokio::spawn(client::share(options, heard, receiver, stop.clone()));
        let told = events.clone();
        let link = |event: &Event| if let Event::Ready { link, .. } = event { Some(link.clone()) } else { None };
        tokio::select! {
            ended = &mut task => Err(ended.expect("no panic").expect("no error")),
            link = told.find(link) => Ok(Self { link, events, answers, stop, task }),
        }
    }

    pub async fn answer(&self, guest: u32, allow: bool) {
        self.answers.send(Answer { guest, allow }).await.expect("the host listens");
    }

    pub async fn stop(self) -> Ending {
        self.stop.cancel();
        self.ended().await
    }

    pub async fn ended(self) -> Ending {
        in_time("the host ends", self.task).await.expect("no panic").expect("no error")
    }
}

pub struct Guest {
    pub events: Events,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<Ending>>,
}

impl Guest {
    pub fn join(link: &str) -> Self {
        Self::with(link, None, Duration::from_secs(60))
    }

    pub fn with(link: &str, screen: Option<client::Screen>, give_up: Duration) -> Self {
        Self::start(link, None, screen, give_up)
    }

    /// Trusts a private authority.
    pub fn trusting(link: &str, ca: Option<PathBuf>, give_up: Duration) -> Self {
        Self::start(link, ca, None, give_up)
    }

    /// Says where it is.
    pub fn at(link: &str, place: ClientPlace) -> Self {
        Self::from(place, None, link, None, None, Duration::from_secs(60))
    }

    /// Measures where it is near, and again after so long.
    pub fn measuring(link: &str, every: Duration) -> Self {
        Self::from(ClientPlace::default(), Some(every), link, None, None, Duration::from_secs(60))
    }

    fn start(link: &str, ca: Option<PathBuf>, screen: Option<client::Screen>, give_up: Duration) -> Self {
        // Here all relays are equally near.
        Self::from(ClientPlace::default(), None, link, ca, screen, give_up)
    }

    fn from(
        place: ClientPlace,
        measure: Option<Duration>,
        link: &str,
        ca: Option<PathBuf>,
        screen: Option<client::Screen>,
        give_up: Duration,
    ) -> Self {
        let options = JoinOptions {
            invite: Invite::parse(link).expect("a link"),
            ca,
            place,
            measure,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            name: "Ada".to_owned(),
            give_up,
            screen,
        };
        let (heard, events) = Events::new();
        let stop = CancellationToken::new();
        let task = tokio::spawn(client::join(options, heard, stop.clone()));
        Self { events, stop, task }
    }

    /// The guest's local port.
    pub async fn port(&self) -> SocketAddr {
        let address = |event: &Event| match event {
            Event::Listening { address } => address.parse().ok(),
            _ => None,
        };
        self.events.find(address).await
    }

    pub async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.port().await).await.expect("connected")
    }

    pub async fn stop(self) -> Ending {
        self.stop.cancel();
        self.ended().await
    }

    pub async fn ended(self) -> Ending {
        in_time("the guest ends", self.task).await.expect("no panic").expect("no error")
    }
}

/// What a client has told so far.
#[derive(Clone)]
pub struct Events {
    list: watch::Receiver<Vec<Event>>,
}

impl Events {
    fn new() -> (Say, Self) {
        let (sender, list) = watch::channel(Vec::new());
        let say = Say::to(move |event| {
            sender.send_modify(|list: &mut Vec<Event>| list.push(event.clone()));
        });
        (say, Self { list })
    }

    pub fn all(&self) -> Vec<Event> {
        self.list.borrow().clone()
    }

    /// Waits for an event.
    pub async fn find<T>(&self, mut of: impl FnMut(&Event) -> Option<T>) -> T {
        let mut list = self.list.clone();
        let found = async {
            loop {
                if let Some(found) = list.borrow_and_update().iter().find_map(&mut of) {
                    return found;
                }
                if list.changed().await.is_err() {
                    // The client has ended, and whoever waits for that sees how.
                    std::future::pending::<()>().await;
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(30), found).await;
        found.unwrap_or_else(|_| unreachable!("not told in time; told was {:#?}", self.all()))
    }

    /// Waits until `count` events are such.
    pub async fn count(&self, count: usize, of: impl Fn(&Event) -> bool) {
        let mut list = self.list.clone();
        let enough = list.wait_for(|list| list.iter().filter(|event| of(event)).count() >= count);
        let enough = tokio::time::timeout(Duration::from_secs(30), enough).await;
        assert!(enough.is_ok(), "not told in time; told was {:#?}", self.all());
    }
}

pub async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let got = tokio::time::timeout(Duration::from_secs(60), wait).await;
    got.unwrap_or_else(|_| unreachable!("not in time: {what}"))
}
