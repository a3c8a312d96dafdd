//! The lives of tasks that are worked on.

use crate::stage::{create, get, path, wait_task, with_steps};
use colibri_tests::agents::{hostile, recorded};
use colibri_tests::pi::fixtures;
use colibri_tests::procs::held;
use colibri_tests::suite::{Scratch, Setup, Suite};
use serde_json::json;

#[test]
fn a_task_finds_its_agent_and_ends_with_the_answer() {
    let (_suite, mut client, mut steps) = with_steps("");
    let task = create(
        &mut client,
        json!({"title": "Say it", "description": "in one word", "capabilities": ["rust"]}),
    );
    let claimed = wait_task(&mut client, task, "claimed");
    assert_eq!(claimed["agent"], "steps");
    let run = claimed["run"].as_u64().expect("a run");
    wait_task(&mut client, task, "started");
    let shown = client.call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(shown["prompt"], "Say it\n\nin one word");
    assert_eq!(shown["task"], json!(task));
    steps.settle();
    steps.exit(0);
    let done = wait_task(&mut client, task, "done");
    assert_eq!(done["summary"], "done");
    assert_eq!(done["run"], json!(run));
    client.wait_ended(run);

    let t = get(&mut client, task);
    assert_eq!(path(&t), ["queued", "claimed", "started", "done"]);
    let by: Vec<_> = t["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| &h["by"])
        .collect();
    assert_eq!(by, ["operator", "suite", "run", "run"]);
    assert_eq!(t["exit"], json!({"how": "code", "value": 0}));
    assert_eq!(t["usage"]["output"], 1);
    assert_eq!(t["claims"][0]["outcome"], "done");
    assert_eq!(t["why"], json!([]));

    let listed = client.call(json!({"cmd": "list-tasks", "status": "done", "agent_id": "steps"}));
    assert_eq!(listed["tasks"][0]["id"], json!(task));
    let none = json!({"cmd": "list-tasks", "status": "done", "capability": "go"});
    assert_eq!(client.call(none)["tasks"], json!([]));
    assert_eq!(client.call(json!({"cmd": "stats"}))["tasks"]["done"], 1);
    assert_eq!(client.call(json!({"cmd": "status"}))["tasks"]["done"], 1);
    let again = json!({"cmd": "cancel-task", "task_id": task});
    assert_eq!(client.refused(again), "conflict");
    assert_eq!(
        client.refused(json!({"cmd": "retry-task", "task_id": task})),
        "conflict"
    );
}

#[test]
fn a_failure_is_tried_again_as_often_as_the_task_says() {
    let (_suite, mut client, mut steps) = with_steps("[board]\nretry_delay = 0\n");
    let fields = json!({"title": "t", "attempts": 2, "retry_on": ["agent"]});
    let task = create(&mut client, fields);
    for last in [false, true] {
        wait_task(&mut client, task, "started");
        steps.exit(3);
        let next = wait_task(&mut client, task, if last { "failed" } else { "waiting" });
        assert_eq!(next["reason"], "exit 3");
    }
    let t = get(&mut client, task);
    assert_eq!((&t["class"], &t["tries"]), (&json!("agent"), &json!(2)));
    assert_eq!(t["claims"].as_array().map(Vec::len), Some(2));

    // By default what the agent itself got wrong is not repeated.
    let once = create(&mut client, json!({"title": "t"}));
    wait_task(&mut client, once, "started");
    steps.exit(3);
    wait_task(&mut client, once, "failed");
    // A person may want it all the same.
    client.call(json!({"cmd": "retry-task", "task_id": once}));
    wait_task(&mut client, once, "started");
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, once, "done");
}

#[test]
fn a_cancelled_task_is_cancelled_when_nothing_of_its_run_is_left() {
    let scratch = Scratch::new();
    let (mut profile, traces) = hostile(&scratch, "bad", "rpc", &["ignore-term"]);
    profile.more = "stop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile],
        more: "[agent.bad]\n".into(),
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let task = create(&mut client, json!({"title": "go"}));
    wait_task(&mut client, task, "started");
    let cancel = json!({"cmd": "cancel-task", "task_id": task, "reason": "no need"});
    let reply = client.call(cancel);
    assert_eq!(
        (&reply["status"], &reply["stopping"]),
        (&json!("started"), &json!(true))
    );
    let ended = wait_task(&mut client, task, "cancelled");
    assert_eq!(ended["reason"], "no need");
    assert!(!held(&traces.lock), "survivors");
    let t = get(&mut client, task);
    assert_eq!(path(&t).last(), Some(&"cancelled"));
    let asked = &t["history"][3];
    assert_eq!(asked["reason"], "cancellation asked for: no need");
    assert_eq!(asked["by"], "operator");

    // Stopping its run is the same to a task.
    let task = create(&mut client, json!({"title": "go"}));
    wait_task(&mut client, task, "started");
    client.call(json!({"cmd": "stop-agent", "task_id": task}));
    let ended = wait_task(&mut client, task, "cancelled");
    assert_eq!(ended["reason"], "its run was stopped");

    // And a deadline ends the run before the task fails.
    let soon = colibrid::time::rfc3339(libcolibri::sys::wall_ms() + 1500);
    let task = create(&mut client, json!({"title": "go", "deadline": soon}));
    let failed = wait_task(&mut client, task, "failed");
    assert_eq!(failed["reason"], "the deadline passed");
    assert!(!held(&traces.lock), "survivors");
    assert_eq!(get(&mut client, task)["class"], "deadline");
}

#[test]
fn an_agent_is_answered_by_its_task() {
    let trace = fixtures().join("pi/1.5.2/rpc_ask_answer.jsonl");
    let scratch = Scratch::new();
    let setup = Setup {
        profiles: vec![recorded(&scratch, "asks", "rpc", &trace, &["--speed", "0"])],
        more: "[agent.asks]\n".into(),
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let task = create(&mut client, json!({"title": "go"}));
    let run = wait_task(&mut client, task, "claimed")["run"]
        .as_u64()
        .expect("a run");
    let asked = client.wait_event(run, "the question", |e| e["kind"] == "asked");
    assert_eq!(asked["task"], json!(task));
    let (request, method) = (asked["request"].clone(), asked["method"].as_str());
    let value = match method {
        Some("select") => asked["options"][0].as_str().expect("an option").to_owned(),
        _ => "yes".to_owned(),
    };
    let answer = json!({"cmd": "answer", "task_id": task, "request": request, "value": value});
    assert_eq!(client.call(answer)["run"], json!(run));
    wait_task(&mut client, task, "done");
    let late = json!({"cmd": "steer", "task_id": task, "message": "more"});
    assert_eq!(client.refused(late), "conflict");
    let nobody = json!({"cmd": "steer", "task_id": 99, "message": "more"});
    assert_eq!(client.refused(nobody), "not-found");
}
