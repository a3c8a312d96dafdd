//! Limits of a whole run by rctl(4), where the kernel accounts for resources.

use std::process::Command;

use super::agent::{prefix, root, script};
use colibri_tests::skip::skip;
use colibri_tests::suite::{Profile, Scratch, Setup, Suite};
use serde_json::{json, Value};

/// Whether racct is on; says so where not.
fn racct() -> bool {
    let out = Command::new("/sbin/sysctl")
        .args(["-n", "kern.racct.enable"])
        .output()
        .expect("sysctl");
    let on = out.stdout.starts_with(b"1");
    if !on {
        skip("kern.racct.enable is not 1");
    }
    on
}

fn suite(profiles: Vec<Profile>) -> Suite {
    let setup = Setup {
        profiles,
        ..Setup::default()
    };
    Suite::start_in(Scratch::new(), setup)
}

/// The same agent twice: `free`, and `bound` by this limit.
fn pair(text: &str, limit: &str) -> Suite {
    let free = script("free", text);
    let mut bound = script("bound", text);
    bound.more = limit.to_owned();
    suite(vec![free, bound])
}

/// Everything about a run of that profile, at its end; and what the agent answered.
#[track_caller]
fn run(suite: &Suite, name: &str) -> Value {
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent(name, "go");
    let ended = client.wait_ended(run);
    assert_eq!(ended["proof"], "kernel", "{ended}");
    client.call(json!({"cmd": "get-run", "run": run}))
}

#[track_caller]
fn answer(suite: &Suite, name: &str) -> Value {
    run(suite, name)["answer"].take()
}

/// The rules for runs of this suite.
#[track_caller]
fn rules(suite: &Suite) -> Vec<String> {
    let out = Command::new("/usr/bin/rctl").output().expect("rctl");
    assert!(out.status.success(), "{out:?}");
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter(|l| l.contains(&prefix(suite)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn status_tells_on_from_off() {
    if !root() {
        return;
    }
    let mut profile = script("look", "echo");
    profile.more = "run_processes = 10".into();
    let suite = suite(vec![profile]);
    let status = suite.client().call(json!({"cmd": "status"}));
    let warned = status["warnings"].to_string().contains("run_processes");
    match racct() {
        true => assert_eq!((&status["run_limits"], warned), (&json!("on"), false)),
        false => assert_eq!((&status["run_limits"], warned), (&json!("off"), true)),
    }
    let said = suite.ctl_ok(&["check"]);
    let word = status["run_limits"].as_str().expect("a word");
    assert!(said.contains(&format!("run limits {word}")), "{said}");
}

#[test]
fn rules_live_as_long_as_their_run() {
    if !root() || !racct() {
        return;
    }
    let mut profile = script("sleep", "sleep 1003");
    profile.more = "run_memory = 67108864\nrun_processes = 10\nrun_cpu = 50\nstop_grace = 1".into();
    let suite = suite(vec![profile]);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("sleep", "go");
    client.wait_state(run, "working");
    let jail = format!("jail:{}{run}-{run}:", prefix(&suite));
    let mut found = rules(&suite);
    found.sort_unstable();
    let expect = [
        "maxproc:deny=10",
        "memoryuse:sigkill=67108864",
        "pcpu:deny=50",
    ];
    assert_eq!(found, expect.map(|rule| format!("{jail}{rule}")));
    client.call(json!({"cmd": "stop-agent", "run": run}));
    client.wait_ended(run);
    assert_eq!(rules(&suite), [""; 0]);
}

#[test]
fn who_takes_more_memory_than_the_run_may_is_killed() {
    if !root() || !racct() {
        return;
    }
    // It holds 64 MiB for longer than the kernel takes to count them, which it does once a second.
    let eats = "x=$(/bin/sh -c 'n=0; a=0123456789abcdef; \
        while [ $n -lt 22 ]; do a=$a$a; n=$((n+1)); done; sleep 10; echo ${#a} bytes'); \
        echo $x status $?";
    let suite = pair(eats, "run_memory = 50331648");
    assert_eq!(answer(&suite, "free"), "67108864 bytes status 0");
    // Whoever of the run is counted when it has become too much: the shell inside, or the agent.
    let row = run(&suite, "bound");
    let killed = row["exit"] == json!({"how": "signal", "value": 9});
    assert!(killed || row["answer"] == "status 137", "{row}");
    assert_eq!(rules(&suite), [""; 0]);
}

#[test]
fn the_run_makes_no_more_processes_than_it_may() {
    if !root() || !racct() {
        return;
    }
    let forks = "x=$(/bin/sh -c 'n=0; \
        while [ $n -lt 40 ]; do sleep 1004 >/dev/null 2>&1 & n=$((n+1)); done; \
        echo $n processes'); echo $x status $?";
    let suite = pair(forks, "run_processes = 10");
    assert_eq!(answer(&suite, "free"), "40 processes status 0");
    // The shell that may not fork any more gives up.
    assert_eq!(answer(&suite, "bound"), "status 2");
    let all = colibri_tests::procs::table();
    assert!(!all.iter().any(|p| p.title == "sleep 1004"), "{all:?}");
    assert_eq!(rules(&suite), [""; 0]);
}
