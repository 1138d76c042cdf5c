//! What is known of all runs: the view that Redis gave last, and what replies have said of single runs since. Replies only
//! add to it, however many relays there are; the whole is put together for who asks for it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decide::sessions::{RunView, View};

/// All runs, as far as is known.
#[derive(Debug)]
pub(super) struct Latest {
    view: Arc<View>,
    /// By UID of the Pod; none = there is no such run any more.
    newer: HashMap<String, Option<RunView>>,
}

impl Latest {
    pub(super) fn new(view: View) -> Self {
        Self { view: Arc::new(view), newer: HashMap::new() }
    }

    /// What a reply says of a run.
    pub(super) fn correct(&mut self, pod_uid: String, run: Option<RunView>) {
        self.newer.insert(pod_uid, run);
    }

    /// The run of a Pod.
    pub(super) fn run(&self, pod_uid: &str) -> Option<&RunView> {
        self.newer.get(pod_uid).map_or_else(|| self.view.runs.get(pod_uid), Option::as_ref)
    }

    /// All of them.
    pub(super) fn whole(&mut self) -> Arc<View> {
        if !self.newer.is_empty() {
            let view = Arc::make_mut(&mut self.view);
            for (pod_uid, run) in self.newer.drain() {
                match run {
                    Some(run) => view.runs.insert(pod_uid, run),
                    None => view.runs.remove(&pod_uid),
                };
            }
        }
        Arc::clone(&self.view)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::stats::RelayStats;

    #[test]
    fn what_replies_say_counts_from_then_on_and_leaves_views_alone_that_were_given_out() {
        let run = |boot_id: &str| RunView {
            boot_id: boot_id.to_owned(),
            home: None,
            linked: true,
            told: true,
            silence: Duration::ZERO,
            stats: RelayStats::default(),
            held: 0,
            keys: vec![],
            in_flight: 0,
        };
        let runs = [("a", run("1")), ("b", run("1"))].map(|(pod_uid, run)| (pod_uid.to_owned(), run));
        let mut latest = Latest::new(View { runs: runs.into(), ..View::default() });
        let before = latest.whole();
        latest.correct("a".to_owned(), Some(run("2")));
        latest.correct("b".to_owned(), None);
        latest.correct("c".to_owned(), Some(run("3")));
        let boot = |latest: &Latest, pod_uid| latest.run(pod_uid).map(|run| run.boot_id.clone());
        let expected = [Some("2".to_owned()), None, Some("3".to_owned())];
        assert_eq!(["a", "b", "c"].map(|pod_uid| boot(&latest, pod_uid)), expected);
        assert_eq!((before.runs["a"].boot_id.as_str(), before.runs.len()), ("1", 2));
        let now = latest.whole();
        assert_eq!(["a", "b", "c"].map(|pod_uid| now.runs.get(pod_uid).map(|run| run.boot_id.clone())), expected);
        assert_eq!(["a", "b", "c"].map(|pod_uid| boot(&latest, pod_uid)), expected);
    }
}
