//! Databases are read one at a time, and none for which there is no memory: a process that is killed for it serves nobody,
//! and would read the same one when it is started again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory that is left to all else, in bytes.
const ELSE: u64 = 32 * 1024 * 1024;
/// Where a container finds how much memory it may have: version 2 of control groups, and version 1.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// Who reads waits for the one that is being read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    alone: Arc<Mutex<()>>,
    /// Bytes of memory that the process may have, where there is a limit; it may be raised while the process runs.
    limit: fn() -> Option<u64>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { alone: Arc::default(), limit: limit_of_container }
    }
}

impl Reading {
    /// Begins to read a file of so many bytes. The database that it replaces stays in memory until the new one is known to be
    /// good. Says why it is too large for this process.
    pub(super) fn begin(&self, bytes: u64) -> Result<MutexGuard<'_, ()>, String> {
        let alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| taken(&status));
        match left((self.limit)(), taken) {
            Some(left) if bytes > left => Err(format!(
                "it has {bytes} bytes, and of the memory that this process may have {left} are left for it beside what serves: raise the limit"
            )),
            _ => Ok(alone),
        }
    }
}

fn limit_of_container() -> Option<u64> {
    LIMITS.into_iter().find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// Bytes that a database may have where a process may take `limit`, and has `taken` so many; nothing where that is not known.
fn left(limit: Option<u64>, taken: Option<u64>) -> Option<u64> {
    Some(limit?.saturating_sub(taken?).saturating_sub(ELSE))
}

/// Bytes of its own that a process has in memory, as Linux tells (`RssAnon` in proc(5)); what it has of files can be dropped.
fn taken(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_a_container_may_have_without_what_it_has() {
        const MIB: u64 = 1024 * 1024;
        let status = "Name:\tconvene\nVmRSS:\t  204800 kB\nRssAnon:\t  102400 kB\nRssFile:\t  102400 kB\n";
        assert_eq!(taken(status), Some(100 * MIB));
        assert_eq!(left(Some(512 * MIB), taken(status)), Some(380 * MIB));
        assert_eq!(left(Some(64 * MIB), taken(status)), Some(0));
        assert_eq!(left(None, taken(status)), None, "no limit: nobody is refused");
        assert_eq!(left(Some(64 * MIB), taken("Name: other")), None);
        // As this machine tells it.
        assert!(taken(&std::fs::read_to_string("/proc/self/status").expect("Linux")).is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn what_there_is_no_memory_for_is_refused_before_it_is_read() {
        let small = Reading { limit: || Some(1), ..Reading::default() };
        let why = small.begin(1024).map(drop).expect_err("there is no memory");
        assert!(
            why.starts_with("it has 1024 bytes")
                && why.ends_with("0 are left for it beside what serves: raise the limit"),
            "{why}"
        );
        let large = Reading { limit: || Some(u64::MAX), ..Reading::default() };
        assert!(large.begin(1024).is_ok());
        assert!(large.begin(1024).is_ok(), "the first has ended");
    }
}
