//! Agents as teammates: those that Colibri runs, and those that claim.

use crate::stage::{create, get, path, wait_task, with_steps};
use colibri_tests::client::Client;
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{is_root, Scratch, Setup, Suite};
use serde_json::{json, Value};

/// A suite whose only fitting agent is external; whoever runs the tests is an operator and may
/// speak for it.
fn with_far() -> (Suite, Client, Steps) {
    with_steps("[agent.far]\nusers = [\"uid:7\"]\ncapabilities = [\"gpu\"]\nruns = 2\n")
}

fn gpu(client: &mut Client) -> u64 {
    create(
        client,
        json!({"title": "t", "description": "d", "capabilities": ["gpu"]}),
    )
}

fn claim(client: &mut Client, lease: u32) -> Value {
    client.call(json!({"cmd": "claim-task", "agent_id": "far", "lease": lease}))
}

#[test]
fn an_external_agent_claims_reports_and_is_done() {
    let (_suite, mut client, _steps) = with_far();
    let nothing = json!({"cmd": "claim-task", "agent_id": "far"});
    assert_eq!(client.refused(nothing), "not-found");
    let task = gpu(&mut client);
    let c = claim(&mut client, 600);
    assert_eq!(
        (&c["id"], &c["title"], &c["description"]),
        (&json!(task), &json!("t"), &json!("d"))
    );
    let again = json!({"cmd": "claim-task", "agent_id": "far", "task_id": task});
    assert_eq!(client.refused(again), "conflict", "exactly one wins");
    let report = |status: &str| json!({"cmd": "transition-task", "task_id": task, "claim": c["claim"], "status": status});
    client.call(report("started"));
    assert_eq!(client.refused(report("started")), "conflict");
    let beat = json!({"cmd": "heartbeat", "task_id": task, "claim": c["claim"]});
    let beat = client.call(beat);
    assert!(beat["expires_at"].as_str() >= c["expires_at"].as_str());
    let mut done = report("done");
    done["summary"] = json!("rendered");
    assert_eq!(client.call(done)["status"], "done");
    let t = get(&mut client, task);
    assert_eq!(t["summary"], "rendered");
    assert_eq!(path(&t), ["queued", "claimed", "started", "done"]);
    let agents = client.call(json!({"cmd": "list-agents"}));
    let far = &agents["agents"][0];
    assert_eq!(
        (&far["name"], &far["kind"], &far["done"]),
        (&json!("far"), &json!("external"), &json!(1))
    );
    assert!(far["median_seconds"].is_number() && far["last_seen"].is_string());
}

#[test]
fn a_lease_that_ran_out_fences_its_holder() {
    let (_suite, mut client, _steps) = with_far();
    let task = gpu(&mut client);
    let first = claim(&mut client, 1);
    let lost = wait_task(&mut client, task, "waiting");
    assert_eq!(lost["reason"], "its holder fell silent: the lease ran out");
    client.call(json!({"cmd": "retry-task", "task_id": task}));
    let second = claim(&mut client, 600);
    assert_ne!(first["claim"], second["claim"]);
    // The first holder wakes up and knows nothing of it.
    for request in [
        json!({"cmd": "heartbeat", "task_id": task, "claim": first["claim"]}),
        json!({"cmd": "transition-task", "task_id": task, "claim": first["claim"], "status": "done"}),
    ] {
        assert_eq!(client.refused(request), "conflict");
    }
    let t = get(&mut client, task);
    assert_eq!(t["status"], "claimed");
    let history = t["history"].as_array().expect("a history");
    let late = history.iter().filter(|h| h["after"].is_null());
    let why: Vec<&str> = late.filter_map(|h| h["reason"].as_str()).collect();
    let claim = &first["claim"];
    assert_eq!(
        why,
        [
            format!("late heartbeat refused: claim {claim} is over"),
            format!("late done refused: claim {claim} is over")
        ]
    );
    // Giving it back is no failure.
    let back = json!({"cmd": "transition-task", "task_id": task, "claim": second["claim"], "status": "queued"});
    assert_eq!(client.call(back)["status"], "queued");
    assert_eq!(get(&mut client, task)["tries"], 0);
}

#[test]
fn a_cancellation_voids_the_claim() {
    let (_suite, mut client, _steps) = with_far();
    let task = gpu(&mut client);
    let c = claim(&mut client, 600);
    client.call(json!({"cmd": "cancel-task", "task_id": task}));
    let beat = json!({"cmd": "heartbeat", "task_id": task, "claim": c["claim"]});
    assert_eq!(client.refused(beat), "conflict");
    assert_eq!(get(&mut client, task)["status"], "cancelled");
}

#[test]
fn limits_hold_for_those_who_claim() {
    let (_suite, mut client, _steps) = with_far();
    for _ in 0..3 {
        gpu(&mut client);
    }
    claim(&mut client, 600);
    claim(&mut client, 600);
    let third = json!({"cmd": "claim-task", "agent_id": "far"});
    assert_eq!(client.refused(third), "too-many");
    let local = json!({"cmd": "claim-task", "agent_id": "steps"});
    assert_eq!(client.refused(local), "conflict");
}

#[test]
fn an_agent_is_spoken_for_by_its_own_users() {
    if !is_root() {
        skip("only root can connect as somebody else");
        return;
    }
    let scratch = Scratch::new();
    let more = "[agent.far]\nusers = [\"uid:64311\"]\n[agent.near]\nusers = [\"uid:64312\"]\n";
    let setup = Setup {
        roles: Some("agent = [\"uid:64311\", \"uid:64312\"]".into()),
        more: more.into(),
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let task = create(&mut suite.client(), json!({"title": "t"}));
    let mut far = Client::connect_as("64311:64399", &suite.socket());
    let mut near = Client::connect_as("64312:64399", &suite.socket());
    let claim = json!({"cmd": "claim-task", "agent_id": "far"});
    assert_eq!(near.refused(claim.clone()), "denied");
    let c = far.call(claim);
    let beat = json!({"cmd": "heartbeat", "task_id": task, "claim": c["claim"]});
    assert_eq!(near.refused(beat.clone()), "denied");
    far.call(beat);
    let t = get(&mut far, task);
    assert_eq!(t["history"][1]["by_uid"], 64311);
    assert_eq!(t["history"][1]["by"], "agent");
}

#[test]
fn a_paused_agent_gets_nothing_until_it_is_resumed() {
    let (mut suite, mut client, mut steps) = with_steps("");
    client.call(json!({"cmd": "pause-agent", "agent_id": "steps"}));
    let task = create(&mut client, json!({"title": "t"}));
    let why = json!(["agent steps is paused"]);
    assert_eq!(get(&mut client, task)["why"], why);
    suite.stop();
    suite.launch();
    let mut client = suite.client();
    client.subscribe(None);
    assert_eq!(get(&mut client, task)["why"], why, "over a restart too");
    let agents = client.call(json!({"cmd": "list-agents"}));
    assert_eq!(agents["agents"][0]["paused"], true);
    client.call(json!({"cmd": "resume-agent", "agent_id": "steps"}));
    let run = wait_task(&mut client, task, "started")["run"].as_u64();
    client.wait_state(run.expect("a run"), "working");
    let agents = client.call(json!({"cmd": "list-agents"}));
    assert_eq!(agents["agents"][0]["state"], "working");
    assert_eq!(agents["agents"][0]["holds"], 1);
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, task, "done");
    assert_eq!(
        client.refused(json!({"cmd": "pause-agent", "agent_id": "x"})),
        "not-found"
    );
}
