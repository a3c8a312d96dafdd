use crate::stage::{create, get, wait_task, watchdog, Ground};
use colibri_tests::watchdog::{says, Manner, Watchdog};
use serde_json::json;

/// Whatever the watchdog does instead of answering, it holds, the reason is shown, and nobody waits
/// for it but those who asked.
#[test]
fn what_is_no_answer_holds_and_is_shown() {
    let ground = Ground::new();
    let dog = Watchdog::start(&ground.watchdog, Manner::Silent);
    let (suite, mut client, steps) = ground.start("");
    let task = create(&mut client);
    let say = |text: &str| Manner::Says(text.as_bytes().to_vec());
    // No two after each other have the same reason, so that each is seen to come.
    let cases = [
        (Manner::Silent, "no answer within 2 s"),
        (Manner::Floods, "its answer is longer than 16 KiB"),
        (Manner::Trickles, "no answer within 2 s"),
        (Manner::Closes, "it closed the connection without an answer"),
        (say("normal\n"), "its answer is not a JSON object"),
        (
            say("{\"mode\":\"normal\"}"),
            "it closed the connection without an answer",
        ),
        (say("\u{0}\u{1b}[2J\n"), "its answer is not a JSON object"),
        (
            say("{\"mode\":\"splendid\"}\n"),
            "its answer has no mode that is known",
        ),
        (
            say("{\"mode\":\"normal\",\"held\":\"no\"}\n"),
            "its answer has a flag",
        ),
        (
            say(&format!("{}\n", "[".repeat(9000))),
            "its answer is nested too deep",
        ),
        // Two words at once: the strictest counts.
        (
            say("{\"mode\":\"normal\",\"held\":true,\"reason\":\"two words\"}\n"),
            "two words",
        ),
    ];
    for (manner, expect) in cases {
        let shown = format!("{manner:?}");
        dog.set(manner);
        suite.client().call(json!({"cmd": "ping"}));
        let word = colibri_tests::wait::must(&shown, colibri_tests::wait::LONG, || {
            let word = watchdog(&mut client);
            let reason = word["reason"].as_str().unwrap_or_default();
            reason.contains(expect).then_some(word)
        });
        assert_eq!(word["obeys"], "held", "{shown}");
        assert_eq!(get(&mut client, task)["status"], "waiting", "{shown}");
    }
    assert_eq!(steps.started(), 0);
    dog.set(says("normal"));
    wait_task(&mut client, task, "started");
}
