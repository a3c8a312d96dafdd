use crate::stage::{create, get, wait_host, wait_task, Ground};
use colibri_tests::watchdog::Watchdog;
use serde_json::json;

#[test]
fn nobody_at_the_socket_holds_unless_the_config_says_otherwise() {
    let ground = Ground::new();
    let socket = ground.watchdog.clone();
    let (_suite, mut client, _steps) = ground.start("");
    let task = create(&mut client);
    wait_host(&mut client, "held");
    let why = get(&mut client, task)["why"].to_string();
    let reason = "host held: the watchdog gives no answer: no such file or directory";
    assert!(why.contains(reason), "{why}");

    let _watchdog = Watchdog::saying(&socket, "normal");
    wait_task(&mut client, task, "started");
}

#[test]
fn what_holds_without_a_word_is_shown() {
    let (_suite, mut client, _steps) = Ground::new().start("unreachable = \"normal\"");
    let task = create(&mut client);
    wait_task(&mut client, task, "started");
    let status = client.call(json!({"cmd": "status"}));
    let word = &status["watchdog"];
    assert_eq!(
        (&word["said"], &word["obeys"]),
        (&json!(null), &json!("normal"))
    );
    let warnings = status["warnings"].to_string();
    assert!(
        warnings.contains("the watchdog gives no answer"),
        "{warnings}"
    );
}
