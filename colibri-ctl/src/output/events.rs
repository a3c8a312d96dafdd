//! Events and questions as text.

use std::fmt::Write;

use super::text::indent;
use super::Style;
use crate::model::{attribute, Dialog, Event, Gap};
use crate::text::{clean, cost, count, fit, pad, shell_word, COLUMNS};
use crate::time::{clock, span};

/// A question with its text and the commands that answer it. Commands are not cut.
#[must_use]
pub fn question(run: u64, d: &Dialog, style: &Style) -> String {
    let mut out = format!("Run {run} {}\n", asks(d));
    indent(&mut out, &d.message);
    if d.timeout_ms > 0 {
        let seconds = i64::try_from(d.timeout_ms / 1000).unwrap_or(i64::MAX);
        let _ = writeln!(out, "  It answers itself after {}.", span(seconds));
    }
    out.push_str("  Answer with one of:\n");
    let answer = format!("{} answer {run} ", style.command);
    let mut command = |value: &str| {
        // A word that begins with a dash would be an option.
        let dashes = d.request.starts_with('-') || value.starts_with('-');
        let guard = if dashes { "-- " } else { "" };
        let (request, value) = (shell_word(&d.request), shell_word(value));
        let _ = writeln!(out, "    {answer}{guard}{request} {value}");
    };
    match d.method.as_str() {
        "confirm" => {
            command("yes");
            command("no");
        }
        "select" => d.options.iter().for_each(|o| command(o)),
        _ => command("your text"),
    }
    let guard = if d.request.starts_with('-') {
        " --"
    } else {
        ""
    };
    let request = shell_word(&d.request);
    let base = answer.trim_end();
    let _ = match guard {
        "" => writeln!(out, "    {base} {request} --cancel"),
        _ => writeln!(out, "    {base} --cancel{guard} {request}"),
    };
    out
}

/// `tail`: one line per event.
#[must_use]
pub fn event(e: &Event, style: &Style) -> String {
    let kind = pad(&clean(&e.kind), 11);
    let run = match e.run {
        0 => String::from("-"),
        run => format!("run {run}"),
    };
    let head = format!("{} {:>6} {run:<8} {kind} ", clock(&e.at), e.seq);
    let details = clean(&details(e));
    let text = fit(format!("{head}{details}").trim_end(), COLUMNS);
    // The colour goes in last: it has no width.
    let coloured = match text.split_once(&head) {
        Some((_, rest)) if !e.state.is_empty() && rest.starts_with(&e.state) => {
            let after = &rest[e.state.len()..];
            format!("{head}{}{after}", style.word(&e.state, &e.state))
        }
        _ => text,
    };
    format!("{coloured}\n")
}

/// `tail`: what was lost, and where the truth is.
#[must_use]
pub fn gap(g: Gap, style: &Style) -> String {
    format!(
        "-- events {} to {} are lost; for the present state: {} status\n",
        g.from, g.to, style.command
    )
}

/// `asks (confirm): Allow command?`
#[must_use]
pub fn asks(d: &Dialog) -> String {
    let text = if d.title.is_empty() {
        &d.message
    } else {
        &d.title
    };
    format!("asks ({}): {}", clean(&d.method), clean(text))
}

/// What one event says, by kind; for an unheard-of kind, nothing.
fn details(e: &Event) -> String {
    let phase = attribute(e.phase.as_ref());
    let phase = if phase.is_empty() {
        String::new()
    } else {
        format!(" ({phase})")
    };
    let why = |w: Option<&String>| match w.filter(|w| !w.is_empty()) {
        Some(w) => format!(": {w}"),
        None => String::new(),
    };
    let exit = e.exit.as_ref().map_or(String::new(), ToString::to_string);
    let by = e.by_uid.map_or(String::new(), |u| format!("by uid {u}"));
    match e.kind.as_str() {
        "run-created" => format!("{} (profile {}) {by}", e.agent, e.profile),
        "started" => format!("in {}", e.container),
        "launched" => match e.pid {
            Some(pid) if pid > 0 => format!("process {pid}"),
            _ => String::new(),
        },
        "state" => format!("{}{phase}{}", e.state, why(e.reason.as_ref())),
        "session" if e.cwd.is_empty() => e.id.clone(),
        "session" => format!("{} in {}", e.id, e.cwd),
        "usage" => {
            let u = &e.usage;
            let money = cost(u.cost_usd);
            format!("{} in, {} out, {money}", u.input, u.output)
        }
        "asked" => asks(&e.dialog),
        "settled" => format!("question {}: {}", e.dialog.request, e.how),
        "tool-start" => e.name.clone(),
        "tool-end" => {
            let result = if e.failed { "failed" } else { "ok" };
            match e.duration_ms {
                0 => format!("{} {result}", e.name),
                ms => format!("{} {result}, {ms} ms", e.name),
            }
        }
        "answer" => e.text.clone(),
        "task" => {
            let task = e.task.unwrap_or(0);
            let agent = match (e.status.as_str(), e.agent.as_str()) {
                ("claimed", agent) if !agent.is_empty() => format!(" for {agent}"),
                _ => String::new(),
            };
            let why = why(e.reason.as_ref());
            format!("{task} {}{agent}{why} - {}", e.status, e.dialog.title)
        }
        "did" => match e.error.as_ref().filter(|w| !w.is_empty()) {
            Some(error) => format!("{} refused: {error}", e.command),
            None => e.command.clone(),
        },
        "stop-wanted" => by,
        "exited" => exit,
        "dropped" => count(e.records, "record", "records"),
        "ended" => {
            let comma = if exit.is_empty() { "" } else { ", " };
            format!("{}{}{comma}{exit}", e.state, why(e.reason.as_ref()))
        }
        "stalled" => {
            let quiet = i64::try_from(e.quiet_seconds).unwrap_or(i64::MAX);
            format!("quiet for {}", span(quiet))
        }
        _ => String::new(),
    }
}
