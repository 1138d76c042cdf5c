//! Which participants were cut: sent away by a relay or lost with it, and not back within ten seconds.
//!
//! Relays tell who is in their sessions ([`super::presence`]). Who closes its connection has left; so, as far as anybody
//! can tell, has who breaks it, or falls silent. A participant that comes back has another id, so they are counted, session by
//! session: whoever comes to a session after it has moved on is one that is back.
//!
//! A link that is lost says nothing of its relay, which serves without the lobby. Its participants are lost once the run
//! is known to be over, or somebody has come back to another relay.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::wire::link::Presence;

/// In which a participant must be back.
pub const BACK_WITHIN: Duration = Duration::from_secs(10);
/// By when it must be known that it is: relays tell each second.
const KNOWN_WITHIN: Duration = Duration::from_secs(12);
/// How often it is looked again whether a run is over.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// For how long. By then the sessions of a lost relay are forgotten.
const GIVE_UP_AFTER: Duration = Duration::from_mins(10);
/// Sessions that one run may tell of, and sessions of which participants are waited for: beyond that none is counted.
const MAX_SESSIONS: usize = 20_000;
const MAX_WAITED_FOR: usize = 100_000;
/// Longest id of a session that is believed.
pub const MAX_ID: usize = 128;

/// Why participants had to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Their relay is gone, and did not say goodbye.
    RelayLost,
    /// Their relay was to leave: it handed the session over, or its time was over.
    Drain,
    /// The session was moved for another reason.
    Move,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RelayLost, Self::Drain, Self::Move];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RelayLost => "relay_lost",
            Self::Drain => "drain",
            Self::Move => "move",
        }
    }
}

/// A run of a relay, by its link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// UID of its Pod.
    pub pod_uid: String,
    /// Name of the run.
    pub boot_id: String,
    /// Its pool.
    pub pool: String,
}

/// Participants of one session who are to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The session.
    pub session: String,
    /// The run where they were.
    pub run: Run,
    epoch: u64,
    participants: u32,
    cause: Cause,
    /// When they were lost.
    since: Duration,
    /// Whether nobody was back in time, as far as was known then.
    late: bool,
}

/// What has become of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It lives under this epoch, and so many have come to where it is now.
    Lives {
        /// Its epoch.
        epoch: u64,
        /// Participants that have come there.
        came: u32,
    },
    /// It was closed: nobody is to come back.
    Closed,
    /// Nobody knows it.
    Unknown,
}

/// What has become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunFate {
    /// It is linked, to whichever lobby process.
    Linked,
    /// Another run has taken its place, or its Pod is gone.
    Over,
    /// It may serve on.
    Unknown,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So many participants were cut; none is good.
    Cut(Cause, u32),
    /// It cannot be told yet.
    Wait(Lost),
}

impl Lost {
    /// Judges, once it is due.
    pub fn judge(self, session: Fate, run: RunFate) -> Verdict {
        let Self { epoch, participants, cause, late, .. } = self;
        let lost_with_run = cause == Cause::RelayLost;
        let cut = match session {
            Fate::Closed | Fate::Unknown => 0,
            _ if lost_with_run && run == RunFate::Linked => 0,
            Fate::Lives { epoch: now, .. } if now > epoch && late => participants,
            Fate::Lives { epoch: now, came } if now > epoch => participants.saturating_sub(came),
            Fate::Lives { .. } if lost_with_run && run == RunFate::Unknown => {
                return Verdict::Wait(Self { late: true, ..self });
            }
            // Nobody has come back, for then it would have moved on.
            Fate::Lives { .. } => participants,
        };
        Verdict::Cut(cause, cut)
    }
}

/// How many have come to a session where it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    /// The session.
    pub session: String,
    /// Its epoch.
    pub epoch: u64,
    /// Participants that have come.
    pub joined: u32,
}

