//! How an opened run or task looks. Pure.

use ratatui::layout::Rect;
use ratatui::style::Stylize;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::Frame;

use super::app::{App, RunView, Screen, TaskView};
use super::draw::state_style;
use super::facts::Facts;
use crate::model::{attribute, Pane, RunDetail};
use crate::output::text::{outcome, row_reason, show};
use crate::output::{board, events, Style as Texts};
use crate::text::{char_width, clean, cost, fit};
use crate::time::age;

/// Draws what is opened.
pub fn opened(frame: &mut Frame<'_>, area: Rect, app: &mut App, texts: &Texts) {
    let facts = &app.session.facts;
    let columns = usize::from(area.width);
    let plain = Texts {
        colour: false,
        ..texts.clone()
    };
    let drawn = match &mut app.screen {
        Screen::Lists => return,
        Screen::Run(view) => run(view, facts, (columns, area.height.into()), texts, &plain),
        Screen::Task(view) => task(view, (columns, area.height.into()), &plain),
    };
    frame.render_widget(Paragraph::new(drawn.lines), area);
    (app.page, app.scroll_max) = (drawn.page, drawn.scroll_max);
}

struct Drawn {
    lines: Vec<Line<'static>>,
    page: usize,
    scroll_max: usize,
}

fn run(
    view: &mut RunView,
    facts: &Facts,
    (columns, rows): (usize, usize),
    texts: &Texts,
    plain: &Texts,
) -> Drawn {
    let pane = facts.panes.get(&view.run);
    let mut lines = run_head(view, pane, columns, texts);
    for dialog in pane.iter().flat_map(|p| p.dialogs.iter().take(1)) {
        let more = match pane.map_or(0, |p| p.dialogs.len()) {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let text = format!("It {}{more}  - a answers", events::asks(dialog));
        lines.push(Line::raw(fit(&text, columns)).bold());
    }
    let (text, what) = match view.details {
        true => (details(view, pane, plain), "Details"),
        false => (tail(view, facts, plain), "Events"),
    };
    let text: Vec<String> = text.lines().flat_map(|l| fold(l, columns)).collect();
    let page = rows.saturating_sub(lines.len() + 2).max(1);
    let scroll_max = text.len().saturating_sub(page);
    view.scroll = view.scroll.min(scroll_max);
    let first = match view.details {
        true => view.scroll,
        false => scroll_max - view.scroll,
    };
    lines.push(Line::raw(""));
    lines.push(Line::raw(heading(what, first, page, text.len())).bold());
    lines.extend(text.into_iter().skip(first).take(page).map(Line::raw));
    Drawn {
        lines,
        page,
        scroll_max,
    }
}

/// What is shown of how much.
fn heading(what: &str, first: usize, page: usize, all: usize) -> String {
    match all > page {
        true => format!(
            "{what}, lines {} to {} of {all}",
            first + 1,
            (first + page).min(all)
        ),
        false => what.to_owned(),
    }
}

fn run_head(
    view: &RunView,
    pane: Option<&Pane>,
    columns: usize,
    texts: &Texts,
) -> Vec<Line<'static>> {
    let Some(p) = pane else {
        // An older run of its agent: only colibrid's reply tells of it.
        let text = match &view.detail {
            Some(d) => format!("Run {} {}", view.run, outcome(&d.run)),
            None => format!("Run {} ...", view.run),
        };
        return vec![Line::raw(fit(&text, columns)).bold()];
    };
    let phase = attribute(p.phase.as_ref());
    let phase = match (p.ended, phase) {
        (true, _) => ", ended".to_owned(),
        (_, "") => String::new(),
        (_, phase) => format!(" ({phase})"),
    };
    let state = clean(&p.state);
    let rest = format!(
        "{}, agent {}, since {}, {}",
        clean(&phase),
        clean(&p.agent),
        age(&p.since, texts.now),
        cost(p.usage.cost_usd)
    );
    let head = format!("Run {}: ", p.run);
    let room = columns.saturating_sub(head.len() + state.len());
    let mut lines = vec![Line::from(vec![
        Span::raw(head),
        Span::styled(state, state_style(&p.state, texts)),
        Span::raw(fit(&rest, room)),
    ])
    .bold()];
    if let Some(d) = &view.detail {
        let of = d.run.task.map_or(String::new(), |t| format!(" {t}"));
        let text = format!("Task{of}: {}", clean(&d.run.title));
        lines.push(Line::raw(fit(&text, columns)));
    }
    let why = row_reason(p, texts);
    if !why.is_empty() && p.dialogs.is_empty() {
        lines.push(Line::raw(fit(&why, columns)));
    }
    lines
}

/// Everything about the run; how it stands is in its pane, which is newer than the reply.
fn details(view: &RunView, pane: Option<&Pane>, plain: &Texts) -> String {
    let Some(detail) = &view.detail else {
        return "...\n".into();
    };
    let Some(p) = pane else {
        return show(detail, plain);
    };
    let mut fresh = RunDetail {
        pane: Some(p.clone()),
        ..detail.clone()
    };
    // Its question is shown above, and answered by a key.
    fresh.pane.iter_mut().for_each(|p| p.dialogs.clear());
    fresh.run.state.clone_from(&p.state);
    fresh.run.phase.clone_from(&p.phase);
    fresh.run.reason.clone_from(&p.reason);
    show(&fresh, plain)
}

/// The events of the run, then its last answer.
fn tail(view: &RunView, facts: &Facts, plain: &Texts) -> String {
    let mut out: String = facts
        .tail(view.run)
        .filter(|e| e.kind != "usage")
        .map(|e| events::event(e, plain))
        .collect();
    if out.is_empty() {
        out = "No events of it are kept.\n".into();
    }
    if let Some(answer) = view.detail.as_ref().and_then(|d| d.answer.as_ref()) {
        out.push_str("\nAnswer:\n");
        out.push_str(&crate::text::clean_lines(answer));
        out.push('\n');
    }
    out
}

fn task(view: &mut TaskView, (columns, rows): (usize, usize), plain: &Texts) -> Drawn {
    let text = match &view.detail {
        Some(detail) => board::task(detail, plain),
        None => format!("Task {} ...\n", view.task),
    };
    let text: Vec<String> = text.lines().flat_map(|l| fold(l, columns)).collect();
    let scroll_max = text.len().saturating_sub(rows);
    view.scroll = view.scroll.min(scroll_max);
    let shown = text.into_iter().skip(view.scroll).take(rows);
    Drawn {
        lines: shown.map(Line::raw).collect(),
        page: rows,
        scroll_max,
    }
}

/// A line cut into pieces of at most so many columns; tabs are blanks.
#[must_use]
pub fn fold(line: &str, columns: usize) -> Vec<String> {
    let (mut pieces, mut used) = (vec![String::new()], 0);
    for c in line.replace('\t', "    ").chars() {
        if used + char_width(c) > columns {
            pieces.push(String::new());
            used = 0;
        }
        used += char_width(c);
        if let Some(piece) = pieces.last_mut() {
            piece.push(c);
        }
    }
    pieces
}
