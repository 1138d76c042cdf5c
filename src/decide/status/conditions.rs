//! Conditions as a list: fixed order, transition time moved only when the status does.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::api::condition::{ACCEPTED, AVAILABLE, PROGRESSING, READY, RECONCILING, Reason, STALLED};
use crate::decide::status::waits;
use crate::decide::valid::Invalid;

/// The API server's own limit.
const MAX_MESSAGE: usize = 32_768;

/// What one condition says.
pub(super) struct Says {
    pub(super) status: bool,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Says {
    pub(super) fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: true, reason, message: message.into() }
    }

    pub(super) fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: false, reason, message: message.into() }
    }
}

/// A list of conditions under construction.
pub(super) struct Conditions<'a> {
    previous: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    built: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    pub(super) fn new(previous: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { previous, generation, now, built: Vec::new() }
    }

    pub(super) fn set(&mut self, type_: &str, says: Says) {
        self.push(type_, if says.status { "True" } else { "False" }, says.reason.as_str(), says.message);
    }

    /// Says that something is not known.
    pub(super) fn unknown(&mut self, type_: &str, reason: Reason, message: &str) {
        self.push(type_, "Unknown", reason.as_str(), message.to_owned());
    }

    /// Whether it was said before that something is not so.
    pub(super) fn was_false(&self, type_: &str) -> bool {
        self.previous.iter().any(|condition| condition.type_ == type_ && condition.status == "False")
    }

    /// Says again what was said before, or that nothing is known yet.
    pub(super) fn keep(&mut self, type_: &str) {
        match self.previous.iter().find(|condition| condition.type_ == type_) {
            Some(known) => self.push(type_, &known.status.clone(), &known.reason.clone(), known.message.clone()),
            None => self.push(type_, "Unknown", Reason::Pending.as_str(), "not observed yet".to_owned()),
        }
    }

    /// The conditions of an accepted object.
    pub(super) fn accepted(&mut self, available: Says, progressing: Says, ready: Says) {
        self.set(ACCEPTED, Says::yes(Reason::AsPlanned, "the spec is valid and what it refers to resolves"));
        let reconciling = Says { message: progressing.message.clone(), ..progressing };
        self.set(AVAILABLE, available);
        self.set(PROGRESSING, progressing);
        self.set(READY, ready);
        self.set(RECONCILING, reconciling);
        self.set(STALLED, Says::no(Reason::AsPlanned, "nothing needs a person"));
    }

    /// An accepted object on which work cannot go on without a person.
    pub(super) fn stalled(&mut self, says: Says) {
        self.built.retain(|condition| condition.type_ != RECONCILING && condition.type_ != STALLED);
        self.set(RECONCILING, Says::no(says.reason, says.message.clone()));
        self.set(STALLED, says);
    }

    /// The conditions of an object that cannot be worked with. What was made of it before may serve on: `available` says
    /// so, or is nothing where that is not known.
    pub(super) fn refused(&mut self, invalid: &Invalid, available: Option<Says>) {
        let waits = waits(invalid.reason);
        let says = |status| Says { status, reason: invalid.reason, message: invalid.message.clone() };
        self.set(ACCEPTED, says(false));
        match available {
            Some(available) => self.set(AVAILABLE, available),
            None => self.keep(AVAILABLE),
        }
        self.set(PROGRESSING, says(waits));
        self.set(READY, says(false));
        self.set(RECONCILING, says(waits));
        self.set(STALLED, says(!waits));
    }

    pub(super) fn build(self) -> Vec<Condition> {
        self.built
    }

    fn push(&mut self, type_: &str, status: &str, reason: &str, mut message: String) {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        let unchanged = self.previous.iter().find(|known| known.type_ == type_ && known.status == status);
        let last_transition_time =
            unchanged.map_or_else(|| Time(whole_seconds(self.now)), |known| known.last_transition_time.clone());
        self.built.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time,
        });
    }
}

/// The API server keeps whole seconds; anything finer would differ on every pass.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
