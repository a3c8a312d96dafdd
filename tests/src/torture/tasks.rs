//! What has to be true of the board when everything is over: every task has one end, every attempt
//! one run, and whoever named the skill knows what it was given.

use crate::client::Client;
use crate::torture::board::{ALL, SKILL};
use crate::torture::book::{Book, TaskEntry};
use crate::torture::plan::Kind;
use crate::torture::verdict::{numbers, Board, Ledger, Told};
use serde_json::{json, Value};
use std::collections::{BTreeMap, BTreeSet};

/// How a task ends.
pub const ENDS: [&str; 3] = ["done", "failed", "cancelled"];

/// Every task that the suite knows, in full, by number.
///
/// # Panics
/// When a request is refused.
pub fn all(client: &mut Client) -> BTreeMap<u64, Value> {
    numbers(client, "list-tasks", "tasks", "id")
        .into_iter()
        .map(|id| (id, client.call(json!({"cmd": "get-task", "task_id": id}))))
        .collect()
}

/// The driver's book against the board, the events and the ledger.
///
/// # Panics
/// When they differ.
pub(super) fn compare(book: &Book, board: &Board, told: &Told<'_>, ledger: &Ledger) {
    let mut attempts = BTreeSet::new();
    let mut keys = BTreeMap::new();
    for (id, task) in &board.tasks {
        one_end(task, &told.tasks[id]);
        one_run_each(*id, task, board, &mut attempts);
        if let Some(key) = task["key"].as_str() {
            let before = keys.insert(key, *id);
            assert_eq!(before, None, "key {key} has two tasks: {task}");
        }
    }
    for (run, row) in &board.runs {
        let known = row["task"].is_null() || attempts.contains(run);
        assert!(known, "run {run} is nobody's attempt: {row}");
    }
    let mut editions = 0;
    for entry in book.tasks() {
        let nonce = entry.task.script.nonce;
        let id = keys.remove(nonce.to_string().as_str());
        assert_eq!(id, entry.id, "task {nonce}");
        let Some(task) = id.map(|id| &board.tasks[&id]) else {
            continue;
        };
        as_planned(entry, task, book, board);
        let since = entry.task.skill.then_some(entry.editions);
        editions += given(task, nonce, since, book, ledger);
    }
    for task in board.tasks.values().filter(|t| t["key"].is_null()) {
        let since = (task["reply_to"]["schedule"] == ALL).then_some(1);
        editions += given(task, 0, since, book, ledger);
    }
    assert!(keys.is_empty(), "never asked for: {keys:?}");
    let noted = ledger.keys().filter(|l| l.starts_with("edition "));
    assert_eq!(noted.count(), editions, "a skill for who has not named it");
}

/// One end, reached by moves of which each goes on from the one before; events tell the same.
fn one_end(task: &Value, events: &[&Value]) {
    let history = task["history"].as_array().expect("a history");
    let moves: Vec<_> = history.iter().filter(|h| h["after"].is_string()).collect();
    let told: Vec<_> = events
        .iter()
        .map(|e| (&e["before"], &e["status"]))
        .collect();
    let about = || format!("{task:#}\n{told:?}");
    let mut before = &Value::Null;
    for step in &moves {
        assert_eq!(&step["before"], before, "{}", about());
        before = &step["after"];
    }
    assert_eq!(&task["status"], before, "{}", about());
    let over = |s: &Value| ENDS.iter().any(|e| s == e);
    let ends = moves.iter().filter(|m| over(&m["after"])).count();
    assert!(ends == 1 && task["ended_at"].is_string(), "{}", about());
    let stored: Vec<_> = moves.iter().map(|m| (&m["before"], &m["after"])).collect();
    assert_eq!(stored, told, "{}", about());
}

/// Each attempt has ended, and is one run that is the task's.
fn one_run_each(id: u64, task: &Value, board: &Board, attempts: &mut BTreeSet<u64>) {
    let fits = task["fits"].as_array().expect("agents");
    for claim in task["claims"].as_array().expect("claims") {
        let whole = claim["outcome"].is_string() && claim["ended_at"].is_string();
        assert!(whole && fits.contains(&claim["agent"]), "{task:#}");
        let run = claim["run"].as_u64().expect("a run");
        let row = &board.runs[&run];
        assert_eq!(
            (&row["task"], &row["agent"]),
            (&json!(id), &claim["agent"]),
            "{task:#}"
        );
        assert!(attempts.insert(run), "run {run} is two attempts: {task:#}");
    }
}

/// How a task ended, and by how many attempts.
fn as_planned(entry: &TaskEntry, task: &Value, book: &Book, board: &Board) {
    let about = || format!("{entry:?}\n{task:#}");
    let status = task["status"].as_str().expect("a status");
    let outcomes: Vec<&str> = task["claims"]
        .as_array()
        .expect("claims")
        .iter()
        .filter_map(|c| c["outcome"].as_str())
        .collect();
    // Attempts before the last one are those that faults have cut short.
    for outcome in outcomes.iter().rev().skip(1) {
        let crashed = *outcome == "crash" && entry.monitor_killed;
        let returned = *outcome == "returned" && entry.suite_stopped;
        assert!(crashed || returned, "{}", about());
    }
    if entry.cancel {
        // A result that came before it counts.
        assert!(matches!(status, "cancelled" | "done"), "{}", about());
        return;
    }
    let before = entry.task.after.and_then(|n| {
        let found = book.tasks().find(|t| t.task.script.nonce == n)?;
        board.tasks.get(&found.id?)
    });
    if before.is_some_and(|b| b["status"] != "done") {
        let followed = (status, &task["class"]) == ("failed", &json!("dependency"));
        assert!(followed && outcomes.is_empty(), "{}", about());
        return;
    }
    let (planned, code, last) = match entry.task.script.kind {
        Kind::Works | Kind::Asks | Kind::Leaves => ("done", 0, "done"),
        Kind::Fails(code) => ("failed", code, "agent"),
        // These only end when they are made to.
        Kind::Lives | Kind::Deaf => panic!("ended by itself: {}", about()),
    };
    assert_eq!(
        (status, outcomes.last()),
        (planned, Some(&last)),
        "{}",
        about()
    );
    if planned == "done" {
        assert_eq!(task["summary"], "done", "{}", about());
    }
    let exit = json!({"how": "code", "value": code});
    // One that had settled may have been made to leave.
    assert!(task["exit"] == exit || entry.suite_stopped, "{}", about());
}

/// What its attempts were given: nothing, or, if so many editions were there `since` it names the
/// skill, one that is not older, which is what the agent has read. Returns how many have read it.
fn given(task: &Value, nonce: u64, since: Option<usize>, book: &Book, ledger: &Ledger) -> usize {
    let mut read = 0;
    for claim in task["claims"].as_array().expect("claims") {
        let skills = claim["skills"].as_array().expect("skills");
        let Some(since) = since else {
            assert!(skills.is_empty(), "{task:#}");
            continue;
        };
        let version = |v: &u64| skills.len() == 1 && skills[0]["version"] == json!(v);
        let edition = book.editions.iter().position(version);
        let edition = edition.unwrap_or_else(|| panic!("no such version: {task:#}"));
        assert_eq!(skills[0]["skill"], SKILL, "{task:#}");
        assert!(edition + 1 >= since, "older than {since}: {task:#}");
        let run = &claim["run"];
        let noted = ledger.contains_key(&format!("edition {run} {edition}"));
        let taken = ledger.contains_key(&format!("taken {run} {nonce}"));
        assert!(noted || !taken, "edition {edition} was not read: {task:#}");
        read += usize::from(noted);
    }
    read
}
