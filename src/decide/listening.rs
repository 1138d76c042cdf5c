//! What was heard of one relay, and how long ago: from reports to what drains and scaling count with. Unknown is never zero.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::drain::{Occupancy, Report, Span};
use super::scale;
use crate::wire::stats::RelayReport;

/// A relay reports each second and on change; one that says nothing for so long is not known.
pub const SILENT_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// One relay's reports, as this process has heard them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// When it began to listen.
    began: Timestamp,
    /// Who says nothing for so long is not known.
    silent_after: SignedDuration,
    heard: Option<Heard>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    /// Since when reports came without a gap.
    from: Timestamp,
    /// The last one.
    until: Timestamp,
    report: RelayReport,
    /// Since when, within that time, there was neither session nor lease.
    empty_since: Option<Timestamp>,
}

impl Listening {
    /// Nothing was heard yet.
    pub fn begin(now: Timestamp) -> Self {
        Self { began: now, silent_after: SILENT_AFTER, heard: None }
    }

    /// From now on, a relay that says nothing for so long is not known.
    pub fn expect_within(&mut self, silent_after: SignedDuration) {
        self.silent_after = silent_after;
    }

    /// A report has come. Returns whether it says anything new, or comes after a silence.
    pub fn hear(&mut self, report: RelayReport, now: Timestamp) -> bool {
        let before = self.heard.take().filter(|heard| now.duration_since(heard.until) < self.silent_after);
        let empty = report.stats.sessions == 0 && report.stats.leases == 0;
        let empty_since = empty.then(|| before.as_ref().and_then(|heard| heard.empty_since).unwrap_or(now));
        let from = before.as_ref().map_or(now, |heard| heard.from);
        let news = before.is_none_or(|heard| says(&heard.report) != says(&report));
        self.heard = Some(Heard { from, until: now, report, empty_since });
        news
    }

    /// What is known now of a relay with so many seats. A report that cannot be true counts as none.
    pub fn occupancy(&self, seats: i32, now: Timestamp) -> Occupancy {
        let Some(heard) = &self.heard else { return Occupancy::Unknown { since: self.began, heard: None } };
        match self.load(seats, now) {
            scale::Occupancy::Known { sessions, leases } => Occupancy::Known(Report {
                since: heard.from,
                until: heard.until,
                sessions,
                leases,
                empty_since: heard.empty_since,
                cordon: heard.report.cordon,
                highest: heard.report.highest,
            }),
            scale::Occupancy::Unknown { .. } => {
                Occupancy::Unknown { since: heard.until, heard: Some(Span { from: heard.from, until: heard.until }) }
            }
        }
    }

    /// The same, as scaling counts it.
    pub fn load(&self, seats: i32, now: Timestamp) -> scale::Occupancy {
        let reading = self.heard.as_ref().map(|heard| scale::Reading {
            sessions: heard.report.stats.sessions.into(),
            leases: heard.report.stats.leases.into(),
            at: heard.until,
        });
        let last = self.heard.as_ref().map(|heard| heard.report.stats.sessions.min(u32::try_from(seats).unwrap_or(0)));
        scale::Occupancy::read(reading.as_ref(), last, seats, self.silent_after, now)
    }

    /// Whether the relay's lobby has ordered it to leave; nothing where that is not known now.
    pub fn asked(&self, seats: i32, now: Timestamp) -> Option<bool> {
        let heard = self.heard.as_ref()?;
        match self.load(seats, now) {
            scale::Occupancy::Known { .. } => Some(heard.report.asked),
            scale::Occupancy::Unknown { .. } => None,
        }
    }
}

/// What of a report anything is decided from.
fn says(report: &RelayReport) -> (u32, u32, Option<u32>, u32, bool) {
    (report.stats.sessions, report.stats.leases, report.cordon, report.highest, report.asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::at;
    use crate::wire::stats::RelayStats;

    fn report(sessions: u32, leases: u32) -> RelayReport {
        let stats = RelayStats { capacity: 10, sessions, leases, ..RelayStats::default() };
        RelayReport { stats, ..RelayReport::default() }
    }

    #[test]
    fn silence_is_not_zero_and_a_gap_begins_anew() {
        let mut listening = Listening::begin(at(0));
        assert_eq!(listening.occupancy(10, at(9)), Occupancy::Unknown { since: at(0), heard: None });
        assert!(listening.hear(report(0, 0), at(10)));
        assert!(!listening.hear(report(0, 0), at(11)), "said again, it is no news");
        let known = |since, until, sessions, empty_since| {
            Occupancy::Known(Report { since, until, sessions, leases: 0, empty_since, cordon: None, highest: 0 })
        };
        assert_eq!(listening.occupancy(10, at(16)), known(at(10), at(11), 0, Some(at(10))));
        let heard = Some(Span { from: at(10), until: at(11) });
        assert_eq!(listening.occupancy(10, at(17)), Occupancy::Unknown { since: at(11), heard });
        assert_eq!(listening.load(10, at(17)), scale::Occupancy::Unknown { last: Some(0) });
        assert!(listening.hear(report(0, 0), at(17)), "after a silence, everything is news");
        assert_eq!(listening.occupancy(10, at(17)), known(at(17), at(17), 0, Some(at(17))));
        assert!(listening.hear(report(1, 0), at(18)));
        assert_eq!(listening.occupancy(10, at(18)), known(at(17), at(18), 1, None));
        assert!(listening.hear(report(0, 0), at(19)));
        assert_eq!(
            listening.occupancy(10, at(19)),
            known(at(17), at(19), 0, Some(at(19))),
            "empty since it was last not"
        );
    }

    #[test]
    fn what_cannot_be_true_is_not_known() {
        let mut listening = Listening::begin(at(0));
        listening.hear(report(101, 0), at(1));
        assert!(matches!(listening.occupancy(10, at(1)), Occupancy::Unknown { since, .. } if since == at(1)));
        assert_eq!(listening.load(10, at(1)), scale::Occupancy::Unknown { last: Some(10) });
        listening.hear(report(5, 101), at(2));
        assert!(matches!(listening.occupancy(10, at(2)), Occupancy::Unknown { .. }));
    }

    #[test]
    fn what_the_lobby_has_ordered_is_known_while_the_relay_is_heard() {
        let mut listening = Listening::begin(at(0));
        assert_eq!(listening.asked(10, at(1)), None, "never heard");
        listening.hear(report(1, 0), at(1));
        assert_eq!(listening.asked(10, at(1)), Some(false));
        assert!(listening.hear(RelayReport { asked: true, ..report(1, 0) }, at(2)), "it is news");
        assert_eq!((listening.asked(10, at(7)), listening.asked(10, at(8))), (Some(true), None));
        listening.hear(RelayReport { asked: true, ..report(101, 0) }, at(9));
        assert_eq!(listening.asked(10, at(9)), None, "of what cannot be true nothing is believed");
    }

    #[test]
    fn an_order_that_is_obeyed_is_news() {
        let mut listening = Listening::begin(at(0));
        listening.hear(report(1, 0), at(1));
        assert!(listening.hear(RelayReport { cordon: Some(3), highest: 3, ..report(1, 0) }, at(2)));
        assert!(listening.hear(RelayReport { cordon: None, highest: 3, ..report(1, 0) }, at(2)));
    }
}
