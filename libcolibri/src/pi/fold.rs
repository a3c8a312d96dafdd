//! What the agent is doing: a state machine over Pi's events and our own acts, without clock and
//! without side effects.
//!
//! Its rules in short: a run is over at `agent_end` but the work is finished only at `agent_settled`
//! (or, with a Pi that never says so, when the process exits or nothing follows); the last model
//! answer decides between done and error; exit 0 alone proves nothing.

use super::event::{Answer, Dialect, Disposition, Event, Response, Retry, Stop};
use super::open::Open;
use super::text;
use super::view::View;
use crate::record::{Closed, Mode, Record};
use crate::state::{Exit, Phase, State, Usage};

/// How long a Pi without `agent_settled` must be quiet after `agent_end` until its work counts as
/// finished, milliseconds: five times the longest gap seen within a settling sequence (53 ms, on a
/// loaded machine).
pub const SETTLE_MS: u64 = 250;

/// How the fold is used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How the agent is spoken to; `None` = unknown, then a `session` header means JSON mode.
    pub mode: Option<Mode>,
    /// Live supervision: an RPC agent that never says `agent_settled` counts as finished after
    /// [`SETTLE_MS`] of quiet or when `get_state` says so. A recording needs no guess.
    pub live: bool,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// Pi said something.
    Event(Event),
    /// We wrote `abort`.
    Aborted,
    /// We wrote the answer to a dialog.
    Answered {
        /// Which dialog.
        request: &'a str,
        /// Whether it was a cancellation.
        cancelled: bool,
    },
    /// The end of the agent was asked for, whatever it is doing.
    Stopping,
    /// We end the agent because its work has settled; what it achieved stays its result.
    Finishing,
    /// Nothing but time.
    Tick,
    /// The agent's process has ended and its stream was read to the end.
    Exit {
        /// How.
        exit: Exit,
        /// The end was asked for, also if [`Input::Stopping`] was never given.
        asked: bool,
    },
}

/// How far the current work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// There was none.
    None,
    /// Between `agent_start` and `agent_end`.
    Open,
    /// `agent_end` was seen; automatic work may follow.
    Ended,
    /// No work is left.
    Settled,
}

/// A wait whose end is known.
#[derive(Debug)]
struct Wait {
    until_ms: u64,
    reason: String,
}

/// The state machine. One per agent process.
#[derive(Debug)]
pub struct Fold {
    options: Options,
    run: Run,
    /// This Pi says `agent_settled`, so `agent_end` alone never finishes the work.
    settles: bool,
    rpc: bool,
    open: Open,
    compactions: u32,
    retry: Option<Wait>,
    summary_retry: Option<Wait>,
    /// Pi said that it will start the run again.
    promised: bool,
    last: Option<(Stop, String)>,
    answer: String,
    usage: Usage,
    /// The session that was last told of by `get_state`: RPC mode has no header.
    session: String,
    aborted: bool,
    /// Aborts that we wrote and that Pi has not replied to.
    aborts_pending: u32,
    /// When the quiet after `agent_end` is long enough; 0 = not waiting for that.
    settle_at_ms: u64,
    /// What is shown while nothing is going on.
    rest: View,
    stopping: bool,
    finishing: bool,
    ended: bool,
    shown: View,
}

