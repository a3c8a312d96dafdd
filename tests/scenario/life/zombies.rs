//! Zombies in numbers: an agent that never waits for its children, and one whose orphans die.

use colibri_tests::agents::{hostile, Traces};
use colibri_tests::client::Client;
use colibri_tests::procs::{self, held};
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use serde_json::json;

fn start(words: &[&str]) -> (Suite, Client, Traces, u64) {
    let scratch = Scratch::new();
    let (mut profile, traces) = hostile(&scratch, "bad", "rpc", words);
    profile.more = "stop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("bad", "go");
    client.wait_state(run, "working");
    (suite, client, traces, run)
}

fn zombies(suite: &Suite) -> Vec<procs::Process> {
    let mut below = suite.processes();
    below.retain(|p| p.state == 'Z');
    below
}

#[test]
fn five_hundred_zombies_of_an_agent_go_with_it() {
    let (suite, mut client, traces, run) = start(&["zombies", "500"]);
    let dead = must("the zombies", LONG, || {
        let dead = zombies(&suite);
        (dead.len() >= 500).then_some(dead)
    });
    client.call(json!({"cmd": "stop-agent", "run": run}));
    let ended = client.wait_ended(run);
    assert!(ended["proof"].is_string(), "{ended}");
    assert!(!held(&traces.lock), "survivors: {ended}");
    let left = procs::table();
    let left: Vec<_> = dead.iter().filter(|p| left.contains(p)).collect();
    assert!(left.is_empty(), "{} zombies are left: {left:?}", left.len());
}

#[test]
fn orphans_that_die_are_reaped_while_the_run_goes_on() {
    let (suite, mut client, traces, run) = start(&["fork-storm", "4"]);
    must("the storm", LONG, || {
        (traces.started() >= 600).then_some(())
    });
    // Those of this instant; the hundreds before them are gone.
    let dead = zombies(&suite).len();
    assert!(
        dead < 100,
        "{dead} zombies after {} deaths",
        traces.started()
    );
    client.call(json!({"cmd": "stop-agent", "run": run}));
    let ended = client.wait_ended(run);
    assert!(!held(&traces.lock), "survivors: {ended}");
}
