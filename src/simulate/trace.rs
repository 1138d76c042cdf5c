//! A trace: when sessions began and how long they lasted, and when the signal was bad. Text, a line for each.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;

/// First line of every trace.
const MAGIC: &str = "convene-trace 1";
/// Longest trace: 31 days.
const MOST_SECONDS: u32 = 31 * 86_400;
/// Most sessions and faults of one trace.
const MOST_LINES: usize = 1_000_000;

/// What happened. Times are seconds since its start.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trace {
    pub(super) start: Timestamp,
    /// Seconds.
    pub(super) length: u32,
    /// In the order in which they came.
    pub(super) sessions: Vec<Session>,
    pub(super) faults: Vec<Fault>,
}

/// A session that somebody wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) at: u32,
    /// Seconds from when it got a seat.
    pub(super) lasts: u32,
}

/// A time in which the signal was bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: u32,
    pub(super) lasts: u32,
    pub(super) kind: Kind,
}

/// What was bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No report arrived: of all relays, or of the one of this ordinal.
    Silent(Option<u32>),
    /// So many percent of the reports did not arrive.
    Lossy(u32),
    /// Reports carried nonsense: −1 as an unsigned number.
    Absurd,
    /// The lobby could not be heard.
    Deaf,
}

impl Trace {
    /// The faults that hold at a time.
    pub(super) fn faults_at(&self, now: u32) -> impl Iterator<Item = Kind> + '_ {
        self.faults
            .iter()
            .filter(move |fault| (fault.at..fault.at.saturating_add(fault.lasts)).contains(&now))
            .map(|fault| fault.kind)
    }

    /// Most sessions at once, had each had a seat when it came.
    pub(super) fn most_at_once(&self) -> usize {
        let mut changes: Vec<(u32, i32)> = Vec::new();
        for session in &self.sessions {
            changes.extend([(session.at, 1), (session.at.saturating_add(session.lasts), -1)]);
        }
        // Who leaves makes room for who comes.
        changes.sort_unstable();
        let mut now = 0;
        let most = changes.into_iter().map(|(_, by)| {
            now += by;
            now
        });
        usize::try_from(most.max().unwrap_or(0)).unwrap_or(0)
    }

    /// Itself so many times in a row.
    pub(super) fn repeated(self, times: u32) -> anyhow::Result<Self> {
        let length = self.length.checked_mul(times).filter(|length| *length <= MOST_SECONDS);
        let length = length.context("that often it is longer than 31 days")?;
        let lines = (self.sessions.len() + self.faults.len()).saturating_mul(usize::try_from(times)?);
        ensure!(lines <= MOST_LINES, "that often it has more than {MOST_LINES} sessions and faults");
        let begins = (0..times).map(|time| time * self.length);
        let sessions =
            begins.clone().flat_map(|by| self.sessions.iter().map(move |one| Session { at: one.at + by, ..*one }));
        let faults = begins.flat_map(|by| self.faults.iter().map(move |one| Fault { at: one.at + by, ..*one }));
        Ok(Self { start: self.start, length, sessions: sessions.collect(), faults: faults.collect() })
    }

    /// Whether every report arrives.
    pub(super) fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }
}

impl FromStr for Trace {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.split('#').next().unwrap_or_default().trim()));
        let begins = lines.next().is_some_and(|(_, line)| line == MAGIC);
        ensure!(begins, "line 1: a trace begins with `{MAGIC}`");
        let mut trace = Self { start: Timestamp::UNIX_EPOCH, length: 0, sessions: Vec::new(), faults: Vec::new() };
        for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
            trace
                .line(line)
                .with_context(|| format!("line {number}: `{}`", line.chars().take(60).collect::<String>()))?;
        }
        ensure!(trace.length > 0, "there is no line `length SECONDS`");
        let ends = trace.sessions.iter().map(|session| session.at).max().unwrap_or(0);
        ensure!(ends < trace.length, "a session begins at {ends}, which is not before `length {}`", trace.length);
        trace.sessions.sort_by_key(|session| session.at);
        Ok(trace)
    }
}

impl Trace {
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        ensure!(self.sessions.len() + self.faults.len() < MOST_LINES, "more than {MOST_LINES} sessions and faults");
        let words: Vec<&str> = line.split_whitespace().collect();
        let fault = |at: &str, lasts: &str, kind: Kind| -> anyhow::Result<Fault> {
            Ok(Fault { at: seconds(at)?, lasts: seconds(lasts)?, kind })
        };
        match words[..] {
            ["start", time] => self.start = time.parse().context("a time is like 2026-03-02T00:00:00Z")?,
            ["length", length] => self.length = seconds(length)?,
            ["session", at, lasts] => self.sessions.push(Session { at: seconds(at)?, lasts: seconds(lasts)? }),
            ["silent", at, lasts] => self.faults.push(fault(at, lasts, Kind::Silent(None))?),
            ["silent", at, lasts, relay] => {
                let relay = relay.parse().context("the ordinal of a relay is a number")?;
                self.faults.push(fault(at, lasts, Kind::Silent(Some(relay)))?);
            }
            ["lossy", at, lasts, percent] => {
                let percent = percent.parse().ok().filter(|percent| *percent <= 100).context("percent are 0 to 100")?;
                self.faults.push(fault(at, lasts, Kind::Lossy(percent))?);
            }
            ["absurd", at, lasts] => self.faults.push(fault(at, lasts, Kind::Absurd)?),
            ["deaf", at, lasts] => self.faults.push(fault(at, lasts, Kind::Deaf)?),
            _ => bail!(
                "not a line of a trace: start, length, session, silent, lossy, absurd, deaf; docs/scaling.md tells each"
            ),
        }
        Ok(())
    }
}

fn seconds(text: &str) -> anyhow::Result<u32> {
    let value: u32 = text.parse().context("seconds are a whole number")?;
    ensure!(value <= MOST_SECONDS, "{value} seconds are more than 31 days");
    Ok(value)
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MAGIC}\nstart {}\nlength {}", self.start, self.length)?;
        for Fault { at, lasts, kind } in &self.faults {
            match kind {
                Kind::Silent(None) => writeln!(f, "silent {at} {lasts}")?,
                Kind::Silent(Some(relay)) => writeln!(f, "silent {at} {lasts} {relay}")?,
                Kind::Lossy(percent) => writeln!(f, "lossy {at} {lasts} {percent}")?,
                Kind::Absurd => writeln!(f, "absurd {at} {lasts}")?,
                Kind::Deaf => writeln!(f, "deaf {at} {lasts}")?,
            }
        }
        self.sessions.iter().try_for_each(|session| writeln!(f, "session {} {}", session.at, session.lasts))
    }
}
