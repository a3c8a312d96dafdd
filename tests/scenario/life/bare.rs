//! Root without the right to make containers, as in many a container of others: the weaker guarantee
//! is said, and stop means dead all the same.

use colibri_tests::agents::{hostile, Traces};
use colibri_tests::client::Client;
use colibri_tests::procs::{held, signal};
use colibri_tests::skip::skip;
use colibri_tests::suite::{is_root, Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::Signal;
use serde_json::json;
use std::process::Command;

/// Takes the right to make namespaces away, for good.
const WITHOUT: [&str; 2] = ["setpriv", "--bounding-set=-sys_admin"];

/// A suite whose agent leaves the tree that its word names; `None` where it cannot be tried.
fn start(word: &str) -> Option<(Suite, Client, Traces)> {
    let tried = Command::new(WITHOUT[0]).args([WITHOUT[1], "true"]).status();
    if !is_root() || !tried.is_ok_and(|s| s.success()) {
        skip("needs root and setpriv (Linux)");
        return None;
    }
    let scratch = Scratch::new();
    let (mut profile, traces) = hostile(&scratch, "bad", "rpc", &[word]);
    profile.more = "stop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile],
        under: WITHOUT.map(str::to_owned).to_vec(),
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let status = client.call(json!({"cmd": "status"}));
    assert_eq!(status["container"], "reaper", "{status}");
    assert_eq!(status["container_proof"], false, "{status}");
    let warnings = suite.ctl_ok(&["status"]);
    assert!(warnings.contains("held by a reaper only"), "{warnings}");
    Some((suite, client, traces))
}

/// Runs it until its tree stands.
fn grown(client: &mut Client, traces: &Traces, at_least: usize) -> u64 {
    let run = client.spawn_agent("bad", "go");
    client.wait_state(run, "working");
    must("the tree", LONG, || {
        (held(&traces.lock) && traces.started() >= at_least).then_some(())
    });
    run
}

#[test]
fn stop_means_dead() {
    for (word, at_least) in [("double-fork", 1), ("setsid", 1), ("ignore-term", 0)] {
        let Some((_suite, mut client, traces)) = start(word) else {
            return;
        };
        let run = grown(&mut client, &traces, at_least);
        client.call(json!({"cmd": "stop-agent", "run": run}));
        let ended = client.wait_ended(run);
        assert!(!held(&traces.lock), "survivors of {word}: {ended}");
        assert_eq!(ended["proof"], "reaped", "{ended}");
    }
}

#[test]
fn a_killed_monitor_takes_its_tree_with_it() {
    let Some((_suite, mut client, traces)) = start("setsid") else {
        return;
    };
    let run = grown(&mut client, &traces, 1);
    let explained = client.call(json!({"cmd": "explain-run", "run": run}));
    let monitor = explained["monitor"]["pid"].as_i64().expect("a process");
    signal(i32::try_from(monitor).expect("fits"), Signal::SIGKILL);
    let ended = client.wait_ended(run);
    assert!(!held(&traces.lock), "survivors: {ended}");
    assert_eq!(
        (&ended["state"], &ended["reason"]),
        (&json!("error"), &json!("monitor lost"))
    );
}
