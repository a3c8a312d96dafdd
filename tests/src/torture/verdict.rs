//! What has to be true when everything is over.

use crate::client::Client;
use crate::procs::{held, users_of};
use crate::torture::book::{Book, Entry};
use crate::torture::follow::Seen;
use crate::torture::plan::Kind;
use crate::torture::{occurrences, tasks};
use crate::wait::{must, LONG};
use libcolibri::journal::Reader;
use libcolibri::record::Record;
use serde_json::{json, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::Path;

/// What the suite says when everything is over.
pub struct Board {
    /// All runs, in full.
    pub runs: BTreeMap<u64, Value>,
    /// All tasks, in full.
    pub tasks: BTreeMap<u64, Value>,
    /// What became of the occurrences of each schedule, oldest first.
    pub occurrences: Vec<Vec<Value>>,
}

/// Every run that the suite knows, in full, by number.
///
/// # Panics
/// When a request is refused.
pub fn runs(client: &mut Client) -> BTreeMap<u64, Value> {
    numbers(client, "list-runs", "runs", "run")
        .into_iter()
        .map(|run| (run, client.call(json!({"cmd": "get-run", "run": run}))))
        .collect()
}

/// The numbers of all that a command lists, page by page.
///
/// # Panics
/// When a request is refused.
pub(super) fn numbers(client: &mut Client, command: &str, rows: &str, number: &str) -> Vec<u64> {
    let mut all: Vec<u64> = Vec::new();
    loop {
        let mut request = json!({"cmd": command, "limit": 200});
        if let Some(last) = all.last() {
            request["before"] = json!(last);
        }
        let page = client.call(request);
        let rows = page[rows].as_array().expect("rows");
        if rows.is_empty() {
            return all;
        }
        all.extend(rows.iter().map(|r| r[number].as_u64().expect("a number")));
    }
}

/// The nonce that a run's prompt names; none for a run of the board.
#[must_use]
pub fn nonce(row: &Value) -> Option<u64> {
    if row["task"].is_u64() {
        return None;
    }
    let mut words = row["prompt"].as_str()?.split_whitespace();
    (words.next() == Some("nonce")).then(|| words.next()?.parse().ok())?
}

/// No process, no name, no lock is left of a suite that was stopped.
///
/// # Panics
/// When there is one.
pub fn nothing_left(dir: &Path) {
    must("the last process to go", LONG, || {
        users_of(dir).is_empty().then_some(())
    });
    for name in ["run/colibri.sock", "run/colibrid.pid"] {
        assert!(!dir.join(name).exists(), "{name} is left");
    }
    for name in ["run/runs", "run/spawnd", "tmp"] {
        let left: Vec<_> = fs::read_dir(dir.join(name))
            .unwrap_or_else(|e| panic!("{name}: {e}"))
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert!(left.is_empty(), "in {name} is left: {left:?}");
    }
    for lock in fs::read_dir(dir.join("locks")).expect("locks").flatten() {
        assert!(
            !held(&lock.path()),
            "an agent of {:?} lives",
            lock.file_name()
        );
    }
}

/// What the agents wrote down: how often each line.
pub(super) type Ledger = HashMap<String, usize>;

fn ledger(dir: &Path) -> Ledger {
    let text = fs::read_to_string(dir.join("book/ledger")).expect("the ledger");
    let mut counts = HashMap::new();
    for line in text.lines() {
        *counts.entry(line.to_owned()).or_insert(0) += 1;
    }
    counts
}

/// The driver's book against the board, the events, the ledger and the journals.
///
/// # Panics
/// When they differ.
pub fn compare(book: &Book, board: &Board, seen: &Seen, dir: &Path) {
    let mut by_nonce: HashMap<u64, Vec<u64>> = HashMap::new();
    let told = Told::of(seen);
    for (run, row) in &board.runs {
        once(*run, row, &told.runs[run]);
        journal(row, *run, dir);
        if row["task"].is_u64() {
            continue;
        }
        let nonce = nonce(row).unwrap_or_else(|| panic!("run {run} was never asked for: {row}"));
        by_nonce.entry(nonce).or_default().push(*run);
    }
    let ledger = ledger(dir);
    for (line, n) in &ledger {
        assert_eq!(*n, 1, "the ledger has {n} times: {line}");
    }
    for entry in book.all() {
        let nonce = entry.script.nonce;
        let runs = by_nonce.remove(&nonce).unwrap_or_default();
        assert!(runs.len() <= 1, "{nonce} runs as {runs:?}");
        if let Some(run) = entry.run {
            assert_eq!(runs, [run], "{nonce} was accepted as {run}");
        }
        let Some(run) = runs.first() else {
            continue;
        };
        one(entry, *run, &board.runs[run], &told.runs[run], &ledger);
    }
    assert!(by_nonce.is_empty(), "never asked for: {by_nonce:?}");
    one_journal_each(&board.runs, dir);
    tasks::compare(book, board, &told, &ledger);
    occurrences::compare(book, board, &told);
}

/// The events, by what they are about.
#[derive(Default)]
pub(super) struct Told<'a> {
    /// Of each run, but for the moves of its task.
    runs: HashMap<u64, Vec<&'a Value>>,
    /// The moves of each task.
    pub tasks: HashMap<u64, Vec<&'a Value>>,
    /// Where occurrences came to stand.
    pub occurrences: Vec<&'a Value>,
}

