//! Every command against a canned colibrid: the request it makes, its text, its JSON, its exit status.

mod canned;

use canned::{ago, alone, answer, ctl, ctl_with, event, line, refuse, Step};

const STATUS: &str = r#"{"cmd":"status"}"#;

/// 3 h 12 min ago and a bit, so that a slow test shows the same age.
fn while_ago() -> String {
    ago(3 * 3600 + 12 * 60 + 5)
}

fn pane(run: u64, agent: &str, state: &str, more: &str) -> String {
    let since = while_ago();
    format!(
        r#"{{"id":"{run}","run":{run},"agent":"{agent}","state":"{state}","since":"{since}","usage":{{"cost_usd":0.125}}{more}}}"#
    )
}

fn status(attention: u64, panes: &[String]) -> String {
    let (started, alive) = (while_ago(), panes.len());
    let panes = panes.join(",");
    format!(
        r#"{{"version":"0.1.0","protocol":1,"host":"build1","pid":42,"started_at":"{started}","kept":true,"separate":false,"container":"pid-namespace","warnings":["users are not separated"],"seq":17,"runs":{{"alive":{alive},"limit":16,"total":40}},"attention":{attention},"panes":[{panes}],"new_field":{{"x":1}}}}"#
    )
}

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
    let page: Vec<String> = (1001..=2000)
        .rev()
        .map(|n| format!("{{\"run\":{n}}}"))
        .collect();
    let mut script = answer(
        r#"{"cmd":"list-runs","limit":1000}"#,
        &format!("{{\"runs\":[{}]}}", page.join(",")),
    );
    script.extend(answer(
        r#"{"cmd":"list-runs","limit":1000,"before":1001}"#,
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

const SPAWN: &str = r#"{"cmd":"spawn-agent","profile":"demo","prompt":"Say hi"}"#;

#[test]
fn run_says_how_to_follow() {
    let spawned = r#"{"run":7,"attempt":9}"#;
    let got = ctl(&["run", "demo", "Say hi"], answer(SPAWN, spawned));
    let expected = format!(
        "Run 7 accepted; to follow it: colibri-ctl -s {} tail 7\n",
        got.socket
    );
    assert_eq!((got.code, got.out), (0, expected));
    let got = ctl_with(
        &["-j", "run", "demo", "-"],
        answer(SPAWN, spawned),
        "Say hi\n",
    );
    assert_eq!((got.code, got.out), (0, format!("{spawned}\n")));
}

/// A run from its acceptance to its end in `state`; `$ID` is filled in by the server.
fn whole_run(state: &str, answer_text: &str) -> Vec<Step> {
    let at = r#""at":"2026-11-22T10:00:01Z","run":7"#;
    let mut script = answer(STATUS, &status(0, &[]));
    script.extend(answer(SPAWN, r#"{"run":7,"attempt":9}"#));
    let subscribe = r#"{"cmd":"subscribe","from":17,"run":7}"#;
    script.extend(answer(subscribe, r#"{"seq":18,"oldest":1}"#));
    script.extend(event(&format!(
        r#""seq":18,{at},"kind":"run-created","profile":"demo","agent":"a""#
    )));
    script.extend(event(&format!(
        r#""seq":19,{at},"kind":"state","state":"working","phase":"model","reason":null"#
    )));
    script.extend(event(&format!(
        r#""seq":20,{at},"kind":"asked","request":"r1","method":"confirm","title":"Sure?""#
    )));
    script.extend(event(&format!(
        r#""seq":21,{at},"kind":"ended","state":"{state}","reason":"why","exit":{{"how":"code","value":1}}"#
    )));
    script.extend(answer(
        r#"{"cmd":"get-run","run":7}"#,
        &format!(
            r#"{{"run":7,"state":"{state}","reason":"why","ended":true,"answer":{answer_text}}}"#
        ),
    ));
    script
}

#[test]
fn run_wait_prints_progress_and_the_answer() {
    let got = ctl(
        &["run", "demo", "--wait", "Say hi"],
        whole_run("done", r#""Hi \u001b[2J there\n""#),
    );
    assert_eq!((got.code, got.out.as_str()), (0, "Hi \u{fffd}[2J there\n"));
    let expected = "\
Run 7 accepted; waiting for it (to end it: colibri-ctl -s SOCK stop 7)
10:00:01     19 run 7    state       working (model)
Run 7 asks (confirm): Sure?
  Answer with one of:
    colibri-ctl -s SOCK answer 7 r1 yes
    colibri-ctl -s SOCK answer 7 r1 no
    colibri-ctl -s SOCK answer 7 r1 --cancel
10:00:01     21 run 7    ended       done: why, exit status 1
";
    assert_eq!(got.err.replace(&got.socket, "SOCK"), expected);
}

#[test]
fn run_wait_fails_with_the_run() {
    let got = ctl(&["run", "demo", "-w", "Say hi"], whole_run("error", "null"));
    assert_eq!((got.code, got.out.as_str()), (1, ""));
    assert!(
        got.err.ends_with("colibri-ctl: run 7 ended, error: why\n"),
        "{}",
        got.err
    );
    let got = ctl(
        &["run", "demo", "-w", "Say hi"],
        whole_run("idle", r#""half""#),
    );
    assert_eq!((got.code, got.out.as_str()), (1, "half\n"));
}

#[test]
fn run_wait_in_json_is_one_object_per_line() {
    let got = ctl(
        &["-j", "run", "demo", "-w", "Say hi"],
        whole_run("done", r#""Hi""#),
    );
    let lines: Vec<&str> = got.out.lines().collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0], r#"{"run":7,"attempt":9}"#);
    assert!(lines[1].starts_with(r#"{"event":{"seq":18,"#));
    assert!(lines[5].starts_with(r#"{"final":{"run":7,"state":"done","#));
    assert_eq!((got.code, got.err.as_str()), (0, ""));
}

#[test]
fn a_gap_does_not_hide_the_end() {
    let mut script = answer(STATUS, &status(0, &[]));
    script.extend(answer(SPAWN, r#"{"run":7}"#));
    script.extend(answer(
        r#"{"cmd":"subscribe","from":17,"run":7}"#,
        r#"{"seq":90}"#,
    ));
    script.push(line(r#"{"gap":{"from":18,"to":80}}"#));
    let end = r#"{"run":7,"state":"done","ended":true,"answer":"Hi"}"#;
    script.extend(answer(r#"{"cmd":"get-run","run":7}"#, end));
    script.extend(answer(r#"{"cmd":"get-run","run":7}"#, end));
    let got = ctl(&["run", "demo", "-w", "Say hi"], script);
    assert_eq!((got.code, got.out.as_str()), (0, "Hi\n"));
    assert!(
        got.err.contains("-- events 18 to 80 are lost"),
        "{}",
        got.err
    );
}

fn tail_events() -> Vec<Step> {
    let at = r#""at":"2026-11-22T10:00:01.250Z""#;
    let kinds = [
        r#""kind":"run-created","run":7,"profile":"demo","agent":"coder","by_uid":1001"#,
        r#""kind":"started","run":7,"container":"jail","monitor":55"#,
        r#""kind":"launched","run":7,"pid":77"#,
        r#""kind":"state","run":7,"state":"working","phase":"retrying","reason":"429","until":null,"attention":false"#,
        r#""kind":"session","run":7,"id":"s1","cwd":"/src""#,
        r#""kind":"usage","run":7,"messages":1,"input":10,"output":5,"cost_usd":0.5"#,
        r#""kind":"asked","run":7,"request":"r","method":"input","title":"Name\u202e?","options":[]"#,
        r#""kind":"settled","run":7,"request":"r","how":"answered""#,
        r#""kind":"tool-start","run":7,"id":"t1","name":"bash""#,
        r#""kind":"tool-end","run":7,"id":"t1","name":"bash","failed":true,"duration_ms":1500"#,
        r#""kind":"answer","run":7,"text":"It\nis done""#,
        r#""kind":"did","run":7,"command":"steer","error":null"#,
        r#""kind":"did","run":7,"command":"abort","error":"not running""#,
        r#""kind":"stop-wanted","run":7,"by_uid":0"#,
        r#""kind":"stopping","run":7"#,
        r#""kind":"exited","run":7,"exit":{"how":"signal","value":15}"#,
        r#""kind":"dropped","run":7,"records":3"#,
        r#""kind":"stalled","run":7,"quiet_seconds":300"#,
        r#""kind":"unstalled","run":7"#,
        r#""kind":"brand-new","run":7,"what":[1]"#,
        r#""kind":"ended","run":7,"state":"idle","reason":"stopped","exit":{"how":"signal","value":15},"proof":"kernel","asked":true"#,
    ];
    let numbered = kinds.iter().zip(101..);
    numbered
        .flat_map(|(kind, seq)| event(&format!(r#""seq":{seq},{at},{kind}"#)))
        .collect()
}

#[test]
fn tail_shows_every_kind_on_a_line() {
    let mut script = answer(
        r#"{"cmd":"subscribe","from":100,"run":7}"#,
        r#"{"seq":121,"oldest":1}"#,
    );
    script.extend(answer(
        r#"{"cmd":"get-run","run":7}"#,
        r#"{"run":7,"ended":false}"#,
    ));
    script.push(line(r#"{"gap":{"from":99,"to":100}}"#));
    script.extend(tail_events());
    let got = ctl(&["tail", "7", "--from", "100"], script);
    let expected = "\
-- events 99 to 100 are lost; for the present state: colibri-ctl -s SOCK status
10:00:01    101 run 7    run-created coder (profile demo) by uid 1001
10:00:01    102 run 7    started     in jail
10:00:01    103 run 7    launched    process 77
10:00:01    104 run 7    state       working (retrying): 429
10:00:01    105 run 7    session     s1 in /src
10:00:01    106 run 7    usage       10 in, 5 out, $0.50
10:00:01    107 run 7    asked       asks (input): Name\u{fffd}?
10:00:01    108 run 7    settled     question r: answered
10:00:01    109 run 7    tool-start  bash
10:00:01    110 run 7    tool-end    bash failed, 1500 ms
10:00:01    111 run 7    answer      It is done
10:00:01    112 run 7    did         steer
10:00:01    113 run 7    did         abort refused: not running
10:00:01    114 run 7    stop-wanted by uid 0
10:00:01    115 run 7    stopping
10:00:01    116 run 7    exited      killed by signal 15
10:00:01    117 run 7    dropped     3 records
10:00:01    118 run 7    stalled     quiet for 5m00s
10:00:01    119 run 7    unstalled
10:00:01    120 run 7    brand-new
10:00:01    121 run 7    ended       idle: stopped, killed by signal 15
";
    assert_eq!(got.out.replace(&got.socket, "SOCK"), expected);
    assert_eq!((got.code, got.err.as_str()), (0, ""));
}

#[test]
fn tail_in_json_is_the_lines_as_they_came() {
    let mut script = answer(r#"{"cmd":"subscribe"}"#, r#"{"seq":100,"oldest":1}"#);
    script.push(line(r#"{"gap":{"from":1,"to":2}}"#));
    script.push(line(
        "{\"event\":{\"seq\":3,\"kind\":\"odd\",\"x\":\"\u{202e}\"}}",
    ));
    let got = ctl(&["tail", "-j"], script);
    let expected = "{\"gap\":{\"from\":1,\"to\":2}}\n{\"event\":{\"seq\":3,\"kind\":\"odd\",\"x\":\"\\u202e\"}}\n";
    assert_eq!(got.out, expected);
    // Without a run it ends only with the connection, and that is a failure.
    assert_eq!(got.code, 1);
    assert!(got.err.ends_with(" closed the connection\n"), "{}", got.err);
}

#[test]
fn tail_of_an_ended_run_says_so() {
    let mut script = answer(
        r#"{"cmd":"subscribe","run":7}"#,
        r#"{"seq":100,"oldest":1}"#,
    );
    script.extend(answer(
        r#"{"cmd":"get-run","run":7}"#,
        r#"{"run":7,"ended":true}"#,
    ));
    let got = ctl(&["tail", "7"], script);
    let expected = format!("Run 7 has ended: colibri-ctl -s {} show 7\n", got.socket);
    assert_eq!((got.code, got.out.as_str(), got.err), (0, "", expected));
}

#[test]
fn stop_is_accepted_and_can_be_waited_for() {
    let stop = r#"{"cmd":"stop-agent","run":7}"#;
    let got = ctl(
        &["stop", "7"],
        answer(stop, r#"{"run":7,"state":"stopping"}"#),
    );
    let expected = format!(
        "Run 7 is stopping; to see its end: colibri-ctl -s {} tail 7\n",
        got.socket
    );
    assert_eq!((got.code, got.out), (0, expected));
    let got = ctl(&["stop", "7"], answer(stop, r#"{"run":7,"state":"ended"}"#));
    assert_eq!(got.out, "Run 7 has ended\n");

    let mut script = answer(r#"{"cmd":"subscribe","run":7}"#, r#"{"seq":100}"#);
    // The end may come before the reply; it must not be lost.
    script.push(Step::Expect(stop.into()));
    script.extend(event(
        r#""seq":101,"at":"2026-11-22T10:00:01Z","run":7,"kind":"stopping""#,
    ));
    script.extend(event(r#""seq":102,"run":7,"kind":"ended","state":"idle""#));
    script.push(line(
        r#"{"ok":true,"data":{"run":7,"state":"stopping"},"id":$ID}"#,
    ));
    script.extend(answer(
        r#"{"cmd":"get-run","run":7}"#,
        r#"{"run":7,"ended":true,"state":"idle","reason":"stopped"}"#,
    ));
    let got = ctl(&["stop", "7", "--wait"], script);
    assert_eq!(
        (got.code, got.out.as_str()),
        (0, "Run 7 ended, idle: stopped\n")
    );
    assert_eq!(got.err, "10:00:01    101 run 7    stopping\n");
}

#[test]
fn commands_to_a_run() {
    let done = r#"{"run":7,"done":true}"#;
    let cases: [(&[&str], &str, &str); 5] = [
        (
            &["steer", "7", "Use tabs"],
            r#"{"cmd":"steer","run":7,"message":"Use tabs"}"#,
            "Run 7 has taken the message\n",
        ),
        (
            &["abort", "7"],
            r#"{"cmd":"abort","run":7}"#,
            "Run 7 has been told to stop its current work\n",
        ),
        (
            &["answer", "7", "r1", "yes"],
            r#"{"cmd":"answer","run":7,"request":"r1","value":"yes"}"#,
            "The question of run 7 is answered\n",
        ),
        (
            &["answer", "7", "r1", ""],
            r#"{"cmd":"answer","run":7,"request":"r1","value":""}"#,
            "The question of run 7 is answered\n",
        ),
        (
            &["answer", "7", "r1", "--cancel"],
            r#"{"cmd":"answer","run":7,"request":"r1","cancel":true}"#,
            "The question of run 7 is cancelled\n",
        ),
    ];
    for (args, request, text) in cases {
        let got = ctl(args, answer(request, done));
        assert_eq!(
            (got.code, got.out.as_str(), got.err.as_str()),
            (0, text, "")
        );
        let json: Vec<&str> = args.iter().copied().chain(["-j"]).collect();
        let got = ctl(&json, answer(request, done));
        assert_eq!((got.code, got.out), (0, format!("{done}\n")));
    }
}

#[test]
fn refusals_are_told_and_fail() {
    let abort = r#"{"cmd":"abort","run":7}"#;
    let got = ctl(
        &["abort", "7"],
        refuse(abort, "denied", "abort needs the role operator"),
    );
    assert_eq!((got.code, got.out.as_str()), (1, ""));
    assert_eq!(
        got.err,
        "colibri-ctl: abort needs the role operator (denied)\n"
    );
}

#[test]
fn check_wants_a_sensible_answer() {
    let good = status(0, &[pane(7, "a", "idle", "")]);
    let got = ctl(&["check"], answer(STATUS, &good));
    assert_eq!(
        (got.code, got.out.as_str()),
        (
            0,
            "healthy: colibrid 0.1.0, protocol 1, 1 run of at most 16 alive, 1 warning\n"
        )
    );
    let got = ctl(&["check", "-j"], answer(STATUS, &good));
    assert_eq!(
        (got.code, got.out.as_str()),
        (
            0,
            "{\"healthy\":true,\"problems\":[],\"version\":\"0.1.0\"}\n"
        )
    );
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

#[test]
fn version_and_usage_need_no_colibrid() {
    let version = env!("CARGO_PKG_VERSION");
    let got = alone(&["version"]);
    assert_eq!(
        (got.code, got.out),
        (0, format!("colibri-ctl {version}, protocol 1\n"))
    );
    let got = alone(&["version", "-j"]);
    assert_eq!(
        got.out,
        format!("{{\"version\":\"{version}\",\"protocol\":1}}\n")
    );
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
        "check", "fold", "version",
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

#[test]
fn texts_are_checked_before_they_are_sent() {
    let long = "x".repeat(256 * 1024 + 1);
    let got = ctl_with(&["run", "demo", "-"], vec![], &long);
    assert_eq!(got.code, 1);
    assert_eq!(
        got.err,
        "colibri-ctl: the prompt is longer than 262144 bytes\n"
    );
    let got = alone(&["steer", "7", "  "]);
    assert_eq!(
        (got.code, got.err.as_str()),
        (1, "colibri-ctl: the text is empty\n")
    );
}
