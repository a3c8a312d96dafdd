//! Agents that are added and removed while the suite runs.

use crate::stage::{create, get, kill_all, wait_task, with_steps};
use colibri_tests::client::Client;
use nix::unistd::geteuid;
use serde_json::{json, Value};

fn listed(client: &mut Client) -> Vec<Value> {
    let agents = client.call(json!({"cmd": "list-agents"}));
    agents["agents"].as_array().expect("agents").clone()
}

fn remove(agent: &str) -> Value {
    json!({"cmd": "remove-agent", "agent_id": agent})
}

#[test]
fn one_that_is_run_takes_what_waited_for_it_and_stays() {
    let (mut suite, mut client, mut steps) = with_steps("");
    let task = create(&mut client, json!({"title": "t", "capabilities": ["go"]}));
    assert_eq!(get(&mut client, task)["why"], json!(["no agent with go"]));
    client.call(
        json!({"cmd": "add-agent", "agent_id": "gopher", "profile": "steps",
        "capabilities": ["go"], "runs": 2}),
    );
    wait_task(&mut client, task, "started");
    assert_eq!(
        client.refused(remove("gopher")),
        "conflict",
        "it has a task"
    );
    let mut client = kill_all(&mut suite);
    let agents = listed(&mut client);
    let names: Vec<_> = agents.iter().map(|a| (&a["name"], &a["source"])).collect();
    assert_eq!(
        names,
        [
            (&json!("gopher"), &json!("command")),
            (&json!("steps"), &json!("config"))
        ]
    );
    assert_eq!(
        (&agents[0]["holds"], &agents[0]["limit"]),
        (&json!(1), &json!(2))
    );
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, task, "done");
    let second = create(
        &mut client,
        json!({"title": "t", "agent_id": "gopher", "not_before": "2999-01-01T00:00:00Z"}),
    );
    client.call(json!({"cmd": "pause-agent", "agent_id": "gopher"}));
    client.call(remove("gopher"));
    assert_eq!(listed(&mut client).len(), 1);
    client.call(json!({"cmd": "retry-task", "task_id": second}));
    let why = json!(["there is no agent gopher any more"]);
    assert_eq!(get(&mut client, second)["why"], why);
    let mut client = kill_all(&mut suite);
    assert_eq!(listed(&mut client).len(), 1);
    // What it has done is known of one that has its name again.
    client.call(json!({"cmd": "add-agent", "agent_id": "gopher", "profile": "steps"}));
    assert_eq!(listed(&mut client)[0]["done"], 1);
    wait_task(&mut client, second, "started");
}

#[test]
fn one_that_claims_is_spoken_for_by_its_users() {
    let (_suite, mut client, _steps) = with_steps("");
    let me = geteuid().as_raw();
    client.call(json!({"cmd": "add-agent", "agent_id": "far", "uids": [me],
        "capabilities": ["gpu"]}));
    let task = create(&mut client, json!({"title": "t", "capabilities": ["gpu"]}));
    let claim = client.call(json!({"cmd": "claim-task", "agent_id": "far"}));
    assert_eq!(claim["id"], json!(task));
}

#[test]
fn what_cannot_be_is_refused() {
    let (_suite, mut client, _steps) = with_steps("");
    for (fields, code) in [
        (json!({"agent_id": "steps", "profile": "steps"}), "conflict"),
        (
            json!({"agent_id": "a b", "profile": "steps"}),
            "bad-request",
        ),
        (json!({"agent_id": "x"}), "bad-request"),
        (
            json!({"agent_id": "x", "profile": "nothing"}),
            "bad-request",
        ),
        (json!({"agent_id": "x", "users": ["root"]}), "bad-request"),
        (json!({"profile": "steps"}), "bad-request"),
    ] {
        let mut request = fields.clone();
        request["cmd"] = json!("add-agent");
        assert_eq!(client.refused(request), code, "{fields}");
    }
    assert_eq!(
        client.refused(remove("steps")),
        "conflict",
        "the config has it"
    );
    assert_eq!(client.refused(remove("nobody")), "not-found");
    assert_eq!(listed(&mut client).len(), 1);
}

#[test]
fn the_config_outweighs_what_was_added() {
    let (mut suite, mut client, _steps) = with_steps("");
    for name in ["x", "y"] {
        client.call(
            json!({"cmd": "add-agent", "agent_id": name, "profile": "steps",
            "capabilities": ["added"]}),
        );
    }
    suite.stop();
    let path = suite.config_path();
    let text = std::fs::read_to_string(&path).expect("the config");
    let text = format!("{text}[agent.x]\nprofile = \"steps\"\ncapabilities = [\"declared\"]\n");
    std::fs::write(&path, text).expect("written");
    suite.launch();
    let mut client = suite.client();
    let sources: Vec<_> = listed(&mut client)
        .iter()
        .map(|a| {
            (
                a["name"].clone(),
                a["source"].clone(),
                a["capabilities"].clone(),
            )
        })
        .collect();
    let of = |name, source, can| (json!(name), json!(source), json!([can]));
    assert_eq!(
        sources,
        [
            of("steps", "config", "rust"),
            of("x", "config", "declared"),
            of("y", "command", "added")
        ]
    );
    // What it outweighs does not come back with its end.
    client.call(remove("x"));
    assert_eq!(client.refused(remove("x")), "conflict");
    let warned = "agent x, which was added, is left out: the config has one";
    assert!(suite.log().contains(warned), "{}", suite.log());
}

#[test]
fn by_colibri_ctl() {
    let (suite, _client, _steps) = with_steps("");
    let said = suite.ctl_ok(&["agent", "add", "gopher", "-p", "steps", "-c", "go"]);
    assert_eq!(said, "Agent gopher is added\n");
    let said = suite.ctl_ok(&["agent", "show", "gopher"]);
    assert!(said.contains("  from        command\n"), "{said}");
    let said = suite.ctl_ok(&["agent", "add", "far", "-u", "root", "-r", "3"]);
    assert_eq!(said, "Agent far is added\n");
    let said = suite.ctl_ok(&["agent", "show", "far"]);
    assert!(said.contains("  kind        external\n"), "{said}");
    assert!(said.contains("0 of at most 3"), "{said}");
    let out = suite.ctl(&["agent", "add", "x", "-u", "nobody-of-this-name"]);
    assert_eq!(out.status.code(), Some(1));
    for agent in ["gopher", "far"] {
        let said = suite.ctl_ok(&["agent", "rm", agent]);
        assert_eq!(said, format!("Agent {agent} is removed\n"));
    }
    let audit = suite.ctl_ok(&["audit"]);
    assert!(
        audit.contains("add-agent") && audit.contains("agent_id=gopher"),
        "{audit}"
    );
}
