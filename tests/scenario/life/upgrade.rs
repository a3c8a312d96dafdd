//! Another build takes over: in place, from another path, and one that is too old for the database.

use colibri_tests::daemon::{run, Daemon, Parts};
use colibri_tests::procs::{self, alive, gone};
use colibri_tests::steps::Steps;
use colibri_tests::suite::{program, Scratch, Setup, Suite};
use colibri_tests::tail::{log_until_ended, of, once};
use colibri_tests::wait::LONG;
use nix::sys::signal::Signal;
use rusqlite::config::DbConfig;
use rusqlite::Connection;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
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
    let monitor = client.wait_monitor(run);
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

/// Everything below the run and the state directory: what it is, whose it is, when it was changed in
/// any way, and what a file holds.
fn contents(suite: &Suite) -> BTreeMap<PathBuf, (String, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut left = ["run", "state"].map(|name| suite.dir().join(name)).to_vec();
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).expect("there");
        let mut bytes = Vec::new();
        if meta.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory").flatten();
            left.extend(entries.map(|e| e.path()));
        } else if meta.is_file() {
            bytes = fs::read(&path).expect("readable");
        }
        let (changed, part) = (meta.ctime(), meta.ctime_nsec());
        let (uid, gid) = (meta.uid(), meta.gid());
        let what = format!(
            "{:o} {uid}:{gid} {changed}.{part:09} inode {}",
            meta.mode(),
            meta.ino()
        );
        all.insert(path, (what, bytes));
    }
    all
}

/// Where a changed schema stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Only in the log, as a process leaves it that is killed.
    Log,
    /// In the database, and the log is gone.
    Database,
}

/// Changes the number of the schema.
fn schema(suite: &Suite, place: Place, change: impl Fn(i64) -> i64) {
    let path = suite.dir().join("state/db/colibri.sqlite");
    let db = Connection::open(&path).expect("the database");
    // No index file.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")
        .expect("locked");
    let stays = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    db.set_db_config(stays, place == Place::Log).expect("set");
    let now: i64 = db
        .pragma_query_value(None, "user_version", |r| r.get(0))
        .expect("a version");
    db.pragma_update(None, "user_version", change(now))
        .expect("changed");
    drop(db);
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    assert_eq!(Path::new(&log).exists(), place == Place::Log);
    let header = fs::read(&path).expect("the database");
    let in_header = header[60..64] == (change(now) as i32).to_be_bytes();
    assert_eq!(in_header, place == Place::Database);
}

#[test]
fn a_database_of_a_newer_build_is_refused_before_anything_is_touched() {
    for place in [Place::Log, Place::Database] {
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
        let parts = Parts::below(suite.pid()).expect("three daemons");
        procs::signal(suite.pid(), Signal::SIGKILL);
        suite.wait_end();
        for pid in parts.all() {
            assert!(gone(pid, LONG), "{pid} of {parts:?} lives");
        }
        schema(&suite, place, |v| v + 1000);
        let before = contents(&suite);
        for arg in [&["-d"][..], &[]] {
            let mut command = std::process::Command::new(program("colibrid"));
            let ran = run(command.args(arg).arg("-f").arg(suite.config_path()));
            assert_eq!(ran.code, Some(1), "{}", ran.said);
            assert!(ran.said.contains("is from a newer Colibri"), "{}", ran.said);
            assert!(ran.said.contains("nothing was changed"), "{}", ran.said);
            let after = contents(&suite);
            for (path, now) in &after {
                let then = before.get(path).map(|t| (&t.0, t.1.len()));
                let same = before.get(path) == Some(now);
                assert!(same, "{place:?}: {path:?}: {then:?}, now {}", now.0);
            }
            assert_eq!(before.len(), after.len());
        }
        // The run has not noticed.
        schema(&suite, place, |v| v - 1000);
        suite.launch();
        steps.settle();
        steps.exit(0);
        let log = log_until_ended(&mut suite.client(), run_id);
        once(&log, run_id, 0);
        let ended: &Value = of(&log, run_id, "ended")[0];
        assert_eq!(ended["state"], "done");
    }
}
