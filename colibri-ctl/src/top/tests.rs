//! What the view shows and does, without a terminal and without colibrid.

use ratatui::backend::TestBackend;
use ratatui::style::Color;
use ratatui::Terminal;
use serde_json::value::RawValue;
use serde_json::{json, Value};

use super::app::{App, Effect, Screen};
use super::ask::{Act, Ask};
use super::draw::draw;
use super::keys::Key;
use crate::framing::{incoming, Incoming, Told};
use crate::output::Style;
use crate::text::{is_harmful, width};

const NOW: i64 = 1_767_225_600;

fn texts(colour: bool) -> Style {
    Style {
        colour,
        now: NOW,
        command: "colibri-ctl".into(),
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap()
}

fn told(app: &mut App, event: &Value) {
    let line = json!({ "event": event }).to_string();
    match incoming(&line) {
        Ok(Incoming::Told(told @ Told::Event(_))) => app.told(told, NOW),
        other => panic!("{other:?}"),
    }
}

/// An app that has caught up with a colibrid of these panes and tasks, after event 10.
fn live(panes: &Value, tasks: &Value) -> App {
    let mut app = App::new(NOW);
    app.connected();
    app.reply(&Ask::Begin, Ok(raw(&json!({"seq": 10}))), NOW);
    for seq in 1..=10 {
        told(&mut app, &json!({"seq": seq, "at": "2026-01-01T00:00:00Z"}));
    }
    app.reply(
        &Ask::Tasks("queued", 9),
        Ok(raw(&json!({ "tasks": tasks }))),
        NOW,
    );
    let status = json!({
        "version": "0.1.0", "host": "build1", "kept": true, "seq": 10,
        "started_at": "2025-12-31T23:00:00Z", "runs": {"limit": 16},
        "panes": panes, "tasks": {"queued": 1, "started": 1},
    });
    app.reply(&Ask::Settle, Ok(raw(&status)), NOW);
    assert!(app.session.is_live());
    app.effects();
    app
}

fn pane(run: u64, agent: &str, state: &str, more: Value) -> Value {
    let mut pane = json!({
        "run": run, "agent": agent, "state": state, "since": "2025-12-31T23:59:00Z",
        "attention": state == "blocked" || state == "error",
    });
    for (k, v) in more.as_object().unwrap() {
        pane[k] = v.clone();
    }
    pane
}

fn question() -> Value {
    json!({"dialogs": [{"request": "r1", "method": "confirm", "title": "Delete it?", "message": "All\nof it"}]})
}

fn usual() -> App {
    let panes = json!([
        pane(
            3,
            "writer",
            "working",
            json!({"phase": "tool", "tools": ["bash"]})
        ),
        pane(2, "coder", "blocked", question()),
        pane(1, "tester", "done", json!({"ended": true})),
    ]);
    let tasks = json!([
        {"id": 5, "status": "queued", "title": "Later", "since": "2026-01-01T00:00:00Z"},
        {"id": 4, "status": "started", "title": "Now", "agent": "writer", "run": 3},
    ]);
    live(&panes, &tasks)
}

/// The screen's lines; nothing may be wider than it.
fn lines(app: &mut App, columns: u16, rows: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|f| draw(f, app, &texts(false))).unwrap();
    let buffer = terminal.backend().buffer().clone();
    assert!(buffer.content.iter().all(|c| c.fg == Color::Reset));
    let row = |y| -> String { (0..columns).map(|x| buffer[(x, y)].symbol()).collect() };
    (0..rows).map(|y| row(y).trim_end().to_owned()).collect()
}

fn keys(app: &mut App, keys: &[Key]) -> Vec<Effect> {
    keys.iter().for_each(|k| app.key(*k));
    app.effects()
}

