//! Which token ids were seen: each is taken once. Bounded; an entry goes when its token could no longer be used.

use std::collections::{BTreeSet, HashSet};

/// Seconds that an id is kept beyond the token's end, so that a wall clock set back a little opens no gap.
const KEEP_SECONDS: i64 = 60;

/// Ids of the tokens that were taken.
#[derive(Clone, Debug)]
pub struct Seen {
    most: usize,
    ids: HashSet<String>,
    by_end: BTreeSet<(i64, String)>,
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
        Self { most, ids: HashSet::new(), by_end: BTreeSet::new() }
    }

    /// Looks an id up without remembering it. `now` is in seconds since 1970.
    pub fn look(&mut self, id: &str, now: i64) -> Sight {
        self.forget(now);
        match (self.ids.contains(id), self.ids.len() >= self.most) {
            (true, _) => Sight::Again,
            (false, true) => Sight::NoRoom,
            (false, false) => Sight::First,
        }
    }

    /// Remembers the id of a token that expires at `exp`. The caller has just looked it up.
    pub fn remember(&mut self, id: &str, exp: i64) {
        if self.ids.insert(id.to_owned()) {
            self.by_end.insert((exp.saturating_add(KEEP_SECONDS), id.to_owned()));
        }
    }

    fn forget(&mut self, now: i64) {
        while self.by_end.first().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, id)) = self.by_end.pop_first() {
                self.ids.remove(&id);
            }
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
        assert_eq!(seen.look("a", 60 + KEEP_SECONDS), Sight::First);
        assert!(seen.ids.is_empty() && seen.by_end.is_empty());
    }

    #[test]
    fn a_full_memory_refuses_rather_than_forgets() {
        let mut seen = Seen::new(2);
        seen.remember("a", 60);
        seen.remember("b", 60);
        assert_eq!(seen.look("c", 10), Sight::NoRoom);
        assert_eq!(seen.look("a", 10), Sight::Again);
        assert_eq!(seen.look("c", 120), Sight::First);
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
                prop_assert!(seen.ids.len() <= 4 && seen.ids.len() == seen.by_end.len());
            }
        }
    }
}
