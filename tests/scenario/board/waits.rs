//! Tasks that wait, and why.

use crate::stage::{create, get, path, wait_task, with_steps};
use serde_json::json;

#[test]
fn for_an_agent_that_is_busy_by_priority_and_age() {
    let (_suite, mut client, mut steps) = with_steps("");
    let first = create(&mut client, json!({"title": "first"}));
    wait_task(&mut client, first, "started");
    let low = create(&mut client, json!({"title": "low", "priority": -5}));
    let old = create(&mut client, json!({"title": "old"}));
    let new = create(&mut client, json!({"title": "new"}));
    let high = create(&mut client, json!({"title": "high", "priority": 7}));
    let t = get(&mut client, low);
    assert_eq!(t["why"], json!(["agent steps is at its limit (1 of 1)"]));
    let mut before = first;
    for task in [high, old, new, low] {
        assert_eq!(get(&mut client, task)["status"], "queued");
        steps.settle();
        steps.exit(0);
        wait_task(&mut client, before, "done");
        wait_task(&mut client, task, "started");
        before = task;
    }
    assert_eq!(steps.started(), 5);
}

#[test]
fn for_an_agent_that_there_is_not() {
    let (_suite, mut client, _steps) =
        with_steps("[agent.far]\nusers = [\"uid:7\"]\ncapabilities = [\"gpu\"]\n");
    let task = create(&mut client, json!({"title": "t", "capabilities": ["go"]}));
    assert_eq!(get(&mut client, task)["why"], json!(["no agent with go"]));
    let task = create(&mut client, json!({"title": "t", "capabilities": ["gpu"]}));
    let t = get(&mut client, task);
    assert_eq!(t["fits"], json!(["far"]));
    let why = "agent far, which is external, has not claimed it";
    assert_eq!(t["why"], json!([why]));
    let nobody = json!({"cmd": "create-task", "title": "t", "agent_id": "nobody"});
    assert_eq!(client.refused(nobody), "not-found");
    let reply = client.call(json!({"cmd": "cancel-task", "task_id": task}));
    assert_eq!(reply["status"], "cancelled");
}

#[test]
fn for_other_tasks() {
    let (_suite, mut client, mut steps) = with_steps("");
    let first = create(&mut client, json!({"title": "first"}));
    let second = create(&mut client, json!({"title": "second", "after": [first]}));
    let third = create(
        &mut client,
        json!({"title": "third", "after": [second, first]}),
    );
    let own = json!({"cmd": "create-task", "title": "own", "after": [third + 1]});
    assert_eq!(
        client.refused(own),
        "not-found",
        "nothing waits for what is not there yet"
    );
    let t = get(&mut client, third);
    let for_second = format!("waits for task {second}, which is waiting");
    assert_eq!(t["why"][1], json!(for_second));
    let retried = json!({"cmd": "retry-task", "task_id": third});
    assert_eq!(client.refused(retried), "conflict");

    wait_task(&mut client, first, "started");
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, first, "done");
    wait_task(&mut client, second, "started");
    assert_eq!(get(&mut client, third)["after"], json!([second]));
    steps.exit(3);
    let failed = wait_task(&mut client, third, "failed");
    assert_eq!(
        failed["reason"],
        json!(format!("task {second} was not done"))
    );
    assert_eq!(get(&mut client, third)["class"], "dependency");
    let hopeless = json!({"cmd": "create-task", "title": "t", "after": [second]});
    assert_eq!(client.refused(hopeless), "conflict");
}

#[test]
fn for_a_time() {
    let (_suite, mut client, _steps) = with_steps("");
    let soon = colibrid::time::rfc3339(libcolibri::sys::wall_ms() + 1000);
    let task = create(&mut client, json!({"title": "t", "not_before": soon}));
    let far = json!({"title": "t", "not_before": "2999-01-01T00:00:00Z"});
    let later = create(&mut client, far);
    let why = json!(["not before 2999-01-01T00:00:00.000Z"]);
    assert_eq!(get(&mut client, later)["why"], why);
    wait_task(&mut client, task, "started");
    let t = get(&mut client, task);
    assert_eq!(path(&t), ["waiting", "queued", "claimed", "started"]);
    // A person need not wait.
    client.call(json!({"cmd": "retry-task", "task_id": later}));
    assert_eq!(get(&mut client, later)["status"], "queued");
}

#[test]
fn the_same_key_is_the_same_task() {
    let (mut suite, mut client, _steps) = with_steps("");
    let request = json!({"cmd": "create-task", "title": "t", "key": "k-1"});
    let first = client.call(request.clone());
    assert_eq!(first["existing"], false);
    let again = client.call(request.clone());
    assert_eq!(
        (&again["id"], &again["existing"]),
        (&first["id"], &json!(true))
    );
    suite.stop();
    suite.launch();
    let mut client = suite.client();
    assert_eq!(client.call(request)["id"], first["id"]);
    let other = client.call(json!({"cmd": "create-task", "title": "t", "key": "k-2"}));
    assert_ne!(other["id"], first["id"]);
}

#[test]
fn for_the_hours_of_an_agent() {
    // One minute of the day, half a day away.
    let now = libcolibri::sys::wall_ms() / 60_000 % (24 * 60);
    let clock = |m: u64| format!("{:02}:{:02}", m / 60 % 24, m % 60);
    let (from, to) = (clock(now + 720), clock(now + 721));
    let hours = format!("hours = \"{from}-{to}\"\n");
    let more = format!("{hours}[agent.far]\nusers = [\"uid:7\"]\n{hours}");
    let (_suite, mut client, _steps) = with_steps(&more);
    let task = create(&mut client, json!({"title": "t", "capabilities": ["rust"]}));
    let t = get(&mut client, task);
    let why = format!("agent steps takes tasks from {from} to {to} UTC");
    assert_eq!((&t["status"], &t["why"]), (&json!("queued"), &json!([why])));
    let claim = json!({"cmd": "claim-task", "agent_id": "far"});
    assert_eq!(client.refused(claim), "conflict");
}
