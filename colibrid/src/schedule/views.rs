//! Schedules and occurrences as clients see them.

use jiff::tz::Offset;
use jiff::Timestamp;
use libcolibri::msg::Planned;
use serde_json::{json, Value};

use crate::event::or_null;
use crate::store::{OccurrenceRow, ScheduleRow};
use crate::time::rfc3339;

/// RFC 3339 with this distance from UTC, in seconds.
pub(super) fn local(ms: u64, offset_s: i32) -> String {
    let at = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match at.zip(Offset::from_seconds(offset_s).ok()) {
        Some((at, offset)) => format!("{:.0}", at.display_with_offset(offset)),
        None => rfc3339(ms),
    }
}

/// A planned time.
pub(super) fn planned(p: &Planned) -> Value {
    json!({"at": rfc3339(p.at_ms), "local": local(p.at_ms, p.offset_s)})
}

/// A schedule; `no_zone`: schedd does not know its zone.
pub(super) fn schedule(s: &ScheduleRow, no_zone: bool, last: Option<&OccurrenceRow>) -> Value {
    let error = no_zone.then(|| format!("there is no time zone {:?}", s.spec.zone));
    json!({
        "id": s.schedule,
        "name": s.name,
        "source": if s.declared { "config" } else { "command" },
        "says": s.spec.describe(),
        "state": match (&s.retired_ms, &s.paused, &error) {
            (Some(_), ..) => "retired",
            (_, _, Some(_)) => "error",
            (_, Some(_), _) => "paused",
            _ => "active",
        },
        "paused": s.paused,
        "error": error,
        "failures": s.failures,
        "by_uid": s.by_uid,
        "created_at": rfc3339(s.created_ms),
        "retired_at": s.retired_ms.map(rfc3339),
        "spec": s.spec,
        "last": last.map(occurrence),
    })
}

/// A row of the ledger.
pub(super) fn occurrence(o: &OccurrenceRow) -> Value {
    json!({
        "planned": rfc3339(o.planned_ms),
        "local": local(o.planned_ms, o.offset_s),
        "manual": o.manual,
        "status": o.status.as_str(),
        "why": o.why,
        "reason": or_null(&o.reason),
        "until": o.until_ms.map(rfc3339),
        "fired_at": o.fired_ms.map(rfc3339),
        "started_at": o.started_ms.map(rfc3339),
        "ended_at": o.ended_ms.map(rfc3339),
        "task": o.task,
    })
}
