//! An operator that can be killed and frozen: it has a thread and a runtime of its own.

use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use convene::operator::{self, Args};
use kube::Config;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Name of the threads, by which panics are known.
const THREAD: &str = "faulty-operator";

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Counts panics of operators from now on; their own runtimes would swallow them.
pub(crate) fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some(THREAD) {
            PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
        }
        before(panic);
    }));
}

/// Fails if an operator has panicked.
pub(crate) fn assert_no_panic() {
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(panics.is_empty(), "an operator panicked: {panics:?}");
}

/// An operator as a process would be: what it does ends with it, and only it stands still when it is frozen.
pub(crate) struct Operator {
    killed: CancellationToken,
    runtime: Handle,
    thread: Option<JoinHandle<()>>,
}

/// A frozen operator goes on when this is dropped.
pub(crate) struct Frozen {
    _thaw: mpsc::Sender<()>,
}

impl Operator {
    /// Starts one. When it ends by itself it is started again after a second, as the kubelet would.
    pub(crate) fn start(config: Config, args: Args) -> Self {
        let killed = CancellationToken::new();
        let (sender, receiver) = mpsc::channel();
        let ended = killed.clone();
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            // One thread, so that freezing it freezes all of the operator.
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let _ = sender.send(runtime.handle().clone());
            runtime.block_on(ended.run_until_cancelled(async {
                loop {
                    let stop = CancellationToken::new();
                    // Whatever it has spawned ends with it.
                    let _guard = stop.clone().drop_guard();
                    let _ = operator::run_with(config.clone(), args.clone(), stop).await;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }));
            runtime.shutdown_background();
        });
        let runtime = receiver.recv().expect("the thread starts");
        Self { killed, runtime, thread: Some(thread.expect("a thread")) }
    }

    /// Ends it wherever it is. Close its door first: then nothing that it has sent gets through either.
    pub(crate) async fn kill(&mut self) {
        self.killed.cancel();
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            joined.await.expect("no panic here").expect("the operator's thread ends without a panic");
        }
    }

    /// Stops it wherever it is, as SIGSTOP does: its connections stay, and its clock goes on.
    pub(crate) fn freeze(&self) -> Frozen {
        let (thaw, thawed) = mpsc::channel::<()>();
        let (sender, stopped) = mpsc::channel();
        self.runtime.spawn(async move {
            let _ = sender.send(());
            // Blocks the only thread of its runtime; an error means that the other end was dropped.
            let _ = thawed.recv();
        });
        stopped.recv().expect("the operator runs");
        Frozen { _thaw: thaw }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // A case that failed leaves it behind.
        self.killed.cancel();
    }
}
