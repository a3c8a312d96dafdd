//! Runs in which all goes well, or as well as the tools allow.

use crate::both;
use crate::stage::Stage;
use colibri_tests::pi::Version;
use serde_json::{json, Value};

both! {
    plain_answer plain_answer_by_ctl plain_answer_in_json_mode several_tools failing_tools
    tools_in_json_mode fifty_thousand_characters five_megabytes_of_tool_output
    line_separators_and_broken_text
}

const HELLO: &str = "Hello! This is the scripted model speaking.";

/// What `usage` says, against what the model server charges: the prompt is a quarter of the request's
/// bytes, three quarters of it cached, at 3, 15 and 0.30 dollars per million tokens.
#[track_caller]
fn assert_usage(usage: &Value, messages: u64, output: u64) {
    let n = |field: &str| usage[field].as_u64().expect("a number");
    assert_eq!(n("messages"), messages, "{usage}");
    assert_eq!(n("output"), output, "{usage}");
    assert!(n("input") > 0 && n("cache_read") > n("input"), "{usage}");
    let micro = n("input") as f64 * 3.0 + output as f64 * 15.0 + n("cache_read") as f64 * 0.3;
    let cost = usage["cost_usd"].as_f64().expect("a number");
    // Pi's own floats, rounded to a billionth of a dollar per message.
    assert!(
        (cost - micro / 1e6).abs() < 1e-8,
        "{cost} is not {micro}: {usage}"
    );
}

fn plain_answer(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "plain") else {
        return;
    };
    stage.spawn("Say hello");
    let session = stage.until_kind("session");
    let run = stage.end_done(HELLO);
    stage.assert_states(&["idle", "working/model", "done"]);
    stage.assert_never(&["blocked", "error"]);
    assert!(session["id"].as_str().is_some_and(|id| id.len() > 8));
    assert_eq!(run["pane"]["pi_session_id"], session["id"]);
    assert_eq!(run["pane"]["cwd"], stage.work().display().to_string());
    assert_eq!(run["reason"], Value::Null, "{run}");
    assert_eq!(run["prompt"], "Say hello");
    assert_eq!(run["title"], "Say hello");
    assert_eq!(run["wanted"], "run");
    // Eleven pieces of four characters.
    assert_usage(&run["pane"]["usage"], 1, 11);
    assert_eq!(run["cost_usd"], run["pane"]["usage"]["cost_usd"]);
    assert_eq!(stage.server.seen()[0].prompt, "Say hello");
    assert_eq!(stage.server.seen().len(), 1);
    stage.close();
}

fn plain_answer_by_ctl(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "plain") else {
        return;
    };
    let out = stage.ctl_run("Say hello\nand mean it");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{told}");
    assert_eq!(String::from_utf8_lossy(&out.stdout), format!("{HELLO}\n"));
    assert!(told.contains("done"), "{told}");
    let shown = stage.ctl_ok(&["show", "RUN"]);
    assert!(shown.contains(HELLO) && shown.contains("done"), "{shown}");
    let listed = stage.ctl_ok(&["runs"]);
    assert!(listed.contains("Say hello"), "{listed}");
    assert!(
        !listed.contains("and mean it"),
        "only the first line: {listed}"
    );
    assert!(stage.ctl_ok(&["status"]).starts_with("No agent needs you"));
    stage.end_done(HELLO);
    stage.close();
}

fn plain_answer_in_json_mode(version: Version) {
    let Some(mut stage) = Stage::new(version, "json", "plain") else {
        return;
    };
    stage.spawn("Say hello");
    let session = stage.until_kind("session");
    assert_eq!(session["cwd"], stage.work().display().to_string());
    let run = stage.end_done(HELLO);
    stage.assert_states(&["idle", "working/model", "done"]);
    assert_eq!(run["pane"]["pi_session_id"], session["id"]);
    assert_eq!(run["pane"]["cwd"], session["cwd"]);
    assert_usage(&run["pane"]["usage"], 1, 11);
    assert_eq!(stage.server.seen()[0].prompt, "Say hello");
    stage.close();
}

