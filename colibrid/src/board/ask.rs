//! Requests about tasks and agents: every limit is checked before anything is stored.

use jiff::Timestamp;
use libcolibri::budget::Budget;
use libcolibri::config::{is_name, AddedAgent, CAPABILITIES_MAX};
use libcolibri::msg::TEXT_MAX;
use libcolibri::record::{LONG, SHORT};
use libcolibri::state::Usage;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::lifecycle::{Class, Policy, Status};
use super::telegram::{self, Update};
use crate::request::{hundred, none, of, page, Refusal};

/// Most tasks that one task can wait for.
pub const NEEDS_MAX: usize = 64;
/// Longest idempotency key, in bytes.
const KEY_MAX: usize = 256;
/// Priorities go from minus this to this.
const PRIORITY_MAX: i32 = 1000;
/// Longest lease, in seconds.
const LEASE_MAX: u32 = 86_400;
/// Most attempts at a task.
const ATTEMPTS_MAX: u32 = 100;
/// Most dollars that an external agent can say it has spent in one attempt.
const COST_MAX: f64 = 1e6;

/// The commands of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Add a task.
    CreateTask,
    /// Tasks, newest first.
    ListTasks,
    /// One task, its history, why it waits.
    GetTask,
    /// A task is not wanted any more.
    CancelTask,
    /// A task is to be tried again.
    RetryTask,
    /// An external agent takes a task.
    ClaimTask,
    /// It still works on it.
    Heartbeat,
    /// It reports.
    TransitionTask,
    /// What is in each column.
    Stats,
    /// The agents.
    ListAgents,
    /// An agent gets no tasks.
    PauseAgent,
    /// It gets tasks again.
    ResumeAgent,
    /// One more agent.
    AddAgent,
    /// It is not one any more.
    RemoveAgent,
}

/// A request to the board, whole and checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// `create-task`
    Create(Box<CreateTask>),
    /// `list-tasks`
    List(ListTasks),
    /// `get-task`
    Get(OneTask),
    /// `cancel-task`
    Cancel(CancelTask),
    /// `retry-task`
    Retry(OneTask),
    /// `claim-task`
    Claim(ClaimTask),
    /// `heartbeat`
    Heartbeat(Held),
    /// `transition-task`
    Transition(Report),
    /// `stats`
    Stats,
    /// `list-agents`
    Agents,
    /// `pause-agent`, `resume-agent`
    Pause(OneAgent, bool),
    /// `add-agent`
    AddAgent(Box<AddAgent>),
    /// `remove-agent`
    RemoveAgent(OneAgent),
}

/// Fields of `create-task`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTask {
    /// What it is called; also the beginning of the prompt.
    pub title: String,
    /// What is to be done.
    #[serde(default)]
    pub description: String,
    /// What an agent should be able to do.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// The one agent that may do it.
    pub agent_id: Option<String>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i32,
    /// Tasks that have to be done before.
    #[serde(default)]
    pub after: Vec<u64>,
    /// Not before this time.
    pub not_before: Option<String>,
    /// To be finished by this time.
    pub deadline: Option<String>,
    /// How often it is tried.
    pub attempts: Option<u32>,
    /// After which classes of failure.
    pub retry_on: Option<Vec<String>>,
    /// The caller's own name for it.
    pub key: Option<String>,
    /// What its agent is given to know.
    #[serde(default)]
    pub skills: Vec<String>,
    /// What it may cost.
    pub budget: Option<Budget>,
}

impl CreateTask {
    /// A task with a title and defaults.
    #[must_use]
    pub fn new(title: String, description: String) -> CreateTask {
        CreateTask {
            title,
            description,
            capabilities: Vec::new(),
            agent_id: None,
            priority: 0,
            after: Vec::new(),
            not_before: None,
            deadline: None,
            attempts: None,
            retry_on: None,
            key: None,
            skills: Vec::new(),
            budget: None,
        }
    }

