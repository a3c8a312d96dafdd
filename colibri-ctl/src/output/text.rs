//! Text output: one function per kind of data. Everything that an agent or a client wrote is cleaned on
//! its way; summaries and rows have at most [`COLUMNS`] columns, full texts have their own length.

use std::fmt::Write;

use super::events::{asks, question};
use super::summary::needs;
use super::table::{draw, left, right, Column};
use super::Style;
use crate::model::{attribute, Pane, Run, RunDetail, Snapshot, Status};
use crate::text::{clean, clean_lines, cost, count, fit, pad, pad_left, width, COLUMNS};
use crate::time::{age, span};

/// `status`: who needs a person, what is weaker here, one row per agent.
#[must_use]
pub fn status(s: &Status, style: &Style) -> String {
    let mut out = needs(&s.panes, s.attention, style);
    let kept = if s.kept { "" } else { ", not kept" };
    let held = s.container.as_ref();
    let held = held.map_or(String::new(), |c| format!(", in {}", clean(c)));
    let about = format!(
        "colibrid {} on {}, up {}{kept}; {} of at most {} alive{held}",
        clean(&s.version),
        fit(&clean(&s.host), 20),
        age(&s.started_at, style.now),
        count(s.runs.alive, "run", "runs"),
        s.runs.limit,
    );
    out.push_str(&wrap("", &about));
    if let Some(host) = host(s) {
        line(&mut out, &fit(&host, COLUMNS));
    }
    for warning in &s.warnings {
        out.push_str(&wrap("warning: ", &clean(warning)));
    }
    rows(&mut out, &s.panes, style);
    for pane in s.panes.iter().filter(|p| !p.dialogs.is_empty()) {
        let hint = format!("To answer run {0}: {1} show {0}", pane.run, style.command);
        line(&mut out, &hint);
    }
    out
}

/// What the authorities of the host say, if there are any.
fn host(s: &Status) -> Option<String> {
    let word = s.watchdog.as_ref().map(|w| {
        let Some(obeys) = &w.obeys else {
            return "the watchdog was not asked yet".into();
        };
        let why = w.reason.as_ref();
        let why = why.map_or(String::new(), |r| format!(": {}", fit(&clean(r), 26)));
        let seconds = i64::try_from(w.age_seconds).unwrap_or(i64::MAX);
        format!("{}{why} ({} ago)", clean(obeys), span(seconds))
    });
    let hostd = s.hostd.as_ref().and_then(|h| h.reachable);
    let hostd = hostd.map(|there| match there {
        true => "hostd is there".to_owned(),
        false => "hostd is out of reach".to_owned(),
    });
    let parts: Vec<String> = word.into_iter().chain(hostd).collect();
    (!parts.is_empty()).then(|| format!("host: {}", parts.join("; ")))
}

/// `snapshot`: the same rows, with the ended ones.
#[must_use]
pub fn snapshot(s: &Snapshot, style: &Style) -> String {
    let mut out = String::new();
    let about = format!(
        "{} on {} after event {}, {}",
        count(s.panes.len() as u64, "pane", "panes"),
        fit(&clean(&s.host), 20),
        s.seq,
        clean(&s.generated_at),
    );
    line(&mut out, &fit(&about, COLUMNS));
    rows(&mut out, &s.panes, style);
    out
}

/// `runs`: one row per run.
#[must_use]
pub fn runs(runs: &[Run], style: &Style) -> String {
    const COLUMNS_OF_RUNS: [Column; 7] = [
        right("RUN", 10),
        left("AGENT", 16),
        left("STATE", 8),
        right("AGE", 8),
        right("TOOK", 8),
        right("COST", 9),
        left("TASK", COLUMNS),
    ];
    if runs.is_empty() {
        return "No runs yet.\n".into();
    }
    let row = |r: &Run| {
        let task = match &r.reason {
            Some(why) if r.state == "error" && !why.is_empty() => format!("{why} - {}", r.title),
            _ => r.title.clone(),
        };
        [
            r.run.to_string(),
            r.agent.clone(),
            r.state.clone(),
            age(&r.created_at, style.now),
            took(r),
            cost(r.cost_usd),
            task,
        ]
    };
    let rows: Vec<_> = runs.iter().map(row).collect();
    draw(&COLUMNS_OF_RUNS, &rows, style)
}

