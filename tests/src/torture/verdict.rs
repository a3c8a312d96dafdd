//! What has to be true when everything is over.

use crate::client::Client;
use crate::procs::{held, users_of};
use crate::torture::book::{Book, Entry};
use crate::torture::follow::Seen;
use crate::torture::plan::Kind;
use crate::wait::{must, LONG};
use libcolibri::journal::Reader;
use libcolibri::record::Record;
use serde_json::{json, Value};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::Path;

/// Every run that the suite knows, in full, by number.
///
/// # Panics
/// When a request is refused.
pub fn board(client: &mut Client) -> BTreeMap<u64, Value> {
    let mut board = BTreeMap::new();
    let mut before = Value::Null;
    loop {
        let mut request = json!({"cmd": "list-runs", "limit": 200});
        if before != Value::Null {
            request["before"] = before.clone();
        }
        let page = client.call(request);
        let runs = page["runs"].as_array().cloned().unwrap_or_default();
        let Some(last) = runs.last() else {
            return board;
        };
        before = last["run"].clone();
        for row in runs {
            let run = row["run"].as_u64().expect("a number");
            board.insert(run, client.call(json!({"cmd": "get-run", "run": run})));
        }
    }
}

/// The nonce that a run's prompt names.
#[must_use]
pub fn nonce(row: &Value) -> Option<u64> {
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

/// How often each line of the ledger was written.
fn ledger(dir: &Path) -> HashMap<String, usize> {
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
pub fn compare(book: &Book, board: &BTreeMap<u64, Value>, seen: &Seen, dir: &Path) {
    let mut by_nonce: HashMap<u64, Vec<u64>> = HashMap::new();
    for (run, row) in board {
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
        one(entry, *run, &board[run], seen, &ledger);
        journal(&board[run], *run, dir);
    }
    assert!(by_nonce.is_empty(), "never asked for: {by_nonce:?}");
}

/// One run.
fn one(entry: &Entry, run: u64, row: &Value, seen: &Seen, ledger: &HashMap<String, usize>) {
    let script = &entry.script;
    let events: Vec<&Value> = seen.log.iter().filter(|e| e["run"] == json!(run)).collect();
    let of = |kind: &str| events.iter().filter(|e| e["kind"] == kind).count();
    let about = || format!("run {run}, {entry:?}\n{row}\n{events:#?}");
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
    let ended = events.last().expect("events");
    assert_eq!(ended["kind"], "ended", "{}", about());
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
