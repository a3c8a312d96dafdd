//! What becomes of an occurrence: the policies as pure functions.

use jiff::tz::Offset;
use jiff::Timestamp;
use libcolibri::config::hash;
use libcolibri::cron::Cron;
use libcolibri::msg::Planned;
use libcolibri::schedule::{CatchUp, Overlap, Schedule};

/// An occurrence that is looked at within this time of its planned one, in milliseconds, is not
/// late: schedd and the loop may be busy, and schedd looks at the clock once a minute.
pub const GRACE_MS: u64 = 60_000;
/// Most occurrences of one schedule that wait for the end of the one before.
pub const QUEUE_MAX: usize = 100;

/// What is decided about an occurrence that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It comes to pass, now or when the one before it has ended.
    Fire,
    /// It was missed: to be decided with the others.
    Missed,
    /// Nothing comes of it: a word and a sentence.
    Skip(&'static str, String),
}

/// About an occurrence that is `late_ms` late; `more`: the next one is due as well.
#[must_use]
pub fn look(s: &Schedule, paused: Option<&str>, late_ms: u64, more: bool) -> Verdict {
    if let Some(why) = paused {
        return Verdict::Skip("paused", format!("paused: {why}"));
    }
    if s.late.is_some_and(|limit| late_ms > limit * 1000) {
        return Verdict::Skip("late", format!("{} seconds late", late_ms / 1000));
    }
    if late_ms <= GRACE_MS && !more {
        return Verdict::Fire;
    }
    match s.catch_up {
        CatchUp::Skip => Verdict::Skip("missed", format!("missed by {} seconds", late_ms / 1000)),
        CatchUp::Latest | CatchUp::All => Verdict::Missed,
    }
}

/// How many of those that were missed are made up for: the newest.
#[must_use]
pub fn made_up_for(s: &Schedule) -> usize {
    match s.catch_up {
        CatchUp::Skip => 0,
        CatchUp::Latest => 1,
        CatchUp::All => s.catch_up_max as usize,
    }
}

/// Distances from UTC are whole quarters of an hour, in seconds, and not larger than this.
const QUARTER: i32 = 15 * 60;
const OFFSET_MAX: i32 = 14 * 3600;
/// Minutes of the wall clock that are skipped at once, but for a whole day before midnight.
const SKIPPED_MAX: i64 = 120;
const DAY: i64 = 24 * 60;

/// Whether schedd can say that a cron expression comes then: the wall time is meant, or a skip of
/// the clock ends there in which one was meant. Which zone skips when is for schedd to know.
#[must_use]
pub fn is_wall_time(cron: &Cron, planned: Planned) -> bool {
    let whole = planned.at_ms.is_multiple_of(60_000);
    let offset = planned.offset_s;
    if !whole || offset % QUARTER != 0 || offset.abs() > OFFSET_MAX {
        return false;
    }
    let minute = i64::try_from(planned.at_ms / 60_000).unwrap_or(i64::MAX);
    let minute = minute.saturating_add(i64::from(offset / 60));
    let skipped = match minute.rem_euclid(DAY) {
        0 => DAY,
        m if m % 15 == 0 => SKIPPED_MAX,
        _ => 0,
    };
    (0..=skipped).any(|back| is_meant(cron, minute - back))
}

/// Of a wall time in minutes since 1970.
fn is_meant(cron: &Cron, minute: i64) -> bool {
    let (of_hour, of_day) = (minute.rem_euclid(60), minute.rem_euclid(DAY));
    if cron.minutes & 1 << of_hour == 0 || cron.hours & 1 << (of_day / 60) == 0 {
        return false;
    }
    let Ok(at) = Timestamp::from_second(minute.saturating_mul(60)) else {
        return false;
    };
    let date = Offset::UTC.to_datetime(at).date();
    let weekday = date.weekday().to_sunday_zero_offset();
    cron.months & 1 << date.month() != 0
        && cron.has_day(date.day().unsigned_abs(), weekday.unsigned_abs())
}

/// Most occurrences in [`WINDOW_MS`], whatever the clock does in it: those of one day, and one at
/// the end of a skipped one.
#[must_use]
pub fn most_in_window(cron: &Cron) -> u64 {
    u64::from(cron.minutes.count_ones() * cron.hours.count_ones()) + 1
}

/// Two hours less than a day, in milliseconds: no day is shorter.
pub const WINDOW_MS: u64 = 22 * 3600 * 1000;

/// What an occurrence does that may come to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its task is made.
    Start,
    /// It waits for the end of the one before.
    Wait,
    /// The same, in place of those that wait already, and the one before is to end.
    Replace,
    /// Nothing: the one before has not ended.
    Busy,
    /// Nothing: too many wait.
    Full,
}

/// With `open` tasks of earlier occurrences and `waiting` ones.
#[must_use]
pub fn overlap(s: &Schedule, open: usize, waiting: usize) -> Step {
    match s.overlap {
        Overlap::Allow => Step::Start,
        _ if open == 0 && waiting == 0 => Step::Start,
        Overlap::Skip => Step::Busy,
        Overlap::Queue if waiting >= QUEUE_MAX => Step::Full,
        Overlap::Queue => Step::Wait,
        Overlap::Replace => Step::Replace,
    }
}

