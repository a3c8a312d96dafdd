//! The board by colibri-ctl.

use crate::stage::{create, wait_task, with_steps};
use serde_json::{json, Value};

#[test]
fn what_is_added_is_shown_explained_and_ended() {
    let (suite, mut client, mut steps) = with_steps("");
    let first = create(&mut client, json!({"title": "first"}));
    wait_task(&mut client, first, "started");
    let said = suite.ctl_ok(&[
        "task",
        "add",
        "-c",
        "rust",
        "-p",
        "-3",
        "Second",
        "all of it",
    ]);
    let second = first + 1;
    let head = format!("Task {second} accepted, queued; to look at it: ");
    assert!(said.starts_with(&head), "{said}");
    let said = suite.ctl_ok(&["task", "explain", &second.to_string()]);
    let why = "\n  agent steps is at its limit (1 of 1)\n";
    assert!(said.ends_with(why), "{said}");
    let board = suite.ctl_ok(&["board"]);
    assert!(board.starts_with("1 started, 1 queued (oldest "), "{board}");
    let said = suite.ctl_ok(&["task", "cancel", "-r", "no need", &second.to_string()]);
    assert_eq!(said, format!("Task {second} is cancelled\n"));
    let shown = suite.ctl_ok(&["-j", "task", "show", &second.to_string()]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["reason"], "no need");
    assert_eq!(shown["description"], "all of it");

    steps.settle();
    steps.exit(0);
    wait_task(&mut client, first, "done");
    // Its pipe holds what the next one will do.
    steps.settle();
    steps.exit(0);
    let out = suite.ctl(&["task", "add", "--wait", "Third"]);
    let (said, told) = (
        String::from_utf8_lossy(&out.stdout).into_owned(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    );
    assert!(out.status.success(), "{told}");
    assert_eq!(said, "done\n");
    for word in [
        " claimed for steps - Third",
        " started - Third",
        " done - Third",
    ] {
        assert!(told.contains(word), "{told}");
    }
    let agents = suite.ctl_ok(&["agent", "list"]);
    assert!(
        agents.contains("\nsteps  -      0/1     2       0 "),
        "{agents}"
    );
}

#[test]
fn a_budget_is_given_and_shown_with_what_is_spent() {
    let (suite, mut client, mut steps) = with_steps("");
    let budget = ["--budget-usd", "0.5", "--budget-tokens", "1000"];
    let said = suite.ctl_ok(&[&["task", "add", "Costs"], &budget[..]].concat());
    assert!(said.starts_with("Task 1 accepted"), "{said}");
    wait_task(&mut client, 1, "started");
    steps.answer(990, 0.25);
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, 1, "done");
    let shown = suite.ctl_ok(&["task", "show", "1"]);
    let line = "  budget      $0.50 and 1000 tokens, spent $0.25 and 992 tokens\n";
    assert!(shown.contains(line), "{shown}");
    let bad = suite.ctl(&["task", "add", "Free", "--budget-usd", "0"]);
    assert_eq!(bad.status.code(), Some(1));
    let said = String::from_utf8_lossy(&bad.stderr);
    assert!(said.contains("usd must be above 0"), "{said}");
}

#[test]
fn the_audit_log_tells_of_changes_and_of_nothing_else() {
    let (mut suite, mut client, _steps) = with_steps("");
    client.call(json!({"cmd": "status"}));
    let task = create(&mut client, json!({"title": "secret title"}));
    let run = wait_task(&mut client, task, "started")["run"].clone();
    client.call(json!({"cmd": "pause-agent", "agent_id": "steps"}));
    client.refused(json!({"cmd": "pause-agent", "agent_id": "nobody"}));
    client.call(json!({"cmd": "stop-agent", "run": run}));
    wait_task(&mut client, task, "cancelled");
    let spawned = client.spawn_agent("steps", "secret prompt");
    suite.stop();
    suite.launch();
    let mut client = suite.client();
    let log = client.call(json!({"cmd": "list-audit"}));
    assert!(!log.to_string().contains("secret"), "{log}");
    let entries = log["entries"].as_array().expect("entries");
    let told: Vec<(&str, &Value)> = entries
        .iter()
        .map(|e| (e["command"].as_str().expect("a command"), &e["object"]))
        .collect();
    assert_eq!(
        told,
        [
            ("spawn-agent", &json!({"profile": "steps", "run": spawned})),
            ("stop-agent", &json!({"run": run})),
            ("pause-agent", &json!({"agent_id": "steps"})),
            ("create-task", &json!({"id": task})),
        ]
    );
    assert_eq!(entries[0]["role"], "operator");
    let one = json!({"cmd": "list-audit", "command": "stop-agent", "limit": 9});
    assert_eq!(
        client.call(one)["entries"].as_array().map(Vec::len),
        Some(1)
    );
    let none = json!({"cmd": "list-audit", "uid": 4_000_000_000_u32});
    assert_eq!(client.call(none)["entries"], json!([]));
}
