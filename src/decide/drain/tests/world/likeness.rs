//! Which worlds are alike, so that each is looked at once.

use std::hash::{DefaultHasher, Hash as _};

use super::*;

impl World {
    /// What tells this world from others. Names and versions do not: what they mean does. Nor do times that only people read.
    pub(in super::super) fn hash_into(&self, hasher: &mut DefaultHasher) {
        let listens_for = (self.now - self.listening).min(2);
        (self.now, listens_for, &self.spec, self.finished).hash(hasher);
        for (ordinal, pod) in &self.pods {
            hash_pod(pod, hasher);
            let life = self.lives[&pod.uid].clone();
            let up_since = life.up_since.max(self.now - 2);
            let life = Life { empty_since: self.since(life.empty_since), up_since, ..life };
            let heard = self.heard.get(&pod.uid).cloned();
            let heard = heard.map(|heard| Heard { empty_since: self.since(heard.empty_since), ..heard });
            (ordinal, life, heard).hash(hasher);
        }
        if let Some((pods, spec)) = self.seen.as_deref() {
            spec.hash(hasher);
            for (ordinal, pod) in pods {
                let now = self.pods.get(ordinal);
                (ordinal, now.map(|now| (now.uid == pod.uid, now.version == pod.version))).hash(hasher);
                hash_pod(pod, hasher);
            }
        }
        for Late(action, decided) in &self.late {
            decided.hash(hasher);
            match action {
                Action::Create { ordinal, generation } => (0, ordinal, generation).hash(hasher),
                Action::Write { relay, note, occupied, .. } => {
                    (1, relay.ordinal, occupied).hash(hasher);
                    hash_note(note, hasher);
                }
                Action::Cordon { relay, number } => (2, relay.ordinal, number).hash(hasher),
                Action::Uncordon { relay, number } => (3, relay.ordinal, number).hash(hasher),
                Action::HandOver { relay, .. } => (4, relay.ordinal).hash(hasher),
                Action::Delete { relay, .. } => (5, relay.ordinal).hash(hasher),
            }
        }
    }

    /// Since when a relay is empty matters only where it may be evicted for it, or leave.
    fn since(&self, time: i64) -> i64 {
        if self.hands_over || !self.refuses { time } else { 0 }
    }
}

fn hash_pod(pod: &Pod, hasher: &mut DefaultHasher) {
    (pod.generation, pod.terminating, pod.health, pod.asked, pod.occupied).hash(hasher);
    hash_note(&pod.note, hasher);
}

fn hash_note(note: &Note, hasher: &mut DefaultHasher) {
    (note.number, note.drain.map(|drain| (drain.cause, drain.clock))).hash(hasher);
}
