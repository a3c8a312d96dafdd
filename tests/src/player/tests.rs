//! The player must behave like Pi where it answers, and like a tape where it does not.

use super::*;
use serde_json::json;
use std::sync::mpsc::{channel, Sender};

const NEW: &str = concat!(
    "{\"id\":\"p1\",\"type\":\"response\",\"command\":\"prompt\",\"success\":true,\"data\":{\"disposition\":\"started\"}}\n",
    "{\"type\":\"agent_start\"}\n",
    "{\"type\":\"tool_execution_start\",\"toolCallId\":\"c1\",\"toolName\":\"bash\",\"args\":{}}\n",
    "{\"type\":\"extension_ui_request\",\"id\":\"d1\",\"method\":\"confirm\",\"title\":\"?\"}\n",
    "{\"type\":\"tool_execution_end\",\"toolCallId\":\"c1\",\"toolName\":\"bash\",\"isError\":false}\n",
    "{\"type\":\"agent_end\",\"messages\":[],\"willRetry\":false}\n",
    "{\"type\":\"agent_settled\",\"aborted\":false}\n",
);

fn play(trace: &str, commands: Vec<Input>, options: Options) -> Vec<String> {
    let (send, input): (Sender<Input>, _) = channel();
    for command in commands {
        send.send(command).expect("receiver lives");
    }
    drop(send);
    let trace = Trace::parse(trace.as_bytes());
    let mut out = Vec::new();
    Player::new(&trace, &mut out, input, options)
        .rpc(false)
        .expect("a vector takes everything");
    let text = String::from_utf8(out).expect("text");
    text.lines().map(str::to_owned).collect()
}

const FAST: Options = Options {
    speed: 0.0,
    each_prompt: false,
};

fn command(v: Value) -> Input {
    Input::Command(v)
}

fn prompt(id: &str) -> Input {
    command(json!({"type": "prompt", "id": id, "message": "x"}))
}

#[test]
fn nothing_is_said_before_a_prompt() {
    assert!(play(NEW, vec![Input::Eof], FAST).is_empty());
}

#[test]
fn a_dialog_holds_the_tape_until_its_own_answer() {
    let held = play(
        NEW,
        vec![
            prompt("q"),
            command(json!({"type": "extension_ui_response", "id": "other", "confirmed": true})),
        ],
        FAST,
    );
    assert!(held.last().expect("lines").contains("extension_ui_request"));
    assert!(held[0].starts_with(r#"{"id":"q","type":"response""#));
    let (send, input) = channel();
    let trace = Trace::parse(NEW.as_bytes());
    // The answer can only be sent once the question is out: the writer sends it.
    struct Answer(Vec<u8>, Sender<Input>);
    impl Write for Answer {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.extend_from_slice(buf);
            if dialog(buf).is_some() {
                let answer =
                    json!({"type": "extension_ui_response", "id": "d1", "cancelled": true});
                let _ = self.1.send(Input::Command(answer));
            }
            if kind(buf) == Some("agent_settled") {
                let _ = self.1.send(Input::Eof);
            }
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    send.send(prompt("p1")).expect("receiver lives");
    let mut out = Answer(Vec::new(), send);
    Player::new(&trace, &mut out, input, FAST)
        .rpc(false)
        .expect("plays");
    assert_eq!(String::from_utf8(out.0).expect("text"), NEW);
}

#[test]
fn an_abort_closes_the_tool_and_settles() {
    let no_dialog = NEW.replace("\"confirm\"", "\"notify\"");
    let mut slow = Trace::parse(no_dialog.as_bytes());
    slow.set_times("ms\tbytes\ttype\n0\n0\n0\n1\n3600000\n3600000\n3600000\n");
    let (send, input) = channel();
    send.send(prompt("p1")).expect("receiver lives");
    struct AbortAfterTool(Vec<u8>, Sender<Input>);
    impl Write for AbortAfterTool {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.extend_from_slice(buf);
            if kind(buf) == Some("tool_execution_start") {
                let _ = self
                    .1
                    .send(Input::Command(json!({"type": "abort", "id": "a"})));
                let _ = self.1.send(Input::Eof);
            }
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut out = AbortAfterTool(Vec::new(), send);
    let options = Options {
        speed: 1.0,
        each_prompt: false,
    };
    Player::new(&slow, &mut out, input, options)
        .rpc(false)
        .expect("plays");
    let text = String::from_utf8(out.0).expect("text");
    let end: Vec<_> = text.lines().rev().take(6).collect();
    assert_eq!(
        end[0],
        r#"{"id":"a","type":"response","command":"abort","success":true}"#
    );
    assert_eq!(end[1], r#"{"type":"agent_settled","aborted":true}"#);
    assert!(end[5].contains("\"toolCallId\":\"c1\"") && end[5].ends_with("\"isError\":true}"));
}

#[test]
fn the_old_dialect_ends_an_abort_without_settling() {
    let old = "{\"type\":\"session\"}\n{\"type\":\"agent_start\"}\n{\"type\":\"agent_end\",\"messages\":[]}\n";
    let out = play(
        old,
        vec![prompt("p1"), command(json!({"type": "abort"}))],
        FAST,
    );
    assert_eq!(
        out[0],
        r#"{"id":"p1","type":"response","command":"prompt","success":true}"#
    );
    assert!(!out
        .iter()
        .any(|l| l.contains("settled") || l.contains("session")));
}

#[test]
fn commands_are_answered_while_playing() {
    let out = play(
        NEW,
        vec![
            prompt("p1"),
            command(json!({"type": "prompt", "id": "n", "message": "no"})),
            command(json!({"type": "get_state", "id": "g"})),
            command(json!({"type": "steer", "id": "s", "message": "left"})),
            command(json!({"type": "dance", "id": "d"})),
            Input::Garbage,
        ],
        FAST,
    );
    let all = out.join("\n");
    assert!(all.contains(r#"{"id":"n","type":"response","command":"prompt","success":false"#));
    assert!(all.contains(r#"{"id":"g","type":"response","command":"get_state","success":true"#));
    assert!(all.contains(r#"{"type":"queue_update","steering":["left"],"followUp":[]}"#));
    assert!(all.contains(r#""error":"Unknown command: dance""#));
    assert!(all.contains(r#""command":"parse""#));
}

#[test]
fn a_cut_last_line_stays_cut_and_times_are_found() {
    let dir = std::env::temp_dir().join(format!("colibri-player-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("directory");
    std::fs::write(dir.join("a.jsonl"), "{\"type\":\"session\"}\n{\"ty").expect("trace");
    std::fs::write(
        dir.join("a.timing.tsv"),
        "ms\tbytes\ttype\n1.5\t1\tsession\n2\t1\t?\n",
    )
    .expect("times");
    let trace = Trace::open(&dir.join("a.jsonl"), None).expect("opens");
    std::fs::remove_dir_all(&dir).expect("removed");
    assert_eq!(trace.times, [1.5, 2.0]);
    let (_send, input) = channel();
    let mut out = Vec::new();
    Player::new(&trace, &mut out, input, FAST)
        .json()
        .expect("plays");
    assert_eq!(out, b"{\"type\":\"session\"}\n{\"ty");
}
