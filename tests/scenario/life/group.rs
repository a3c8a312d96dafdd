//! An outer supervisor that signals the suite's whole process group: the runs are not in it.

use colibri_tests::daemon::Daemon;
use colibri_tests::procs::{self, alive, gone};
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup};
use colibri_tests::tail::{log_until_ended, of, once};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::{killpg, Signal};
use nix::unistd::{getpgid, Pid};
use serde_json::json;

/// A suite with a run that works: its agent, its number, its monitor, and the keeper's group.
fn working() -> (Daemon, Steps, u64, i32, Pid) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
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
    let keeper = daemon.pid().expect("the keeper");
    let group = getpgid(Some(Pid::from_raw(keeper))).expect("a group");
    // Neither ours nor anybody's but the suite's.
    assert_eq!(group.as_raw(), keeper);
    let in_group = |pid: &i32| getpgid(Some(Pid::from_raw(*pid))) == Ok(group);
    let below = procs::descendants_of(keeper);
    let members: Vec<i32> = below.iter().map(|p| p.pid).filter(in_group).collect();
    assert_eq!(members, [daemon.parts().colibrid], "{below:?}");
    (daemon, steps, run, monitor, group)
}

#[test]
fn a_killed_group_leaves_the_runs_and_the_next_suite_finds_them() {
    let (daemon, mut steps, run, monitor, group) = working();
    let parts = daemon.parts();
    steps.tools(3);
    killpg(group, Signal::SIGKILL).expect("killed");
    for pid in [group.as_raw()].into_iter().chain(parts.all()) {
        assert!(gone(pid, LONG), "{pid} lives");
    }
    assert!(alive(monitor), "the run did not outlive its suite");
    steps.tools(3);
    let ran = daemon.launch();
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    steps.tools(3);
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut daemon.client(), run);
    once(&log, run, steps.used());
    assert_eq!((steps.started(), steps.prompts()), (1, 1));
    assert_eq!(of(&log, run, "ended")[0]["state"], "done");
}

#[test]
fn a_group_that_is_asked_to_end_ends_in_order() {
    let (daemon, _steps, run, _, group) = working();
    // The keeper and colibrid both get it, and the keeper passes it on besides.
    killpg(group, Signal::SIGTERM).expect("asked");
    must("the last process", LONG, || {
        procs::users_of(daemon.dir()).is_empty().then_some(())
    });
    assert!(!daemon.socket().exists() && !daemon.pid_file().exists());
    let ran = daemon.launch();
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let row = daemon.client().call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(
        (&row["ended"], &row["wanted"]),
        (&json!(true), &json!("stop"))
    );
    assert!(row["proof"].is_string(), "{row}");
}