    /// Checks the lengths and puts the capabilities and the dependencies in order.
    ///
    /// # Errors
    /// What is wrong, by field.
    pub fn check(mut self) -> Result<CreateTask, Refusal> {
        short("title", &self.title)?;
        // Both and an empty line between them are the prompt.
        if self.title.len() + 2 + self.description.len() > TEXT_MAX {
            let message = format!("title and description are longer than {TEXT_MAX} bytes");
            return Err(Refusal::new("too-long", message));
        }
        if self.capabilities.len() > CAPABILITIES_MAX {
            return bad(format!("more than {CAPABILITIES_MAX} capabilities"));
        }
        if !self.capabilities.iter().all(|c| is_name(c)) {
            return bad("a capability has 1 to 64 letters, digits, dots, dashes or underscores");
        }
        self.capabilities.sort_unstable();
        self.capabilities.dedup();
        self.after.sort_unstable();
        self.after.dedup();
        if self.after.len() > NEEDS_MAX {
            return bad(format!("after names more than {NEEDS_MAX} tasks"));
        }
        if !(-PRIORITY_MAX..=PRIORITY_MAX).contains(&self.priority) {
            return bad(format!(
                "priority must be from -{PRIORITY_MAX} to {PRIORITY_MAX}"
            ));
        }
        if self.attempts.is_some_and(|a| a == 0 || a > ATTEMPTS_MAX) {
            return bad(format!("attempts must be from 1 to {ATTEMPTS_MAX}"));
        }
        if self
            .key
            .as_ref()
            .is_some_and(|k| k.is_empty() || k.len() > KEY_MAX)
        {
            return bad(format!("key must have 1 to {KEY_MAX} bytes"));
        }
        crate::skills::ask::names(&mut self.skills)?;
        if let Some(Err(what)) = self.budget.map(|b| b.check()) {
            return bad(format!("budget {what}"));
        }
        self.times()?;
        self.retries()?;
        Ok(self)
    }

    /// Not before, and until when, in milliseconds since 1970.
    ///
    /// # Errors
    /// A text that is not a time.
    pub fn times(&self) -> Result<(Option<u64>, Option<u64>), Refusal> {
        let not_before = time("not_before", self.not_before.as_deref())?;
        Ok((not_before, time("deadline", self.deadline.as_deref())?))
    }

    /// The classes after which it is tried again, as bits.
    ///
    /// # Errors
    /// A word that is not a class, or one that cannot be tried again.
    pub fn retries(&self) -> Result<u32, Refusal> {
        let Some(words) = &self.retry_on else {
            return Ok(Policy::transient());
        };
        let mut classes = Vec::with_capacity(words.len().min(Class::ALL.len()));
        for word in words {
            match word.parse::<Class>() {
                Ok(c) if c.can_retry() => classes.push(c),
                _ => return bad("retry_on must name classes of failures"),
            }
        }
        Ok(Policy::bits(classes))
    }

    /// What its agent is given.
    #[must_use]
    pub fn prompt(title: &str, description: &str) -> String {
        if description.trim().is_empty() {
            return title.to_owned();
        }
        format!("{title}\n\n{description}")
    }
}

/// What `intake-task` brings in.
#[derive(Debug, Clone, PartialEq)]
pub enum Intake {
    /// A task, and where it came from and answers go.
    Plain(CreateTask, Option<Value>),
    /// An update of Telegram.
    Telegram(Update),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IntakeTask {
    title: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    skills: Vec<String>,
    budget: Option<Budget>,
    key: Option<String>,
    reply_to: Option<Value>,
    update: Option<Value>,
}

/// Checks the fields of `intake-task`.
///
/// # Errors
/// Missing, unknown, wrong or over-long fields, or an update that is none.
pub fn intake(f: Map<String, Value>) -> Result<Intake, Refusal> {
    let i: IntakeTask = of(f)?;
    let plain = i.capabilities.is_empty() && i.key.is_none() && i.reply_to.is_none();
    let plain = plain && i.skills.is_empty() && i.budget.is_none();
    match (i.title, i.update) {
        (Some(title), None) => {
            let mut c = CreateTask::new(title, i.description);
            (c.capabilities, c.key) = (i.capabilities, i.key);
            (c.skills, c.budget) = (i.skills, i.budget);
            let to = i.reply_to;
            if to.as_ref().is_some_and(|t| t.to_string().len() > SHORT) {
                let message = format!("reply_to is longer than {SHORT} bytes");
                return Err(Refusal::new("too-long", message));
            }
            Ok(Intake::Plain(c.check()?, to))
        }
        (None, Some(update)) if plain && i.description.is_empty() => {
            telegram::read(&update).map(Intake::Telegram)
        }
        _ => bad("intake-task has either a title or an update, which stands alone"),
    }
}

/// Fields of `list-tasks`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListTasks {
    /// At most so many.
    #[serde(default = "hundred")]
    pub limit: u32,
    /// Only numbers below this.
    pub before: Option<u64>,
    /// Only those that stand here.
    pub status: Option<String>,
    /// Only those that this agent has or had last.
    pub agent_id: Option<String>,
    /// Only those that require this.
    pub capability: Option<String>,
}

/// Fields of a command about one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneTask {
    /// Its number.
    pub task_id: u64,
}

