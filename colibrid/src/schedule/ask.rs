//! Requests about schedules: every limit is checked before anything is done.

use libcolibri::config::is_name;
use libcolibri::msg::PLAN_MAX;
use libcolibri::schedule::{Schedule, Wrong};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::board::ask::time;
use crate::request::{hundred, of, page, Refusal};

/// The commands about schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Add one.
    Add,
    /// All of them.
    List,
    /// One, and when it comes next.
    Get,
    /// When would it come?
    Preview,
    /// The ledger.
    Occurrences,
    /// Nothing comes of it for now.
    Pause,
    /// It goes on.
    Resume,
    /// One occurrence now.
    Run,
    /// It is not wanted any more.
    Remove,
}

/// A request about schedules, whole and checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// `add-schedule`
    Add(String, Box<Schedule>),
    /// `list-schedules`
    List(List),
    /// `get-schedule`
    Get(String),
    /// `preview-schedule`
    Preview(Box<Preview>),
    /// `list-occurrences`
    Occurrences(Occurrences),
    /// `pause-schedule`
    Pause(String, String),
    /// `resume-schedule`
    Resume(String),
    /// `run-schedule`
    Run(String),
    /// `remove-schedule`
    Remove(String),
}

/// Fields of `list-schedules`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// At most so many.
    #[serde(default = "hundred")]
    pub limit: u32,
    /// Only ids above this.
    #[serde(default)]
    pub after: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    schedule: String,
    #[serde(default)]
    reason: String,
}

/// Fields of `list-occurrences`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Occurrences {
    /// Its name.
    pub schedule: String,
    /// At most so many, newest first.
    #[serde(default = "hundred")]
    pub limit: u32,
    /// Only those planned before this time.
    pub before: Option<String>,
}

/// Fields of `preview-schedule`: a name, or an expression with its zone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// Its name.
    pub schedule: Option<String>,
    /// Or wall times.
    pub cron: Option<String>,
    /// And their zone.
    pub zone: Option<String>,
    /// Only times after this one; default: now.
    pub from: Option<String>,
    /// Only times up to this one.
    pub to: Option<String>,
    /// At most so many.
    #[serde(default = "five")]
    pub limit: u32,
}

fn five() -> u32 {
    5
}

impl Verb {
    /// Checks the fields of a command.
    ///
    /// # Errors
    /// Missing, unknown, wrong or over-long fields.
    pub fn ask(self, mut f: Map<String, Value>) -> Result<Ask, Refusal> {
        Ok(match self {
            Verb::Add => {
                let Some(Value::String(name)) = f.remove("name") else {
                    return bad("name must be a text");
                };
                if !is_name(&name) {
                    return bad("name has 1 to 64 letters, digits, dots, dashes or underscores");
                }
                let schedule: Schedule = of(f)?;
                schedule.check().map_err(refusal)?;
                Ask::Add(name, Box::new(schedule))
            }
            Verb::List => {
                let l: List = of(f)?;
                page(l.limit)?;
                Ask::List(l)
            }
            Verb::Occurrences => {
                let o: Occurrences = of(f)?;
                page(o.limit)?;
                time("before", o.before.as_deref())?;
                Ask::Occurrences(o)
            }
            Verb::Preview => Ask::Preview(Box::new(preview(of(f)?)?)),
            Verb::Pause => {
                let o: One = of(f)?;
                if o.reason.len() > 256 {
                    return bad("reason is longer than 256 bytes");
                }
                Ask::Pause(o.schedule, o.reason)
            }
            Verb::Get => Ask::Get(one(f)?),
            Verb::Resume => Ask::Resume(one(f)?),
            Verb::Run => Ask::Run(one(f)?),
            Verb::Remove => Ask::Remove(one(f)?),
        })
    }
}

fn one(f: Map<String, Value>) -> Result<String, Refusal> {
    let o: One = of(f)?;
    if !o.reason.is_empty() {
        return bad("unknown field \"reason\"");
    }
    Ok(o.schedule)
}

fn preview(p: Preview) -> Result<Preview, Refusal> {
    if p.limit == 0 || p.limit as usize > PLAN_MAX {
        return bad(format!("limit must be from 1 to {PLAN_MAX}"));
    }
    if p.schedule.is_some() == p.cron.is_some() {
        return bad("either schedule or cron says what is meant");
    }
    if p.zone.is_some() && p.cron.is_none() {
        return bad("zone belongs to cron");
    }
    time("from", p.from.as_deref())?;
    time("to", p.to.as_deref())?;
    Ok(p)
}

/// What is wrong with a schedule as a refusal.
pub(super) fn refusal((field, what): Wrong) -> Refusal {
    Refusal::new("bad-request", format!("{field}: {what}"))
}

fn bad<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new("bad-request", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(verb: Verb, fields: Value) -> Result<Ask, Refusal> {
        match fields {
            Value::Object(m) => verb.ask(m),
            _ => panic!("not an object"),
        }
    }

    #[test]
    fn wrong_shapes_are_refused_at_the_door() {
        let good = json!({"name": "n", "title": "t", "cron": "@daily"});
        assert!(ask(Verb::Add, good).is_ok());
        for (verb, fields) in [
            (Verb::Add, json!({"title": "t", "cron": "@daily"})),
            (
                Verb::Add,
                json!({"name": "a b", "title": "t", "cron": "@daily"}),
            ),
            (
                Verb::Add,
                json!({"name": "n", "title": "t", "cron": "* * *"}),
            ),
            (
                Verb::Add,
                json!({"name": "n", "title": "t", "cron": "@daily", "x": 1}),
            ),
            (
                Verb::Add,
                json!({"name": "n", "title": "t", "cron": "@daily", "overlap": "no"}),
            ),
            (Verb::List, json!({"limit": 0})),
            (Verb::Get, json!({})),
            (Verb::Get, json!({"schedule": "n", "reason": "r"})),
            (Verb::Preview, json!({"schedule": "n", "cron": "@daily"})),
            (Verb::Preview, json!({"schedule": "n", "zone": "UTC"})),
            (Verb::Preview, json!({"schedule": "n", "limit": 1001})),
            (Verb::Preview, json!({"schedule": "n", "to": "later"})),
            (Verb::Occurrences, json!({"schedule": "n", "before": "x"})),
            (
                Verb::Pause,
                json!({"schedule": "n", "reason": "x".repeat(257)}),
            ),
        ] {
            let refused = ask(verb, fields.clone());
            assert_eq!(refused.unwrap_err().code, "bad-request", "{fields}");
        }
    }

    #[test]
    fn a_refused_expression_says_where_it_is_wrong() {
        let fields = json!({"name": "n", "title": "t", "cron": "0 25 * * *"});
        let message = ask(Verb::Add, fields).unwrap_err().message;
        let expect = "cron: column 3: expected an hour from 0 to 23, found \"25\"";
        assert_eq!(message, expect);
    }
}
