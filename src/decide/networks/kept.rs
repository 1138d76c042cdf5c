//! What is known of networks, as a store keeps it for all processes of a lobby and over their restarts.
//!
//! Each network is kept under a number that rises with each change, and written only over the number that the writer knows.
//! Whoever finds another there takes in what stands there and writes again, so that nothing is lost but what is bounded
//! away. What the store says wins, but for what has been learnt here since: so processes do not write one another's words
//! back and forth. Texts from a store are checked as if anybody had written them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{Known, MAX_REGIONS, Networks, Report, is_fresh, places};
use crate::decide::route::{MAX_LATENCY_MS, is_region_name};

/// How far another process' clock may be ahead.
const SKEW: Duration = Duration::from_mins(10);
/// Longest text that is read, in bytes: twice what the longest of ours has.
const MAX_TEXT: usize = 32 * 1024;

/// One network as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The network.
    pub network: IpNet,
    /// Number of the change; 0 = there is none yet.
    pub number: u64,
    /// Its reports, in a text of ours.
    pub text: String,
}

/// A text that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the store keeps of a network cannot be read")]
pub struct Garbled;

/// Address, milliseconds since 1970, milliseconds by region.
type Line = (IpAddr, u64, BTreeMap<String, f64>);

/// One network as it is to be written. To make the text of it takes a while, and nobody need wait for that.
#[derive(Clone, Debug)]
pub struct Unkept {
    network: IpNet,
    number: u64,
    reports: Vec<Report>,
}

/// What stands in a text: reports of its network.
#[derive(Clone, Debug)]
pub struct Read(Vec<Line>);

impl Unkept {
    /// As it is written.
    pub fn kept(&self) -> Kept {
        Kept { network: self.network, number: self.number, text: text(&self.reports) }
    }
}

impl Kept {
    /// Reads the text at `now`, if it is of this network.
    pub fn read(&self, now: Duration) -> Result<Read, Garbled> {
        let lines = lines(&self.text)?;
        if lines.iter().all(|line| is_good(line, self.network, now)) { Ok(Read(lines)) } else { Err(Garbled) }
    }
}

impl Networks {
    /// Up to `limit` networks of which something was learnt that the store does not have.
    pub fn unkept(&self, limit: usize) -> Vec<Unkept> {
        let unkept = self.known.iter().filter(|(_, known)| known.reports.iter().any(|report| !report.kept));
        let mut all: Vec<(&IpNet, &Known)> = unkept.collect();
        // Those that waited longest, so that each gets its turn.
        all.sort_by_key(|(network, known)| {
            (known.reports.iter().find(|report| !report.kept).map(|report| report.at), **network)
        });
        all.truncate(limit);
        let of = |(network, known): (&IpNet, &Known)| {
            let reports = known.reports.clone();
            Unkept { network: *network, number: known.number, reports }
        };
        all.into_iter().map(of).collect()
    }

    /// The store has `wrote` now, under this number.
    pub fn has_kept(&mut self, wrote: &Unkept, number: u64) {
        let Some(known) = self.known.get_mut(&wrote.network) else { return };
        known.number = number;
        for report in &mut known.reports {
            report.kept |= wrote.reports.iter().any(|wrote| (wrote.from, wrote.at) == (report.from, report.at));
        }
    }

    /// The store has this, written by whichever process, in which that was read; the network is of the autonomous system
    /// `system`.
    pub fn take_in(
        &mut self,
        kept: &Kept,
        read: Result<Read, Garbled>,
        system: Option<u32>,
        now: Duration,
    ) -> Result<(), Garbled> {
        // Whatever stands there: it is what the next text is written over.
        if let Some(known) = self.known.get_mut(&kept.network) {
            known.number = kept.number;
        }
        let Read(lines) = read?;
        let mut report = |(from, at, latencies): Line| {
            let latencies = latencies.into_iter().map(|(region, ms)| (self.names.of(&region), ms)).collect();
            Report { from, at: millis(at), latencies, kept: true }
        };
        let mut reports: Vec<Report> = lines.into_iter().map(&mut report).collect();
        reports.retain(|report| is_fresh(report, now));
        let Some(newest) = reports.iter().map(|report| report.at).max() else { return Ok(()) };
        let known = self.known_or_new(kept.network, system, now);
        let is_there = |report: &Report| reports.iter().any(|of| (of.from, of.at) == (report.from, report.at));
        let own: Vec<Report> = known.reports.drain(..).filter(|report| !report.kept && !is_there(report)).collect();
        reports.extend(own);
        reports.sort_by_key(|report| (report.at, report.from));
        for report in reports {
            known.push(report);
        }
        known.number = kept.number;
        known.heard = known.heard.max(newest);
        Ok(())
    }

