//! Who is in the sessions of one relay, as its lobby is told: how many came, how many were sent away. A lobby can tell by
//! that who did not come back ([`super::cuts`]). Counts only; knows no seats and no rooms.

use std::collections::{BTreeMap, HashMap};

use crate::wire::link::Presence as News;

/// Sessions of which there is something to tell at most: without a link nobody takes it.
const MAX_NEWS: usize = 65_536;

/// The participants of a relay's sessions.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    sessions: HashMap<String, Count>,
    news: BTreeMap<String, News>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    epoch: u64,
    present: u32,
    joined: u32,
}

impl Presence {
    /// A participant has come.
    pub fn joined(&mut self, session: &str, epoch: u64) {
        let count = self.sessions.entry(session.to_owned()).or_default();
        count.epoch = count.epoch.max(epoch);
        count.present += 1;
        count.joined += 1;
        let count = *count;
        self.note(session, count, 0);
    }

    /// A participant has left, or its connection was lost.
    pub fn left(&mut self, session: &str) {
        let Some(count) = self.sessions.get_mut(session).filter(|count| count.present > 0) else { return };
        count.present -= 1;
        let count = *count;
        self.note(session, count, 0);
    }

    /// A session is not held any more. Its participants, if it has any, have been sent away, unless it is over for good.
    pub fn ended(&mut self, session: &str, is_over: bool) {
        let Some(count) = self.sessions.remove(session).filter(|count| count.present > 0) else { return };
        let sent = if is_over { 0 } else { count.present };
        self.note(session, Count { present: 0, ..count }, sent);
    }

    /// All participants have been sent away. Their sessions have not ended.
    pub fn all_sent(&mut self) {
        let sessions: Vec<String> = self.sessions.keys().cloned().collect();
        for session in sessions {
            self.ended(&session, false);
        }
    }

    /// A new link is told of all that there is, and of nothing from before.
    pub fn tell_all(&mut self) {
        self.news.clear();
        let counts: Vec<(String, Count)> =
            self.sessions.iter().map(|(session, count)| (session.clone(), *count)).collect();
        for (session, count) in counts {
            self.note(&session, count, 0);
        }
    }

    /// What has changed since it was last asked, of `most` sessions at most. Who is there is for the rooms to say.
    pub fn news(&mut self, most: usize) -> Vec<News> {
        let mut news = Vec::with_capacity(most.min(self.news.len()));
        while news.len() < most
            && let Some((_, one)) = self.news.pop_first()
        {
            news.push(one);
        }
        news
    }

    /// Whether there is something to tell.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    fn note(&mut self, session: &str, Count { epoch, present, joined }: Count, sent: u32) {
        if let Some(known) = self.news.get_mut(session) {
            let sent = known.sent.saturating_add(sent);
            *known = News { session: std::mem::take(&mut known.session), epoch, present, joined, sent, who: None };
        } else if self.news.len() < MAX_NEWS {
            let one = News { session: session.to_owned(), epoch, present, joined, sent, who: None };
            self.news.insert(session.to_owned(), one);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn news(session: &str, epoch: u64, present: u32, joined: u32, sent: u32) -> News {
        News { session: session.to_owned(), epoch, present, joined, sent, who: None }
    }

    #[test]
    fn who_left_was_not_sent_and_who_was_sent_has_not_left() {
        let mut presence = Presence::default();
        for _ in 0..3 {
            presence.joined("s", 1);
        }
        presence.left("s");
        assert_eq!(presence.news(9), [news("s", 1, 2, 3, 0)]);
        assert!(!presence.has_news());
        presence.left("s");
        presence.ended("s", false);
        assert_eq!(presence.news(9), [news("s", 1, 0, 3, 1)], "only who was still there");
        // It comes back under another epoch: counted anew, also where nobody has asked meanwhile.
        presence.joined("s", 3);
        presence.ended("s", false);
        presence.joined("s", 5);
        assert_eq!(presence.news(9), [news("s", 5, 1, 1, 1)]);
        presence.ended("s", true);
        assert_eq!(presence.news(9), [news("s", 5, 0, 1, 0)], "closed: nobody is to come back");
        presence.ended("s", false);
        presence.left("s");
        assert!(!presence.has_news(), "a late leave is of nobody");
    }

    #[test]
    fn a_new_link_hears_all_that_there_is() {
        let mut presence = Presence::default();
        presence.joined("a", 1);
        presence.joined("b", 2);
        presence.joined("gone", 1);
        presence.ended("gone", false);
        presence.tell_all();
        assert_eq!(presence.news(1), [news("a", 1, 1, 1, 0)]);
        assert_eq!(presence.news(1), [news("b", 2, 1, 1, 0)]);
        assert!(!presence.has_news());
        presence.all_sent();
        assert_eq!(presence.news(9), [news("a", 1, 0, 1, 1), news("b", 2, 0, 1, 1)]);
        presence.left("a");
        assert!(!presence.has_news());
    }

    proptest! {
        #[test]
        fn whoever_came_is_there_or_has_left_or_was_sent(steps in prop::collection::vec((0_u8..4, 0_u8..5), 1..100)) {
            let mut presence = Presence::default();
            // Of each session: come, left, sent; and what was told last and in all.
            let mut truth: HashMap<String, (u32, u32, u32)> = HashMap::new();
            let mut told: HashMap<String, (u32, u32)> = HashMap::new();
            for (session, step) in steps {
                let session = format!("s{session}");
                let (come, left, sent) = truth.entry(session.clone()).or_default();
                let there = *come - *left - *sent;
                match step {
                    0 | 1 => {
                        presence.joined(&session, 1);
                        *come += 1;
                    }
                    2 => {
                        presence.left(&session);
                        *left += u32::from(there > 0);
                    }
                    3 => {
                        presence.ended(&session, false);
                        *sent += there;
                    }
                    _ => for one in presence.news(2) {
                        let (present, all_sent) = told.entry(one.session).or_default();
                        (*present, *all_sent) = (one.present, *all_sent + one.sent);
                    }
                }
            }
            for one in presence.news(usize::MAX) {
                let (present, all_sent) = told.entry(one.session).or_default();
                (*present, *all_sent) = (one.present, *all_sent + one.sent);
            }
            for (session, (come, left, sent)) in truth {
                let known = told.get(&session).copied().unwrap_or_default();
                prop_assert_eq!(known, (come - left - sent, sent), "{}", session);
            }
        }
    }
}
