//! A run is told something, aborted, stopped; what ends something asks first.

use crate::stage::Stage;
use colibri_tests::procs;
use colibri_tests::wait::LONG;
use serde_json::json;

#[test]
fn a_run_is_stopped_after_a_confirmation() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    let run = stage.client.spawn_agent("steps", "Work");
    let launched = stage
        .client
        .wait_event(run, "its start", |e| e["kind"] == "started");
    let monitor = launched["monitor"]
        .as_i64()
        .and_then(|p| i32::try_from(p).ok());
    stage.top();
    stage.screen.see("working");
    stage.screen.keys(&["s"]);
    stage
        .screen
        .see("Stop run 1 (steps) and all that it started?");
    stage.screen.keys(&["Enter", "n"]);
    stage
        .screen
        .until("no question", |s| !s.contains("Stop run"));
    let pane = stage.client.call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(pane["wanted"], "run", "{pane}");
    stage.screen.keys(&["s"]);
    stage.screen.see("Stop run 1");
    stage.screen.keys(&["y"]);
    stage
        .client
        .wait_event(run, "its end", |e| e["kind"] == "ended");
    stage.screen.until("the end", |s| {
        s.lines()
            .any(|l| l.contains("steps") && l.contains("ended"))
    });
    assert!(procs::gone(monitor.expect("a monitor"), LONG));
    // A run that has ended cannot be stopped.
    stage.screen.keys(&["s"]);
    stage.screen.see("Run 1 has ended");
}

#[test]
fn a_run_is_told_something() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    let run = stage.client.spawn_agent("asks", "Work");
    stage.top();
    stage.screen.see("Which colour?");
    stage.screen.keys(&["t"]);
    stage.screen.see("Tell run 1");
    stage.screen.text("turn right");
    stage.screen.keys(&["C-w"]);
    stage.screen.text("left");
    stage.screen.see("> turn left_");
    stage.screen.keys(&["Enter"]);
    let steers = |e: &serde_json::Value| e["kind"] == "did" && e["command"] == "steer";
    let did = stage.client.wait_event(run, "a message", steers);
    assert_eq!(did["error"], json!(null), "{did}");
    stage.screen.see("Run 1 has taken the message");
    // One that takes no messages says so.
    stage.client.call(json!({"cmd": "stop-agent", "run": run}));
    let deaf = stage.client.spawn_agent("steps", "Work");
    stage
        .screen
        .until("the second run", |s| s.contains("steps  working"));
    stage.screen.keys(&["Home", "t"]);
    stage.screen.see(&format!("Tell run {deaf}"));
    stage.screen.text("hello");
    stage.screen.keys(&["Enter"]);
    stage.screen.see("(conflict)");
}
