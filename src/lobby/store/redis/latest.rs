//! What is known of all runs: the view that Redis gave last, and what replies have said of single runs since. Replies only
//! add to it, however many relays there are; the whole is put together for who asks for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::codec::Stamp;
use crate::decide::sessions::{RunView, View};

/// All runs, as far as is known.
#[derive(Debug)]
pub(super) struct Latest {
    view: Arc<View>,
    /// When Redis made the view.
    made: Stamp,
    /// What replies have said since, by UID of the Pod, and when; none = there is no such run any more.
    said: HashMap<String, (Stamp, Option<RunView>)>,
    /// Of which runs that is not in the view yet.
    missing: HashSet<String>,
}

impl Latest {
    pub(super) fn new(view: View) -> Self {
        Self { view: Arc::new(view), made: Stamp::default(), said: HashMap::new(), missing: HashSet::new() }
    }

    /// A view of all runs. What replies have said that were made after it, and came before, stays.
    pub(super) fn replace(&mut self, view: View, made: Stamp) {
        if made >= self.made {
            self.said.retain(|_, (said, _)| *said > made);
            self.missing = self.said.keys().cloned().collect();
            (self.view, self.made) = (Arc::new(view), made);
        }
    }

    /// What a reply says of a run, unless one that was made later has come before.
    pub(super) fn correct(&mut self, pod_uid: String, run: Option<RunView>, said: Stamp) {
        let known = self.said.get(&pod_uid).map_or(self.made, |(known, _)| *known);
        if said >= known {
            self.missing.insert(pod_uid.clone());
            self.said.insert(pod_uid, (said, run));
        }
    }

    /// The run of a Pod.
    pub(super) fn run(&self, pod_uid: &str) -> Option<&RunView> {
        self.said.get(pod_uid).map_or_else(|| self.view.runs.get(pod_uid), |(_, run)| run.as_ref())
    }

    /// All of them.
    pub(super) fn whole(&mut self) -> Arc<View> {
        if !self.missing.is_empty() {
            let view = Arc::make_mut(&mut self.view);
            for pod_uid in self.missing.drain() {
                match self.said.get(&pod_uid).and_then(|(_, run)| run.clone()) {
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
    use super::*;

    fn view(runs: &[(&str, &str)]) -> View {
        let runs = runs.iter().map(|(pod_uid, boot_id)| ((*pod_uid).to_owned(), RunView::linked(boot_id)));
        View { runs: runs.collect(), ..View::default() }
    }

    /// After so many writes on the first connection.
    fn after(writes: u64) -> Stamp {
        Stamp { connection: 1, writes }
    }

    fn boot(latest: &mut Latest, pod_uid: &str) -> Option<String> {
        let one = latest.run(pod_uid).map(|run| run.boot_id.clone());
        assert_eq!(one, latest.whole().runs.get(pod_uid).map(|run| run.boot_id.clone()));
        one
    }

    #[test]
    fn what_replies_say_counts_from_then_on_and_leaves_views_alone_that_were_given_out() {
        let mut latest = Latest::new(view(&[("a", "1"), ("b", "1")]));
        let before = latest.whole();
        latest.correct("a".to_owned(), Some(RunView::linked("2")), after(1));
        latest.correct("b".to_owned(), None, after(2));
        latest.correct("c".to_owned(), Some(RunView::linked("3")), after(3));
        let expected = [Some("2".to_owned()), None, Some("3".to_owned())];
        assert_eq!(["a", "b", "c"].map(|pod_uid| boot(&mut latest, pod_uid)), expected);
        assert_eq!((before.runs["a"].boot_id.as_str(), before.runs.len()), ("1", 2));
        assert_eq!(["a", "b", "c"].map(|pod_uid| boot(&mut latest, pod_uid)), expected);
    }

    #[test]
    fn what_was_said_later_stays_in_whatever_order_it_comes() {
        let mut latest = Latest::new(View::default());
        latest.correct("a".to_owned(), Some(RunView::linked("7")), after(7));
        latest.correct("a".to_owned(), Some(RunView::linked("3")), after(3));
        assert_eq!(boot(&mut latest, "a").as_deref(), Some("7"), "an earlier reply");
        latest.replace(view(&[("a", "5"), ("b", "5")]), after(5));
        assert_eq!(boot(&mut latest, "a").as_deref(), Some("7"), "an earlier view");
        latest.correct("b".to_owned(), Some(RunView::linked("4")), after(4));
        assert_eq!(boot(&mut latest, "b").as_deref(), Some("5"), "a reply from before the view");
        latest.replace(view(&[("a", "8")]), after(8));
        assert_eq!(boot(&mut latest, "a").as_deref(), Some("8"));
        latest.replace(view(&[]), after(6));
        assert_eq!(boot(&mut latest, "a").as_deref(), Some("8"), "a view from before");
        // A store that begins anew counts anew.
        latest.replace(view(&[("a", "new")]), Stamp { connection: 2, writes: 0 });
        assert_eq!(boot(&mut latest, "a").as_deref(), Some("new"));
    }
}
