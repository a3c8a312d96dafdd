//! From a line to a request: every limit is checked before anything is built from the bytes.

use libcolibri::msg::{Reply, TEXT_MAX};
use libcolibri::record::{clip, SHORT};
use libcolibri::skill::depth;
use serde::de::DeserializeOwned;
use serde::Deserialize;
use serde_json::{json, Map, Value};

use crate::board::ask::Ask;
use crate::board::intake::{intake, Intake};
use crate::roles::{self, Name};
use crate::{schedule, skills};

/// Longest request line, in bytes.
pub const LINE_MAX: usize = 1024 * 1024;
/// Longest text that a request is known by, in bytes: it comes back in the reply.
const ID_MAX: usize = 1024;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 32;
/// Most runs in one list.
pub const LIST_MAX: u32 = 1000;

/// Why a request was refused: a code for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One of the codes of colibri-protocol(7).
    pub code: &'static str,
    /// One sentence.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
        }
    }
}

/// A request, whole and checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// `ping`
    Ping,
    /// `status`
    Status,
    /// `snapshot`
    Snapshot,
    /// `list-runs`
    ListRuns(ListRuns),
    /// `get-run`
    GetRun(OneRun),
    /// `explain-run`
    ExplainRun(OneRun),
    /// `subscribe`
    Subscribe(Subscribe),
    /// `audit`
    Audit,
    /// `spawn-agent`
    SpawnAgent(SpawnAgent),
    /// `stop-agent`
    StopAgent(Target),
    /// `steer`
    Steer(Steer),
    /// `abort`
    Abort(Target),
    /// `answer`: run, request, reply
    Answer(Target, String, Reply),
    /// `intake-task`
    Intake(Box<Intake>),
    /// `list-audit`
    ListAudit(ListAudit),
    /// About tasks and the agents that take them.
    Board(Ask),
    /// About schedules.
    Schedule(schedule::ask::Ask),
    /// About skills.
    Skill(skills::ask::Ask),
}

/// Fields of `list-runs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListRuns {
    /// At most so many, up to [`LIST_MAX`].
    #[serde(default = "hundred")]
    pub limit: u32,
    /// Only ids below this.
    pub before: Option<u64>,
    /// Only runs that have not ended.
    #[serde(default)]
    pub alive: bool,
}

/// Fields of `list-audit`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListAudit {
    /// At most so many, up to [`LIST_MAX`].
    #[serde(default = "hundred")]
    pub limit: u32,
    /// Only entries below this.
    pub before: Option<u64>,
    /// Only of this user.
    pub uid: Option<u32>,
    /// Only of this command.
    pub command: Option<String>,
}

/// How many a list has by default.
#[must_use]
pub(crate) fn hundred() -> u32 {
    100
}

/// Fields of a command about one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneRun {
    /// Run id.
    pub run: u64,
}

/// A run, by its number or by the task that it is an attempt at: fields of a command to its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Run id.
    pub run: Option<u64>,
    /// Task id.
    pub task_id: Option<u64>,
}

impl Target {
    fn check(self) -> Result<Target, Refusal> {
        if self.run.is_some() == self.task_id.is_some() {
            let message = "a command to an agent names either a run or a task_id";
            return Err(Refusal::new("bad-request", message));
        }
        Ok(self)
    }
}

/// Fields of `subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Events after this number; without it, those to come.
    pub from: Option<u64>,
    /// Only this run's.
    pub run: Option<u64>,
    /// A snapshot with the reply.
    #[serde(default)]
    pub snapshot: bool,
}

/// Fields of `spawn-agent`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpawnAgent {
    /// Profile name.
    pub profile: String,
    /// The task.
    pub prompt: String,
}

/// Fields of `steer`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steer {
    /// Run id.
    pub run: Option<u64>,
    /// Task id.
    pub task_id: Option<u64>,
    /// The message.
    pub message: String,
}

impl Steer {
    /// Whose agent it is for.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            run: self.run,
            task_id: self.task_id,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    run: Option<u64>,
    task_id: Option<u64>,
    request: String,
    value: Option<String>,
    #[serde(default)]
    cancel: bool,
}

/// The outer shape of a line: the command and what the reply must echo.
pub struct Envelope {
    /// Comes back in the reply.
    pub id: Option<Value>,
    /// The command's row, or why there is none.
    pub row: Result<&'static roles::Row, Refusal>,
    fields: Map<String, Value>,
}

