//! What earlier days or weeks needed at this time. It can only raise.

use jiff::{SignedDuration, Timestamp, Unit, Zoned, ZonedRound};

use super::past::plus;
use super::policy::Seasonal;
use crate::api::relay_pool::MAX_RELAYS;
use crate::api::scaling::{PastSeason, ScalingPast, Season};

/// Length of one slot.
const SLOT: SignedDuration = SignedDuration::from_mins(30);
/// Slots of a day.
const SLOTS_A_DAY: i32 = 48;
/// More seats no pool has.
const MOST_SEATS: i32 = MAX_RELAYS * 10_000;
/// Nothing was seen in this slot yet.
const UNSEEN: i32 = -1;

/// Remembers what is asked for now, and says what earlier seasons needed between now and the end of the look ahead.
pub(super) fn look(seasonal: Option<&Seasonal>, past: &mut ScalingPast, asked: i64, now: Timestamp) -> i64 {
    let Some(seasonal) = seasonal else {
        past.season = None;
        return 0;
    };
    let slots = match seasonal.season {
        Season::Day => SLOTS_A_DAY,
        Season::Week => SLOTS_A_DAY * 7,
    };
    let slot = slot(seasonal, now);
    let asked = i32::try_from(asked).unwrap_or(i32::MAX).min(MOST_SEATS);
    let kept = past.season.take().filter(|season| i32::try_from(season.peaks.len()) == Ok(slots));
    let mut season =
        kept.unwrap_or_else(|| PastSeason { peaks: (0..slots).map(|_| UNSEEN).collect(), slot, peak: asked });
    if season.slot != slot {
        close(&mut season);
        (season.slot, season.peak) = (slot, asked);
    }
    season.peak = season.peak.max(asked);
    let until = slot_of_later(seasonal, now);
    let needed = ring(slot, until, slots).filter_map(|slot| season.peaks.get(usize::try_from(slot).ok()?)).max();
    let needed = i64::from(needed.copied().unwrap_or(0).max(0));
    past.season = Some(season);
    needed
}

/// The slot that ends goes into the memory: half of it is new, so that one odd day does not stay.
fn close(season: &mut PastSeason) {
    let peak = season.peak;
    let Some(kept) = usize::try_from(season.slot).ok().and_then(|slot| season.peaks.get_mut(slot)) else { return };
    *kept = if *kept == UNSEEN { peak } else { kept.saturating_add(peak).saturating_add(1) / 2 };
}

/// Slots from one to another, around the end of the season.
fn ring(from: i32, to: i32, slots: i32) -> impl Iterator<Item = i32> {
    let count = (to - from).rem_euclid(slots) + 1;
    (0..count).map(move |step| (from + step) % slots)
}

fn slot(seasonal: &Seasonal, now: Timestamp) -> i32 {
    let local = now.to_zoned(seasonal.zone.clone());
    let half_hours = i32::from(local.hour()) * 2 + i32::from(local.minute() / 30);
    match seasonal.season {
        Season::Day => half_hours,
        Season::Week => i32::from(local.weekday().to_monday_zero_offset()) * SLOTS_A_DAY + half_hours,
    }
}

fn slot_of_later(seasonal: &Seasonal, now: Timestamp) -> i32 {
    slot(seasonal, plus(now, seasonal.ahead))
}

/// When the answer may be another: the next slot begins, now or where it looks ahead.
pub(super) fn next(seasonal: &Seasonal, now: Timestamp) -> Option<Timestamp> {
    let begins = |time: Timestamp| -> Option<Timestamp> {
        let local = time.to_zoned(seasonal.zone.clone());
        let begun: Zoned =
            local.round(ZonedRound::new().smallest(Unit::Minute).increment(30).mode(jiff::RoundMode::Trunc)).ok()?;
        Some(plus(begun.timestamp(), SLOT))
    };
    let later = plus(begins(plus(now, seasonal.ahead))?, -seasonal.ahead);
    [begins(now)?, later].into_iter().filter(|time| *time > now).min()
}