#[test]
fn the_lists_at_80_by_24() {
    let shown = lines(&mut usual(), 80, 24);
    assert_eq!(
        &shown[..12],
        [
            "1 agent needs you: run 2 asks (confirm): Delete it?",
            "colibrid 0.1.0 on build1, up 1h00m; 2 runs of at most 16 alive",
            "Runs: 3",
            "  RUN  AGENT   STATE    PHASE  SINCE  COST  REASON",
            ">!  2  coder   blocked  -      1m00s     -  asks (confirm): Delete it?",
            "    3  writer  working  tool   1m00s     -  bash",
            "    1  tester  done     ended  1m00s     -",
            "",
            "Board: 1 started, 1 queued",
            "  TASK  STATUS   SINCE  AGENT   TITLE",
            "     4  started      -  writer  Now",
            "     5  queued      0s  -       Later",
        ]
    );
    assert!(
        shown[23].starts_with("Enter open") && shown[23].ends_with("q quit"),
        "{shown:#?}"
    );
}

#[test]
fn events_change_what_is_shown() {
    let mut app = usual();
    let at = "2026-01-01T00:00:00Z";
    told(
        &mut app,
        &json!({"seq": 11, "at": at, "run": 2, "kind": "settled", "request": "r1"}),
    );
    told(
        &mut app,
        &json!({"seq": 12, "at": at, "run": 2, "kind": "state", "state": "working", "phase": "model"}),
    );
    told(
        &mut app,
        &json!({"seq": 13, "at": at, "kind": "task", "task": 6, "status": "queued", "before": null, "title": "New"}),
    );
    let shown = lines(&mut app, 80, 24);
    assert_eq!(shown[0], "No agent needs you: 2 working, 1 done.");
    assert!(
        shown.iter().any(|l| l == "Board: 1 started, 2 queued"),
        "{shown:#?}"
    );
    assert!(shown.iter().any(|l| l.ends_with("New")), "{shown:#?}");
}

#[test]
fn what_was_known_is_not_shown_while_colibrid_is_away() {
    let mut app = usual();
    app.lost("it closed the connection".into(), NOW - 7);
    assert_eq!(app.effects(), [Effect::Reconnect]);
    let shown = lines(&mut app, 80, 24).join("\n");
    assert!(
        shown.starts_with("NOT CONNECTED: nothing is known now"),
        "{shown}"
    );
    assert!(shown.contains("colibrid is away since 7s:\nit closed the connection"));
    for gone in ["coder", "blocked", "Later", "build1"] {
        assert!(!shown.contains(gone), "{gone}: {shown}");
    }
    // Nothing can be done, and what is typed is not lost.
    assert_eq!(keys(&mut app, &[Key::Char('s')]), []);
    assert_eq!(app.notice, "Not connected");
    app.connected();
    assert_eq!(app.effects(), [Effect::Send(Ask::Begin)]);
    assert!(!lines(&mut app, 80, 24).join("\n").contains("coder"));
}

#[test]
fn a_missing_event_means_reading_everything_anew() {
    let mut app = usual();
    told(&mut app, &json!({"seq": 12}));
    told(&mut app, &json!({"seq": 13}));
    assert_eq!(app.effects(), [Effect::Reconnect], "once");
    assert!(!app.session.is_live());
}

