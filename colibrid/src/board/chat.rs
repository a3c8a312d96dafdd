//! Intake: what comes in from chats becomes tasks, answers and cancellations, as far as the chat
//! is trusted.

use libcolibri::msg::{Reply as Answer, ToMonitor};
use libcolibri::sys;
use mio::Token;
use serde_json::{json, Value};

use super::ask::{CancelTask, CreateTask, Intake};
use super::lifecycle::Status;
use super::moves::Actor;
use super::serve::db;
use super::telegram::{Message, Update};
use crate::engine::Engine;
use crate::request::{Refusal, Target};
use crate::store::TaskRow;

/// What a chat may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Ask for work.
    Asks,
    /// Answer, steer and cancel too.
    Commands,
}

/// What is done about a message besides making a task of it.
enum Done {
    /// Nothing more; what is told the chat, if anything.
    Said(Value),
    /// Its reply comes when the agent has been told.
    Later,
}

impl Engine {
    /// Takes in work from a front end. `None`: the reply comes when the agent has been told.
    pub(crate) fn intake(
        &mut self,
        client: Token,
        actor: Actor,
        id: &Option<Value>,
        intake: Intake,
    ) -> Result<Option<Value>, Refusal> {
        if let Some(s) = &self.stuck {
            return Err(s.refusal());
        }
        match intake {
            Intake::Plain(c, source) => self.create_task(actor, &c, source.as_ref()).map(Some),
            Intake::Telegram(update) => self.update(client, actor, id, update),
        }
    }

    fn update(
        &mut self,
        client: Token,
        actor: Actor,
        id: &Option<Value>,
        update: Update,
    ) -> Result<Option<Value>, Refusal> {
        let uid = actor.uid.unwrap_or(0);
        if let Some(reply) = db(self.store.update_reply(uid, update.id))? {
            let mut reply: Value = serde_json::from_str(&reply).unwrap_or_default();
            if let Some(o) = reply.as_object_mut() {
                o.insert("existing".into(), true.into());
                o.insert("say".into(), Value::Null);
            }
            return Ok(Some(reply));
        }
        let done = match update.message {
            Err(say) => Done::Said(ignored(say)),
            Ok(message) => self.message(client, actor, id, &message)?,
        };
        let (reply, data) = match done {
            Done::Said(data) => (data.clone(), Some(data)),
            Done::Later => (json!({"action": "told"}), None),
        };
        let now = sys::wall_ms();
        let (reply, done) = (reply.to_string(), self.concluded);
        db(self.store.add_update(uid, update.id, now, &reply, done))?;
        Ok(data)
    }

    fn trust(&self, chat: i64) -> Option<Trust> {
        let intake = &self.config.intake;
        if intake.operators.contains(&chat) {
            return Some(Trust::Commands);
        }
        intake.askers.contains(&chat).then_some(Trust::Asks)
    }

    fn message(
        &mut self,
        client: Token,
        actor: Actor,
        id: &Option<Value>,
        m: &Message,
    ) -> Result<Done, Refusal> {
        let Some(trust) = self.trust(m.chat) else {
            return Ok(Done::Said(ignored("I do not take tasks from this chat.")));
        };
        let text = m.text.trim();
        if let Some(word) = text.strip_prefix('/') {
            return self.chat_command(actor, m, trust, word).map(Done::Said);
        }
        if let Some(task) = m.about {
            if trust != Trust::Commands {
                return Ok(Done::Said(ignored("This chat may ask, but not answer.")));
            }
            return self.reply_in_chat(client, id, m, task);
        }
        self.ask_in_chat(actor, m).map(Done::Said)
    }

    /// A message becomes a task; an edited one changes the task that it was made into.
    fn ask_in_chat(&mut self, actor: Actor, m: &Message) -> Result<Value, Refusal> {
        let (title, description) = m.task();
        let key = format!("telegram:{}:{}", m.chat, m.number);
        if m.edited {
            let uid = actor.uid.unwrap_or(0);
            if let Some(task) = db(self.store.task_of_key(uid, &key))? {
                return self.edit_in_chat(actor, task, &title, &description);
            }
        }
        let mut c = CreateTask::new(title, description);
        let intake = &self.config.intake;
        c.capabilities.clone_from(&intake.capabilities);
        c.skills.clone_from(&intake.skills);
        c.budget = intake.budget;
        c.key = Some(key);
        let c = c.check()?;
        let made = self.create_task(actor, &c, Some(&m.reply_to))?;
        let task = &made["id"];
        Ok(json!({
            "action": "created", "id": task, "status": made["status"],
            "existing": made["existing"], "say": format!("#{task} {}", made["status"].as_str().unwrap_or("")),
        }))
    }

