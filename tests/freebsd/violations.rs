//! What ktrace(1) records of the capability violations of a whole life of the suite: those that the
//! self-tests make on purpose, each of them, in every confined process, and no other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::agent::{root, said};
use colibri_tests::agents::recorded;
use colibri_tests::client::Client;
use colibri_tests::daemon::{run, Daemon};
use colibri_tests::pi::fixtures;
use colibri_tests::procs::{self, gone};
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup};
use colibri_tests::wait::{must, LONG};
use libcolibri::sandbox;
use nix::sys::signal::Signal;
use serde_json::json;

/// How kdump(1) shows each line of the self-test; empty where what is refused is no violation.
const SHOWN: [(&str, &str); 14] = [
    ("open a file by its path", LOOKUP_OPEN),
    ("open a name in the working directory", LOOKUP_OPEN),
    ("ask for a file by its path", LOOKUP_STAT),
    (
        "remove a file by its path",
        "system call not allowed: unlink",
    ),
    (
        "change the working directory",
        "system call not allowed: chdir",
    ),
    (
        "connect to an internet address",
        "system call not allowed: connect",
    ),
    (
        "connect to a local socket",
        "system call not allowed: connect",
    ),
    ("bind a local socket", "system call not allowed: bind"),
    ("signal the parent", "kill: signal delivery not allowed"),
    ("execute a program", "system call not allowed: execve"),
    (
        "sleep by the clock",
        "system call not allowed: clock_nanosleep",
    ),
    ("read a descriptor without that right", "operation requires"),
    ("become root", ""),
    ("fork", ""),
];

const LOOKUP_OPEN: &str = "openat: restricted VFS lookup: AT_FDCWD";
const LOOKUP_STAT: &str = "fstatat: restricted VFS lookup: AT_FDCWD";

/// SQLite asks by name for its files when it closes the database, and does without the answers.
const AT_THE_END: [&str; 2] = [LOOKUP_STAT; 2];

/// By process, in order: what was recorded once it was in capability mode.
type Found = BTreeMap<i32, (String, Vec<String>)>;

/// Reads what kdump(1) says of a trace.
fn parse(text: &str) -> Found {
    let mut found = Found::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(pid), Some(name)) = (words.next().and_then(|w| w.parse().ok()), words.next())
        else {
            continue;
        };
        let rest = words.collect::<Vec<_>>().join(" ");
        if rest == "RET cap_enter 0" {
            found.insert(pid, (name.to_owned(), Vec::new()));
        } else if let (Some(what), Some((_, list))) =
            (rest.strip_prefix("CAP "), found.get_mut(&pid))
        {
            list.push(what.to_owned());
        }
    }
    found
}

/// What is wrong with that, in sentences.
fn judge(found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    for (pid, (name, list)) in found {
        let mut list = list.iter().map(String::as_str).peekable();
        for (line, shown) in SHOWN.iter().filter(|(_, shown)| !shown.is_empty()) {
            if list.next_if(|v| v.starts_with(shown)).is_none() {
                let next = list.peek();
                wrong.push(format!("{name} ({pid}): {line:?} did not bite: {next:?}"));
            }
        }
        let rest: Vec<&str> = list.collect();
        let closes = name == "colibrid" && rest == AT_THE_END;
        if !rest.is_empty() && !closes {
            wrong.push(format!("{name} ({pid}): {rest:?}"));
        }
    }
    wrong
}

