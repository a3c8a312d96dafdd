//! No cause, no wake-up: a suite whose runs are at rest makes no system call.

use colibri_tests::quiet::{wake_ups, Quiet};
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::wait::{must, Stop, LONG};
use serde_json::json;
use std::time::Duration;

/// Runs at rest.
const RUNS: u64 = 40;
/// How long nothing may happen.
const WATCHED: Duration = Duration::from_secs(5);

#[test]
fn a_suite_at_rest_makes_no_system_call() {
    let scratch = Scratch::new();
    let agent = scratch.copy(&program("colibri-scripted"));
    let mut profile = Profile::new("rests", "rpc", vec![agent.display().to_string()]);
    profile.more = "on_settled = \"stay\"".into();
    let setup = Setup {
        profiles: vec![profile],
        limits: format!("runs = {RUNS}"),
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    for _ in 0..RUNS {
        client.spawn_agent("rests", "settle rest");
    }
    must("all to be at rest", LONG, || {
        let status = client.call(json!({"cmd": "status"}));
        let panes = status["panes"].as_array()?.iter();
        let resting = panes.filter(|p| p["state"] == "done" && p["ended"] == false);
        (resting.count() as u64 == RUNS).then_some(())
    });
    // A subscriber that waits is no reason to wake up either.
    client.subscribe(None);
    let pids = suite_of(&suite);
    assert!(pids.len() as u64 >= 3 + RUNS, "{pids:?}");
    let settled = must("the last word of all this", LONG, || {
        let before = wake_ups(&pids)?;
        let _ = Stop::default().wait(Duration::from_secs(3));
        (wake_ups(&pids)? == before).then_some(before)
    });
    let _ = Stop::default().wait(WATCHED);
    let after = wake_ups(&pids).expect("the counts");
    let woken: Vec<Quiet> = settled.into_iter().filter(|q| !after.contains(q)).collect();
    assert!(woken.is_empty(), "woke up without a cause: {woken:?}");
    // They were only resting.
    drop(client);
    let row = suite.client().call(json!({"cmd": "get-run", "run": 1}));
    assert_eq!(row["ended"], false, "{row}");
}

/// The three daemons and the monitors; the agents are their own business.
fn suite_of(suite: &Suite) -> Vec<i32> {
    let below = suite.processes();
    let ours = below
        .iter()
        .filter(|p| p.title.contains("colibri-") && !p.title.contains("scripted"));
    std::iter::once(suite.pid())
        .chain(ours.map(|p| p.pid))
        .collect()
}