/// Reads the outer shape.
///
/// # Errors
/// A line that is not a JSON object within the limits; there is no id to echo then.
pub fn open(line: &[u8]) -> Result<Envelope, Refusal> {
    let bad = |m: &str| Err(Refusal::new("bad-request", m));
    if depth(line) > DEPTH_MAX {
        return bad("the request is nested too deep");
    }
    let mut fields = match serde_json::from_slice(line) {
        Ok(Value::Object(m)) => m,
        Ok(_) => return bad("a request is a JSON object"),
        Err(e) => {
            let what = format!("not JSON: {e}");
            return bad(&what);
        }
    };
    let id = fields.remove("id");
    if matches!(&id, Some(Value::String(s)) if s.len() > ID_MAX) {
        return bad("id is longer than 1 KiB");
    }
    if matches!(id, Some(Value::Object(_) | Value::Array(_))) {
        return bad("id must be a string, a number, true, false or null");
    }
    let row = match fields.remove("cmd") {
        Some(Value::String(word)) => roles::find(&word).ok_or_else(|| {
            let message = format!("there is no command {:?}", clip(&word, 64));
            Refusal::new("unknown-command", message)
        }),
        _ => Err(Refusal::new("bad-request", "cmd must name a command")),
    };
    Ok(Envelope { id, row, fields })
}

/// Fields of requests that say what is changed, and hold nobody's text but a reason.
const OBJECT: [&str; 11] = [
    "run", "task_id", "agent_id", "profile", "uids", "claim", "status", "request", "reason",
    "schedule", "name",
];

impl Envelope {
    /// What the command is about, for the audit log.
    #[must_use]
    pub fn object(&self) -> Map<String, Value> {
        let fields = OBJECT.iter().filter_map(|k| self.fields.get_key_value(*k));
        fields.map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Checks the command's fields.
    ///
    /// # Errors
    /// Missing, unknown, wrong or over-long fields.
    pub fn request(self) -> Result<Request, Refusal> {
        let row = self.row?;
        let f = self.fields;
        Ok(match row.name {
            Name::Ping => none(f).map(|()| Request::Ping)?,
            Name::Status => none(f).map(|()| Request::Status)?,
            Name::Snapshot => none(f).map(|()| Request::Snapshot)?,
            Name::ListRuns => {
                let l: ListRuns = of(f)?;
                page(l.limit)?;
                Request::ListRuns(l)
            }
            Name::GetRun => Request::GetRun(of(f)?),
            Name::ExplainRun => Request::ExplainRun(of(f)?),
            Name::Audit => none(f).map(|()| Request::Audit)?,
            Name::Subscribe => Request::Subscribe(of(f)?),
            Name::SpawnAgent => {
                let s: SpawnAgent = of(f)?;
                text("prompt", &s.prompt)?;
                Request::SpawnAgent(s)
            }
            Name::StopAgent => Request::StopAgent(of::<Target>(f)?.check()?),
            Name::Steer => {
                let s: Steer = of(f)?;
                text("message", &s.message)?;
                s.target().check()?;
                Request::Steer(s)
            }
            Name::Abort => Request::Abort(of::<Target>(f)?.check()?),
            Name::Answer => answer(of(f)?)?,
            Name::IntakeTask => Request::Intake(Box::new(intake(f)?)),
            Name::ListAudit => {
                let l: ListAudit = of(f)?;
                page(l.limit)?;
                Request::ListAudit(l)
            }
            Name::Board(verb) => Request::Board(verb.ask(f)?),
            Name::Schedule(verb) => Request::Schedule(verb.ask(f)?),
            Name::Skill(verb) => Request::Skill(verb.ask(f)?),
        })
    }
}

/// Reads the fields of a command.
pub(crate) fn of<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, Refusal> {
    serde_json::from_value(Value::Object(fields))
        .map_err(|e| Refusal::new("bad-request", clip(&e.to_string(), 200)))
}

/// Checks that a command without fields has none.
pub(crate) fn none(fields: Map<String, Value>) -> Result<(), Refusal> {
    match fields.keys().next() {
        None => Ok(()),
        Some(k) => {
            let message = format!("unknown field {:?}", clip(k, 64));
            Err(Refusal::new("bad-request", message))
        }
    }
}

/// Checks how many a list is to have.
pub(crate) fn page(limit: u32) -> Result<(), Refusal> {
    if limit == 0 || limit > LIST_MAX {
        let message = format!("limit must be from 1 to {LIST_MAX}");
        return Err(Refusal::new("bad-request", message));
    }
    Ok(())
}

fn text(field: &str, s: &str) -> Result<(), Refusal> {
    if s.trim().is_empty() {
        return Err(Refusal::new("bad-request", format!("{field} is empty")));
    }
    if s.len() > TEXT_MAX {
        let message = format!("{field} is longer than {TEXT_MAX} bytes");
        return Err(Refusal::new("too-long", message));
    }
    Ok(())
}

fn answer(a: Answer) -> Result<Request, Refusal> {
    if a.request.len() > SHORT {
        let message = format!("request is longer than {SHORT} bytes");
        return Err(Refusal::new("too-long", message));
    }
    let reply = match (a.value, a.cancel) {
        (Some(v), false) if v.len() > TEXT_MAX => {
            let message = format!("value is longer than {TEXT_MAX} bytes");
            return Err(Refusal::new("too-long", message));
        }
        (Some(v), false) => Reply::Value(v),
        (None, true) => Reply::Cancel,
        _ => {
            let message = "an answer has either a value or cancel";
            return Err(Refusal::new("bad-request", message));
        }
    };
    let target = Target {
        run: a.run,
        task_id: a.task_id,
    };
    Ok(Request::Answer(target.check()?, a.request, reply))
}

/// The reply line, with its line feed.
#[must_use]
pub fn reply(id: Option<&Value>, outcome: Result<Value, Refusal>) -> String {
    let mut o = match outcome {
        Ok(data) => json!({"ok": true, "data": data}),
        Err(r) => json!({"ok": false, "error": {"code": r.code, "message": r.message}}),
    };
    if let (Some(id), Some(o)) = (id, o.as_object_mut()) {
        o.insert("id".into(), id.clone());
    }
    let mut line = o.to_string();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, Refusal> {
        open(line.as_bytes())?.request()
    }

    fn code(line: &str) -> &'static str {
        parse(line).unwrap_err().code
    }

