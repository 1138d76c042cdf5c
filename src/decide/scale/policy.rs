//! From a policy as a person wrote it to one that decisions can be made of: bounds held, times parsed.
//!
//! The API server holds the bounds too; a file that `convene simulate` reads has met no API server.

use std::sync::LazyLock;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use crate::api::relay_pool::MAX_RELAYS;
use crate::api::scaling::{Buffer, ScaleDown, ScaleUp, Scaling, Schedule, Season};

/// A policy that cannot be followed: what is wrong, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPolicy(String);

/// A policy that can be followed. Reading it takes some work: once for each generation of a pool is enough.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) buffer: Free,
    /// Seats of a relay that is yet to be made.
    pub(super) per_relay: i32,
    pub(super) up: Pace,
    pub(super) down: Pace,
    pub(super) schedules: Vec<Floor>,
    pub(super) zero_after: Option<SignedDuration>,
    pub(super) forecast: Option<Seasonal>,
}

/// Seats to keep free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Free {
    Seats(i64),
    /// Of all seats.
    Percent(i64),
}

/// How fast the pool may move in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) window: SignedDuration,
    pub(super) period: SignedDuration,
    pub(super) replicas: i32,
    pub(super) percent: i32,
}

/// A schedule.
#[derive(Clone, Debug)]
pub(super) struct Floor {
    pub(super) name: String,
    pub(super) start: Cron,
    pub(super) end: Cron,
    pub(super) zone: TimeZone,
    pub(super) replicas: i32,
}

/// A forecast.
#[derive(Clone, Debug)]
pub(super) struct Seasonal {
    pub(super) season: Season,
    pub(super) ahead: SignedDuration,
    pub(super) zone: TimeZone,
}

impl Policy {
    /// Reads what a person wrote. `sessions_per_relay` is the pool's.
    pub fn of(scaling: &Scaling, sessions_per_relay: i32) -> Result<Self, BadPolicy> {
        within("sessionsPerRelay", sessions_per_relay, 1, 10_000)?;
        within("maxReplicas", scaling.max_replicas, 1, MAX_RELAYS)?;
        within("minReplicas", scaling.min_replicas, 1, scaling.max_replicas)?;
        if scaling.schedules.len() > 16 {
            return Err(BadPolicy(format!("schedules: {} are too many, 16 is the most", scaling.schedules.len())));
        }
        let schedules = scaling.schedules.iter().map(|schedule| Floor::of(schedule, scaling.max_replicas));
        let zero = scaling.scale_to_zero.as_ref().map(|zero| zero.after_seconds);
        if let Some(seconds) = zero {
            within("scaleToZero.afterSeconds", seconds, 60, 604_800)?;
        }
        Ok(Self {
            min: scaling.min_replicas,
            max: scaling.max_replicas,
            buffer: free(scaling.buffer.as_ref())?,
            per_relay: sessions_per_relay,
            up: up(&scaling.up)?,
            down: down(&scaling.down)?,
            schedules: schedules.collect::<Result<_, _>>()?,
            zero_after: zero.map(seconds),
            forecast: match &scaling.forecast {
                None => None,
                Some(forecast) => {
                    within("forecast.aheadSeconds", forecast.ahead_seconds, 0, 3600)?;
                    let zone = zone("forecast.timeZone", &forecast.time_zone)?;
                    Some(Seasonal { season: forecast.season, ahead: seconds(forecast.ahead_seconds), zone })
                }
            },
        })
    }

    /// Seats that so many sessions need, those kept free included.
    pub(super) fn seats(&self, sessions: i64) -> i64 {
        match self.buffer {
            Free::Seats(seats) => sessions.saturating_add(seats),
            Free::Percent(percent) => div_ceil(sessions.saturating_mul(100), 100 - percent),
        }
    }
}

impl Floor {
    fn of(schedule: &Schedule, max: i32) -> Result<Self, BadPolicy> {
        let at = format!("schedules[{}]", schedule.name);
        within(&format!("{at}.minReplicas"), schedule.min_replicas, 1, max)?;
        Ok(Self {
            name: schedule.name.clone(),
            start: cron(&format!("{at}.start"), &schedule.start)?,
            end: cron(&format!("{at}.end"), &schedule.end)?,
            zone: zone(&format!("{at}.timeZone"), &schedule.time_zone)?,
            replicas: schedule.min_replicas,
        })
    }
}

