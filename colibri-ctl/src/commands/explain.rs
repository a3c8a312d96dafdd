//! `explain` and the deep part of `check`: what colibrid believes, and on what evidence.

use libcolibri::error::Result;
use serde::Deserialize;

use super::Session;
use crate::model::{Event, Request};
use crate::output::{events, read, Style};
use crate::text::{clean, count, fit, pad, COLUMNS};
use crate::time::{age, span};

/// Reply to `explain-run`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Explanation {
    run: u64,
    profile: String,
    state: String,
    phase: Option<String>,
    reason: Option<String>,
    since: String,
    stage: String,
    ended: bool,
    wanted: String,
    waits_for: String,
    because: String,
    next: Option<Next>,
    prompted: bool,
    quiet_seconds: Option<i64>,
    monitor: Monitor,
    journal: String,
    journal_seq: u64,
    container: Option<String>,
    container_proof: bool,
    proof: Option<String>,
    /// Its last events.
    pub evidence: Vec<Event>,
}

/// What colibrid does by itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Next {
    what: String,
    in_seconds: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Monitor {
    pid: Option<u64>,
    connected: bool,
    announced_seq: Option<u64>,
}

/// Reply to `audit`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Audit {
    /// Runs that the board has alive.
    pub runs: u64,
    /// Living monitors.
    pub monitors: u64,
    /// Living processes below them.
    pub processes: u64,
    /// What does not fit.
    pub disagreements: Vec<Disagreement>,
}

/// One thing that does not fit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Disagreement {
    run: u64,
    attempt: u64,
    code: String,
    message: String,
}

impl Disagreement {
    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "run {} attempt {}: {} ({})",
            self.run, self.attempt, self.message, self.code
        )
    }
}

/// `explain RUN`.
///
/// # Errors
/// Not reachable, refused, no such run.
pub fn explain(s: &mut Session, run: u64) -> Result<()> {
    let data = s.client.request(&Request::ExplainRun { run })?;
    s.out.data(&data, text)
}

/// Asks for the audit.
///
/// # Errors
/// Not reachable, refused.
pub fn audit(s: &mut Session) -> Result<Audit> {
    let data = s.client.request(&Request::Audit)?;
    read(&data)
}

fn text(e: &Explanation, style: &Style) -> String {
    let mut out = String::new();
    let phase = crate::model::attribute(e.phase.as_ref());
    let phase = match (e.ended, phase) {
        (true, _) => ", ended".to_owned(),
        (false, "") => String::new(),
        (false, phase) => format!(" ({phase})"),
    };
    let why = match e.reason.as_deref().unwrap_or("") {
        "" => String::new(),
        why => format!(": {why}"),
    };
    let head = clean(&format!("Run {} is {}{phase}{why}", e.run, e.state));
    out.push_str(&fit(&head, COLUMNS));
    out.push('\n');
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            let line = format!("  {}{}", pad(name, 11), clean(&value));
            out.push_str(&fit(&line, COLUMNS));
            out.push('\n');
        }
    };
    fact(
        "since",
        format!("{} ({})", e.since, age(&e.since, style.now)),
    );
    fact("waits for", format!("{}: {}", e.waits_for, e.because));
    if let Some(next) = &e.next {
        fact(
            "next",
            format!("{} in {}", next.what, span(next.in_seconds)),
        );
    }
    let wanted = if e.wanted == "stop" {
        ", its end is wanted"
    } else {
        ""
    };
    fact("attempt", format!("{}{wanted}", e.stage));
    let task = if e.prompted {
        "given to the agent"
    } else {
        "not given yet"
    };
    fact("task", task.into());
    fact(
        "quiet",
        e.quiet_seconds
            .map_or(String::new(), |q| format!("for {}", span(q))),
    );
    fact("monitor", monitor(e));
    fact("journal", journal(e));
    fact("container", container(e));
    fact("proof", e.proof.clone().unwrap_or_default());
    fact("profile", e.profile.clone());
    if !e.evidence.is_empty() {
        out.push_str("\nLast evidence:\n");
        for event in &e.evidence {
            out.push_str(&events::event(event, style));
        }
    }
    out
}

fn monitor(e: &Explanation) -> String {
    let m = &e.monitor;
    match (m.pid, m.connected, e.ended) {
        (None, _, _) => "none has spoken yet".into(),
        (Some(pid), _, true) => format!("was process {pid}"),
        (Some(pid), true, false) => format!("process {pid}, connected"),
        (Some(pid), false, false) => format!("process {pid}, not connected"),
    }
}

fn journal(e: &Explanation) -> String {
    let read = count(e.journal_seq, "record", "records");
    let behind = e.monitor.announced_seq.unwrap_or(0);
    let behind = match behind.saturating_sub(e.journal_seq) {
        0 => String::new(),
        n => format!(", {n} behind"),
    };
    format!("{}, {read} read{behind}", e.journal)
}

fn container(e: &Explanation) -> String {
    match (&e.container, e.container_proof) {
        (None, _) => String::new(),
        (Some(c), true) => format!("{c}: its end is the kernel's word"),
        (Some(c), false) => format!("{c}: its end is shown by search"),
    }
}
