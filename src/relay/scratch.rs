//! One buffer for each thread, into which its connections read in turn: an idle connection holds none.

use std::cell::RefCell;

use tokio::io::ReadBuf;

/// Bytes that are read at a time.
const BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BYTES]);
}

/// Lends the thread's buffer, empty.
pub(super) fn with<T>(read: impl FnOnce(&mut ReadBuf<'_>) -> T) -> T {
    SCRATCH.with_borrow_mut(|bytes| read(&mut ReadBuf::new(bytes)))
}
