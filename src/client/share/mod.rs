//! The host: creates a session, lets guests in, and joins their streams with what is shared. Comes back through the
//! lobby when its relay is lost, and ends the session when it ends.

mod guests;
mod members;
#[cfg(test)]
mod simulation;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ending::Ending;
use super::measure::measured;
use super::net::{self, Backoff, Failed, Net, Wire};
use super::pulse::{Lost, Pulse, closed};
use super::say::{Event, Say};
use super::terminal::Terminal;
use super::tls::Identity;
use super::tunnel::{Handle, pump};
use crate::decide::invite::{Invite, KEY_BYTES, Secret};
use crate::decide::mux::Why;
use crate::process::{clock, secret};
use crate::wire::relay::Notice;
use crate::wire::session::{ClientPlace, Connect, SessionCreated};
use crate::wire::tunnel::Shared;
use guests::Guests;
use members::Members;

/// How long the shared port may take to answer.
const REACH: Duration = Duration::from_secs(10);
/// How long the last bytes of a shared terminal may take to reach the guests.
const LAST_BYTES: Duration = Duration::from_secs(2);
/// Between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// A connection that lived shorter is no reason to come back at once.
const SHORT: Duration = Duration::from_secs(1);

/// Who decides about guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Approve {
    /// The host is asked about each.
    Ask,
    /// Whoever has the link is let in.
    All,
}

/// What is shared, as the host knows it.
#[derive(Debug)]
pub enum Target {
    /// A TCP port, as `host:port`.
    Port(String),
    /// A terminal.
    Terminal(Arc<Terminal>),
}

/// What a host wants.
#[derive(Debug)]
pub struct ShareOptions {
    /// URL of the lobby.
    pub lobby: String,
    /// Further authorities to trust, as a PEM file.
    pub ca: Option<PathBuf>,
    /// Where the host is.
    pub place: ClientPlace,
    /// Whether to measure how far the lobby's regions are.
    pub measure: bool,
    /// What is shared.
    pub target: Target,
    /// Who decides about guests.
    pub approve: Approve,
    /// How long to look for a way back, and to wait for a lost guest.
    pub give_up: Duration,
}

/// The host's answer about a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Number of the guest.
    pub guest: u32,
    /// Whether to let it in.
    pub allow: bool,
}