fn free(buffer: Option<&Buffer>) -> Result<Free, BadPolicy> {
    let Some(buffer) = buffer else { return Ok(Free::Percent(20)) };
    match (buffer.seats, buffer.percent) {
        (Some(seats), None) => {
            within("buffer.seats", seats, 0, 100_000)?;
            Ok(Free::Seats(seats.into()))
        }
        (None, Some(percent)) => {
            within("buffer.percent", percent, 0, 90)?;
            Ok(Free::Percent(percent.into()))
        }
        _ => Err(BadPolicy("buffer: set exactly one of seats, percent".to_owned())),
    }
}

fn up(rule: &ScaleUp) -> Result<Pace, BadPolicy> {
    within("up.stepPercent", rule.step_percent, 0, 1000)?;
    pace("up", [rule.window_seconds, rule.period_seconds, rule.step_replicas, rule.step_percent])
}

fn down(rule: &ScaleDown) -> Result<Pace, BadPolicy> {
    within("down.stepPercent", rule.step_percent, 0, 100)?;
    pace("down", [rule.window_seconds, rule.period_seconds, rule.step_replicas, rule.step_percent])
}

fn pace(at: &str, [window, period, replicas, percent]: [i32; 4]) -> Result<Pace, BadPolicy> {
    within(&format!("{at}.windowSeconds"), window, 0, 3600)?;
    within(&format!("{at}.periodSeconds"), period, 1, 1800)?;
    within(&format!("{at}.stepReplicas"), replicas, 0, MAX_RELAYS)?;
    if replicas == 0 && percent == 0 {
        return Err(BadPolicy(format!("{at}: stepReplicas or stepPercent must be above 0: the pool could not move")));
    }
    Ok(Pace { window: seconds(window), period: seconds(period), replicas, percent })
}

/// A time that comes again. One that never does is refused here, since looking for it takes long.
fn cron(at: &str, text: &str) -> Result<Cron, BadPolicy> {
    let bad = |why: String| BadPolicy(format!("{at}: `{text}` {why}; it is minute, hour, day, month, day of week"));
    if text.len() > 100 {
        return Err(bad("is longer than 100 characters".to_owned()));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(text).map_err(|error| bad(format!("is no time of cron: {error}")))?;
    cron.find_next_occurrence(&date(2024, 1, 1).at(0, 0, 0, 0), true).map_err(|_| bad("never comes".to_owned()))?;
    Ok(cron)
}

/// A time zone, from those that are compiled in.
fn zone(at: &str, name: &str) -> Result<TimeZone, BadPolicy> {
    static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    let found = ZONES.get(name);
    found.map_err(|_| BadPolicy(format!("{at}: `{name}` is no time zone; take an IANA name such as Europe/Berlin")))
}

fn within(at: &str, value: i32, least: i32, most: i32) -> Result<(), BadPolicy> {
    let inside = (least..=most).contains(&value);
    if inside { Ok(()) } else { Err(BadPolicy(format!("{at}: {value} is not from {least} to {most}"))) }
}

fn seconds(seconds: i32) -> SignedDuration {
    SignedDuration::from_secs(seconds.into())
}

/// Rounded up, of what is not negative.
pub(super) fn div_ceil(value: i64, by: i64) -> i64 {
    value / by + i64::from(value % by > 0)
}

impl Floor {
    /// Whether the time is between a start and the next end.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        let now = now.to_zoned(self.zone.clone());
        let last = |cron: &Cron| cron.find_previous_occurrence(&now, true).ok().map(|time| time.timestamp());
        // Where both come at once, it goes on.
        last(&self.start).is_some_and(|start| last(&self.end).is_none_or(|end| start >= end))
    }

    /// When the next start or end is.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let now = now.to_zoned(self.zone.clone());
        let next = |cron: &Cron| cron.find_next_occurrence(&now, false).ok().map(|time| time.timestamp());
        [next(&self.start), next(&self.end)].into_iter().flatten().min()
    }
}
