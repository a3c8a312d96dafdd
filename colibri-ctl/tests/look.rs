//! The commands that look, against a canned colibrid: request, text, JSON, exit status.

mod canned;

use canned::replies::{pane, status, while_ago, STATUS};
use canned::{ago, alone, answer, ctl};

#[test]
fn status_says_first_that_nobody_needs_you() {
    let panes = [
        pane(
            7,
            "coder",
            "working",
            r#","phase":"tool","tools":["bash","read"]"#,
        ),
        pane(12, "reviewer", "idle", r#","phase":null,"reason":null"#),
    ];
    let got = ctl(&["status"], answer(STATUS, &status(0, &panes)));
    let expected = "\
No agent needs you: 1 working, 1 idle.
colibrid 0.1.0 on build1, up 3h12m; 2 runs of at most 16 alive, in pid-namespace
warning: users are not separated

RUN  AGENT     STATE    PHASE  SINCE   COST  REASON
  7  coder     working  tool   3h12m  $0.12  bash, read
 12  reviewer  idle     -      3h12m  $0.12
";
    assert_eq!(
        (got.code, got.out.as_str(), got.err.as_str()),
        (0, expected, "")
    );
}

#[test]
fn status_names_those_who_need_you() {
    let question = r#","attention":true,"dialogs":[{"request":"r1","method":"confirm","title":"Allow command?"}]"#;
    let panes = [
        pane(7, "coder", "blocked", question),
        pane(
            9,
            "tester",
            "error",
            r#","attention":true,"reason":"401 wrong key""#,
        ),
        pane(
            11,
            "quiet",
            "working",
            r#","attention":true,"stalled":true,"phase":"model""#,
        ),
    ];
    let got = ctl(&["status"], answer(STATUS, &status(3, &panes)));
    let mut lines = got.out.lines();
    assert_eq!(
        lines.next(),
        Some("3 agents need you: run 7 asks (confirm): Allow command?, and 2 more")
    );
    assert!(got
        .out
        .contains("\n  9  tester  error    -      3h12m  $0.12  401 wrong key\n"));
    let hint = format!("\nTo answer run 7: colibri-ctl -s {} show 7\n", got.socket);
    assert!(got.out.ends_with(&hint), "{}", got.out);
}

#[test]
fn an_empty_status_has_no_table() {
    let got = ctl(&["status"], answer(STATUS, &status(0, &[])));
    assert!(got
        .out
        .starts_with("No agent needs you: none is running.\ncolibrid 0.1.0 "));
    assert_eq!(got.out.lines().count(), 3);
}

#[test]
fn json_is_the_data_as_it_came() {
    let data = status(0, &[pane(7, "coder", "idle", "")]);
    let got = ctl(&["-j", "status"], answer(STATUS, &data));
    assert_eq!((got.code, got.out), (0, format!("{data}\n")));
    let data =
        r#"{"schema":"clawdie.glasspane.snapshot.v1","n":1.000000000000000000001,"panes":[]}"#;
    let got = ctl(
        &["snapshot", "--json"],
        answer(r#"{"cmd":"snapshot"}"#, data),
    );
    assert_eq!((got.code, got.out), (0, format!("{data}\n")));
}

#[test]
fn snapshot_shows_ended_runs_too() {
    let data = format!(
        r#"{{"schema":"clawdie.glasspane.snapshot.v1","host":"h","generated_at":"2026-11-22T10:00:00Z","seq":9,"panes":[{}]}}"#,
        pane(3, "coder", "done", r#","ended":true"#)
    );
    let got = ctl(&["snapshot"], answer(r#"{"cmd":"snapshot"}"#, &data));
    let expected = "\
1 pane on h after event 9, 2026-11-22T10:00:00Z

RUN  AGENT  STATE  PHASE  SINCE   COST  REASON
  3  coder  done   ended  3h12m  $0.12
";
    assert_eq!(got.out, expected);
}

fn run(n: u64, more: &str) -> String {
    let created = while_ago();
    format!(
        r#"{{"run":{n},"attempt":{n},"profile":"demo","agent":"coder","created_at":"{created}","title":"Fix the bug","cost_usd":0.004{more}}}"#
    )
}

#[test]
fn runs_are_a_table() {
    let ended = ago(3 * 3600 + 10 * 60 + 5);
    let data = format!(
        r#"{{"runs":[{},{},{}]}}"#,
        run(9, r#","state":"working","phase":"model","ended_at":null"#),
        run(
            8,
            &format!(r#","state":"error","reason":"401","ended":true,"ended_at":"{ended}""#)
        ),
        run(
            7,
            &format!(r#","state":"done","ended":true,"ended_at":"{ended}""#)
        ),
    );
    let got = ctl(
        &["runs"],
        answer(r#"{"cmd":"list-runs","limit":20}"#, &data),
    );
    let lines: Vec<&str> = got.out.lines().collect();
    assert_eq!(lines[0], "RUN  AGENT  STATE      AGE   TOOK     COST  TASK");
    assert_eq!(
        lines[1],
        "  9  coder  working  3h12m      -  $0.0040  Fix the bug"
    );
    // Two clock readings made the times: two minutes, or a second less or more.
    assert!(
        lines[2].starts_with("  8  coder  error    3h12m  "),
        "{}",
        lines[2]
    );
    assert!(
        lines[2].ends_with("  $0.0040  401 - Fix the bug"),
        "{}",
        lines[2]
    );
    assert!(lines[3].ends_with("  $0.0040  Fix the bug"));
    let got = ctl(
        &["runs"],
        answer(r#"{"cmd":"list-runs","limit":20}"#, r#"{"runs":[]}"#),
    );
    assert_eq!(got.out, "No runs yet.\n");
}

#[test]
fn all_runs_are_read_page_by_page() {
    let page: Vec<String> = (1001..=1500)
        .rev()
        .map(|n| format!("{{\"run\":{n}}}"))
        .collect();
    let mut script = answer(
        r#"{"cmd":"list-runs","limit":500}"#,
        &format!("{{\"runs\":[{}]}}", page.join(",")),
    );
    script.extend(answer(
        r#"{"cmd":"list-runs","limit":500,"before":1001}"#,
        r#"{"runs":[{"run":3}]}"#,
    ));
    let got = ctl(&["runs", "--all", "-j"], script);
    assert_eq!(
        got.out,
        format!("{{\"runs\":[{},{{\"run\":3}}]}}\n", page.join(","))
    );
}

#[test]
fn runs_that_do_not_fall_end_the_listing() {
    let script = answer(
        r#"{"cmd":"list-runs","limit":3}"#,
        r#"{"runs":[{"run":3},{"run":3}]}"#,
    );
    let got = ctl(&["runs", "-n", "3"], script);
    assert_eq!(got.code, 1);
    assert!(got.err.contains("runs in the wrong order"), "{}", got.err);
}

#[test]
fn show_tells_everything() {
    let data = r#"{"run":7,"attempt":8,"profile":"demo","agent":"coder","state":"blocked","phase":"none",
        "reason":"user","created_at":"2026-11-22T10:00:00Z","ended_at":null,"by_uid":1001,"wanted":"run",
        "ended":false,"exit":null,"prompt":"Fix\nthe bug","answer":null,"stderr":"warn\u001b[31m: x\n",
        "lines":12,"bytes":3456,"malformed":1,"journal":"7-8.journal",
        "pane":{"run":7,"since":"bad","tools":["bash"],"container":"jail","cwd":"/src","pi_session_id":"s1",
          "usage":{"messages":2,"input":10,"output":5,"cache_read":3,"cache_write":1,"cost_usd":0.5},
          "dialogs":[{"request":"e37f-1","method":"select","title":"Which?","message":"Pick\none",
            "options":["Allow","it's; rm -rf ~","-x"],"timeout_ms":90000}]}}"#
        .replace("\n        ", "");
    let data = data.replace('\n', "");
    let got = ctl(
        &["show", "7"],
        answer(r#"{"cmd":"get-run","run":7}"#, &data),
    );
    let expected = "\
Run 7: blocked: user
  agent     coder (profile demo)
  created   2026-11-22T10:00:00Z by uid 1001
  reason    user
  since     bad (-)
  tools     bash
  usage     2 messages, 10 tokens in, 4 cached, 5 out, $0.50
  session   s1
  cwd       /src
  container jail
  stream    12 lines, 3456 bytes, 1 malformed
  journal   7-8.journal

Run 7 asks (select): Which?
  Pick
  one
  It answers itself after 1m30s.
  Answer with one of:
    colibri-ctl -s SOCK answer 7 e37f-1 Allow
    colibri-ctl -s SOCK answer 7 e37f-1 'it'\\''s; rm -rf ~'
    colibri-ctl -s SOCK answer 7 -- e37f-1 -x
    colibri-ctl -s SOCK answer 7 e37f-1 --cancel

Task:
  Fix
  the bug

Stderr:
  warn\u{fffd}[31m: x
";
    assert_eq!(got.out.replace(&got.socket, "SOCK"), expected);
}

#[test]
fn show_of_an_ended_run() {
    let data = r#"{"run":7,"profile":"demo","agent":"coder","state":"error","reason":"killed","created_at":"2026-11-22T10:00:00Z","ended_at":"2026-11-22T10:01:05Z","ended":true,"wanted":"run","exit":{"how":"signal","value":9},"proof":"kernel","answer":"half","prompt":"p"}"#;
    let got = ctl(&["show", "7"], answer(r#"{"cmd":"get-run","run":7}"#, data));
    let expected = "\
Run 7: ended, error: killed
  agent     coder (profile demo)
  created   2026-11-22T10:00:00Z
  ended     2026-11-22T10:01:05Z, after 1m05s
  reason    killed
  exit      killed by signal 9
  proof     the kernel said that nothing of it is left

Task:
  p

Answer:
  half
";
    assert_eq!(got.out, expected);
}

#[test]
fn check_wants_a_sensible_answer() {
    let good = status(0, &[pane(7, "a", "idle", "")]);
    let got = ctl(&["check"], answer(STATUS, &good));
    assert_eq!(
        (got.code, got.out.as_str()),
        (
            0,
            "healthy: colibrid 0.1.0, protocol 1, 1 run of at most 16 alive, run limits off, 1 warning\n"
        )
    );
    let got = ctl(&["check", "-j"], answer(STATUS, &good));
    assert_eq!(
        (got.code, got.out.as_str()),
        (
            0,
            "{\"healthy\":true,\"version\":\"0.1.0\",\"run_limits\":\"off\",\"problems\":[]}\n"
        )
    );
    // The last run of an agent is shown, too, and is not alive.
    let ended = pane(6, "b", "done", r#","ended":true"#);
    let both = status(0, &[pane(7, "a", "idle", ""), ended]).replace("\"alive\":2", "\"alive\":1");
    assert_eq!(ctl(&["check"], answer(STATUS, &both)).code, 0);
    let odd = pane(7, "a", "asleep", r#","attention":true"#);
    let bad = [
        ("{}".to_owned(), "it does not say its version"),
        (
            good.replace(r#""protocol":1"#, r#""protocol":2"#),
            "it speaks protocol 2, not 1",
        ),
        (
            good.replace(r#""alive":1"#, r#""alive":2"#),
            "it counts 2 runs alive but shows 1",
        ),
        (
            good.replace(r#""total":40"#, r#""total":0"#),
            "1 runs alive of 0 in all",
        ),
        (
            status(0, &[odd]),
            "it counts 0 agents in need but shows 1; it shows an unheard-of state",
        ),
        ("7".to_owned(), "cannot understand the reply of colibrid"),
    ];
    for (data, why) in bad {
        let got = ctl(&["check"], answer(STATUS, &data));
        assert_eq!((got.code, got.err.as_str()), (1, ""), "{data}");
        assert!(
            got.out.starts_with("not healthy: ") && got.out.contains(why),
            "{}",
            got.out
        );
        assert_eq!(got.out.lines().count(), 1);
    }
    let got = alone(&["check", "-s", "%/none"]);
    assert_eq!(got.code, 1);
    assert!(
        got.out.starts_with("not healthy: cannot connect to "),
        "{}",
        got.out
    );
}

const AUDIT: &str = r#"{"cmd":"audit"}"#;

#[test]
fn a_deep_check_names_every_disagreement() {
    let good = status(0, &[pane(7, "a", "idle", "")]);
    let asks = |data: &str| [answer(STATUS, &good), answer(AUDIT, data)].concat();
    let fine = r#"{"runs":1,"monitors":1,"processes":2,"disagreements":[]}"#;
    let got = ctl(&["check", "--deep"], asks(fine));
    assert_eq!(got.code, 0);
    assert!(
        got.out
            .ends_with("\nboard, monitors and kernel agree: 1 run, 1 monitor, 2 processes\n"),
        "{}",
        got.out
    );
    let got = ctl(&["check", "-dj"], asks(fine));
    assert!(
        got.out
            .ends_with(",\"problems\":[],\"agree\":{\"runs\":1,\"monitors\":1,\"processes\":2}}\n"),
        "{}",
        got.out
    );
    let bad = r#"{"runs":1,"monitors":1,"processes":2,"disagreements":[
        {"run":7,"attempt":8,"code":"no-agent","message":"nobody \u001b[31mis there"},
        {"run":5,"attempt":5,"code":"left-over","message":"a socket was left"}]}"#
        .replace('\n', "");
    let got = ctl(&["check", "--deep"], asks(&bad));
    let expected = "\
not healthy: 2 problems
  - run 7 attempt 8: nobody \u{fffd}[31mis there (no-agent)
  - run 5 attempt 5: a socket was left (left-over)
";
    assert_eq!((got.code, got.out.as_str()), (1, expected));
    let refused = [
        answer(STATUS, &good),
        canned::refuse(AUDIT, "denied", "audit is for the role operator"),
    ];
    let got = ctl(&["check", "--deep"], refused.concat());
    assert_eq!(got.code, 1);
    assert!(got.out.contains("denied"), "{}", got.out);
}

#[test]
fn explain_says_what_is_known_and_what_is_awaited() {
    let since = while_ago();
    let data = format!(
        r#"{{"run":7,"attempt":8,"profile":"demo","state":"blocked","phase":null,"since":"{since}","stage":"asked to end","ended":false,"wanted":"stop","waits_for":"agent","because":"its end was asked for, and it has not ended yet","next":{{"what":"SIGTERM","in_seconds":4}},"prompted":true,"quiet_seconds":65,"monitor":{{"pid":42,"connected":true,"announced_seq":9}},"journal":"7-8.journal","journal_seq":9,"container":"pid-namespace","container_proof":true,"proof":null,"evidence":[{{"seq":3,"at":"2026-11-22T10:00:00Z","run":7,"attempt":8,"kind":"state","state":"blocked"}}]}}"#
    );
    let got = ctl(
        &["explain", "7"],
        answer(r#"{"cmd":"explain-run","run":7}"#, &data),
    );
    let expected = format!(
        "\
Run 7 is blocked
  since      {since} (3h12m)
  waits for  agent: its end was asked for, and it has not ended yet
  next       SIGTERM in 4s
  attempt    asked to end, its end is wanted
  task       given to the agent
  quiet      for 1m05s
  monitor    process 42, connected
  journal    7-8.journal, 9 records read
  container  pid-namespace: its end is the kernel's word
  profile    demo

Last evidence:
10:00:00      3 run 7    state       blocked
"
    );
    assert_eq!((got.code, got.out), (0, expected));
}

#[test]
fn usage_needs_no_colibrid() {
    for wrong in [
        &[][..],
        &["sing"],
        &["show"],
        &["show", "x"],
        &["answer", "7", "r"],
        &["runs", "-n", "0"],
    ] {
        let got = alone(wrong);
        assert_eq!((got.code, got.out.as_str()), (2, ""), "{wrong:?}");
        assert!(!got.err.is_empty());
    }
    let got = alone(&["--help"]);
    assert_eq!(got.code, 0);
    for command in [
        "status", "run", "runs", "show", "tail", "stop", "steer", "abort", "answer", "snapshot",
        "check", "fold", "version", "explain",
    ] {
        let listed = got
            .out
            .lines()
            .any(|l| l.trim_start().split(' ').next() == Some(command));
        assert!(listed, "{command} in {}", got.out);
    }
    assert!(
        got.out.lines().all(|l| l.chars().count() <= 80),
        "{}",
        got.out
    );
}