/// `show`: everything about a run.
#[must_use]
pub fn show(d: &RunDetail, style: &Style) -> String {
    let r = &d.run;
    let mut out = String::new();
    let head = format!("Run {}: {}", r.run, outcome(r));
    line(&mut out, &fit(&head, COLUMNS));
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {}{}", pad(name, 10), clean(value));
        }
    };
    fact("agent", &format!("{} (profile {})", r.agent, r.profile));
    let by = r.by_uid.map_or(String::new(), |u| format!(" by uid {u}"));
    fact("created", &format!("{}{by}", r.created_at));
    if let Some(at) = &r.ended_at {
        fact("ended", &format!("{at}, after {}", took(r)));
    }
    if r.wanted == "stop" && !r.ended {
        fact("stop", "asked for, not yet proven");
    }
    fact("reason", r.reason.as_deref().unwrap_or(""));
    if let Some(exit) = &r.exit {
        fact("exit", &exit.to_string());
    }
    if let Some(proof) = &d.proof {
        fact("proof", proof_words(proof));
    }
    if let Some(p) = &d.pane {
        pane_facts(p, style, &mut fact);
    }
    fact("stream", &stream(d));
    fact("journal", d.journal.as_deref().unwrap_or(""));
    for dialog in d.pane.iter().flat_map(|p| &p.dialogs) {
        out.push('\n');
        out.push_str(&question(r.run, dialog, style));
    }
    block(&mut out, "Task:", &d.prompt);
    block(&mut out, "Answer:", d.answer.as_deref().unwrap_or(""));
    block(&mut out, "Stderr:", d.stderr.as_deref().unwrap_or(""));
    out
}

/// How a run stands or stood at its end, for one line.
#[must_use]
pub fn outcome(r: &Run) -> String {
    let phase = attribute(r.phase.as_ref());
    let mut out = match (r.ended, phase) {
        (true, _) => format!("ended, {}", clean(&r.state)),
        (false, "") => clean(&r.state),
        (false, phase) => format!("{} ({})", clean(&r.state), clean(phase)),
    };
    if let Some(why) = r.reason.as_ref().filter(|w| !w.is_empty()) {
        let _ = write!(out, ": {}", clean(why));
    }
    out
}

/// A row per agent, after an empty line; nothing without agents.
fn rows(out: &mut String, panes: &[Pane], style: &Style) {
    const COLUMNS_OF_PANES: [Column; 7] = [
        right("RUN", 10),
        left("AGENT", 16),
        left("STATE", 8),
        left("PHASE", 10),
        right("SINCE", 8),
        right("COST", 9),
        left("REASON", COLUMNS),
    ];
    if panes.is_empty() {
        return;
    }
    let row = |p: &Pane| pane_row(p, style);
    // Those who need somebody come first.
    let (needy, calm): (Vec<&Pane>, Vec<&Pane>) = panes.iter().partition(|p| p.attention);
    let rows: Vec<_> = needy.into_iter().chain(calm).map(row).collect();
    out.push('\n');
    out.push_str(&draw(&COLUMNS_OF_PANES, &rows, style));
}

/// A run as a row: number, agent, state, phase, age, cost, reason.
#[must_use]
pub fn pane_row(p: &Pane, style: &Style) -> [String; 7] {
    let phase = attribute(p.phase.as_ref());
    let phase = if p.ended { "ended" } else { phase };
    [
        p.run.to_string(),
        p.agent.clone(),
        p.state.clone(),
        if phase.is_empty() { "-" } else { phase }.to_owned(),
        age(&p.since, style.now),
        cost(p.usage.cost_usd),
        row_reason(p, style),
    ]
}

