//! What `top` knows, shows and does with a key. Pure: what is to be done is handed out as effects.

use serde_json::value::RawValue;

use super::ask::{Act, Ask};
use super::keys::Key;
use super::modal::{Modal, Outcome};
use super::session::{parse, Session, Standing};
use crate::commands::explain::Explanation;
use crate::framing::Told;
use crate::model::{Event, Pane, RunDetail};
use crate::model_board::TaskDetail;
use crate::text::clean;

/// What is to be done outside.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask colibrid.
    Send(Ask),
    /// The connection is of no use: another one.
    Reconnect,
    /// Draw everything anew.
    Redraw,
    /// Stop this program for a while.
    Suspend,
    /// It is over.
    Quit,
}

/// Which list the keys move in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// The runs.
    Runs,
    /// The tasks.
    Tasks,
}

/// A place in a list that changes: it stays at its entry, and where it was when that is gone.
#[derive(Debug, Default)]
pub struct Cursor {
    id: Option<u64>,
    at: usize,
}

/// What is opened.
#[derive(Debug)]
pub enum Screen {
    /// Nothing: the lists.
    Lists,
    /// A run.
    Run(RunView),
    /// A task.
    Task(TaskView),
}

/// A run that is opened.
#[derive(Debug, Default)]
pub struct RunView {
    /// Which.
    pub run: u64,
    /// Whether its details are shown instead of its events.
    pub details: bool,
    /// Lines away from the end of the events, or from the begin of the details.
    pub scroll: usize,
    /// What `get-run` says of it.
    pub detail: Option<RunDetail>,
    fresh: Freshness,
}

/// A task that is opened.
#[derive(Debug, Default)]
pub struct TaskView {
    /// Which.
    pub task: u64,
    /// Lines away from the begin.
    pub scroll: usize,
    /// What `get-task` says of it.
    pub detail: Option<TaskDetail>,
    fresh: Freshness,
}

/// Whether details have to be asked for, and were.
#[derive(Debug)]
struct Freshness {
    stale: bool,
    asked: bool,
}

impl Freshness {
    /// Whether to ask now; then it has been asked.
    fn ask(&mut self) -> bool {
        let due = self.stale && !self.asked;
        if due {
            (self.stale, self.asked) = (false, true);
        }
        due
    }
}

impl Default for Freshness {
    fn default() -> Self {
        let (stale, asked) = (true, false);
        Freshness { stale, asked }
    }
}

/// See the module.
#[derive(Debug)]
pub struct App {
    /// The facts and how they stand.
    pub session: Session,
    /// What is opened.
    pub screen: Screen,
    /// What is asked of the operator.
    pub modal: Option<Modal>,
    /// Whether the keys are explained.
    pub help: bool,
    /// What came of the last key.
    pub notice: String,
    /// Which list the keys move in.
    pub focus: Focus,
    /// The chosen run.
    pub runs: Cursor,
    /// The chosen task.
    pub tasks: Cursor,
    /// Lines of a page, as they were drawn last.
    pub page: usize,
    /// The furthest scroll of what was drawn last.
    pub scroll_max: usize,
    effects: Vec<Effect>,
}

impl Cursor {
    /// The place among these entries.
    #[must_use]
    pub fn place(&self, ids: &[u64]) -> usize {
        let there = ids.iter().position(|id| Some(*id) == self.id);
        there.unwrap_or(self.at).min(ids.len().saturating_sub(1))
    }

    fn go(&mut self, ids: &[u64], by: isize) {
        let at = self.place(ids).saturating_add_signed(by);
        self.at = at.min(ids.len().saturating_sub(1));
        self.id = ids.get(self.at).copied();
    }
}

impl App {
    /// Nothing known yet.
    #[must_use]
    pub fn new(now: i64) -> App {
        App {
            session: Session::new(now),
            screen: Screen::Lists,
            modal: None,
            help: false,
            notice: String::new(),
            focus: Focus::Runs,
            runs: Cursor::default(),
            tasks: Cursor::default(),
            page: 10,
            scroll_max: 0,
            effects: Vec::new(),
        }
    }