/// The names of the ended tools in order, with a `!` behind those that failed; every one that was
/// started has ended.
#[track_caller]
fn tools(stage: &Stage) -> Vec<String> {
    let mut started: Vec<_> = stage
        .events("tool-start")
        .iter()
        .map(|e| &e["id"])
        .collect();
    let ends = stage.events("tool-end");
    for end in &ends {
        let at = started.iter().position(|id| **id == end["id"]);
        started.remove(at.unwrap_or_else(|| panic!("{end} was not started")));
    }
    assert!(started.is_empty(), "never ended: {started:?}");
    let text = |e: &&Value| {
        let name = e["name"].as_str().expect("a name");
        let mark = if e["failed"] == json!(true) { "!" } else { "" };
        format!("{name}{mark}")
    };
    ends.iter().map(text).collect()
}

fn several_tools(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "tools") else {
        return;
    };
    stage.spawn("Use them all");
    let run = stage.end_done("All four tools were used.");
    assert_eq!(tools(&stage), ["write", "read", "edit", "bash", "bash"]);
    stage.assert_states(&["working/model", "working/tool", "working/model", "done"]);
    assert_eq!(run["pane"]["usage"]["messages"], 5, "{run}");
    let notes = std::fs::read_to_string(stage.work().join("notes.txt")).expect("written");
    assert_eq!(notes, "alpha\nBETA\ngamma\n");
    stage.close();
}

fn tools_in_json_mode(version: Version) {
    let Some(mut stage) = Stage::new(version, "json", "tools") else {
        return;
    };
    stage.spawn("Use them all");
    stage.end_done("All four tools were used.");
    assert_eq!(tools(&stage), ["write", "read", "edit", "bash", "bash"]);
    stage.close();
}

fn failing_tools(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "toolfail") else {
        return;
    };
    stage.spawn("Fail");
    // A failed tool is the model's matter, not an error of the run.
    stage.end_done("Three calls failed.");
    assert_eq!(tools(&stage), ["bash!", "read!", "no_such_tool!"]);
    stage.close();
}

fn fifty_thousand_characters(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "long50") else {
        return;
    };
    stage.spawn("Write a lot");
    let run = stage.end_done(&"0123456789".repeat(5_000));
    assert_usage(&run["pane"]["usage"], 1, 12_500);
    // The old dialect repeats the text with every piece, the new one does not; neither reaches
    // the journal but for the answer.
    let bytes = run["bytes"].as_u64().expect("a number");
    let least = if version.settles() {
        2_000_000
    } else {
        500_000_000
    };
    assert!(bytes > least, "{run}");
    assert!(stage.journal_len() < 80_000, "{}", stage.journal_len());
    stage.close();
}

fn five_megabytes_of_tool_output(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "bigtool") else {
        return;
    };
    stage.spawn("Print a lot");
    let run = stage.end_done("That was a lot.");
    assert_eq!(tools(&stage), ["bash"]);
    // Pi shows the model the end of it; the rest went to a file in the run's own TMPDIR, which is
    // gone (and would otherwise be here).
    let shown = stage.server.seen()[1].tool_results[0].clone();
    assert!(shown.contains("xxx"), "{} bytes", shown.len());
    assert!(
        shown.contains("/tmp/1-1/pi-bash-"),
        "{}",
        &shown[shown.len() - 300..]
    );
    assert!(run["bytes"].as_u64() > Some(50_000), "{run}");
    assert!(stage.journal_len() < 20_000, "{}", stage.journal_len());
    stage.close();
}

fn line_separators_and_broken_text(version: Version) {
    let Some(mut stage) = Stage::new(version, "rpc", "unicode") else {
        return;
    };
    stage.spawn("Say \u{2028} and \u{1F680}");
    let run = stage.end_done("Seen: \u{2028}\u{FEFF}\u{1F600}.");
    assert_eq!(run["prompt"], "Say \u{2028} and \u{1F680}");
    assert_eq!(stage.server.seen()[0].prompt, "Say \u{2028} and \u{1F680}");
    assert_eq!(tools(&stage), ["bash"]);
    // What a person's terminal gets has no control characters but the line feed.
    let shown = stage.ctl_ok(&["show", "RUN"]);
    let odd = shown.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(odd, None, "{shown:?}");
    stage.close();
}