/// Why an agent is as it is: its question, its silence, its reason, its tools.
#[must_use]
pub fn row_reason(p: &Pane, style: &Style) -> String {
    if let Some(d) = p.dialogs.first() {
        return asks(d);
    }
    let reason = clean(p.reason.as_deref().unwrap_or(""));
    if p.stalled {
        let quiet = p.last_event_at.as_deref().unwrap_or("");
        let text = format!("stalled, quiet for {}", age(quiet, style.now));
        return if reason.is_empty() {
            text
        } else {
            format!("{text}: {reason}")
        };
    }
    if reason.is_empty() && !p.tools.is_empty() {
        return clean(&p.tools.join(", "));
    }
    reason
}

/// How long a run took; `-` while it is alive.
fn took(r: &Run) -> String {
    let ended = r.ended_at.as_deref().and_then(crate::time::parse);
    match ended {
        Some(at) => age(&r.created_at, at),
        None => "-".into(),
    }
}

fn pane_facts(p: &Pane, style: &Style, fact: &mut impl FnMut(&str, &str)) {
    if !p.since.is_empty() {
        fact(
            "since",
            &format!("{} ({})", p.since, age(&p.since, style.now)),
        );
    }
    if p.stalled {
        let quiet = p.last_event_at.as_deref().unwrap_or("");
        fact("stalled", &format!("quiet for {}", age(quiet, style.now)));
    }
    fact("tools", &p.tools.join(", "));
    let u = &p.usage;
    if u.messages > 0 {
        let cached = u.cache_read.saturating_add(u.cache_write);
        let text = format!(
            "{}, {} tokens in, {cached} cached, {} out, {}",
            count(u.messages, "message", "messages"),
            u.input,
            u.output,
            cost(u.cost_usd)
        );
        fact("usage", &text);
    }
    fact("session", p.pi_session_id.as_deref().unwrap_or(""));
    fact("cwd", p.cwd.as_deref().unwrap_or(""));
    fact("container", p.container.as_deref().unwrap_or(""));
}

fn stream(d: &RunDetail) -> String {
    if d.lines == 0 {
        return String::new();
    }
    let mut out = format!("{}, {} bytes", count(d.lines, "line", "lines"), d.bytes);
    if d.malformed > 0 {
        let _ = write!(out, ", {} malformed", d.malformed);
    }
    out
}

/// What the proof of an end means.
fn proof_words(proof: &str) -> &str {
    match proof {
        "kernel" => "the kernel said that nothing of it is left",
        "reaped" => "no process of it was found any more",
        "nothing-started" => "there never was a process",
        other => other,
    }
}

/// A titled block of somebody's text, each line indented; nothing without text.
pub(super) fn block(out: &mut String, title: &str, text: &str) {
    if !text.is_empty() {
        let _ = writeln!(out, "\n{title}");
        indent(out, text);
    }
}

