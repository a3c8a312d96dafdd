//! Tasks and agents as text.

use std::fmt::Write;

use super::table::{draw, left, right, Column};
use super::text::{block, indent};
use super::Style;
use crate::model_board::{Agent, Audit, Entry, Move, Stats, Sums, Task, TaskDetail};
use crate::text::{clean, cost, count, fit, pad, COLUMNS};
use crate::time::{age, clock, span};

/// How a task stands, for one line.
#[must_use]
pub fn stands(t: &Task) -> String {
    let mut out = format!("is {}", clean(&t.status));
    if let (Some(run), "claimed" | "started") = (t.run, t.status.as_str()) {
        let _ = write!(out, " as run {run}");
    }
    if let Some(why) = t.reason.as_ref().filter(|w| !w.is_empty()) {
        let _ = write!(out, ": {}", clean(why));
    }
    out
}

/// `task list`: one row per task.
#[must_use]
pub fn tasks(tasks: &[Task], style: &Style) -> String {
    if tasks.is_empty() {
        return "No such tasks.\n".into();
    }
    const COLUMNS_OF_TASKS: [Column; 6] = [
        right("TASK", 10),
        left("STATUS", 9),
        right("SINCE", 8),
        left("AGENT", 16),
        right("TRY", 5),
        left("TITLE", COLUMNS),
    ];
    let row = |t: &Task| {
        let why = t.reason.as_deref().filter(|w| !w.is_empty());
        let title = match why {
            Some(why) => format!("{} - {why}", t.title),
            None => t.title.clone(),
        };
        [
            t.id.to_string(),
            t.status.clone(),
            age(&t.since, style.now),
            t.agent.clone().unwrap_or_else(|| "-".into()),
            format!("{}/{}", tried(t), t.attempts),
            title,
        ]
    };
    let rows: Vec<_> = tasks.iter().map(row).collect();
    draw(&COLUMNS_OF_TASKS, &rows, style)
}

/// The number of the attempt that is made, or was made last; 0 before the first.
fn tried(t: &Task) -> u64 {
    match t.status.as_str() {
        "claimed" | "started" | "done" => t.tries + 1,
        _ => t.tries,
    }
}

/// `task explain`: where it stands and what keeps it there.
#[must_use]
pub fn explain(d: &TaskDetail, style: &Style) -> String {
    let t = &d.task;
    let since = age(&t.since, style.now);
    let mut out = format!("Task {} {} (for {since})\n", t.id, stands(t));
    for why in &d.why {
        let _ = writeln!(out, "  {}", clean(why));
    }
    out
}

/// `task show`: everything about a task.
#[must_use]
pub fn task(d: &TaskDetail, style: &Style) -> String {
    let t = &d.task;
    let mut out = explain(d, style);
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {}{}", pad(name, 12), clean(value));
        }
    };
    let by = t.by_uid.map_or(String::new(), |u| format!(" by uid {u}"));
    fact("created", &format!("{}{by}", t.created_at));
    fact("ended", t.ended_at.as_deref().unwrap_or(""));
    fact("agent", t.agent.as_deref().unwrap_or(""));
    fact("requires", &t.capabilities.join(", "));
    fact("fits", &d.fits.join(", "));
    if t.priority != 0 {
        fact("priority", &t.priority.to_string());
    }
    fact("deadline", t.deadline.as_deref().unwrap_or(""));
    fact("attempt", &format!("{} of {}", tried(t), t.attempts));
    fact("skills", &skills(d));
    fact("failure", t.class.as_deref().unwrap_or(""));
    fact("key", d.key.as_deref().unwrap_or(""));
    if let Some(exit) = &d.exit {
        fact("exit", &exit.to_string());
    }
    if let Some(u) = &d.usage {
        let text = format!("{} in, {} out, {}", u.input, u.output, cost(u.cost_usd));
        fact("usage", &text);
    }
    if let Some(b) = &d.budget {
        // Only what is limited is compared.
        let spent = Sums {
            usd: b.usd.and(d.spent.usd),
            tokens: b.tokens.and(d.spent.tokens),
        };
        fact("budget", &format!("{}, spent {}", sums(b), sums(&spent)));
    }
    block(&mut out, "Task:", &t.title);
    indent(&mut out, &d.description);
    out.push_str("\nHistory:\n");
    for m in &d.history {
        let _ = writeln!(out, "  {}", fit(&moved(m), COLUMNS - 2));
    }
    block(&mut out, "Result:", d.summary.as_deref().unwrap_or(""));
    if let Some(run) = d.claims.last().and_then(|c| c.run) {
        let _ = writeln!(out, "\nIts run: {} show {run}", style.command);
    }
    out
}

fn sums(s: &Sums) -> String {
    let usd = s.usd.map(cost);
    let tokens = s.tokens.map(|n| count(n, "token", "tokens"));
    usd.into_iter()
        .chain(tokens)
        .collect::<Vec<_>>()
        .join(" and ")
}

/// The skills that the last attempt was given, with their versions; before the first those that the
/// task names.
fn skills(d: &TaskDetail) -> String {
    let given = d.claims.last().map(|c| &c.skills);
    let words: Vec<String> = match given {
        Some(given) => given
            .iter()
            .map(|g| format!("{}@{}", g.skill, g.version))
            .collect(),
        None => d.skills.clone(),
    };
    words.join(", ")
}

