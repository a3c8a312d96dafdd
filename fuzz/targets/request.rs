//! A line on the public socket: refused in order, or a request within every limit.
#![no_main]

use colibrid::board::ask::{Ask, CreateTask, NEEDS_MAX};
use colibrid::board::intake::Intake;
use colibrid::board::telegram;
use colibrid::request::{open, reply, Refusal, Request, DEPTH_MAX, LINE_MAX, LIST_MAX};
use libcolibri::config::CAPABILITIES_MAX;
use libcolibri::msg::{Reply, TEXT_MAX};
use libcolibri::record::{LONG, SHORT};
use libcolibri::skill::PER_TASK;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The codes of colibri-protocol(7) that reading a line can give.
const CODES: [&str; 3] = ["bad-request", "unknown-command", "too-long"];

fuzz_target!(|data: &[u8]| {
    let envelope = match open(data) {
        Ok(envelope) => envelope,
        Err(refusal) => return refused(None, refusal),
    };
    let whole: Value = serde_json::from_slice(data).expect("an opened line is JSON");
    assert!(depth(&whole) <= DEPTH_MAX);
    let id = envelope.id.clone();
    assert!(!matches!(&id, Some(Value::Array(_) | Value::Object(_))));
    match envelope.request() {
        Ok(request) => within_limits(&request),
        Err(refusal) => refused(id.as_ref(), refusal),
    }
});

/// A refusal is one short line of JSON with a known code and the id.
fn refused(id: Option<&Value>, refusal: Refusal) {
    assert!(CODES.contains(&refusal.code), "{}", refusal.code);
    assert!(!refusal.message.is_empty() && refusal.message.len() <= SHORT);
    let line = reply(id, Err(refusal));
    assert_eq!(line.find('\n'), Some(line.len() - 1));
    let value: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(value["ok"], Value::Bool(false));
    assert_eq!(value.get("id"), id);
}

fn within_limits(request: &Request) {
    let text = |t: &str| assert!(t.len() <= TEXT_MAX && !t.trim().is_empty());
    match request {
        Request::ListRuns(l) => assert!((1..=LIST_MAX).contains(&l.limit)),
        Request::SpawnAgent(s) => {
            text(&s.prompt);
            assert!(s.profile.len() <= LINE_MAX);
        }
        Request::Steer(s) => text(&s.message),
        Request::Answer(_, request, reply) => {
            assert!(request.len() <= SHORT);
            if let Reply::Value(v) = reply {
                assert!(v.len() <= TEXT_MAX);
            }
        }
        Request::Board(Ask::Create(t)) => {
            text(&t.title);
            assert!(t.title.len() + t.description.len() < TEXT_MAX);
            assert!(t.capabilities.len() <= CAPABILITIES_MAX && t.after.len() <= NEEDS_MAX);
            assert!(t.skills.len() <= PER_TASK);
            assert!(t.times().is_ok() && t.retries().is_ok());
        }
        Request::Intake(i) => match *i.clone() {
            Intake::Plain(t, to) => {
                text(&t.title);
                assert!(to.is_none_or(|t| t.to_string().len() <= SHORT));
            }
            Intake::Telegram(update) => {
                if let Ok(m) = update.message {
                    assert!(m.text.len() <= telegram::TEXT_MAX && m.reply_to.is_object());
                    let (title, description) = m.task();
                    assert!(CreateTask::new(title, description).check().is_ok());
                }
            }
        },
        Request::Board(Ask::List(l)) => assert!((1..=LIST_MAX).contains(&l.limit)),
        Request::Board(Ask::Transition(r)) => {
            assert!(r.reason.len() <= SHORT);
            assert!(r.summary.as_ref().is_none_or(|s| s.len() <= LONG));
        }
        _ => {}
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(a) => 1 + a.iter().map(depth).max().unwrap_or(0),
        Value::Object(o) => 1 + o.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
