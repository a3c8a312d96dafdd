//! No memory for more connections: colibrid holds what it may hold and no more, whoever takes most of
//! it loses some, and nobody else notices.

use colibri_tests::client::Client;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::tail::{log_until_ended, once};
use colibri_tests::wait::LONG;
use serde_json::json;
use std::process::Command;

/// The least that can be set.
const MEMORY: u64 = 16 * 1024 * 1024;
/// What each of the greedy sends: most of a request, and no end of it.
const HALF: usize = 1024 * 1024 - 1024;

fn tight() -> (Suite, Steps) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        limits: format!("clients = 4096\nclients_per_user = 4096\nclient_memory = {MEMORY}"),
        ..Setup::default()
    };
    (Suite::start_in(scratch, setup), steps)
}

/// Resident memory of a process, in bytes.
fn resident(pid: i32) -> u64 {
    let mut ps = Command::new("ps");
    let out = ps.args(["-o", "rss=", "-p", &pid.to_string()]).output();
    let text = String::from_utf8(out.expect("ps").stdout).expect("text");
    text.trim().parse::<u64>().expect("a number") * 1024
}

#[test]
fn half_requests_of_many_are_bounded_together() {
    let (suite, mut steps) = tight();
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    let before = resident(suite.pid());
    let half = vec![b'x'; HALF];
    let mut greedy: Vec<Client> = Vec::new();
    for _ in 0..100 {
        let mut one = suite.client();
        // It may be dropped before it has sent all.
        let _ = one.send_raw(&half);
        greedy.push(one);
        let more = resident(suite.pid()).saturating_sub(before);
        assert!(more < 4 * MEMORY, "{more} bytes more");
    }
    // Most of them are gone; the others are told that it was no request.
    let ended = greedy.iter_mut().filter_map(|c| {
        let _ = c.send_raw(b"\n");
        match c.line(LONG) {
            Ok(Some(_)) => None,
            _ => Some(()),
        }
    });
    let ended = ended.count();
    assert!(
        ended >= 100 - MEMORY as usize / HALF,
        "{ended} were dropped"
    );
    // Nobody else has noticed.
    client.call(json!({"cmd": "ping"}));
    steps.tools(3);
    client.wait_event(run, "the last tool", |e| {
        e["kind"] == "tool-end" && e["id"] == "call-2"
    });
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut suite.client(), run);
    once(&log, run, steps.used());
    assert!(suite.log().contains("limits.client_memory is reached"));
}
