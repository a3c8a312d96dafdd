//! What becomes of an occurrence: the policies as pure functions.

use libcolibri::config::hash;
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
