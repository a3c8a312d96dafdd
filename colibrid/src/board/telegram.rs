//! Updates of the Telegram Bot API as they come: what of them is a message to us. Pure, bounded,
//! and with no opinion on what the text means.

use libcolibri::record::clip;
use serde_json::{json, Map, Value};

use crate::request::Refusal;

/// Longest text, in bytes. Telegram's own limit is 4096 characters.
pub const TEXT_MAX: usize = 16 * 1024;
/// Longest title that is made of a text, in bytes.
const TITLE_MAX: usize = 200;
/// Longest name of a sender that is kept, in bytes.
const NAME_MAX: usize = 64;

/// The kinds of updates that carry a message, and whether they change an earlier one.
const KINDS: [(&str, bool); 4] = [
    ("message", false),
    ("channel_post", false),
    ("edited_message", true),
    ("edited_channel_post", true),
];

/// An update.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Telegram's number of it; the same one may come twice.
    pub id: u64,
    /// The message, or what there is instead of one.
    pub message: Result<Message, &'static str>,
}

/// A message with text.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The chat that it stands in.
    pub chat: i64,
    /// Its number in that chat.
    pub number: i64,
    /// Whether it replaces what stood there before.
    pub edited: bool,
    /// The text, or the caption of something else.
    pub text: String,
    /// The task that the message which this one replies to begins with, as `#7`.
    pub about: Option<u64>,
    /// Where it came from and answers go.
    pub reply_to: Value,
}

impl Message {
    /// What a task that is made of it is called, and what is to be done beyond that.
    #[must_use]
    pub fn task(&self) -> (String, String) {
        let text = self.text.trim();
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let (first, rest) = (first.trim(), rest.trim());
        if first.len() <= TITLE_MAX {
            return (first.to_owned(), rest.to_owned());
        }
        (format!("{}…", clip(first, TITLE_MAX)), text.to_owned())
    }
}

/// Reads an update.
///
/// # Errors
/// What is not an update, or a text over its limit. What is an update of another kind is none.
pub fn read(update: &Value) -> Result<Update, Refusal> {
    let bad = |what: &str| Refusal::new("bad-request", format!("update: {what}"));
    let fields = update.as_object().ok_or_else(|| bad("must be an object"))?;
    let id = fields.get("update_id").and_then(Value::as_u64);
    let id = id.ok_or_else(|| bad("update_id must be a number"))?;
    let found = KINDS
        .iter()
        .find_map(|(kind, edited)| Some((fields.get(*kind)?, *edited)));
    let Some((message, edited)) = found else {
        let message = Err("I understand messages only.");
        return Ok(Update { id, message });
    };
    let m = message.as_object();
    let m = m.ok_or_else(|| bad("the message must be an object"))?;
    let message = of_message(m, edited)?;
    Ok(Update { id, message })
}

fn of_message(
    m: &Map<String, Value>,
    edited: bool,
) -> Result<Result<Message, &'static str>, Refusal> {
    let bad = |what: &str| Refusal::new("bad-request", format!("update: {what}"));
    let number = |v: Option<&Value>| v.and_then(Value::as_i64);
    let chat = number(m.get("chat").and_then(|c| c.get("id")));
    let chat = chat.ok_or_else(|| bad("chat.id must be a number"))?;
    let at = number(m.get("message_id"));
    let at = at.ok_or_else(|| bad("message_id must be a number"))?;
    let text = m.get("text").or_else(|| m.get("caption"));
    let Some(text) = text.and_then(Value::as_str) else {
        return Ok(Err("I understand text only."));
    };
    if text.len() > TEXT_MAX {
        let message = format!("the text is longer than {TEXT_MAX} bytes");
        return Err(Refusal::new("too-long", message));
    }
    if text.trim().is_empty() {
        return Ok(Err("I understand text only."));
    }
    let from = m.get("from");
    // Two bots that talk to each other never end.
    if from.and_then(|f| f.get("is_bot")) == Some(&Value::Bool(true)) {
        return Ok(Err(""));
    }
    let name = |key| from.and_then(|f| f.get(key)).and_then(Value::as_str);
    let name = name("username").or_else(|| name("first_name"));
    let mut reply_to = json!({
        "channel": "telegram",
        "chat": chat,
        "message": at,
        "from": number(from.and_then(|f| f.get("id"))),
        "name": name.map(|n| clip(n, NAME_MAX)),
    });
    if let (Some(o), Some(thread)) = (reply_to.as_object_mut(), number(m.get("message_thread_id")))
    {
        o.insert("thread".into(), thread.into());
    }
    Ok(Ok(Message {
        chat,
        number: at,
        edited,
        text: text.to_owned(),
        about: m.get("reply_to_message").and_then(about),
        reply_to,
    }))
}

