//! Tasks and agents, against a canned colibrid: request, text, JSON, exit status.

mod canned;

use canned::replies::{while_ago, STATUS};
use canned::{alone, answer, ctl, ctl_with, event, refuse};

fn task(id: u64, status: &str, more: &str) -> String {
    let since = while_ago();
    format!(
        r#"{{"id":{id},"title":"Read\u001b[31m it","status":"{status}","since":"{since}","tries":0,"attempts":3{more}}}"#
    )
}

#[test]
fn add_sends_what_was_said_and_no_more() {
    let created = r#"{"id":7,"status":"queued","existing":false}"#;
    let got = ctl(
        &["task", "add", "Read it"],
        answer(r#"{"cmd":"create-task","title":"Read it"}"#, created),
    );
    let expected = format!(
        "Task 7 accepted, queued; to look at it: colibri-ctl -s {} task show 7\n",
        got.socket
    );
    assert_eq!((got.code, got.out), (0, expected));
    let full = r#"{"cmd":"create-task","title":"t","description":"from stdin","capabilities":["rust"],"agent_id":"a","priority":-5,"after":[1,2],"deadline":"2026-11-22T10:00:00Z","attempts":2,"retry_on":["agent"],"key":"k"}"#;
    let words = [
        "task",
        "add",
        "t",
        "-",
        "-c",
        "rust",
        "-a",
        "a",
        "-p",
        "-5",
        "--after",
        "1",
        "--after",
        "2",
        "--deadline",
        "2026-11-22T10:00:00Z",
        "--attempts",
        "2",
        "--retry-on",
        "agent",
        "-k",
        "k",
        "-j",
    ];
    let got = ctl_with(&words, answer(full, created), "from stdin\n");
    assert_eq!((got.code, got.out), (0, format!("{created}\n")));
    let got = alone(&["task", "add", "t", "--deadline", "tomorrow"]);
    assert_eq!(got.code, 2);
    assert!(
        got.err.contains("give a time as in RFC 3339"),
        "{}",
        got.err
    );
}

#[test]
fn a_waiting_add_follows_the_task_and_ends_as_it_does() {
    for (status, code, err) in [
        ("done", 0, ""),
        ("failed", 1, "colibri-ctl: task 7 is failed: exit 3\n"),
    ] {
        let mut script = answer(STATUS, r#"{"version":"x","seq":17}"#);
        script.extend(answer(
            r#"{"cmd":"create-task","title":"t"}"#,
            r#"{"id":7,"status":"queued"}"#,
        ));
        script.extend(answer(r#"{"cmd":"subscribe","from":17}"#, r#"{"seq":17}"#));
        let get = r#"{"cmd":"get-task","task_id":7}"#;
        script.extend(answer(get, r#"{"id":7,"status":"queued"}"#));
        script.extend(event(r#""seq":18,"kind":"task","task":8,"status":"done""#));
        let kind = format!(r#""seq":19,"run":3,"kind":"task","task":7,"status":"{status}""#);
        script.extend(event(&kind));
        let reason = if code == 0 { "null" } else { r#""exit 3""# };
        script.extend(answer(
            get,
            &format!(r#"{{"id":7,"status":"{status}","reason":{reason},"summary":"All\nof it"}}"#),
        ));
        let got = ctl(&["task", "add", "-w", "t"], script);
        assert_eq!((got.code, got.out.as_str()), (code, "All\nof it\n"));
        assert!(
            got.err.ends_with(err) && !got.err.contains(" 18 "),
            "{}",
            got.err
        );
    }
}

#[test]
fn lists_are_aligned_and_clean() {
    let rows = [
        task(12, "started", r#","agent":"coder","run":3"#),
        task(7, "waiting", r#","tries":1,"reason":"429 busy""#).replacen(r#""tries":0,"#, "", 1),
    ];
    let data = format!(r#"{{"tasks":[{}]}}"#, rows.join(","));
    let request = r#"{"cmd":"list-tasks","limit":20,"status":"queued","agent_id":"coder"}"#;
    let got = ctl(
        &["task", "list", "queued", "-a", "coder"],
        answer(request, &data),
    );
    let expected = "\
TASK  STATUS   SINCE  AGENT  TRY  TITLE
  12  started  3h12m  coder  1/3  Read\u{fffd}[31m it
   7  waiting  3h12m  -      1/3  Read\u{fffd}[31m it - 429 busy
";
    assert_eq!((got.code, got.out.as_str()), (0, expected));
    let got = ctl(
        &["task", "list"],
        answer(r#"{"cmd":"list-tasks","limit":20}"#, r#"{"tasks":[]}"#),
    );
    assert_eq!(got.out, "No such tasks.\n");
}

#[test]
fn explain_says_what_keeps_a_task() {
    let data = task(
        7,
        "queued",
        r#","why":["agent coder is paused","agent two is at its limit (1 of 1)"]"#,
    );
    let got = ctl(
        &["task", "explain", "7"],
        answer(r#"{"cmd":"get-task","task_id":7}"#, &data),
    );
    let expected = "\
Task 7 is queued (for 3h12m)
  agent coder is paused
  agent two is at its limit (1 of 1)
";
    assert_eq!((got.code, got.out.as_str()), (0, expected));
    let missing = refuse(
        r#"{"cmd":"get-task","task_id":8}"#,
        "not-found",
        "there is no task 8",
    );
    let got = ctl(&["task", "explain", "8"], missing);
    let expected = "colibri-ctl: there is no task 8 (not-found)\n";
    assert_eq!((got.code, got.err.as_str()), (1, expected));
}

#[test]
fn agents_have_a_record() {
    let data = r#"{"agents":[
        {"name":"coder","state":"working","holds":1,"limit":2,"done":5,"failed":1,"median_seconds":192.4,"cost_usd":0.5,"capabilities":["rust","bsd"]},
        {"name":"asks","state":"blocked","attention":true,"holds":1,"limit":1,"capabilities":[]},
        {"name":"far","kind":"external","paused":true,"holds":0,"limit":1,"capabilities":["gpu"]}]}"#;
    let data = data.replace("\n        ", "");
    let request = r#"{"cmd":"list-agents"}"#;
    let got = ctl(&["agent", "list"], answer(request, &data));
    let expected = "\
AGENT  STATE    HAS  DONE  FAILED  MEDIAN   COST  CAN
asks   blocked  1/1     0       0       -      -
coder  working  1/2     5       1   3m12s  $0.50  rust bsd
far    paused   0/1     0       0       -      -  gpu
";
    assert_eq!((got.code, got.out.as_str()), (0, expected));
    let got = ctl(&["agent", "show", "nobody"], answer(request, &data));
    let expected = "colibri-ctl: there is no agent nobody (not-found)\n";
    assert_eq!((got.code, got.err.as_str()), (1, expected));
    let got = ctl(
        &["agent", "pause", "far"],
        answer(
            r#"{"cmd":"pause-agent","agent_id":"far"}"#,
            r#"{"name":"far","paused":true}"#,
        ),
    );
    assert_eq!(got.out, "Agent far gets no more tasks\n");
}

#[test]
fn the_audit_log_says_who_changed_what() {
    let at = while_ago();
    let data = format!(
        r#"{{"entries":[{{"entry":9,"at":"{at}","uid":1001,"role":"operator","command":"cancel-task","object":{{"task_id":7,"reason":"no\u001b need"}}}}]}}"#
    );
    let request = r#"{"cmd":"list-audit","limit":20,"uid":1001}"#;
    let got = ctl(&["audit", "-u", "1001"], answer(request, &data));
    let expected = concat!(
        "  AGO   UID  ROLE      COMMAND      WHAT\n",
        "3h12m  1001  operator  cancel-task  task_id=7 reason=no\u{fffd} need\n"
    );
    assert_eq!((got.code, got.out.as_str()), (0, expected));
}

#[test]
fn the_board_asks_only_for_columns_that_have_something() {
    let oldest = while_ago();
    let stats =
        format!(r#"{{"tasks":{{"queued":2,"started":1,"done":0}},"oldest_queued_at":"{oldest}"}}"#);
    let list = |status: &str, limit: u32| {
        format!(r#"{{"cmd":"list-tasks","limit":{limit},"status":"{status}"}}"#)
    };
    let one = |t: String| format!(r#"{{"tasks":[{t}]}}"#);
    let mut script = answer(r#"{"cmd":"stats"}"#, &stats);
    script.extend(answer(&list("started", 1000), &one(task(3, "started", ""))));
    script.extend(answer(&list("queued", 20), &one(task(4, "queued", ""))));
    let got = ctl(&["board"], script.clone());
    assert!(got
        .out
        .starts_with("1 started, 2 queued (oldest 3h12m)\n\nTASK "));
    let got = ctl(&["board", "-j"], script);
    let value: serde_json::Value = serde_json::from_str(&got.out).unwrap();
    assert_eq!(value["columns"]["queued"]["tasks"][0]["id"], 4);
    let got = ctl(
        &["board"],
        answer(r#"{"cmd":"stats"}"#, r#"{"tasks":{"queued":0}}"#),
    );
    assert_eq!(got.out, "The board is empty.\n");
}

#[test]
fn intake_brings_in_updates_and_tasks() {
    let update = r#"{"update_id":7,"message":{"text":"x"}}"#;
    let mut script = answer(
        &format!(r#"{{"cmd":"intake-task","update":{update}}}"#),
        r##"{"action":"created","id":3,"status":"queued","existing":false,"say":"#3 queued"}"##,
    );
    script.extend(answer(
        r#"{"cmd":"intake-task","title":"t"}"#,
        r#"{"id":4,"status":"waiting","existing":true}"#,
    ));
    script.extend(answer(
        r#"{"cmd":"intake-task","update":{"update_id":8}}"#,
        r#"{"action":"ignored","id":null,"say":"I understand\u001b messages only."}"#,
    ));
    let input = format!("{update}\n{{\"title\":\n\"t\"}} {{\"update_id\":8}}\n");
    let got = ctl_with(&["intake", "-"], script, &input);
    let expected = "\
Task 3 queued
Task 4 waiting (was there before)
Ignored: I understand\u{fffd} messages only.
";
    assert_eq!((got.code, got.out.as_str()), (0, expected));
    let got = ctl_with(&["intake", "-"], vec![], "{} x");
    assert_eq!(got.code, 1);
    let got = alone(&["intake", "%/nothing"]);
    assert!(got.err.starts_with("colibri-ctl: cannot read "), "{got:?}");
}
