//! Another build takes over: in place, from another path, and one that is too old for the database.

use colibri_tests::daemon::{run, Daemon};
use colibri_tests::procs::{self, alive, gone};
use colibri_tests::steps::Steps;
use colibri_tests::suite::{program, Scratch, Setup, Suite};
use colibri_tests::tail::{log_until_ended, of, once};
use colibri_tests::wait::LONG;
use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::{json, Value};
use std::fs;
use std::path::{Path, PathBuf};

const PROGRAMS: [&str; 3] = ["colibrid", "colibri-spawnd", "colibri-schedd"];

/// Another build of the suite: the same programs with something behind their end, in `dir`. Each
/// takes its name at once, as an installation does.
fn build(dir: &Path, mark: &str) -> PathBuf {
    fs::create_dir_all(dir).expect("a directory");
    for name in PROGRAMS {
        let new = dir.join(format!("{name}.new"));
        // By another process, so that nobody whom we fork has it open when it is to be executed.
        let script = "cp \"$0\" \"$1\" && printf %s \"$2\" >>\"$1\"";
        let mut copy = std::process::Command::new("/bin/sh");
        copy.arg("-c")
            .arg(script)
            .arg(program(name))
            .arg(&new)
            .arg(mark);
        assert!(copy.status().expect("a shell").success(), "not copied");
        fs::rename(&new, dir.join(name)).expect("in place");
    }
    dir.join("colibrid")
}

/// A suite of a build of its own with a run that works.
fn working() -> (Daemon, Steps, u64, i32) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let first = build(&scratch.path().join("first"), "first");
    let mut daemon = Daemon::prepare(scratch, &setup);
    daemon.program = first;
    let ran = daemon.launch();
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let mut client = daemon.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
    let monitor = i32::try_from(started["monitor"].as_i64().expect("pid")).expect("fits");
    client.wait_state(run, "working");
    (daemon, steps, run, monitor)
}

/// The run goes on under the new build and ends as it should, and the next one starts.
#[track_caller]
fn goes_on(daemon: &Daemon, steps: &mut Steps, run: u64, monitor: i32) {
    assert!(alive(monitor), "the run did not outlive its suite");
    let mut client = daemon.client();
    let row = client.call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(row["state"], "working", "{row}");
    steps.tools(3);
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut daemon.client(), run);
    once(&log, run, steps.used());
    assert_eq!(of(&log, run, "ended")[0]["state"], "done");
    let next = client.spawn_agent("steps", "go");
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut daemon.client(), next);
    assert_eq!(of(&log, next, "ended")[0]["state"], "done");
    let audit = client.call(json!({"cmd": "audit"}));
    assert_eq!(audit["disagreements"], json!([]), "{audit}");
}

#[test]
fn a_build_that_replaces_the_programs_takes_over_at_a_restart() {
    let (daemon, mut steps, run, monitor) = working();
    steps.tools(3);
    let before = daemon.parts();
    build(&daemon.dir().join("first"), "second");
    procs::signal(daemon.pid().expect("the keeper"), Signal::SIGHUP);
    for pid in before.all() {
        assert!(gone(pid, LONG), "{pid} of {before:?} lives");
    }
    let exe = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    for pid in daemon.parts().all() {
        // Where the system tells: the programs that were replaced are not running any more.
        let replaced = exe(pid).is_some_and(|p| p.display().to_string().contains("deleted"));
        assert!(!replaced, "{pid} runs the old build");
    }
    goes_on(&daemon, &mut steps, run, monitor);
}

#[test]
fn a_build_at_another_place_takes_over_a_suite_that_was_killed() {
    let (mut daemon, mut steps, run, monitor) = working();
    steps.tools(3);
    let parts = daemon.parts();
    let keeper = daemon.pid().expect("the keeper");
    for pid in [keeper].into_iter().chain(parts.all()) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
    }
    for pid in [keeper].into_iter().chain(parts.all()) {
        assert!(gone(pid, LONG), "{pid} lives");
    }
    daemon.program = build(&daemon.dir().join("second"), "second");
    fs::remove_dir_all(daemon.dir().join("first")).expect("the old build is removed");
    let ran = daemon.launch();
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    goes_on(&daemon, &mut steps, run, monitor);
}

/// Everything below the state directory, with what it holds.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").flatten() {
            match entry.path() {
                path if path.is_dir() => dirs.push(path),
                path => all.push((path.clone(), fs::read(&path).expect("readable"))),
            }
        }
    }
    all.sort();
    all
}

fn schema(suite: &Suite, change: impl Fn(i64) -> i64) {
    let path = suite.dir().join("state/db/colibri.sqlite");
    let db = Connection::open(path).expect("the database");
    let now: i64 = db
        .pragma_query_value(None, "user_version", |r| r.get(0))
        .expect("a version");
    db.pragma_update(None, "user_version", change(now))
        .expect("changed");
}

#[test]
fn a_database_of_a_newer_build_is_refused_before_anything_is_touched() {
    let scratch = Scratch::new();
    let (profile, mut steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run_id = client.spawn_agent("steps", "go");
    client.wait_state(run_id, "working");
    procs::signal(suite.pid(), Signal::SIGKILL);
    suite.wait_end();
    schema(&suite, |v| v + 1000);
    let before = contents(&suite.dir().join("state"));
    let mut command = std::process::Command::new(program("colibrid"));
    let ran = run(command.arg("-d").arg("-f").arg(suite.config_path()));
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert!(ran.said.contains("is from a newer Colibri"), "{}", ran.said);
    assert!(ran.said.contains("nothing was changed"), "{}", ran.said);
    let after = contents(&suite.dir().join("state"));
    let differ: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
    assert!(differ.is_empty() && before.len() == after.len());
    // The run has not noticed.
    schema(&suite, |v| v - 1000);
    suite.launch();
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut suite.client(), run_id);
    once(&log, run_id, 0);
    let ended: &Value = of(&log, run_id, "ended")[0];
    assert_eq!(ended["state"], "done");
}
