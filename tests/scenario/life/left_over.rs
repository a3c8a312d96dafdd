//! A suite was killed after a run's end was known and before all of the run was removed: the next
//! one removes it, and nothing else.

use colibri_tests::client::Client;
use colibri_tests::procs::signal;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{is_root, Scratch, Setup, Suite, AGENT};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::Signal;
use serde_json::{json, Value};
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn with_steps(limits: &str) -> (Suite, Steps) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        limits: limits.into(),
        ..Setup::default()
    };
    (Suite::start_in(scratch, setup), steps)
}

/// Starts a run and waits until it works; its number and its name in the directories.
fn begin(client: &mut Client) -> (u64, String) {
    let run = client.spawn_agent("steps", "go");
    let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
    client.wait_state(run, "working");
    (run, format!("{run}-{}", started["attempt"]))
}

fn end(client: &mut Client, steps: &mut Steps, run: u64) {
    steps.settle();
    steps.exit(0);
    client.wait_ended(run);
}

fn killed_and_started_again(suite: &mut Suite) -> Client {
    signal(suite.pid(), Signal::SIGKILL);
    suite.wait_end();
    suite.launch();
    let mut client = suite.client();
    client.call(json!({"cmd": "ping"}));
    client
}

/// A TMPDIR with something in it.
fn litter(dir: &Path) {
    fs::create_dir(dir).expect("a TMPDIR");
    fs::write(dir.join("file"), "x").expect("a file");
    if is_root() {
        for path in [dir.to_owned(), dir.join("file")] {
            chown(path, Some(AGENT.0), Some(AGENT.1)).expect("given away");
        }
    }
}

#[test]
fn what_is_left_of_runs_that_are_over_goes_and_all_else_stays() {
    let (mut suite, mut steps) = with_steps("");
    let mut client = suite.client();
    client.subscribe(None);
    let dir = suite.dir().to_owned();
    let at = |place: &str, stem: &str| -> PathBuf { dir.join(place).join(stem) };
    let (first, left) = begin(&mut client);
    let note = fs::read(at("run/spawnd", &left)).expect("its note");
    end(&mut client, &mut steps, first);
    let (second, bare) = begin(&mut client);
    end(&mut client, &mut steps, second);
    let (third, living) = begin(&mut client);

    // All of the first, as if it had much to remove; of the second what a boot keeps.
    fs::write(at("run/spawnd", &left), note).expect("a note");
    fs::write(at("run/runs", &format!("{left}.sock")), "").expect("a socket");
    litter(&at("tmp", &left));
    litter(&at("tmp", &bare));
    // Not of this suite; and one that nobody knows, but whose monitor lives.
    litter(&at("tmp", "77-77"));
    fs::copy(at("run/spawnd", &living), at("run/spawnd", "99-99")).expect("a note");

    let mut client = killed_and_started_again(&mut suite);
    let gone = [
        at("run/spawnd", &left),
        at("run/runs", &format!("{left}.sock")),
        at("tmp", &left),
        at("tmp", &bare),
    ];
    must("what was left to go", LONG, || {
        gone.iter().all(|path| !path.exists()).then_some(())
    });
    for path in [
        at("run/spawnd", &living),
        at("run/runs", &format!("{living}.sock")),
        at("tmp", &living),
        at("tmp", "77-77"),
        at("run/spawnd", "99-99"),
    ] {
        assert!(path.exists(), "{} is gone", path.display());
    }
    fs::remove_file(at("run/spawnd", "99-99")).expect("removed");
    let audit = client.call(json!({"cmd": "audit"}));
    assert_eq!(audit["disagreements"], json!([]), "{audit}");
    client.subscribe(None);
    end(&mut client, &mut steps, third);
}

#[test]
fn a_tmpdir_that_somebody_lives_in_stays_until_he_goes() {
    let (mut suite, mut steps) = with_steps("");
    let mut client = suite.client();
    client.subscribe(None);
    let (run, stem) = begin(&mut client);
    end(&mut client, &mut steps, run);
    // As of the agent of another suite that has the same directory and the same numbers.
    let tmpdir = suite.dir().join("tmp").join(&stem);
    fs::create_dir(&tmpdir).expect("a TMPDIR");
    let mut agent = Command::new("sleep");
    agent.arg("1000").env("TMPDIR", &tmpdir);
    if is_root() {
        chown(&tmpdir, Some(AGENT.0), Some(AGENT.1)).expect("given away");
        agent.uid(AGENT.0);
    }
    let mut agent = agent.spawn().expect("sleep");
    killed_and_started_again(&mut suite);
    must("the log to say it", LONG, || {
        let line = format!("run {stem}: cannot remove its TMPDIR: resource busy");
        suite.log().contains(&line).then_some(())
    });
    let mut client = suite.client();
    must("the end of the clean-up", LONG, || {
        let audit = client.call(json!({"cmd": "audit"}));
        (audit["disagreements"][0]["code"] == "left-over").then_some(())
    });
    assert!(tmpdir.exists(), "it was taken away");
    agent.kill().expect("killed");
    agent.wait().expect("reaped");
    killed_and_started_again(&mut suite);
    must("it to go", LONG, || (!tmpdir.exists()).then_some(()));
}

#[test]
fn a_journal_that_was_forgotten_and_not_removed_goes() {
    let (mut suite, mut steps) = with_steps("runs_kept = 1");
    let mut client = suite.client();
    client.subscribe(None);
    let journals = suite.dir().join("state/runs");
    let journal = |stem: &str| journals.join(format!("{stem}.journal"));
    let mut stems = Vec::new();
    for _ in 0..3 {
        let (run, stem) = begin(&mut client);
        end(&mut client, &mut steps, run);
        stems.push(stem);
    }
    must("the first journal to go", LONG, || {
        (!journal(&stems[0]).exists()).then_some(())
    });
    fs::copy(journal(&stems[2]), journal(&stems[0])).expect("put back");
    // Newer than all that is known: perhaps the database is an old copy.
    fs::copy(journal(&stems[2]), journal("50-50")).expect("made");
    let mut client = killed_and_started_again(&mut suite);
    must("the first journal to go again", LONG, || {
        (!journal(&stems[0]).exists()).then_some(())
    });
    assert!(journal(&stems[2]).exists() && journal("50-50").exists());
    let rows: Value = client.call(json!({"cmd": "list-runs"}));
    assert_eq!(rows["runs"].as_array().map(Vec::len), Some(1), "{rows}");
}