/// Fields of `cancel-task`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelTask {
    /// Its number.
    pub task_id: u64,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Fields of a command about one agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneAgent {
    /// Its name.
    pub agent_id: String,
}

/// Fields of `add-agent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddAgent {
    /// Its name.
    pub agent_id: String,
    /// What it is.
    pub spec: AddedAgent,
}

/// Fields of `claim-task`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimTask {
    /// For whom.
    pub agent_id: String,
    /// Which one; by default the one that goes next.
    pub task_id: Option<u64>,
    /// How long the claim holds without a heartbeat, in seconds.
    pub lease: Option<u32>,
}

/// Fields of `heartbeat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Which task.
    pub task_id: u64,
    /// By which claim.
    pub claim: u64,
}

/// Fields of `transition-task`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Which task.
    pub task_id: u64,
    /// By which claim.
    pub claim: u64,
    /// `started`, `done`, `failed`, or `queued` to give it back.
    pub status: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// What came of it.
    pub summary: Option<String>,
    /// Of a failure.
    pub class: Option<String>,
    /// What the attempt took.
    pub usage: Option<Used>,
}

/// What an external agent says that its attempt took; what it does not say is 0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Used {
    /// Model answers.
    messages: u64,
    /// Prompt tokens that were not cached.
    input: u64,
    /// Tokens written by the model.
    output: u64,
    /// Prompt tokens from a cache.
    cache_read: u64,
    /// Prompt tokens into a cache.
    cache_write: u64,
    /// US dollars.
    cost_usd: f64,
}

impl From<Used> for Usage {
    fn from(u: Used) -> Usage {
        Usage {
            messages: u.messages,
            input: u.input,
            output: u.output,
            cache_read: u.cache_read,
            cache_write: u.cache_write,
            cost_nano_usd: (u.cost_usd * 1e9).round() as u64,
        }
    }
}

impl Verb {
    /// Checks the fields of a command.
    ///
    /// # Errors
    /// Missing, unknown, wrong or over-long fields.
    pub fn ask(self, f: Map<String, Value>) -> Result<Ask, Refusal> {
        Ok(match self {
            Verb::CreateTask => Ask::Create(Box::new(of::<CreateTask>(f)?.check()?)),
            Verb::ListTasks => {
                let l: ListTasks = of(f)?;
                page(l.limit)?;
                if l.status
                    .as_ref()
                    .is_some_and(|s| s.parse::<Status>().is_err())
                {
                    return bad("status must be one of a task's");
                }
                Ask::List(l)
            }
            Verb::GetTask => Ask::Get(of(f)?),
            Verb::CancelTask => {
                let c: CancelTask = of(f)?;
                limited("reason", &c.reason, SHORT)?;
                Ask::Cancel(c)
            }
            Verb::RetryTask => Ask::Retry(of(f)?),
            Verb::ClaimTask => {
                let c: ClaimTask = of(f)?;
                if c.lease.is_some_and(|l| l == 0 || l > LEASE_MAX) {
                    return bad(format!("lease must be from 1 to {LEASE_MAX}"));
                }
                Ask::Claim(c)
            }
            Verb::Heartbeat => Ask::Heartbeat(of(f)?),
            Verb::TransitionTask => Ask::Transition(report(of(f)?)?),
            Verb::Stats => none(f).map(|()| Ask::Stats)?,
            Verb::ListAgents => none(f).map(|()| Ask::Agents)?,
            Verb::PauseAgent => Ask::Pause(of(f)?, true),
            Verb::ResumeAgent => Ask::Pause(of(f)?, false),
            Verb::AddAgent => Ask::AddAgent(Box::new(add_agent(f)?)),
            Verb::RemoveAgent => Ask::RemoveAgent(of(f)?),
        })
    }
}

/// The name, and beside it what [`AddedAgent`] has.
fn add_agent(mut f: Map<String, Value>) -> Result<AddAgent, Refusal> {
    let Some(Value::String(agent_id)) = f.remove("agent_id") else {
        return bad("agent_id must be a name");
    };
    let spec = of(f)?;
    Ok(AddAgent { agent_id, spec })
}

fn report(r: Report) -> Result<Report, Refusal> {
    limited("reason", &r.reason, SHORT)?;
    limited("summary", r.summary.as_deref().unwrap_or(""), LONG)?;
    if !["started", "done", "failed", "queued"].contains(&r.status.as_str()) {
        return bad("status must be started, done, failed or queued");
    }
    if r.status == "started" && r.usage.is_some() {
        return bad("usage belongs to the end of an attempt");
    }
    if r.usage
        .is_some_and(|u| !(0.0..=COST_MAX).contains(&u.cost_usd))
    {
        return bad(format!("usage.cost_usd must be from 0 to {COST_MAX}"));
    }
    let class = r.class.as_deref().map(str::parse::<Class>);
    let fits = match class {
        None => true,
        Some(c) => r.status == "failed" && c.is_ok_and(Class::can_retry),
    };
    if !fits {
        return bad("class must name a class of failures, and belongs to failed");
    }
    Ok(r)
}

