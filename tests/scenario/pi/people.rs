//! What a person does with a working agent: answer, refuse, steer, abort.

use crate::both;
use crate::stage::{Stage, PATIENCE};
use colibri_tests::pi::Version;
use colibri_tests::procs::Lifeline;
use serde_json::{json, Value};

both! {
    question_is_answered question_is_answered_by_ctl question_is_cancelled choice_is_made
    question_times_out stop_at_a_question steering_changes_the_course json_mode_takes_no_commands
    abort_in_a_tool_keeps_the_agent
}

/// Starts a run that asks, and returns the question once the run is blocked by it.
#[track_caller]
fn blocked(stage: &mut Stage) -> Value {
    stage.spawn("Do what needs permission");
    let asked = stage.until_kind("asked");
    let state = stage.until_state("blocked");
    assert_eq!(state["attention"], json!(true), "{state}");
    assert_eq!(state["reason"], "user", "{state}");
    let pane = stage.pane();
    assert_eq!(pane["state"], "blocked", "{pane}");
    assert_eq!(pane["attention"], json!(true), "{pane}");
    assert_eq!(pane["tools"], json!(["bash"]), "{pane}");
    let dialogs = pane["dialogs"].as_array().expect("a list");
    assert_eq!(dialogs.len(), 1, "{pane}");
    for field in [
        "request",
        "method",
        "title",
        "message",
        "options",
        "timeout_ms",
    ] {
        assert_eq!(dialogs[0][field], asked[field], "{field}: {pane}");
    }
    asked
}

/// Answers and checks that a second answer is refused.
#[track_caller]
fn answer(stage: &mut Stage, asked: &Value, value: &str) {
    let mut request = json!({"cmd": "answer", "run": stage.run, "request": asked["request"]});
    request["value"] = json!(value);
    let did = stage.call(request.clone());
    assert_eq!(did["done"], json!(true), "{did}");
    assert_eq!(stage.refused(request), "conflict");
}

fn question_is_answered(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "ask") else {
        return;
    };
    let asked = blocked(&mut stage);
    assert_eq!(asked["method"], "confirm", "{asked}");
    assert_eq!(asked["title"], "Allow command?", "{asked}");
    assert_eq!(
        asked["message"], ": needs-permission confirm; echo allowed",
        "{asked}"
    );
    answer(&mut stage, &asked, "yes");
    let settled = stage.until_kind("settled");
    assert_eq!(settled["request"], asked["request"], "{settled}");
    assert_eq!(settled["how"], "answered", "{settled}");
    stage.end_done("The command was allowed.");
    stage.assert_states(&[
        "working/tool",
        "blocked",
        "working/tool",
        "working/model",
        "done",
    ]);
    stage.close();
}

fn question_is_answered_by_ctl(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "ask") else {
        return;
    };
    let asked = blocked(&mut stage);
    let status = stage.ctl_ok(&["status"]);
    assert!(status.starts_with("1 agent needs you: run 1"), "{status}");
    let request = asked["request"].as_str().expect("an id");
    let shown = stage.ctl_ok(&["show", "RUN"]);
    assert!(
        shown.contains(request) && shown.contains("Allow command?"),
        "{shown}"
    );
    let wrong = stage.ctl(&["answer", "RUN", "no-such-question", "yes"]);
    assert_eq!(wrong.status.code(), Some(1));
    stage.ctl_ok(&["answer", "RUN", request, "yes"]);
    stage.end_done("The command was allowed.");
    stage.close();
}

fn question_is_cancelled(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "ask") else {
        return;
    };
    let asked = blocked(&mut stage);
    let request = asked["request"].as_str().expect("an id");
    stage.ctl_ok(&["answer", "RUN", request, "--cancel"]);
    let settled = stage.until_kind("settled");
    assert_eq!(settled["how"], "cancelled", "{settled}");
    // The tool is refused by the extension; the run goes on.
    stage.end_done("The command was refused.");
    stage.close();
}

