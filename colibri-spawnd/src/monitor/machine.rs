//! What a monitor decides, without a clock and without a descriptor: events in, effects out.
//! The shell around it ([`super::shell`]) does the reading, writing and waiting.

use std::collections::VecDeque;

use libcolibri::config::OnSettled;
use libcolibri::msg::Kill;
use libcolibri::pi::command;
use libcolibri::pi::event::{Disposition, Event as PiEvent, Response};
use libcolibri::pi::{fold, Fold, Input};
use libcolibri::record::{Command, Dialog, Mode, Record};
use libcolibri::state::{Exit, Phase, State};

use super::words::{Effect, Event, Setup};

/// How long an RPC agent may take to exit after its work has settled and its stdin is closed.
/// Pi takes 28 to 990 ms; several versions did not exit at all.
pub const LINGER_MS: u64 = 10_000;
/// How long replies of Pi are waited for before its stdin is closed at the end of the work.
const REPLIES_MS: u64 = 2_000;
/// Commands in flight.
pub(super) const IN_FLIGHT: usize = 64;
/// Bytes that may wait for the agent to read before further commands are refused.
pub(super) const QUEUE_MAX: usize = 512 * 1024;

/// A dialog that can be answered.
#[derive(Debug)]
pub(super) struct Open {
    pub dialog: Dialog,
    /// An answer is on its way.
    pub answered: bool,
}

/// What a write to the agent was for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The prompt of JSON mode: stdin is closed behind it.
    Prompt,
    /// A command that Pi replies to.
    Replied,
    /// The answer to a dialog.
    Dialog { request: String, cancelled: bool },
}

/// A write whose outcome is still due.
#[derive(Debug)]
pub(super) struct Due {
    /// colibrid's token and command; `None` for our own.
    pub token: Option<(u64, Command)>,
    /// Which write.
    pub write: u64,
    pub what: What,
}

/// The agent's stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdin {
    Open,
    Closed,
}

/// The state machine of one monitor.
pub struct Machine {
    pub(super) setup: Setup,
    pub(super) fold: Fold,
    pub(super) dialogs: Vec<Open>,
    pub(super) stdin: Stdin,
    pub(super) writes: u64,
    /// Lengths of the writes that are not in the pipe yet.
    pub(super) unwritten: VecDeque<usize>,
    pub(super) due: Vec<Due>,
    pub(super) prompted: bool,
    /// The token of the last prompt that was taken.
    pub(super) prompt: Option<u64>,
    pub(super) stopping: bool,
    /// colibrid asked for the end (and not our own limit).
    pub(super) asked: bool,
    /// Pi refused the prompt, or an extension took it: no run will follow.
    pub(super) fruitless: Option<String>,
    pub(super) worked: bool,
    pub(super) heard: bool,
    pub(super) finishing: bool,
    pub(super) exhausted: bool,
    pub(super) linked: bool,
    pub(super) exited: Option<Exit>,
    /// `Record::Exited` is written.
    pub(super) told_exit: bool,
    pub(super) container_closed: bool,
    pub(super) over: bool,
    // Deadlines, each armed by a cause only.
    pub(super) silent_at: Option<u64>,
    pub(super) close_at: Option<u64>,
    pub(super) linger_until: Option<u64>,
    pub(super) orphans_at: Option<u64>,
    pub(super) kill_at: Option<u64>,
    pub(super) proof_by: Option<u64>,
    pub(super) alone_until: Option<u64>,
    /// What colibrid was last asked to send.
    pub(super) asking: Option<Kill>,
    out: Vec<Record>,
}

impl Machine {
    /// Of a run that has just been launched (or has failed to be).
    pub fn new(setup: Setup) -> Self {
        let options = fold::Options {
            mode: Some(setup.mode),
            live: true,
        };
        Machine {
            setup,
            fold: Fold::new(options),
            dialogs: Vec::new(),
            stdin: Stdin::Open,
            writes: 0,
            unwritten: VecDeque::new(),
            due: Vec::new(),
            prompted: false,
            prompt: None,
            stopping: false,
            asked: false,
            fruitless: None,
            worked: false,
            heard: false,
            finishing: false,
            exhausted: false,
            linked: false,
            exited: None,
            told_exit: false,
            container_closed: false,
            over: false,
            silent_at: None,
            close_at: None,
            linger_until: None,
            orphans_at: None,
            kill_at: None,
            proof_by: None,
            alone_until: None,
            asking: None,
            out: Vec::new(),
        }
    }

