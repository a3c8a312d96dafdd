//! How `top` looks: the lists, and what is around everything. Pure: from an [`App`] into a buffer.

use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use ratatui::Frame;

use super::app::{App, Focus, Screen};
use super::draw_open;
use super::facts::OPEN;
use super::modal::{answers, Modal};
use super::session::Standing;
use crate::model::{Dialog, Pane};
use crate::model_board::Task;
use crate::output::summary::needs;
use crate::output::table::{cells, left, right, Column};
use crate::output::text::pane_row;
use crate::output::{events::asks, Style as Texts};
use crate::text::{clean, clean_lines, count, fit, width};
use crate::time::{age, span};

/// The smallest screen that is used.
const LEAST: (u16, u16) = (40, 12);

/// The keys that are always shown; `?` tells the rest.
const KEYS: [&str; 3] = [
    "Enter open  Tab other list  a answer  t tell  s stop  c cancel  ? help  q quit",
    "Esc back  Tab details  a answer  t tell  s stop  x abort  ? help  q quit",
    "Esc back  a answer  t tell  s stop  c cancel  ? help  q quit",
];

const HELP: &str = "\
Up Down j k    move, scroll             Tab    other list; events or details
PgUp PgDn      a page                   Enter  open a run or a task
Home End g G   the first, the last      Esc    back

a  answer the question of the run       s  stop the run and all it started
t  tell the run something               x  abort its work, keep the agent
c  cancel the task, and stop its run    q  quit; nothing is stopped by it

Ctrl-L  draw anew                       Ctrl-Z  suspend

! stands before what needs a person. s, x and c ask first, and y does it.
While colibrid is away nothing is shown, since nothing is known.";

/// Draws everything; `texts` has the time and whether colours are wanted.
pub fn draw(frame: &mut Frame<'_>, app: &mut App, texts: &Texts) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("Too small: {} by {} at least", LEAST.0, LEAST.1);
        return frame.render_widget(Line::raw(fit(&text, area.width.into())), area);
    }
    let rows = |y, height| Rect {
        x: 0,
        y,
        width: area.width,
        height,
    };
    let body = rows(2, area.height - 4);
    head(frame, rows(0, 2), app, texts);
    match app.session.standing() {
        Standing::Away(since, why) => away(frame, body, *since, why, texts),
        Standing::Reading => frame.render_widget(Line::raw("Reading ..."), body),
        Standing::Live => match app.screen {
            Screen::Lists => lists(frame, body, app, texts),
            _ => draw_open::opened(frame, body, app, texts),
        },
    }
    let notice = Line::raw(fit(&clean(&app.notice), area.width.into())).bold();
    frame.render_widget(notice, rows(area.height - 2, 1));
    let which = match app.screen {
        Screen::Lists => 0,
        Screen::Run(_) => 1,
        Screen::Task(_) => 2,
    };
    let keys = fit(KEYS[which], area.width.into());
    frame.render_widget(Line::raw(keys).style(REVERSED), rows(area.height - 1, 1));
    if let Some(modal) = &app.modal {
        self::modal(frame, modal);
    }
    if app.help {
        boxed(frame, "Keys", HELP.lines().map(Line::raw).collect());
    }
}

const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// A state in its colour; the word says the same.
pub fn state_style(state: &str, texts: &Texts) -> Style {
    let colour = match state {
        "error" => Color::Red,
        "blocked" => Color::Yellow,
        "working" | "started" => Color::Cyan,
        "done" => Color::Green,
        _ => return Style::new(),
    };
    match texts.colour {
        true => Style::new().fg(colour),
        false => Style::new(),
    }
}

