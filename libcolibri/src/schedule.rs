//! A schedule as people write it, in the config or in a request: when, what then, and what if not.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::config::{is_name, CAPABILITIES_MAX};
use crate::cron::Cron;
use crate::msg::{TEXT_MAX, ZONE_MAX};
use crate::record::SHORT;
use crate::skill;

/// Longest interval, in seconds: ten years.
const EVERY_MAX: u64 = 10 * 366 * 86_400;
/// Most missed occurrences that are made up for.
const CATCH_UP_MAX: u32 = 1000;
/// Longest jitter, in seconds.
const JITTER_MAX: u32 = 86_400;

/// What becomes of occurrences that were missed: the clock had gone on when they were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatchUp {
    /// Nothing.
    Skip,
    /// The newest is made up for; the others are merged into it.
    #[default]
    Latest,
    /// The newest ones, up to a number, are made up for.
    All,
}

/// What becomes of an occurrence while the task of an earlier one has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Nothing.
    #[default]
    Skip,
    /// It waits for the end.
    Queue,
    /// It waits, and the end is brought about.
    Replace,
    /// It does not care.
    Allow,
}

/// A schedule. Exactly one of `cron`, `every` and `at` says when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Wall times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// An interval, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// The interval begins with the end of the occurrence before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub from_end: bool,
    /// Once, at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Zone of the wall times, by its IANA name.
    #[serde(default = "utc")]
    pub zone: String,
    /// Nothing before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Nothing after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// What if it was missed.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// How many are made up for, of `all`.
    #[serde(default = "ten")]
    pub catch_up_max: u32,
    /// Seconds after which an occurrence is too late for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<u64>,
    /// What if the one before has not ended.
    #[serde(default)]
    pub overlap: Overlap,
    /// Seconds within which tasks are spread.
    #[serde(default)]
    pub jitter: u32,
    /// Failures in a row after which it is paused; 0 = never.
    #[serde(default)]
    pub pause_after: u32,
    /// Of the task: what it is called.
    pub title: String,
    /// What is to be done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// What an agent should be able to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The one agent that may do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i32,
    /// What its agent is given to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<String>,
    /// What each task may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

fn utc() -> String {
    "UTC".into()
}

fn ten() -> u32 {
    10
}

fn is_false(b: &bool) -> bool {
    !b
}

/// What is wrong with a schedule: the field and what it must be.
pub type Wrong = (&'static str, String);

/// When a schedule is planned, as far as it says so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Wall times.
    Cron(Cron),
    /// Every so many milliseconds.
    Every(u64),
    /// So many milliseconds after the end of the one before.
    FromEnd(u64),
    /// Once, in milliseconds since 1970.
    Once(u64),
}

impl Schedule {
    /// When.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn rule(&self) -> Result<Rule, Wrong> {
        let rule = match (&self.cron, self.every, &self.at) {
            (Some(text), None, None) => {
                let cron = text.parse::<Cron>();
                Rule::Cron(cron.map_err(|e| ("cron", e.to_string()))?)
            }
            (None, Some(s), None) if s == 0 || s > EVERY_MAX => {
                return Err(("every", format!("must be from 1 to {EVERY_MAX} seconds")));
            }
            (None, Some(s), None) if self.from_end => Rule::FromEnd(s * 1000),
            (None, Some(s), None) => Rule::Every(s * 1000),
            (None, None, Some(_)) => Rule::Once(time("at", self.at.as_deref())?.unwrap_or(0)),
            (None, None, None) => {
                return Err(("cron", "missing: one of cron, every and at".into()));
            }
            _ => return Err(("cron", "only one of cron, every and at".into())),
        };
        if self.from_end && self.every.is_none() {
            return Err(("from_end", "belongs to every".into()));
        }
        Ok(rule)
    }

    /// The first and the last moment at which something may be planned, milliseconds since 1970.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn span(&self) -> Result<(Option<u64>, Option<u64>), Wrong> {
        let (start, end) = (
            time("start", self.start.as_deref())?,
            time("end", self.end.as_deref())?,
        );
        if start.zip(end).is_some_and(|(s, e)| e <= s) {
            return Err(("end", "must be later than start".into()));
        }
        Ok((start, end))
    }

    /// Checks every field.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), Wrong> {
        self.rule()?;
        self.span()?;
        let wrong = |field, what: String| Err((field, what));
        if self.zone.is_empty() || self.zone.len() > ZONE_MAX {
            return wrong("zone", format!("must have 1 to {ZONE_MAX} bytes"));
        }
        if self.catch_up_max == 0 || self.catch_up_max > CATCH_UP_MAX {
            return wrong("catch_up_max", format!("must be from 1 to {CATCH_UP_MAX}"));
        }
        if self.late.is_some_and(|l| l == 0 || l > EVERY_MAX) {
            return wrong("late", format!("must be from 1 to {EVERY_MAX} seconds"));
        }
        if self.jitter > JITTER_MAX {
            return wrong("jitter", format!("must be at most {JITTER_MAX} seconds"));
        }
        if self.title.trim().is_empty() || self.title.len() > SHORT / 2 {
            return wrong("title", format!("must have 1 to {} bytes", SHORT / 2));
        }
        if self.prompt.len() > TEXT_MAX / 2 {
            let what = format!("must have at most {} bytes", TEXT_MAX / 2);
            return wrong("prompt", what);
        }
        // What could not become a task is no schedule.
        let title = longest(&self.title);
        if title > SHORT {
            let what = format!("is longer than {SHORT} bytes when it is filled in");
            return wrong("title", what);
        }
        if title + 2 + longest(&self.prompt) > TEXT_MAX {
            let what =
                format!("is longer than {TEXT_MAX} bytes when it is filled in, title included");
            return wrong("prompt", what);
        }
        let names = || self.capabilities.iter().chain(&self.agent);
        if self.capabilities.len() > CAPABILITIES_MAX || !names().all(|n| is_name(n)) {
            let what = "a name has 1 to 64 letters, digits, dots, dashes or underscores";
            return wrong("capabilities", what.into());
        }
        if !(-1000..=1000).contains(&self.priority) {
            return wrong("priority", "must be from -1000 to 1000".into());
        }
        skill::check_names(&self.skills).map_err(|what| ("skills", what))?;
        let budget = self.budget.as_ref().map_or(Ok(()), Budget::check);
        budget.map_err(|what| ("budget", what))
    }

    /// When it comes, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.rule() {
            Ok(Rule::Cron(cron)) => format!("{}, {}", cron.describe(), self.zone),
            Ok(Rule::Every(ms)) => format!("every {}", seconds(ms / 1000)),
            Ok(Rule::FromEnd(ms)) => format!("{} after the end of the last", seconds(ms / 1000)),
            Ok(Rule::Once(_)) => format!("once, at {}", self.at.as_deref().unwrap_or("")),
            Err((_, what)) => what,
        }
    }
}

