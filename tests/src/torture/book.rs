//! What was asked for and what was answered: the driver's own memory, against which the suite's is
//! held.

use crate::torture::plan::{Script, Task};
use std::collections::BTreeMap;

/// What the driver knows of one planned run.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it was to do.
    pub script: Script,
    /// Its number; none when the answer was never seen.
    pub run: Option<u64>,
    /// A stop was answered with ok, or may have arrived.
    pub stop: bool,
    /// A stop was answered with ok: it ends without being told again.
    pub stopped: bool,
    /// Its monitor was killed while it lived.
    pub monitor_killed: bool,
    /// The suite was stopped while it may have lived.
    pub suite_stopped: bool,
}

/// What the driver knows of one planned task.
#[derive(Debug, Clone)]
pub struct TaskEntry {
    /// What it was to be.
    pub task: Task,
    /// Its number; none when it was refused, since the one before it will not be done.
    pub id: Option<u64>,
    /// Editions of the skill that were imported before it was added.
    pub editions: usize,
    /// A cancellation was answered with ok.
    pub cancel: bool,
    /// The monitor of one of its runs was killed.
    pub monitor_killed: bool,
    /// The suite was stopped while one may have lived.
    pub suite_stopped: bool,
}

/// A schedule that was added.
#[derive(Debug, Clone)]
pub struct ScheduleEntry {
    /// Its name.
    pub name: String,
    /// Its first planned time, in milliseconds since 1970.
    pub first_ms: u64,
    /// The time between two of them.
    pub every_ms: u64,
    /// Tasks that it made because the driver asked for them.
    pub manual: Vec<u64>,
}

/// Everything that was asked for.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<u64, Entry>,
    tasks: BTreeMap<u64, TaskEntry>,
    /// In the order of the plan.
    pub schedules: Vec<ScheduleEntry>,
    /// The version of each edition of the skill, from edition 0 on.
    pub editions: Vec<u64>,
}

impl Book {
    /// A request was sent; `run` when the answer was ok.
    pub fn asked(&mut self, script: &Script, run: Option<u64>) {
        let entry = Entry {
            script: script.clone(),
            run,
            stop: false,
            stopped: false,
            monitor_killed: false,
            suite_stopped: false,
        };
        self.entries.insert(script.nonce, entry);
    }

    /// A task was added, or refused.
    pub fn added(&mut self, task: &Task, id: Option<u64>, editions: usize) {
        let entry = TaskEntry {
            task: task.clone(),
            id,
            editions,
            cancel: false,
            monitor_killed: false,
            suite_stopped: false,
        };
        self.tasks.insert(task.script.nonce, entry);
    }

    /// The entry of a planned run, if it was asked for.
    pub fn get(&mut self, nonce: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&nonce)
    }

    /// The entry of a planned task, if it was asked for.
    pub fn task(&mut self, nonce: u64) -> Option<&mut TaskEntry> {
        self.tasks.get_mut(&nonce)
    }

    /// All runs, by nonce.
    pub fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// All tasks, by nonce.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskEntry> {
        self.tasks.values()
    }

    /// The suite ends, and every run with it.
    pub fn suite_stopped(&mut self) {
        for e in self.entries.values_mut() {
            e.suite_stopped = true;
        }
        for t in self.tasks.values_mut() {
            t.suite_stopped = true;
        }
    }

    /// Runs whose acceptance was seen.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.all().filter(|e| e.run.is_some()).count()
    }
}
