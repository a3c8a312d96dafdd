//! When something is planned: from a rule and a zone to instants. Pure.
//!
//! Wall times are put in order of the calendar, and each is planned once: one that the clock skips
//! at the instant of the skip, one that it repeats the first time.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::Timestamp;
use libcolibri::cron::Cron;
use libcolibri::msg::{Planned, When};

/// A rule may be silent for so many years: 29 February may have to wait for eight.
const YEARS: i16 = 9;

/// The first planned time after `after_ms`, if there is one. Milliseconds since 1970.
#[must_use]
pub fn next(when: &When, zone: &TimeZone, after_ms: u64) -> Option<u64> {
    match *when {
        When::Cron(cron) => {
            let after = Timestamp::from_millisecond(i64::try_from(after_ms).ok()?).ok()?;
            let at = next_cron(&cron, zone, after)?;
            u64::try_from(at.as_millisecond()).ok()
        }
        When::Every {
            anchor_ms,
            every_ms,
        } => {
            let passed = after_ms.saturating_sub(anchor_ms) / every_ms;
            anchor_ms.checked_add(every_ms.checked_mul(passed.checked_add(1)?)?)
        }
        When::Once { at_ms } => (at_ms > after_ms).then_some(at_ms),
    }
}

/// The planned time with the zone's distance from UTC.
#[must_use]
pub fn planned(zone: &TimeZone, at_ms: u64) -> Planned {
    let at = i64::try_from(at_ms).ok();
    let at = at.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Planned {
        at_ms,
        offset_s: at.map_or(0, |at| zone.to_offset(at).seconds()),
    }
}

fn next_cron(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    // Later wall times never mean earlier instants, so nothing before the present one matters.
    let mut from = zone.to_datetime(after);
    loop {
        let wall = next_wall(cron, from)?;
        let at = instant(zone, wall)?;
        if at > after {
            return Some(at);
        }
        from = wall.checked_add(jiff::SignedDuration::from_mins(1)).ok()?;
    }
}

/// The first minute of the calendar from the one of `from` on that the expression means.
fn next_wall(cron: &Cron, from: DateTime) -> Option<DateTime> {
    let last = from.year().saturating_add(YEARS);
    let mut date = from.date();
    let mut time = (from.hour() as u32, from.minute() as u32);
    while date.year() <= last {
        if cron.months & 1 << date.month() == 0 {
            date = first_of_next_month(date)?;
        } else {
            let weekday = date.weekday().to_sunday_zero_offset();
            if cron.has_day(date.day() as u8, weekday as u8) {
                if let Some((hour, minute)) = next_time(cron, time) {
                    return Some(date.at(hour as i8, minute as i8, 0, 0));
                }
            }
            date = date.tomorrow().ok()?;
        }
        time = (0, 0);
    }
    None
}

fn first_of_next_month(date: Date) -> Option<Date> {
    date.last_of_month().tomorrow().ok()
}

/// The first time of day from `hour`:`minute` on.
fn next_time(cron: &Cron, (hour, minute): (u32, u32)) -> Option<(u32, u32)> {
    let this_hour = cron.minutes >> minute;
    if cron.hours & 1 << hour != 0 && this_hour != 0 {
        return Some((hour, minute + this_hour.trailing_zeros()));
    }
    let later = u64::from(cron.hours) >> (hour + 1);
    let first = cron.minutes.trailing_zeros();
    (later != 0).then(|| (hour + 1 + later.trailing_zeros(), first))
}

/// The instant at which a wall time is planned.
fn instant(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
        AmbiguousOffset::Gap { before, .. } => {
            // By the clock as it went before the skip, this is at or soon after the skip.
            let beyond = before.to_timestamp(wall).ok()?;
            let beyond = beyond
                .checked_add(jiff::SignedDuration::from_secs(1))
                .ok()?;
            Some(zone.preceding(beyond).next()?.timestamp())
        }
    }
}
