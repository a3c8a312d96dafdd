//! `intake-task`: a task with its fields, or an update of a chat service.

use libcolibri::budget::Budget;
use libcolibri::record::SHORT;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ask::{bad, CreateTask};
use super::telegram::{self, Update};
use crate::request::{of, Refusal};

/// What `intake-task` brings in.
#[derive(Debug, Clone, PartialEq)]
pub enum Intake {
    /// A task, and where it came from and answers go.
    Plain(Box<CreateTask>, Option<Value>),
    /// An update of Telegram.
    Telegram(Update),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IntakeTask {
    title: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    skills: Vec<String>,
    budget: Option<Budget>,
    key: Option<String>,
    reply_to: Option<Value>,
    update: Option<Value>,
}

/// Checks the fields of `intake-task`.
///
/// # Errors
/// Missing, unknown, wrong or over-long fields, or an update that is none.
pub fn intake(f: Map<String, Value>) -> Result<Intake, Refusal> {
    let i: IntakeTask = of(f)?;
    let plain = i.capabilities.is_empty() && i.key.is_none() && i.reply_to.is_none();
    let plain = plain && i.skills.is_empty() && i.budget.is_none();
    match (i.title, i.update) {
        (Some(title), None) => {
            let mut c = CreateTask::new(title, i.description);
            (c.capabilities, c.key) = (i.capabilities, i.key);
            (c.skills, c.budget) = (i.skills, i.budget);
            let to = i.reply_to;
            if to.as_ref().is_some_and(|t| t.to_string().len() > SHORT) {
                let message = format!("reply_to is longer than {SHORT} bytes");
                return Err(Refusal::new("too-long", message));
            }
            Ok(Intake::Plain(Box::new(c.check()?), to))
        }
        (None, Some(update)) if plain && i.description.is_empty() => {
            telegram::read(&update).map(Intake::Telegram)
        }
        _ => bad("intake-task has either a title or an update, which stands alone"),
    }
}
