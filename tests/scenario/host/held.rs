use crate::stage::{create, get, until, wait_host, wait_task, Ground};
use colibri_tests::client::Client;
use colibri_tests::wait::{must, LONG};
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
fn very_many_wait_for_the_host_and_what_needs_no_launch_does_not() {
    let ground = Ground::new();
    let watchdog = Watchdog::saying(&ground.watchdog, "held");
    let (_suite, mut client, mut steps) = ground.start("[agent.far]\nusers = [\"uid:7\"]\n");
    let mut to = |agent: Option<&str>| {
        let task = json!({"cmd": "create-task", "title": "t", "agent_id": agent});
        client.call(task)["id"].as_u64().expect("a number")
    };
    // More than are moved in one turn.
    let local: Vec<u64> = (0..200).map(|_| to(Some("steps"))).collect();
    let (external, either) = (to(Some("far")), to(None));
    wait_task(&mut client, local[199], "waiting");
    for task in [external, either] {
        assert_eq!(get(&mut client, task)["status"], "queued");
    }
    let count = |client: &mut Client, status: &str| {
        client.call(json!({"cmd": "stats"}))["tasks"][status].as_u64()
    };
    assert_eq!(count(&mut client, "waiting"), Some(200));
    let claim = json!({"cmd": "claim-task", "agent_id": "far", "task_id": either});
    assert_eq!(client.call(claim)["id"], json!(either));
    // One that nobody wants any more does not come back.
    client.call(json!({"cmd": "cancel-task", "task_id": local[1]}));

    watchdog.set(says("normal"));
    wait_task(&mut client, local[0], "started");
    must("the queue", LONG, || {
        (count(&mut client, "waiting") == Some(0)).then_some(())
    });
    assert_eq!(get(&mut client, local[199])["status"], "queued");
    assert_eq!(get(&mut client, local[1])["status"], "cancelled");
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, local[2], "started");
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
