//! What colibrid says about schedules, as far as this program reads it.

use libcolibri::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// The fields of `add-schedule`.
#[derive(Debug, Serialize)]
pub struct NewSchedule<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    #[serde(flatten)]
    pub spec: &'a Schedule,
}

/// The fields of `preview-schedule`.
#[derive(Debug, Default, Serialize)]
pub struct Preview<'a> {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<&'a str>,
    /// Or an expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<&'a str>,
    /// And its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<&'a str>,
    /// After this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'a str>,
    /// Up to this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<&'a str>,
    /// At most so many.
    pub limit: u32,
}

/// A planned time.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Planned {
    /// In UTC.
    pub at: String,
    /// In the schedule's zone.
    pub local: String,
}

/// Reply to `preview-schedule`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Times {
    /// In order.
    pub times: Vec<Planned>,
    /// The limit was reached.
    pub more: bool,
}

/// A schedule, in a list or with all that is known of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Its number.
    pub id: u64,
    /// Its name; in the reply to `add-schedule` under another one.
    #[serde(alias = "schedule")]
    pub name: String,
    /// `config` or `command`.
    pub source: String,
    /// When, in words.
    pub says: String,
    /// `active`, `paused`, `error` or `retired`.
    pub state: String,
    /// Why it is paused.
    pub paused: Option<String>,
    /// What is wrong with it.
    pub error: Option<String>,
    /// Failures in a row.
    pub failures: u64,
    /// When it was added.
    pub created_at: String,
    /// When it comes next.
    pub next: Vec<Planned>,
    /// Its newest occurrence.
    pub last: Option<Occurrence>,
    /// What it is.
    pub spec: Option<serde_json::Value>,
}

/// Reply to `list-schedules`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entries {
    /// By number.
    pub schedules: Vec<Entry>,
}

/// An occurrence.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Occurrence {
    /// For when it was planned, in UTC.
    pub planned: String,
    /// In the schedule's zone.
    pub local: String,
    /// Somebody asked for it.
    pub manual: bool,
    /// Where it stands.
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// Its task.
    pub task: Option<u64>,
}

/// Reply to `list-occurrences`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Newest first.
    pub occurrences: Vec<Occurrence>,
}

/// Reply to a command about one schedule.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Moved {
    /// Its name.
    pub schedule: String,
    /// Where it stands.
    pub state: String,
    /// `run-schedule`: the task.
    pub task: Option<u64>,
}
