//! The limit of open files: each connection is one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. Container runtimes that leave it to systemd give 1,024, for programs that
/// cannot handle more; a relay would take no more connections than that. Not for processes that start other programs.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let mut raised = limit;
    raised.current = limit.maximum;
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::debug!(before = limit.current, now = limit.maximum, "raised the limit of open files"),
        // It serves as many as it can.
        Err(error) => tracing::warn!(%error, limit = limit.current, "cannot raise the limit of open files"),
    }
}