/// Who needs a person, and whose word that is.
fn head(frame: &mut Frame<'_>, area: Rect, app: &App, texts: &Texts) {
    let facts = &app.session.facts;
    let s = &facts.status;
    let all = usize::from(area.width);
    let first = match app.session.standing() {
        Standing::Live => {
            let panes: Vec<Pane> = facts.runs().into_iter().cloned().collect();
            let attention = panes.iter().filter(|p| p.attention).count() as u64;
            needs(&panes, attention, texts).trim_end().to_owned()
        }
        Standing::Reading => "Connected, not yet up to date".into(),
        Standing::Away(..) => "NOT CONNECTED: nothing is known now".into(),
    };
    let second = match app.session.is_live() {
        true => {
            let alive = facts.panes.values().filter(|p| !p.ended).count();
            let kept = if s.kept { "" } else { ", not kept" };
            let warnings = match s.warnings.len() as u64 {
                0 => String::new(),
                n => format!("; {}", count(n, "warning", "warnings")),
            };
            format!(
                "colibrid {} on {}, up {}{kept}; {} of at most {} alive{warnings}",
                clean(&s.version),
                fit(&clean(&s.host), 20),
                age(&s.started_at, texts.now),
                count(alive as u64, "run", "runs"),
                s.runs.limit,
            )
        }
        false => String::new(),
    };
    let lines = vec![
        Line::raw(fit(&first, all)).bold(),
        Line::raw(fit(&second, all)),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn away(frame: &mut Frame<'_>, area: Rect, since: i64, why: &str, texts: &Texts) {
    let all = usize::from(area.width);
    let since = span(texts.now - since);
    let text = [
        String::new(),
        format!("colibrid is away since {since}:"),
        why.to_owned(),
        String::new(),
        "It is tried again. Runs go on meanwhile.".into(),
    ];
    let lines = text.iter().flat_map(|l| draw_open::fold(l, all));
    frame.render_widget(
        Paragraph::new(lines.map(Line::raw).collect::<Vec<_>>()),
        area,
    );
}

fn lists(frame: &mut Frame<'_>, area: Rect, app: &mut App, texts: &Texts) {
    let facts = &app.session.facts;
    let (runs, tasks) = (facts.runs(), facts.board());
    let all = usize::from(area.width);
    // A title and headings each, and an empty line between the two.
    let room = usize::from(area.height).saturating_sub(5);
    let for_runs = runs.len().max(1);
    let for_runs = for_runs.min((room / 2).max(room.saturating_sub(tasks.len().max(1))));
    let ids: Vec<u64> = runs.iter().map(|p| p.run).collect();
    let rows: Vec<_> = runs.iter().map(|p| pane_row(p, texts)).collect();
    let list = List {
        title: format!("Runs: {}", shown(runs.len(), for_runs)),
        empty: "No agent is running.",
        chosen: app.runs.place(&ids),
        focused: app.focus == Focus::Runs,
        marks: runs.iter().map(|p| p.attention).collect(),
        lines: cells(&RUNS, &rows, all - 2),
        state: 2,
    };
    let mut lines = list.lines(for_runs, texts);
    lines.push(Line::raw(""));
    let ids: Vec<u64> = tasks.iter().map(|t| t.id).collect();
    let rows: Vec<_> = tasks.iter().map(|t| task_row(t, texts)).collect();
    let list = List {
        title: format!("Board: {}", columns(app)),
        empty: "No tasks.",
        chosen: app.tasks.place(&ids),
        focused: app.focus == Focus::Tasks,
        marks: vec![false; tasks.len()],
        lines: cells(&TASKS, &rows, all - 2),
        state: 1,
    };
    let for_tasks = room - for_runs;
    lines.extend(list.lines(for_tasks, texts));
    let page = match app.focus {
        Focus::Runs => for_runs,
        Focus::Tasks => for_tasks,
    };
    frame.render_widget(Paragraph::new(lines), area);
    app.page = page;
}

const RUNS: [Column; 7] = [
    right("RUN", 10),
    left("AGENT", 16),
    left("STATE", 8),
    left("PHASE", 10),
    right("SINCE", 8),
    right("COST", 9),
    left("REASON", usize::MAX),
];

const TASKS: [Column; 5] = [
    right("TASK", 10),
    left("STATUS", 9),
    right("SINCE", 8),
    left("AGENT", 16),
    left("TITLE", usize::MAX),
];

fn task_row(t: &Task, texts: &Texts) -> [String; 5] {
    let why = t.reason.as_deref().filter(|w| !w.is_empty());
    [
        t.id.to_string(),
        t.status.clone(),
        age(&t.since, texts.now),
        t.agent.clone().unwrap_or_else(|| "-".into()),
        why.map_or(t.title.clone(), |why| format!("{} - {why}", t.title)),
    ]
}

/// `8`, or `8 of 20 shown`.
fn shown(there: usize, room: usize) -> String {
    match there > room {
        true => format!("{room} of {there} shown"),
        false => there.to_string(),
    }
}

/// `2 started, 1 queued`.
fn columns(app: &App) -> String {
    let counts = &app.session.facts.counts;
    let of = |status: &str| counts.get(status).copied().unwrap_or(0);
    let parts: Vec<String> = OPEN
        .iter()
        .filter(|s| of(s) > 0)
        .map(|s| format!("{} {s}", of(s)))
        .collect();
    match parts.is_empty() {
        true => "nothing to do".into(),
        false => parts.join(", "),
    }
}

/// A title, headings and rows.
struct List<const N: usize> {
    title: String,
    empty: &'static str,
    chosen: usize,
    focused: bool,
    /// Which rows need a person.
    marks: Vec<bool>,
    /// Headings and rows.
    lines: Vec<[String; N]>,
    /// The column that has a state.
    state: usize,
}

impl<const N: usize> List<N> {
    /// The title, the headings and at most `room` rows, of which one is the chosen.
    fn lines(&self, room: usize, texts: &Texts) -> Vec<Line<'static>> {
        let mut lines = vec![Line::raw(self.title.clone()).bold()];
        let first = (self.chosen + 1).saturating_sub(room);
        for (at, cells) in self.lines.iter().enumerate() {
            if at == 0 {
                lines.push(Line::raw(format!("  {}", cells.join("  "))));
            } else if (first + 1..=first + room).contains(&at) {
                lines.push(self.row(at - 1, cells, texts));
            }
        }
        if self.marks.is_empty() {
            lines.push(Line::raw(self.empty));
        }
        lines.resize(2 + room, Line::raw(""));
        lines
    }

    fn row(&self, at: usize, cells: &[String; N], texts: &Texts) -> Line<'static> {
        let chosen = self.focused && at == self.chosen;
        let marks = [
            if chosen { ">" } else { " " },
            if self.marks[at] { "!" } else { " " },
        ];
        let mut spans = vec![Span::raw(marks.concat())];
        for (column, cell) in cells.iter().enumerate() {
            if column > 0 {
                spans.push(Span::raw("  "));
            }
            let style = match column == self.state {
                true => state_style(cell.trim(), texts),
                false => Style::new(),
            };
            spans.push(Span::styled(cell.clone(), style));
        }
        let line = Line::from(spans);
        if chosen {
            line.style(REVERSED)
        } else {
            line
        }
    }
}