    /// What is to be done since the last call.
    pub fn effects(&mut self) -> Vec<Effect> {
        self.refresh();
        std::mem::take(&mut self.effects)
    }

    /// There is a connection.
    pub fn connected(&mut self) {
        let first = self.session.connected();
        self.effects.push(Effect::Send(first));
        // Whatever was asked on the old one will not be answered.
        match &mut self.screen {
            Screen::Run(view) => view.fresh = Freshness::default(),
            Screen::Task(view) => view.fresh = Freshness::default(),
            Screen::Lists => {}
        }
    }

    /// The connection is gone. What of it is still read afterwards is worth nothing.
    pub fn lost(&mut self, why: String, now: i64) {
        if !self.is_away() {
            self.session.lost(clean(&why), now);
            self.effects.push(Effect::Reconnect);
        }
    }

    fn is_away(&self) -> bool {
        matches!(self.session.standing(), Standing::Away(..))
    }

    /// A connection could not be had; it is tried again.
    pub fn away(&mut self, why: String, now: i64) {
        self.session.lost(clean(&why), now);
    }

    /// Takes in the next line of the subscription.
    pub fn told(&mut self, told: Told, now: i64) {
        if self.is_away() {
            return;
        }
        if let Told::Event(event) = &told {
            self.note(event);
        }
        if let Err(why) = self.session.told(told) {
            self.lost(why, now);
        }
    }

    /// What an event means for what is opened.
    fn note(&mut self, e: &Event) {
        match &mut self.screen {
            Screen::Run(view) if view.run == e.run => {
                view.fresh.stale |= matches!(
                    e.kind.as_str(),
                    "started" | "session" | "answer" | "exited" | "ended"
                );
            }
            Screen::Task(view) if Some(view.task) == e.task => {
                view.fresh.stale |= e.kind == "task";
            }
            _ => {}
        }
    }

    /// Takes in the reply to a request.
    pub fn reply(&mut self, ask: &Ask, result: Result<Box<RawValue>, String>, now: i64) {
        if self.is_away() {
            return;
        }
        let outcome = match (ask, result) {
            (Ask::Act(act), Ok(_)) => {
                self.notice = act.words().1;
                Ok(())
            }
            (Ask::Act(_), Err(why)) => {
                self.notice = format!("Refused: {why}");
                Ok(())
            }
            (Ask::Run(run), result) => self.run_detail(*run, result),
            (Ask::Task(task), result) => self.task_detail(*task, result),
            (Ask::Evidence(_), Ok(data)) => {
                parse::<Explanation>(&data).map(|e| self.session.facts.remember_older(e.evidence))
            }
            (Ask::Evidence(_), Err(_)) => Ok(()),
            (ask, Ok(data)) => self.session.reply(ask, &data).map(|asks| {
                self.effects.extend(asks.into_iter().map(Effect::Send));
            }),
            (_, Err(why)) => Err(why),
        };
        if let Err(why) = outcome {
            self.lost(why, now);
        }
    }

    fn run_detail(
        &mut self,
        run: u64,
        result: Result<Box<RawValue>, String>,
    ) -> Result<(), String> {
        let Screen::Run(view) = &mut self.screen else {
            return Ok(());
        };
        if view.run == run {
            view.fresh.asked = false;
            match result {
                Ok(data) => view.detail = Some(parse(&data)?),
                Err(why) => self.notice = why,
            }
        }
        Ok(())
    }

    fn task_detail(
        &mut self,
        task: u64,
        result: Result<Box<RawValue>, String>,
    ) -> Result<(), String> {
        let Screen::Task(view) = &mut self.screen else {
            return Ok(());
        };
        if view.task == task {
            view.fresh.asked = false;
            match result {
                Ok(data) => view.detail = Some(parse(&data)?),
                Err(why) => self.notice = why,
            }
        }
        Ok(())
    }

