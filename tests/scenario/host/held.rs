use crate::stage::{create, get, until, wait_host, wait_task, Ground};
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
    assert_eq!(t["status"], "queued");
    let why = t["why"].as_array().expect("reasons");
    assert!(why.contains(&json!("host held: low memory")), "{why:?}");
    let spawn = json!({"cmd": "spawn-agent", "profile": "steps", "prompt": "x"});
    assert_eq!(client.refused(spawn), "unavailable");

    // What runs is none of its business.
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, first, "done");
    assert_eq!(get(&mut client, second)["status"], "queued");
    assert_eq!(steps.started(), 1);

    // It is asked again as long as work waits, and nobody has to do anything.
    watchdog.set(says("normal"));
    wait_task(&mut client, second, "started");
}
