//! Who changed what: the audit log.

use libcolibri::sys;
use serde_json::{json, Map, Value};

use crate::board::Actor;
use crate::engine::Engine;
use crate::request::{ListAudit, Refusal};
use crate::serve::unavailable;
use crate::store::{AuditFilter, NewAudit};
use crate::views;

impl Engine {
    /// Remembers who changed what, in one transaction with the change. `done`: it was done to a
    /// living run and cannot be taken back.
    pub(crate) fn remember(
        &self,
        actor: Actor,
        command: &str,
        mut object: Map<String, Value>,
        data: Option<&Value>,
        done: bool,
    ) {
        // Importing the same once more is no change.
        if data.is_some_and(|d| d.get("result") == Some(&"unchanged".into())) {
            return;
        }
        // What was made has its number only now.
        for made in ["id", "run", "skill"] {
            if let Some(number) = data.and_then(|d| d.get(made)) {
                object.insert(made.into(), number.clone());
            }
        }
        let stored = self.store.audit(
            &NewAudit {
                at_ms: sys::wall_ms(),
                uid: actor.uid.unwrap_or(0),
                role: actor.role,
                command,
                object: &Value::Object(object).to_string(),
            },
            self.config.limits.audit,
            done || self.stuck.is_some(),
        );
        self.note_db(stored);
    }

    /// What is remembered, newest first.
    pub(crate) fn list_audit(&self, l: &ListAudit) -> Result<Value, Refusal> {
        let rows = self.store.audit_log(&AuditFilter {
            before: l.before.unwrap_or(u64::MAX),
            uid: l.uid,
            command: l.command.as_deref(),
            limit: l.limit,
        });
        let rows = rows.map_err(|e| unavailable(&e))?;
        let entries: Vec<Value> = rows.iter().map(views::audit).collect();
        Ok(json!({ "entries": entries }))
    }
}