impl<'a> Told<'a> {
    fn of(seen: &'a Seen) -> Self {
        let mut told = Self::default();
        for event in &seen.log {
            let number = |field: &str| event[field].as_u64().expect("a number");
            match event["kind"].as_str() {
                Some("task") => told.tasks.entry(number("task")).or_default().push(event),
                Some("occurrence") => told.occurrences.push(event),
                _ => told.runs.entry(number("run")).or_default().push(event),
            }
        }
        told
    }
}

/// A run began once, worked once and ended once.
fn once(run: u64, row: &Value, events: &[&Value]) {
    let of = |kind: &str| events.iter().filter(|e| e["kind"] == kind).count();
    let about = || format!("run {run}\n{row}\n{events:#?}");
    assert_eq!(row["ended"], true, "{}", about());
    assert_eq!((of("run-created"), of("ended")), (1, 1), "{}", about());
    for kind in ["started", "launched", "exited"] {
        assert!(of(kind) <= 1, "{kind}: {}", about());
    }
    // Tools are told once and in order, up to where the run was cut.
    for kind in ["tool-start", "tool-end"] {
        let told = events.iter().filter(|e| e["kind"] == kind);
        for (n, e) in told.enumerate() {
            assert_eq!(e["id"], format!("call-{n}"), "{kind}: {}", about());
        }
    }
    let last = events.last().expect("events");
    assert_eq!(last["kind"], "ended", "{}", about());
}

/// A run that was asked for: what it did and how it ended.
fn one(entry: &Entry, run: u64, row: &Value, events: &[&Value], ledger: &Ledger) {
    let script = &entry.script;
    let of = |kind: &str| events.iter().filter(|e| e["kind"] == kind).count();
    let about = || format!("run {run}, {entry:?}\n{row}\n{events:#?}");
    let ended = events.last().expect("events");
    let disturbed = entry.stop || entry.suite_stopped || entry.monitor_killed;
    if disturbed {
        let lost = ended["reason"] == "monitor lost";
        assert!(!lost || entry.monitor_killed, "{}", about());
        if lost {
            assert_eq!(ended["state"], "error", "{}", about());
        }
        // A monitor that had said its last word before it was killed has lost nothing.
        if lost || entry.stop || entry.suite_stopped {
            return;
        }
    }
    let started = ledger.get(&format!("start {run}")).copied();
    let taken = ledger
        .get(&format!("taken {run} {}", script.nonce))
        .copied();
    assert_eq!((started, taken), (Some(1), Some(1)), "{}", about());
    assert_eq!(of("launched"), 1, "{}", about());
    assert_eq!(of("tool-start") as u64, script.tools, "{}", about());
    let (state, code) = match script.kind {
        Kind::Works | Kind::Asks | Kind::Leaves => ("done", 0),
        Kind::Fails(code) => ("error", code),
        // These only end when they are made to.
        Kind::Lives | Kind::Deaf => panic!("ended by itself: {}", about()),
    };
    assert_eq!(ended["state"], state, "{}", about());
    assert_eq!(
        ended["exit"],
        json!({"how": "code", "value": code}),
        "{}",
        about()
    );
    assert_eq!(row["exit"], ended["exit"], "{}", about());
}

/// Each journal is one run's.
fn one_journal_each(runs: &BTreeMap<u64, Value>, dir: &Path) {
    let names: BTreeSet<&str> = runs
        .values()
        .filter_map(|r| r["journal"].as_str())
        .collect();
    assert_eq!(names.len(), runs.len(), "two runs have the same journal");
    for file in fs::read_dir(dir.join("state/runs"))
        .expect("journals")
        .flatten()
    {
        let name = file.file_name().into_string().expect("a name");
        assert!(names.contains(name.as_str()), "nobody's journal: {name}");
    }
}

/// A run's journal reads back, without a hole, and the board has all of it.
fn journal(row: &Value, run: u64, dir: &Path) {
    let name = row["journal"].as_str().expect("a name");
    let path = dir.join("state/runs").join(name);
    let Ok(file) = File::open(&path) else {
        // Stopped before it was started.
        assert_eq!(row["journal_seq"], 0, "run {run} has lost its journal");
        return;
    };
    let mut reader = Reader::new(file);
    let (mut last, mut ends) = (0, 0);
    while let Some(entry) = reader
        .next_entry()
        .unwrap_or_else(|e| panic!("{name}: {e}"))
    {
        last = entry.seq;
        ends += usize::from(matches!(entry.record, Record::Ended(_)));
    }
    assert_eq!(
        row["journal_seq"], last,
        "{name}: the board is not where the journal is"
    );
    let lost = row["reason"] == "monitor lost";
    assert_eq!(ends, usize::from(!lost), "{name}: last words");
}
