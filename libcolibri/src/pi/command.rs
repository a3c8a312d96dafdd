//! The lines that Pi's RPC mode reads on its stdin: one JSON object each, ended by LF.

use serde_json::{json, Map, Value};

/// A command; texts are taken as they are, JSON escapes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Starts work. Refused while a run is going on.
    Prompt(&'a str),
    /// A message into the running work, delivered after the current turn's tools.
    Steer(&'a str),
    /// Ends the current work. Does not close an open dialog, and then waits for it: cancel that first.
    Abort,
    /// Asks what Pi is doing; answered at any time, also while a dialog is open.
    GetState,
}

/// A person's answer to a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The chosen option of a `select`, or the text of an `input` or `editor`.
    Value(&'a str),
    /// Yes or no to a `confirm`.
    Confirmed(bool),
    /// No answer; every dialog accepts that.
    Cancelled,
}

impl<'a> Reply<'a> {
    /// Reads what a person typed as an answer to a dialog of this `method` with these `options`.
    ///
    /// A `confirm` takes yes, no, y, n, true, false; a `select` takes one of its options.
    ///
    /// # Errors
    /// Says which answers are possible.
    pub fn parse(method: &str, options: &[String], value: &'a str) -> Result<Reply<'a>, String> {
        match method {
            "confirm" => match value.to_ascii_lowercase().as_str() {
                "yes" | "y" | "true" => Ok(Reply::Confirmed(true)),
                "no" | "n" | "false" => Ok(Reply::Confirmed(false)),
                _ => Err("a confirm dialog is answered with yes or no".to_owned()),
            },
            "select" if !options.iter().any(|o| o == value) => Err(format!(
                "a select dialog is answered with one of: {}",
                options.join(", ")
            )),
            "select" | "input" | "editor" => Ok(Reply::Value(value)),
            other => Err(format!("{other} is not a dialog")),
        }
    }
}

/// The line of a command. Pi's response repeats `id`; without one (`""`) it has none.
#[must_use]
pub fn line(id: &str, command: Command<'_>) -> Vec<u8> {
    let (word, message) = match command {
        Command::Prompt(text) => ("prompt", Some(text)),
        Command::Steer(text) => ("steer", Some(text)),
        Command::Abort => ("abort", None),
        Command::GetState => ("get_state", None),
    };
    let mut object = Map::new();
    if !id.is_empty() {
        object.insert("id".to_owned(), json!(id));
    }
    object.insert("type".to_owned(), json!(word));
    if let Some(text) = message {
        object.insert("message".to_owned(), json!(text));
    }
    encode(object)
}

/// The line that answers the dialog `request`.
#[must_use]
pub fn reply(request: &str, reply: Reply<'_>) -> Vec<u8> {
    let (key, value) = match reply {
        Reply::Value(text) => ("value", json!(text)),
        Reply::Confirmed(yes) => ("confirmed", json!(yes)),
        Reply::Cancelled => ("cancelled", json!(true)),
    };
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("extension_ui_response"));
    object.insert("id".to_owned(), json!(request));
    object.insert(key.to_owned(), value);
    encode(object)
}

fn encode(object: Map<String, Value>) -> Vec<u8> {
    let mut bytes = Value::Object(object).to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(line: &[u8], recorded: &str) {
        assert_eq!(line.iter().filter(|&&b| b == b'\n').count(), 1);
        assert_eq!(line.last(), Some(&b'\n'));
        let ours: Value = serde_json::from_slice(line).unwrap();
        let theirs: Value = serde_json::from_str(recorded).unwrap();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn lines_are_what_was_recorded() {
        same(
            &line("p1", Command::Prompt("Stream slowly")),
            r#"{"id": "p1", "type": "prompt", "message": "Stream slowly"}"#,
        );
        same(
            &line("a1", Command::Abort),
            r#"{"id": "a1", "type": "abort"}"#,
        );
        same(
            &line("st1", Command::Steer("a\nb\u{2028}")),
            "{\"id\": \"st1\", \"type\": \"steer\", \"message\": \"a\\nb\u{2028}\"}",
        );
        same(&line("", Command::GetState), r#"{"type": "get_state"}"#);
        same(
            &reply("5fa9", Reply::Value("green")),
            r#"{"type": "extension_ui_response", "id": "5fa9", "value": "green"}"#,
        );
        same(
            &reply("c6c8", Reply::Cancelled),
            r#"{"type": "extension_ui_response", "id": "c6c8", "cancelled": true}"#,
        );
        same(
            &reply("1a41", Reply::parse("confirm", &[], "Yes").unwrap()),
            r#"{"type": "extension_ui_response", "id": "1a41", "confirmed": true}"#,
        );
    }

    #[test]
    fn answers_that_no_dialog_takes_are_refused() {
        let colours = ["red".to_owned(), "green".to_owned()];
        assert!(Reply::parse("select", &colours, "blue").is_err());
        assert!(Reply::parse("confirm", &[], "perhaps").is_err());
        assert!(Reply::parse("notify", &[], "x").is_err());
        assert_eq!(
            Reply::parse("select", &colours, "red"),
            Ok(Reply::Value("red"))
        );
    }
}
