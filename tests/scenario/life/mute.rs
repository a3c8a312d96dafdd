//! A monitor that lives and says nothing: a stop comes to its end all the same.

use colibri_tests::agents::{hostile, Traces};
use colibri_tests::procs::{alive, held, signal};
use colibri_tests::suite::{Scratch, Setup, Suite};
use nix::sys::signal::Signal;
use serde_json::json;

/// A run whose monitor has been stopped as by a debugger, and that monitor.
fn stopped() -> (Suite, Traces, u64, i32) {
    let scratch = Scratch::new();
    let (mut profile, traces) = hostile(&scratch, "bad", "rpc", &["sleep"]);
    profile.more = "stop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("bad", "go");
    let monitor = client.wait_monitor(run);
    client.wait_state(run, "working");
    signal(monitor, Signal::SIGSTOP);
    (suite, traces, run, monitor)
}

#[test]
fn a_run_is_stopped() {
    let (suite, traces, run, monitor) = stopped();
    let mut client = suite.client();
    client.subscribe(None);
    client.call(json!({"cmd": "stop-agent", "run": run}));
    let ended = client.wait_ended(run);
    assert!(!alive(monitor) && !held(&traces.lock), "{ended}");
    assert_eq!(ended["state"], "error", "{ended}");
    assert_eq!(ended["reason"], "monitor lost", "{ended}");
    assert_eq!(ended["asked"], true, "{ended}");
}

#[test]
fn a_suite_is_ended() {
    let (mut suite, traces, _, monitor) = stopped();
    assert!(suite.stop().success(), "{}", suite.log());
    assert!(!alive(monitor) && !held(&traces.lock), "{}", suite.log());
}
