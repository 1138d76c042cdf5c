//! What the operator does to the world, and from when on that may cut sessions.

use super::*;

impl World {
    /// Carries out an action that was decided at a time.
    pub(in super::super) fn carry_out(&mut self, action: &Action, decided: i64) {
        match action {
            Action::Create { ordinal, generation } => {
                self.create(*ordinal, generation.trim_start_matches('g').parse().expect("a number"));
            }
            Action::Write { relay, resource_version, note, occupied } => {
                if self.is_meant(relay, Some(resource_version)) {
                    self.account(relay.ordinal, note, decided);
                    self.change(relay.ordinal, |pod| (pod.note, pod.occupied) = (*note, *occupied));
                }
            }
            Action::Cordon { relay, number } => self.cordon(relay, *number),
            Action::Uncordon { relay, number } => self.uncordon(relay, *number),
            Action::HandOver { relay, .. } => self.hand_over(relay),
            Action::Delete { relay, resource_version, .. } => {
                let there = self.pods.get(&relay.ordinal).is_some_and(|pod| !pod.terminating);
                if there && self.is_meant(relay, Some(resource_version)) {
                    self.terminate(relay.ordinal, "deleted");
                }
            }
        }
    }

    /// Whether an action means this Pod, in this version.
    pub(in super::super) fn is_meant(&self, relay: &Target, version: Option<&String>) -> bool {
        self.pods.get(&relay.ordinal).is_some_and(|pod| {
            let same = version.is_none_or(|version| pod.version.to_string() == *version);
            pod.uid.to_string() == relay.uid && (same || !self.rules.preconditions)
        })
    }

    fn cordon(&mut self, relay: &Target, number: u32) {
        let (numbers, now) = (self.rules.numbers, self.now);
        if !self.is_meant(relay, None) {
            return;
        }
        let drain = self.pods[&relay.ordinal].note.drain.filter(|_| self.pods[&relay.ordinal].note.number == number);
        let Some(life) = self.life(relay.ordinal) else { return };
        if !numbers {
            (life.orders.cordon, life.orders.highest) = (Some(number), number.max(life.orders.highest));
        }
        let obeyed = life.orders.obey(Order::Cordon { number }) || !numbers;
        if let Some(drain) = drain.filter(|drain| obeyed && drain.cause.is_chosen()) {
            life.due.get_or_insert(now + in_steps(POLICY.timeout(drain.cause)));
        }
    }

    fn uncordon(&mut self, relay: &Target, number: u32) {
        let numbers = self.rules.numbers;
        if self.is_meant(relay, None)
            && let Some(life) = self.life(relay.ordinal)
        {
            life.orders.obey(Order::Uncordon { number });
            life.orders.cordon = life.orders.cordon.filter(|_| numbers);
        }
    }

    fn hand_over(&mut self, relay: &Target) {
        let to = self.pods.keys().copied().find(|other| *other != relay.ordinal && self.takes_new(*other));
        let (Some(to), true) = (to, self.is_meant(relay, None)) else { return };
        let now = self.now;
        let Some(from) = self.life(relay.ordinal) else { return };
        let sessions = std::mem::take(&mut from.sessions);
        from.empty_since = now;
        if let Some(life) = self.life(to) {
            life.sessions += sessions;
        }
    }

    /// From when on sessions may be cut, once this note stands on the Pod.
    fn account(&mut self, ordinal: u32, note: &Note, decided: i64) {
        let (now, before) = (self.now, self.pods[&ordinal].note);
        let Some(life) = self.life(ordinal) else { return };
        let Some(drain) = note.drain else {
            life.due = None;
            return;
        };
        let timeout = in_steps(POLICY.timeout(drain.cause));
        let earlier = before.drain.filter(|_| before.number == note.number).map(|drain| drain.cause);
        let cordoned = life.orders.cordon == Some(note.number);
        life.due = match earlier {
            Some(cause) if cause == drain.cause => life.due,
            Some(cause) if cause < drain.cause => Some(life.due.unwrap_or(i64::MAX).min(decided + timeout)),
            Some(_) | None if drain.cause.is_chosen() => cordoned.then_some(now + timeout),
            Some(_) | None => Some(now + timeout),
        };
    }

    /// One pass in full: what it decided.
    pub(in super::super) fn pass(&mut self) -> Decision {
        self.listen(None);
        let cluster = self.cluster();
        let decision = decide(&self.observe(&cluster), at(self.now));
        self.seen = Some(Box::new(cluster));
        for action in &decision.actions {
            self.carry_out(action, self.now);
        }
        self.finished |= decision.finished;
        decision
    }

    /// Actions that can do nothing any more are forgotten, so that worlds that are alike are found to be.
    pub(in super::super) fn forget_void(&mut self) {
        let mut late = std::mem::take(&mut self.late);
        late.retain(|Late(action, _)| match action {
            Action::Create { .. } => !self.finished,
            Action::Write { relay, resource_version, .. } | Action::Delete { relay, resource_version, .. } => {
                self.is_meant(relay, Some(resource_version))
            }
            Action::Cordon { relay, .. } | Action::Uncordon { relay, .. } | Action::HandOver { relay, .. } => {
                self.is_meant(relay, None)
            }
        });
        self.late = late;
    }
}

fn in_steps(duration: SignedDuration) -> i64 {
    duration.as_secs() / STEP
}
