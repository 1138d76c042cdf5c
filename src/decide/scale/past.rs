//! What scaling remembers: windows, steps, and clocks that stand still while something is unknown.

use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::policy::{Pace, Policy};
use crate::api::scaling::{PastChange, PastNeed, ScalingPast};

/// Changes that are remembered.
const MOST_CHANGES: usize = 64;

impl ScalingPast {
    /// Where nothing is remembered yet: there are so many relays, and so many count as needed until now.
    pub fn begin(replicas: i32) -> Self {
        Self { replicas, needed: replicas, ..Self::default() }
    }
}

/// A time as status can hold it.
pub(super) fn whole(now: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// A time and some more. What stands in a status need not be a time that anybody has lived in.
pub(super) fn plus(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(time)
}

/// Whether a time is within the window that ends now.
fn inside(MicroTime(time): &MicroTime, window: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(*time) < window
}

/// The time by the clock that stands still while something is unknown. On its return, what the clock measures is moved by
/// the time that it stood.
pub(super) fn clock(past: &mut ScalingPast, known: bool, now: Timestamp) -> Timestamp {
    let since = past.unknown_since.as_ref().map(|MicroTime(since)| (*since).min(now));
    if !known {
        past.unknown_since = Some(MicroTime(since.unwrap_or(now)));
        return since.unwrap_or(now);
    }
    past.unknown_since = None;
    if let Some(since) = since {
        let stood = now.duration_since(since);
        let later = |time: &mut MicroTime| time.0 = plus(time.0, stood).min(now);
        past.peaks.iter_mut().for_each(|peak| later(&mut peak.until));
        past.idle_since.iter_mut().for_each(later);
    }
    now
}

/// Remembers what is needed from now on. What a window can no longer tell apart is forgotten: of the peaks only those
/// that are above all that came after them stay, so there are never more of them than relays.
pub(super) fn record(past: &mut ScalingPast, policy: &Policy, needed: i32, clock: Timestamp, now: Timestamp) {
    let was = past.needed;
    if needed == was {
        return;
    }
    past.needed = needed;
    past.peaks.retain(|peak| peak.replicas > needed.max(was) && inside(&peak.until, policy.down.window, clock));
    past.troughs.retain(|trough| trough.replicas < needed.min(was) && inside(&trough.until, policy.up.window, now));
    if needed < was && !policy.down.window.is_zero() {
        past.peaks.push(PastNeed { replicas: was, until: MicroTime(clock) });
    } else if needed > was && !policy.up.window.is_zero() {
        past.troughs.push(PastNeed { replicas: was, until: MicroTime(now) });
    }
}

/// The highest need within the window of shrinking.
pub(super) fn highest(past: &ScalingPast, pace: &Pace, clock: Timestamp) -> i32 {
    let recent = past.peaks.iter().filter(|peak| inside(&peak.until, pace.window, clock));
    recent.map(|peak| peak.replicas).fold(past.needed, i32::max)
}

/// The lowest need within the window of growing.
pub(super) fn lowest(past: &ScalingPast, pace: &Pace, now: Timestamp) -> i32 {
    let recent = past.troughs.iter().filter(|trough| inside(&trough.until, pace.window, now));
    recent.map(|trough| trough.replicas).fold(past.needed, i32::min)
}

/// How far the pool may grow now: from what there was when the period began, or from a floor that was ordered since.
pub(super) fn most(past: &ScalingPast, pace: &Pace, floor: i32, now: Timestamp) -> i32 {
    let (added, removed) = moved(past, pace.period, now);
    let began = began(past, added, removed).max(floor).max(1);
    let room = step(pace, began).saturating_sub(added);
    past.replicas.saturating_add(room.max(0)).max(floor)
}

/// How far the pool may shrink now.
pub(super) fn least(past: &ScalingPast, pace: &Pace, now: Timestamp) -> i32 {
    let (added, removed) = moved(past, pace.period, now);
    let room = step(pace, began(past, added, removed)).saturating_sub(removed);
    past.replicas.saturating_sub(room.max(0))
}

/// Relays when the period began.
fn began(past: &ScalingPast, added: i32, removed: i32) -> i32 {
    past.replicas.saturating_sub(added).saturating_add(removed)
}

/// Relays of one step. A part of a relay counts as one: otherwise a small pool could not move.
fn step(pace: &Pace, began: i32) -> i32 {
    let share = super::policy::div_ceil(i64::from(began.max(0)) * i64::from(pace.percent), 100);
    pace.replicas.max(i32::try_from(share).unwrap_or(i32::MAX))
}

/// Relays added and removed within the period that ends now.
fn moved(past: &ScalingPast, period: SignedDuration, now: Timestamp) -> (i32, i32) {
    let recent = past.changes.iter().filter(|change| inside(&change.at, period, now));
    recent.fold((0, 0), |(added, removed), change| {
        let by = change.to.saturating_sub(change.from);
        (added.saturating_add(by.max(0)), removed.saturating_add(0.max(-by.max(-i32::MAX))))
    })
}

/// Remembers a change.
pub(super) fn change(past: &mut ScalingPast, policy: &Policy, to: i32, now: Timestamp) {
    if to == past.replicas {
        return;
    }
    let longest = policy.up.period.max(policy.down.period);
    past.changes.retain(|change| inside(&change.at, longest, now));
    if past.changes.len() == MOST_CHANGES {
        past.changes.remove(0);
    }
    past.changes.push(PastChange { at: MicroTime(now), from: past.replicas, to });
    past.replicas = to;
}

/// When time alone may change the answer: a peak or a trough leaves its window, or a change its period.
pub(super) fn expiries(past: &ScalingPast, policy: &Policy) -> Vec<Timestamp> {
    let (needs, pace) = match past.needed.cmp(&past.replicas) {
        Ordering::Less => (&past.peaks, &policy.down),
        Ordering::Equal => return Vec::new(),
        Ordering::Greater => (&past.troughs, &policy.up),
    };
    let windows = needs.iter().map(|need| plus(need.until.0, pace.window));
    windows.chain(past.changes.iter().map(|change| plus(change.at.0, pace.period))).collect()
}
