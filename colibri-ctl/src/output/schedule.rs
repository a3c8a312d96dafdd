//! Schedules as text.

use std::fmt::Write;

use serde_json::Value;

use super::table::{draw, left, right, Column};
use super::Style;
use crate::model_schedule::{Entry, Occurrence, Planned};
use crate::text::{clean, pad, COLUMNS};
use crate::time::{parse, span};

/// How long until a time; `-` when it is none.
fn until(text: &str, style: &Style) -> String {
    match parse(text) {
        Some(at) => span(at - style.now),
        None => "-".into(),
    }
}

/// `schedule list`: one row per schedule.
#[must_use]
pub fn schedules(entries: &[Entry], style: &Style) -> String {
    if entries.is_empty() {
        return "No schedules.\n".into();
    }
    const COLUMNS_OF_SCHEDULES: [Column; 6] = [
        left("SCHEDULE", 20),
        left("STATE", 7),
        left("FROM", 7),
        right("NEXT IN", 8),
        left("LAST", 9),
        left("WHEN", COLUMNS),
    ];
    let row = |e: &Entry| {
        let next = e.next.first().map_or("", |n| n.at.as_str());
        let last = e.last.as_ref().map_or("-", |o| o.status.as_str());
        [
            e.name.clone(),
            e.state.clone(),
            e.source.clone(),
            until(next, style),
            last.to_owned(),
            e.says.clone(),
        ]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    draw(&COLUMNS_OF_SCHEDULES, &rows, style)
}

/// The reply to `schedule add`: how it was understood, and when it comes.
#[must_use]
pub fn added(e: &Entry) -> String {
    let mut out = format!("Schedule {}: {}\n", clean(&e.name), clean(&e.says));
    coming(&mut out, &e.next);
    out
}

/// `schedule show`: everything about a schedule.
#[must_use]
pub fn schedule(e: &Entry, _style: &Style) -> String {
    let mut out = format!("Schedule {} is {}\n", clean(&e.name), clean(&e.state));
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {}{}", pad(name, 13), clean(value));
        }
    };
    fact("error", e.error.as_deref().unwrap_or(""));
    fact("paused", e.paused.as_deref().unwrap_or(""));
    fact("when", &e.says);
    fact("from", &e.source);
    fact("created", &e.created_at);
    if e.failures > 0 {
        fact("failures", &format!("{} in a row", e.failures));
    }
    let spec = e.spec.as_ref().and_then(|s| s.as_object());
    for (name, value) in spec.into_iter().flatten() {
        match value {
            Value::String(text) => fact(name, text),
            Value::Array(list) => {
                let words: Vec<&str> = list.iter().filter_map(|v| v.as_str()).collect();
                fact(name, &words.join(", "));
            }
            Value::Object(parts) => {
                let parts: Vec<String> = parts.iter().map(|(k, v)| format!("{v} {k}")).collect();
                fact(name, &parts.join(" and "));
            }
            other => fact(name, &other.to_string()),
        }
    }
    if let Some(o) = &e.last {
        fact("last", &format!("{} {}", o.local, stands(o)));
    }
    coming(&mut out, &e.next);
    out
}

fn coming(out: &mut String, next: &[Planned]) {
    out.push_str(match next.is_empty() {
        true => "Nothing is planned.\n",
        false => "Next:\n",
    });
    for p in next {
        let _ = writeln!(out, "  {}", clean(&p.local));
    }
}

fn stands(o: &Occurrence) -> String {
    let mut out = o.status.clone();
    if let Some(task) = o.task {
        let _ = write!(out, ", task {task}");
    }
    if let Some(why) = o.reason.as_ref().filter(|w| !w.is_empty()) {
        let _ = write!(out, ": {why}");
    }
    out
}

/// `schedule next`: one time a line.
#[must_use]
pub fn times(times: &[Planned], style: &Style) -> String {
    if times.is_empty() {
        return "Nothing is planned.\n".into();
    }
    let row = |p: &Planned| [p.local.clone(), p.at.clone(), until(&p.at, style)];
    let columns = [left("LOCAL", 25), left("UTC", 24), left("IN", COLUMNS)];
    let rows: Vec<_> = times.iter().map(row).collect();
    draw(&columns, &rows, style)
}

/// `schedule preview`: one occurrence a line.
#[must_use]
pub fn preview(rows: &[(Planned, String)], style: &Style) -> String {
    if rows.is_empty() {
        return "Nothing.\n".into();
    }
    let row = |(p, name): &(Planned, String)| [p.at.clone(), p.local.clone(), name.clone()];
    let columns = [
        left("UTC", 24),
        left("LOCAL", 25),
        left("SCHEDULE", COLUMNS),
    ];
    let rows: Vec<_> = rows.iter().map(row).collect();
    draw(&columns, &rows, style)
}

/// `schedule history`: one occurrence a line.
#[must_use]
pub fn history(rows: &[Occurrence], style: &Style) -> String {
    if rows.is_empty() {
        return "Nothing yet.\n".into();
    }
    let row = |o: &Occurrence| {
        let reason = o.reason.clone().unwrap_or_default();
        [
            o.local.clone(),
            if o.manual { "yes" } else { "-" }.to_owned(),
            o.status.clone(),
            o.task.map_or("-".into(), |t| t.to_string()),
            reason,
        ]
    };
    let columns = [
        left("PLANNED", 25),
        left("MANUAL", 6),
        left("STATUS", 9),
        right("TASK", 8),
        left("REASON", COLUMNS),
    ];
    let rows: Vec<_> = rows.iter().map(row).collect();
    draw(&columns, &rows, style)
}