    /// Asks for what is out of date.
    fn refresh(&mut self) {
        if !self.session.is_live() {
            return;
        }
        let panes = &self.session.facts.panes;
        let open = |(run, request): (u64, &str)| {
            let pane = panes.get(&run);
            pane.is_some_and(|p| p.dialogs.iter().any(|d| d.request == request))
        };
        if self
            .modal
            .as_ref()
            .and_then(Modal::about)
            .is_some_and(|q| !open(q))
        {
            self.modal = None;
            self.notice = "The question is not open any more".into();
        }
        match &mut self.screen {
            Screen::Run(view) => {
                let evidence =
                    view.detail.is_none() && self.session.facts.tail(view.run).next().is_none();
                let asks = [
                    Some(Ask::Run(view.run)),
                    evidence.then_some(Ask::Evidence(view.run)),
                ];
                if view.fresh.ask() {
                    self.effects
                        .extend(asks.into_iter().flatten().map(Effect::Send));
                }
            }
            Screen::Task(view) => {
                if view.fresh.ask() {
                    self.effects.push(Effect::Send(Ask::Task(view.task)));
                }
            }
            Screen::Lists => {}
        }
        self.effects.extend(self.session.wants().map(Effect::Send));
    }

    /// Numbers of the runs as they are shown.
    #[must_use]
    pub fn run_ids(&self) -> Vec<u64> {
        self.session.facts.runs().iter().map(|p| p.run).collect()
    }

    /// Numbers of the tasks as they are shown.
    #[must_use]
    pub fn task_ids(&self) -> Vec<u64> {
        self.session.facts.board().iter().map(|t| t.id).collect()
    }

    /// Takes a key.
    pub fn key(&mut self, key: Key) {
        match key {
            Key::Ctrl('c') => return self.effects.push(Effect::Quit),
            Key::Ctrl('z') => return self.effects.push(Effect::Suspend),
            Key::Ctrl('l') => return self.effects.push(Effect::Redraw),
            _ => {}
        }
        if self.help {
            self.help = false;
            return;
        }
        if let Some(modal) = &mut self.modal {
            match modal.key(key) {
                Outcome::Stay => {}
                Outcome::Drop => self.modal = None,
                Outcome::Do(act) => self.act(act),
            }
            return;
        }
        self.notice.clear();
        match key {
            Key::Char('q') => self.effects.push(Effect::Quit),
            Key::Char('?') => self.help = true,
            Key::Esc | Key::Left | Key::Backspace => self.screen = Screen::Lists,
            Key::Enter | Key::Right => self.open(),
            Key::Tab => self.switch(),
            Key::Up | Key::Char('k') => self.go(-1),
            Key::Down | Key::Char('j') => self.go(1),
            Key::PageUp => self.go(-self.page.cast_signed()),
            Key::PageDown => self.go(self.page.cast_signed()),
            Key::Home | Key::Char('g') => self.go(isize::MIN),
            Key::End | Key::Char('G') => self.go(isize::MAX),
            Key::Char(c) => self.command(c),
            _ => {}
        }
    }

    fn act(&mut self, act: Act) {
        // What was typed stays for when there is a connection again.
        if !self.session.is_live() {
            self.notice = "Not connected: nothing was sent".into();
            return;
        }
        self.modal = None;
        self.notice = act.words().0;
        self.effects.push(Effect::Send(Ask::Act(act)));
    }

    fn switch(&mut self) {
        match &mut self.screen {
            Screen::Run(view) => {
                view.details = !view.details;
                view.scroll = 0;
            }
            Screen::Task(_) => {}
            Screen::Lists => {
                self.focus = match self.focus {
                    Focus::Runs => Focus::Tasks,
                    Focus::Tasks => Focus::Runs,
                }
            }
        }
    }

    /// Down by so many lines, or up.
    fn go(&mut self, by: isize) {
        let (max, scrolled) = (self.scroll_max, |scroll: &mut usize, by| {
            *scroll = scroll.saturating_add_signed(by);
        });
        match (&mut self.screen, self.focus) {
            // Events are counted from their end.
            (Screen::Run(view), _) if !view.details => {
                scrolled(&mut view.scroll, by.saturating_neg());
                view.scroll = view.scroll.min(max);
            }
            (Screen::Run(RunView { scroll, .. }) | Screen::Task(TaskView { scroll, .. }), _) => {
                scrolled(scroll, by);
                *scroll = (*scroll).min(max);
            }
            (Screen::Lists, Focus::Runs) => {
                let ids = self.run_ids();
                self.runs.go(&ids, by);
            }
            (Screen::Lists, Focus::Tasks) => {
                let ids = self.task_ids();
                self.tasks.go(&ids, by);
            }
        }
    }

