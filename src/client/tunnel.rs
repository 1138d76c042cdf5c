//! A tunnel in this process: the state machine of [`crate::decide::mux`], and who waits for what in it. Local connections
//! are read only while there is room and written only with what has come.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::decide::mux::{Broken, Event, Frame, MAX_DATA, Mux, Next, Side, Why};
use crate::wire::tunnel::Resume;

/// Bytes that a local connection gets at a time.
const PIECE: usize = 64 * 1024;

/// One tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    state: Mutex<State>,
    /// Woken when there may be something to send.
    wake: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    mux: Mux,
    waiting: HashMap<u32, Arc<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    readable: Notify,
    room: Notify,
    gone: CancellationToken,
}

/// One stream of a tunnel. A handle that is dropped before both directions have ended breaks it off.
#[derive(Debug)]
pub(super) struct Handle {
    tunnel: Arc<Tunnel>,
    id: u32,
    waiting: Arc<Waiting>,
    ended: AtomicBool,
}

/// The stream was broken off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone;

impl Tunnel {
    /// A tunnel that wakes whoever sends for it.
    pub(super) fn new(side: Side, wake: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { mux: Mux::new(side), waiting: HashMap::new() }), wake })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far this side has come.
    pub(super) fn resume(&self) -> Resume {
        self.lock().mux.resume()
    }

    /// A new connection.
    pub(super) fn attach(&self, peer: &Resume, queue_bytes: usize) -> Result<(), Broken> {
        let mut state = self.lock();
        let events = state.mux.attach(peer, queue_bytes)?;
        state.tell(&events);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// The connection is gone.
    pub(super) fn detach(&self) {
        self.lock().mux.detach();
    }

    /// Takes a frame; gives the streams that it opened and those that the other side could not serve.
    pub(super) fn hear(self: &Arc<Self>, frame: Frame, size: usize) -> Result<Vec<Heard>, Broken> {
        let mut state = self.lock();
        let events = state.mux.hear(frame, size)?;
        state.tell(&events);
        let heard = events.iter().filter_map(|event| match event {
            Event::Opened(id) => Some(Heard::Opened(self.handle(&mut state, *id))),
            Event::Gone(_, Why::Unreachable) => Some(Heard::Unreachable),
            Event::Readable(_) | Event::Room(_) | Event::Gone(..) => None,
        });
        let heard = heard.collect();
        drop(state);
        // There may be something to acknowledge.
        self.wake.notify_one();
        Ok(heard)
    }

    /// Appends what is to be sent.
    pub(super) fn fill(&self, out: &mut Vec<u8>, most: usize) {
        self.lock().mux.fill(out, most);
    }

    /// Sends a message of the session itself.
    pub(super) fn control(&self, json: Vec<u8>) {
        self.lock().mux.control(json);
        self.wake.notify_one();
    }

    /// Asks the other end for a sign of life.
    pub(super) fn ping(&self) {
        self.lock().mux.ping();
        self.wake.notify_one();
    }

    /// Opens a stream, if there are not too many.
    pub(super) fn open(self: &Arc<Self>) -> Option<Handle> {
        let mut state = self.lock();
        let id = state.mux.open()?;
        let handle = self.handle(&mut state, id);
        drop(state);
        self.wake.notify_one();
        Some(handle)
    }

    fn handle(self: &Arc<Self>, state: &mut State, id: u32) -> Handle {
        let waiting = Arc::new(Waiting::default());
        state.waiting.insert(id, Arc::clone(&waiting));
        Handle { tunnel: Arc::clone(self), id, waiting, ended: AtomicBool::new(false) }
    }

    /// Streams that are not over.
    pub(super) fn streams(&self) -> usize {
        self.lock().mux.streams()
    }

    /// Ends all streams: the tunnel is given up.
    pub(super) fn give_up(&self) {
        for waiting in self.lock().waiting.values() {
            waiting.gone.cancel();
        }
    }
}

/// What a frame brought that somebody has to see to.
#[derive(Debug)]
pub(super) enum Heard {
    /// A stream was opened.
    Opened(Handle),
    /// The host could not reach what it shares.
    Unreachable,
}

