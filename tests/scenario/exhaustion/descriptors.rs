//! No descriptors left in colibrid: clients and runs are refused by name, and nobody who is there
//! notices.

use colibri_tests::client::Client;
use colibri_tests::procs::alive;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::tail::{log_until_ended, of, once};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::Signal;
use serde_json::{json, Value};

/// A suite whose processes may each have few descriptors.
fn poor() -> (Suite, Steps) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let agent = scratch.copy(&program("colibri-scripted"));
    let mut lives = Profile::new("lives", "rpc", vec![agent.display().to_string()]);
    lives.more = "stop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile, lives],
        limits: "runs = 100\nclients = 4096\nclients_per_user = 4096".into(),
        ulimit: Some("-n 48".into()),
        ..Setup::default()
    };
    (Suite::start_in(scratch, setup), steps)
}

fn spawn() -> Value {
    json!({"cmd": "spawn-agent", "profile": "lives", "prompt": "live"})
}

#[test]
fn too_many_clients_are_told_and_runs_go_on() {
    let (suite, mut steps) = poor();
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    let mut held: Vec<Client> = Vec::new();
    let refusal = loop {
        assert!(held.len() < 100, "descriptors do not run out");
        let mut more = suite.client();
        // The refusal may have come and the connection gone before this.
        let _ = more.send_raw(b"{\"cmd\":\"ping\"}\n");
        let reply = more.value(LONG).expect("an answer");
        if reply["ok"] != true {
            break reply;
        }
        held.push(more);
    };
    assert_eq!(refusal["error"]["code"], "too-many", "{refusal}");
    assert!(refusal["error"]["message"]
        .to_string()
        .contains("descriptors"));
    // Who is there is served, and the run goes on.
    steps.tools(5);
    client.wait_event(run, "the last tool", |e| {
        e["kind"] == "tool-end" && e["id"] == "call-4"
    });
    let reply = held[0].request(spawn()).expect("an answer");
    assert_eq!(reply["error"]["code"], "unavailable", "{reply}");
    assert!(reply["error"]["message"]
        .to_string()
        .contains("descriptors"));
    held.clear();
    let second = must("room for a run", LONG, || {
        let reply = client.request(spawn()).expect("an answer");
        reply["data"]["run"].as_u64()
    });
    client.call(json!({"cmd": "stop-agent", "run": second}));
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut suite.client(), run);
    once(&log, run, steps.used());
}

#[test]
fn too_many_runs_are_refused_and_those_that_live_are_adopted() {
    let (mut suite, mut steps) = poor();
    let mut client = suite.client();
    let mut runs = Vec::new();
    let refusal = loop {
        assert!(runs.len() < 100, "descriptors do not run out");
        let reply = client.request(spawn()).expect("an answer");
        match reply["data"]["run"].as_u64() {
            Some(run) => runs.push(run),
            None => break reply,
        }
    };
    assert_eq!(refusal["error"]["code"], "unavailable", "{refusal}");
    let works = |client: &mut Client, run: u64| {
        must("the run to work", LONG, || {
            let row = client.call(json!({"cmd": "get-run", "run": run}));
            assert_eq!(row["ended"], false, "{row}");
            (row["state"] == "working").then_some(())
        });
    };
    for run in &runs {
        works(&mut client, *run);
    }
    // With as many as there is room for, a suite that was killed comes back to all of them.
    let pid = suite.pid();
    colibri_tests::procs::signal(pid, Signal::SIGKILL);
    suite.wait_end();
    assert!(!alive(pid));
    suite.launch();
    let mut client = suite.client_soon();
    for run in &runs {
        works(&mut client, *run);
    }
    for run in &runs {
        client.call(json!({"cmd": "stop-agent", "run": run}));
    }
    must("their ends", LONG, || {
        let status = client.call(json!({"cmd": "status"}));
        (status["runs"]["alive"] == 0).then_some(())
    });
    // What was taken is free again.
    let run = client.spawn_agent("steps", "go");
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut suite.client(), run);
    assert_eq!(of(&log, run, "ended")[0]["state"], "done");
    for run in &runs {
        assert_eq!(of(&log, *run, "launched").len(), 1);
    }
}
