//! The guest: comes in by a link, and opens a local port or shows the shared terminal. Comes back through the lobby when
//! its relay or its host is lost, and goes on where it was.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::conversation::{Conversation, Step};
use super::ending::Ending;
use super::measure::Whereabouts;
use super::net::{self, Backoff, Door, Failed, Net, Wire};
use super::pulse::{Lost, Pulse, closed};
use super::say::{Event, Say, clean};
use super::terminal::Screen;
use super::tls;
use super::tunnel::{Tunnel, pump};
use crate::decide::invite::Invite;
use crate::decide::mux::Side;
use crate::process::{clock, secret};
use crate::wire::claims::Role;
use crate::wire::relay::{Member, Notice};
use crate::wire::session::{ClientPlace, JoinSession, Joined};
use crate::wire::tunnel::Shared;

/// How long to wait for the host at one relay: it may be at another by now, and only the lobby knows.
const HOST_PATIENCE: Duration = Duration::from_secs(3);
/// How long the lobby is asked to wait for the host's decision, before it is asked again: shorter than proxies cut off what
/// says nothing.
const DECISION: Duration = Duration::from_secs(25);
/// Between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// A connection that lived shorter is no reason to come back at once.
const SHORT: Duration = Duration::from_secs(1);

/// What a guest wants.
#[derive(Debug)]
pub struct JoinOptions {
    /// The link.
    pub invite: Invite,
    /// Further authorities to trust, as a PEM file.
    pub ca: Option<PathBuf>,
    /// Where the guest is.
    pub place: ClientPlace,
    /// After how long it measures again how far the lobby's regions are; none = it does not measure.
    pub measure: Option<Duration>,
    /// Local address to listen on; port 0 = any that is free.
    pub listen: SocketAddr,
    /// Who the guest says it is.
    pub name: String,
    /// How long to look for a way back.
    pub give_up: Duration,
    /// Where a shared terminal is shown, if anywhere.
    pub screen: Option<Screen>,
}

struct Guest {
    net: Net,
    say: Say,
    options: JoinOptions,
    conversation: Conversation,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// When the way to the host was lost, while it is.
    lost_at: Option<Duration>,
    /// Secret by which a lobby that asks the host knows this guest again.
    token: String,
    /// The lobby has said that it asks the host.
    host_is_asked: bool,
    whereabouts: Arc<Whereabouts>,
    /// Epoch of the session when it was last joined.
    epoch: Option<u64>,
    serving: bool,
    /// What was shown has ended.
    over: CancellationToken,
}

/// Joins until `shutdown`, or until it cannot.
pub async fn join(options: JoinOptions, say: Say, shutdown: CancellationToken) -> anyhow::Result<Ending> {
    let net = Net::new(&options.invite.lobby, options.ca.as_deref())?;
    if net.is_plain() {
        say.say(&Event::PlainHttp { lobby: options.invite.lobby.clone() });
    }
    let whereabouts = Arc::new(Whereabouts::new(options.place.clone()));
    if options.measure.is_some() {
        shutdown.run_until_cancelled(whereabouts.measure(&net)).await;
    }
    let wake = Arc::new(Notify::new());
    let tunnel = Tunnel::new(Side::Guest, Arc::clone(&wake));
    let config = tls::guest_config(options.invite.pin)?;
    let conversation = Conversation::new(config, options.invite.clone(), options.name.clone(), Arc::clone(&tunnel));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    if let Some(every) = options.measure {
        let (whereabouts, net) = (Arc::clone(&whereabouts), net.clone());
        let follow = async move { whereabouts.follow(&net, every).await };
        tasks.spawn(stop.clone().run_until_cancelled_owned(follow));
    }
    let mut guest = Guest {
        net,
        say,
        options,
        conversation,
        tasks,
        stop: stop.clone(),
        lost_at: None,
        token: secret::random_secret(),
        host_is_asked: false,
        whereabouts,
        epoch: None,
        serving: false,
        over: CancellationToken::new(),
    };
    let ending = guest.run(&wake, &shutdown).await;
    stop.cancel();
    tunnel.give_up();
    guest.tasks.close();
    guest.tasks.wait().await;
    ending
}