    fn chosen_run(&self) -> Option<u64> {
        let ids = self.run_ids();
        ids.get(self.runs.place(&ids)).copied()
    }

    fn chosen_task(&self) -> Option<u64> {
        let ids = self.task_ids();
        ids.get(self.tasks.place(&ids)).copied()
    }

    fn open(&mut self) {
        if !matches!(self.screen, Screen::Lists) {
            return;
        }
        let opened = match self.focus {
            Focus::Runs => self.chosen_run().map(|run| {
                Screen::Run(RunView {
                    run,
                    ..RunView::default()
                })
            }),
            Focus::Tasks => self.chosen_task().map(|task| {
                Screen::Task(TaskView {
                    task,
                    ..TaskView::default()
                })
            }),
        };
        if let Some(screen) = opened {
            self.screen = screen;
        }
    }

    /// The run that commands mean: the opened or chosen one, or that of the opened or chosen task.
    fn run(&self) -> Option<u64> {
        let of_task = |task: &u64| self.session.facts.tasks.get(task)?.run;
        match (&self.screen, self.focus) {
            (Screen::Run(view), _) => Some(view.run),
            (Screen::Task(view), _) => of_task(&view.task),
            (Screen::Lists, Focus::Runs) => self.chosen_run(),
            (Screen::Lists, Focus::Tasks) => of_task(&self.chosen_task()?),
        }
    }

    /// The task that commands mean.
    fn task(&self) -> Option<u64> {
        match (&self.screen, self.focus) {
            (Screen::Task(view), _) => Some(view.task),
            (Screen::Run(view), _) => view.detail.as_ref()?.run.task,
            (Screen::Lists, Focus::Tasks) => self.chosen_task(),
            (Screen::Lists, Focus::Runs) => {
                let run = self.chosen_run();
                let tasks = self.session.facts.board();
                tasks
                    .iter()
                    .find(|t| t.run == run && run.is_some())
                    .map(|t| t.id)
            }
        }
    }

    fn command(&mut self, c: char) {
        let modal = match c {
            'a' => self.living().and_then(|p| match p.dialogs.first() {
                Some(dialog) => Ok(Modal::answer(p.run, dialog.clone())),
                None => Err(format!("Run {} asks nothing", p.run)),
            }),
            't' => self.living().map(|p| Modal::Input {
                run: p.run,
                dialog: None,
                text: String::new(),
            }),
            's' => self.living().map(|p| Modal::Confirm {
                question: format!(
                    "Stop run {} ({}) and all that it started?",
                    p.run,
                    clean(&p.agent)
                ),
                act: Act::Stop(p.run),
            }),
            'x' => self.living().map(|p| Modal::Confirm {
                question: format!(
                    "Abort the current work of run {} ({})?",
                    p.run,
                    clean(&p.agent)
                ),
                act: Act::Abort(p.run),
            }),
            'c' => match self.task() {
                Some(task) => Ok(Modal::Confirm {
                    question: format!("Cancel task {task}, and stop its run?"),
                    act: Act::Cancel(task),
                }),
                None => Err("There is no task here".into()),
            },
            _ => return,
        };
        match modal {
            _ if !self.session.is_live() => self.notice = "Not connected".into(),
            Ok(modal) => self.modal = Some(modal),
            Err(why) => self.notice = why,
        }
    }

    /// The pane of the run that commands mean, if it lives.
    fn living(&self) -> Result<&Pane, String> {
        let run = self.run().ok_or("There is no run here")?;
        match self.session.facts.panes.get(&run) {
            Some(pane) if !pane.ended => Ok(pane),
            _ => Err(format!("Run {run} has ended")),
        }
    }
}
