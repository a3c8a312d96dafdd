use crate::stage::{create, get, wait_host, wait_task, Ground};
use colibri_tests::watchdog::{says, Watchdog};
use serde_json::json;

#[test]
fn a_throttled_host_has_one_run_at_a_time() {
    let ground = Ground::new();
    let watchdog = Watchdog::saying(&ground.watchdog, "throttled");
    let (_suite, mut client, mut steps) = ground.start("");
    let tasks: Vec<u64> = (0..3).map(|_| create(&mut client)).collect();
    wait_task(&mut client, tasks[0], "started");
    let t = get(&mut client, tasks[1]);
    assert_eq!(t["status"], "queued", "although an agent is free");
    let why = t["why"].as_array().expect("reasons");
    let word = json!("host throttled: low memory");
    assert!(why.contains(&word), "{why:?}");
    let spawn = json!({"cmd": "spawn-agent", "profile": "steps", "prompt": "x"});
    assert_eq!(client.refused(spawn), "unavailable");

    steps.settle();
    steps.exit(0);
    wait_task(&mut client, tasks[0], "done");
    wait_task(&mut client, tasks[1], "started");
    assert_eq!(steps.started(), 2);
    assert_eq!(get(&mut client, tasks[2])["status"], "queued");

    watchdog.set(says("normal"));
    wait_host(&mut client, "normal");
    wait_task(&mut client, tasks[2], "started");
}
