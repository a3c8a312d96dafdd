//! Stop means dead, and `ended` is never said before.

use colibri_tests::agents::{hostile, Traces};
use colibri_tests::client::Client;
use colibri_tests::procs::held;
use colibri_tests::suite::{Profile, Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use serde_json::{json, Value};
use std::fs;

fn start(words: &[&str]) -> (Suite, Client, Traces) {
    let scratch = Scratch::new();
    let (mut profile, traces) = hostile(&scratch, "bad", "rpc", words);
    profile.more = "stop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    (suite, client, traces)
}

/// `ended` has just been read: whatever is left now was left when it was said.
#[track_caller]
fn proven(suite: &Suite, client: &mut Client, traces: &Traces, ended: &Value) {
    assert!(!held(&traces.lock), "survivors: {ended}");
    assert!(ended["proof"].is_string(), "{ended}");
    let run = ended["run"].as_u64().expect("run");
    let row = client.call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(row["ended"], true);
    assert_eq!(row["proof"], ended["proof"]);
    let dir = suite.dir().join(format!("tmp/{run}-{}", ended["attempt"]));
    assert!(!dir.exists(), "{} is left", dir.display());
    let socket = suite
        .dir()
        .join(format!("run/runs/{run}-{}.sock", ended["attempt"]));
    assert!(!socket.exists(), "{} is left", socket.display());
}

#[track_caller]
fn stopped(words: &[&str], grown: usize) {
    let (suite, mut client, traces) = start(words);
    let run = client.spawn_agent("bad", "go");
    client.wait_state(run, "working");
    must("the tree", LONG, || {
        (held(&traces.lock) && traces.started() >= grown).then_some(())
    });
    let reply = client.call(json!({"cmd": "stop-agent", "run": run}));
    assert_eq!(reply["state"], "stopping");
    let ended = client.wait_ended(run);
    proven(&suite, &mut client, &traces, &ended);
    assert_eq!(ended["asked"], true);
    assert_ne!(ended["state"], "error", "stopping on request is no failure");
    // Once more is no error.
    let reply = client.call(json!({"cmd": "stop-agent", "run": run}));
    assert_eq!(reply["state"], "ended");
}

#[test]
fn a_sleeper() {
    stopped(&["sleep"], 0);
}

#[test]
fn one_that_ignores_sigterm() {
    stopped(&["ignore-term"], 0);
}

#[test]
fn one_that_is_stopped() {
    stopped(&["stopped"], 0);
}

#[test]
fn a_double_fork() {
    stopped(&["double-fork"], 1);
}

#[test]
fn a_session_of_its_own() {
    stopped(&["setsid"], 1);
}

#[test]
fn a_grandchild_that_holds_the_pipes_of_a_stopped_one() {
    stopped(&["share-pipe"], 1);
}

#[test]
fn a_fork_storm() {
    stopped(&["fork-storm", "8"], 100);
}

#[test]
fn one_that_has_settled_and_stays() {
    let (suite, mut client, traces) = start(&["deaf"]);
    let run = client.spawn_agent("bad", "go");
    client.wait_state(run, "done");
    client.call(json!({"cmd": "stop-agent", "run": run}));
    let ended = client.wait_ended(run);
    proven(&suite, &mut client, &traces, &ended);
}

/// The agent itself has gone and left somebody behind: nobody asked for a stop.
#[track_caller]
fn left_behind(word: &str) {
    let (suite, mut client, traces) = start(&[word]);
    let run = client.spawn_agent("bad", "go");
    let ended = client.wait_ended(run);
    proven(&suite, &mut client, &traces, &ended);
    assert_eq!(ended["exit"], json!({"how": "code", "value": 0}));
    assert_eq!(ended["state"], "done");
    assert_eq!(ended["asked"], false);
}

#[test]
fn a_grandchild_left_behind() {
    left_behind("leave");
}

#[test]
fn a_grandchild_that_holds_the_pipes() {
    left_behind("hold-pipe");
}

#[test]
fn many_stops_at_once() {
    let scratch = Scratch::new();
    let (mut profile, traces) = hostile(&scratch, "bad", "rpc", &["double-fork"]);
    profile.more = "stop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let runs: Vec<u64> = (0..6).map(|_| client.spawn_agent("bad", "go")).collect();
    must("the trees", LONG, || {
        (traces.started() == runs.len()).then_some(())
    });
    for run in &runs {
        client.call(json!({"cmd": "stop-agent", "run": run}));
    }
    let mut left = runs.clone();
    while !left.is_empty() {
        let line = client.event(LONG).expect("an event");
        let event = &line["event"];
        if event["kind"] == "ended" {
            assert!(event["proof"].is_string(), "{event}");
            left.retain(|run| event["run"] != json!(run));
        }
    }
    assert!(!held(&traces.lock), "survivors");
    let tmp = fs::read_dir(suite.dir().join("tmp")).expect("tmp");
    assert_eq!(tmp.count(), 0);
}

/// Fills the TMPDIR with what is hard to remove, then exits.
const LITTER: &str = r#"
cat >/dev/null
echo '{"type":"session","version":3,"id":"x","timestamp":"2026-01-01T00:00:00.000Z","cwd":"/"}'
cd "$TMPDIR" || exit 3
mkdir -p a/b/c closed/inner 'new
line'
ln -s "$1" link
ln -s / root
ln -s loop loop
mkfifo pipe
ln -s "$1" a/b/c/link
echo x >closed/inner/file
d=.
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
  d=$d/dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd
  mkdir -p "$d"
done
for n in 1 2 3 4 5 6 7 8 9; do : >"many-$n"; : >".hidden-$n"; : >"-rf $n"; done
chmod 0 closed/inner closed a/b
chmod 0 .
exit 0
"#;

#[test]
fn a_hostile_tmpdir_is_removed_and_nothing_else() {
    let scratch = Scratch::new();
    let outside = scratch.for_agent("outside");
    fs::write(outside.join("kept"), "kept").expect("a file");
    let script = scratch.path().join("litter.sh");
    fs::write(&script, LITTER).expect("the script");
    let command = [
        "/bin/sh",
        &script.display().to_string(),
        &outside.display().to_string(),
    ];
    let setup = Setup {
        profiles: vec![Profile::new(
            "litter",
            "json",
            command.map(str::to_owned).to_vec(),
        )],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("litter", "go");
    let ended = client.wait_ended(run);
    assert_eq!(
        ended["exit"],
        json!({"how": "code", "value": 0}),
        "{}",
        suite.log()
    );
    let left: Vec<_> = fs::read_dir(suite.dir().join("tmp"))
        .expect("tmp")
        .flatten()
        .map(|e| e.path())
        .collect();
    assert!(left.is_empty(), "{left:?}\n{}", suite.log());
    assert_eq!(
        fs::read(outside.join("kept")).expect("still there"),
        b"kept"
    );
}
