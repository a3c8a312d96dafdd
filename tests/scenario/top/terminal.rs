//! However it ends, the terminal is as it was before.

use crate::stage::Stage;
use colibri_tests::procs;
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::Signal;

/// The process that reads keys and colibrid, below the one that owns the terminal.
#[track_caller]
fn view(stage: &Stage) -> i32 {
    let guard = stage.screen.front();
    must("the view", LONG, || {
        procs::children_of(guard).first().map(|p| p.pid)
    })
}

#[test]
fn after_quitting() {
    let Some(stage) = Stage::new() else { return };
    for key in ["q", "C-c"] {
        stage.top();
        assert_eq!(stage.screen.fact("alternate_on"), "1");
        stage.screen.keys(&[key]);
        stage.screen.see("status 0");
        stage.screen.assert_clean();
    }
}

#[test]
fn after_a_signal() {
    let Some(stage) = Stage::new() else { return };
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        stage.top();
        let (guard, view) = (stage.screen.front(), view(&stage));
        procs::signal(guard, signal);
        assert!(procs::gone(guard, LONG) && procs::gone(view, LONG));
        stage
            .screen
            .until("the shell", |s| !s.contains("Board:") && s.contains("sh:"));
        stage.screen.assert_clean();
    }
}

#[test]
fn after_a_crash_of_the_view() {
    let Some(stage) = Stage::new() else { return };
    // An abort is what a panic ends with.
    for (signal, number) in [(Signal::SIGABRT, 6), (Signal::SIGKILL, 9)] {
        stage.top();
        procs::signal(view(&stage), signal);
        stage.screen.see(&format!(
            "colibri-ctl: top's view was killed by signal {number}"
        ));
        stage.screen.see("status 1");
        stage.screen.assert_clean();
    }
}

#[test]
fn while_it_is_stopped_and_when_it_comes_back() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    stage.client.spawn_agent("asks", "Ask");
    stage.top();
    let guard = stage.screen.front();
    stage.screen.keys(&["C-z"]);
    stage
        .screen
        .until("the shell", |s| s.contains("sh:") && !s.contains("Board:"));
    stage.screen.assert_clean();
    stage.screen.run("fg");
    stage.screen.see("Which colour?");
    assert_eq!(stage.screen.fact("alternate_on"), "1");
    // The same by a signal, and changes of the size meanwhile are seen afterwards.
    procs::signal(guard, Signal::SIGTSTP);
    stage
        .screen
        .until("the shell", |s| s.contains("sh:") && !s.contains("Board:"));
    stage.screen.assert_clean();
    stage.screen.resize(100, 30);
    stage.screen.run("fg");
    let shown = stage.screen.see("Which colour?");
    assert_eq!(shown.lines().count(), 30, "{shown}");
    stage.screen.keys(&["?"]);
    stage.screen.see("Ctrl-Z");
    stage.screen.keys(&["q", "q"]);
    stage
        .screen
        .until("the shell", |s| s.contains("sh:") && !s.contains("Board:"));
    stage.screen.assert_clean();
}

#[test]
fn what_is_pasted_is_no_command() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    let run = stage.client.spawn_agent("steps", "Work");
    stage.top();
    stage.screen.see("working");
    stage.screen.paste("sy\nq");
    stage.screen.keys(&["?"]);
    stage.screen.see("suspend");
    let run = stage
        .client
        .call(serde_json::json!({"cmd": "get-run", "run": run}));
    assert_eq!(run["wanted"], "run", "{run}");
}