    /// The store has nothing of what it had: all is to be written again.
    pub fn is_unkept(&mut self) {
        for known in self.known.values_mut() {
            known.number = 0;
            for report in &mut known.reports {
                report.kept = false;
            }
        }
    }
}

fn text(reports: &[Report]) -> String {
    // As short as what it means: who reads it then writes the same.
    let short = |ms: f64| (ms * 1000.0).round() / 1000.0;
    let line = |report: &Report| -> Line {
        let latencies = report.latencies.iter().map(|(region, ms)| (region.to_string(), short(*ms))).collect();
        (report.from, u64::try_from(report.at.as_millis()).unwrap_or(u64::MAX), latencies)
    };
    serde_json::to_string(&reports.iter().map(line).collect::<Vec<_>>()).expect("numbers and names are JSON")
}

fn lines(text: &str) -> Result<Vec<Line>, Garbled> {
    if text.len() > MAX_TEXT {
        return Err(Garbled);
    }
    let lines: Vec<Line> = serde_json::from_str(text).map_err(|_| Garbled)?;
    if lines.len() > super::MAX_REPORTS { Err(Garbled) } else { Ok(lines) }
}

/// Whether a line can be of a report of this network.
fn is_good((from, at, latencies): &Line, network: IpNet, now: Duration) -> bool {
    let is_ms = |ms: &f64| (0.0..=MAX_LATENCY_MS).contains(ms);
    places(*from) == (network, *from)
        && (1..=MAX_REGIONS).contains(&latencies.len())
        && latencies.iter().all(|(region, ms)| is_region_name(region) && is_ms(ms))
        && millis(*at) <= now + SKEW
}

const fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A store, as Redis is one.
    #[derive(Default)]
    struct World {
        store: BTreeMap<IpNet, Kept>,
        last: u64,
        losses: u32,
    }

    /// A process that shares it.
    #[derive(Default)]
    struct Process {
        networks: Networks,
        cursor: u64,
        losses: u32,
    }

    impl World {
        fn lose(&mut self) {
            *self = Self { losses: self.losses + 1, ..Self::default() };
        }

        /// One round of a process; how much it had to write.
        fn round(&mut self, process: &mut Process, now: Duration) -> usize {
            let Process { networks, cursor, losses } = process;
            if *losses != self.losses {
                (*losses, *cursor) = (self.losses, 0);
                networks.is_unkept();
            }
            for kept in self.store.values().filter(|kept| kept.number > *cursor) {
                networks.take_in(kept, kept.read(now), None, now).expect("our own");
            }
            *cursor = self.last;
            let unkept = networks.unkept(100);
            for unkept in &unkept {
                let kept = unkept.kept();
                let known = self.store.get(&kept.network).map_or(0, |known| known.number);
                if known == kept.number {
                    self.last += 1;
                    self.store.insert(kept.network, Kept { number: self.last, ..kept });
                    networks.has_kept(unkept, self.last);
                } else {
                    let other = &self.store[&kept.network];
                    networks.take_in(other, other.read(now), None, now).expect("our own");
                }
            }
            unkept.len()
        }
    }

    fn reports(networks: &Networks) -> BTreeMap<IpNet, Vec<(IpAddr, Duration)>> {
        let of = |known: &Known| known.reports.iter().map(|report| (report.from, report.at)).collect();
        networks.known.iter().map(|(network, known)| (*network, of(known))).collect()
    }

    proptest! {
        /// Whatever processes learn, and in whichever order they speak with the store: soon all know the same, and are silent.
        #[test]
        fn all_processes_come_to_know_the_same_and_fall_silent(
            steps in prop::collection::vec((0_usize..3, 0_u8..2, 0_u8..9, 1.0..300.0_f64, any::<bool>()), 1..60),
            lost in any::<prop::sample::Index>(),
            loses in any::<bool>(),
        ) {
            let mut world = World::default();
            let mut all: [Process; 3] = Default::default();
            let lost = lost.index(steps.len());
            let mut now = Duration::from_secs(1_000_000);
            for (step, (who, network, host, ms, speaks)) in steps.into_iter().enumerate() {
                now += Duration::from_secs(60);
                if loses && step == lost {
                    world.lose();
                }
                all[who].networks.learn([192, 0, network, host].into(), None, [("a", ms)], now);
                if speaks {
                    world.round(&mut all[who], now);
                }
            }
            for _ in 0..4 {
                for process in &mut all {
                    world.round(process, now);
                }
            }
            let written: usize = all.iter_mut().map(|process| world.round(process, now)).sum();
            prop_assert_eq!(written, 0, "nobody has more to say");
            let [a, b, c] = &all;
            prop_assert_eq!(reports(&a.networks), reports(&b.networks));
            prop_assert_eq!(reports(&a.networks), reports(&c.networks));
            // And whoever starts now knows it all.
            let mut fresh = Process { losses: world.losses, ..Process::default() };
            world.round(&mut fresh, now);
            prop_assert_eq!(reports(&a.networks), reports(&fresh.networks));
        }

        #[test]
        fn no_text_makes_it_panic(text in r#"\[?(\["[0-9:.]{0,12}",[0-9]{1,20},\{("[ -~]{0,70}":-?[0-9e.]{1,6})?\}\],?){0,14}\]?"#) {
            let kept = Kept { network: "192.0.2.0/24".parse().expect("a network"), number: 1, text };
            let now = Duration::from_secs(1_000_000);
            let _ = Networks::default().take_in(&kept, kept.read(now), None, now);
        }
    }

    #[test]
    fn what_cannot_be_ours_is_not_taken_in() {
        let now = Duration::from_secs(1_000_000);
        let take = |text: &str| {
            let mut networks = Networks::default();
            let network = "192.0.2.0/24".parse().expect("a network");
            let kept = Kept { network, number: 7, text: text.to_owned() };
            networks.take_in(&kept, kept.read(now), None, now).map(|()| networks.len())
        };
        assert_eq!(take(r#"[["192.0.2.7",999000000,{"eu":20.5}]]"#), Ok(1));
        assert_eq!(take(r#"[["192.0.2.7",1000,{"eu":20.5}]]"#), Ok(0), "too old by now");
        let regions = |count: u32| {
            let regions: Vec<String> = (0..count).map(|n| format!(r#""r{n}":1"#)).collect();
            format!(r#"[["192.0.2.7",999000000,{{{}}}]]"#, regions.join(","))
        };
        assert_eq!((take(&regions(16)), take(&regions(17))), (Ok(1), Err(Garbled)));
        let many = vec![r#"["192.0.2.7",999000000,{"eu":20.5}]"#; 13].join(",");
        for wrong in [
            "",
            "{}",
            r#"[["192.0.3.7",999000000,{"eu":20.5}]]"#,
            r#"[["192.0.2.7",999000000,{"eu":-1}]]"#,
            r#"[["192.0.2.7",999000000,{"eu":60001}]]"#,
            r#"[["192.0.2.7",999000000,{}]]"#,
            r#"[["192.0.2.7",999000000,{"e u":1}]]"#,
            r#"[["192.0.2.7",1000601000,{"eu":20.5}]]"#,
            &format!("[{many}]"),
        ] {
            assert_eq!(take(wrong), Err(Garbled), "{wrong}");
        }
    }

    #[test]
    fn a_text_that_is_not_taken_in_leaves_nothing() {
        let (mut networks, now) = (Networks::default(), Duration::from_secs(1_000_000));
        for n in 0..1000 {
            let text = format!(r#"[["192.0.2.7",999000000,{{"r{n}":1}}],["192.0.3.7",999000000,{{"eu":1}}]]"#);
            let kept = Kept { network: "192.0.2.0/24".parse().expect("a network"), number: n, text };
            assert_eq!(networks.take_in(&kept, kept.read(now), None, now), Err(Garbled));
        }
        assert_eq!(networks.names.len(), 0);
    }
}
