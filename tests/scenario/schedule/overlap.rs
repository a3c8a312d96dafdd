//! What becomes of an occurrence while the one before has not ended.

use crate::stage::{add, claim, finish, ledger, report, suite, wait_occurrence};
use serde_json::json;

#[test]
fn skip_lets_nothing_come_of_it_and_says_why() {
    let (_suite, mut client) = suite("");
    add(&mut client, "s", json!({"every": 1}));
    let first = wait_occurrence(&mut client, "s", "fired");
    let skipped = wait_occurrence(&mut client, "s", "skipped");
    assert_eq!(skipped["why"], "overlap");
    assert_eq!(
        skipped["reason"],
        json!(format!("task {} has not ended", first["task"]))
    );
    finish(&mut client, &first["task"], "done");
    let second = wait_occurrence(&mut client, "s", "fired");
    assert_ne!(second["task"], first["task"]);
}

#[test]
fn queue_waits_for_the_end() {
    let (_suite, mut client) = suite("");
    add(&mut client, "q", json!({"every": 1, "overlap": "queue"}));
    let first = wait_occurrence(&mut client, "q", "fired");
    let waits = wait_occurrence(&mut client, "q", "waiting");
    finish(&mut client, &first["task"], "failed");
    let second = wait_occurrence(&mut client, "q", "fired");
    assert_eq!(second["planned"], waits["planned"], "the first that waited");
}

#[test]
fn replace_ends_the_one_before() {
    let (_suite, mut client) = suite("");
    add(&mut client, "r", json!({"every": 1, "overlap": "replace"}));
    let first = wait_occurrence(&mut client, "r", "fired");
    let cancelled = wait_occurrence(&mut client, "r", "cancelled");
    assert_eq!(cancelled["task"], first["task"]);
    let second = wait_occurrence(&mut client, "r", "fired");
    assert_ne!(second["task"], first["task"]);
    let task = client.call(json!({"cmd": "get-task", "task_id": first["task"]}));
    assert_eq!(task["status"], "cancelled");
}

#[test]
fn pause_is_recorded_and_resume_goes_on() {
    let (_suite, mut client) = suite("");
    add(&mut client, "p", json!({"every": 1, "overlap": "allow"}));
    wait_occurrence(&mut client, "p", "fired");
    client.call(json!({"cmd": "pause-schedule", "schedule": "p", "reason": "a feast"}));
    let skipped = wait_occurrence(&mut client, "p", "skipped");
    assert_eq!(
        (&skipped["why"], &skipped["reason"]),
        (&json!("paused"), &json!("paused: a feast"))
    );
    client.call(json!({"cmd": "resume-schedule", "schedule": "p"}));
    wait_occurrence(&mut client, "p", "fired");
}

#[test]
fn it_is_paused_after_failures_in_a_row() {
    let (_suite, mut client) = suite("");
    let fields = json!({"every": 1, "pause_after": 2});
    add(&mut client, "f", fields);
    for outcome in ["failed", "done", "failed", "failed"] {
        let fired = wait_occurrence(&mut client, "f", "fired");
        let task = &fired["task"];
        let claim = claim(&mut client, task);
        report(&mut client, task, &claim, outcome);
        wait_occurrence(&mut client, "f", outcome);
    }
    let shown = client.call(json!({"cmd": "get-schedule", "schedule": "f"}));
    assert_eq!(shown["paused"], "2 failures in a row");
    let skipped = wait_occurrence(&mut client, "f", "skipped");
    assert!(["paused", "overlap"].contains(&skipped["why"].as_str().expect("why")));
    let fired = ledger(&mut client, "f");
    let fired = fired.iter().filter(|r| r["status"] == "fired").count();
    assert_eq!(fired, 0);
}
