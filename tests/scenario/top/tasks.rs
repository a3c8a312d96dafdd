//! A task is opened and cancelled.

use crate::stage::{wait_task, Stage};

#[test]
fn a_task_is_opened_and_cancelled() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    let works = stage.task("Work on something", "steps");
    wait_task(&mut stage.client, works, "started");
    let waits = stage.task("Wait for the other", "steps");
    stage.top();
    stage.screen.see("Board: 1 started, 1 queued");
    stage.screen.keys(&["Tab", "Down", "Enter"]);
    let shown = stage.screen.see("History:");
    assert!(
        shown.contains(&format!("Task {waits} is queued")),
        "{shown}"
    );
    assert!(shown.contains("Wait for the other"), "{shown}");
    stage.screen.keys(&["c"]);
    stage
        .screen
        .see(&format!("Cancel task {waits}, and stop its run?"));
    stage.screen.keys(&["y"]);
    wait_task(&mut stage.client, waits, "cancelled");
    // What is opened is asked for again when it has moved.
    stage.screen.see(&format!("Task {waits} is cancelled"));
    stage.screen.keys(&["Escape"]);
    stage.screen.until("the lists", |s| {
        s.contains("Board: 1 started\n") && s.contains(&format!("{waits}  cancelled"))
    });
    // By its run, which ends with it.
    stage.screen.keys(&["Tab", "c"]);
    stage.screen.see(&format!("Cancel task {works}"));
    stage.screen.keys(&["y"]);
    wait_task(&mut stage.client, works, "cancelled");
    stage.screen.see("Board: nothing to do");
}