    #[test]
    fn good_requests() {
        assert_eq!(parse(r#"{"cmd":"status"}"#), Ok(Request::Status));
        let r = parse(r#"{"cmd":"get-run","run":3,"id":"x"}"#);
        assert_eq!(r, Ok(Request::GetRun(OneRun { run: 3 })));
        let r = parse(r#"{"cmd":"answer","run":3,"request":"q","cancel":true}"#);
        let target = Target {
            run: Some(3),
            task_id: None,
        };
        assert_eq!(r, Ok(Request::Answer(target, "q".into(), Reply::Cancel)));
    }

    #[test]
    fn bad_requests_say_what_is_wrong() {
        assert_eq!(code("nonsense"), "bad-request");
        assert_eq!(code("[]"), "bad-request");
        assert_eq!(code("{}"), "bad-request");
        assert_eq!(code(r#"{"cmd":"rm"}"#), "unknown-command");
        assert_eq!(code(r#"{"cmd":"status","x":1}"#), "bad-request");
        assert_eq!(code(r#"{"cmd":"get-run","run":-1}"#), "bad-request");
        assert_eq!(code(r#"{"cmd":"get-run","run":1,"x":2}"#), "bad-request");
        assert_eq!(code(r#"{"cmd":"list-runs","limit":1001}"#), "bad-request");
        assert_eq!(
            code(r#"{"cmd":"spawn-agent","profile":"p","prompt":" "}"#),
            "bad-request"
        );
        assert_eq!(
            code(r#"{"cmd":"answer","run":1,"request":"q"}"#),
            "bad-request"
        );
        let long = "x".repeat(TEXT_MAX + 1);
        assert_eq!(
            code(&format!(r#"{{"cmd":"steer","run":1,"message":"{long}"}}"#)),
            "too-long"
        );
    }

    #[test]
    fn a_megabyte_of_brackets_is_refused_before_it_is_parsed() {
        let line = "[".repeat(LINE_MAX);
        assert_eq!(code(&line), "bad-request");
        let fine = format!(r#"{{"cmd":"status","id":"{}"}}"#, "[{".repeat(500));
        assert_eq!(parse(&fine), Ok(Request::Status));
    }

    #[test]
    fn the_id_comes_back() {
        let e = open(br#"{"cmd":"status","id":7}"#).unwrap();
        assert_eq!(
            reply(e.id.as_ref(), Ok(json!({}))),
            "{\"ok\":true,\"data\":{},\"id\":7}\n"
        );
    }
}
