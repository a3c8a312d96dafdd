//! What colibrid says, as far as this program reads it: colibri-protocol(7). Unknown fields are
//! ignored and missing ones have defaults, so that a newer colibrid can still be read.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use crate::model_request::{Numbered, Request};

/// The version of the protocol that this program speaks.
pub const PROTOCOL: u32 = 1;

/// Any line of colibrid: a reply, an event or a gap.
#[derive(Debug, Deserialize)]
pub struct Line<'a> {
    /// Whether a request succeeded; present in replies only.
    pub ok: Option<bool>,
    /// What a request yields.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
    /// Why a request failed.
    pub error: Option<Refusal>,
    /// The request's number.
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    /// Something that happened.
    #[serde(borrow)]
    pub event: Option<&'a RawValue>,
    /// Events that this subscriber lost.
    pub gap: Option<Gap>,
}

/// Why a request failed.
#[derive(Debug, Deserialize)]
pub struct Refusal {
    /// One of the protocol's codes.
    pub code: String,
    /// In words.
    #[serde(default)]
    pub message: String,
}

/// Events that a subscriber lost, both ends included.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Gap {
    /// First lost event.
    pub from: u64,
    /// Last lost event.
    pub to: u64,
}

/// Reply to `status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// colibrid's version.
    pub version: String,
    /// Version of the protocol.
    pub protocol: u32,
    /// Name of the host.
    pub host: String,
    /// colibrid's process id.
    pub pid: u64,
    /// Since when it runs.
    pub started_at: String,
    /// Whether the keeper would start it again.
    pub kept: bool,
    /// What holds the agents' process trees; unknown until spawnd is ready.
    pub container: Option<String>,
    /// Whether runs can be limited as a whole.
    pub run_limits: Option<String>,
    /// What is weaker here than it should be.
    pub warnings: Vec<String>,
    /// What the host's watchdog says, if it is asked.
    pub watchdog: Option<Watchdog>,
    /// Whether hostd is there, if the config names it.
    pub hostd: Option<Hostd>,
    /// Number of the last event.
    pub seq: u64,
    /// Counts of runs.
    pub runs: Counts,
    /// Tasks for each status.
    pub tasks: std::collections::BTreeMap<String, u64>,
    /// Agents that need a person.
    pub attention: u64,
    /// Living runs.
    pub panes: Vec<Pane>,
}

/// The last word of the host's watchdog.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Watchdog {
    /// What follows from it: `normal`, `throttled` or `held`; `None` before the first word.
    pub obeys: Option<String>,
    /// Why it says so, or why it says nothing.
    pub reason: Option<String>,
    /// How old it is.
    pub age_seconds: u64,
}

/// Whether hostd took a connection.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hostd {
    /// `None` before it was tried.
    pub reachable: Option<bool>,
}

/// Counts of runs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Alive now.
    pub alive: u64,
    /// Most that may be alive.
    pub limit: u64,
    /// Ever accepted.
    pub total: u64,
}

/// Reply to `snapshot`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Name of the schema.
    pub schema: String,
    /// Name of the host.
    pub host: String,
    /// When it was made.
    pub generated_at: String,
    /// The event that it is valid at.
    pub seq: u64,
    /// Living runs and the last ended run of each agent.
    pub panes: Vec<Pane>,
}

/// One agent as the glasspane shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pane {
    /// Run id.
    pub run: u64,
    /// The agent's name.
    pub agent: String,
    /// One of the six words for a state.
    pub state: String,
    /// Part of the work.
    pub phase: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Since when it is in this state.
    pub since: String,
    /// Whether it needs a person.
    pub attention: bool,
    /// Whether it is over.
    pub ended: bool,
    /// Quiet for longer than its profile allows.
    pub stalled: bool,
    /// Its last sign of life.
    pub last_event_at: Option<String>,
    /// Session id that Pi gave itself.
    pub pi_session_id: Option<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// What holds its process tree.
    pub container: Option<String>,
    /// Tokens and money.
    pub usage: Usage,
    /// Open questions.
    pub dialogs: Vec<Dialog>,
    /// Names of running tools.
    pub tools: Vec<String>,
}

/// Tokens and money of a run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Model answers.
    pub messages: u64,
    /// Prompt tokens that were not cached.
    pub input: u64,
    /// Tokens of the model.
    pub output: u64,
    /// Prompt tokens from the cache.
    pub cache_read: u64,
    /// Prompt tokens into the cache.
    pub cache_write: u64,
    /// US dollars.
    pub cost_usd: f64,
}

/// A question that waits for a person.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Dialog {
    /// Its name, for `answer`.
    pub request: String,
    /// `select`, `confirm`, `input` or `editor`.
    pub method: String,
    /// Title.
    pub title: String,
    /// Text.
    pub message: String,
    /// Choices of a `select`.
    pub options: Vec<String>,
    /// Milliseconds after which it answers itself; 0 = never.
    pub timeout_ms: u64,
}

/// Reply to `list-runs`, read run by run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Page {
    /// Newest first.
    pub runs: Vec<Box<RawValue>>,
}

