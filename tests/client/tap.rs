//! A wire that can be tapped, cut, made deaf in one direction or both, and lie between two that cannot reach one another.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to the connections that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They are closed.
    Closed,
    /// They stay and pass nothing.
    Silent,
    /// They stay and pass nothing towards whoever listens behind.
    NothingUp,
    /// They stay and pass nothing towards clients.
    NothingDown,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    fault: Option<Fault>,
    /// New connections pass nothing either.
    dark: bool,
}

/// The wire before a listener: notes what passes towards clients.
pub struct Tap {
    pub address: SocketAddr,
    /// Who listens behind.
    pub behind: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
    state: watch::Sender<State>,
    delay_ms: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

impl Tap {
    pub async fn before(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (state, watching) = watch::channel(State::default());
        let (delay_ms, connections) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (noted, delay, count) = (Arc::clone(&seen), Arc::clone(&delay_ms), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (noted, delay, mut watching) = (Arc::clone(&noted), Arc::clone(&delay), watching.clone());
                watching.mark_unchanged();
                tokio::spawn(async move {
                    while watching.borrow_and_update().dark {
                        watching.changed().await.ok();
                    }
                    let Ok(server) = TcpStream::connect(behind).await else { return };
                    pass(client, server, &noted, &delay, &mut watching).await;
                });
            }
        });
        Self { address, behind, seen, state, delay_ms, connections }
    }

    /// What was sent to clients through this wire.
    pub fn seen(&self) -> Vec<u8> {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// How many there were so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// What goes towards clients takes so much longer from now on.
    pub fn delay(&self, ms: u64) {
        self.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// Closes all connections that are there.
    pub fn cut(&self) {
        self.fault(Fault::Closed);
    }

    /// Does something to all connections that are there.
    pub fn fault(&self, fault: Fault) {
        self.state.send_replace(State { fault: Some(fault), dark: false });
    }

    /// Nothing passes, for those that come as well.
    pub fn partition(&self) {
        self.state.send_replace(State { fault: Some(Fault::Silent), dark: true });
    }

    /// Who comes from now on is let through, and what waited is closed: TCP has long given it up.
    pub fn heal(&self) {
        self.cut();
    }
}

async fn pass(
    client: TcpStream,
    server: TcpStream,
    noted: &Mutex<Vec<u8>>,
    delay_ms: &AtomicU64,
    watching: &mut watch::Receiver<State>,
) {
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut up = pin!(tokio::io::copy(&mut from_client, &mut to_server));
    let mut down = pin!(async {
        let mut buffer = vec![0; 65536];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            noted.lock().expect("not poisoned").extend_from_slice(&buffer[..count]);
            let delay = Duration::from_millis(delay_ms.load(Ordering::Relaxed));
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    });
    let mut fault = None;
    loop {
        tokio::select! {
            _ = &mut up, if !matches!(fault, Some(Fault::Silent | Fault::NothingUp)) => return,
            () = &mut down, if !matches!(fault, Some(Fault::Silent | Fault::NothingDown)) => return,
            changed = watching.changed() => {
                fault = watching.borrow_and_update().fault;
                if fault == Some(Fault::Closed) || changed.is_err() {
                    return;
                }
            }
        }
    }
}
