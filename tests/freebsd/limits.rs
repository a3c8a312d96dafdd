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

fn suite(profile: Profile) -> Suite {
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    Suite::start_in(Scratch::new(), setup)
}

fn run(suite: &Suite, name: &str) -> Value {
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent(name, "go");
    client.wait_ended(run);
    client.call(json!({"cmd": "get-run", "run": run}))
}

/// No rule of a run outlives it.
#[track_caller]
fn no_rules(suite: &Suite) {
    let out = Command::new("/usr/bin/rctl").output().expect("rctl");
    let rules = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(!rules.contains(&prefix(suite)), "{rules}");
}

#[test]
fn status_tells_on_from_off() {
    if !root() {
        return;
    }
    let mut profile = script("look", "echo");
    profile.more = "run_processes = 10".into();
    let suite = suite(profile);
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
fn memory_is_limited_for_the_run() {
    if !root() || !racct() {
        return;
    }
    let mut profile = script("eats", "a=0123456789abcdef; while :; do a=$a$a; done");
    profile.more = "run_memory = 67108864".into();
    let suite = suite(profile);
    // The shell inside is killed; the script goes on with nothing to say.
    let row = run(&suite, "eats");
    assert_eq!(row["ended"], true, "{row}");
    no_rules(&suite);
}

#[test]
fn processes_are_limited_for_the_run() {
    if !root() || !racct() {
        return;
    }
    let mut profile = script(
        "forks",
        "n=0; while [ $n -lt 40 ]; do sleep 1000 >/dev/null 2>&1 & n=$((n+1)); done 2>/dev/null",
    );
    profile.more = "run_processes = 10\nstop_grace = 1".into();
    let suite = suite(profile);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("forks", "go");
    let ended = client.wait_ended(run);
    // The shell that may not fork any more gives up.
    assert_eq!(ended["proof"], "kernel", "{ended}");
    let mine = colibri_tests::procs::table();
    assert!(!mine.iter().any(|p| p.title == "sleep 1000"), "{mine:?}");
    no_rules(&suite);
}
