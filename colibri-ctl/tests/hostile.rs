//! colibri-ctl against a socket where something else listens, or colibrid has gone wrong: a message, exit
//! status 1, bounded memory, no wait without end, nothing harmful on the terminal.

mod canned;

use canned::{alone, answer, ctl, line, Step};

const STATUS: &str = r#"{"cmd":"status"}"#;

/// What status says after this was sent as its reply.
fn after(sent: Vec<Step>) -> String {
    let mut script = vec![Step::Expect(STATUS.into())];
    script.extend(sent);
    let got = ctl(&["status"], script);
    assert_eq!((got.code, got.out.as_str()), (1, ""), "{}", got.err);
    let err = got
        .err
        .strip_prefix("colibri-ctl: ")
        .expect("a message")
        .to_owned();
    assert_eq!(err.lines().count(), 1, "{err}");
    err.replace(&got.socket, "SOCK").trim_end().to_owned()
}

fn send(bytes: &[u8]) -> Vec<Step> {
    vec![Step::Send(bytes.to_vec())]
}

#[test]
fn nobody_listens() {
    let got = alone(&["status", "-s", "%/none"]);
    assert_eq!((got.code, got.out.as_str()), (1, ""));
    assert!(
        got.err
            .ends_with("/none: no such file or directory (is colibrid running?)\n"),
        "{}",
        got.err
    );
    let long = format!("%/{}", "x".repeat(200));
    let got = alone(&["status", "-s", &long]);
    assert_eq!(got.code, 1);
    assert!(
        got.err.starts_with("colibri-ctl: cannot connect to /"),
        "{}",
        got.err
    );
}

