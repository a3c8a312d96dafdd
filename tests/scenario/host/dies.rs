use crate::stage::{create, wait_host, wait_task, watchdog, Ground};
use colibri_tests::watchdog::{Manner, Watchdog};
use serde_json::json;

#[test]
fn a_watchdog_that_dies_over_a_question_gives_no_word() {
    let ground = Ground::new();
    let socket = ground.watchdog.clone();
    let dog = Watchdog::start(&socket, Manner::Silent);
    let (_suite, mut client, _steps) = ground.start("");
    let task = create(&mut client);
    dog.wait_asked(1);
    drop(dog);
    wait_host(&mut client, "held");
    // Its socket is still there, with nobody behind it.
    let refused = || {
        let reason = watchdog(&mut client)["reason"].take();
        (reason == json!("connection refused")).then_some(())
    };
    colibri_tests::wait::must("a refusal", colibri_tests::wait::LONG, refused);
    let _next = Watchdog::saying(&socket, "normal");
    wait_task(&mut client, task, "started");
}