/// A box over the lower part of the screen.
fn boxed(frame: &mut Frame<'_>, title: &str, lines: Vec<Line<'_>>) {
    let area = frame.area();
    let height = (lines.len() as u16 + 2).min(area.height - 2);
    let area = Rect {
        x: 0,
        y: area.height - 1 - height,
        width: area.width,
        height,
    };
    frame.render_widget(Clear, area);
    let title = fit(&clean(title), usize::from(area.width) - 4);
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn modal(frame: &mut Frame<'_>, modal: &Modal) {
    let all = usize::from(frame.area().width) - 2;
    let most = usize::from(frame.area().height) - 8;
    match modal {
        Modal::Confirm { question, .. } => {
            let keys = Line::raw("y yes   n no");
            boxed(
                frame,
                "Sure?",
                vec![Line::raw(fit(question, all)).bold(), keys],
            );
        }
        Modal::Choice { run, dialog, at } => {
            let mut lines = message(dialog, all, most / 2);
            let answers = answers(dialog);
            let cancel = "(no answer: cancel the question)".to_owned();
            let options: Vec<String> = answers.into_iter().chain([cancel]).collect();
            let room = most.saturating_sub(lines.len());
            let first = (*at + 1).saturating_sub(room);
            for (n, option) in options.iter().enumerate().skip(first).take(room) {
                let mark = if n == *at { ">" } else { " " };
                let text = fit(&format!("{mark} {} {}", n + 1, clean(option)), all);
                let line = Line::raw(text);
                lines.push(if n == *at { line.style(REVERSED) } else { line });
            }
            lines.push(Line::raw("Up Down choose   Enter answer   Esc back"));
            boxed(frame, &format!("Run {run} {}", asks(dialog)), lines);
        }
        Modal::Input { run, dialog, text } => {
            let mut lines = Vec::new();
            let (title, keys) = match dialog {
                Some(dialog) => {
                    lines = message(dialog, all, most);
                    let keys = "Enter answer   Ctrl-X cancel the question   Esc back";
                    (format!("Run {run} {}", asks(dialog)), keys)
                }
                None => (format!("Tell run {run}"), "Enter tell   Esc back"),
            };
            lines.push(Line::raw(format!("> {}_", end_of(&clean(text), all - 3))).bold());
            lines.push(Line::raw(keys));
            boxed(frame, &title, lines);
        }
    }
}

/// The text of a question, in at most so many lines.
fn message(dialog: &Dialog, all: usize, most: usize) -> Vec<Line<'static>> {
    // Without a title the text is the title.
    if dialog.title.is_empty() {
        return Vec::new();
    }
    let text = clean_lines(&dialog.message);
    let lines = text.lines().flat_map(|l| draw_open::fold(l, all));
    lines.take(most).map(Line::raw).collect()
}

/// The end of a text that fits into so many columns.
fn end_of(text: &str, columns: usize) -> &str {
    let mut from = 0;
    while width(&text[from..]) > columns {
        from += text[from..].chars().next().map_or(1, char::len_utf8);
    }
    &text[from..]
}
