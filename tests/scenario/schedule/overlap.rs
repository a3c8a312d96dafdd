//! What becomes of an occurrence while the one before has not ended.

use crate::stage::{add, claim, finish, ledger, report, sql, suite, wait_occurrence, watcher};
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

#[test]
fn what_waits_does_not_come_while_it_is_paused() {
    let (_suite, mut client) = suite("");
    let fields = json!({"every": 1, "overlap": "queue", "pause_after": 1});
    add(&mut client, "q", fields);
    let first = wait_occurrence(&mut client, "q", "fired");
    wait_occurrence(&mut client, "q", "waiting");
    finish(&mut client, &first["task"], "failed");
    let shown = client.call(json!({"cmd": "get-schedule", "schedule": "q"}));
    assert_eq!(shown["state"], "paused", "{shown}");
    let fired = |client: &mut colibri_tests::client::Client| {
        ledger(client, "q").iter().any(|o| o["status"] == "fired")
    };
    assert!(!fired(&mut client));
    client.call(json!({"cmd": "resume-schedule", "schedule": "q"}));
    assert!(fired(&mut client), "the first that waits");
}

#[test]
fn one_that_cannot_come_does_not_hold_up_those_that_wait() {
    let (mut suite, mut client) = suite("");
    add(
        &mut client,
        "q",
        json!({"every": 1, "overlap": "queue", "agent": "hand"}),
    );
    let first = wait_occurrence(&mut client, "q", "fired");
    wait_occurrence(&mut client, "q", "waiting");
    wait_occurrence(&mut client, "q", "waiting");
    let claimed = claim(&mut client, &first["task"]);
    suite.stop();
    // The next task would be for an agent that is gone; later ones would not.
    sql(
        &suite,
        "UPDATE schedules SET spec = json_set(spec, '$.agent', 'gone')",
    );
    suite.launch();
    let mut client = watcher(&suite);
    report(&mut client, &first["task"], &claimed, "done");
    let refused = wait_occurrence(&mut client, "q", "skipped");
    assert_eq!(refused["why"], "refused", "{refused}");
    let left = |client: &mut colibri_tests::client::Client| {
        let rows = ledger(client, "q");
        rows.iter().filter(|o| o["status"] == "waiting").count()
    };
    assert_eq!(left(&mut client), 0);
}
