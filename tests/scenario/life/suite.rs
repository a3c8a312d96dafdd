//! A suite in the background: killed in parts, kept, told to end, told to start again.

use colibri_tests::agents::hostile;
use colibri_tests::client::Client;
use colibri_tests::daemon::{run, Daemon, Ran};
use colibri_tests::procs::{self, alive, gone, held};
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::tail::{log_until_ended, of, once};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Barrier;
use std::thread;

fn none() -> Setup {
    Setup::default()
}

#[test]
fn the_keeper_starts_a_killed_suite_again() {
    let daemon = Daemon::start(Scratch::new(), &none());
    let keeper = daemon.pid().expect("the keeper");
    for which in 0..3 {
        let before = daemon.parts();
        procs::signal(before.all()[which], Signal::SIGKILL);
        // They live and die together.
        for pid in before.all() {
            assert!(gone(pid, LONG), "part {which}: {pid} of {before:?} lives");
        }
        let status = daemon.client().call(json!({"cmd": "status"}));
        assert_eq!(status["kept"], true);
        assert_eq!(daemon.pid(), Some(keeper));
        let after = daemon.parts();
        assert!(before.all().iter().all(|pid| !after.all().contains(pid)));
    }
    assert!(alive(keeper));
}

#[test]
fn a_suite_goes_on_without_its_keeper_and_says_so() {
    let daemon = Daemon::start(Scratch::new(), &none());
    let before = daemon.parts();
    procs::signal(daemon.pid().expect("the keeper"), Signal::SIGKILL);
    let mut client = daemon.client();
    must("status to say it", LONG, || {
        let status = client.call(json!({"cmd": "status"}));
        (status["kept"] == false).then_some(status)
    });
    let status = client.call(json!({"cmd": "status"}));
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("no keeper"), "{warnings}");
    assert_eq!(daemon.parts(), before);
    // Whoever reads the pid file still finds whom to signal, and it ends as cleanly as with one.
    assert_eq!(daemon.pid(), Some(before.colibrid));
    procs::signal(before.colibrid, Signal::SIGTERM);
    all_gone(&daemon, &before.all());
}

/// No process, no socket, no pid file, no lock.
#[track_caller]
fn all_gone(daemon: &Daemon, pids: &[i32]) {
    for pid in pids {
        assert!(gone(*pid, LONG), "{pid} lives");
    }
    let users = || procs::users_of(daemon.dir());
    must("the last process", LONG, || {
        users().is_empty().then_some(())
    });
    assert!(!daemon.socket().exists(), "the socket is left");
    assert!(!daemon.pid_file().exists(), "the pid file is left");
    let runs = std::fs::read_dir(daemon.dir().join("run/runs")).expect("run sockets");
    assert_eq!(runs.count(), 0, "run sockets are left");
    let notes = std::fs::read_dir(daemon.dir().join("run/spawnd")).expect("notes");
    assert_eq!(notes.count(), 0, "notes are left");
}

#[test]
fn sigterm_ends_everything_and_the_runs_too() {
    let scratch = Scratch::new();
    let (mut profile, traces) = hostile(&scratch, "fork", "rpc", &["double-fork"]);
    profile.more = "stop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile],
        ..none()
    };
    let daemon = Daemon::start(scratch, &setup);
    let mut client = daemon.client();
    let run = client.spawn_agent("fork", "go");
    must("the tree", LONG, || (traces.started() == 1).then_some(()));
    let keeper = daemon.pid().expect("the keeper");
    let lock = File::open(daemon.pid_file()).expect("the lock");
    let [a, b, c] = daemon.parts().all();
    procs::signal(keeper, Signal::SIGTERM);
    all_gone(&daemon, &[keeper, a, b, c]);
    assert!(!held(&traces.lock), "an agent's process outlived the suite");
    let locked = libcolibri::sys::lock_is_held(lock.as_fd());
    assert!(!locked.expect("an answer"), "the lock is held");
    // It was stored that the run has ended, by request.
    let ran = daemon.launch();
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let row = daemon.client().call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(row["ended"], true);
    assert_eq!(row["wanted"], "stop");
    assert!(row["proof"].is_string(), "{row}");
}

#[test]
fn a_foreground_suite_ends_with_0() {
    let mut suite = Suite::start(none());
    assert_eq!(suite.stop().code(), Some(0), "{}", suite.log());
    assert!(!suite.socket().exists());
    assert!(procs::users_of(suite.dir()).is_empty());
}