fn kdump(trace: &Path) -> String {
    let out = Command::new("/usr/bin/kdump")
        .args(["-t", "cp", "-f"])
        .arg(trace)
        .output()
        .expect("kdump");
    assert!(out.status.success(), "{out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A suite of which everything is traced, and the agent that does what it is told.
fn traced(trace: &Path) -> (Daemon, Steps) {
    let scratch = Scratch::new();
    let (steps_profile, steps) = Steps::new(&scratch, "steps");
    let ask = fixtures().join("pi/1.5.2/rpc_ask_answer.jsonl");
    let asks = recorded(&scratch, "asks", "rpc", &ask, &["--speed", "0"]);
    let setup = Setup {
        profiles: vec![steps_profile, asks],
        more: "[agent.steps]\ncapabilities = [\"rust\"]\n".into(),
        ..Setup::default()
    };
    let daemon = Daemon::prepare(scratch, &setup);
    let mut ktrace = Command::new("/usr/bin/ktrace");
    ktrace
        .args(["-i", "-t", "cnp", "-f"])
        .arg(trace)
        .arg(&daemon.program)
        .arg("-f")
        .arg(daemon.config_path());
    let ran = run(&mut ktrace);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    (daemon, steps)
}

/// A run whose question is answered.
fn answered(client: &mut Client) {
    let run = client.spawn_agent("asks", "go");
    client.wait_state(run, "blocked");
    let row = client.call(json!({"cmd": "get-run", "run": run}));
    let dialog = &row["pane"]["dialogs"][0];
    let value = dialog["options"][0].as_str().unwrap_or("yes");
    client.call(json!({
        "cmd": "answer", "run": run, "request": dialog["request"], "value": value,
    }));
    assert_eq!(client.wait_ended(run)["state"], "done");
}

/// A run that is stopped.
fn stopped(client: &mut Client) {
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    client.call(json!({"cmd": "stop-agent", "run": run}));
    assert_eq!(client.wait_ended(run)["asked"], true);
}

/// A run that lives through a restart.
fn restarted(daemon: &Daemon, client: &mut Client, steps: &mut Steps) -> Client {
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    let before = daemon.parts();
    procs::signal(daemon.pid().expect("the keeper"), Signal::SIGHUP);
    for pid in before.all() {
        assert!(gone(pid, LONG), "{pid} did not start again");
    }
    let mut client = daemon.client();
    steps.settle();
    steps.exit(0);
    client.subscribe(Some(0));
    assert_eq!(client.wait_ended(run)["state"], "done");
    client
}

/// A task by hand and one of a schedule, each worked on.
fn tasks(client: &mut Client, steps: &mut Steps) {
    let mut done = |client: &mut Client, count: u64| {
        must("a task to be worked on", LONG, || {
            let stats = client.call(json!({"cmd": "stats"}));
            (stats["tasks"]["started"] == 1).then_some(())
        });
        steps.settle();
        steps.exit(0);
        must("a task to be done", LONG, || {
            let stats = client.call(json!({"cmd": "stats"}));
            (stats["tasks"]["done"] == count).then_some(())
        });
    };
    client.call(json!({"cmd": "create-task", "title": "t", "capabilities": ["rust"]}));
    done(client, 1);
    client.call(json!({
        "cmd": "add-schedule", "name": "s", "title": "t", "capabilities": ["rust"], "every": 1,
        "zone": "Europe/Berlin", "overlap": "skip",
    }));
    done(client, 2);
    client.call(json!({"cmd": "pause-schedule", "schedule": "s"}));
}

#[test]
fn a_whole_life_has_no_violation_but_those_of_the_self_tests() {
    if !root() {
        return;
    }
    let place = Scratch::new();
    let trace: PathBuf = place.path().join("ktrace.out");
    let (daemon, mut steps) = traced(&trace);
    let mut client = daemon.client();
    client.subscribe(Some(0));
    let first = daemon.parts();
    answered(&mut client);
    stopped(&mut client);
    let mut client = restarted(&daemon, &mut client, &mut steps);
    let second = daemon.parts();
    tasks(&mut client, &mut steps);
    must("the log", LONG, || {
        let tried = format!("{} forbidden actions tried and refused", SHOWN.len());
        let told = said("colibrid", first.colibrid, &tried)
            && said("colibrid", first.colibrid, "run 2 ended")
            && said("colibri-spawnd", second.spawnd, "started");
        told.then_some(())
    });
    let keeper = daemon.pid().expect("the keeper");
    procs::signal(keeper, Signal::SIGTERM);
    assert!(gone(keeper, LONG), "it does not end");
    let found = parse(&kdump(&trace));
    assert_eq!(judge(&found), [""; 0], "{found:#?}");
    let count = |name| found.values().filter(|(n, _)| n == name).count();
    assert_eq!((count("colibrid"), count("colibri-schedd")), (2, 2));
    // Monitors of five runs, and perhaps of what the schedule began before it was paused.
    assert!(count("colibri-spawnd") >= 5, "{found:#?}");
}

/// What kdump says of a process that does what the self-test does, and then `more`.
fn text(name: &str, more: &[&str]) -> String {
    let caps = SHOWN.iter().map(|(_, shown)| *shown);
    let caps = caps.filter(|shown| !shown.is_empty());
    let lines = caps.chain(more.iter().copied());
    let mut text = format!(" 7 {name} CAP   openat: restricted VFS lookup: AT_FDCWD\n");
    text += &format!(" 7 {name} CALL  cap_enter\n 7 {name} RET   cap_enter 0\n");
    for line in lines {
        text += &format!("     7 {name} CAP   {line}\n     7 {name} RET   other -1 errno 94\n");
    }
    text
}

#[test]
fn a_violation_more_or_less_is_seen() {
    let wrong = |name: &str, more: &[&str]| judge(&parse(&text(name, more)));
    assert_eq!(wrong("colibri-schedd", &[]), [""; 0]);
    assert_eq!(wrong("colibrid", &AT_THE_END), [""; 0]);
    assert_eq!(wrong("colibri-schedd", &AT_THE_END).len(), 1);
    assert_eq!(wrong("colibrid", &[LOOKUP_STAT]).len(), 1);
    assert_eq!(
        wrong("colibrid", &["system call not allowed: open"]).len(),
        1
    );
    let whole = text("colibrid", &[]);
    let less = whole.replace("     7 colibrid CAP   system call not allowed: chdir\n", "");
    assert_ne!(less, whole);
    assert_eq!(judge(&parse(&less)).len(), 1);
    // And nothing is said of the sandbox's lines that is not tried.
    let names = SHOWN.map(|(name, _)| name);
    for probe in sandbox::probes() {
        assert!(names.contains(&probe.name), "{probe:?} is not expected");
    }
}
