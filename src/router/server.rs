//! The DNS port: UDP and TCP with every limit set. What it must not do: read messages.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::state::State;
use crate::decide::dns::coarse;
use crate::process::clock;
use crate::process::peers::PerAddress;

/// Largest question that is read by UDP, in bytes; what is longer is cut, and then no question any more.
const MAX_QUESTION: usize = 4096;
/// The same by TCP. A question has a name, and options.
const MAX_TCP_QUESTION: usize = 4096;
/// Open TCP connections in all, and of one network, as rates count them: resolvers keep few.
const MAX_CONNECTIONS: usize = 1024;
const MAX_PER_NETWORK: usize = 32;
/// Those of one IPv6 /48: what a provider gives a site, in which there are 256 such networks.
const MAX_PER_SITE: usize = 128;
const SITE: u8 = 48;
/// Questions of one TCP connection.
const MAX_QUESTIONS: u32 = 256;
/// How long a TCP connection may say nothing, and how long an answer may take to be taken (RFC 7766 asks for seconds).
const IDLE: Duration = Duration::from_secs(10);
/// How long it may say nothing while more than half of all connections are open.
const IDLE_WHEN_FULL: Duration = Duration::from_secs(2);
/// How long it may ask: who has more to ask comes again, and others have their turn.
const LIFE: Duration = Duration::from_secs(30);
/// For how long, and how many bytes, is read of what nobody answers any more.
const LEAVE: Duration = Duration::from_secs(1);
const MAX_UNREAD: usize = 256 * 1024;
/// Tasks that read the UDP socket.
const READERS: usize = 4;

/// Answers questions by UDP until `shutdown`: from the address that was asked, where the socket has one.
pub(super) async fn udp(socket: UdpSocket, state: Arc<State>, shutdown: CancellationToken) {
    let socket = Arc::new(socket);
    let tasks = TaskTracker::new();
    for _ in 0..READERS {
        let (socket, state, shutdown) = (Arc::clone(&socket), Arc::clone(&state), shutdown.clone());
        tasks.spawn(async move { shutdown.run_until_cancelled(read_udp(&socket, &state)).await });
    }
    tasks.close();
    tasks.wait().await;
}

async fn read_udp(socket: &UdpSocket, state: &State) {
    let mut buffer = vec![0; MAX_QUESTION];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, peer)) => {
                let question = buffer.get(..length).unwrap_or_default();
                // Port 0 cannot be answered.
                if let Some(answer) = state.respond(question, peer.ip(), true).filter(|_| peer.port() != 0) {
                    // Who asked is gone, or its way is: nobody waits for that.
                    let _ = socket.send_to(&answer, peer).await;
                }
            }
            // An earlier answer did not arrive: that is no fault of the socket.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                tracing::warn!(%error, "cannot read the DNS port");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        tokio::task::coop::consume_budget().await;
    }
}

/// The connections that are open, at whichever address.
#[derive(Clone, Debug)]
pub(super) struct Open {
    slots: Arc<Semaphore>,
    of_networks: PerAddress,
    of_sites: PerAddress,
}

impl Default for Open {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            of_networks: PerAddress::new(MAX_PER_NETWORK),
            of_sites: PerAddress::new(MAX_PER_SITE),
        }
    }
}

