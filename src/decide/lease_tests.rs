//! Two candidates against one Lease, with slow and lost requests, restarts and clocks that disagree.

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_oneof, proptest};

use super::*;

/// Time for one request, in milliseconds, as the operator bounds it.
const REQUEST: i64 = 3_000;
const NAMES: [&str; 2] = ["one", "other"];

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Done after so many milliseconds, and answered at once.
    Done(i64),
    /// Done after so many milliseconds, but the answer is lost.
    Unanswered(i64),
    /// Never done.
    Lost,
}

/// One attempt of a candidate: how late it starts, and what becomes of its read and its write.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    late: i64,
    read: Fate,
    write: Fate,
    /// The process is replaced before it: it has forgotten what it saw and does not lead.
    restarts: bool,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => (0..200_i64).prop_map(Fate::Done),
        2 => (0..REQUEST).prop_map(Fate::Done),
        1 => (0..REQUEST).prop_map(Fate::Unanswered),
        1 => Just(Fate::Lost),
    ]
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let late = prop_oneof![4 => 0..50_i64, 1 => 0..30_000_i64];
    let restarts = any::<u8>().prop_map(|chance| chance < 10);
    vec(
        (late, fate(), fate(), restarts).prop_map(|(late, read, write, restarts)| Attempt {
            late,
            read,
            write,
            restarts,
        }),
        40,
    )
}

/// What a candidate does next, and when (milliseconds of true time).
#[derive(Clone, Debug)]
enum Step {
    Start,
    Read { started: i64 },
    Write { started: i64, version: u64, spec: LeaseSpec },
}

struct Candidate {
    name: &'static str,
    /// Its clock minus true time.
    skew: i64,
    attempts: std::vec::IntoIter<Attempt>,
    attempt: Option<Attempt>,
    step: Step,
    due: i64,
    sighting: Option<Sighting>,
    /// True time at which its leadership was last confirmed to have begun or been renewed.
    renewed: Option<i64>,
}

/// The Lease in the API server.
struct Server {
    version: u64,
    spec: LeaseSpec,
}

impl Candidate {
    fn new(name: &'static str, skew: i64, attempts: Vec<Attempt>) -> Self {
        let (step, attempts) = (Step::Start, attempts.into_iter());
        Self { name, skew, attempts, attempt: None, step, due: 0, sighting: None, renewed: None }
    }

    /// Whether it may act. The operator stops at [`GIVE_UP_AFTER`] whatever it is waiting for.
    fn leads(&self, now: i64) -> bool {
        self.renewed.is_some_and(|renewed| now < renewed + millis(GIVE_UP_AFTER))
    }

    fn clock(&self, now: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000_000_000 + now + self.skew).expect("a time")
    }

    fn rest(&mut self, now: i64) {
        let next = if self.leads(now) { RENEW_EVERY } else { RETRY_EVERY };
        self.attempt = self.attempts.next();
        self.due = now + millis(next) + self.attempt.map_or(0, |attempt| attempt.late);
        self.step = Step::Start;
    }

    /// Does what is due.
    fn go(&mut self, server: &mut Server) {
        let (now, attempt) = (self.due, self.attempt.expect("only candidates with attempts left go on"));
        if self.renewed.is_some() && !self.leads(now) {
            // It gave up and was started anew.
            (self.renewed, self.sighting) = (None, None);
        }
        match self.step.clone() {
            Step::Start => {
                if attempt.restarts {
                    (self.renewed, self.sighting) = (None, None);
                }
                self.step = Step::Read { started: now };
                self.due = now + arrives(attempt.read);
            }
            Step::Read { started } => match attempt.read {
                Fate::Done(_) => self.decide(server, started, now),
                Fate::Unanswered(_) | Fate::Lost => self.rest(started + REQUEST),
            },
            Step::Write { started, version, spec } => {
                let done = !matches!(attempt.write, Fate::Lost) && version == server.version;
                if done {
                    *server = Server { version: version + 1, spec };
                }
                if done && matches!(attempt.write, Fate::Done(_)) {
                    self.renewed = Some(started);
                }
                self.rest(now);
            }
        }
    }

    fn decide(&mut self, server: &Server, started: i64, now: i64) {
        let mut lease = Lease { spec: Some(server.spec.clone()), ..Lease::default() };
        lease.metadata.resource_version = Some(server.version.to_string());
        let sighting = Sighting::after(self.sighting.take(), Some(&lease), self.name, self.clock(started));
        self.sighting = Some(sighting.clone());
        match decide(Some(&lease), self.name, &sighting, self.clock(started)) {
            Decision::Wait => {
                self.renewed = None;
                self.rest(now);
            }
            Decision::Write(spec) => {
                self.sighting = None;
                self.step = Step::Write { started, version: server.version, spec };
                self.due = now + arrives(self.attempt.expect("it is in one").write);
            }
        }
    }
}

