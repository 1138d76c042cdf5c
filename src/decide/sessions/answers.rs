//! Answers under idempotency keys: a repeated request gets the same answer, for a short time with the same secrets.
//!
//! Keys and requests are given as hashes. An answer holds secrets in the clear, so it is kept briefly; its key longer, so
//! that a late repeat is told apart from a new request instead of making a second session.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::wire::session::SessionCreated;

/// What is known under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Recall {
    /// Nothing, or its session has ended.
    New,
    /// The same request was answered so.
    Same(Box<SessionCreated>),
    /// The same request was answered, too long ago to repeat the answer.
    Gone,
    /// Another request.
    Mismatch,
}

#[derive(Clone, Debug)]
struct Entry {
    request: String,
    session: String,
    answer: Option<Box<SessionCreated>>,
    answered: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Answers {
    most: usize,
    key_life: Duration,
    answer_life: Duration,
    entries: HashMap<String, Entry>,
    /// By age; may hold keys that were answered anew since.
    ages: VecDeque<(Duration, String)>,
    /// The same for answers that still hold their secrets.
    fresh: VecDeque<(Duration, String)>,
}

impl Answers {
    pub(super) fn new(most: usize, key_life: Duration, answer_life: Duration) -> Self {
        let (entries, ages, fresh) = (HashMap::new(), VecDeque::new(), VecDeque::new());
        Self { most, key_life, answer_life, entries, ages, fresh }
    }

    pub(super) fn recall(&self, key: &str, request: &str, now: Duration, lives: impl Fn(&str) -> bool) -> Recall {
        let Some(entry) = self.entries.get(key) else { return Recall::New };
        let age = now.saturating_sub(entry.answered);
        if age >= self.key_life || !lives(&entry.session) {
            return Recall::New;
        }
        if entry.request != request {
            return Recall::Mismatch;
        }
        match &entry.answer {
            Some(answer) if age < self.answer_life => Recall::Same(answer.clone()),
            Some(_) | None => Recall::Gone,
        }
    }

    pub(super) fn remember(&mut self, key: String, request: String, answer: SessionCreated, now: Duration) {
        let session = answer.session.id.clone();
        let entry = Entry { request, session, answer: Some(Box::new(answer)), answered: now };
        self.entries.insert(key.clone(), entry);
        self.ages.push_back((now, key.clone()));
        self.fresh.push_back((now, key));
        while self.ages.len() > self.most {
            self.forget_oldest();
        }
    }

    pub(super) fn sweep(&mut self, now: Duration) {
        while let Some((answered, _)) = self.ages.front()
            && now.saturating_sub(*answered) >= self.key_life
        {
            self.forget_oldest();
        }
        while let Some((answered, key)) = self.fresh.front()
            && now.saturating_sub(*answered) >= self.answer_life
        {
            if let Some(entry) = self.entries.get_mut(key)
                && entry.answered == *answered
            {
                entry.answer = None;
            }
            self.fresh.pop_front();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((answered, key)) = self.ages.pop_front()
            && self.entries.get(&key).is_some_and(|entry| entry.answered == answered)
        {
            self.entries.remove(&key);
        }
        while self.fresh.len() > self.ages.len() {
            self.fresh.pop_front();
        }
    }
}
