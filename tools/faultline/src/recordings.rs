//! Answers to reads as they were, for [`crate::Fault::Replay`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::answer::Whole;

/// The last answer to each read while recording was on.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    on: AtomicBool,
    answers: Mutex<HashMap<String, Whole>>,
}

impl Recordings {
    pub(crate) fn set(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    pub(crate) fn keep(&self, path: &str, query: &str, answer: &Whole) {
        if self.on.load(Ordering::Relaxed) && answer.status.is_success() {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.insert(key(path, query), answer.clone());
        }
    }

    pub(crate) fn find(&self, path: &str, query: &str) -> Option<Whole> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&key(path, query)).cloned()
    }
}

/// What is asked for, not how old it may be or in how many pieces.
fn key(path: &str, query: &str) -> String {
    let selects = |part: &&str| part.starts_with("labelSelector=") || part.starts_with("fieldSelector=");
    let selectors: Vec<&str> = query.split('&').filter(selects).collect();
    format!("{path}?{}", selectors.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_while_recording_is_kept_for_what_is_asked_for() {
        let recordings = Recordings::default();
        let answer = |text: &'static str| Whole { body: text.into(), ..Whole::made_up(200, None, "") };
        recordings.keep("/a", "", &answer("not recorded"));
        recordings.set(true);
        recordings.keep("/a", "limit=500&labelSelector=x", &answer("first"));
        recordings.keep("/a", "labelSelector=x&resourceVersion=0", &answer("second"));
        recordings.keep("/a", "labelSelector=x", &Whole::made_up(500, None, ""));
        recordings.set(false);
        recordings.keep("/a", "labelSelector=x", &answer("third"));
        let found = recordings.find("/a", "labelSelector=x").expect("recorded");
        assert_eq!(found.body, "second");
        assert!(recordings.find("/a", "").is_none());
    }
}