impl Fold {
    /// An agent whose process has just been started.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let starting = View::new(State::Unknown, Phase::Starting, "");
        Fold {
            options,
            run: Run::None,
            settles: false,
            rpc: options.mode != Some(Mode::Json),
            open: Open::default(),
            compactions: 0,
            retry: None,
            summary_retry: None,
            promised: false,
            last: None,
            answer: String::new(),
            usage: Usage::default(),
            session: String::new(),
            aborted: false,
            aborts_pending: 0,
            settle_at_ms: 0,
            rest: starting.clone(),
            stopping: false,
            finishing: false,
            ended: false,
            shown: starting,
        }
    }

    /// What the agent is doing, as last reported.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.shown
    }

    /// Sums over the model's answers so far.
    #[must_use]
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Whether there was work and none is left: an RPC agent can be given more, or be ended.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.run == Run::Settled && self.compactions == 0 && !self.open.waits()
    }

    /// Whether this dialog still waits for an answer.
    #[must_use]
    pub fn is_open(&self, request: &str) -> bool {
        self.open.is_waiting(request)
    }

    /// When [`Input::Tick`] is due, on the clock of `at_ms`; `None` = no cause to wake up.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let settle = Some(self.settle_at_ms).filter(|&at| at != 0);
        settle.into_iter().chain(self.open.deadline()).min()
    }

    /// Takes one input at `at_ms` (any clock that does not step back, the same one in every call) and
    /// appends what changed, in order, to `out`. Deadlines that have passed by then come first.
    pub fn step(&mut self, input: Input<'_>, at_ms: u64, out: &mut Vec<Record>) {
        if self.ended {
            return;
        }
        self.deadlines(at_ms, out);
        match input {
            Input::Tick => {}
            Input::Event(event) => {
                self.first_line(&event, out);
                self.event(event, at_ms, out);
            }
            Input::Aborted => {
                if self.active() {
                    self.aborted = true;
                    self.aborts_pending = self.aborts_pending.saturating_add(1);
                }
            }
            Input::Answered { request, cancelled } => {
                let how = if cancelled {
                    Closed::Cancelled
                } else {
                    Closed::Answered
                };
                self.open.answered(request, how, out);
            }
            Input::Stopping => self.stopping = true,
            Input::Finishing => self.finishing = true,
            Input::Exit { exit, asked } => {
                self.stopping |= asked;
                return self.exit(exit, out);
            }
        }
        self.show(out);
    }

    // ---- what is shown ----

    fn show(&mut self, out: &mut Vec<Record>) {
        let mut view = self.current();
        if self.stopping && !self.ended {
            view.phase = Phase::Stopping;
        }
        self.show_view(view, out);
    }

    fn show_view(&mut self, view: View, out: &mut Vec<Record>) {
        if view == self.shown {
            return;
        }
        self.shown = view.clone();
        out.push(Record::State {
            state: view.state,
            phase: view.phase,
            reason: view.reason,
            until_ms: view.until_ms,
        });
    }

    fn current(&self) -> View {
        if self.open.waits() {
            let mut view = View::new(State::Blocked, Phase::None, "user");
            view.until_ms = self.open.deadline().unwrap_or(0);
            return view;
        }
        if let Some(wait) = self.retry.as_ref().or(self.summary_retry.as_ref()) {
            let mut view = View::new(State::Working, Phase::Retrying, &wait.reason);
            view.until_ms = wait.until_ms;
            return view;
        }
        let phase = if self.compactions > 0 {
            Phase::Compacting
        } else if self.run == Run::Open && self.open.has_tools() {
            Phase::Tool
        } else if self.run == Run::Open {
            Phase::Model
        } else if self.run == Run::Ended {
            Phase::Settling
        } else {
            return self.rest.clone();
        };
        View::new(State::Working, phase, "")
    }

    /// Whether there is work that an abort would end.
    fn active(&self) -> bool {
        matches!(self.run, Run::Open | Run::Ended) || self.compactions > 0 || self.retry.is_some()
    }

    // ---- Pi's events ----

    /// The first line shows that Pi is up and idle, unless it says more itself.
    fn first_line(&mut self, event: &Event, out: &mut Vec<Record>) {
        let up = matches!(event, Event::Dialect(_) | Event::AgentStart);
        if self.rest.state == State::Unknown {
            self.rest = View::new(State::Idle, Phase::None, "");
            if !up {
                self.show(out);
            }
        }
    }

    fn event(&mut self, event: Event, at_ms: u64, out: &mut Vec<Record>) {
        match event {
            Event::Session { id, cwd } => {
                // Only JSON mode has a header.
                self.rpc = self.options.mode == Some(Mode::Rpc);
                out.push(Record::Session { id, cwd });
            }
            Event::Dialect(dialect) => self.settles |= dialect == Dialect::Delta,
            Event::AgentStart => self.agent_start(out),
            Event::Answer(answer) => self.answered(answer, out),
            Event::ToolStart { id, name } => self.tool_start(id, name, out),
            Event::ToolUpdate { id } => self.open.tool_update(&id, out),
            Event::ToolEnd {
                id,
                name,
                failed,
                duration_ms,
            } => {
                self.open.tool_end(&id, out);
                out.push(Record::ToolEnd {
                    id,
                    name,
                    failed,
                    duration_ms,
                });
            }
            Event::AgentEnd { will_retry } => self.agent_end(will_retry, at_ms, out),
            Event::AgentSettled { aborted } => {
                self.settles = true;
                self.open.clear(out);
                self.settle(aborted, out);
            }
            Event::RetryStart(retry) => {
                self.settle_at_ms = 0;
                self.retry = Some(wait(&retry, at_ms));
            }
            Event::RetryEnd { success, error } => self.retry_end(success, &error, at_ms),
            Event::CompactionStart => {
                self.settle_at_ms = 0;
                self.compactions = self.compactions.saturating_add(1);
            }
            Event::CompactionEnd { .. } => self.compaction_end(event, at_ms, out),
            Event::SummaryRetry(retry) => {
                self.settles = true; // newer than agent_settled
                self.summary_retry = Some(wait(&retry, at_ms));
            }
            Event::SummaryRetryOver => self.summary_retry = None,
            Event::Asked(dialog) => {
                self.settle_at_ms = 0;
                self.open.asked(dialog, at_ms, out);
            }
            Event::Response(response) => self.response(&response, out),
            Event::TurnStart
            | Event::MessageStart { .. }
            | Event::QueueUpdate
            | Event::ExtensionError { .. }
            | Event::Other => {}
        }
    }

    fn agent_start(&mut self, out: &mut Vec<Record>) {
        self.open.clear(out);
        // An abort that Pi has not replied to may meet this very run, if it continues the same work.
        self.aborted = self.aborts_pending > 0 && self.run != Run::Settled;
        self.run = Run::Open;
        self.retry = None;
        self.promised = false;
        self.settle_at_ms = 0;
        self.last = None;
        self.answer.clear();
    }

    fn answered(&mut self, answer: Answer, out: &mut Vec<Record>) {
        self.usage.add(&answer.usage);
        out.push(Record::Usage(self.usage));
        if !answer.text.is_empty() {
            self.answer = answer.text;
        }
        self.last = Some((answer.stop, answer.error));
    }

    fn agent_end(&mut self, will_retry: Option<bool>, at_ms: u64, out: &mut Vec<Record>) {
        self.open.clear(out);
        self.run = Run::Ended;
        self.retry = None;
        self.promised = will_retry == Some(true);
        self.arm_settle(at_ms);
    }

    fn retry_end(&mut self, success: bool, error: &str, at_ms: u64) {
        self.retry = None;
        if success {
            return;
        }
        self.promised = false;
        // Pi's words when a client cancels the wait; nothing else in the stream of a Pi before
        // 1.1.0 says that the end was wanted.
        self.aborted |= error == "Retry cancelled";
        self.arm_settle(at_ms);
    }

    fn compaction_end(&mut self, event: Event, at_ms: u64, out: &mut Vec<Record>) {
        let Event::CompactionEnd {
            manual,
            aborted,
            will_retry,
            error,
            usage,
        } = event
        else {
            return;
        };
        self.compactions = self.compactions.saturating_sub(1);
        self.summary_retry = None;
        if usage != Usage::default() {
            self.usage.add(&usage);
            out.push(Record::Usage(self.usage));
        }
        self.promised |= will_retry && self.run == Run::Ended;
        let resting = matches!(self.run, Run::None | Run::Settled);
        if manual && resting {
            // Asked for on its own: it has a result of its own, as in Pi's own status report.
            self.rest = if aborted {
                View::new(State::Idle, Phase::None, "aborted")
            } else if error.is_empty() {
                View::new(State::Done, Phase::None, "")
            } else {
                View::new(State::Error, Phase::None, &text::reason(&error))
            };
        }
        self.arm_settle(at_ms);
    }

    fn response(&mut self, response: &Response, out: &mut Vec<Record>) {
        if response.disposition.is_some() {
            self.settles = true; // newer than agent_settled
        }
        let tells = response.command == "get_state" && !response.session.is_empty();
        if tells && response.session != self.session {
            self.session.clone_from(&response.session);
            out.push(Record::Session {
                id: response.session.clone(),
                cwd: String::new(),
            });
        }
        match response.command.as_str() {
            "abort" if self.aborts_pending > 0 => self.aborts_pending -= 1,
            // Somebody else, or a recording: the reply is the only trace of the abort. It can come
            // after the end, so it also explains an end that reads like an abort.
            "abort" if response.success => self.abort_shown(out),
            "prompt" if response.disposition == Some(Disposition::Handled) && !self.had_run() => {
                self.rest.reason = "handled".to_owned();
            }
            "get_state" if self.guessing() && says_quiet(response) => self.settle_guess(out),
            _ => {}
        }
    }

    fn abort_shown(&mut self, out: &mut Vec<Record>) {
        let cut = match &self.last {
            Some((Stop::Aborted, _)) => true,
            // 0.87.1 aborted in a tool says "This operation was aborted", as an error.
            Some((Stop::Error, error)) => error.to_ascii_lowercase().contains("abort"),
            Some((Stop::Stop | Stop::Length, _)) => false,
            _ => true,
        };
        if !cut {
            return;
        }
        match self.run {
            Run::Open | Run::Ended => self.aborted = true,
            Run::Settled if self.rest.state == State::Error => {
                self.aborted = true;
                self.settle(None, out);
            }
            _ => {}
        }
    }

    fn tool_start(&mut self, id: String, name: String, out: &mut Vec<Record>) {
        if self.run != Run::Open {
            self.run = Run::Open;
            self.settle_at_ms = 0;
        }
        self.open.tool_start(&id, out);
        out.push(Record::ToolStart { id, name });
    }

    // ---- time ----

    fn deadlines(&mut self, at_ms: u64, out: &mut Vec<Record>) {
        let late = |at: u64| at != 0 && at <= at_ms;
        self.open.time_out(at_ms, out);
        if late(self.settle_at_ms) {
            self.settle_at_ms = 0;
            self.settle_guess(out);
        }
        self.show(out);
    }

    fn settle_guess(&mut self, out: &mut Vec<Record>) {
        if self.run == Run::Ended && !self.more_expected() {
            self.settle(None, out);
        }
    }

    fn had_run(&self) -> bool {
        self.run != Run::None
    }

    /// Whether the end of work has to be guessed: a live RPC agent that has never said `agent_settled`.
    fn guessing(&self) -> bool {
        self.options.live && self.rpc && !self.settles
    }

    fn arm_settle(&mut self, at_ms: u64) {
        if self.guessing() && self.run == Run::Ended && !self.more_expected() {
            self.settle_at_ms = at_ms.saturating_add(SETTLE_MS).max(1);
        }
    }

    /// Whether Pi itself has announced that it goes on.
    fn more_expected(&self) -> bool {
        self.promised || self.retry.is_some() || self.compactions > 0
    }

    // ---- ends ----

    /// No work is left: the last answer decides what came of it.
    fn settle(&mut self, aborted: Option<bool>, out: &mut Vec<Record>) {
        let had_run = self.had_run();
        let first = self.run != Run::Settled;
        self.run = if had_run { Run::Settled } else { Run::None };
        self.retry = None;
        self.promised = false;
        self.settle_at_ms = 0;
        self.rest = match &self.last {
            _ if aborted == Some(true) => View::new(State::Idle, Phase::None, "aborted"),
            _ if !had_run => self.rest.clone(),
            Some((Stop::Aborted, _)) => View::new(State::Idle, Phase::None, "aborted"),
            Some((Stop::Length, _)) => View::new(State::Done, Phase::None, "truncated"),
            // The abort came when the answer was already complete.
            Some((Stop::Stop, _)) => View::new(State::Done, Phase::None, ""),
            _ if self.aborted => View::new(State::Idle, Phase::None, "aborted"),
            Some((Stop::Error, error)) => {
                View::new(State::Error, Phase::None, &text::reason(error))
            }
            _ => View::new(State::Done, Phase::None, ""),
        };
        if first && !self.answer.is_empty() {
            out.push(Record::Answer {
                text: std::mem::take(&mut self.answer),
            });
        }
    }

    fn exit(&mut self, exit: Exit, out: &mut Vec<Record>) {
        let cut = self.run == Run::Open
            || self.more_expected()
            || (self.run == Run::Ended && self.settles);
        self.open.clear(out);
        if exit == Exit::Code(0) && self.run == Run::Ended && !cut {
            self.settle(None, out);
        }
        let view = self.final_view(exit, cut);
        self.ended = true;
        self.show_view(view, out);
    }

    fn final_view(&self, exit: Exit, cut: bool) -> View {
        let idle = |reason: &str| View::new(State::Idle, Phase::None, reason);
        let error = |reason: &str| View::new(State::Error, Phase::None, reason);
        let kept = self.finishing && self.run == Run::Settled && !cut;
        let number = match exit {
            Exit::Code(0) => {
                return match self.run {
                    _ if cut && self.stopping => idle("stopped"),
                    _ if cut => error("stream ended early"),
                    Run::None if self.rest.state == State::Done => self.rest.clone(),
                    Run::None if self.rest.state == State::Error => self.rest.clone(),
                    // An RPC agent that was given nothing has not failed.
                    Run::None if self.stopping || self.rpc_seen() => idle("no run"),
                    Run::None => error("no run"),
                    _ => self.rest.clone(),
                };
            }
            Exit::Code(code) => code,
            Exit::Signal(signal) => -signal,
            Exit::NotStarted(errno) => return error(&format!("not started: errno {errno}")),
            Exit::Unseen => return error("monitor lost"),
        };
        // 128 + n is how Pi's handler reports the signal that we ended it with.
        if kept && !(0..=128).contains(&number) {
            return self.rest.clone();
        }
        if self.stopping {
            return idle(&format!("stopped {number}"));
        }
        error(&format!("exit {number}"))
    }

    /// Whether Pi has spoken, and not as in JSON mode.
    fn rpc_seen(&self) -> bool {
        self.rpc && self.rest.state != State::Unknown
    }
}

fn says_quiet(state: &Response) -> bool {
    state.is_streaming == Some(false) && state.is_compacting != Some(true)
}

fn wait(retry: &Retry, at_ms: u64) -> Wait {
    let reason = format!(
        "{}/{} {}",
        retry.attempt,
        retry.max,
        text::reason(&retry.error)
    );
    Wait {
        until_ms: at_ms.saturating_add(retry.delay_ms),
        reason: reason.trim_end().to_owned(),
    }
}