/// Answers questions by TCP until `shutdown`.
pub(super) async fn tcp(listener: TcpListener, open: Open, state: Arc<State>, shutdown: CancellationToken) {
    let Open { slots, of_networks, of_sites } = open;
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the DNS port");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let refused = |reason: &str| state.metrics.tcp_refused.with_label_values(&[reason]).inc();
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            refused("connections");
            continue;
        };
        let network = coarse(IpNet::from(peer.ip().to_canonical()));
        let guards = of_sites.enter(site(network)).zip(of_networks.enter(network.addr()));
        let Some(guards) = guards else {
            refused("network");
            continue;
        };
        let (state, shutdown, slots) = (Arc::clone(&state), shutdown.clone(), Arc::clone(&slots));
        tasks.spawn(async move {
            let serves = async {
                let mut stream = stream;
                if let Ok(reason) = serve(&mut stream, peer, &state, &slots).await {
                    if let Some(reason) = reason {
                        state.metrics.tcp_refused.with_label_values(&[reason]).inc();
                    }
                    leave(stream).await;
                }
            };
            shutdown.run_until_cancelled(serves).await;
            drop((guards, slot));
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// What counts as one beside the network itself.
fn site(network: IpNet) -> IpAddr {
    let bits = if network.addr().is_ipv4() { network.prefix_len() } else { network.prefix_len().min(SITE) };
    IpNet::new(network.addr(), bits).map_or(network, |network| network.trunc()).addr()
}

/// Serves one connection, one question after the other; why it was ended from here, if it was.
async fn serve(
    stream: &mut TcpStream,
    peer: SocketAddr,
    state: &State,
    slots: &Semaphore,
) -> io::Result<Option<&'static str>> {
    stream.set_nodelay(true)?;
    let begun = clock::monotonic();
    for _ in 0..MAX_QUESTIONS {
        let patience = patience(clock::monotonic().saturating_sub(begun), slots.available_permits());
        if patience.is_zero() {
            // Also who has the next question there already.
            return Ok(Some("timeout"));
        }
        let question = match tokio::time::timeout(patience, read_question(stream)).await {
            Err(_) => return Ok(Some("timeout")),
            Ok(question) => question?,
        };
        // What cannot be read is told so, and the next may be better; what gets no answer at all ends the connection.
        let Some(answer) = question.and_then(|question| state.respond(&question, peer.ip(), false)) else {
            return Ok(None);
        };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(None) };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        match tokio::time::timeout(IDLE, stream.write_all(&framed)).await {
            Err(_) => return Ok(Some("timeout")),
            Ok(written) => written?,
        }
    }
    Ok(Some("questions"))
}

/// Ends a connection so that its answers arrive: one that is closed while questions lie unread is reset, and with it goes what is
/// still on its way.
async fn leave(mut stream: TcpStream) {
    let rest = async {
        stream.shutdown().await?;
        let (mut buffer, mut unread) = ([0; 4096], 0);
        while unread < MAX_UNREAD {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => unread += read,
            }
        }
        io::Result::Ok(())
    };
    // Who does not hear to the end was given its time.
    let _ = tokio::time::timeout(LEAVE, rest).await;
}

/// How long the next question of a connection is waited for that is so old, while so many more could be open.
fn patience(age: Duration, free: usize) -> Duration {
    let idle = if free < MAX_CONNECTIONS / 2 { IDLE_WHEN_FULL } else { IDLE };
    idle.min(LIFE.saturating_sub(age))
}

/// The next question; none = the other end has nothing more to say, or too much.
async fn read_question(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > MAX_TCP_QUESTION {
        return Ok(None);
    }
    let mut question = vec![0; length];
    stream.read_exact(&mut question).await?;
    Ok(Some(question))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_a_48_of_ipv6_and_of_ipv4_the_network_itself() {
        let of = |text: &str| site(coarse(text.parse().expect("a network"))).to_string();
        assert_eq!(of("2001:db8:7:ff00::1/128"), "2001:db8:7::");
        assert_eq!(of("192.0.2.7/32"), "192.0.2.0");
    }

    #[test]
    fn a_connection_is_waited_for_less_when_many_are_open_and_never_beyond_its_life() {
        let seconds = Duration::from_secs;
        for (age, free, expected) in [
            (0, MAX_CONNECTIONS, 10),
            (0, MAX_CONNECTIONS / 2, 10),
            (0, MAX_CONNECTIONS / 2 - 1, 2),
            (25, MAX_CONNECTIONS, 5),
            (29, 0, 1),
            (30, MAX_CONNECTIONS, 0),
            (99, MAX_CONNECTIONS, 0),
        ] {
            assert_eq!(patience(seconds(age), free), seconds(expected), "{age} s old, {free} free");
        }
    }
}
