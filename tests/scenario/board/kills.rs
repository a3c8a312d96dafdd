//! Daemons are killed around a task: it has one end, and one run for each attempt.

use crate::stage::{create, get, path, wait_task, with_steps};
use colibri_tests::client::Client;
use colibri_tests::daemon::Parts;
use colibri_tests::procs::gone;
use colibri_tests::suite::Suite;
use colibri_tests::wait::LONG;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};

/// Kills all daemons at once and starts the suite again.
#[track_caller]
fn kill_all(suite: &mut Suite) -> Client {
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

/// Exactly one end, one claim and one run.
#[track_caller]
fn once(client: &mut Client, task: u64) -> Value {
    let t = get(client, task);
    assert_eq!(path(&t), ["queued", "claimed", "started", "done"], "{t}");
    assert_eq!(t["claims"].as_array().map(Vec::len), Some(1));
    t
}

#[test]
fn just_after_it_was_accepted() {
    let (mut suite, mut client, mut steps) = with_steps("");
    let task = create(&mut client, json!({"title": "t"}));
    let mut client = kill_all(&mut suite);
    wait_task(&mut client, task, "started");
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, task, "done");
    once(&mut client, task);
    assert_eq!((steps.started(), steps.prompts()), (1, 1));
}

#[test]
fn while_it_is_worked_on_and_when_the_work_ends_meanwhile() {
    let (mut suite, mut client, mut steps) = with_steps("");
    let task = create(&mut client, json!({"title": "t"}));
    wait_task(&mut client, task, "started");
    let mut client = kill_all(&mut suite);
    assert_eq!(get(&mut client, task)["status"], "started");
    steps.tools(3);
    steps.settle();
    // It ends while nobody is there to see it.
    let parts = Parts::below(suite.pid()).expect("three daemons");
    for pid in parts.all() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    suite.wait_end();
    steps.exit(0);
    suite.launch();
    let mut client = suite.client();
    client.subscribe(Some(0));
    wait_task(&mut client, task, "done");
    assert_eq!(once(&mut client, task)["summary"], "done");
    assert_eq!((steps.started(), steps.prompts()), (1, 1));
}

#[test]
fn when_the_suite_is_stopped_the_task_goes_back_and_is_done_later() {
    let (mut suite, mut client, mut steps) = with_steps("");
    let task = create(&mut client, json!({"title": "t"}));
    wait_task(&mut client, task, "started");
    suite.stop();
    suite.launch();
    let mut client = suite.client();
    client.subscribe(Some(0));
    wait_task(&mut client, task, "queued");
    wait_task(&mut client, task, "queued");
    wait_task(&mut client, task, "started");
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, task, "done");
    let t = get(&mut client, task);
    let twice = [
        "queued", "claimed", "started", "queued", "claimed", "started", "done",
    ];
    assert_eq!(path(&t), twice);
    assert_eq!(t["tries"], 0, "that was no failure of its own");
    assert_eq!(t["claims"][0]["outcome"], "returned");
}
