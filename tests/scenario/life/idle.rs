//! No cause, no wake-up: a suite whose runs are at rest makes no system call.

use colibri_tests::client::Client;
use colibri_tests::daemon::Daemon;
use colibri_tests::procs;
use colibri_tests::quiet::{wake_ups, Quiet};
use colibri_tests::suite::{program, Profile, Scratch, Setup};
use colibri_tests::wait::{must, Stop, LONG};
use serde_json::json;
use std::time::Duration;

/// Runs at rest.
#[cfg(not(target_os = "freebsd"))]
const RUNS: u64 = 200;
/// Fewer: the machine there is an emulated one, which takes minutes to start so many.
#[cfg(target_os = "freebsd")]
const RUNS: u64 = 40;
/// How long nothing may happen.
const WATCHED: Duration = Duration::from_secs(60);

#[test]
fn a_suite_at_rest_makes_no_system_call() {
    let scratch = Scratch::new();
    let agent = scratch.copy(&program("colibri-scripted"));
    let mut profile = Profile::new("rests", "rpc", vec![agent.display().to_string()]);
    profile.more = "on_settled = \"stay\"\nstop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile],
        limits: format!("runs = {RUNS}"),
        ..Setup::default()
    };
    let daemon = Daemon::start(scratch, &setup);
    let mut client = daemon.client();
    for n in 1..=RUNS {
        client.spawn_agent("rests", "settle rest");
        // No faster than one connection may ask.
        if n % 40 == 0 {
            must("them to be at rest", LONG, || {
                (at_rest(&mut client) == n).then_some(())
            });
        }
    }
    // A subscriber that waits is no reason to wake up either.
    client.subscribe(None);
    let pids = suite_of(&daemon);
    assert!(pids.len() as u64 >= 4 + RUNS, "{pids:?}");
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
    assert_eq!(at_rest(&mut daemon.client()), RUNS);
}

/// How many runs have done their work and stay.
fn at_rest(client: &mut Client) -> u64 {
    let status = client.call(json!({"cmd": "status"}));
    let panes = status["panes"].as_array().expect("panes").iter();
    let resting = panes.filter(|p| p["state"] == "done" && p["ended"] == false);
    resting.count() as u64
}

/// The keeper, the three daemons and the monitors; the agents are their own business.
fn suite_of(daemon: &Daemon) -> Vec<i32> {
    let keeper = daemon.pid().expect("the keeper");
    let below = procs::descendants_of(keeper);
    let ours = below
        .iter()
        .filter(|p| p.title.contains("colibri") && !p.title.contains("scripted"));
    std::iter::once(keeper).chain(ours.map(|p| p.pid)).collect()
}
