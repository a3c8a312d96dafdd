//! What the tests of the board share.

use colibri_tests::client::Client;
use colibri_tests::daemon::Parts;
use colibri_tests::procs::gone;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::wait::LONG;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::time::Instant;

/// A suite whose agent `steps` does what the test says; `more` is the end of its config, after the
/// agent's table.
pub fn with_steps(more: &str) -> (Suite, Client, Steps) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        more: format!("[agent.steps]\ncapabilities = [\"rust\"]\n{more}"),
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    (suite, client, steps)
}

/// Kills all daemons at once and starts the suite again.
#[track_caller]
pub fn kill_all(suite: &mut Suite) -> Client {
    let parts = Parts::below(suite.pid()).expect("three daemons");
    for pid in parts.all() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    suite.wait_end();
    for pid in parts.all() {
        assert!(gone(pid, LONG), "{pid} lives");
    }
    suite.launch();
    let mut client = suite.client();
    client.subscribe(Some(0));
    client
}

/// Adds a task and returns its number.
#[track_caller]
pub fn create(client: &mut Client, mut fields: Value) -> u64 {
    fields["cmd"] = json!("create-task");
    let data = client.call(fields);
    data["id"]
        .as_u64()
        .unwrap_or_else(|| panic!("no id: {data}"))
}

/// Everything about a task.
#[track_caller]
pub fn get(client: &mut Client, task: u64) -> Value {
    client.call(json!({"cmd": "get-task", "task_id": task}))
}

/// Reads events until the task stands there; the event.
#[track_caller]
pub fn wait_task(client: &mut Client, task: u64, status: &str) -> Value {
    let end = Instant::now() + LONG;
    let mut last = Value::Null;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut line = client.event(left).unwrap_or_else(|e| {
            panic!("waited for task {task} to be {status}: {e}; the last event was {last}")
        });
        assert!(line.get("gap").is_none(), "{line}");
        let event = line["event"].take();
        if event["kind"] == "task" && event["task"] == json!(task) && event["status"] == status {
            return event;
        }
        last = event;
    }
}

/// The statuses that a task went through, as its history has them.
pub fn path(task: &Value) -> Vec<&str> {
    let history = task["history"].as_array().expect("a history");
    history.iter().filter_map(|h| h["after"].as_str()).collect()
}