pub(super) fn indent(out: &mut String, text: &str) {
    for l in clean_lines(text).lines() {
        let _ = writeln!(out, "{}", format!("  {l}").trim_end());
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// `text` broken at blanks into lines of at most [`COLUMNS`], the later ones under the first.
#[must_use]
pub fn wrap(head: &str, text: &str) -> String {
    let (mut out, mut current) = (String::new(), head.to_owned());
    let mut empty = true;
    for word in text.split_whitespace() {
        let word = fit(word, COLUMNS - width(head));
        if !empty && width(&current) + 1 + width(&word) > COLUMNS {
            line(&mut out, &current);
            current = pad_left("", width(head));
            empty = true;
        }
        if !empty {
            current.push(' ');
        }
        current.push_str(&word);
        empty = false;
    }
    line(&mut out, current.trim_end());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dialog, Event};
    use crate::output::events::event;

    fn style(colour: bool) -> Style {
        Style {
            colour,
            now: 1_000_000,
            command: "colibri-ctl".into(),
        }
    }

    /// A small generator of awkward texts; the same ones each time.
    struct Awkward(u64);

    impl Awkward {
        fn number(&mut self, below: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) % below
        }

        fn text(&mut self) -> String {
            let pieces = [
                "word", " ", "漢字", "👍", "e\u{301}", "\u{202e}", "\x1b[31m", "\n", "…", "401",
            ];
            let many = [0, 1, 3, 40][self.number(4) as usize];
            (0..many)
                .map(|_| pieces[self.number(10) as usize])
                .collect()
        }

        fn pane(&mut self) -> Pane {
            let words = ["working", "error", "blocked", "sleepwalking in 漢字"];
            let dialog = Dialog {
                method: self.text(),
                title: self.text(),
                ..Dialog::default()
            };
            let open = usize::from(self.number(3) == 0);
            Pane {
                run: self.number(u64::MAX) >> self.number(60),
                agent: self.text(),
                state: words[self.number(4) as usize].into(),
                phase: Some(self.text()),
                reason: Some(self.text()),
                since: ["1970-01-01T00:00:00Z", "x", "9999-01-01T00:00:00Z"]
                    [self.number(3) as usize]
                    .into(),
                attention: self.number(2) == 0,
                stalled: self.number(3) == 0,
                usage: crate::model::Usage {
                    cost_usd: [0.0, 0.001, 12.5, 1e300, f64::NAN][self.number(5) as usize],
                    ..Default::default()
                },
                dialogs: vec![dialog; open],
                ..Pane::default()
            }
        }
    }

    fn assert_narrow(text: &str) {
        for line in text.lines() {
            assert!(width(line) <= COLUMNS, "{} columns: {line:?}", width(line));
        }
    }

    #[test]
    fn nothing_is_wider_than_the_screen() {
        let mut any = Awkward(7);
        for round in 0..300 {
            let many = any.number(6);
            let panes: Vec<Pane> = (0..many).map(|_| any.pane()).collect();
            let s = Status {
                version: any.text(),
                host: any.text(),
                warnings: vec![any.text(), any.text()],
                attention: any.number(9),
                panes: panes.clone(),
                ..Status::default()
            };
            assert_narrow(&status(&s, &style(false)));
            let s = Snapshot {
                generated_at: any.text(),
                panes,
                ..Snapshot::default()
            };
            assert_narrow(&snapshot(&s, &style(false)));
            let r = Run {
                run: round,
                agent: any.text(),
                state: any.text(),
                title: any.text(),
                created_at: "1970-01-01T00:00:00Z".into(),
                cost_usd: 1e300,
                ..Run::default()
            };
            assert_narrow(&runs(&[r, Run::default()], &style(false)));
            let e = Event {
                seq: any.number(u64::MAX),
                run: any.number(u64::MAX),
                kind: any.text(),
                ..Event::default()
            };
            assert_narrow(&event(&e, &style(false)));
            let e = Event {
                kind: "answer".into(),
                text: any.text(),
                ..e
            };
            assert_narrow(&event(&e, &style(false)));
        }
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let mut any = Awkward(9);
        let panes: Vec<Pane> = (0..20).map(|_| any.pane()).collect();
        let s = Status {
            panes,
            ..Status::default()
        };
        let coloured = status(&s, &style(true));
        let mut plain = coloured.clone();
        for code in ["31", "32", "33", "36", "0"] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_ne!(plain, coloured);
        // Trailing blanks cannot be trimmed behind a colour; nothing else may differ.
        assert_eq!(plain, status(&s, &style(false)));
    }

    #[test]
    fn warnings_are_wrapped_under_themselves() {
        let text = "users are not separated, because colibrid was not started by root: agents can signal it";
        assert_eq!(
            wrap("warning: ", text),
            "warning: users are not separated, because colibrid was not started by root:\n         agents can signal it\n"
        );
    }
}
