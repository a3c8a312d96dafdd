//! No processes left: what cannot be started ends with a reason, what runs goes on and is stopped, and
//! the next one starts when there is room.
//!
//! The limit is a control group of the test's own, for which Linux and root are needed: a limit by user
//! would count other tests' processes and does not bind root.

use colibri_tests::client::Client;
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::tail::{log_until_ended, once};
use colibri_tests::wait::{must, LONG};
use serde_json::{json, Value};
use std::fs;
use std::path::PathBuf;

/// Processes and threads of the suite and its runs together: enough for some runs.
const PROCESSES: u32 = 40;

/// A control group for a number of processes; removed at the end.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Group> {
        let name = format!("colibri-test-{}", std::process::id());
        // The first kind of control groups, then the second.
        let places = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        places.iter().find_map(|place| {
            let dir = PathBuf::from(place).join(&name);
            fs::create_dir(&dir).ok()?;
            let group = Group(dir);
            let limited = fs::write(group.0.join("pids.max"), PROCESSES.to_string());
            limited.is_ok().then_some(group)
        })
    }

    /// Times that a process was refused.
    fn refused(&self) -> u64 {
        let text = fs::read_to_string(self.0.join("pids.events")).unwrap_or_default();
        let max = text.lines().find_map(|l| l.strip_prefix("max "));
        max.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn crowded(group: &Group) -> (Suite, Steps) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let agent = scratch.copy(&program("colibri-scripted"));
    let mut lives = Profile::new("lives", "rpc", vec![agent.display().to_string()]);
    lives.more = "stop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile, lives],
        limits: "runs = 100".into(),
        // Goes on behind the limit that is asked for there.
        ulimit: Some(format!(
            "-n 1024 && echo $$ >{}/cgroup.procs",
            group.0.display()
        )),
        ..Setup::default()
    };
    (Suite::start_in(scratch, setup), steps)
}

/// Waits until a run works or has ended; its row.
fn settled(client: &mut Client, run: u64) -> Value {
    must("a run to work or to end", LONG, || {
        let row = client.call(json!({"cmd": "get-run", "run": run}));
        (row["state"] == "working" || row["ended"] == true).then_some(row)
    })
}

#[test]
fn a_run_that_cannot_be_started_says_why_and_the_others_go_on() {
    let Some(group) = Group::new() else {
        return skip("there is no control group for the number of processes");
    };
    let (mut suite, mut steps) = crowded(&group);
    let mut client = suite.client();
    let first = client.spawn_agent("steps", "go");
    client.subscribe(None);
    let mut lives = Vec::new();
    let failed = loop {
        assert!(lives.len() < 40, "processes do not run out");
        let run = client.spawn_agent("lives", "live");
        let row = settled(&mut client, run);
        if row["ended"] == true {
            break row;
        }
        lives.push(run);
    };
    assert_eq!(failed["state"], "error", "{failed}");
    let reason = failed["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("cannot fork"), "no reason: {failed}");
    assert!(group.refused() > 0, "no process was refused");
    // Nobody else has noticed, and board and kernel agree.
    for run in &lives {
        assert_eq!(settled(&mut client, *run)["state"], "working");
    }
    let audit = client.call(json!({"cmd": "audit"}));
    assert_eq!(audit["disagreements"], json!([]), "{audit}");
    steps.tools(5);
    client.wait_event(first, "the last tool", |e| {
        e["kind"] == "tool-end" && e["id"] == "call-4"
    });
    // A stop needs no process, and makes room.
    for run in &lives {
        client.call(json!({"cmd": "stop-agent", "run": run}));
    }
    must("their ends", LONG, || {
        let status = client.call(json!({"cmd": "status"}));
        (status["runs"]["alive"] == 1).then_some(())
    });
    let run = client.spawn_agent("lives", "live");
    assert_eq!(settled(&mut client, run)["state"], "working");
    client.call(json!({"cmd": "stop-agent", "run": run}));
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut suite.client(), first);
    once(&log, first, steps.used());
    suite.stop();
}
