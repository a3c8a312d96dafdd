//! Events as subscribers see them: one JSON line each, numbered.

use libcolibri::record::{Closed, Command, Dialog, Proof, Record};
use libcolibri::state::{Exit, Phase, Usage};
use serde_json::{json, Map, Value};

use crate::runs::TaskTag;
use crate::time::rfc3339;

/// The kind of an event that tells where a task stands.
pub const TASK: &str = "task";
/// The kind of an event that tells what became of a planned occurrence.
pub const OCCURRENCE: &str = "occurrence";

/// What happened, before it has a number.
#[derive(Debug, Clone)]
pub struct Event {
    /// Which run; 0 for what concerns none.
    pub run: u64,
    /// Which attempt at it.
    pub attempt: u64,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The kind's name.
    pub kind: &'static str,
    /// The other fields.
    pub fields: Map<String, Value>,
}

impl Event {
    /// An event of `kind` with the fields of a JSON object.
    #[must_use]
    pub fn new(run: u64, attempt: u64, at_ms: u64, kind: &'static str, fields: Value) -> Event {
        let fields = match fields {
            Value::Object(m) => m,
            _ => Map::new(),
        };
        Event {
            run,
            attempt,
            at_ms,
            kind,
            fields,
        }
    }

    /// The same event of a run that is an attempt at a task. What a person is to read says where
    /// the answer belongs.
    #[must_use]
    pub fn of_task(mut self, tag: Option<&TaskTag>) -> Event {
        if let Some(tag) = tag {
            self.fields.insert("task".into(), tag.task.into());
            let read = matches!(self.kind, "asked" | "settled" | "answer");
            if let (true, Some(to)) = (read, &tag.reply_to) {
                self.fields.insert("reply_to".into(), to.clone());
            }
        }
        self
    }

    /// Whether it tells of a move of the board or of what became of a planned occurrence, which is
    /// not stored without that.
    #[must_use]
    pub fn is_of_board(&self) -> bool {
        matches!(self.kind, TASK | OCCURRENCE)
    }

    /// The line, without its line feed.
    #[must_use]
    pub fn line(&self, seq: u64) -> String {
        let mut o = Map::new();
        o.insert("seq".into(), seq.into());
        o.insert("at".into(), rfc3339(self.at_ms).into());
        if self.run != 0 {
            o.insert("run".into(), self.run.into());
            o.insert("attempt".into(), self.attempt.into());
        }
        o.insert("kind".into(), self.kind.into());
        for (k, v) in &self.fields {
            o.insert(k.clone(), v.clone());
        }
        json!({ "event": o }).to_string()
    }
}

/// Kind and fields of the event that a record becomes; `None` for those that become none of
/// their own (states are compared first, the end is announced when it is proven here too).
#[must_use]
pub fn of_record(record: &Record) -> Option<(&'static str, Value)> {
    Some(match record {
        Record::Opened {
            monitor, container, ..
        } => (
            "started",
            json!({"container": container.as_str(), "monitor": monitor}),
        ),
        Record::Launched { pid } => ("launched", json!({ "pid": pid })),
        Record::Session { id, cwd } if cwd.is_empty() => ("session", json!({ "id": id })),
        Record::Session { id, cwd } => ("session", json!({"id": id, "cwd": cwd})),
        Record::Usage(u) => ("usage", usage(u)),
        Record::Asked(d) => ("asked", dialog(d)),
        Record::Settled { request, how } => {
            ("settled", json!({"request": request, "how": closed(*how)}))
        }
        Record::ToolStart { id, name } => ("tool-start", json!({"id": id, "name": name})),
        Record::ToolEnd {
            id,
            name,
            failed,
            duration_ms,
        } => (
            "tool-end",
            json!({"id": id, "name": name, "failed": failed, "duration_ms": duration_ms}),
        ),
        Record::Answer { text } => ("answer", json!({ "text": text })),
        Record::Did { command, error, .. } => (
            "did",
            json!({"command": command_word(*command), "error": or_null(error)}),
        ),
        Record::Stopping => ("stopping", json!({})),
        Record::Exited(exit) => ("exited", json!({"exit": exit_value(*exit)})),
        Record::Dropped { records } => ("dropped", json!({ "records": records })),
        Record::State { .. } | Record::Ended(_) => return None,
    })
}

/// A dialog in JSON.
#[must_use]
pub fn dialog(d: &Dialog) -> Value {
    json!({
        "request": d.request, "method": d.method, "title": d.title, "message": d.message,
        "options": d.options, "timeout_ms": d.timeout_ms,
    })
}

/// Usage in JSON, the cost in dollars.
#[must_use]
pub fn usage(u: &Usage) -> Value {
    json!({
        "messages": u.messages, "input": u.input, "output": u.output,
        "cache_read": u.cache_read, "cache_write": u.cache_write, "cost_usd": dollars(u),
    })
}

/// The cost in dollars.
#[must_use]
pub fn dollars(u: &Usage) -> f64 {
    u.cost_nano_usd as f64 / 1e9
}

/// The phase's word, or null.
#[must_use]
pub fn phase(p: Phase) -> Value {
    match p {
        Phase::None => Value::Null,
        p => p.as_str().into(),
    }
}

/// Null for an empty text.
#[must_use]
pub fn or_null(s: &str) -> Value {
    if s.is_empty() {
        Value::Null
    } else {
        s.into()
    }
}

/// An exit status in JSON.
#[must_use]
pub fn exit_value(exit: Exit) -> Value {
    match exit {
        Exit::Code(n) => json!({"how": "code", "value": n}),
        Exit::Signal(n) => json!({"how": "signal", "value": n}),
        Exit::NotStarted(n) => json!({"how": "not-started", "value": n}),
        Exit::Unseen => json!({"how": "unseen", "value": null}),
    }
}

/// The exit status that [`exit_value`] made JSON of.
#[must_use]
pub fn exit_of(value: &Value) -> Option<Exit> {
    let n = || i32::try_from(value["value"].as_i64()?).ok();
    Some(match value["how"].as_str()? {
        "code" => Exit::Code(n()?),
        "signal" => Exit::Signal(n()?),
        "not-started" => Exit::NotStarted(n()?),
        _ => Exit::Unseen,
    })
}

/// The word for how a run's end is known.
#[must_use]
pub fn proof(p: Proof) -> &'static str {
    match p {
        Proof::Kernel => "kernel",
        Proof::Reaped => "reaped",
        Proof::NothingStarted => "nothing-started",
    }
}

fn closed(how: Closed) -> &'static str {
    match how {
        Closed::Answered => "answered",
        Closed::Cancelled => "cancelled",
        Closed::TimedOut => "timed-out",
        Closed::Overtaken => "overtaken",
    }
}

fn command_word(c: Command) -> &'static str {
    match c {
        Command::Prompt => "prompt",
        Command::Steer => "steer",
        Command::Abort => "abort",
        Command::Answer => "answer",
    }
}
