//! Seats that this process has asked the store for and has not been told of yet: what the store's view cannot know.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::decide::sessions::Asked;

/// The count, by UID of the Pod.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<Asked>);

impl Asking {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands now.
    pub(super) fn now(&self) -> Asked {
        self.lock().clone()
    }

    /// One more, until what is returned is dropped: when the store has answered, or nobody waits for it any longer.
    pub(super) fn ask(&self, pod_uid: &str) -> Seat<'_> {
        *self.lock().entry(pod_uid.to_owned()).or_default() += 1;
        Seat { asking: self, pod_uid: pod_uid.to_owned() }
    }
}

/// A seat that was asked for.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    asking: &'a Asking,
    pod_uid: String,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut asked = self.asking.lock();
        if let Some(count) = asked.get_mut(&self.pod_uid) {
            *count -= 1;
            if *count == 0 {
                asked.remove(&self.pod_uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_counts_until_it_is_dropped() {
        let asking = Asking::default();
        let (one, two, other) = (asking.ask("a"), asking.ask("a"), asking.ask("b"));
        assert_eq!(asking.now(), Asked::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
        drop((one, other));
        assert_eq!(asking.now(), Asked::from([("a".to_owned(), 1)]));
        drop(two);
        assert_eq!(asking.now(), Asked::new());
    }
}
