//! Subscriptions: a snapshot and the events after it are the state, and what is lost is said.

use colibri_tests::client::Client;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::tail::Fold;
use colibri_tests::wait::{must, LONG};
use serde_json::{json, Value};

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

/// A snapshot without what no event tells: the time of the last byte.
fn comparable(mut snapshot: Value) -> Value {
    for pane in snapshot["panes"].as_array_mut().expect("panes") {
        let pane = pane.as_object_mut().expect("a pane");
        pane.remove("last_event_at");
        pane.remove("stays");
    }
    snapshot["panes"].take()
}

/// Every number after `after` up to `last`, told or said to be lost, in order. Returns how many
/// were lost.
#[track_caller]
fn account(client: &mut Client, after: u64, last: u64) -> u64 {
    let (mut at, mut lost) = (after, 0);
    while at < last {
        let line = client.event(LONG).expect("a line");
        if let Some(gap) = line.get("gap") {
            assert_eq!(gap["from"], at + 1, "{line}");
            let to = gap["to"].as_u64().expect("to");
            assert!(to > at, "{line}");
            lost += to - at;
            at = to;
        } else {
            assert_eq!(line["event"]["seq"], at + 1, "{line}");
            at += 1;
        }
    }
    lost
}

/// Waits for the end of a run without a subscription, which might be too slow for its events.
#[track_caller]
fn over(suite: &Suite, run: u64) {
    must("the end of the run", LONG, || {
        let row = suite.client().call(json!({"cmd": "get-run", "run": run}));
        (row["ended"] == true).then_some(())
    });
}

/// Takes in the events up to a snapshot's number, and asserts that they make its pane of the run.
/// Returns them.
#[track_caller]
fn agree(client: &mut Client, fold: &mut Fold, snapshot: Value, run: u64) -> Vec<Value> {
    let mut events = Vec::new();
    while snapshot["seq"].as_u64().expect("a number") > fold.seq {
        let line = client.event(LONG).expect("an event");
        fold.apply(&line["event"]);
        events.push(line["event"].clone());
    }
    assert_eq!(snapshot["seq"], fold.seq, "{events:?}");
    let all = comparable(snapshot);
    let mut panes = all.as_array().expect("panes").iter();
    let pane = panes.find(|p| p["run"] == run);
    let mut told = fold.pane(run).expect("its pane").clone();
    let fields = told.as_object_mut().expect("a pane");
    fields.remove("last_event_at");
    assert_eq!(pane, Some(&told), "at {} after {events:?}", fold.seq);
    events
}

#[test]
fn a_snapshot_and_its_tail_are_the_state_at_every_number() {
    let (suite, mut steps) = with_steps("");
    let mut client = suite.client();
    let reply = client.call(json!({"cmd": "subscribe", "snapshot": true}));
    let mut fold = Fold::new(&reply["snapshot"]);
    let mut asking = suite.client();
    for round in 0..3 {
        let run = client.spawn_agent("steps", "go");
        let (mut seen, mut compared) = (Vec::new(), 0);
        let mut used = 0;
        while !seen.iter().any(|e: &Value| e["kind"] == "ended") {
            // The next event first, so that each round of this brings something new.
            let line = client.event(LONG).expect("an event");
            fold.apply(&line["event"]);
            seen.push(line["event"].clone());
            let now = asking.call(json!({"cmd": "snapshot"}));
            seen.extend(agree(&mut client, &mut fold, now, run));
            compared += 1;
            let saw = |kind: &str| seen.iter().any(|e| e["kind"] == kind);
            let works = seen.iter().any(|e| e["state"] == "working");
            if used == 0 && works {
                steps.tools(5);
                used = 1;
            } else if used == 1 && saw("tool-end") {
                steps.settle();
                steps.exit(round);
                used = 2;
            }
        }
        assert!(compared > 2, "{compared} in run {run}: {seen:?}");
    }
}

#[test]
fn what_is_no_longer_kept_is_a_gap() {
    let (suite, mut steps) = with_steps("events = 1000");
    let run = suite.client().spawn_agent("steps", "go");
    steps.tools(1500);
    steps.settle();
    steps.exit(0);
    over(&suite, run);
    let mut late = suite.client();
    let reply = late.subscribe(Some(0));
    let (oldest, last) = (
        reply["oldest"].as_u64().unwrap(),
        reply["seq"].as_u64().unwrap(),
    );
    assert!(oldest > 1 && last > 3000, "{reply}");
    let lost = account(&mut late, 0, last);
    assert!((oldest - 1..last).contains(&lost), "{lost} lost of {reply}");
    // From what is kept nothing is lost.
    let mut recent = suite.client();
    recent.subscribe(Some(last - 500));
    assert_eq!(account(&mut recent, last - 500, last), 0);
}

#[test]
fn a_stalled_subscriber_slows_nobody_and_misses_nothing_silently() {
    let (suite, mut steps) = with_steps("events = 2000");
    let mut stalled = suite.client();
    let from = stalled.subscribe(None)["seq"].as_u64().expect("seq");
    let run = suite.client().spawn_agent("steps", "go");
    // Far more than its connection holds; it reads nothing meanwhile.
    for _ in 0..20 {
        steps.tools(500);
    }
    steps.settle();
    steps.exit(0);
    over(&suite, run);
    let last = suite.client().call(json!({"cmd": "status"}))["seq"].clone();
    let last = last.as_u64().expect("seq");
    let lost = account(&mut stalled, from, last);
    assert!(lost > 0 && lost < last, "{lost} of {last}");
}

#[test]
fn a_slow_subscriber_gets_every_event_at_its_own_pace() {
    let (suite, mut steps) = with_steps("");
    let mut slow = suite.client();
    let mut at = slow.subscribe(None)["seq"].as_u64().expect("seq");
    let run = suite.client().spawn_agent("steps", "go");
    // A tenth of what there is in the time in which it comes.
    for _ in 0..10 {
        steps.tools(500);
        assert_eq!(account(&mut slow, at, at + 100), 0);
        at += 100;
    }
    steps.settle();
    steps.exit(0);
    over(&suite, run);
    // The rest while nothing else happens.
    let last = suite.client().call(json!({"cmd": "status"}))["seq"].clone();
    let last = last.as_u64().expect("seq");
    assert!(last > at + 8000, "{last}");
    assert_eq!(account(&mut slow, at, last), 0);
}

#[test]
fn one_that_comes_back_from_its_cursor_misses_nothing() {
    let (suite, mut steps) = with_steps("");
    let run = suite.client().spawn_agent("steps", "go");
    let (mut cursor, mut ended) = (0, false);
    let mut used = 0;
    while !ended {
        let mut client = suite.client();
        client.subscribe(Some(cursor));
        // Three at a time, then the connection is cut.
        for _ in 0..3 {
            let line = client.event(LONG).expect("an event");
            cursor += 1;
            assert_eq!(line["event"]["seq"], cursor, "{line}");
            ended |= line["event"]["kind"] == "ended";
            if ended {
                break;
            }
            if line["event"]["kind"] == "state" && line["event"]["state"] == "working" && used == 0
            {
                steps.tools(10);
                steps.settle();
                steps.exit(0);
                used = 10;
            }
        }
    }
    assert_eq!(used, 10);
    let row = suite.client().call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(row["ended"], true);
}
