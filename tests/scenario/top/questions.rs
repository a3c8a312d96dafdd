//! A run is opened, its question read and answered.

use crate::stage::Stage;
use serde_json::json;

#[test]
fn a_run_is_opened_its_question_answered_and_its_answer_read() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    let task = stage.task("Ask for a colour", "asks");
    stage.top();
    stage.screen.see("Which colour?");
    stage.screen.keys(&["Enter"]);
    let shown = stage.screen.see("It asks (select): Which colour?");
    assert!(shown.contains("Run 1: blocked, agent asks"), "{shown}");
    assert!(shown.contains("tool-start"), "{shown}");
    stage.screen.see(&format!("Task {task}: Ask for a colour"));
    // What is chosen is not yet sent.
    stage.screen.keys(&["a"]);
    stage.screen.see("> 1 red");
    stage.screen.keys(&["2"]);
    stage.screen.see("> 2 green");
    stage.screen.keys(&["Escape"]);
    stage
        .screen
        .until("the run again", |s| !s.contains("2 green"));
    stage.screen.keys(&["a"]);
    stage.screen.see("> 1 red");
    stage.screen.keys(&["Enter"]);
    let settled = stage
        .client
        .wait_event(1, "an answer", |e| e["kind"] == "settled");
    assert_eq!(settled["how"], "answered", "{settled}");
    let shown = stage.screen.see("Run 1: done, ended");
    assert!(
        shown.contains("settled") && shown.contains("No agent needs you"),
        "{shown}"
    );
    stage.screen.see("Answer:");
    stage.screen.keys(&["Tab"]);
    let details = stage.screen.see("Details");
    assert!(
        details.contains("proof") && details.contains("exit status 0"),
        "{details}"
    );
    let run = stage.client.call(json!({"cmd": "get-run", "run": 1}));
    assert_eq!(run["state"], "done", "{run}");
}

#[test]
fn a_question_can_be_cancelled() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    let run = stage.client.spawn_agent("asks", "Ask");
    stage.top();
    stage.screen.see("Which colour?");
    stage.screen.keys(&["a"]);
    stage.screen.see("cancel the question");
    stage.screen.keys(&["C-x"]);
    let settled = stage
        .client
        .wait_event(run, "an answer", |e| e["kind"] == "settled");
    assert_eq!(settled["how"], "cancelled", "{settled}");
    stage.screen.see("The question of run 1 is cancelled");
}
