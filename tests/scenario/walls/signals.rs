//! An agent that signals everything it can reach does not reach Colibri.

use colibri_tests::procs::alive;
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Profile, Scratch, Setup, Suite};
use serde_json::json;

/// Signals its parent, the first process and everything there is, and then exits with 5.
const SCRIPT: &str =
    "cat >/dev/null; for s in STOP TERM KILL; do kill -$s $PPID; kill -$s 1; done; \
                      trap '' TERM; kill -s TERM -- -1; kill -s KILL -- -1; exit 5";

#[test]
fn an_agent_that_kills_everything_ends_only_itself() {
    let scratch = Scratch::new();
    let (other, mut steps) = Steps::new(&scratch, "steps");
    // One shell takes what follows its script for options of its own, until a word is none.
    let words = ["/bin/sh", "-c", SCRIPT, "agent"].map(str::to_owned);
    let setup = Setup {
        profiles: vec![Profile::new("killer", "json", words.to_vec()), other],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    let status = client.call(json!({"cmd": "status"}));
    if status["container_proof"] != true {
        // Then it would reach everything of this user, the tests included.
        return skip("needs a container that the kernel holds");
    }
    client.subscribe(None);
    let calm = client.spawn_agent("steps", "go");
    client.wait_state(calm, "working");
    for _ in 0..3 {
        let run = client.spawn_agent("killer", "go");
        let ended = client.wait_ended(run);
        let row = client.call(json!({"cmd": "get-run", "run": run}));
        assert_eq!(ended["exit"], json!({"how": "code", "value": 5}), "{row}");
        assert_eq!(ended["state"], "error", "{ended}");
    }
    let after = client.call(json!({"cmd": "status"}));
    assert_eq!(after["pid"], status["pid"]);
    assert!(alive(suite.pid()));
    steps.settle();
    steps.exit(0);
    assert_eq!(client.wait_ended(calm)["state"], "done");
}
