//! What the watchdog says, from a line: pure and bounded, since anybody may sit at its socket.

use libcolibri::config::Leave;
use libcolibri::record::{clip, SHORT};
use libcolibri::skill::depth;
use serde_json::{Map, Value};

use crate::request::DEPTH_MAX;

/// Longest answer, in bytes.
pub const ANSWER_MAX: usize = 16 * 1024;

/// An answer that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// How far it lets us go.
    pub leave: Leave,
    /// Why, in its words; may be empty.
    pub reason: String,
    /// All of it, the fields that are not understood too.
    pub raw: Map<String, Value>,
}

/// Reads an answer: an object whose `mode` is `normal`, `throttled` or `held`. If `throttled` or
/// `held` is true beside it, the strictest counts.
///
/// # Errors
/// What is wrong with it, in words that hold nothing of it.
pub fn read(line: &[u8]) -> Result<Said, &'static str> {
    if line.len() > ANSWER_MAX {
        return Err("its answer is longer than 16 KiB");
    }
    if depth(line) > DEPTH_MAX {
        return Err("its answer is nested too deep");
    }
    let Ok(Value::Object(raw)) = serde_json::from_slice(line) else {
        return Err("its answer is not a JSON object");
    };
    let mode = raw.get("mode").and_then(Value::as_str);
    let Some(mut leave) = mode.and_then(|m| m.parse::<Leave>().ok()) else {
        return Err("its answer has no mode that is known");
    };
    for word in [Leave::Throttled, Leave::Held] {
        match raw.get(word.as_str()) {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(Value::Bool(true)) => leave = leave.max(word),
            // Whatever else it is, it was meant to say something.
            Some(_) => return Err("its answer has a flag that is neither true nor false"),
        }
    }
    let reason = raw.get("reason").and_then(Value::as_str).unwrap_or("");
    let reason = clip(reason, SHORT).to_owned();
    Ok(Said { leave, reason, raw })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leave(line: &str) -> Result<Leave, &'static str> {
        read(line.as_bytes()).map(|s| s.leave)
    }

    #[test]
    fn the_strictest_word_counts() {
        assert_eq!(leave(r#"{"mode":"normal"}"#), Ok(Leave::Normal));
        assert_eq!(leave(r#"{"mode":"held"}"#), Ok(Leave::Held));
        let both = r#"{"mode":"normal","throttled":true,"held":false}"#;
        assert_eq!(leave(both), Ok(Leave::Throttled));
        let lie = r#"{"mode":"normal","throttled":null,"held":true}"#;
        assert_eq!(leave(lie), Ok(Leave::Held));
        assert_eq!(
            leave(r#"{"mode":"held","throttled":true}"#),
            Ok(Leave::Held)
        );
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let line = br#"{"mode":"throttled","reason":"low memory","memory":{"free":7}}"#;
        let said = read(line).unwrap();
        assert_eq!(said.reason, "low memory");
        assert_eq!(said.raw["memory"]["free"], 7);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for wrong in [
            "",
            "ok",
            "[]",
            "{}",
            "{\"mode\":1}",
            "{\"mode\":\"Normal\"}",
            "{\"mode\":\"normal\",\"held\":\"yes\"}",
            "{\"mode\":\"normal\"",
        ] {
            assert!(leave(wrong).is_err(), "{wrong}");
        }
        assert!(leave(&"[".repeat(ANSWER_MAX)).is_err());
        assert!(leave(&format!(
            r#"{{"mode":"normal","x":"{}"}}"#,
            "x".repeat(ANSWER_MAX)
        ))
        .is_err());
    }
}
