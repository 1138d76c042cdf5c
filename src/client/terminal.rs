//! Shared terminals: a program in a pseudo-terminal of the host, shown to guests; and a guest's own terminal that shows
//! it. Whether guests can type is decided at the host, where it counts.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::tunnel::{Gone, Handle, Tunnel};

/// Output that a guest sees who comes later, in bytes.
const REMEMBERED: usize = 64 * 1024;
/// Bytes that are read from the terminal at a time.
const PIECE: usize = 4096;
/// Keys that may wait for the program.
const KEYS_AHEAD: usize = 64;
/// Ctrl-]: the guest leaves.
const LEAVE: u8 = 0x1d;
/// Ctrl-C: leaves as well where the guest cannot type.
const INTERRUPT: u8 = 0x03;

/// A program in a terminal that guests see.
#[derive(Debug)]
pub struct Terminal {
    shown: Mutex<Shown>,
    input: mpsc::Sender<Input>,
    guests_write: bool,
    ended: CancellationToken,
}

#[derive(Debug)]
struct Shown {
    recent: VecDeque<u8>,
    viewers: Vec<Arc<Handle>>,
    size: (u16, u16),
}

#[derive(Debug)]
enum Input {
    Keys(Vec<u8>),
    Size(u16, u16),
}

impl Terminal {
    /// Starts `program` in a new terminal of `size` (rows, columns); `output` gets what it writes.
    pub fn start(
        program: &OsStr,
        size: (u16, u16),
        guests_write: bool,
        output: impl Fn(&[u8]) + Send + 'static,
    ) -> anyhow::Result<Arc<Self>> {
        let (pty, pts) = pty_process::open().context("open a terminal")?;
        pty.resize(pty_process::Size::new(size.0, size.1)).context("size the terminal")?;
        let started = pty_process::Command::new(program).kill_on_drop(true).spawn(pts);
        let mut child = started.with_context(|| format!("start {}", program.display()))?;
        let (mut from, mut to) = pty.into_split();
        let (input, mut inputs) = mpsc::channel(KEYS_AHEAD);
        let shown = Mutex::new(Shown { recent: VecDeque::new(), viewers: Vec::new(), size });
        let terminal = Arc::new(Self { shown, input, guests_write, ended: CancellationToken::new() });
        let reading = Arc::clone(&terminal);
        tokio::spawn(async move {
            let mut buffer = vec![0; PIECE];
            // The end of the program is an error here.
            while let Ok(count @ 1..) = from.read(&mut buffer).await {
                output(&buffer[..count]);
                reading.lock().show(&buffer[..count]);
            }
            if let Err(error) = child.wait().await {
                tracing::debug!(%error, "the shared program cannot be waited for");
            }
            for viewer in &reading.lock().viewers {
                viewer.finish();
            }
            reading.ended.cancel();
        });
        let ended = terminal.ended.clone();
        tokio::spawn(async move {
            while let Some(Some(input)) = ended.run_until_cancelled(inputs.recv()).await {
                let done = match input {
                    Input::Keys(keys) => to.write_all(&keys).await.is_ok(),
                    Input::Size(rows, columns) => to.resize(pty_process::Size::new(rows, columns)).is_ok(),
                };
                if !done {
                    return;
                }
            }
        });
        Ok(terminal)
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what guests type reaches the program.
    pub const fn guests_write(&self) -> bool {
        self.guests_write
    }

    /// Rows and columns.
    pub fn size(&self) -> (u16, u16) {
        self.lock().size
    }

    /// Waits until the program has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// The host types.
    pub async fn keys(&self, keys: Vec<u8>) {
        self.input.send(Input::Keys(keys)).await.ok();
    }

    /// The host's window has changed.
    pub async fn resize(&self, rows: u16, columns: u16) {
        self.lock().size = (rows, columns);
        self.input.send(Input::Size(rows, columns)).await.ok();
    }

    /// Shows the terminal to a guest until either ends.
    pub(super) async fn show(&self, handle: Handle) {
        let handle = Arc::new(handle);
        self.lock().add(&handle);
        if self.ended.is_cancelled() {
            handle.finish();
        }
        let typing = async {
            while let Some(keys) = handle.next().await? {
                handle.took(keys.len());
                if self.guests_write {
                    self.keys(keys).await;
                }
            }
            handle.took(1);
            Ok::<(), Gone>(())
        };
        let left = tokio::select! {
            left = typing => left.is_ok(),
            () = handle.gone().cancelled() => false,
        };
        if left {
            handle.finish();
            handle.end();
        }
        self.lock().viewers.retain(|viewer| !Arc::ptr_eq(viewer, &handle));
    }
}

impl Shown {
    fn show(&mut self, output: &[u8]) {
        self.recent.extend(output);
        let beyond = self.recent.len().saturating_sub(REMEMBERED);
        self.recent.drain(..beyond);
        // A guest that is too slow would hold up the host: it is cut off, comes again, and sees the recent output.
        self.viewers.retain(|viewer| {
            let fits = viewer.try_push(output).is_ok();
            if !fits {
                viewer.gone().cancel();
            }
            fits
        });
    }

