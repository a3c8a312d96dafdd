//! Tasks, claims and agents as clients see them.

use serde_json::{json, Value};

use super::moves::stored;
use crate::event::or_null;
use crate::store::{ClaimRow, LogRow, TaskRow};
use crate::time::rfc3339;

/// A task in a list.
pub(super) fn task(t: &TaskRow) -> Value {
    json!({
        "id": t.task,
        "title": t.title,
        "status": t.status.as_str(),
        "since": rfc3339(t.since_ms),
        "reason": or_null(&t.reason),
        "capabilities": t.capabilities,
        "priority": t.priority,
        "agent": t.agent,
        "claim": t.claim,
        "run": t.run,
        "created_at": rfc3339(t.created_ms),
        "by_uid": t.by_uid,
        "not_before": t.wait_until_ms.map(rfc3339),
        "deadline": t.deadline_ms.map(rfc3339),
        "tries": t.tries,
        "attempts": t.attempts,
        "class": t.class,
        "ended_at": t.ended_ms.map(rfc3339),
    })
}

/// What its attempts that ended have cost.
pub(super) fn spent(t: &TaskRow) -> Value {
    json!({"usd": t.spent.nano_usd as f64 / 1e9, "tokens": t.spent.tokens})
}

/// What is told of a task beyond its row in a list.
pub(super) struct More<'a> {
    pub needs: &'a [(u64, String)],
    pub why: &'a [String],
    pub claims: &'a [ClaimRow],
    /// What each of the claims was given.
    pub given: &'a [Value],
    pub log: &'a [LogRow],
}

/// A task with all that is stored of it.
pub(super) fn task_in_full(t: &TaskRow, more: &More<'_>) -> Value {
    let mut v = task(t);
    let rest = json!({
        "description": t.description,
        "only_agent": t.only_agent,
        "fits": t.fits.split(',').filter(|f| !f.is_empty()).collect::<Vec<_>>(),
        "key": t.key,
        "reply_to": t.source,
        "after": more.needs.iter().map(|(n, _)| n).collect::<Vec<_>>(),
        "why": more.why,
        "summary": t.summary,
        "exit": stored(t.exit.as_deref()),
        "usage": stored(t.usage.as_deref()),
        "skills": t.skills,
        "budget": t.budget,
        "spent": spent(t),
        "claims": more.claims.iter().zip(more.given).map(claim).collect::<Vec<_>>(),
        "history": more.log.iter().map(log).collect::<Vec<_>>(),
    });
    if let (Some(v), Value::Object(rest)) = (v.as_object_mut(), rest) {
        v.extend(rest);
    }
    v
}

fn claim((c, given): (&ClaimRow, &Value)) -> Value {
    json!({
        "claim": c.claim,
        "agent": c.agent,
        "run": c.run,
        "by_uid": c.by_uid,
        "claimed_at": rfc3339(c.at_ms),
        "started_at": c.started_ms.map(rfc3339),
        "expires_at": c.until_ms.map(rfc3339),
        "ended_at": c.ended_ms.map(rfc3339),
        "outcome": c.outcome,
        "skills": given,
    })
}

fn log(l: &LogRow) -> Value {
    json!({
        "at": rfc3339(l.at_ms),
        "before": l.moved.0,
        "after": l.moved.1,
        "by": l.by,
        "by_uid": l.by_uid,
        "agent": l.agent,
        "claim": l.claim,
        "run": l.run,
        "reason": or_null(&l.reason),
    })
}
