//! Daemons are killed around planned times: no occurrence is lost, none comes twice.

use crate::stage::{add, ledger, ms, suite, wait_occurrence, watcher};
use colibri_tests::daemon::Parts;
use colibri_tests::procs::gone;
use colibri_tests::wait::LONG;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::json;
use std::collections::BTreeSet;

#[test]
fn between_due_and_started() {
    let (mut suite, mut client) = suite("");
    let fields = json!({
        "every": 1, "overlap": "allow", "catch_up": "all", "catch_up_max": 1000,
    });
    add(&mut client, "k", fields);
    for round in 0..6 {
        // The moment after something was told of is the moment before something else is stored.
        wait_occurrence(&mut client, "k", "fired");
        let parts = Parts::below(suite.pid()).expect("three daemons");
        let victim = match round % 3 {
            0 => parts.schedd,
            1 => parts.colibrid,
            _ => parts.spawnd,
        };
        kill(Pid::from_raw(victim), Signal::SIGKILL).expect("killed");
        suite.wait_end();
        for pid in parts.all() {
            assert!(gone(pid, LONG), "{pid} lives");
        }
        suite.launch();
        let seen = ledger(&mut suite.client(), "k").len();
        client = watcher(&suite);
        for _ in 0..=seen {
            wait_occurrence(&mut client, "k", "fired");
        }
    }
    let rows = ledger(&mut client, "k");
    let planned: Vec<u64> = rows.iter().rev().map(|r| ms(&r["planned"])).collect();
    for pair in planned.windows(2) {
        assert_eq!(pair[1] - pair[0], 1000, "{planned:?}");
    }
    assert!(rows.iter().all(|r| r["status"] == "fired"), "{rows:?}");
    let tasks: BTreeSet<_> = rows.iter().map(|r| r["task"].as_u64()).collect();
    assert_eq!(tasks.len(), rows.len());
    let listed = client.call(json!({"cmd": "list-tasks", "limit": 1000}));
    let listed = listed["tasks"].as_array().expect("tasks").len();
    // One may have come between the two questions.
    assert!(
        listed == rows.len() || listed == rows.len() + 1,
        "{listed} {}",
        rows.len()
    );
}
