//! Requests and replies: order, ids, and what a bad request costs its sender.

use colibri_tests::client::Client;
use colibri_tests::procs;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::Signal;
use serde_json::{json, Value};

/// Sends a line as it is and returns the reply.
#[track_caller]
fn say(client: &mut Client, line: &[u8]) -> Value {
    client.send_raw(line).expect("sent");
    client.send_raw(b"\n").expect("sent");
    client.value(LONG).expect("a reply")
}

#[test]
fn replies_keep_the_order_and_the_id() {
    let suite = Suite::start(Setup::default());
    let mut client = suite.client();
    let ids = [
        json!(1),
        json!("two"),
        json!(true),
        Value::Null,
        json!(-5.5),
    ];
    let mut lines = String::new();
    for id in &ids {
        lines.push_str(&format!("{}\n", json!({"cmd": "ping", "id": id})));
        lines.push_str(&format!("{}\n", json!({"cmd": "no-such", "id": id})));
    }
    client.send_raw(lines.as_bytes()).expect("sent");
    for id in &ids {
        let reply = client.value(LONG).expect("a reply");
        assert_eq!(reply, json!({"ok": true, "data": {}, "id": id}));
        let reply = client.value(LONG).expect("a reply");
        assert_eq!((&reply["ok"], &reply["id"]), (&json!(false), id), "{reply}");
        assert_eq!(reply["error"]["code"], "unknown-command");
    }
    // Who asks nothing for it gets no id.
    let reply = say(&mut client, br#"{"cmd":"ping"}"#);
    assert_eq!(reply, json!({"ok": true, "data": {}}));
}

#[test]
fn a_bad_request_gets_a_code_and_the_connection_lives() {
    let suite = Suite::start(Setup::default());
    let mut client = suite.client();
    let deep = format!(
        "{{\"cmd\":\"ping\",\"id\":{}1{}}}",
        "[".repeat(64),
        "]".repeat(64)
    );
    let brackets = "[".repeat(500_000);
    let bad: &[(&[u8], &str)] = &[
        (b"", "bad-request"),
        (b"hello", "bad-request"),
        (b"[]", "bad-request"),
        (b"null", "bad-request"),
        (b"{}", "bad-request"),
        (b"{\"cmd\":7}", "bad-request"),
        (b"{\"cmd\":\"ping\"", "bad-request"),
        (b"{\"cmd\":\"ping\"} {\"cmd\":\"ping\"}", "bad-request"),
        (b"{\"cmd\":\"ping\",\"extra\":1}", "bad-request"),
        (b"{\"cmd\":\"ping\",\"id\":{}}", "bad-request"),
        (b"{\"cmd\":\"get-run\"}", "bad-request"),
        (b"{\"cmd\":\"get-run\",\"run\":\"1\"}", "bad-request"),
        (b"{\"cmd\":\"get-run\",\"run\":-1}", "bad-request"),
        (b"{\"cmd\":\"get-run\",\"run\":1}", "not-found"),
        (
            b"{\"cmd\":\"get-run\",\"run\":18446744073709551615}",
            "not-found",
        ),
        (b"{\"cmd\":\"list-runs\",\"limit\":100000}", "bad-request"),
        (
            b"{\"cmd\":\"spawn-agent\",\"profile\":\"x\",\"prompt\":\"y\"}",
            "not-found",
        ),
        (b"{\"cmd\":\"Ping\"}", "unknown-command"),
        (b"{\"cmd\":\"\\u0000\"}", "unknown-command"),
        (b"\xff\xfe{\"cmd\":\"ping\"}", "bad-request"),
        (b"\x00", "bad-request"),
        (deep.as_bytes(), "bad-request"),
        (brackets.as_bytes(), "bad-request"),
    ];
    for (line, code) in bad {
        let reply = say(&mut client, line);
        let shown = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        assert_eq!(reply["ok"], false, "{shown}: {reply}");
        assert_eq!(reply["error"]["code"], *code, "{shown}: {reply}");
        let message = reply["error"]["message"].as_str().unwrap_or_default();
        assert!(
            !message.is_empty() && message.len() < 500,
            "{shown}: {reply}"
        );
        assert_eq!(client.call(json!({"cmd": "ping"})), json!({}), "{shown}");
    }
}

#[test]
fn a_client_that_sends_half_a_line_holds_nobody() {
    let suite = Suite::start(Setup::default());
    let mut half = suite.client();
    half.send_raw(b"{\"cmd\":\"pi").expect("sent");
    for _ in 0..3 {
        assert_eq!(suite.client().call(json!({"cmd": "ping"})), json!({}));
    }
    let reply = say(&mut half, b"ng\"}");
    assert_eq!(reply["ok"], true, "{reply}");
}

#[test]
fn a_client_that_closes_its_side_still_gets_its_replies() {
    let suite = Suite::start(Setup::default());
    let mut client = suite.client();
    client
        .send_raw(b"{\"cmd\":\"ping\"}\n{\"cmd\":\"pi")
        .expect("sent");
    client.finish().expect("finished");
    assert_eq!(client.value(LONG).expect("a reply")["ok"], true);
    // The rest is no line, so there is no reply to it.
    assert_eq!(client.line(LONG).expect("the end"), None);
}

#[test]
fn a_suite_that_stops_takes_no_new_work_and_says_so() {
    let scratch = Scratch::new();
    let (mut profile, mut steps) = Steps::new(&scratch, "steps");
    // It ends when the test has seen enough.
    profile.more = "stop_grace = 300".into();
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    procs::signal(suite.pid(), Signal::SIGTERM);
    let mut other = suite.client();
    must("the suite to stop", LONG, || {
        let status = other.call(json!({"cmd": "status"}));
        (status["stopping"] == true).then_some(())
    });
    for request in [
        json!({"cmd": "spawn-agent", "profile": "steps", "prompt": "go"}),
        json!({"cmd": "create-task", "title": "t"}),
    ] {
        let reply = other.request(request).expect("a reply");
        assert_eq!(reply["ok"], false, "{reply}");
        let error = json!({"code": "unavailable", "message": "the suite is stopping"});
        assert_eq!(reply["error"], error);
    }
    assert_eq!(other.call(json!({"cmd": "ping"})), json!({}));
    steps.exit(0);
    assert_eq!(suite.wait_end().code(), Some(0), "{}", suite.log());
    assert_eq!(steps.started(), 1);
}