/// A run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Run {
    /// Its number.
    pub run: u64,
    /// Its attempt's number.
    pub attempt: u64,
    /// Its profile.
    pub profile: String,
    /// The agent's name.
    pub agent: String,
    /// One of the six words for a state.
    pub state: String,
    /// Part of the work.
    pub phase: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// When it was accepted.
    pub created_at: String,
    /// When its end was proven.
    pub ended_at: Option<String>,
    /// Who asked for it.
    pub by_uid: Option<u64>,
    /// `run` or `stop`.
    pub wanted: String,
    /// Whether it is over.
    pub ended: bool,
    /// How the agent's process ended.
    pub exit: Option<Exit>,
    /// First line of its prompt.
    pub title: String,
    /// The task that it is an attempt at.
    pub task: Option<u64>,
    /// US dollars.
    pub cost_usd: f64,
}

/// Reply to `get-run`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RunDetail {
    /// What `list-runs` says of it.
    #[serde(flatten)]
    pub run: Run,
    /// Its pane.
    pub pane: Option<Pane>,
    /// The agent's last answer.
    pub answer: Option<String>,
    /// The end of what it wrote to stderr.
    pub stderr: Option<String>,
    /// Its task.
    pub prompt: String,
    /// How it is known that nothing of it is left.
    pub proof: Option<String>,
    /// Lines of its stream.
    pub lines: u64,
    /// Bytes of its stream.
    pub bytes: u64,
    /// Lines that were no events.
    pub malformed: u64,
    /// Name of its journal file.
    pub journal: Option<String>,
}

/// Reply to `spawn-agent`.
#[derive(Debug, Deserialize)]
pub struct Spawned {
    /// Number of the new run.
    pub run: u64,
}

/// Reply to `stop-agent`.
#[derive(Debug, Deserialize)]
pub struct Stopping {
    /// `stopping` or `ended`.
    pub state: String,
}

/// Something that happened; each kind has some of the optional fields.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: String,
    /// In which run.
    pub run: u64,
    /// What.
    pub kind: String,
    /// `state`, `ended`: the state.
    pub state: String,
    /// `state`: part of the work.
    pub phase: Option<String>,
    /// `state`, `ended`: why.
    pub reason: Option<String>,
    /// `run-created`: its profile.
    pub profile: String,
    /// `run-created`: the agent's name.
    pub agent: String,
    /// `run-created`, `stop-wanted`: who.
    pub by_uid: Option<u64>,
    /// `started`: what holds its process tree.
    pub container: String,
    /// `started`: the monitor's process id.
    pub monitor: Option<u64>,
    /// `launched`: the agent's process id.
    pub pid: Option<u64>,
    /// `session`, `tool-start`, `tool-end`: of what.
    pub id: String,
    /// `session`: working directory.
    pub cwd: String,
    /// `tool-start`, `tool-end`: name of the tool.
    pub name: String,
    /// `tool-end`: whether it failed.
    pub failed: bool,
    /// `tool-end`: milliseconds.
    pub duration_ms: u64,
    /// `answer`: the text.
    pub text: String,
    /// `settled`: how a dialog ended.
    pub how: String,
    /// `did`: which command.
    pub command: String,
    /// `did`: why it was refused.
    pub error: Option<String>,
    /// `exited`, `ended`: how the process ended.
    pub exit: Option<Exit>,
    /// `ended`: how it is known that nothing is left.
    pub proof: Option<String>,
    /// `ended`: whether the end had been asked for.
    pub asked: bool,
    /// `dropped`: how many records.
    pub records: u64,
    /// `stalled`: seconds.
    pub quiet_seconds: u64,
    /// Of a task, and of a run that is an attempt at one.
    pub task: Option<u64>,
    /// `task`: where it stands now.
    pub status: String,
    /// `task`: where it stood; nothing for a new one.
    pub before: Option<String>,
    /// `asked`, `settled`: the dialog.
    #[serde(flatten)]
    pub dialog: Dialog,
    /// `usage`: sums so far.
    #[serde(flatten)]
    pub usage: Usage,
}

/// How a process ended.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// `code`, `signal`, `not-started` or `unseen`.
    pub how: String,
    /// The exit status, the signal, the errno; nothing for `unseen`.
    pub value: Option<i64>,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.how.as_str(), self.value) {
            ("code", Some(n)) => write!(f, "exit status {n}"),
            ("signal", Some(n)) => write!(f, "killed by signal {n}"),
            ("not-started", Some(n)) => write!(f, "not started (errno {n})"),
            _ => f.write_str("exit status unknown"),
        }
    }
}

impl Pane {
    /// Whether this word is one of the six states.
    #[must_use]
    pub fn known_state(&self) -> bool {
        let words = ["unknown", "idle", "working", "blocked", "done", "error"];
        words.contains(&self.state.as_str())
    }
}

/// An attribute for display: absent, empty and `none` are the same.
#[must_use]
pub fn attribute(phase: Option<&String>) -> &str {
    phase.map_or("", |p| if p == "none" { "" } else { p })
}