/// Milliseconds by which a task comes after its planned time: the same each time that it is
/// computed for an occurrence, and spread over all of them.
#[must_use]
pub fn jitter_ms(s: &Schedule, schedule: u64, planned_ms: u64) -> u64 {
    let bytes = [schedule.to_le_bytes(), planned_ms.to_le_bytes()].concat();
    let whole = u64::from(s.jitter) * 1000;
    // The upper bits of the hash depend on all bytes.
    u64::try_from((u128::from(hash(&bytes)) * u128::from(whole)) >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(more: &str) -> Schedule {
        serde_json::from_str(&format!("{{\"title\":\"t\",\"every\":60{more}}}")).unwrap()
    }

    #[test]
    fn what_is_on_time_fires_and_what_was_missed_follows_the_policy() {
        let s = schedule("");
        assert_eq!(look(&s, None, 0, false), Verdict::Fire);
        assert_eq!(look(&s, None, GRACE_MS, false), Verdict::Fire);
        assert_eq!(look(&s, None, GRACE_MS + 1, false), Verdict::Missed);
        assert_eq!(look(&s, None, 0, true), Verdict::Missed);
        let skip = schedule(r#","catch_up":"skip""#);
        let verdict = look(&skip, None, GRACE_MS + 1, false);
        assert!(matches!(verdict, Verdict::Skip("missed", _)));
        assert_eq!(look(&skip, None, 10, false), Verdict::Fire);
        let late = schedule(r#","late":300,"catch_up":"all""#);
        assert_eq!(look(&late, None, 300_000, true), Verdict::Missed);
        let verdict = look(&late, None, 300_001, true);
        assert!(matches!(verdict, Verdict::Skip("late", _)));
        let verdict = look(&s, Some("by hand"), 0, false);
        assert!(matches!(verdict, Verdict::Skip("paused", _)));
        assert_eq!(
            (made_up_for(&s), made_up_for(&skip), made_up_for(&late)),
            (1, 0, 10)
        );
    }

    #[test]
    fn an_earlier_one_that_has_not_ended_is_heeded_as_the_schedule_says() {
        let with = |word: &str| schedule(&format!(",\"overlap\":\"{word}\""));
        for word in ["skip", "queue", "replace", "allow"] {
            assert_eq!(overlap(&with(word), 0, 0), Step::Start);
        }
        assert_eq!(overlap(&schedule(""), 1, 0), Step::Busy);
        assert_eq!(overlap(&with("queue"), 1, 0), Step::Wait);
        assert_eq!(overlap(&with("queue"), 0, 1), Step::Wait);
        assert_eq!(overlap(&with("queue"), 1, QUEUE_MAX), Step::Full);
        assert_eq!(overlap(&with("replace"), 1, 3), Step::Replace);
        assert_eq!(overlap(&with("allow"), 9, 0), Step::Start);
    }

    #[test]
    fn only_wall_times_that_are_meant_are_believed() {
        let planned = |text: &str, offset_s| {
            let at: Timestamp = text.parse().unwrap();
            let at_ms = u64::try_from(at.as_millisecond()).unwrap();
            Planned { at_ms, offset_s }
        };
        let is =
            |cron: &str, text, offset| is_wall_time(&cron.parse().unwrap(), planned(text, offset));
        assert!(is("30 2 * * *", "2025-06-01T00:30:00Z", 7200));
        assert!(!is("30 2 * * *", "2025-06-01T00:31:00Z", 7200));
        assert!(!is("30 2 * * *", "2025-06-01T00:30:01Z", 7200));
        assert!(!is("30 2 * * *", "2025-06-01T00:29:00Z", 7260));
        assert!(!is("30 2 2 * *", "2025-06-01T00:30:00Z", 7200));
        assert!(is("30 2 * * SUN", "2025-06-01T00:30:00Z", 7200));
        assert!(!is("30 2 * * MON", "2025-06-01T00:30:00Z", 7200));
        assert!(is("45 5 1 1 *", "2025-01-01T00:00:00Z", 20700));
        // The end of a skip: 2:30 is none on that day in Berlin, nor the 30th in Apia.
        assert!(is("30 2 * * *", "2025-03-30T01:00:00Z", 7200));
        assert!(is("0 12 * * *", "2011-12-30T10:00:00Z", 14 * 3600));
        assert!(!is("30 2 * * *", "2025-03-30T05:00:00Z", 7200));
        assert!(!is("0 0 1 1 *", "2025-06-01T00:00:00Z", 0));
        assert!(!is("* * * * *", "9999-12-30T20:00:00Z", 15 * 3600));
    }

    #[test]
    fn jitter_is_stable_and_spread() {
        let s = schedule(r#","jitter":60"#);
        let all: Vec<u64> = (0..1000).map(|n| jitter_ms(&s, 7, n * 60_000)).collect();
        assert!(all.iter().all(|j| *j < 60_000));
        let halves = all.iter().filter(|j| **j < 30_000).count();
        assert!((400..600).contains(&halves), "{halves}");
        assert_eq!(jitter_ms(&s, 7, 60_000), all[1]);
        assert_eq!(jitter_ms(&schedule(""), 7, 60_000), 0);
    }
}
