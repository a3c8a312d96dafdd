//! An agent that closes its stdout and lives: its run is not over, and costs nothing.

use colibri_tests::agents::hostile;
use colibri_tests::procs::held;
use colibri_tests::quiet::wake_ups;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::wait::{must, Stop, LONG};
use serde_json::json;
use std::time::Duration;

#[test]
fn an_agent_that_has_closed_its_stdout_is_alive_until_it_exits() {
    let scratch = Scratch::new();
    let (mut profile, traces) = hostile(&scratch, "mute", "rpc", &["close", "5"]);
    profile.more = "stall_after = 1".into();
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("mute", "go");
    let monitor = client.wait_monitor(run);
    must("its stdout to be closed", LONG, || {
        (traces.started() == 1).then_some(())
    });
    client.wait_event(run, "it to be missed", |e| e["kind"] == "stalled");
    let row = client.call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(
        (&row["state"], &row["ended"]),
        (&json!("working"), &json!(false))
    );
    assert!(held(&traces.lock), "the agent does not live");
    // The end of a pipe is news once.
    must("the monitor to rest", LONG, || {
        let before = wake_ups(&[monitor])?;
        let _ = Stop::default().wait(Duration::from_secs(3));
        (wake_ups(&[monitor])? == before).then_some(())
    });
    client.call(json!({"cmd": "stop-agent", "run": run}));
    let ended = client.wait_ended(run);
    assert_eq!(ended["exit"], json!({"how": "code", "value": 5}), "{ended}");
    assert!(!held(&traces.lock), "ended was said of a living agent");
}
