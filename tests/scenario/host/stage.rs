//! What the tests of the host's authorities share.

use colibri_tests::client::Client;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use serde_json::{json, Value};
use std::path::PathBuf;
use std::time::Instant;

/// A place for a suite whose config names a watchdog and hostd.
pub struct Ground {
    scratch: Scratch,
    pub watchdog: PathBuf,
    pub hostd: PathBuf,
}

impl Ground {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let (watchdog, hostd) = (scratch.path().join("w"), scratch.path().join("h"));
        Self {
            scratch,
            watchdog,
            hostd,
        }
    }

    /// The suite with two agents of one profile, `steps` and `other`; `more` goes into the table of
    /// the host.
    pub fn start(self, more: &str) -> (Suite, Client, Steps) {
        let (profile, steps) = Steps::new(&self.scratch, "steps");
        let (w, h) = (self.watchdog.display(), self.hostd.display());
        let host = format!("[host]\nwatchdog = \"{w}\"\nhostd = \"{h}\"\nfresh = 1\n{more}\n");
        let agents = "[agent.steps]\n[agent.other]\nprofile = \"steps\"\n";
        let setup = Setup {
            profiles: vec![profile],
            more: format!("{host}{agents}"),
            ..Setup::default()
        };
        let suite = Suite::start_in(self.scratch, setup);
        let mut client = suite.client();
        client.subscribe(None);
        (suite, client, steps)
    }
}

/// Adds a task and returns its number.
#[track_caller]
pub fn create(client: &mut Client) -> u64 {
    let data = client.call(json!({"cmd": "create-task", "title": "t"}));
    data["id"].as_u64().expect("a number")
}

/// Everything about a task.
#[track_caller]
pub fn get(client: &mut Client, task: u64) -> Value {
    client.call(json!({"cmd": "get-task", "task_id": task}))
}

/// Reads events until one fits.
#[track_caller]
pub fn wait(client: &mut Client, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + LONG;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let line = client.event(left);
        let mut line = line.unwrap_or_else(|e| panic!("waited for {what}: {e}"));
        let event = line["event"].take();
        if fits(&event) {
            return event;
        }
    }
}

/// Reads events until the task stands there.
#[track_caller]
pub fn wait_task(client: &mut Client, task: u64, status: &str) -> Value {
    let what = format!("task {task} to be {status}");
    wait(client, &what, |e| {
        e["kind"] == "task" && e["task"] == json!(task) && e["status"] == status
    })
}

/// Reads events until the host's word has this effect.
#[track_caller]
pub fn wait_host(client: &mut Client, obeys: &str) -> Value {
    wait(client, obeys, |e| {
        e["kind"] == "host" && e["obeys"] == obeys
    })
}

/// Asks for the status until the watchdog's new word is known: a word counts for a second.
#[track_caller]
pub fn until(client: &mut Client, obeys: &str) {
    must(obeys, LONG, || {
        (watchdog(client)["obeys"] == obeys).then_some(())
    });
}

/// What `status` says of the watchdog.
#[track_caller]
pub fn watchdog(client: &mut Client) -> Value {
    client.call(json!({"cmd": "status"}))["watchdog"].take()
}
