use crate::stage::{create, wait_task, watchdog, Ground};
use colibri_tests::watchdog::Watchdog;
use serde_json::json;

#[test]
fn nobody_is_asked_without_a_cause() {
    let ground = Ground::new();
    let dog = Watchdog::saying(&ground.watchdog, "normal");
    let (suite, mut client, mut steps) = ground.start("");
    // Looking at other things and waiting is none.
    client.call(json!({"cmd": "stats"}));
    client.call(json!({"cmd": "snapshot"}));
    assert!(dog.asked().is_empty());
    // Somebody looks; within a second everybody gets the same answer.
    let word = watchdog(&mut client);
    assert_eq!(dog.asked(), ["{\"cmd\":\"status\"}\n"]);
    assert_eq!(
        (&word["said"], &word["obeys"]),
        (&json!("normal"), &json!("normal"))
    );
    assert_eq!(
        word["raw"]["jails"]["active"], 3,
        "what is not known is kept"
    );
    assert!(
        word["at"].is_string() && word["age_seconds"].is_u64(),
        "{word}"
    );
    // A launch is a cause, and that an agent is busy is none: nothing waits for the host.
    let task = create(&mut client);
    wait_task(&mut client, task, "started");
    let asked = dog.asked().len();
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, task, "done");
    // More than the second that an answer counts; its end is told by something else than time.
    let soon = colibrid::time::rfc3339(libcolibri::sys::wall_ms() + 2500);
    let later =
        json!({"cmd": "create-task", "title": "t", "agent_id": "steps", "not_before": soon});
    let later = client.call(later)["id"].as_u64().expect("a number");
    wait_task(&mut client, later, "queued");
    assert!(dog.asked().len() <= asked + 1, "{:?}", dog.asked());
    drop(suite);
}