impl Guest {
    async fn run(&mut self, wake: &Notify, shutdown: &CancellationToken) -> anyhow::Result<Ending> {
        let mut backoff = Backoff::default();
        let mut why = "the host is not there".to_owned();
        loop {
            let since = *self.lost_at.get_or_insert_with(clock::monotonic);
            let give_up = self.options.give_up;
            if clock::monotonic().saturating_sub(since) > give_up {
                return Ok(Ending::GaveUp(format!("no way to the host within {} s: {why}", give_up.as_secs())));
            }
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = shutdown.cancelled() => return Ok(Ending::Done("ended".to_owned())),
            };
            match connected {
                Ok((wire, joined)) => {
                    let (region, relay) = (joined.session.region, joined.session.relay);
                    self.say.say(&Event::Connected { region, relay });
                    let begin = clock::monotonic();
                    let lost = self.attend(wire, wake, shutdown).await?;
                    self.conversation.hang_up();
                    match lost {
                        Lost::Ended(ending) => return Ok(ending),
                        Lost::Retry(reason) => why = reason,
                    }
                    if clock::monotonic().saturating_sub(begin) > SHORT {
                        backoff = Backoff::default();
                        continue;
                    }
                }
                Err(Failed::Final(ending)) => return Ok(ending),
                Err(Failed::Later(reason)) => why = reason,
            }
            tracing::debug!(%why, "not connected");
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn connect(&mut self) -> Result<(Wire, Joined), Failed> {
        let joined = self.ask().await?;
        self.epoch = Some(joined.session.epoch);
        let wire = self.net.connect(&joined.connect).await.map_err(Failed::Later)?;
        Ok((wire, joined))
    }

    /// Asks the lobby for a pass, for as long as it asks the host.
    async fn ask(&mut self) -> Result<Joined, Failed> {
        let session = self.options.invite.session.clone();
        let mut backoff = Backoff::default();
        loop {
            let asks = JoinSession {
                join_key: Some(self.options.invite.secret.join_key()),
                guest_token: Some(self.token.clone()),
                lost_epoch: self.epoch,
                // A lobby that does not ask need not know who comes: the host hears it from the guest itself.
                name: self.host_is_asked.then(|| clean(&self.options.name)),
                // Lobbies of before refuse what they do not know.
                place: Some(self.whereabouts.now()).filter(|place| *place != ClientPlace::default()),
            };
            let wait = if self.host_is_asked { DECISION } else { Duration::ZERO };
            let waits = match self.net.join(&session, &asks, wait).await? {
                Door::Open(joined) => {
                    self.host_is_asked = false;
                    return Ok(joined);
                }
                Door::Waits(waits) => waits,
            };
            // Whoever waits for a person is not lost.
            self.lost_at = None;
            if !self.host_is_asked {
                self.say.say(&Event::Asked { guest: waits.guest.id });
                self.host_is_asked = true;
            }
            // Not without a pause, should it not wait as it was asked to.
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Talks to the host through one connection, until it is lost or all ends.
    async fn attend(&mut self, mut wire: Wire, wake: &Notify, shutdown: &CancellationToken) -> anyhow::Result<Lost> {
        let Notice::Welcome { members, queue_bytes, max_message_bytes, .. } = wire.welcome.clone() else {
            return Ok(Lost::Retry("the relay does not welcome us".to_owned()));
        };
        let mut hosts: Vec<u32> = members.iter().filter_map(host).collect();
        self.conversation.begin(queue_bytes, max_message_bytes);
        let (mut pulse, mut hosts_pulse) = (Pulse::new(), Pulse::new());
        let mut alone_since = clock::monotonic();
        let mut tick = tokio::time::interval(TICK);
        let over = self.over.clone();
        let mut idle = false;
        let sender = wire.sender.clone();
        loop {
            // The newest is the host's own, if it has lost one.
            let newest = hosts.iter().max().copied();
            if newest != self.conversation.with() {
                self.note_loss("the host is gone");
                self.conversation.call(newest)?;
                hosts_pulse.answered();
                alone_since = clock::monotonic();
                idle = false;
            }
            tokio::select! {
                message = wire.stream.next() => {
                    idle = false;
                    match message {
                        Some(Ok(Message::Pong(_))) => pulse.answered(),
                        Some(Ok(Message::Binary(bytes))) => {
                            let Some((from, payload)) = net::address(&bytes) else { continue };
                            if Some(from) == self.conversation.with() {
                                pulse.heard();
                                hosts_pulse.answered();
                                if let Some(lost) = self.hear(payload).await? { return Ok(lost) }
                            }
                        }
                        Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                            Ok(Notice::Joined(member)) => hosts.extend(host(&member)),
                            Ok(Notice::Left { member }) => hosts.retain(|known| *known != member),
                            Ok(Notice::Welcome { .. } | Notice::Unknown) | Err(_) => {}
                        },
                        other => if let Some(lost) = closed(other) {
                            if let Lost::Retry(why) = &lost { self.note_loss(why) }
                            return Ok(lost);
                        }
                    }
                }
                permit = sender.reserve(), if !idle => {
                    let Ok(permit) = permit else { return Ok(self.retry("the connection broke")) };
                    match self.conversation.next_message()? {
                        Some(message) => permit.send(message),
                        None => idle = true,
                    }
                }
                () = wake.notified() => idle = false,
                _ = tick.tick() => {
                    idle = false;
                    self.conversation.ping()?;
                    if pulse.beat(&wire.sender) { return Ok(self.retry("the relay is silent")) }
                    if newest.is_some() && hosts_pulse.is_silent() { return Ok(self.retry("the host is silent")) }
                    let alone = clock::monotonic().saturating_sub(alone_since);
                    if newest.is_none() && alone > HOST_PATIENCE { return Ok(self.retry("the host is not there")) }
                }
                () = over.cancelled() => return Ok(self.leave(wire, "ended").await),
                () = shutdown.cancelled() => return Ok(self.leave(wire, "ended").await),
            }
        }
    }

    /// Tells the host that this guest does not come back.
    async fn leave(&mut self, wire: Wire, why: &str) -> Lost {
        self.conversation.bye();
        while let Ok(Some(message)) = self.conversation.next_message() {
            if tokio::time::timeout(TICK, wire.sender.send(message)).await.is_err() {
                break;
            }
        }
        wire.part().await;
        Lost::Ended(Ending::Done(why.to_owned()))
    }

    fn retry(&mut self, why: &str) -> Lost {
        self.note_loss(why);
        Lost::Retry(why.to_owned())
    }

    /// The way to the host is lost, unless it was already.
    fn note_loss(&mut self, why: &str) {
        if self.serving && self.lost_at.is_none() {
            self.say.say(&Event::Lost { why: why.to_owned() });
        }
        self.lost_at.get_or_insert_with(clock::monotonic);
    }

    async fn hear(&mut self, payload: &[u8]) -> anyhow::Result<Option<Lost>> {
        let steps = match self.conversation.hear(payload) {
            Ok(steps) => steps,
            Err(tls::Insecure::Impostor) => {
                let why = "whoever answers is not the host that the link names: do not trust this lobby";
                return Ok(Some(Lost::Ended(Ending::Refused(why.to_owned()))));
            }
            Err(why) => return Ok(Some(self.retry(&why.to_string()))),
        };
        for step in steps {
            match step {
                Step::Waiting { code } => {
                    self.say.say(&Event::Waiting { code });
                    // Whoever waits for a person is not lost.
                    self.lost_at = None;
                }
                Step::Refused(ending) => return Ok(Some(Lost::Ended(ending))),
                Step::Unreachable => self.say.say(&Event::Unreachable),
                Step::Admitted { code, shared } => {
                    let lost_at = self.lost_at.take();
                    if self.serving {
                        let after = lost_at.map_or(Duration::ZERO, |since| clock::monotonic().saturating_sub(since));
                        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                        self.say.say(&Event::Back { after_ms });
                    } else {
                        self.say.say(&Event::Joined { code });
                        self.serve(shared).await?;
                        self.serving = true;
                    }
                }
                Step::Size { rows, columns } => self.say.say(&Event::Size { rows, columns }),
            }
        }
        Ok(None)
    }

    /// Opens what the guest gets.
    async fn serve(&mut self, shared: Shared) -> anyhow::Result<()> {
        let tunnel = Arc::clone(self.conversation.tunnel());
        let stop = self.stop.clone();
        match shared {
            Shared::Port => {
                let address = self.options.listen;
                let listener = TcpListener::bind(address).await.with_context(|| {
                    format!("--port: cannot listen on {address}; give another port, or none for any that is free")
                })?;
                self.say.say(&Event::Listening { address: listener.local_addr()?.to_string() });
                let tasks = self.tasks.clone();
                self.tasks.spawn(async move {
                    stop.run_until_cancelled(accept(listener, tunnel, tasks)).await;
                });
            }
            Shared::Terminal { write } => {
                let screen =
                    self.options.screen.clone().context(
                        "a terminal is shared, and standard output is none: run `convene join` in a terminal",
                    )?;
                let over = self.over.clone();
                self.tasks.spawn(async move {
                    stop.run_until_cancelled(screen.run(&tunnel, write)).await;
                    over.cancel();
                });
            }
        }
        Ok(())
    }
}

fn host(member: &Member) -> Option<u32> {
    (member.role == Role::Host).then_some(member.member)
}

async fn accept(listener: TcpListener, tunnel: Arc<Tunnel>, tasks: TaskTracker) {
    loop {
        match listener.accept().await {
            // With too many streams the connection is dropped.
            Ok((socket, _)) => {
                if let Some(handle) = tunnel.open() {
                    tasks.spawn(pump(socket, handle));
                }
            }
            // Such as: no file descriptors left.
            Err(error) => {
                tracing::warn!(%error, "a local connection could not be taken");
                tokio::time::sleep(TICK).await;
            }
        }
    }
}
