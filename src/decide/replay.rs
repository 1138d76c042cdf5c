//! Which token ids were seen: each is taken once. Bounded; an id is forgotten when its token could no longer be used.
//!
//! Of an id, 64 bits of a hash with a random key are kept, in a set for each span of time in which tokens end. So one
//! takes some 16 bytes, and whole sets go at once. Two ids share a hash once in 10^13 with a million remembered; the
//! second is then refused, and its bearer asks for another token.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

/// Seconds that an id is kept beyond the token's end, so that a wall clock set back a little opens no gap.
const KEEP_SECONDS: i64 = 60;
/// Seconds of tokens' ends in one set.
const SPAN_SECONDS: i64 = 8;

/// Ids of the tokens that were taken.
#[derive(Clone, Debug)]
pub struct Seen {
    most: usize,
    keys: RandomState,
    count: usize,
    /// By the second from which on the set is not needed.
    by_end: BTreeMap<i64, HashSet<u64>>,
}

/// What is known about a token id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Not seen; now it is.
    First,
    /// Seen before.
    Again,
    /// Not seen, but there is no room to remember it: taking the token would allow it twice.
    NoRoom,
}

impl Seen {
    /// Remembers at most `most` ids at a time.
    pub fn new(most: usize) -> Self {
        Self { most, keys: RandomState::new(), count: 0, by_end: BTreeMap::new() }
    }

    /// Looks an id up without remembering it. `now` is in seconds since 1970.
    pub fn look(&mut self, id: &str, now: i64) -> Sight {
        self.forget(now);
        let id = self.keys.hash_one(id);
        if self.by_end.values().any(|ids| ids.contains(&id)) {
            Sight::Again
        } else if self.count >= self.most {
            Sight::NoRoom
        } else {
            Sight::First
        }
    }

    /// Remembers the id of a token that expires at `exp`. The caller has just looked it up.
    pub fn remember(&mut self, id: &str, exp: i64) {
        let end = exp.saturating_add(KEEP_SECONDS);
        let span = end.saturating_add((SPAN_SECONDS - end.rem_euclid(SPAN_SECONDS)) % SPAN_SECONDS);
        if self.by_end.entry(span).or_default().insert(self.keys.hash_one(id)) {
            self.count += 1;
        }
    }

    fn forget(&mut self, now: i64) {
        while let Some(span) = self.by_end.first_entry().filter(|span| *span.key() <= now) {
            self.count -= span.remove().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_first_once_and_forgotten_after_its_token() {
        let mut seen = Seen::new(2);
        assert_eq!(seen.look("a", 0), Sight::First);
        assert_eq!(seen.look("a", 0), Sight::First, "looking does not remember");
        seen.remember("a", 60);
        assert_eq!(seen.look("a", 60 + KEEP_SECONDS - 1), Sight::Again);
        assert_eq!(seen.look("a", 60 + KEEP_SECONDS + SPAN_SECONDS), Sight::First);
        assert!(seen.by_end.is_empty() && seen.count == 0);
    }

    #[test]
    fn a_full_memory_refuses_rather_than_forgets() {
        let mut seen = Seen::new(2);
        seen.remember("a", 60);
        seen.remember("b", 60);
        assert_eq!(seen.look("c", 10), Sight::NoRoom);
        assert_eq!(seen.look("a", 10), Sight::Again);
        assert_eq!(seen.look("c", 120 + SPAN_SECONDS), Sight::First);
    }

    #[test]
    fn thousands_of_joins_a_second_are_remembered_for_as_long_as_their_tokens_live() {
        // A hundredth of it, for five minutes: what is kept stays at what tokens of the last two minutes need.
        let mut seen = Seen::new(60 * 20 + 68 * 20);
        for second in 0..300 {
            for number in 0..20 {
                let id = format!("{second}-{number}");
                assert_eq!(seen.look(&id, second), Sight::First);
                seen.remember(&id, second + 60);
            }
        }
        assert_eq!(seen.look("250-7", 299), Sight::Again);
        assert_eq!(seen.look("200-19", 299), Sight::Again);
    }

    proptest! {
        #[test]
        fn no_token_is_taken_twice_while_it_lives(steps in prop::collection::vec((0_u8..6, 0_i64..20), 1..200)) {
            let (mut seen, mut now) = (Seen::new(4), 0);
            let mut taken: Vec<(String, i64)> = Vec::new();
            for (id, pause) in steps {
                now += pause;
                let id = id.to_string();
                if seen.look(&id, now) == Sight::First {
                    prop_assert!(!taken.iter().any(|(other, exp)| *other == id && now < *exp));
                    seen.remember(&id, now + 60);
                    taken.push((id, now + 60));
                }
                let kept: usize = seen.by_end.values().map(HashSet::len).sum();
                prop_assert!(seen.count <= 4 && seen.count == kept);
            }
        }
    }
}