struct Host {
    net: Net,
    say: Say,
    created: SessionCreated,
    target: Arc<Target>,
    give_up: Duration,
    guests: Guests,
    answers: mpsc::Receiver<Answer>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Shares until `shutdown`, or until it cannot.
pub async fn share(
    options: ShareOptions,
    say: Say,
    answers: mpsc::Receiver<Answer>,
    shutdown: CancellationToken,
) -> anyhow::Result<Ending> {
    let net = Net::new(&options.lobby, options.ca.as_deref())?;
    if net.is_plain() {
        say.say(&Event::PlainHttp { lobby: options.lobby.clone() });
    }
    let identity = Identity::new()?;
    let key = Secret::new(secret::random_bytes::<KEY_BYTES>());
    let pin = identity.pin;
    let created = tokio::select! {
        created = create(&net, &options, &key) => match created {
            Ok(created) => created,
            Err(ending) => return Ok(ending),
        },
        () = shutdown.cancelled() => return Ok(Ending::Done("ended before there was a session".to_owned())),
    };
    say.say(&Event::Ready {
        link: Invite::link(&created.join_link, &pin, &key),
        region: created.session.region.clone(),
        relay: created.session.relay.clone(),
    });
    let shared = match &options.target {
        Target::Port(_) => Shared::Port,
        Target::Terminal(terminal) => Shared::Terminal { write: terminal.guests_write() },
    };
    let wake = Arc::new(Notify::new());
    let guests =
        Guests::new(identity, key, created.session.id.clone(), shared, options.approve, say.clone(), Arc::clone(&wake));
    let stop = CancellationToken::new();
    let mut host = Host {
        net,
        say,
        created,
        target: Arc::new(options.target),
        give_up: options.give_up,
        guests,
        answers,
        tasks: TaskTracker::new(),
        stop: stop.clone(),
    };
    let ending = host.run(&wake, &shutdown).await;
    stop.cancel();
    host.net.close(&host.created.session.id, &host.created.host_token).await;
    host.tasks.close();
    host.tasks.wait().await;
    Ok(ending)
}

/// Creates the session; the same idempotency key for all attempts.
async fn create(net: &Net, options: &ShareOptions, key: &Secret) -> Result<SessionCreated, Ending> {
    let (hash, idempotency_key) = (secret::hash(&key.join_key()), secret::random_secret());
    let begin = clock::monotonic();
    let place = options.place.clone();
    let place = if options.measure { measured(net, place).await } else { place };
    let mut backoff = Backoff::default();
    loop {
        match net.create(&place, &hash, &idempotency_key).await {
            Ok(created) => return Ok(created),
            Err(Failed::Final(ending)) => return Err(ending),
            Err(Failed::Later(why)) if clock::monotonic().saturating_sub(begin) > options.give_up => {
                return Err(Ending::GaveUp(format!("no session within {} s: {why}", options.give_up.as_secs())));
            }
            Err(Failed::Later(why)) => tracing::debug!(%why, "no session yet"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

impl Host {
    async fn run(&mut self, wake: &Notify, shutdown: &CancellationToken) -> Ending {
        let mut pass = Some(self.created.connect.clone());
        let (mut lost_at, mut first) = (None, true);
        let (mut backoff, mut why) = (Backoff::default(), "no relay".to_owned());
        loop {
            let since = *lost_at.get_or_insert_with(clock::monotonic);
            if clock::monotonic().saturating_sub(since) > self.give_up {
                return Ending::GaveUp(format!("no way back within {} s: {why}", self.give_up.as_secs()));
            }
            let wire = tokio::select! {
                wire = self.connect(&mut pass) => wire,
                () = shutdown.cancelled() => return Ending::Done("ended".to_owned()),
            };
            match wire {
                Ok(wire) => {
                    if !std::mem::take(&mut first) {
                        let after = clock::monotonic().saturating_sub(since).as_millis();
                        self.say.say(&Event::Back { after_ms: u64::try_from(after).unwrap_or(u64::MAX) });
                    }
                    lost_at = None;
                    let begin = clock::monotonic();
                    match self.attend(wire, wake, shutdown).await {
                        Lost::Ended(ending) => return ending,
                        Lost::Retry(reason) => {
                            self.say.say(&Event::Lost { why: reason.clone() });
                            why = reason;
                        }
                    }
                    self.guests.detach();
                    if clock::monotonic().saturating_sub(begin) > SHORT {
                        backoff = Backoff::default();
                    } else {
                        tokio::time::sleep(backoff.next()).await;
                    }
                }
                Err(Failed::Final(Ending::Refused(_))) => {
                    return Ending::Closed("the session was closed".to_owned());
                }
                Err(Failed::Final(ending)) => return ending,
                Err(Failed::Later(reason)) => {
                    why = reason;
                    self.guests.expire(self.give_up);
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }

    /// To the relay of the first pass, and after that to the one that the lobby says.
    async fn connect(&mut self, pass: &mut Option<Connect>) -> Result<Wire, Failed> {
        let pass = if let Some(pass) = pass.take() {
            pass
        } else {
            let session = &mut self.created.session;
            let joined = self.net.rejoin(&session.id, &self.created.host_token, session.epoch).await?;
            *session = joined.session;
            joined.connect
        };
        self.net.connect(&pass).await.map_err(Failed::Later)
    }

    /// Serves guests through one connection, until it is lost or all ends.
    async fn attend(&mut self, mut wire: Wire, wake: &Notify, shutdown: &CancellationToken) -> Lost {
        let Notice::Welcome { queue_bytes, max_message_bytes, .. } = wire.welcome else {
            return Lost::Retry("the relay does not welcome us".to_owned());
        };
        let mut members = Members::new(queue_bytes, max_message_bytes);
        let mut pulse = Pulse::new();
        let mut tick = tokio::time::interval(TICK);
        let over = self.over();
        tokio::pin!(over);
        let mut idle = false;
        let sender = wire.sender.clone();
        let mut last_bytes = None;
        loop {
            tokio::select! {
                message = wire.stream.next() => {
                    idle = false;
                    match message {
                        Some(Ok(Message::Pong(_))) => pulse.answered(),
                        Some(Ok(Message::Binary(bytes))) => {
                            let opened = net::address(&bytes).map(|(from, payload)| members.hear(from, payload, &mut self.guests));
                            opened.into_iter().flatten().for_each(|handle| self.serve(handle));
                            if members.goes_on() { pulse.heard() }
                        }
                        Some(Ok(Message::Text(text))) => members.notice(&text, &mut self.guests),
                        other => if let Some(lost) = closed(other) { return lost },
                    }
                }
                permit = sender.reserve(), if !idle => {
                    let Ok(permit) = permit else { return Lost::Retry("the connection broke".to_owned()) };
                    match members.next_message(&mut self.guests) {
                        Some(message) => permit.send(message),
                        None => idle = true,
                    }
                }
                () = wake.notified() => idle = false,
                Some(answer) = self.answers.recv() => {
                    members.answer(answer, &mut self.guests);
                    idle = false;
                }
                _ = tick.tick() => {
                    members.expire(&mut self.guests);
                    self.guests.expire(self.give_up);
                    if let Target::Terminal(terminal) = &*self.target { self.guests.tell_size(terminal.size()) }
                    if pulse.beat(&wire.sender) { return Lost::Retry("the relay is silent".to_owned()) }
                    let now = clock::monotonic();
                    if last_bytes.is_some_and(|until| now > until || self.guests.streams() == 0) {
                        wire.part().await;
                        return Lost::Ended(Ending::Done("the shared terminal has ended".to_owned()));
                    }
                }
                () = &mut over, if last_bytes.is_none() => last_bytes = Some(clock::monotonic() + LAST_BYTES),
                () = shutdown.cancelled() => {
                    wire.part().await;
                    return Lost::Ended(Ending::Done("ended".to_owned()));
                }
            }
        }
    }

    /// Ends when what is shared ends; a port never does.
    fn over(&self) -> impl Future<Output = ()> + use<> {
        let target = Arc::clone(&self.target);
        async move {
            match &*target {
                Target::Port(_) => std::future::pending().await,
                Target::Terminal(terminal) => terminal.ended().await,
            }
        }
    }

    /// Joins a guest's stream with what is shared.
    fn serve(&self, handle: Handle) {
        let (target, stop) = (Arc::clone(&self.target), self.stop.clone());
        self.tasks.spawn(async move {
            let serving = async {
                match &*target {
                    Target::Port(address) => to_port(address, handle).await,
                    Target::Terminal(terminal) => terminal.show(handle).await,
                }
            };
            stop.run_until_cancelled(serving).await;
        });
    }
}

async fn to_port(address: &str, handle: Handle) {
    match tokio::time::timeout(REACH, TcpStream::connect(address)).await {
        Ok(Ok(socket)) => pump(socket, handle).await,
        Ok(Err(_)) | Err(_) => handle.reset(Why::Unreachable),
    }
}
