//! What a run knows of its task.

use libcolibri::budget::{Budget, Spent};
use serde_json::Value;

use crate::store::TaskRow;

/// The task on the board that a run is an attempt at.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskTag {
    /// Its number.
    pub task: u64,
    /// The claim by which the run holds it.
    pub claim: u64,
    /// Where it came from and answers go.
    pub reply_to: Option<Value>,
    /// What it may cost.
    pub budget: Option<Budget>,
    /// What attempts before this one have cost.
    pub spent: Spent,
}

impl TaskTag {
    /// Of a task that a run holds by a claim.
    #[must_use]
    pub fn new(t: &TaskRow, claim: u64) -> TaskTag {
        TaskTag {
            task: t.task,
            claim,
            reply_to: t.source.clone(),
            budget: t.budget,
            spent: t.spent,
        }
    }
}