#[test]
fn a_second_instance_refuses_and_does_no_harm() {
    let scratch = Scratch::new();
    let (profile, mut steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..none()
    };
    let daemon = Daemon::start(scratch, &setup);
    let before = daemon.parts();
    let keeper = daemon.pid();
    let mut client = daemon.client();
    client.subscribe(None);
    let number = client.spawn_agent("steps", "go");
    client.wait_state(number, "working");
    for arg in [&[][..], &["-d"]] {
        let ran = run(&mut daemon.command(arg));
        assert_eq!(ran.code, Some(1), "{}", ran.said);
        assert!(ran.said.contains("already running"), "{}", ran.said);
    }
    assert_eq!((daemon.parts(), daemon.pid()), (before, keeper));
    // The connection that was there has not noticed.
    steps.settle();
    steps.exit(0);
    assert_eq!(client.wait_ended(number)["state"], "done");
}

/// How many commands start a suite at one instant.
const AT_ONCE: usize = 3;

#[test]
fn of_starts_at_one_instant_one_wins_and_is_not_harmed() {
    let scratch = Scratch::new();
    let (profile, mut steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..none()
    };
    let daemon = Daemon::prepare(scratch, &setup);
    // The first time there is no directory yet.
    for _ in 0..5 {
        let gate = Barrier::new(AT_ONCE);
        let start = || {
            gate.wait();
            daemon.launch()
        };
        let all: Vec<Ran> = thread::scope(|s| {
            let threads: Vec<_> = (0..AT_ONCE).map(|_| s.spawn(start)).collect();
            let ended = threads.into_iter().map(|t| t.join().expect("a result"));
            ended.collect()
        });
        let (won, lost): (Vec<&Ran>, Vec<&Ran>) = all.iter().partition(|r| r.code == Some(0));
        assert_eq!(won.len(), 1, "{all:?}");
        for ran in lost {
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert!(ran.said.contains("already running"), "{ran:?}");
        }
        let mut client = daemon.client();
        let status = client.call(json!({"cmd": "status"}));
        assert_eq!(status["kept"], true, "{status}");
        let keeper = daemon.pid().expect("the keeper");
        assert_eq!(procs::children_of(keeper)[0].pid, status["pid"]);
        client.subscribe(None);
        let run = client.spawn_agent("steps", "go");
        steps.settle();
        steps.exit(0);
        assert_eq!(client.wait_ended(run)["state"], "done");
        let [a, b, c] = daemon.parts().all();
        procs::signal(keeper, Signal::SIGTERM);
        all_gone(&daemon, &[keeper, a, b, c]);
    }
}

#[test]
fn what_a_dead_suite_left_is_replaced() {
    let mut suite = Suite::start(none());
    let below: Vec<i32> = suite.processes().iter().map(|p| p.pid).collect();
    procs::signal(suite.pid(), Signal::SIGKILL);
    suite.wait_end();
    for pid in below {
        assert!(gone(pid, LONG));
    }
    assert!(suite.socket().exists(), "nobody removed it");
    assert!(Client::connect(&suite.socket()).is_err());
    suite.launch();
    suite.client().call(json!({"cmd": "ping"}));
}

#[test]
fn sighup_starts_again_and_no_run_notices() {
    let scratch = Scratch::new();
    let (profile, mut steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..none()
    };
    let daemon = Daemon::start(scratch, &setup);
    let keeper = daemon.pid().expect("the keeper");
    let mut client = daemon.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    for _ in 0..3 {
        let before = daemon.parts();
        steps.tools(5);
        procs::signal(keeper, Signal::SIGHUP);
        steps.tools(5);
        for pid in before.all() {
            assert!(gone(pid, LONG), "{pid} of {before:?} did not start again");
        }
        let status = daemon.client().call(json!({"cmd": "status"}));
        assert_eq!(status["runs"]["alive"], 1, "{status}");
        assert_ne!(status["pid"], before.colibrid);
    }
    steps.tools(5);
    steps.settle();
    steps.exit(7);
    let log = log_until_ended(&mut daemon.client(), run);
    once(&log, run, steps.used());
    assert_eq!((steps.started(), steps.prompts()), (1, 1));
    let ended = of(&log, run, "ended")[0];
    assert_eq!(ended["exit"], json!({"how": "code", "value": 7}));
    assert_eq!(daemon.pid(), Some(keeper));
}