impl State {
    fn tell(&self, events: &[Event]) {
        for event in events {
            match event {
                Event::Readable(id) => self.waiting.get(id).iter().for_each(|waiting| waiting.readable.notify_one()),
                Event::Room(id) => self.waiting.get(id).iter().for_each(|waiting| waiting.room.notify_one()),
                Event::Gone(id, _) => self.waiting.get(id).iter().for_each(|waiting| waiting.gone.cancel()),
                Event::Opened(_) => {}
            }
        }
    }
}

impl Handle {
    /// Waits until there is room; gives how much.
    pub(super) async fn room(&self) -> Result<usize, Gone> {
        loop {
            match self.tunnel.lock().mux.room(self.id) {
                None => return Err(Gone),
                Some(0) => {}
                Some(room) => return Ok(room),
            }
            self.waiting.room.notified().await;
        }
    }

    /// Sends bytes, no more than there is room for.
    pub(super) fn push(&self, bytes: &[u8]) {
        self.tunnel.lock().mux.push(self.id, bytes);
        self.tunnel.wake.notify_one();
    }

    /// Sends bytes if there is room for all of them now.
    pub(super) fn try_push(&self, bytes: &[u8]) -> Result<(), Gone> {
        let mut state = self.tunnel.lock();
        for piece in bytes.chunks(MAX_DATA) {
            if state.mux.room(self.id).is_none_or(|room| room < piece.len()) {
                return Err(Gone);
            }
            state.mux.push(self.id, piece);
        }
        drop(state);
        self.tunnel.wake.notify_one();
        Ok(())
    }

    /// Sends the end.
    pub(super) fn finish(&self) {
        self.tunnel.lock().mux.finish(self.id);
        self.tunnel.wake.notify_one();
    }

    /// Waits for what comes; none = the end.
    pub(super) async fn next(&self) -> Result<Option<Vec<u8>>, Gone> {
        loop {
            match self.tunnel.lock().mux.next(self.id, PIECE) {
                None => return Err(Gone),
                Some(Next::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Next::End) => return Ok(None),
                Some(Next::Wait) => {}
            }
            self.waiting.readable.notified().await;
        }
    }

    /// So much of what came was given on; the end counts as one.
    pub(super) fn took(&self, bytes: usize) {
        self.tunnel.lock().mux.took(self.id, bytes);
        self.tunnel.wake.notify_one();
    }

    /// Cancelled when the stream is broken off.
    pub(super) fn gone(&self) -> &CancellationToken {
        &self.waiting.gone
    }

    /// Breaks the stream off.
    pub(super) fn reset(self, why: Why) {
        self.ended.store(true, Ordering::Relaxed);
        self.tunnel.lock().mux.reset(self.id, why);
        self.tunnel.wake.notify_one();
    }

    /// Both directions have ended in order; the tunnel sees to the rest.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.tunnel.lock();
        state.waiting.remove(&self.id);
        if !self.ended.load(Ordering::Relaxed) {
            state.mux.reset(self.id, Why::Broken);
        }
        drop(state);
        self.tunnel.wake.notify_one();
    }
}

/// Carries a local connection through a stream until both directions have ended.
pub(super) async fn pump(mut socket: TcpStream, handle: Handle) {
    socket.set_nodelay(true).ok();
    let (mut from, mut to) = socket.split();
    let outwards = async {
        let mut buffer = vec![0; MAX_DATA];
        loop {
            let room = handle.room().await.map_err(|Gone| io::ErrorKind::ConnectionReset)?;
            let count = from.read(&mut buffer[..room.min(MAX_DATA)]).await?;
            if count == 0 {
                handle.finish();
                return io::Result::Ok(());
            }
            handle.push(&buffer[..count]);
        }
    };
    let inwards = async {
        while let Some(bytes) = handle.next().await.map_err(|Gone| io::ErrorKind::ConnectionReset)? {
            to.write_all(&bytes).await?;
            handle.took(bytes.len());
        }
        to.shutdown().await?;
        handle.took(1);
        io::Result::Ok(())
    };
    let ended = tokio::select! {
        ended = async { tokio::try_join!(outwards, inwards) } => ended.is_ok(),
        () = handle.gone().cancelled() => false,
    };
    if ended {
        handle.end();
    } else {
        // The program at this end must not take a part for the whole.
        socket.set_zero_linger().ok();
        drop(socket);
        handle.reset(Why::Broken);
    }
}
