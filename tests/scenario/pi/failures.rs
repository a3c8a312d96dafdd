//! Providers that fail, for a while or for good.

use crate::both;
use crate::stage::Stage;
use colibri_tests::pi::Version;
use serde_json::{json, Value};

both! {
    rate_limit_is_waited_out wrong_key_is_an_error wrong_key_by_ctl wrong_key_in_json_mode
    provider_that_stays_broken answer_cut_by_a_reset answer_cut_by_an_early_end
    answer_cut_by_the_output_limit
}

fn rate_limit_is_waited_out(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "retry429") else {
        return;
    };
    stage.spawn("Hurry");
    let wait = stage.until_state("working/retrying");
    assert!(wait["until"].is_string(), "{wait}");
    assert_eq!(wait["attention"], json!(false), "nobody can help: {wait}");
    let reason = wait["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("1/3 ") && reason.contains("429"),
        "{wait}"
    );
    let run = stage.end_done("It worked in the end.");
    stage.assert_states(&[
        "working/model",
        "working/retrying",
        "working/model",
        "working/retrying",
        "working/model",
        "done",
    ]);
    stage.assert_never(&["blocked", "error"]);
    assert_eq!(run["reason"], Value::Null, "the trouble is over: {run}");
    assert_eq!(stage.server.seen().len(), 3);
    stage.close();
}

/// The run's reason, which names the provider's complaint but not the key in it.
#[track_caller]
fn complaint(run: &Value) -> String {
    let reason = run["reason"].as_str().unwrap_or_else(|| panic!("{run}"));
    assert!(reason.contains("401"), "{reason}");
    assert!(reason.contains("Incorrect API key provided"), "{reason}");
    assert!(!reason.contains("sk-scripted"), "{reason}");
    reason.to_owned()
}

fn wrong_key_is_an_error(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "auth401") else {
        return;
    };
    stage.spawn("Try");
    let state = stage.until("error", |e| e["kind"] == "state" && e["state"] == "error");
    assert_eq!(state["attention"], json!(true), "{state}");
    let run = stage.end();
    assert_eq!(run["state"], "error", "{run}");
    // Pi itself ends well: only its events tell.
    assert_eq!(run["exit"], json!({"how": "code", "value": 0}), "{run}");
    complaint(&run);
    assert_eq!(run["answer"], Value::Null, "{run}");
    assert!(!stage.states().iter().any(|s| s == "working/retrying"));
    assert_eq!(stage.server.seen().len(), 1);
    stage.close();
}

fn wrong_key_by_ctl(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "auth401") else {
        return;
    };
    let out = stage.ctl_run("Try");
    assert_eq!(out.status.code(), Some(1));
    assert!(out.stdout.is_empty(), "there is no answer");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(told.contains("error") && told.contains("401"), "{told}");
    assert!(!told.contains("sk-scripted"), "{told}");
    // It has ended, and still somebody should know.
    let status = stage.ctl_ok(&["status"]);
    assert!(status.starts_with("1 agent needs you"), "{status}");
    let run = stage.end();
    complaint(&run);
    stage.close();
}

fn wrong_key_in_json_mode(version: Version) {
    let Some(mut stage) = Stage::new(version, "json", "auth401") else {
        return;
    };
    stage.spawn("Try");
    let run = stage.end();
    assert_eq!(run["state"], "error", "{run}");
    assert_eq!(run["exit"], json!({"how": "code", "value": 0}), "{run}");
    complaint(&run);
    stage.close();
}

fn provider_that_stays_broken(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "always500") else {
        return;
    };
    stage.spawn("Try");
    let run = stage.end();
    assert_eq!(run["state"], "error", "{run}");
    let reason = run["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("500") || reason.contains("Internal error"),
        "{run}"
    );
    let retrying = |s: &&String| *s == "working/retrying";
    assert_eq!(
        stage.states().iter().filter(retrying).count(),
        3,
        "{:?}",
        stage.states()
    );
    assert_eq!(stage.server.seen().len(), 4);
    stage.close();
}

fn cut(version: Version, model: &str) {
    let Some(mut stage) = Stage::new(version, "rpc", model) else {
        return;
    };
    stage.spawn("Tell");
    stage.end_done("It worked in the end.");
    stage.assert_states(&["working/model", "working/retrying", "working/model", "done"]);
    assert_eq!(stage.server.seen().len(), 2);
    stage.close();
}

fn answer_cut_by_a_reset(version: Version) {
    cut(version, "disconnect");
}

fn answer_cut_by_an_early_end(version: Version) {
    cut(version, "disconnectfin");
}

fn answer_cut_by_the_output_limit(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "length") else {
        return;
    };
    stage.spawn("Tell");
    let run = stage.end_done("This answer is cut");
    assert_eq!(run["reason"], "truncated", "{run}");
    stage.close();
}