fn choice_is_made(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "askselect") else {
        return;
    };
    let asked = blocked(&mut stage);
    assert_eq!(asked["options"], json!(["allow", "refuse"]), "{asked}");
    let wrong =
        json!({"cmd": "answer", "run": stage.run, "request": asked["request"], "value": "perhaps"});
    assert_eq!(stage.refused(wrong), "conflict");
    answer(&mut stage, &asked, "allow");
    stage.end_done("The command was allowed.");
    stage.close();
}

fn question_times_out(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "asktimeout") else {
        return;
    };
    stage.spawn("Do what needs permission");
    let asked = stage.until_kind("asked");
    assert_eq!(asked["timeout_ms"], 1500, "{asked}");
    let state = stage.until_state("blocked");
    assert!(state["until"].is_string(), "{state}");
    // Pi says nothing of it; the clock or the next event of the tool does.
    let settled = stage.until_kind("settled");
    assert!(
        settled["how"] == "timed-out" || settled["how"] == "overtaken",
        "{settled}"
    );
    stage.end_done("The command was refused.");
    stage.close();
}

fn stop_at_a_question(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "ask") else {
        return;
    };
    blocked(&mut stage);
    stage.ctl_ok(&["stop", "RUN"]);
    let run = stage.end();
    assert_eq!(run["state"], "idle", "{run}");
    assert_eq!(run["wanted"], "stop", "{run}");
    assert_eq!(stage.events("settled").len(), 1);
    stage.close();
}

fn steering_changes_the_course(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "steer") else {
        return;
    };
    stage.spawn("Go straight on");
    stage.until_kind("tool-start");
    stage.ctl_ok(&["steer", "RUN", "turn left"]);
    stage.end_done("Now following: turn left");
    let did = stage.events("did");
    let steer: Vec<_> = did.iter().filter(|e| e["command"] == "steer").collect();
    assert_eq!(steer.len(), 1, "{did:?}");
    assert_eq!(steer[0]["error"], Value::Null);
    let seen = stage.server.seen();
    assert_eq!(
        seen.last().expect("requests").user_messages,
        ["Go straight on", "turn left"]
    );
    stage.close();
}

fn json_mode_takes_no_commands(version: Version) {
    let Some(mut stage) = Stage::new(version, "json", "slow") else {
        return;
    };
    stage.spawn("Go straight on");
    stage.until_state("working/model");
    let run = stage.run;
    let steer = json!({"cmd": "steer", "run": run, "message": "turn left"});
    assert_eq!(stage.refused(steer), "conflict");
    assert_eq!(
        stage.refused(json!({"cmd": "abort", "run": run})),
        "conflict"
    );
    let answer = json!({"cmd": "answer", "run": run, "request": "x", "value": "yes"});
    assert_eq!(stage.refused(answer), "conflict");
    // None of it disturbed the run, and a stop works all the same.
    assert_eq!(stage.pane()["state"], "working");
    stage.call(json!({"cmd": "stop-agent", "run": run}));
    let run = stage.end();
    assert_eq!(run["state"], "idle", "{run}");
    stage.close();
}

fn abort_in_a_tool_keeps_the_agent(version: Version) {
    let stage = Stage::with(version, "rpc", "hold", "on_settled = \"stay\"");
    let Some(mut stage) = stage else { return };
    let line = Lifeline::new(&stage.work().join("alive"));
    stage.spawn("Hold");
    assert!(line.up(PATIENCE), "the tool never ran");
    stage.until_state("working/tool");
    let pi = stage.pi();
    stage.ctl_ok(&["abort", "RUN"]);
    let idle = stage.until_state("idle");
    assert_eq!(idle["reason"], "aborted", "{idle}");
    assert!(line.cut(PATIENCE), "the tool lives on");
    // The same Pi takes new work: the model's next answer to it is words.
    assert_eq!(stage.pi(), pi);
    let pane = stage.pane();
    assert_eq!(pane["state"], "idle", "{pane}");
    assert_eq!(pane["attention"], json!(false), "{pane}");
    let nothing = json!({"cmd": "abort", "run": stage.run});
    assert_eq!(stage.refused(nothing), "conflict");
    stage.call(json!({"cmd": "stop-agent", "run": stage.run}));
    let run = stage.end();
    assert_eq!(run["state"], "idle", "{run}");
    assert_eq!(run["exit"], json!({"how": "code", "value": 0}), "{run}");
    stage.close();
}