    /// When `Tick` is due; `None`: nothing is waited for but events.
    pub fn deadline(&self) -> Option<u64> {
        [
            self.silent_at,
            self.close_at,
            self.linger_until,
            self.orphans_at,
            self.kill_at,
            self.proof_by,
            self.alone_until,
            // The fold ends with the agent, whatever of the tree still lives.
            self.fold.next_deadline().filter(|_| self.exited.is_none()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes one event at `now`, milliseconds of a clock that never steps; appends what to do.
    pub fn step(&mut self, event: Event, now: u64, fx: &mut Vec<Effect>) {
        if self.over {
            return;
        }
        match event {
            Event::Begin => self.begin(now, fx),
            Event::Pi(event) => self.pi(event, now, fx),
            Event::Command(command) => self.command(command, now, fx),
            Event::Written(count) => self.written(count, now, fx),
            Event::StdinBroken => self.stdin_broken(fx),
            Event::Linked => self.linked(now, fx),
            Event::Unlinked => self.unlinked(now),
            Event::Exhausted => self.journal_full(now, fx),
            Event::Exited(exit) => self.agent_exited(exit, now, fx),
            Event::Empty(proof, tail) => self.empty(proof, tail, now, fx),
            Event::Tick => self.tick(now, fx),
        }
        if !self.over {
            self.settle(now, fx);
        }
    }

    /// One step of the fold; its records are ours.
    pub(super) fn fold(&mut self, input: Input<'_>, now: u64, fx: &mut Vec<Effect>) {
        let mut out = std::mem::take(&mut self.out);
        self.fold.step(input, now, &mut out);
        for record in out.drain(..) {
            match &record {
                Record::Asked(dialog) => self.dialogs.push(Open {
                    dialog: dialog.clone(),
                    answered: false,
                }),
                Record::Settled { request, .. } => {
                    self.dialogs.retain(|o| o.dialog.request != *request);
                }
                Record::State {
                    state: State::Working | State::Blocked,
                    ..
                } => self.worked = true,
                _ => {}
            }
            fx.push(Effect::Record(record));
        }
        self.out = out;
    }

    /// Whether there is work in hand.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.fold.view().state, State::Working | State::Blocked)
    }

    pub(super) fn write(
        &mut self,
        bytes: Vec<u8>,
        token: Option<(u64, Command)>,
        what: What,
        fx: &mut Vec<Effect>,
    ) {
        self.writes += 1;
        self.unwritten.push_back(bytes.len());
        self.due.push(Due {
            token,
            write: self.writes,
            what,
        });
        fx.push(Effect::Write(bytes));
    }

    pub(super) fn close_stdin(&mut self, fx: &mut Vec<Effect>) {
        self.close_at = None;
        if self.stdin == Stdin::Open {
            self.stdin = Stdin::Closed;
            fx.push(Effect::CloseStdin);
        }
    }

    fn begin(&mut self, now: u64, fx: &mut Vec<Effect>) {
        if let Some((errno, _)) = self.setup.failed {
            // Whatever the launcher had made of a container goes with it.
            self.stdin = Stdin::Closed;
            fx.push(Effect::CloseStdin);
            self.container_closed = true;
            fx.push(Effect::CloseContainer);
            return self.agent_exited(Exit::NotStarted(errno), now, fx);
        }
        if self.setup.mode == Mode::Rpc {
            // An RPC agent says nothing until it is asked: its first reply makes it idle.
            let probe = command::line("probe", command::Command::GetState);
            self.write(probe, None, What::Replied, fx);
            self.await_first_line(now);
        }
    }

    pub(super) fn await_first_line(&mut self, now: u64) {
        if !self.heard && self.setup.start_timeout_ms > 0 {
            self.silent_at = Some(now + self.setup.start_timeout_ms);
        }
    }

    fn pi(&mut self, event: PiEvent, now: u64, fx: &mut Vec<Effect>) {
        self.heard = true;
        self.silent_at = None;
        let reply = match &event {
            PiEvent::Response(response) => Some(response.clone()),
            _ => None,
        };
        self.fold(Input::Event(event), now, fx);
        if let Some(response) = reply {
            self.replied(&response, fx);
        }
    }

    /// A reply of Pi, found by the id that we gave the command.
    fn replied(&mut self, response: &Response, fx: &mut Vec<Effect>) {
        let token = response.id.strip_prefix('c').and_then(|t| t.parse().ok());
        let of_us = |d: &Due| match d.token {
            None => response.id == "probe",
            Some((t, _)) => Some(t) == token,
        };
        let Some(at) = self
            .due
            .iter()
            .position(|d| d.what == What::Replied && of_us(d))
        else {
            return;
        };
        let Some((token, command)) = self.due.remove(at).token else {
            return;
        };
        let error = match (response.success, response.error.as_str()) {
            (true, _) => String::new(),
            (false, "") => "refused".to_owned(),
            (false, error) => error.to_owned(),
        };
        if command == Command::Prompt && !self.worked {
            if !response.success {
                self.fruitless = Some(format!("prompt refused: {error}"));
            } else if response.disposition == Some(Disposition::Handled) {
                self.fruitless = Some(String::new());
            } else {
                self.fruitless = None;
            }
        }
        did(token, command, error, fx);
    }

    fn written(&mut self, count: u64, now: u64, fx: &mut Vec<Effect>) {
        let gone = self.writes - self.unwritten.len() as u64;
        for _ in gone..count {
            self.unwritten.pop_front();
        }
        while let Some(at) = self
            .due
            .iter()
            .position(|d| d.write <= count && d.what != What::Replied)
        {
            let due = self.due.remove(at);
            match due.what {
                What::Prompt => {
                    self.close_stdin(fx);
                    self.await_first_line(now);
                }
                What::Dialog { request, cancelled } => {
                    let request = &request;
                    self.fold(Input::Answered { request, cancelled }, now, fx);
                }
                What::Replied => {}
            }
            if let Some((token, command)) = due.token {
                did(token, command, String::new(), fx);
            }
        }
    }

    fn stdin_broken(&mut self, fx: &mut Vec<Effect>) {
        let gone = self.writes - self.unwritten.len() as u64;
        self.unwritten.clear();
        self.fail_due(|d| d.write > gone, "the agent's input is closed", fx);
        self.close_stdin(fx);
    }

    pub(super) fn fail_due(
        &mut self,
        which: impl Fn(&Due) -> bool,
        error: &str,
        fx: &mut Vec<Effect>,
    ) {
        // An abort whose reply was cut off by the end it brought has done its work.
        let settled = self.fold.settled();
        self.due.retain(|due| {
            if !which(due) {
                return true;
            }
            if let Some((token, command)) = due.token {
                let done = command == Command::Abort && settled;
                let error = if done { "" } else { error };
                did(token, command, error.to_owned(), fx);
            }
            false
        });
    }

    /// The end of the work, where the profile says that the agent ends with it, or a stop waits.
    fn settle(&mut self, now: u64, fx: &mut Vec<Effect>) {
        if self.exited.is_some() {
            return;
        }
        let at_rest = !self.is_active() && self.dialogs.is_empty();
        if self.stopping {
            if at_rest && self.setup.mode == Mode::Rpc {
                self.close_stdin(fx);
            }
            return;
        }
        let settled = self.fold.settled() || (self.fruitless.is_some() && at_rest);
        if self.setup.on_settled == OnSettled::Stay {
            return;
        }
        if !settled || !self.prompted {
            // New work after all: nobody is to be hurried.
            if self.is_active() && self.stdin == Stdin::Open {
                self.close_at = None;
            }
            return;
        }
        if self.finishing {
            return;
        }
        if self.setup.mode == Mode::Rpc && !self.due.is_empty() {
            // A command is on its way: it may be more work, and its sender wants to know.
            let close_at = *self.close_at.get_or_insert(now + REPLIES_MS);
            if now < close_at {
                return;
            }
        }
        self.finishing = true;
        self.fold(Input::Finishing, now, fx);
        self.close_stdin(fx);
        self.linger_until = Some(now + LINGER_MS);
    }

    fn tick(&mut self, now: u64, fx: &mut Vec<Effect>) {
        let passed = |at: &mut Option<u64>| at.take_if(|at| *at <= now).is_some();
        if self.exited.is_none() {
            self.fold(Input::Tick, now, fx);
        }
        if passed(&mut self.silent_at) && !self.stopping {
            fx.push(Effect::Record(Record::State {
                state: State::Unknown,
                phase: Phase::Starting,
                reason: "silent since start".to_owned(),
                until_ms: 0,
            }));
        }
        if self.stopping && passed(&mut self.close_at) {
            self.close_stdin(fx);
        }
        if passed(&mut self.linger_until) {
            self.ask(Kill::Term, now, fx);
        }
        if passed(&mut self.orphans_at) {
            self.tell_exit(fx);
            self.ask(Kill::Kill, now, fx);
        }
        if passed(&mut self.kill_at) {
            self.ask(Kill::Kill, now, fx);
        }
        // Both may be due; closing it once is enough.
        let unproven = passed(&mut self.proof_by);
        let alone = passed(&mut self.alone_until);
        if (unproven || alone) && !self.container_closed {
            self.container_closed = true;
            fx.push(Effect::CloseContainer);
        }
    }
}

pub(super) fn did(token: u64, command: Command, error: String, fx: &mut Vec<Effect>) {
    fx.push(Effect::Record(Record::Did {
        token,
        command,
        error,
    }));
}
