//! A disk that fails: a write or a sync of the database, its log or a journal ends with an I/O error.
//! What was accepted is there after a kill, what was refused is not, and everything goes on.

use colibri_tests::daemon::Parts;
use colibri_tests::procs::gone;
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::strace;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::tail::{log_until_ended, of, once};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::fs;
use std::path::PathBuf;

/// A suite that has its database.
fn with_database() -> (Suite, Steps) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    suite.stop();
    (suite, steps)
}

/// From the next start on, calls of colibrid fail: `calls`, of the file `name`, that many `when`.
fn fail(suite: &mut Suite, name: &str, calls: &str, when: &str) -> PathBuf {
    let trace = suite.dir().join("trace");
    let file = suite.dir().join("state/db").join(name);
    let inject = format!("inject={calls}:error=EIO:when={when}");
    let only = format!("trace={calls}");
    let file = file.display().to_string();
    let words = strace::words(&trace, &["-P", &file, "-e", &only, "-e", &inject]);
    suite.set_under(words);
    trace
}

/// Kills all daemons at once and starts a suite whose calls do not fail.
#[track_caller]
fn kill_all(suite: &mut Suite) {
    let parts = Parts::below(suite.pid()).expect("three daemons");
    for pid in parts.all() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    suite.wait_end();
    for pid in parts.all() {
        assert!(gone(pid, LONG), "{pid} lives");
    }
    suite.set_under(Vec::new());
    suite.launch();
}

/// The titles of all tasks, oldest first.
#[track_caller]
fn titles(suite: &Suite) -> Vec<String> {
    let list = json!({"cmd": "list-tasks", "limit": 1000});
    let tasks = suite.client().call(list)["tasks"].take();
    let mut all: Vec<(u64, String)> = tasks
        .as_array()
        .expect("tasks")
        .iter()
        .map(|t| {
            let title = t["title"].as_str().expect("a title");
            (t["id"].as_u64().expect("an id"), title.to_owned())
        })
        .collect();
    all.sort();
    all.into_iter().map(|(_, title)| title).collect()
}

fn task(title: &str, text: usize) -> Value {
    json!({"cmd": "create-task", "title": title, "description": "x".repeat(text)})
}

#[test]
fn what_the_log_did_not_take_is_refused_and_does_not_come_back() {
    if let Some(why) = strace::missing() {
        return skip(&why);
    }
    let (mut suite, _) = with_database();
    let mut accepted = Vec::new();
    // That call alone, or that one and all after it.
    let cases = [("fsync", "", 6), ("fsync", "+", 6), ("pwrite64", "", 30)];
    for (call, all_after, last) in cases {
        let mut refused = 0;
        for nth in 1..=last {
            let when = format!("{nth}{all_after}");
            fail(&mut suite, "colibri.sqlite-wal", call, &when);
            suite.launch();
            let mut client = suite.client();
            for n in 0..4 {
                let title = format!("{call} {when}, task {n}");
                // Of more than a page, so that there is more to write.
                let reply = client.request(task(&title, 5000)).expect("a reply");
                if reply["ok"] == true {
                    accepted.push(title);
                    continue;
                }
                assert_eq!(reply["error"]["code"], "unavailable", "{reply}");
                refused += 1;
                break;
            }
            // At once: nobody has written to the log since.
            kill_all(&mut suite);
            assert_eq!(titles(&suite), accepted, "{call} {when}");
            let title = format!("{call} {when}, afterwards");
            suite.client().call(task(&title, 5000));
            accepted.push(title);
            suite.stop();
        }
        assert!(
            refused * 2 > last,
            "{call}: refused {refused} of {last} times"
        );
    }
}

#[test]
fn a_new_suite_on_a_failing_disk_refuses_until_it_works_again() {
    if let Some(why) = strace::missing() {
        return skip(&why);
    }
    let (mut suite, _) = with_database();
    fail(&mut suite, "colibri.sqlite-wal", "fsync", "1..2");
    suite.launch();
    let mut client = suite.client();
    let reply = client.request(task("early", 1)).expect("a reply");
    assert_eq!(reply["error"]["code"], "unavailable", "{reply}");
    must("new work to be taken", LONG, || {
        let reply = client.request(task("late", 1)).expect("a reply");
        (reply["ok"] == true).then_some(())
    });
    kill_all(&mut suite);
    assert_eq!(titles(&suite), ["late"]);
}

/// While the database file itself takes nothing, the log keeps everything.
#[test]
fn a_database_file_that_takes_no_page_loses_nothing() {
    if let Some(why) = strace::missing() {
        return skip(&why);
    }
    for (calls, when) in [("pwrite64", "1+"), ("fsync", "1+"), ("pwrite64", "7+31")] {
        let (mut suite, _) = with_database();
        let trace = fail(&mut suite, "colibri.sqlite", calls, when);
        suite.launch();
        // More than the pages after which the log goes into the database.
        let mut accepted = Vec::new();
        for n in 0..80 {
            let title = format!("task {n}");
            suite.client().call(task(&title, 60_000));
            accepted.push(title);
        }
        kill_all(&mut suite);
        let failed = fs::read_to_string(&trace).expect("the trace");
        assert!(failed.contains("(INJECTED)"), "{calls} {when}: none failed");
        assert_eq!(titles(&suite), accepted, "{calls} {when}");
        assert_eq!(suite.stop().code(), Some(0), "{}", suite.log());
        suite.launch();
        assert_eq!(titles(&suite), accepted, "{calls} {when}");
    }
}

/// The monitor's sync of its journal fails: that is logged, and the end is stored by colibrid.
#[test]
fn a_journal_that_cannot_be_synced_is_said_and_its_end_is_stored() {
    if let Some(why) = strace::missing() {
        return skip(&why);
    }
    let (mut suite, mut steps) = with_database();
    let trace = suite.dir().join("trace");
    // Only journals are synced in this way.
    let inject = ["-e", "inject=fdatasync:error=EIO"];
    let more = ["-f", "-e", "trace=fdatasync", inject[0], inject[1]];
    suite.set_under(strace::words(&trace, &more));
    suite.launch();
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    steps.tools(2);
    steps.settle();
    steps.exit(3);
    client.wait_ended(run);
    let log = suite.log();
    let said = "cannot sync journal: I/O error";
    assert!(log.matches(said).count() >= 2, "{log}");
    kill_all(&mut suite);
    let log = log_until_ended(&mut suite.client(), run);
    once(&log, run, 2);
    let ended = of(&log, run, "ended")[0];
    assert_eq!(ended["exit"], json!({"how": "code", "value": 3}));
    let audit = suite.client().call(json!({"cmd": "audit"}));
    assert_eq!(audit["disagreements"], json!([]), "{audit}");
}
