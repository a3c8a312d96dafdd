//! `intake`: what a front end would bring in, from a file.

use libcolibri::error::{Fatal, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Session;
use crate::model::Request;
use crate::output::read;
use crate::text::clean;

/// The reply to `intake-task`; the one to an answer has none of these fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Taken {
    id: Option<u64>,
    action: String,
    status: String,
    existing: bool,
    say: Option<String>,
}

/// `intake FILE`: object after object, until one is refused.
///
/// # Errors
/// Not JSON, not reachable, refused.
pub fn intake(s: &mut Session, text: &str) -> Result<()> {
    let objects = serde_json::Deserializer::from_str(text).into_iter::<Map<String, Value>>();
    for (n, object) in objects.enumerate() {
        let at = n + 1;
        let object = object.map_err(|e| {
            let why = clean(&e.to_string());
            Fatal::new(format!("object {at}: not JSON: {why}"))
        })?;
        // An update is known by its number; everything else has the fields of a task.
        let fields = if object.contains_key("update_id") {
            Map::from_iter([("update".to_owned(), Value::Object(object))])
        } else {
            object
        };
        let reply = s.client.request(&Request::IntakeTask(&fields));
        let data = reply.map_err(|e| Fatal {
            message: format!("object {at}: {}", e.message),
            ..e
        })?;
        if s.out.is_json() {
            s.out.raw(data.get())?;
            continue;
        }
        let taken: Taken = read(&data)?;
        s.out.print(&format!("{}\n", line(&taken)))?;
    }
    Ok(())
}

fn line(t: &Taken) -> String {
    let again = if t.existing {
        " (was there before)"
    } else {
        ""
    };
    match (t.id, &t.say) {
        (Some(task), _) => format!("Task {task} {}{again}", clean(&t.status)),
        (None, Some(say)) => format!("Ignored: {}", clean(say)),
        (None, None) if t.action == "ignored" => format!("Ignored{again}"),
        (None, None) => format!("The agent has been told{again}"),
    }
}
