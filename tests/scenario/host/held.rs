use crate::stage::{create, get, until, wait_host, wait_task, Ground};
use colibri_tests::client::Client;
use colibri_tests::watchdog::{says, Watchdog};
use serde_json::json;

#[test]
fn a_held_host_launches_nothing_and_what_runs_goes_on() {
    let ground = Ground::new();
    let watchdog = Watchdog::saying(&ground.watchdog, "normal");
    let (_suite, mut client, mut steps) = ground.start("");
    let first = create(&mut client);
    wait_task(&mut client, first, "started");

    watchdog.set(says("held"));
    until(&mut client, "held");
    let word = wait_host(&mut client, "held");
    assert_eq!(word["reason"], "low memory");
    let second = create(&mut client);
    wait_task(&mut client, second, "waiting");
    let t = get(&mut client, second);
    assert_eq!(
        (&t["status"], &t["reason"]),
        (&json!("waiting"), &json!("host held: low memory"))
    );
    let why = t["why"].as_array().expect("reasons");
    assert!(why.contains(&json!("host held: low memory")), "{why:?}");
    let spawn = json!({"cmd": "spawn-agent", "profile": "steps", "prompt": "x"});
    assert_eq!(client.refused(spawn), "unavailable");

    // What runs is none of its business.
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, first, "done");
    assert_eq!(get(&mut client, second)["status"], "waiting");
    assert_eq!(steps.started(), 1);

    // It is asked again as long as work waits, and nobody has to do anything.
    watchdog.set(says("normal"));
    wait_task(&mut client, second, "started");
    let t = get(&mut client, second);
    let history = t["history"].as_array().expect("a history");
    let moves: Vec<_> = history.iter().map(|h| (&h["after"], &h["by"])).collect();
    let by_suite = ["waiting", "queued", "claimed"].map(|s| (json!(s), json!("suite")));
    for (moved, expected) in moves[1..].iter().zip(&by_suite) {
        assert_eq!(*moved, (&expected.0, &expected.1), "{t}");
    }
}

#[test]
fn those_that_go_next_wait_for_the_host_and_what_needs_no_launch_does_not() {
    let ground = Ground::new();
    let watchdog = Watchdog::saying(&ground.watchdog, "held");
    let (_suite, mut client, mut steps) = ground.start("[agent.far]\nusers = [\"uid:7\"]\n");
    let mut to = |agent: Option<&str>, priority: i32| {
        let task = json!({"cmd": "create-task", "title": "t", "agent_id": agent,
            "priority": priority});
        client.call(task)["id"].as_u64().expect("a number")
    };
    let local: Vec<u64> = (0..100).map(|_| to(Some("steps"), 0)).collect();
    let (external, either) = (to(Some("far"), 0), to(None, 0));
    // Enough wait for the host already; it goes first all the same.
    let urgent = to(Some("steps"), 9);
    wait_task(&mut client, local[15], "waiting");
    let count = |client: &mut Client, status: &str| {
        client.call(json!({"cmd": "stats"}))["tasks"][status].as_u64()
    };
    assert_eq!(count(&mut client, "waiting"), Some(16));
    for task in [local[16], external, either, urgent] {
        assert_eq!(get(&mut client, task)["status"], "queued");
    }
    let why = &get(&mut client, urgent)["why"];
    let sentences = why.as_array().expect("reasons");
    assert!(sentences.contains(&json!("host held: low memory")), "{why}");
    let claim = json!({"cmd": "claim-task", "agent_id": "far", "task_id": either});
    assert_eq!(client.call(claim)["id"], json!(either));
    let retry = json!({"cmd": "retry-task", "task_id": local[0]});
    assert_eq!(client.refused(retry), "conflict");
    // One that nobody wants any more does not come back, and the next one steps up.
    client.call(json!({"cmd": "cancel-task", "task_id": local[1]}));
    wait_task(&mut client, urgent, "waiting");

    watchdog.set(says("normal"));
    wait_task(&mut client, urgent, "started");
    assert_eq!(count(&mut client, "waiting"), Some(0));
    assert_eq!(get(&mut client, local[1])["status"], "cancelled");
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, local[0], "started");
}

#[test]
fn the_config_can_give_what_waited_to_somebody_else() {
    let ground = Ground::new();
    let _watchdog = Watchdog::saying(&ground.watchdog, "held");
    let (mut suite, mut client, _steps) = ground.start("");
    let task = create(&mut client);
    wait_task(&mut client, task, "waiting");
    suite.stop();
    let path = suite.config_path();
    let text = std::fs::read_to_string(&path).expect("the config");
    std::fs::write(&path, format!("{text}[agent.far]\nusers = [\"uid:7\"]\n")).expect("written");
    suite.launch();
    let mut client = suite.client();
    let claim = json!({"cmd": "claim-task", "agent_id": "far"});
    assert_eq!(client.call(claim)["id"], json!(task));
}
