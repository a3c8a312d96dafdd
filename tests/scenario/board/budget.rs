//! What a task may cost: it is stopped when that is spent, and not tried again.

use crate::stage::{create, get, kill_all, path, wait_task, with_steps};
use colibri_tests::client::Client;
use colibri_tests::wait::{must, LONG};
use serde_json::{json, Value};

/// Waits until a run has taken so many tokens by the suite's word.
fn metered(client: &mut Client, run: &Value, tokens: u64) {
    must("the usage", LONG, || {
        let run = client.call(json!({"cmd": "get-run", "run": run}));
        (run["pane"]["usage"]["input"] == json!(tokens)).then_some(())
    });
}

#[test]
fn a_run_is_stopped_when_its_budget_is_spent() {
    for (budget, spent) in [
        (json!({"tokens": 100}), json!({"usd": 0.25, "tokens": 100})),
        (json!({"usd": 0.25}), json!({"usd": 0.25, "tokens": 100})),
    ] {
        let (_suite, mut client, mut steps) = with_steps("");
        let task = create(&mut client, json!({"title": "t", "budget": budget}));
        let started = wait_task(&mut client, task, "started");
        steps.answer(99, 0.125);
        metered(&mut client, &started["run"], 99);
        assert_eq!(get(&mut client, task)["status"], "started");
        steps.answer(1, 0.125);
        let failed = wait_task(&mut client, task, "failed");
        assert_eq!(failed["reason"], "the budget is spent");
        let t = get(&mut client, task);
        assert_eq!((&t["class"], &t["tries"]), (&json!("budget"), &json!(1)));
        assert_eq!((&t["budget"], &t["spent"]), (&budget, &spent));
        let run = client.call(json!({"cmd": "get-run", "run": started["run"]}));
        assert_eq!(run["ended"], true);
        assert!(run["proof"].is_string(), "{run}");
    }
}

#[test]
fn all_attempts_share_it() {
    let (mut suite, mut client, mut steps) = with_steps("[board]\nretry_delay = 0\n");
    let task = create(
        &mut client,
        json!({"title": "t", "budget": {"tokens": 100}, "retry_on": ["agent"]}),
    );
    wait_task(&mut client, task, "started");
    steps.answer(60, 0.0);
    steps.exit(3);
    let again = wait_task(&mut client, task, "started");
    assert_eq!(get(&mut client, task)["spent"]["tokens"], 60);
    steps.answer(30, 0.0);
    metered(&mut client, &again["run"], 30);
    // Neither does a restart forget it.
    let mut client = kill_all(&mut suite);
    steps.answer(10, 0.0);
    wait_task(&mut client, task, "failed");
    let t = get(&mut client, task);
    assert_eq!(t["class"], "budget");
    assert_eq!(t["spent"]["tokens"], 100);
    // A person grants it once more.
    client.call(json!({"cmd": "retry-task", "task_id": task}));
    wait_task(&mut client, task, "started");
    assert_eq!(get(&mut client, task)["spent"]["tokens"], 0);
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, task, "done");
}

/// A task that an external agent has claimed, with a budget of 10 tokens; how it ends by this report.
fn reported(status: &str, tokens: u64) -> Value {
    let (_suite, mut client, _steps) =
        with_steps("[board]\nretry_delay = 0\n[agent.far]\nusers = [\"uid:7\"]\n");
    let task = create(
        &mut client,
        json!({"title": "t", "agent_id": "far", "budget": {"tokens": 10}, "retry_on": ["agent"]}),
    );
    let claim = client.call(json!({"cmd": "claim-task", "agent_id": "far"}));
    client.call(
        json!({"cmd": "transition-task", "task_id": task, "claim": claim["claim"],
        "status": status, "reason": "no luck", "usage": {"output": tokens}}),
    );
    get(&mut client, task)
}

#[test]
fn a_failure_that_took_the_last_of_it_is_final() {
    let t = reported("failed", 9);
    assert_ne!(t["status"], "failed", "there is something left: {t}");
    let t = reported("failed", 10);
    assert_eq!(
        (&t["status"], &t["class"]),
        (&json!("failed"), &json!("budget"))
    );
    assert_eq!(t["reason"], "the budget is spent: no luck");
    assert_eq!(path(&t), ["queued", "claimed", "failed"]);
}

#[test]
fn a_result_counts_whatever_it_cost() {
    let t = reported("done", 1000);
    assert_eq!(
        (&t["status"], &t["spent"]["tokens"]),
        (&json!("done"), &json!(1000))
    );
}

#[test]
fn an_external_agent_says_what_it_took() {
    let (_suite, mut client, _steps) =
        with_steps("[agent.far]\nusers = [\"uid:7\"]\ncapabilities = [\"gpu\"]\n");
    let task = create(
        &mut client,
        json!({"title": "t", "capabilities": ["gpu"], "budget": {"usd": 2, "tokens": 500}}),
    );
    let claim = |client: &mut Client| client.call(json!({"cmd": "claim-task", "agent_id": "far"}));
    let report = |claim: &Value, status: &str, usage: Value| {
        json!({"cmd": "transition-task", "task_id": task, "claim": claim["claim"],
            "status": status, "usage": usage})
    };
    let first = claim(&mut client);
    assert_eq!(first["budget"], json!({"usd": 2.0, "tokens": 500}));
    let usage = json!({"input": 300, "output": 100, "cost_usd": 0.5});
    client.call(report(&first, "queued", usage));
    let second = claim(&mut client);
    assert_eq!(second["spent"], json!({"usd": 0.5, "tokens": 400}));
    let usage = json!({"cache_read": 60, "cache_write": 40, "cost_usd": 0.25});
    assert_eq!(
        client.call(report(&second, "queued", usage))["status"],
        "failed"
    );
    let t = get(&mut client, task);
    assert_eq!(t["class"], "budget");
    assert_eq!(t["usage"]["cache_read"], 60);
    let agents = client.call(json!({"cmd": "list-agents"}));
    assert_eq!(agents["agents"][0]["cost_usd"], 0.75);
}

#[test]
fn intake_can_limit_it() {
    let (_suite, mut client, _steps) = with_steps("");
    let fields = json!({"cmd": "intake-task", "title": "t", "budget": {"tokens": 9}});
    let task = client.call(fields)["id"].as_u64().expect("a number");
    assert_eq!(get(&mut client, task)["budget"], json!({"tokens": 9}));
    for budget in [json!({}), json!({"usd": 0}), json!({"eur": 1}), json!(7)] {
        let fields = json!({"cmd": "intake-task", "title": "t", "budget": budget});
        assert_eq!(client.refused(fields), "bad-request");
    }
}
