//! The commands that act and those that follow, against a canned colibrid: requests, text, JSON, exit
//! status.

mod canned;

use canned::replies::{status, STATUS};
use canned::{alone, answer, ctl, ctl_with, event, line, refuse, Step};

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
        r#""kind":"exited","run":7,"exit":{"how":"unseen","value":null}"#,
        r#""kind":"exited","run":7,"exit":{"how":"not-started","value":2}"#,
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
10:00:01    118 run 7    exited      exit status unknown
10:00:01    119 run 7    exited      not started (errno 2)
10:00:01    120 run 7    stalled     quiet for 5m00s
10:00:01    121 run 7    unstalled
10:00:01    122 run 7    brand-new
10:00:01    123 run 7    ended       idle: stopped, killed by signal 15
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
