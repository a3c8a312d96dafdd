//! What has to be true of schedules when everything is over: each planned occurrence has one row and
//! one outcome, and each that came to pass one task.

use crate::client::Client;
use crate::torture::board::{ms, tick, ALL, REPLACE};
use crate::torture::book::{Book, ScheduleEntry};
use crate::torture::tasks::ENDS;
use crate::torture::verdict::{Board, Told};
use serde_json::{json, Value};
use std::collections::BTreeSet;

/// What became of the occurrences of each schedule, oldest first.
///
/// # Panics
/// When a request is refused.
pub fn all(client: &mut Client, schedules: &[ScheduleEntry]) -> Vec<Vec<Value>> {
    let mut rows_of = |s: &ScheduleEntry| {
        let request = json!({"cmd": "list-occurrences", "schedule": s.name, "limit": 1000});
        let mut rows = client.call(request)["occurrences"]
            .as_array()
            .cloned()
            .expect("rows");
        rows.reverse();
        rows
    };
    schedules.iter().map(&mut rows_of).collect()
}

/// The driver's book against the ledger of occurrences, the board and the events.
///
/// # Panics
/// When they differ.
pub(super) fn compare(book: &Book, board: &Board, told: &Told<'_>) {
    let mut made = BTreeSet::new();
    for (entry, rows) in book.schedules.iter().zip(&board.occurrences) {
        each_once(entry, rows);
        for row in rows {
            one_outcome(entry, row, board, told);
            if let Some(task) = row["task"].as_u64() {
                assert!(made.insert(task), "two have task {task}: {row}");
            }
        }
        for task in &entry.manual {
            let fits = |r: &&Value| r["task"] == json!(task) && r["manual"] == true;
            assert_eq!(rows.iter().filter(fits).count(), 1, "task {task} asked for");
        }
    }
    for (id, task) in &board.tasks {
        let asked_for = task["key"].is_string();
        assert!(asked_for || made.contains(id), "nobody's task: {task:#}");
    }
}

/// Every planned time from the first on, without a hole, without one twice.
fn each_once(entry: &ScheduleEntry, rows: &[Value]) {
    let planned = rows.iter().filter(|r| r["manual"] == false);
    let planned: Vec<u64> = planned.map(|r| ms(&r["planned"])).collect();
    let due = (0..).map(|n| entry.first_ms + n * entry.every_ms);
    let due: Vec<u64> = due.take(planned.len()).collect();
    assert_eq!(planned, due, "{}", entry.name);
}

/// It has come to an end once, with its task or with a reason why there is none; events tell the
/// same.
fn one_outcome(entry: &ScheduleEntry, row: &Value, board: &Board, told: &Told<'_>) {
    let name = entry.name.as_str();
    let events: Vec<_> = told
        .occurrences
        .iter()
        .filter(|e| e["schedule"] == name)
        .filter(|e| e["planned"] == row["planned"] && e["manual"] == row["manual"])
        .collect();
    let about = || format!("{name}: {row}\n{events:#?}");
    let is = |e: &Value, words: &[&str]| words.iter().any(|w| e["status"] == *w);
    let count = |words: &[&str]| events.iter().filter(|e| is(e, words)).count();
    let without = ["skipped", "merged"];
    let (ends, fired) = (count(&ENDS) + count(&without), count(&["fired"]));
    let last = events.last().map(|e| &e["status"]);
    assert_eq!((ends, last), (1, Some(&row["status"])), "{}", about());
    assert!(row["until"].is_null(), "{}", about());
    let Some(task) = row["task"].as_u64() else {
        let told = is(row, &without) && row["why"].is_string() && fired == 0;
        // Unless it is removed before.
        let may = name != ALL || row["why"] == "retired";
        assert!(told && may && row["manual"] == false, "{}", about());
        return;
    };
    let task = &board.tasks[&task];
    assert!(is(row, &ENDS) && fired == 1, "{}", about());
    assert_eq!(row["status"], task["status"], "{} {task:#}", about());
    let planned = row["planned"].as_str().expect("a time");
    assert_eq!(task["title"], tick(name, planned), "{}", about());
    // Nobody disturbs their runs but the schedule that replaces them.
    let cancelled = task["status"] == "cancelled" && name == REPLACE;
    assert!(
        task["status"] == "done" || cancelled,
        "{} {task:#}",
        about()
    );
}