    fn add(&mut self, viewer: &Arc<Handle>) {
        let recent: Vec<u8> = self.recent.iter().copied().collect();
        if viewer.try_push(&recent).is_ok() {
            self.viewers.push(Arc::clone(viewer));
        } else {
            viewer.gone().cancel();
        }
    }
}

type Output = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// A guest's own terminal.
#[derive(Clone)]
pub struct Screen {
    output: Output,
    keys: Arc<tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>>,
    raw: bool,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Screen")
    }
}

impl Screen {
    /// Writes with `output`, takes keys from `keys`; `raw` = standard input is a terminal whose keys are to come one by one.
    pub fn new(output: impl Fn(&[u8]) + Send + Sync + 'static, keys: mpsc::Receiver<Vec<u8>>, raw: bool) -> Self {
        Self { output: Arc::new(output), keys: Arc::new(tokio::sync::Mutex::new(keys)), raw }
    }

    /// Shows the shared terminal until it or the guest ends.
    pub(super) async fn run(&self, tunnel: &Arc<Tunnel>, write: bool) {
        let raw = self.raw.then(RawMode::enter).transpose();
        if let Err(error) = &raw {
            tracing::warn!(%error, "keys come line by line");
        }
        let mut keys = self.keys.lock().await;
        while let Some(handle) = tunnel.open() {
            tokio::select! {
                shown = self.show(&handle) => if shown.is_ok() {
                    handle.finish();
                    handle.end();
                    return;
                },
                () = type_into(&handle, &mut keys, write) => return,
                () = handle.gone().cancelled() => {}
            }
            // Too slow, and cut off: what is shown next begins with the recent output.
            (self.output)(b"\r\n[convene: too slow; some output was left out]\r\n");
        }
    }

    async fn show(&self, handle: &Handle) -> Result<(), Gone> {
        while let Some(bytes) = handle.next().await? {
            (self.output)(&bytes);
            handle.took(bytes.len());
        }
        handle.took(1);
        Ok(())
    }
}

/// Gives keys on until the guest leaves.
async fn type_into(handle: &Handle, keys: &mut mpsc::Receiver<Vec<u8>>, write: bool) {
    while let Some(typed) = keys.recv().await {
        let leaves = |key: &u8| *key == LEAVE || (!write && *key == INTERRUPT);
        let end = typed.iter().position(leaves);
        let mut rest = &typed[..end.unwrap_or(typed.len())];
        while write && !rest.is_empty() {
            let Ok(room) = handle.room().await else { break };
            let (now, later) = rest.split_at(room.min(rest.len()));
            handle.push(now);
            rest = later;
        }
        if end.is_some() {
            return;
        }
    }
    // No more keys: goes on watching.
    std::future::pending::<()>().await;
}

/// Keys come one by one, as they are, until this is dropped.
#[derive(Debug)]
pub(super) struct RawMode(rustix::termios::Termios);

impl RawMode {
    pub(super) fn enter() -> std::io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdin, rustix::termios::OptionalActions::Flush, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let stdin = rustix::stdio::stdin();
        rustix::termios::tcsetattr(stdin, rustix::termios::OptionalActions::Flush, &self.0).ok();
    }
}

/// Rows and columns of this process's own terminal.
pub(super) fn window() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}
