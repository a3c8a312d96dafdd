//! What colibrid says about tasks and agents, as far as this program reads it.

use libcolibri::budget::Budget;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::{Exit, Usage};

/// The fields of `create-task`.
#[derive(Debug, Serialize)]
pub struct NewTask<'a> {
    /// What it is called.
    pub title: &'a str,
    /// What is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
    /// What an agent should be able to do.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub capabilities: &'a [String],
    /// The one agent that may do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<&'a str>,
    /// Higher goes first.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Tasks that have to be done before.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub after: &'a [u64],
    /// Not before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<&'a str>,
    /// To be finished by this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<&'a str>,
    /// How often it is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// After which classes of failure it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<&'a [String]>,
    /// What its agent is given to know.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub skills: &'a [String],
    /// What it may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The caller's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// The fields of `list-tasks`.
#[derive(Debug, Serialize)]
pub struct ListTasks<'a> {
    /// Most tasks in the page, up to 1000.
    pub limit: u32,
    /// Only tasks older than this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Only those that stand here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'a str>,
    /// Only those that this agent has or had last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<&'a str>,
    /// Only those that require this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<&'a str>,
}

/// A reply that names a task.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    /// Its number.
    pub id: u64,
    /// Where it stands.
    pub status: String,
    /// `create-task`: it was there before.
    pub existing: bool,
    /// `cancel-task`: its run is stopped first.
    pub stopping: bool,
}

/// Reply to `list-tasks`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Tasks {
    /// Newest first.
    pub tasks: Vec<Task>,
}

/// A task.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Its number.
    pub id: u64,
    /// What it is called.
    pub title: String,
    /// Where it stands.
    pub status: String,
    /// Since when.
    pub since: String,
    /// Why.
    pub reason: Option<String>,
    /// What it requires.
    pub capabilities: Vec<String>,
    /// Higher goes first.
    pub priority: i64,
    /// Who has it or had it last.
    pub agent: Option<String>,
    /// Its latest run.
    pub run: Option<u64>,
    /// When it was added.
    pub created_at: String,
    /// Who added it.
    pub by_uid: Option<u64>,
    /// What time it waits for.
    pub not_before: Option<String>,
    /// To be finished by this time.
    pub deadline: Option<String>,
    /// Attempts that failed.
    pub tries: u64,
    /// How many may.
    pub attempts: u64,
    /// Class of the last failure.
    pub class: Option<String>,
    /// When it came to its end.
    pub ended_at: Option<String>,
}

/// Reply to `get-task`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TaskDetail {
    /// What `list-tasks` says of it.
    #[serde(flatten)]
    pub task: Task,
    /// What is to be done.
    pub description: String,
    /// The caller's own name for it.
    pub key: Option<String>,
    /// The agents that it can go to.
    pub fits: Vec<String>,
    /// Skills that it names.
    pub skills: Vec<String>,
    /// What keeps it from being worked on.
    pub why: Vec<String>,
    /// The last answer of its agent.
    pub summary: Option<String>,
    /// How its last run ended.
    pub exit: Option<Exit>,
    /// Of its last attempt.
    pub usage: Option<Usage>,
    /// What it may cost.
    pub budget: Option<Sums>,
    /// What its attempts that ended have cost.
    pub spent: Sums,
    /// Its attempts.
    pub claims: Vec<Claim>,
    /// Its moves.
    pub history: Vec<Move>,
}

/// Money and tokens; of a budget only what it limits.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// US dollars.
    pub usd: Option<f64>,
    /// Tokens of every kind.
    pub tokens: Option<u64>,
}

/// An attempt at a task.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// Its number.
    pub claim: u64,
    /// Whose.
    pub agent: String,
    /// The run, of a local agent.
    pub run: Option<u64>,
    /// When it began.
    pub claimed_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Until when it holds.
    pub expires_at: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// What it was given.
    pub skills: Vec<Given>,
}

/// A skill that an attempt was given.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Given {
    /// Its name.
    pub skill: String,
    /// Which version of it.
    pub version: u64,
}

/// A move of a task, or a remark.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Move {
    /// When.
    pub at: String,
    /// Where it stands since then.
    pub after: Option<String>,
    /// Role of who did it.
    pub by: String,
    /// Of a client.
    pub by_uid: Option<u64>,
    /// Which agent it concerned.
    pub agent: Option<String>,
    /// Which run.
    pub run: Option<u64>,
    /// Why.
    pub reason: Option<String>,
}

/// Reply to `list-agents`, read agent by agent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Agents {
    /// By name.
    pub agents: Vec<Box<RawValue>>,
}

/// An agent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// `local` or `external`.
    pub kind: String,
    /// `config` or `command`.
    pub source: String,
    /// The profile by which it runs.
    pub profile: Option<String>,
    /// Name of the host.
    pub host: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Tasks that it may have.
    pub limit: u64,
    /// Tasks that it has.
    pub holds: u64,
    /// Whether it gets no tasks.
    pub paused: bool,
    /// When it takes tasks, in words.
    pub hours: Option<String>,
    /// Of the run that needs a person, or of its newest.
    pub state: Option<String>,
    /// Whether it needs a person.
    pub attention: bool,
    /// Its living runs.
    pub runs: Vec<u64>,
    /// Tasks that it did.
    pub done: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// From claim to end.
    pub median_seconds: Option<f64>,
    /// US dollars.
    pub cost_usd: f64,
    /// When it was last heard of.
    pub last_seen: Option<String>,
}

/// Reply to `stats`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Tasks for each status.
    pub tasks: std::collections::BTreeMap<String, u64>,
    /// Since when the oldest queued task waits.
    pub oldest_queued_at: Option<String>,
}

/// Reply to `list-audit`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Audit {
    /// Newest first.
    pub entries: Vec<Entry>,
}

/// An entry of the audit log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// When.
    pub at: String,
    /// Who.
    pub uid: u64,
    /// In which role.
    pub role: String,
    /// Which command.
    pub command: String,
    /// On what.
    pub object: serde_json::Map<String, serde_json::Value>,
}
