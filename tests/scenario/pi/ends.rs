//! Ends that are not the agent's own: stopped, killed, or never coming.

use crate::both;
use crate::stage::{Stage, PATIENCE};
use colibri_tests::pi::Version;
use colibri_tests::procs::{self, Lifeline};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::Signal;
use serde_json::{json, Value};

both! {
    stop_while_streaming stop_while_streaming_in_json_mode stop_by_ctl_while_a_tool_sleeps
    stop_in_a_tool_in_json_mode left_process_ends_with_its_run killed_pi_takes_its_tools_along
    pi_ended_by_its_own_tool silent_model_is_shown_and_stopped suite_stop_ends_the_run
}

/// Asks for the end and returns the ended run: wanted so, idle, without any error.
#[track_caller]
fn stopped(stage: &mut Stage) -> Value {
    let accepted = stage.call(json!({"cmd": "stop-agent", "run": stage.run}));
    assert_eq!(accepted["run"], json!(stage.run), "{accepted}");
    assert!(
        accepted["state"] == "stopping" || accepted["state"] == "ended",
        "{accepted}"
    );
    after_stop(stage)
}

#[track_caller]
fn after_stop(stage: &mut Stage) -> Value {
    let run = stage.end();
    assert_eq!(run["state"], "idle", "{run}");
    assert_eq!(run["wanted"], "stop", "{run}");
    assert!(run["reason"].is_string(), "{run}");
    let ended = stage.events("ended")[0];
    assert_eq!(ended["asked"], json!(true), "{ended}");
    assert_eq!(stage.events("stop-wanted").len(), 1);
    assert_eq!(stage.events("stopping").len(), 1);
    stage.assert_never(&["error", "done"]);
    // Asked again, it is what it is.
    let again = stage.call(json!({"cmd": "stop-agent", "run": stage.run}));
    assert_eq!(again["state"], "ended", "{again}");
    run
}

fn stop_while_streaming(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "slow") else {
        return;
    };
    stage.spawn("Talk");
    stage.until_state("working/model");
    assert!(stage.server.wait_for_pieces(5, PATIENCE), "no stream");
    let pi = stage.pi();
    stopped(&mut stage);
    assert!(!procs::alive(pi));
    stage.close();
}

fn stop_while_streaming_in_json_mode(version: Version) {
    let Some(mut stage) = Stage::new(version, "json", "slow") else {
        return;
    };
    stage.spawn("Talk");
    stage.until_state("working/model");
    assert!(stage.server.wait_for_pieces(5, PATIENCE), "no stream");
    // Only a signal can end it: Pi's handler says 143.
    let run = stopped(&mut stage);
    assert_eq!(run["exit"], json!({"how": "code", "value": 143}), "{run}");
    stage.close();
}

fn stop_by_ctl_while_a_tool_sleeps(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "holdfar") else {
        return;
    };
    let line = Lifeline::new(&stage.work().join("alive"));
    stage.spawn("Hold");
    assert!(line.up(PATIENCE), "the tool never ran");
    stage.until_state("working/tool");
    assert!(stage.agents_processes().len() > 2);
    assert!(!line.is_cut());
    stage.ctl_ok(&["stop", "RUN", "--wait"]);
    // Said after the proof, so there is nothing to wait for.
    assert!(line.is_cut(), "something of the tool lives on");
    after_stop(&mut stage);
    stage.close();
}

fn stop_in_a_tool_in_json_mode(version: Version) {
    let Some(mut stage) = Stage::new(version, "json", "holdfar") else {
        return;
    };
    let line = Lifeline::new(&stage.work().join("alive"));
    stage.spawn("Hold");
    assert!(line.up(PATIENCE), "the tool never ran");
    stopped(&mut stage);
    assert!(line.is_cut(), "something of the tool lives on");
    stage.close();
}

fn left_process_ends_with_its_run(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "daemon") else {
        return;
    };
    stage.spawn("Leave something");
    // The end itself finds nothing in the agent's directory, where the left process sleeps.
    stage.end_done("A process was left behind.");
    stage.close();
}

fn killed_pi_takes_its_tools_along(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "holdfar") else {
        return;
    };
    let line = Lifeline::new(&stage.work().join("alive"));
    stage.spawn("Hold");
    assert!(line.up(PATIENCE), "the tool never ran");
    procs::signal(stage.pi(), Signal::SIGKILL);
    let run = stage.end();
    assert!(line.is_cut(), "something of the tool lives on");
    assert_eq!(run["state"], "error", "{run}");
    assert_eq!(run["exit"], json!({"how": "signal", "value": 9}), "{run}");
    assert_eq!(run["wanted"], "run", "{run}");
    assert!(run["reason"].is_string(), "{run}");
    assert_eq!(stage.events("ended")[0]["asked"], json!(false));
    let status = stage.ctl_ok(&["status"]);
    assert!(status.starts_with("1 agent needs you"), "{status}");
    stage.close();
}

fn pi_ended_by_its_own_tool(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "selfterm") else {
        return;
    };
    stage.spawn("Go");
    let run = stage.end();
    // 143 that nobody asked for is an error, unlike after a stop.
    assert_eq!(run["state"], "error", "{run}");
    assert_eq!(run["exit"], json!({"how": "code", "value": 143}), "{run}");
    stage.close();
}

fn silent_model_is_shown_and_stopped(version: Version) {
    let Some(mut stage) = Stage::with(version, "rpc", "silent", "stall_after = 1") else {
        return;
    };
    stage.spawn("Say something");
    stage.until_state("working/model");
    let stalled = stage.until_kind("stalled");
    assert!(stalled["quiet_seconds"].as_u64() >= Some(1), "{stalled}");
    // A slow start is a stall of its own, which ends: this one stays.
    let pane = must("a stall that stays", LONG, || {
        let pane = stage.pane();
        (pane["stalled"] == true && pane["phase"] == "model").then_some(pane)
    });
    assert_eq!(pane["state"], "working", "silence is no state: {pane}");
    assert_eq!(pane["attention"], json!(true), "{pane}");
    let status = stage.ctl_ok(&["status"]);
    assert!(status.starts_with("1 agent needs you: run 1"), "{status}");
    stopped(&mut stage);
    stage.close();
}

fn suite_stop_ends_the_run(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "holdfar") else {
        return;
    };
    let line = Lifeline::new(&stage.work().join("alive"));
    stage.spawn("Hold");
    assert!(line.up(PATIENCE), "the tool never ran");
    stage.until_state("working/tool");
    let pi = stage.pi();
    stage.close();
    assert!(line.is_cut(), "something of the tool lives on");
    assert!(!procs::alive(pi));
}
