//! A suite that is killed and started again: nothing old is shown, and nobody has to do anything.

use crate::stage::Stage;
use colibri_tests::procs;
use nix::sys::signal::Signal;

#[test]
fn it_says_that_colibrid_is_away_and_comes_back_with_it() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    stage.client.spawn_agent("asks", "Ask");
    stage.top();
    stage.screen.see("Which colour?");
    procs::signal(stage.suite.pid(), Signal::SIGKILL);
    stage.suite.wait_end();
    let shown = stage.screen.see("NOT CONNECTED");
    for old in ["Which colour?", "blocked", "Board:"] {
        assert!(!shown.contains(old), "{shown}");
    }
    stage.screen.see("is colibrid running?");
    // It can be left while it is away, and nothing pretends to be done.
    stage.screen.keys(&["s"]);
    stage.screen.see("Not connected");
    stage.suite.launch();
    let shown = stage.screen.see("Which colour?");
    assert!(shown.starts_with("1 agent needs you: run 1"), "{shown}");
    // It is the living one: the question can be answered.
    let mut client = stage.suite.client();
    client.subscribe(None);
    stage.screen.keys(&["a"]);
    stage.screen.see("> 1 red");
    stage.screen.keys(&["Enter"]);
    client.wait_event(1, "an answer", |e| e["kind"] == "settled");
    stage.screen.see("The question of run 1 is answered");
    stage.screen.keys(&["q"]);
    stage.screen.see("status 0");
}