#[test]
fn a_dead_socket_is_refused() {
    let dir = std::env::temp_dir().join(format!("colibri-ctl-dead-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let got = alone(&["status", "-s", path.to_str().unwrap()]);
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(got.code, 1);
    let expected = format!(
        "colibri-ctl: cannot connect to {}: connection refused (is colibrid running?)\n",
        path.display()
    );
    assert_eq!(got.err, expected);
}

#[test]
fn garbage_and_half_replies() {
    assert_eq!(after(vec![]), "colibrid at SOCK closed the connection");
    assert_eq!(
        after(send(b"{\"ok\":true,\"da")),
        "colibrid at SOCK closed the connection in the middle of a line"
    );
    let cases: [(&[u8], &str); 9] = [
        (
            b"HTTP/1.1 400 Bad Request\r\n",
            "a line that is not its protocol",
        ),
        (b"\n", "a line that is not its protocol"),
        (b"\xff\xfe\x00\n", "bytes that are not UTF-8"),
        (b"[1,2]\n", "a line that is not its protocol"),
        (b"{}\n", "a line that is neither reply nor event"),
        (b"{\"ok\":true,\"id\":$ID}\n", "a reply without data"),
        (
            b"{\"ok\":true,\"data\":{},\"id\":999}\n",
            "a reply to something else",
        ),
        (b"{\"ok\":false,\"id\":$ID}\n", "a refusal without an error"),
        (b"{\"event\":[[]]}\n", "an event that is none"),
    ];
    for (bytes, why) in cases {
        let err = after(send(bytes));
        assert!(err.starts_with("colibrid at SOCK sent "), "{err}");
        assert!(err.contains(why), "{err} for {bytes:?}");
    }
}

#[test]
fn deep_nesting_is_no_stack_overflow() {
    let deep = format!("{}{}\n", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let err = after(send(deep.as_bytes()));
    assert!(
        err.contains("sent a line that is not its protocol"),
        "{err}"
    );
}

#[test]
fn a_line_without_end_is_bounded() {
    let err = after(send(&vec![b'x'; 10 * 1024 * 1024]));
    assert_eq!(err, "colibrid at SOCK sent a line without end");
}

#[test]
fn events_without_end_instead_of_a_reply() {
    let many = "{\"event\":{}}\n".repeat(20_000);
    let err = after(send(many.as_bytes()));
    assert_eq!(
        err,
        "colibrid at SOCK sent events without end instead of a reply"
    );
}

#[test]
fn no_answer_has_a_deadline() {
    let script = vec![Step::Expect(STATUS.into()), Step::Hang];
    let got = ctl(&["status", "-t", "1"], script);
    assert_eq!((got.code, got.out.as_str()), (1, ""));
    assert!(
        got.err.ends_with(" did not answer within 1 s\n"),
        "{}",
        got.err
    );
    // A byte now and then is no answer either.
    let script = vec![
        Step::Expect(STATUS.into()),
        Step::Send(b"{".to_vec()),
        Step::Hang,
    ];
    let got = ctl(&["-t", "1", "check"], script);
    assert_eq!(got.code, 1);
    assert!(
        got.out.ends_with(" did not answer within 1 s\n"),
        "{}",
        got.out
    );
}

#[test]
fn wrong_types_are_named_not_repeated() {
    let got = ctl(&["status"], answer(STATUS, r#"{"version":7}"#));
    assert_eq!(got.code, 1);
    assert!(
        got.err
            .contains("cannot understand the reply of colibrid: invalid type"),
        "{}",
        got.err
    );
}

/// Nothing that could move the cursor, change colours or reorder text.
fn is_safe(text: &str) -> bool {
    let harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    !text.chars().any(harmful)
}

#[test]
fn harmful_text_is_cleaned_everywhere() {
    let evil = r"\u001b]0;x\u0007\u009b2J\u202egpj.exe\u2066\u2028\r\n\u200b\u007f";
    let dialog = format!(
        r#"{{"request":"{evil}","method":"{evil}","title":"{evil}","message":"{evil}","options":["{evil}"]}}"#
    );
    let mut select = dialog.replace(&format!(r#""method":"{evil}""#), r#""method":"select""#);
    select = format!("[{dialog},{select}]");
    let pane = format!(
        r#"{{"run":1,"agent":"{evil}","state":"{evil}","phase":"{evil}","reason":"{evil}","since":"{evil}","stalled":true,"attention":true,"last_event_at":"{evil}","pi_session_id":"{evil}","cwd":"{evil}","container":"{evil}","tools":["{evil}"],"dialogs":{select}}}"#
    );
    let calm = pane.replace(&select, "[]");
    let status = format!(
        r#"{{"version":"{evil}","host":"{evil}","container":"{evil}","warnings":["{evil}"],"panes":[{pane},{calm}],"attention":2}}"#
    );
    let run = format!(
        r#"{{"run":1,"profile":"{evil}","agent":"{evil}","state":"{evil}","phase":"{evil}","reason":"{evil}","created_at":"{evil}","ended_at":"{evil}","title":"{evil}","exit":{{"how":"{evil}"}},"prompt":"{evil}","answer":"{evil}","stderr":"{evil}","proof":"{evil}","journal":"{evil}","pane":{pane}}}"#
    );
    let snapshot = format!(r#"{{"host":"{evil}","generated_at":"{evil}","panes":[{pane}]}}"#);
    let runs = format!(r#"{{"runs":[{run}]}}"#);
    let cases: [(&[&str], &str, &str); 4] = [
        (&["status"], STATUS, &status),
        (&["snapshot"], r#"{"cmd":"snapshot"}"#, &snapshot),
        (&["runs"], r#"{"cmd":"list-runs","limit":20}"#, &runs),
        (&["show", "1"], r#"{"cmd":"get-run","run":1}"#, &run),
    ];
    for (args, request, data) in cases {
        let got = ctl(args, answer(request, data));
        assert_eq!(got.code, 0, "{}", got.err);
        assert!(is_safe(&got.out), "{:?}", got.out);
        // JSON that holds them raw comes out escaped, with the same value.
        let value: serde_json::Value = serde_json::from_str(data).unwrap();
        let json: Vec<&str> = args.iter().copied().chain(["-j"]).collect();
        let got = ctl(&json, answer(request, &value.to_string()));
        assert!(is_safe(&got.out), "{:?}", got.out);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&got.out).unwrap(),
            value
        );
    }
    let mut script = answer(r#"{"cmd":"subscribe"}"#, "{}");
    for kind in [
        "state", "asked", "session", "answer", "ended", "did", "tool-end", evil,
    ] {
        script.push(line(&format!(
            r#"{{"event":{{"at":"{evil}","kind":"{kind}","state":"{evil}","phase":"{evil}","reason":"{evil}","id":"{evil}","cwd":"{evil}","name":"{evil}","text":"{evil}","command":"{evil}","error":"{evil}","method":"{evil}","title":"{evil}","how":"{evil}"}}}}"#
        )));
    }
    let got = ctl(&["tail"], script);
    assert_eq!(got.out.lines().count(), 8, "{}", got.out);
    assert!(is_safe(&got.out), "{:?}", got.out);
    let error = vec![
        Step::Expect(STATUS.into()),
        line(&format!(
            r#"{{"ok":false,"error":{{"code":"{evil}","message":"{evil}"}},"id":$ID}}"#
        )),
    ];
    let got = ctl(&["status"], error);
    assert!(got.code == 1 && is_safe(&got.err), "{:?}", got.err);
}

/// It closes the connection before it is asked anything, and often before we have asked.
#[test]
fn who_is_not_let_in_learns_why() {
    let no = r#"{"ok":false,"error":{"code":"denied","message":"uid 7 has no role here"}}"#;
    for _ in 0..20 {
        let got = ctl(&["status"], vec![line(no)]);
        assert_eq!((got.code, got.out.as_str()), (1, ""));
        assert_eq!(got.err, "colibri-ctl: uid 7 has no role here (denied)\n");
    }
}
