//! `explain` and `check --deep`: what the suite believes is compared with what is.

use colibri_tests::procs;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use libcolibri::journal::Reader;
use nix::sys::signal::Signal;
use serde_json::{json, Value};
use std::fs;

fn with_steps() -> (Suite, Steps) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    (Suite::start_in(scratch, setup), steps)
}

/// Disagreements as run and code.
fn codes(audit: &Value) -> Vec<(u64, String)> {
    let list = audit["disagreements"].as_array().expect("a list");
    list.iter()
        .map(|d| {
            let code = d["code"].as_str().expect("a code").to_owned();
            (d["run"].as_u64().expect("a run"), code)
        })
        .collect()
}

#[test]
fn a_run_is_explained_from_its_start_to_its_end() {
    let (suite, mut steps) = with_steps();
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    steps.say(r#"{"type":"tool_execution_start","toolCallId":"c","toolName":"bash","args":{}}"#);
    client.wait_event(run, "the tool", |e| e["kind"] == "tool-start");
    let e = client.call(json!({"cmd": "explain-run", "run": run}));
    assert_eq!(e["state"], "working", "{e}");
    assert_eq!(e["stage"], "running", "{e}");
    assert_eq!(e["waits_for"], "agent", "{e}");
    assert_eq!(e["because"], "it uses bash", "{e}");
    assert_eq!(e["next"]["what"], "it counts as stalled", "{e}");
    assert_eq!(e["prompted"], true, "{e}");
    assert_eq!(e["monitor"]["connected"], true, "{e}");
    let monitor = i32::try_from(e["monitor"]["pid"].as_i64().expect("pid")).expect("fits");
    assert!(procs::alive(monitor));
    // What was read of its journal is what the journal has, and it is in what runs are in here.
    let journal = suite
        .dir()
        .join("state/runs")
        .join(e["journal"].as_str().expect("a name"));
    let mut reader = Reader::new(fs::File::open(journal).expect("the journal"));
    let entries = std::iter::from_fn(|| reader.next_entry().expect("a record"));
    assert_eq!(e["journal_seq"], entries.count(), "{e}");
    let status = client.call(json!({"cmd": "status"}));
    assert_eq!(e["container"], status["container"], "{e}");
    let last = e["evidence"]
        .as_array()
        .and_then(|a| a.last())
        .expect("evidence");
    assert_eq!(last["kind"], "state", "{e}");
    assert_eq!(last["phase"], "tool", "{e}");
    let text = suite.ctl_ok(&["explain", &run.to_string()]);
    assert!(text.contains("agent: it uses bash"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    steps.settle();
    steps.exit(0);
    client.wait_ended(run);
    let e = client.call(json!({"cmd": "explain-run", "run": run}));
    assert_eq!(e["stage"], "over", "{e}");
    assert_eq!(e["waits_for"], "nobody", "{e}");
    let last = e["evidence"]
        .as_array()
        .and_then(|a| a.last())
        .expect("evidence");
    assert_eq!(last["kind"], "ended", "{e}");
    assert_eq!(
        client.refused(json!({"cmd": "explain-run", "run": 99})),
        "not-found"
    );
}

/// A suite whose agents do what their prompt says.
fn with_scripted() -> Suite {
    let scratch = Scratch::new();
    let agent = scratch.copy(&program("colibri-scripted"));
    let command = vec![agent.display().to_string()];
    let mut profile = Profile::new("scripted", "rpc", command);
    profile.more = "stop_grace = 600".into();
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    Suite::start_in(scratch, setup)
}

#[test]
fn whom_a_run_waits_for_is_told() {
    let suite = with_scripted();
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("scripted", "ask live");
    client.wait_state(run, "blocked");
    let e = client.call(json!({"cmd": "explain-run", "run": run}));
    assert_eq!(e["waits_for"], "operator", "{e}");
    assert_eq!(e["because"], "an answer to question", "{e}");
    client.call(json!({"cmd": "answer", "run": run, "request": "question", "value": "yes"}));
    client.wait_state(run, "working");
    let deaf = client.spawn_agent("scripted", "deaf live");
    client.wait_state(deaf, "working");
    client.call(json!({"cmd": "stop-agent", "run": deaf}));
    let e = client.call(json!({"cmd": "explain-run", "run": deaf}));
    assert_eq!(e["waits_for"], "agent", "{e}");
    assert_eq!(e["wanted"], "stop", "{e}");
    assert_eq!(e["next"]["what"], "SIGTERM", "{e}");
    let because = "its end was asked for, and it has not ended yet";
    assert_eq!(e["because"], because, "{e}");
    // Not to wait for them.
    for run in [run, deaf] {
        let e = client.call(json!({"cmd": "explain-run", "run": run}));
        let monitor = e["monitor"]["pid"].as_i64().map(i32::try_from);
        procs::signal(monitor.expect("a pid").expect("fits"), Signal::SIGKILL);
        client.wait_ended(run);
    }
}

#[test]
fn a_monitor_that_says_nothing_is_named() {
    let (mut suite, mut steps) = with_steps();
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    let monitor = client.wait_monitor(run);
    client.wait_state(run, "working");
    // The next colibrid connects to it and hears nothing.
    procs::signal(monitor, Signal::SIGSTOP);
    procs::signal(suite.pid(), Signal::SIGKILL);
    suite.wait_end();
    suite.launch();
    let mut client = suite.client_soon();
    let e = client.call(json!({"cmd": "explain-run", "run": run}));
    assert_eq!(e["waits_for"], "monitor", "{e}");
    assert_eq!(e["because"], "its monitor has not said hello", "{e}");
    must("the audit to name it", LONG, || {
        let audit = client.call(json!({"cmd": "audit"}));
        (codes(&audit) == [(run, "silent".to_owned())]).then_some(())
    });
    procs::signal(monitor, Signal::SIGCONT);
    must("the audit to be content", LONG, || {
        let audit = client.call(json!({"cmd": "audit"}));
        codes(&audit).is_empty().then_some(())
    });
    client.subscribe(Some(0));
    steps.settle();
    steps.exit(0);
    assert_eq!(client.wait_ended(run)["state"], "done");
}

#[test]
fn board_monitors_and_kernel_agree() {
    let (mut suite, mut steps) = with_steps();
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    let audit = client.call(json!({"cmd": "audit"}));
    assert_eq!(codes(&audit), [], "{audit}");
    assert_eq!((&audit["runs"], &audit["monitors"]), (&json!(1), &json!(1)));
    assert!(audit["processes"].as_u64() > Some(0), "{audit}");
    // The same after a restart: spawnd knows it from its note only.
    procs::signal(suite.pid(), Signal::SIGKILL);
    suite.wait_end();
    suite.launch();
    let mut client = suite.client();
    let audit = must("an audit", LONG, || {
        let reply = client.request(json!({"cmd": "audit"})).ok()?;
        (reply["ok"] == true).then(|| reply["data"].clone())
    });
    assert_eq!(codes(&audit), [], "{audit}");
    assert_eq!(audit["monitors"], 1);
    let text = suite.ctl_ok(&["check", "--deep"]);
    assert!(
        text.contains("board, monitors and kernel agree: 1 run, 1 monitor"),
        "{text}"
    );
    steps.settle();
    steps.exit(0);
    client.subscribe(None);
    must("the end", LONG, || {
        let row = client.call(json!({"cmd": "get-run", "run": run}));
        (row["ended"] == true).then_some(())
    });
    let audit = client.call(json!({"cmd": "audit"}));
    assert_eq!(codes(&audit), []);
    assert_eq!((&audit["runs"], &audit["monitors"]), (&json!(0), &json!(0)));
}

#[test]
fn what_does_not_fit_is_named() {
    let (suite, mut steps) = with_steps();
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    // A socket of a run that nobody knows.
    fs::write(suite.dir().join("run/runs/98-98.sock"), "").expect("written");
    // A note of a run that nobody knows, whose monitor lives: the one of the real run.
    let note = fs::read_dir(suite.dir().join("run/spawnd"))
        .expect("notes")
        .flatten()
        .next()
        .expect("a note");
    fs::copy(note.path(), suite.dir().join("run/spawnd/99-99")).expect("copied");
    let audit = client.call(json!({"cmd": "audit"}));
    let due = [(98, "left-over".to_owned()), (99, "alive".to_owned())];
    assert_eq!(codes(&audit), due, "{audit}");
    let out = suite.ctl(&["check", "--deep"]);
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.starts_with("not healthy: 2 problems\n"), "{text}");
    assert!(
        text.contains("(left-over)") && text.contains("(alive)"),
        "{text}"
    );
    for name in ["run/runs/98-98.sock", "run/spawnd/99-99"] {
        fs::remove_file(suite.dir().join(name)).expect("removed");
    }
    let audit = client.call(json!({"cmd": "audit"}));
    assert_eq!(codes(&audit), [], "{audit}");
    steps.settle();
    steps.exit(0);
    client.wait_ended(run);
}

#[test]
fn an_audit_while_runs_come_and_go_finds_nothing() {
    let (suite, mut steps) = with_steps();
    let mut client = suite.client();
    client.subscribe(None);
    let mut other = suite.client();
    for _ in 0..10 {
        let run = client.spawn_agent("steps", "go");
        // Two at once: one look answers both.
        other
            .send_raw(b"{\"cmd\":\"audit\",\"id\":1}\n{\"cmd\":\"audit\",\"id\":2}\n")
            .expect("sent");
        for id in [1, 2] {
            let reply = other.value(LONG).expect("a reply");
            assert_eq!((&reply["ok"], &reply["id"]), (&json!(true), &json!(id)));
            assert_eq!(codes(&reply["data"]), [], "{reply}");
        }
        client.wait_state(run, "working");
        steps.settle();
        steps.exit(0);
        let started = client.wait_ended(run);
        assert_eq!(started["state"], "done");
    }
}
