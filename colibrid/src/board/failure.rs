//! What the end of a run means for its task: pure, from what is recorded of the run.

use libcolibri::state::{Exit, State};

use super::lifecycle::{Class, Happened};

/// Why the end of a task's run was wanted. Stored with the claim: the first reason counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopWhy {
    /// Somebody cancelled the task.
    Cancel,
    /// Somebody stopped the run.
    Run,
    /// The task's deadline passed.
    Deadline,
    /// The suite was stopped.
    Suite,
    /// The task's budget is spent.
    Budget,
}

impl StopWhy {
    const ALL: [StopWhy; 5] = [
        StopWhy::Cancel,
        StopWhy::Run,
        StopWhy::Deadline,
        StopWhy::Suite,
        StopWhy::Budget,
    ];

    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StopWhy::Cancel => "cancel",
            StopWhy::Run => "run",
            StopWhy::Deadline => "deadline",
            StopWhy::Suite => "suite",
            StopWhy::Budget => "budget",
        }
    }

    /// In a sentence.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            StopWhy::Cancel => "it was cancelled",
            StopWhy::Run => "its run was stopped",
            StopWhy::Deadline => "the deadline passed",
            StopWhy::Suite => "the suite was stopped",
            StopWhy::Budget => "the budget is spent",
        }
    }

    /// The reason of a stored word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<StopWhy> {
        StopWhy::ALL.into_iter().find(|w| w.as_str() == word)
    }
}

/// The end of a run, proven.
#[derive(Debug, Clone, Copy)]
pub struct RunEnd<'a> {
    /// Its last state.
    pub state: State,
    /// Why.
    pub reason: &'a str,
    /// How its process ended; `None` = nobody saw it or it was never started.
    pub exit: Option<Exit>,
    /// Why its end was wanted, if it was.
    pub stop: Option<StopWhy>,
}

/// What the end of its run means for a task. A result counts also when it came after somebody
/// wanted the end.
#[must_use]
pub fn of_run(end: &RunEnd<'_>) -> Happened {
    match (end.state, end.stop) {
        (State::Done, _) => Happened::Succeeded,
        (_, Some(StopWhy::Cancel | StopWhy::Run)) => Happened::Cancelled,
        (_, Some(StopWhy::Deadline)) => Happened::Failed(Class::Deadline),
        (_, Some(StopWhy::Suite)) => Happened::Returned,
        (_, Some(StopWhy::Budget)) => Happened::Failed(Class::Budget),
        (State::Error, None) => Happened::Failed(class(end.reason, end.exit)),
        _ => Happened::Failed(Class::Agent),
    }
}

/// Words in a provider's error that stand for a refusal that another attempt meets again.
const REFUSED: [&str; 8] = [
    "401",
    "403",
    "api key",
    "authentication",
    "billing",
    "context length",
    "prompt is too long",
    "quota",
];

/// Words that stand for something that passes.
const PASSING: [&str; 14] = [
    "408",
    "429",
    "500",
    "502",
    "503",
    "504",
    "529",
    "overloaded",
    "rate limit",
    "timeout",
    "timed out",
    "connection",
    "network",
    "fetch failed",
];

/// The class of an error. Reasons are written by Pi and by the monitor, and only these words of
/// them are looked at: what is not recognised is the agent's own failure, which is not repeated.
fn class(reason: &str, exit: Option<Exit>) -> Class {
    let reason = reason.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| contains_word(&reason, w));
    if reason.starts_with("not started") {
        return match reason.contains("no such profile") {
            true => Class::Agent,
            false => Class::Start,
        };
    }
    if reason == "monitor lost" || reason == "stream ended early" {
        return Class::Crash;
    }
    if has(&REFUSED) {
        return Class::Refused;
    }
    if has(&PASSING) {
        return Class::Provider;
    }
    match exit {
        Some(Exit::Signal(_)) => Class::Crash,
        Some(Exit::NotStarted(_)) => Class::Start,
        _ => Class::Agent,
    }
}

/// Whether `word` stands in `text` and is not part of a longer number: 500 is not in 15003.
fn contains_word(text: &str, word: &str) -> bool {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let number = word.bytes().all(|b| b.is_ascii_digit());
    text.match_indices(word).any(|(at, _)| {
        !number
            || !(digit(text[..at].chars().next_back())
                || digit(text[at + word.len()..].chars().next()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(state: State, reason: &str, exit: Exit, stop: Option<StopWhy>) -> Happened {
        of_run(&RunEnd {
            state,
            reason,
            exit: Some(exit),
            stop,
        })
    }

    #[test]
    fn a_result_counts_whoever_wanted_the_end() {
        for stop in StopWhy::ALL.map(Some).into_iter().chain([None]) {
            let h = end(State::Done, "", Exit::Code(0), stop);
            assert_eq!(h, Happened::Succeeded);
        }
    }

    #[test]
    fn a_wanted_end_is_what_it_was_wanted_for() {
        let stopped = |why| end(State::Idle, "stopped", Exit::Code(143), Some(why));
        assert_eq!(stopped(StopWhy::Cancel), Happened::Cancelled);
        assert_eq!(stopped(StopWhy::Run), Happened::Cancelled);
        assert_eq!(stopped(StopWhy::Suite), Happened::Returned);
        assert_eq!(
            stopped(StopWhy::Deadline),
            Happened::Failed(Class::Deadline)
        );
        assert_eq!(stopped(StopWhy::Budget), Happened::Failed(Class::Budget));
        for why in StopWhy::ALL {
            assert_eq!(StopWhy::from_word(why.as_str()), Some(why));
        }
    }

    #[test]
    fn failures_have_a_class() {
        let class_of = |reason, exit| match end(State::Error, reason, exit, None) {
            Happened::Failed(c) => c,
            other => panic!("{other:?}"),
        };
        for (reason, exit, class) in [
            ("429 Too Many Requests", Exit::Code(1), Class::Provider),
            ("fetch failed", Exit::Code(1), Class::Provider),
            (
                "401 Incorrect API key provided",
                Exit::Code(1),
                Class::Refused,
            ),
            ("monitor lost", Exit::Unseen, Class::Crash),
            ("exit -9", Exit::Signal(9), Class::Crash),
            ("exit 3", Exit::Code(3), Class::Agent),
            ("ran 15003 steps", Exit::Code(3), Class::Agent),
            ("not started: errno 2", Exit::NotStarted(2), Class::Start),
            (
                "not started: colibri-spawnd has no such profile",
                Exit::Unseen,
                Class::Agent,
            ),
        ] {
            assert_eq!(class_of(reason, exit), class, "{reason}");
        }
        let idle = end(State::Idle, "aborted", Exit::Code(0), None);
        assert_eq!(idle, Happened::Failed(Class::Agent));
    }
}