/// The task that a message which somebody replies to is about: it begins with `#7`.
fn about(replied: &Value) -> Option<u64> {
    let text = replied.get("text").or_else(|| replied.get("caption"));
    let rest = text?.as_str()?.strip_prefix('#')?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(more: Value) -> Value {
        let mut m = json!({
            "message_id": 5, "date": 1, "chat": {"id": -100, "type": "group", "title": "g"},
            "from": {"id": 9, "is_bot": false, "first_name": "Ada", "username": "ada"},
        });
        for (k, v) in more.as_object().unwrap() {
            m[k] = v.clone();
        }
        m
    }

    fn update(kind: &str, more: Value) -> Result<Update, Refusal> {
        read(&json!({"update_id": 77, kind: message(more)}))
    }

    #[test]
    fn a_message_says_where_answers_go() {
        let u = update(
            "message",
            json!({"text": "Fix it\n\nall of it", "message_thread_id": 3}),
        );
        let u = u.unwrap();
        assert_eq!(u.id, 77);
        let m = u.message.unwrap();
        assert_eq!(
            (m.chat, m.number, m.edited, m.about),
            (-100, 5, false, None)
        );
        let to = json!({
            "channel": "telegram", "chat": -100, "message": 5, "from": 9, "name": "ada", "thread": 3,
        });
        assert_eq!(m.reply_to, to);
        assert_eq!(m.task(), ("Fix it".into(), "all of it".into()));
    }

    #[test]
    fn captions_posts_edits_and_replies_are_messages() {
        let caption = update("channel_post", json!({"caption": "look", "photo": []}));
        assert_eq!(caption.unwrap().message.unwrap().text, "look");
        let edit = update("edited_message", json!({"text": "x"})).unwrap();
        assert!(edit.message.unwrap().edited);
        for (text, task) in [
            ("#12 asks: x", Some(12)),
            ("#12", Some(12)),
            ("12", None),
            ("#", None),
        ] {
            let reply = json!({"text": "yes", "reply_to_message": {"text": text}});
            let m = update("message", reply).unwrap().message.unwrap();
            assert_eq!(m.about, task, "{text}");
        }
    }

    #[test]
    fn what_is_no_message_is_said_politely() {
        let poll = read(&json!({"update_id": 1, "poll": {"id": "x"}})).unwrap();
        assert_eq!(poll.message, Err("I understand messages only."));
        let sticker = update("message", json!({"sticker": {}})).unwrap();
        assert_eq!(sticker.message, Err("I understand text only."));
        let bot = json!({"text": "x", "from": {"id": 1, "is_bot": true}});
        assert_eq!(update("message", bot).unwrap().message, Err(""));
    }

    #[test]
    fn what_is_no_update_is_refused() {
        for wrong in [
            json!(null),
            json!([]),
            json!({}),
            json!({"update_id": "7", "message": {}}),
            json!({"update_id": 7, "message": []}),
            json!({"update_id": 7, "message": {"text": "x"}}),
            json!({"update_id": 7, "message": {"text": "x", "chat": {"id": "a"}}}),
            json!({"update_id": 7, "message": {"text": "x", "chat": {"id": 1}}}),
        ] {
            assert_eq!(read(&wrong).unwrap_err().code, "bad-request", "{wrong}");
        }
        let long = update("message", json!({"text": "x".repeat(TEXT_MAX + 1)}));
        assert_eq!(long.unwrap_err().code, "too-long");
    }

    #[test]
    fn a_long_first_line_is_cut_for_the_title_only() {
        let text = "é".repeat(150);
        let m = update("message", json!({"text": text}))
            .unwrap()
            .message
            .unwrap();
        let (title, rest) = m.task();
        assert!(title.len() <= TITLE_MAX + 3 && title.ends_with('…'));
        assert_eq!(rest, text);
    }
}
