//! The end is asked for while there is no suite that could do it: one is started for that.

use colibri_tests::daemon::Daemon;
use colibri_tests::procs::{self, alive, gone};
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;

/// A suite with a run that works, and the run's monitor.
fn working() -> (Daemon, Steps, i32) {
    let scratch = Scratch::new();
    let (mut profile, steps) = Steps::new(&scratch, "steps");
    profile.more = "stop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let daemon = Daemon::start(scratch, &setup);
    let mut client = daemon.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    let monitor = client.wait_monitor(run);
    client.wait_state(run, "working");
    (daemon, steps, monitor)
}

/// Makes the suite go and the next ones fail, until the keeper waits; what the config was.
fn broken(daemon: &Daemon) -> String {
    let keeper = daemon.pid().expect("the keeper");
    let good = fs::read_to_string(daemon.config_path()).expect("the config");
    daemon.rewrite("nonsense");
    let parts = daemon.parts();
    procs::signal(keeper, Signal::SIGHUP);
    assert!(gone(parts.colibrid, LONG), "{parts:?} lives");
    must("the keeper to wait", LONG, || {
        procs::children_of(keeper).is_empty().then_some(())
    });
    good
}

/// Keeper, suite and run are gone, and nothing of theirs lies around.
#[track_caller]
fn ended(daemon: &Daemon, keeper: i32, monitor: i32) {
    assert!(gone(keeper, LONG), "the keeper lives");
    assert!(!alive(monitor), "the keeper is gone and the run lives");
    let users = procs::users_of(daemon.dir());
    assert_eq!(users, [0; 0], "they live");
    assert!(!daemon.socket().exists() && !daemon.pid_file().exists());
}

#[test]
fn between_two_starts() {
    let (daemon, _steps, monitor) = working();
    let keeper = daemon.pid().expect("the keeper");
    let good = broken(&daemon);
    assert!(alive(monitor), "the run did not outlive its suite");
    daemon.rewrite(&good);
    procs::signal(keeper, Signal::SIGTERM);
    ended(&daemon, keeper, monitor);
}

#[test]
fn at_the_moment_in_which_a_suite_dies() {
    for which in 0..3 {
        let (daemon, _steps, monitor) = working();
        let keeper = daemon.pid().expect("the keeper");
        procs::signal(daemon.parts().all()[which], Signal::SIGKILL);
        procs::signal(keeper, Signal::SIGTERM);
        ended(&daemon, keeper, monitor);
    }
}

/// Where none can be started the keeper goes, and the runs are there for the next suite.
#[test]
fn with_a_config_that_no_suite_can_use() {
    let (daemon, mut steps, monitor) = working();
    let keeper = daemon.pid().expect("the keeper");
    let good = broken(&daemon);
    procs::signal(keeper, Signal::SIGTERM);
    assert!(gone(keeper, LONG), "the keeper lives");
    assert!(alive(monitor), "the run is gone, and nobody saw it");
    daemon.rewrite(&good);
    assert_eq!(daemon.launch().code, Some(0));
    steps.settle();
    steps.exit(0);
    let mut client = daemon.client();
    client.subscribe(Some(0));
    assert_eq!(client.wait_ended(1)["state"], "done");
    let audit = client.call(json!({"cmd": "audit"}));
    assert_eq!(audit["disagreements"], json!([]), "{audit}");
}
