//! The journals that the real monitors wrote, read as a tool would read them.

use colibri_tests::agents::hostile;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};
use libcolibri::journal::Reader;
use libcolibri::record::{Entry, Record};
use libcolibri::state::{Exit, State};
use serde_json::json;
use std::fs::File;
use std::os::fd::AsFd;

/// Reads a journal to its end; it must be nobody's any more.
#[track_caller]
fn read(suite: &Suite, run: u64, attempt: &serde_json::Value) -> Vec<Entry> {
    let path = suite
        .dir()
        .join(format!("state/runs/{run}-{attempt}.journal"));
    let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let locked = libcolibri::sys::lock_is_held(file.as_fd()).expect("an answer");
    assert!(!locked, "{} is locked", path.display());
    let size = file.metadata().expect("size").len();
    let mut reader = Reader::new(file);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry().expect("a record") {
        all.push(entry);
    }
    assert_eq!(reader.position(), size, "bytes after the last record");
    all
}

#[test]
fn a_journal_reads_back() {
    let scratch = Scratch::new();
    let (profile, mut steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    steps.tools(10);
    steps.settle();
    steps.exit(5);
    let attempt = client.wait_ended(run)["attempt"].clone();
    let all = read(&suite, run, &attempt);
    for (n, entry) in all.iter().enumerate() {
        assert_eq!(entry.seq, n as u64 + 1);
    }
    let Record::Opened {
        run: r, attempt: a, ..
    } = &all[0].record
    else {
        panic!("{:?}", all[0]);
    };
    assert_eq!((json!(r), &json!(a)), (json!(run), &attempt));
    let Some(Record::Ended(ended)) = all.last().map(|e| &e.record) else {
        panic!("{:?}", all.last());
    };
    assert_eq!(ended.exit, Exit::Code(5));
    let ends = all.iter().filter(|e| matches!(e.record, Record::Ended(_)));
    assert_eq!(ends.count(), 1);
    let tools = all
        .iter()
        .filter(|e| matches!(e.record, Record::ToolStart { .. }));
    assert_eq!(tools.count(), 10);
    let row = client.call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(row["journal"], format!("{run}-{attempt}.journal"));
    assert_eq!(row["journal_seq"], all.len());
}

#[test]
fn a_flood_keeps_the_journal_small() {
    let scratch = Scratch::new();
    let lines = "200000";
    let (flood, _) = hostile(&scratch, "flood", "rpc", &["flood", lines]);
    let (garbage, _) = hostile(&scratch, "garbage", "rpc", &["garbage"]);
    let (cut, _) = hostile(&scratch, "cut", "rpc", &["cut", "3000000"]);
    let setup = Setup {
        profiles: vec![cut, flood, garbage],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    for (name, state) in [
        ("flood", State::Done),
        ("garbage", State::Done),
        ("cut", State::Error),
    ] {
        let run = client.spawn_agent(name, "go");
        let attempt = client.wait_ended(run)["attempt"].clone();
        let all = read(&suite, run, &attempt);
        assert!(all.len() < 60, "{name}: {} records", all.len());
        let Some(Record::Ended(ended)) = all.last().map(|e| &e.record) else {
            panic!("{name}: {:?}", all.last());
        };
        assert_eq!(ended.state, state, "{name}: {ended:?}");
        let row = client.call(json!({"cmd": "get-run", "run": run}));
        assert_eq!(row["lines"], ended.lines);
        if name == "flood" {
            assert!(ended.lines > 200_000, "{ended:?}");
        }
    }
}

#[test]
fn what_never_ran_has_a_journal_too() {
    let setup = Setup {
        profiles: vec![colibri_tests::suite::Profile::new(
            "missing",
            "rpc",
            vec!["/nonexistent/agent".into()],
        )],
        ..Setup::default()
    };
    let suite = Suite::start(setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("missing", "go");
    let ended = client.wait_ended(run);
    assert_eq!(ended["state"], "error");
    assert_eq!(ended["proof"], "nothing-started");
    assert_eq!(ended["exit"]["how"], "not-started");
    let all = read(&suite, run, &ended["attempt"]);
    assert!(matches!(
        all.last().map(|e| &e.record),
        Some(Record::Ended(_))
    ));
}
