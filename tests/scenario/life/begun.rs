//! colibri-spawnd is killed between making a run's journal and starting anything: an accepted run
//! still runs, and one that may have begun is not begun again.

use colibri_tests::daemon::Parts;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::tail::{log_until, log_until_ended, of, once};
use libcolibri::journal::MAGIC;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::fs::{self, Permissions};
use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
use std::path::Path;

/// A dead suite with an accepted run that spawnd did not get to, and the name of its journal.
fn accepted() -> (Suite, Steps, u64, String) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    let parts = Parts::below(suite.pid()).expect("three daemons").all();
    let [_, spawnd, _] = parts;
    kill(Pid::from_raw(spawnd), Signal::SIGSTOP).expect("stopped");
    let mut client = suite.client();
    let run = client.spawn_agent("steps", "go");
    let row = client.call(json!({"cmd": "get-run", "run": run}));
    for pid in parts {
        // One may have gone with those before it.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    suite.wait_end();
    let journal = row["journal"].as_str().expect("a name").to_owned();
    (suite, steps, run, journal)
}

/// A journal as colibri-spawnd leaves it: its own at first, then readable for colibrid.
fn leave(suite: &Suite, name: &str, bytes: &[u8], given: bool) {
    let dir = suite.dir().join("state/runs");
    let path = dir.join(name);
    fs::write(&path, bytes).expect("written");
    let mode = if given { 0o640 } else { 0o600 };
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its mode");
    if given {
        let group = group_of(&suite.dir().join("state"));
        chown(&path, None, Some(group)).expect("its group");
    }
}

/// colibrid's group: the state directory is its own.
fn group_of(dir: &Path) -> u32 {
    fs::metadata(dir).expect("the state directory").gid()
}

#[track_caller]
fn runs_once(suite: &mut Suite, mut steps: Steps, run: u64) {
    suite.launch();
    let fits = |e: &Value| e["run"] == json!(run) && e["state"] == "working";
    log_until(&mut suite.client(), fits);
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut suite.client(), run);
    once(&log, run, 0);
    assert_eq!(of(&log, run, "ended")[0]["state"], "done");
    assert_eq!((steps.started(), steps.prompts()), (1, 1));
}

#[test]
fn a_journal_that_was_just_made() {
    let (mut suite, steps, run, journal) = accepted();
    leave(&suite, &journal, b"", false);
    runs_once(&mut suite, steps, run);
}

#[test]
fn a_journal_that_colibrid_may_read_already() {
    let (mut suite, steps, run, journal) = accepted();
    leave(&suite, &journal, b"", true);
    runs_once(&mut suite, steps, run);
}

#[test]
fn a_journal_that_has_its_room_but_not_begun() {
    let (mut suite, steps, run, journal) = accepted();
    leave(&suite, &journal, &MAGIC[..MAGIC.len() - 1], true);
    runs_once(&mut suite, steps, run);
}

#[test]
fn what_may_have_begun_is_not_begun_again() {
    let (mut suite, steps, run, journal) = accepted();
    leave(&suite, &journal, MAGIC, true);
    suite.launch();
    let log = log_until_ended(&mut suite.client(), run);
    let ended = of(&log, run, "ended");
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["reason"], "monitor lost", "{}", ended[0]);
    assert_eq!(steps.started(), 0);
}

#[test]
fn so_it_is_when_colibrid_cannot_read_it() {
    let (mut suite, steps, run, journal) = accepted();
    leave(&suite, &journal, MAGIC, false);
    suite.launch();
    let log = log_until_ended(&mut suite.client(), run);
    assert_eq!(of(&log, run, "ended")[0]["reason"], "monitor lost");
    assert_eq!(steps.started(), 0);
}