/// One line of a task's history.
fn moved(m: &Move) -> String {
    let what = m.after.as_deref().unwrap_or("-");
    let mut out = format!("{} {} {}", clock(&m.at), pad(&clean(what), 9), clean(&m.by));
    if let Some(uid) = m.by_uid {
        let _ = write!(out, " uid {uid}");
    }
    if let (Some(agent), "claimed") = (&m.agent, what) {
        let _ = write!(out, " to {}", clean(agent));
    }
    if let (Some(run), "claimed") = (m.run, what) {
        let _ = write!(out, ", run {run}");
    }
    if let Some(why) = m.reason.as_ref().filter(|w| !w.is_empty()) {
        let _ = write!(out, ": {}", clean(why));
    }
    out
}

/// `agent list`: one row per agent.
#[must_use]
pub fn agents(agents: &[Agent], style: &Style) -> String {
    if agents.is_empty() {
        return "No agents; see the tables [agent.NAME] in colibri.conf(5).\n".into();
    }
    const COLUMNS_OF_AGENTS: [Column; 8] = [
        left("AGENT", 16),
        left("STATE", 8),
        right("HAS", 7),
        right("DONE", 6),
        right("FAILED", 6),
        right("MEDIAN", 8),
        right("COST", 9),
        left("CAN", COLUMNS),
    ];
    let row = |a: &Agent| {
        [
            a.name.clone(),
            shown_state(a).to_owned(),
            format!("{}/{}", a.holds, a.limit),
            a.done.to_string(),
            a.failed.to_string(),
            a.median_seconds.map_or("-".into(), |s| span(s as i64)),
            cost(a.cost_usd),
            a.capabilities.join(" "),
        ]
    };
    // Those who need somebody come first.
    let (needy, calm): (Vec<&Agent>, Vec<&Agent>) = agents.iter().partition(|a| a.attention);
    let rows: Vec<_> = needy.into_iter().chain(calm).map(row).collect();
    draw(&COLUMNS_OF_AGENTS, &rows, style)
}

fn shown_state(a: &Agent) -> &str {
    match &a.state {
        _ if a.paused => "paused",
        Some(state) => state,
        None => "-",
    }
}

/// `agent show`: everything about an agent.
#[must_use]
pub fn agent(a: &Agent, style: &Style) -> String {
    let mut out = format!("Agent {}: {}\n", clean(&a.name), clean(shown_state(a)));
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {}{}", pad(name, 12), clean(value));
        }
    };
    fact("kind", &a.kind);
    fact("from", &a.source);
    fact("profile", a.profile.as_deref().unwrap_or(""));
    fact("host", &a.host);
    fact("hours", a.hours.as_deref().unwrap_or(""));
    fact("can", &a.capabilities.join(", "));
    let runs: Vec<String> = a.runs.iter().map(|r| format!("run {r}")).collect();
    fact("has", &format!("{} of at most {}", a.holds, a.limit));
    fact("works on", &runs.join(", "));
    fact("done", &count(a.done, "task", "tasks"));
    fact("failed", &count(a.failed, "attempt", "attempts"));
    fact(
        "median",
        &a.median_seconds.map_or(String::new(), |s| span(s as i64)),
    );
    fact("cost", &cost(a.cost_usd));
    if let Some(at) = &a.last_seen {
        fact("last seen", &format!("{} ago", age(at, style.now)));
    }
    out
}

/// `audit`: one row per entry.
#[must_use]
pub fn audit(a: &Audit, style: &Style) -> String {
    const COLUMNS_OF_AUDIT: [Column; 5] = [
        right("AGO", 8),
        right("UID", 10),
        left("ROLE", 8),
        left("COMMAND", 15),
        left("WHAT", COLUMNS),
    ];
    if a.entries.is_empty() {
        return "No such entries.\n".into();
    }
    let row = |e: &Entry| {
        let what = e.object.iter().map(|(k, v)| match v.as_str() {
            Some(text) => format!("{k}={text}"),
            None => format!("{k}={v}"),
        });
        [
            age(&e.at, style.now),
            e.uid.to_string(),
            e.role.clone(),
            e.command.clone(),
            what.collect::<Vec<_>>().join(" "),
        ]
    };
    let rows: Vec<_> = a.entries.iter().map(row).collect();
    draw(&COLUMNS_OF_AUDIT, &rows, style)
}

/// `board`: the counts in one line, then the tasks, those that are worked on first.
#[must_use]
pub fn columns(stats: &Stats, tasks_shown: &[Task], style: &Style) -> String {
    let order = [
        "started",
        "claimed",
        "queued",
        "waiting",
        "done",
        "failed",
        "cancelled",
    ];
    let of = |status: &str| stats.tasks.get(status).copied().unwrap_or(0);
    let parts: Vec<String> = order
        .iter()
        .filter(|s| of(s) > 0)
        .map(|s| match (*s, &stats.oldest_queued_at) {
            ("queued", Some(at)) => {
                format!("{} queued (oldest {})", of(s), age(at, style.now))
            }
            _ => format!("{} {s}", of(s)),
        })
        .collect();
    if parts.is_empty() {
        return "The board is empty.\n".into();
    }
    let head = fit(&parts.join(", "), COLUMNS);
    format!("{head}\n\n{}", tasks(tasks_shown, style))
}
