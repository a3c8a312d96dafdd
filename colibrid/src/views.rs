//! What clients see of the inside: made by hand, so that internals stay free to change.

use libcolibri::record::clip;
use serde_json::{json, Value};

use crate::event::{dollars, or_null, phase};
use crate::glasspane::Pane;
use crate::store::{AuditRow, RunRow};
use crate::time::rfc3339;

/// Longest title: the first line of a prompt, in bytes.
const TITLE: usize = 80;

/// A run in a list. `pane` is the living one where there is one, since it is fresher.
#[must_use]
pub fn run(row: &RunRow, pane: &Pane) -> Value {
    let first_line = libcolibri::skill::without_blocks(&row.prompt)
        .trim_start()
        .lines()
        .next()
        .unwrap_or("");
    json!({
        "run": row.run,
        "attempt": row.attempt,
        "profile": row.profile,
        "agent": row.agent,
        "state": pane.state.as_str(),
        "phase": phase(pane.shown_phase()),
        "reason": or_null(&pane.reason),
        "attention": pane.needs_attention(),
        "title": clip(first_line, TITLE),
        "created_at": rfc3339(row.created_ms),
        "ended_at": row.ended_ms.map(rfc3339),
        "ended": row.ended_ms.is_some(),
        "wanted": row.wanted,
        "by_uid": row.by_uid,
        "task": row.of_task,
        "exit": json_text(row.exit.as_deref()),
        "cost_usd": dollars(&pane.usage),
    })
}

/// A run with all that is stored of it.
#[must_use]
pub fn run_in_full(row: &RunRow, pane: &Pane) -> Value {
    let mut v = run(row, pane);
    let (lines, bytes, malformed) = row.stream;
    let more = json!({
        "prompt": row.prompt,
        "answer": row.answer,
        "stderr": row.stderr,
        "proof": row.proof,
        "lines": lines,
        "bytes": bytes,
        "malformed": malformed,
        "journal": format!("{}-{}.journal", row.run, row.attempt),
        "journal_seq": row.journal_seq,
        "pane": pane.value(),
    });
    if let (Some(v), Value::Object(more)) = (v.as_object_mut(), more) {
        v.extend(more);
    }
    v
}

/// An entry of the audit log.
#[must_use]
pub fn audit(row: &AuditRow) -> Value {
    json!({
        "entry": row.entry,
        "at": rfc3339(row.at_ms),
        "uid": row.uid,
        "role": row.role,
        "command": row.command,
        "object": json_text(Some(&row.object)),
    })
}

/// A value that is stored as text.
fn json_text(text: Option<&str>) -> Value {
    text.and_then(|t| serde_json::from_str(t).ok())
        .unwrap_or(Value::Null)
}

/// The stored pane of a run that is not alive any more.
#[must_use]
pub fn stored_pane(row: &RunRow) -> Option<Pane> {
    serde_json::from_str(&row.pane).ok()
}