/// What one lobby process knows of the participants at relays that are linked to it, and whom it waits for.
#[derive(Clone, Debug, Default)]
pub struct Cuts {
    /// By UID of the Pod.
    links: HashMap<String, Link>,
    /// By the time at which they are judged, in the order in which they came.
    waited_for: BTreeMap<(Duration, u64), Lost>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Link {
    number: u64,
    run: Run,
    sessions: HashMap<String, Known>,
    /// Of all these sessions.
    present: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    epoch: u64,
    present: u32,
    joined: u32,
}

impl Link {
    /// Takes in what is told of a session; whether somebody has come to it.
    fn take(&mut self, session: &str, now: Known) -> bool {
        let before = self.sessions.remove(session);
        self.present -= before.map_or(0, |before| u64::from(before.present));
        if now.present > 0 && self.sessions.len() < MAX_SESSIONS {
            self.present += u64::from(now.present);
            self.sessions.insert(session.to_owned(), now);
        }
        before.is_none_or(|before| before.epoch != now.epoch || before.joined != now.joined)
    }
}

impl Cuts {
    /// A relay has linked up; it will tell of all its sessions anew.
    pub fn link_up(&mut self, link: u64, run: Run, now: Duration) {
        let before = self.links.remove(&run.pod_uid).filter(|before| before.run != run);
        if let Some(before) = before {
            self.lose(before, now);
        }
        let (pod_uid, sessions) = (run.pod_uid.clone(), HashMap::new());
        self.links.insert(pod_uid, Link { number: link, run, sessions, present: 0 });
    }

    /// A link has ended: its relay may be lost.
    pub fn link_down(&mut self, pod_uid: &str, link: u64, now: Duration) {
        if self.links.get(pod_uid).is_some_and(|known| known.number == link)
            && let Some(link) = self.links.remove(pod_uid)
        {
            self.lose(link, now);
        }
    }

    /// A relay tells of participants. `leaves` = it is to leave. Returns to which sessions that have moved somebody has come,
    /// which is for the store.
    pub fn told(&mut self, pod_uid: &str, link: u64, news: Vec<Presence>, leaves: bool, now: Duration) -> Vec<Came> {
        let Some(known) = self.links.get_mut(pod_uid).filter(|known| known.number == link) else { return Vec::new() };
        let (mut came, mut lost) = (Vec::new(), Vec::new());
        for Presence { session, epoch, present, joined, sent, who: _ } in news {
            if session.len() > MAX_ID {
                continue;
            }
            if sent > 0 {
                let cause = if leaves { Cause::Drain } else { Cause::Move };
                let (session, run) = (session.clone(), known.run.clone());
                lost.push(Lost { session, run, epoch, participants: sent, cause, since: now, late: false });
            }
            let somebody_new = known.take(&session, Known { epoch, present, joined });
            // Under its first epoch nobody comes back from elsewhere.
            if epoch > 1 && joined > 0 && somebody_new {
                came.push(Came { session, epoch, joined });
            }
        }
        for lost in lost {
            self.wait_for(lost, now + KNOWN_WITHIN);
        }
        came
    }

    /// Participants at the relays that are linked here, as far as those have told.
    pub fn present(&self) -> u64 {
        self.links.values().map(|link| link.present).sum()
    }

    /// Those who must be back by now, `most` sessions at most.
    pub fn due(&mut self, most: usize, now: Duration) -> Vec<Lost> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(first) = self.waited_for.first_entry().filter(|first| first.key().0 <= now)
        {
            due.push(first.remove());
        }
        due
    }

    /// What could not be told yet is looked at again, for a while.
    pub fn again(&mut self, lost: Lost, now: Duration) {
        if now < lost.since + GIVE_UP_AFTER {
            self.wait_for(lost, now + LOOK_AGAIN);
        }
    }

    fn lose(&mut self, link: Link, now: Duration) {
        for (session, Known { epoch, present, .. }) in link.sessions {
            let (run, cause) = (link.run.clone(), Cause::RelayLost);
            let lost = Lost { session, run, epoch, participants: present, cause, since: now, late: false };
            self.wait_for(lost, now + KNOWN_WITHIN);
        }
    }

    fn wait_for(&mut self, lost: Lost, at: Duration) {
        if self.waited_for.len() < MAX_WAITED_FOR {
            self.next += 1;
            self.waited_for.insert((at, self.next), lost);
        }
    }
}

#[cfg(test)]
mod tests;