/// How long a text can become when its placeholders are filled in.
fn longest(text: &str) -> usize {
    // A local time has 25 bytes, one in UTC, which has milliseconds, 24, and a name 64 at most.
    let grown = [("{planned}", 25), ("{planned_utc}", 24), ("{schedule}", 64)];
    let more = grown.map(|(what, most)| text.matches(what).count() * (most - what.len()));
    text.len() + more.iter().sum::<usize>()
}

/// A length of time in the largest unit that fits.
fn seconds(s: u64) -> String {
    let units = [
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let (size, name) = units
        .into_iter()
        .find(|(size, _)| s.is_multiple_of(*size))
        .unwrap_or((1, "second"));
    match s / size {
        1 => format!("1 {name}"),
        n => format!("{n} {name}s"),
    }
}

fn time(field: &'static str, text: Option<&str>) -> Result<Option<u64>, Wrong> {
    let Some(text) = text else {
        return Ok(None);
    };
    let at = text.parse::<Timestamp>().ok();
    match at.and_then(|t| u64::try_from(t.as_millisecond()).ok()) {
        Some(ms) => Ok(Some(ms)),
        None => Err((field, "must be a time as in RFC 3339, after 1970".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Schedule, Wrong> {
        let s: Schedule = serde_json::from_str(json).expect("the right shape");
        s.check().map(|()| s)
    }

    #[test]
    fn says_in_words_what_it_is() {
        for (json, words) in [
            (r#"{"title":"t","every":90}"#, "every 90 seconds"),
            (r#"{"title":"t","every":3600}"#, "every 1 hour"),
            (
                r#"{"title":"t","every":172800,"from_end":true}"#,
                "2 days after the end of the last",
            ),
            (
                r#"{"title":"t","cron":"@daily","zone":"Europe/Berlin"}"#,
                "at 00:00, Europe/Berlin",
            ),
            (
                r#"{"title":"t","at":"2030-01-01T00:00:00Z"}"#,
                "once, at 2030-01-01T00:00:00Z",
            ),
        ] {
            assert_eq!(of(json).unwrap().describe(), words);
        }
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        for (json, field) in [
            (r#"{"title":"t"}"#, "cron"),
            (r#"{"title":"t","cron":"61 * * * *"}"#, "cron"),
            (r#"{"title":"t","cron":"@daily","every":5}"#, "cron"),
            (r#"{"title":"t","every":0}"#, "every"),
            (
                r#"{"title":"t","cron":"@daily","from_end":true}"#,
                "from_end",
            ),
            (r#"{"title":"t","at":"tomorrow"}"#, "at"),
            (r#"{"title":" ","every":5}"#, "title"),
            (r#"{"title":"t","every":5,"zone":""}"#, "zone"),
            (
                &format!(r#"{{"title":"{}","every":5}}"#, "{schedule}".repeat(20)),
                "title",
            ),
            (
                &format!(
                    r#"{{"title":"t","every":5,"prompt":"{}"}}"#,
                    "{planned}".repeat(14_000)
                ),
                "prompt",
            ),
            (
                r#"{"title":"t","every":5,"catch_up_max":0}"#,
                "catch_up_max",
            ),
            (r#"{"title":"t","every":5,"late":0}"#, "late"),
            (r#"{"title":"t","every":5,"jitter":86401}"#, "jitter"),
            (
                r#"{"title":"t","every":5,"capabilities":["a b"]}"#,
                "capabilities",
            ),
            (r#"{"title":"t","every":5,"priority":1001}"#, "priority"),
            (r#"{"title":"t","every":5,"skills":["a b"]}"#, "skills"),
            (r#"{"title":"t","every":5,"budget":{}}"#, "budget"),
            (
                r#"{"title":"t","every":5,"start":"2030-01-01T00:00:00Z","end":"2029-01-01T00:00:00Z"}"#,
                "end",
            ),
        ] {
            assert_eq!(of(json).unwrap_err().0, field, "{json}");
        }
    }
}
