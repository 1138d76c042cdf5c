//! Shared terminals: who sees, and who types.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use convene::client::{Approve, Ending, Screen, Target, Terminal};
use tokio::sync::mpsc;

use crate::scene::{Guest, World};
use crate::world::eventually;

type Shown = Arc<Mutex<Vec<u8>>>;

fn terminal(write: bool) -> Arc<Terminal> {
    Terminal::start(OsStr::new("/bin/sh"), (24, 80), write, |_| {}).expect("a shell")
}

/// A guest that watches; its keys, and what it sees.
fn watch(link: &str) -> (Guest, mpsc::Sender<Vec<u8>>, Shown) {
    let (keys, typed) = mpsc::channel(16);
    let shown = Shown::default();
    let seen = Arc::clone(&shown);
    let screen = Screen::new(move |bytes| seen.lock().expect("not poisoned").extend_from_slice(bytes), typed, false);
    (Guest::with(link, Some(screen), Duration::from_secs(60)), keys, shown)
}

async fn shows(shown: &Shown, what: &str) {
    eventually(what, async || String::from_utf8_lossy(&shown.lock().expect("not poisoned")).contains(what)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_watch_and_do_not_type() {
    let world = World::new(1).await;
    let terminal = terminal(false);
    let host = world.share(Target::Terminal(Arc::clone(&terminal)), Approve::All).await;
    let (guest, keys, shown) = watch(&host.link);
    terminal.keys(b"echo sum $((40 + 2))\n".to_vec()).await;
    shows(&shown, "sum 42").await;
    keys.send(b"echo typed $((50 + 5))\n".to_vec()).await.expect("taken");
    // Later output is there, and nothing of what the guest typed.
    terminal.keys(b"echo later $((60 + 6))\n".to_vec()).await;
    shows(&shown, "later 66").await;
    // Who comes later sees what was before.
    let (second, _keys, recent) = watch(&host.link);
    shows(&recent, "sum 42").await;
    assert!(!String::from_utf8_lossy(&shown.lock().expect("not poisoned")).contains("typed"));
    // Ctrl-C leaves where it cannot be typed.
    keys.send(vec![3]).await.expect("taken");
    assert_eq!(guest.ended().await, Ending::Done("ended".to_owned()));
    // The end of the shell ends all.
    terminal.keys(b"exit\n".to_vec()).await;
    assert_eq!(host.ended().await, Ending::Done("the shared terminal has ended".to_owned()));
    second.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_type_where_they_may() {
    let world = World::new(1).await;
    let host = world.share(Target::Terminal(terminal(true)), Approve::All).await;
    let (guest, keys, shown) = watch(&host.link);
    keys.send(b"echo typed $((50 + 5))\n".to_vec()).await.expect("taken");
    shows(&shown, "typed 55").await;
    // The terminal lives on through another connection.
    world.wires[0].cut();
    keys.send(b"echo again $((60 + 6))\n".to_vec()).await.expect("taken");
    shows(&shown, "again 66").await;
    keys.send(vec![0x1d]).await.expect("taken");
    assert_eq!(guest.ended().await, Ending::Done("ended".to_owned()));
    host.stop().await;
}
