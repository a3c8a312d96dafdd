//! What was asked for and what was answered: the driver's own memory, against which the suite's is
//! held.

use crate::torture::plan::Script;
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
    /// Its monitor was killed while it lived.
    pub monitor_killed: bool,
    /// The suite was stopped while it may have lived.
    pub suite_stopped: bool,
}

/// All planned runs that were asked for, by nonce.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<u64, Entry>,
}

impl Book {
    /// A request was sent; `run` when the answer was ok.
    pub fn asked(&mut self, script: &Script, run: Option<u64>) {
        let entry = Entry {
            script: script.clone(),
            run,
            stop: false,
            monitor_killed: false,
            suite_stopped: false,
        };
        self.entries.insert(script.nonce, entry);
    }

    /// The entry of a planned run, if it was asked for.
    pub fn get(&mut self, nonce: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&nonce)
    }

    /// All of them, by nonce.
    pub fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The suite ends, and every run with it.
    pub fn suite_stopped(&mut self) {
        for e in self.entries.values_mut() {
            e.suite_stopped = true;
        }
    }

    /// Runs whose acceptance was seen.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.all().filter(|e| e.run.is_some()).count()
    }
}