    fn edit_in_chat(
        &mut self,
        actor: Actor,
        task: u64,
        title: &str,
        description: &str,
    ) -> Result<Value, Refusal> {
        let t = self.task(task)?;
        if !matches!(t.status, Status::Waiting | Status::Queued) {
            let say = format!("#{task} is {}: an edit changes nothing.", t.status.as_str());
            return Ok(ignored(&say));
        }
        db(self.store.rewrite_task(task, title, description))?;
        db(self.note(&t, (None, None), None, actor, "its message was edited"))?;
        Ok(json!({
            "action": "edited", "id": task, "status": t.status.as_str(),
            "existing": true, "say": format!("#{task} changed"),
        }))
    }

    /// `/cancel 7`, for those who may.
    fn chat_command(
        &mut self,
        actor: Actor,
        m: &Message,
        trust: Trust,
        words: &str,
    ) -> Result<Value, Refusal> {
        let mut words = words.split_whitespace();
        // In groups a command may name the bot: /cancel@colibri_bot.
        let command = words.next().unwrap_or("").split('@').next().unwrap_or("");
        let number = words.next().map(|w| w.trim_start_matches('#').parse());
        let task = number.and_then(Result::ok).or(m.about);
        match (command, trust, task) {
            ("cancel", Trust::Commands, Some(task)) => {
                self.task_of_chat(task, m.chat)?;
                let c = CancelTask {
                    task_id: task,
                    reason: "cancelled in the chat".into(),
                };
                let done = self.cancel_task(actor, &c)?;
                let say = match done["stopping"].as_bool() {
                    Some(true) => format!("#{task} is being cancelled"),
                    _ => format!("#{task} cancelled"),
                };
                Ok(json!({
                    "action": "cancelled", "id": task, "status": done["status"],
                    "existing": true, "say": say,
                }))
            }
            ("cancel", Trust::Asks, _) => Ok(ignored("This chat may ask, but not cancel.")),
            ("cancel", ..) => Ok(ignored("Say which task: /cancel 7")),
            _ => Ok(ignored("Send me what is to be done.")),
        }
    }

    /// A reply to what was said about a task: the answer to its agent's question, or a word into
    /// its work.
    fn reply_in_chat(
        &mut self,
        client: Token,
        id: &Option<Value>,
        m: &Message,
        task: u64,
    ) -> Result<Done, Refusal> {
        self.task_of_chat(task, m.chat)?;
        let target = Target {
            run: None,
            task_id: Some(task),
        };
        let run = self.target(target)?;
        let request = self.runs.get(&run).and_then(|l| l.pane.first_dialog());
        let text = m.text.clone();
        self.wait_for(client, id, target, |token| match request {
            Some(request) => ToMonitor::Answer {
                token,
                request,
                reply: Answer::Value(text.trim().to_owned()),
            },
            None => ToMonitor::Steer { token, text },
        })?;
        Ok(Done::Later)
    }

    /// A task that came from this chat: others are none of its business.
    fn task_of_chat(&self, task: u64, chat: i64) -> Result<TaskRow, Refusal> {
        let t = self.task(task)?;
        let from = t.source.as_ref().and_then(|s| s.get("chat")?.as_i64());
        if from != Some(chat) {
            let message = format!("there is no task {task} of this chat");
            return Err(Refusal::new("not-found", message));
        }
        Ok(t)
    }
}

/// Nothing was done; what the chat is told, if anything.
fn ignored(say: &str) -> Value {
    let say = if say.is_empty() {
        Value::Null
    } else {
        say.into()
    };
    json!({"action": "ignored", "id": null, "existing": false, "say": say})
}
