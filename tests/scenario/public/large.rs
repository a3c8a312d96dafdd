//! Agents that say as much as they may: everybody else is still answered, and who wants to know all
//! of it gets it.

use colibri_tests::client::Client;
use colibri_tests::procs;
use colibri_tests::skip::skip;
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::wait::LONG;
use serde_json::{json, Value};

/// Dialogs of each agent: as many as can be open.
const DIALOGS: usize = 32;
const AGENTS: usize = 2;

/// A suite whose agents have asked all that and then had a model answer a thousand times.
fn shouting() -> (Suite, u64) {
    let scratch = Scratch::new();
    let agent = scratch.copy(&program("colibri-scripted"));
    let command = vec![agent.display().to_string()];
    let suite = Suite::start_in(
        scratch,
        Setup {
            profiles: vec![Profile::new("scripted", "rpc", command)],
            ..Setup::default()
        },
    );
    let mut client = suite.client();
    client.subscribe(None);
    for _ in 0..AGENTS {
        let run = client.spawn_agent("scripted", &format!("shout {DIALOGS} bill 1000 live"));
        client.wait_event(run, "the last answer", |e| {
            e["kind"] == "usage" && e["messages"] == 1000
        });
    }
    let seq = client.call(json!({"cmd": "status"}))["seq"].as_u64();
    (suite, seq.expect("seq"))
}

/// Reads on from `from` until the event `to`; the events, none of them missing.
fn read(client: &mut Client, from: u64, to: u64) -> Vec<Value> {
    client.subscribe(Some(from));
    let event = |seq| {
        let mut line = client.event(LONG).expect("an event");
        assert_eq!(line["event"]["seq"], seq, "{line}");
        line["event"].take()
    };
    (from + 1..=to).map(event).collect()
}

#[test]
fn nobody_is_kept_from_the_state_or_from_the_events() {
    let (suite, last) = shouting();
    let mut client = suite.client();
    let status = client.call(json!({"cmd": "status"}));
    assert_eq!(status["runs"]["alive"], AGENTS);
    let snapshot = client.call(json!({"cmd": "snapshot"}));
    for pane in snapshot["panes"].as_array().expect("panes") {
        let dialogs = pane["dialogs"].as_array().expect("dialogs");
        assert_eq!(dialogs.len(), DIALOGS);
        assert!(dialogs.iter().all(|d| d["cut"] == true), "{pane}");
        // Each can still be answered by its name.
        let named = |i: usize| dialogs[i]["request"] == format!("shout-{i}");
        assert!((0..DIALOGS).all(named), "{pane}");
        assert!(pane.to_string().len() < 64 * 1024, "{pane}");
    }
    let all = read(&mut suite.client(), 0, last);
    let asked: Vec<&Value> = all.iter().filter(|e| e["kind"] == "asked").collect();
    assert_eq!(asked.len(), AGENTS * DIALOGS);
    assert!(asked
        .iter()
        .all(|e| e["options"].as_array().map(Vec::len) == Some(64)));
    // And from anywhere in between.
    let middle = asked[DIALOGS]["seq"].as_u64().expect("seq");
    read(&mut suite.client(), middle, last);
    read(&mut suite.client(), middle - 1, last);
    // What is held of it is little.
    let Some(most) = procs::status_field(suite.pid(), "VmHWM") else {
        return skip("the system does not tell the most memory of a process");
    };
    let kib = most.trim_end_matches("kB").trim().parse::<u64>();
    assert!(kib.expect("a number") < 128 * 1024, "{most}");
}
