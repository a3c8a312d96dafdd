//! What the kernel knows of every run that left a trace here, for colibrid to compare with what it
//! believes. Looks only: nothing is signalled, removed or remembered.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use libcolibri::msg::{FromSpawnd, RunKey};
use libcolibri::sys::{self, cell};

use crate::notes::Note;
use crate::release::Monitor;
use crate::table::Table;

/// A run that may be there: its monitor and, where the launcher came that far, its note.
type Trace = (Option<Monitor>, Option<Note>);

/// One [`FromSpawnd::Found`] for each run that is remembered, or has a note, a socket or a TMPDIR,
/// in the order of their numbers.
#[must_use]
pub fn survey(table: &Table, known: &HashMap<RunKey, Monitor>) -> Vec<FromSpawnd> {
    let traces = traces(table, known);
    let alive: Vec<(RunKey, i32)> = traces
        .iter()
        .filter_map(|(key, (monitor, _))| Some((*key, monitor.filter(Monitor::is_alive)?.pid)))
        .collect();
    let pids: Vec<i32> = alive.iter().map(|(_, pid)| *pid).collect();
    let counts = sys::count_trees(&pids);
    let alive: HashMap<RunKey, (i32, u32)> = alive
        .into_iter()
        .zip(counts)
        .map(|((key, pid), count)| (key, (pid, count.unwrap_or(0))))
        .collect();
    let found = traces.into_iter().map(|(key, (_, note))| {
        let (monitor, processes) = match alive.get(&key) {
            Some((pid, count)) => (pid.unsigned_abs(), *count),
            None => (0, note.map_or(0, |n| left_behind(&n, table, key))),
        };
        FromSpawnd::Found {
            key,
            monitor,
            processes,
        }
    });
    found.collect()
}

fn traces(table: &Table, known: &HashMap<RunKey, Monitor>) -> BTreeMap<RunKey, Trace> {
    let mut all: BTreeMap<RunKey, Trace> =
        known.iter().map(|(k, m)| (*k, (Some(*m), None))).collect();
    let notes = table.paths.notes();
    let stems = names(&notes, "").chain(names(&table.paths.run_sockets(), ".sock"));
    // What has no journal here is no run of ours, whatever its name.
    let ours = |key: &RunKey| table.journal(&key.stem()).exists();
    for key in stems.chain(names(&table.paths.tmp_dir, "").filter(ours)) {
        all.entry(key).or_default();
    }
    for (key, (monitor, note)) in &mut all {
        // An unreadable one is a trace without a monitor: colibrid says so.
        *note = Note::load(&notes, &key.stem()).ok().flatten();
        if let (None, Some(n)) = (&monitor, &note) {
            *monitor = Some(n.monitor());
        }
    }
    all
}

/// The runs that files in a directory are named after.
fn names(dir: &Path, suffix: &'static str) -> impl Iterator<Item = RunKey> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(move |e| {
        let name = e.file_name();
        RunKey::from_stem(name.to_str()?.strip_suffix(suffix)?)
    })
}

/// Processes of a run whose monitor is dead; 1 where they live in a container, which are not counted.
fn left_behind(note: &Note, table: &Table, key: RunKey) -> u32 {
    if !note.is_of_this_boot() {
        return 0;
    }
    let strays = note.strays(&table.tmpdir(&key.stem())).unwrap_or_default();
    let inside = !cell::is_empty(&note.trace).unwrap_or(false);
    u32::from(inside) + u32::try_from(strays.len()).unwrap_or(u32::MAX - 1)
}