fn bad<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new("bad-request", message))
}

fn short(field: &str, s: &str) -> Result<(), Refusal> {
    if s.trim().is_empty() {
        return bad(format!("{field} is empty"));
    }
    limited(field, s, SHORT)
}

fn limited(field: &str, s: &str, max: usize) -> Result<(), Refusal> {
    if s.len() > max {
        let message = format!("{field} is longer than {max} bytes");
        return Err(Refusal::new("too-long", message));
    }
    Ok(())
}

/// A time in milliseconds since 1970.
///
/// # Errors
/// A text that is not one.
pub(crate) fn time(field: &str, text: Option<&str>) -> Result<Option<u64>, Refusal> {
    let Some(text) = text else {
        return Ok(None);
    };
    let at = text.parse::<Timestamp>().ok();
    match at.and_then(|t| u64::try_from(t.as_millisecond()).ok()) {
        Some(ms) => Ok(Some(ms)),
        None => bad(format!("{field} must be a time as in RFC 3339, after 1970")),
    }
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
    fn a_task_is_put_in_order() {
        let fields = json!({"title": "t", "capabilities": ["b", "a", "b"], "after": [3, 1, 3]});
        let Ask::Create(t) = ask(Verb::CreateTask, fields).unwrap() else {
            panic!();
        };
        assert_eq!(t.capabilities, ["a", "b"]);
        assert_eq!(t.after, [1, 3]);
        assert_eq!(t.retries(), Ok(Policy::transient()));
        assert_eq!(CreateTask::prompt("t", " "), "t");
        assert_eq!(CreateTask::prompt("t", "d"), "t\n\nd");
    }

    #[test]
    fn wrong_shapes_are_refused_at_the_door() {
        for fields in [
            json!({}),
            json!({"title": " "}),
            json!({"title": "t", "capabilities": {"rust": true}}),
            json!({"title": "t", "capabilities": ["a b"]}),
            json!({"title": "t", "capabilities": "rust"}),
            json!({"title": "t", "capabilities": [7]}),
            json!({"title": "t", "priority": 1001}),
            json!({"title": "t", "attempts": 0}),
            json!({"title": "t", "retry_on": ["deadline"]}),
            json!({"title": "t", "retry_on": ["bad luck"]}),
            json!({"title": "t", "deadline": "tomorrow"}),
            json!({"title": "t", "deadline": "1969-01-01T00:00:00Z"}),
            json!({"title": "t", "after": [-1]}),
            json!({"title": "t", "key": ""}),
            json!({"title": "t", "budget": {}}),
            json!({"title": "t", "budget": 5}),
            json!({"title": "t", "budget": {"usd": -1}}),
            json!({"title": "t", "colour": "red"}),
        ] {
            let refused = ask(Verb::CreateTask, fields.clone());
            assert_eq!(refused.unwrap_err().code, "bad-request", "{fields}");
        }
        let long = json!({"title": "t", "description": "x".repeat(TEXT_MAX)});
        assert_eq!(ask(Verb::CreateTask, long).unwrap_err().code, "too-long");
        for (verb, fields) in [
            (Verb::ListTasks, json!({"status": "running"})),
            (Verb::ListTasks, json!({"limit": 0})),
            (Verb::ClaimTask, json!({"agent_id": "a", "lease": 0})),
            (
                Verb::TransitionTask,
                json!({"task_id": 1, "status": "done"}),
            ),
            (
                Verb::TransitionTask,
                json!({"task_id": 1, "claim": 1, "status": "claimed"}),
            ),
            (
                Verb::TransitionTask,
                json!({"task_id": 1, "claim": 1, "status": "done", "class": "crash"}),
            ),
            (
                Verb::TransitionTask,
                json!({"task_id": 1, "claim": 1, "status": "started", "usage": {"input": 1}}),
            ),
            (
                Verb::TransitionTask,
                json!({"task_id": 1, "claim": 1, "status": "done", "usage": {"cost_usd": -1}}),
            ),
            (
                Verb::TransitionTask,
                json!({"task_id": 1, "claim": 1, "status": "done", "usage": {"input": -1}}),
            ),
            (Verb::Stats, json!({"x": 1})),
        ] {
            assert!(ask(verb, fields.clone()).is_err(), "{fields}");
        }
    }
}