fn arrives(fate: Fate) -> i64 {
    match fate {
        Fate::Done(after) | Fate::Unanswered(after) => after,
        Fate::Lost => REQUEST,
    }
}

fn millis(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).expect("short")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_two_leaders(
        plans in (attempts(), attempts()),
        skews in (-86_400_000..86_400_000_i64, -86_400_000..86_400_000_i64),
    ) {
        let mut server = Server { version: 1, spec: LeaseSpec::default() };
        let mut candidates = [Candidate::new(NAMES[0], skews.0, plans.0), Candidate::new(NAMES[1], skews.1, plans.1)];
        for candidate in &mut candidates {
 candidate.rest(0);
 }
        let mut terms = 0;
        while let Some(next) = candidates.iter_mut().filter(|c| c.attempt.is_some()).min_by_key(|c| c.due) {
            let (now, led) = (next.due, next.leads(next.due));
            next.go(&mut server);
            terms += u32::from(!led && next.leads(now));
            let leaders = candidates.iter().filter(|candidate| candidate.leads(now)).count();
            prop_assert!(leaders <= 1, "two leaders at {now} ms");
        }
        prop_assert!(terms > 0 || candidates.iter().all(|candidate| candidate.renewed.is_none()));
    }
}

#[test]
fn with_a_healthy_server_somebody_soon_leads_and_goes_on_leading() {
    let calm =
        |count: usize| vec![Attempt { late: 0, read: Fate::Done(5), write: Fate::Done(5), restarts: false }; count];
    let mut server = Server { version: 1, spec: LeaseSpec::default() };
    // The first stops after five attempts, as if it had died.
    let mut candidates = [Candidate::new(NAMES[0], 0, calm(5)), Candidate::new(NAMES[1], 40_000, calm(60))];
    for candidate in &mut candidates {
        candidate.rest(0);
    }
    let (mut last, mut taken_over) = (0, None);
    while let Some(next) = candidates.iter_mut().filter(|c| c.attempt.is_some()).min_by_key(|c| c.due) {
        let now = next.due;
        next.go(&mut server);
        if candidates[0].attempt.is_some() {
            last = now;
        } else if candidates[1].leads(now) {
            taken_over.get_or_insert(now);
        }
    }
    let after = taken_over.expect("the other takes over") - last;
    assert!((10_000..=20_000).contains(&after), "the other took over after {after} ms");
    assert_eq!(server.spec.lease_transitions, Some(2));
    assert_eq!(server.spec.holder_identity.as_deref(), Some("other"));
}

#[test]
fn a_life_shorter_than_ours_is_not_believed() {
    // An edited Lease, or one of another version: its holder still acts for as long as this code lets it.
    for seconds in [-1, 0, 1, 14] {
        let spec = LeaseSpec {
            holder_identity: Some("other".to_owned()),
            lease_duration_seconds: Some(seconds),
            ..LeaseSpec::default()
        };
        let lease = Lease { spec: Some(spec), ..Lease::default() };
        let at = |second| Timestamp::from_second(second).expect("a time");
        let sighting = Sighting { version: "1".to_owned(), since: at(100), others: false };
        assert_eq!(decide(Some(&lease), "me", &sighting, at(114)), Decision::Wait, "{seconds} s");
        assert!(matches!(decide(Some(&lease), "me", &sighting, at(115)), Decision::Write(_)), "{seconds} s");
        let Decision::Write(renewed) = decide(Some(&lease), "other", &sighting, at(101)) else { panic!("waits") };
        assert_eq!(renewed.lease_duration_seconds, Some(15), "a renewal says how long it holds");
    }
}