#[test]
fn a_question_is_answered_from_the_list() {
    let mut app = usual();
    keys(&mut app, &[Key::Char('a')]);
    let shown = lines(&mut app, 80, 24).join("\n");
    assert!(
        shown.contains("Run 2 asks (confirm): Delete it?"),
        "{shown}"
    );
    for part in ["│All", "│of it", "> 1 yes", "  2 no"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let act = Act::Answer {
        run: 2,
        request: "r1".into(),
        value: Some("yes".into()),
    };
    let sent = keys(&mut app, &[Key::Enter]);
    assert_eq!(sent, [Effect::Send(Ask::Act(act.clone()))]);
    app.reply(
        &Ask::Act(act),
        Err("no such question (conflict)".into()),
        NOW,
    );
    assert_eq!(app.notice, "Refused: no such question (conflict)");
}

#[test]
fn a_question_that_somebody_else_answered_is_not_asked_on() {
    let mut app = usual();
    keys(&mut app, &[Key::Char('a')]);
    told(
        &mut app,
        &json!({"seq": 11, "run": 2, "kind": "settled", "request": "r1"}),
    );
    assert_eq!(app.effects(), []);
    assert!(app.modal.is_none());
    assert_eq!(app.notice, "The question is not open any more");
}

#[test]
fn what_destroys_asks_first() {
    let mut app = usual();
    assert_eq!(keys(&mut app, &[Key::Down, Key::Char('s')]), []);
    let shown = lines(&mut app, 80, 24).join("\n");
    assert!(
        shown.contains("Stop run 3 (writer) and all that it started?"),
        "{shown}"
    );
    assert_eq!(keys(&mut app, &[Key::Enter, Key::Char('n')]), []);
    let sent = keys(&mut app, &[Key::Char('s'), Key::Char('y')]);
    assert_eq!(sent, [Effect::Send(Ask::Act(Act::Stop(3)))]);
    // Of a run that is an attempt at a task, that task.
    let sent = keys(&mut app, &[Key::Char('c'), Key::Char('y')]);
    assert_eq!(sent, [Effect::Send(Ask::Act(Act::Cancel(4)))]);
    let cancelled = [Key::Tab, Key::Down, Key::Char('c'), Key::Char('y')];
    assert_eq!(
        keys(&mut app, &cancelled),
        [Effect::Send(Ask::Act(Act::Cancel(5)))]
    );
    keys(&mut app, &[Key::Tab, Key::End, Key::Char('x')]);
    assert_eq!(app.notice, "Run 1 has ended");
}

#[test]
fn an_opened_run_shows_its_tail_and_its_answer() {
    let mut app = usual();
    let sent = keys(&mut app, &[Key::Down, Key::Enter]);
    assert_eq!(
        sent,
        [Effect::Send(Ask::Run(3)), Effect::Send(Ask::Evidence(3))]
    );
    for n in 11..60 {
        told(
            &mut app,
            &json!({"seq": n, "at": "2026-01-01T00:00:00Z", "run": 3, "kind": "tool-start", "name": format!("tool-{n}")}),
        );
    }
    let detail = json!({"run": 3, "title": "Write", "task": 4, "answer": "line one\n\u{1b}[31mred\u{202e}", "prompt": "Write\nit"});
    app.reply(&Ask::Run(3), Ok(raw(&detail)), NOW);
    let shown = lines(&mut app, 80, 24).join("\n");
    assert!(
        shown.contains("Run 3: working (tool), agent writer"),
        "{shown}"
    );
    assert!(
        shown.contains("Task 4: Write") && shown.contains("tool-59"),
        "{shown}"
    );
    assert!(
        shown.contains("\u{fffd}[31mred\u{fffd}") && !shown.contains("tool-20"),
        "{shown}"
    );
    assert!(!shown.chars().any(|c| is_harmful(c) && c != '\n'));
    // Scrolling up stays there; the end follows.
    keys(&mut app, &[Key::Home]);
    assert!(lines(&mut app, 80, 24).join("\n").contains("tool-11"));
    keys(&mut app, &[Key::End]);
    assert!(lines(&mut app, 80, 24).join("\n").contains("tool-59"));
    keys(&mut app, &[Key::Tab]);
    let shown = lines(&mut app, 80, 24).join("\n");
    assert!(
        shown.contains("Details") && shown.contains("(profile "),
        "{shown}"
    );
    // Its details are asked for again when there is more to know.
    told(&mut app, &json!({"seq": 60, "run": 3, "kind": "answer"}));
    assert_eq!(app.effects(), [Effect::Send(Ask::Run(3))]);
    keys(&mut app, &[Key::Esc]);
    assert!(matches!(app.screen, Screen::Lists));
}

#[test]
fn the_choice_stays_at_its_run_when_others_come_first() {
    let mut app = usual();
    keys(&mut app, &[Key::Down]);
    told(
        &mut app,
        &json!({"seq": 11, "run": 9, "kind": "run-created", "agent": "new", "at": "x"}),
    );
    told(
        &mut app,
        &json!({"seq": 12, "run": 9, "kind": "state", "state": "error", "at": "x"}),
    );
    let shown = lines(&mut app, 80, 24);
    let chosen = shown.iter().find(|l| l.starts_with('>')).unwrap();
    assert!(chosen.contains("writer"), "{shown:#?}");
}

#[test]
fn every_size_and_any_text_can_be_drawn() {
    let nasty = "\u{1b}]0;x\u{7}漢字👍e\u{301}\u{202e}\t\r\n ".repeat(40);
    let dialogs = json!([{"request": nasty, "method": "select", "title": nasty, "message": nasty, "options": vec![&nasty; 40]}]);
    let panes: Vec<Value> = (1..60)
        .map(|n| {
            pane(
                n,
                &nasty,
                if n % 2 == 0 { "error" } else { &nasty },
                json!({"reason": nasty, "dialogs": dialogs, "cwd": nasty}),
            )
        })
        .collect();
    let tasks: Vec<Value> = (1..60)
        .map(|n| json!({"id": n, "status": "queued", "title": nasty, "reason": nasty, "agent": nasty}))
        .collect();
    let mut app = live(&json!(panes), &json!(tasks));
    let pressed = [
        vec![],
        vec![Key::Char('a'), Key::End],
        vec![Key::Esc, Key::Enter],
        vec![Key::Tab, Key::End],
        vec![Key::Char('t'), Key::Char('漢')],
        vec![Key::Esc, Key::Esc, Key::Tab, Key::End, Key::Enter],
        vec![Key::Esc, Key::Char('?')],
    ];
    for pressed in pressed {
        keys(&mut app, &pressed);
        for (columns, rows) in [
            (80, 24),
            (40, 12),
            (41, 13),
            (200, 60),
            (10, 3),
            (80, 12),
            (1, 1),
        ] {
            for line in lines(&mut app, columns, rows) {
                assert!(!line.chars().any(is_harmful), "{line:?}");
            }
        }
    }
}

#[test]
fn colour_only_repeats_a_word() {
    let mut app = usual();
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|f| draw(f, &mut app, &texts(true))).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let in_colour = |wanted: Color| -> String {
        let cells = buffer.content.iter().filter(|c| c.fg == wanted);
        cells.map(|c| c.symbol()).collect()
    };
    assert_eq!(in_colour(Color::Yellow), "blocked");
    assert_eq!(in_colour(Color::Green).trim_end(), "done");
    assert_eq!(in_colour(Color::Cyan), "workingstarted");
}

#[test]
fn what_the_keys_do_is_on_the_screen() {
    let mut app = usual();
    for (pressed, shown) in [
        (vec![], ["Enter", "a answer", "s stop", "? help", "q quit"]),
        (
            vec![Key::Char('?')],
            ["Ctrl-Z", "Ctrl-L", "PgUp", "t  tell", "x  abort"],
        ),
        (
            vec![Key::Esc, Key::Enter],
            ["Esc back", "Tab details", "x abort", "? help", "q quit"],
        ),
    ] {
        keys(&mut app, &pressed);
        let all = lines(&mut app, 80, 24);
        assert!(
            all.iter().all(|l| width(l) <= 80 && !l.contains('…')),
            "{all:#?}"
        );
        let all = all.join("\n");
        for part in shown {
            assert!(all.contains(part), "{part}: {all}");
        }
    }
    assert_eq!(keys(&mut app, &[Key::Ctrl('z')]), [Effect::Suspend]);
    assert_eq!(keys(&mut app, &[Key::Char('q')]), [Effect::Quit]);
}
