//! How a run ends: the stop that is asked for, the agent's exit, the tree that outlives it, and
//! whom the monitor asks for the signals that it cannot send itself.

use libcolibri::msg::Kill;
use libcolibri::pi::command::{self, Reply as PiReply};
use libcolibri::pi::Input;
use libcolibri::record::{Ended, Mode, Proof, Record};
use libcolibri::state::{Container, Exit, Phase, State};

use super::machine::{Machine, Stdin, What, LINGER_MS};
use super::words::{Effect, Tail};

/// How long between asking for TERM and asking for KILL.
const GRACE_MS: u64 = 10_000;
/// How often a KILL that has not helped is asked for again.
const AGAIN_MS: u64 = 2_000;
/// How long the rest of a tree may outlive the agent before we speak of it: a normal end takes
/// less, and orphans of a normal end are reaped by then.
const ORPHANS_MS: u64 = 100;
/// How long a working agent may take to settle after an abort when a stop was asked for.
const ABORT_MS: u64 = 1_000;
/// How long a jail without proof is left alone before its descriptor is closed.
const PROOF_MS: u64 = 10_000;
/// How long a stop waits for a colibrid, which alone can have signals sent.
const ALONE_MS: u64 = 15_000;
/// Why a run was ended whose journal is full.
const LIMIT: &str = "journal limit";

impl Machine {
    pub(super) fn linked(&mut self, now: u64, fx: &mut Vec<Effect>) {
        self.linked = true;
        self.alone_until = None;
        if let Some(kill) = self.asking {
            fx.push(Effect::Straggling(kill));
            self.kill_at = Some(
                now + if kill == Kill::Term {
                    GRACE_MS
                } else {
                    AGAIN_MS
                },
            );
        }
    }

    pub(super) fn unlinked(&mut self, now: u64) {
        self.linked = false;
        if self.stopping || self.asking.is_some() {
            self.arm_alone(now);
        }
    }

    /// Nobody can have the tree signalled; a jail can at least be closed.
    pub(super) fn arm_alone(&mut self, now: u64) {
        if !self.linked && !self.container_closed && self.setup.container == Container::Jail {
            self.alone_until.get_or_insert(now + ALONE_MS);
        }
    }

    pub(super) fn ask(&mut self, kill: Kill, now: u64, fx: &mut Vec<Effect>) {
        self.asking = Some(kill);
        self.kill_at = None;
        if self.linked {
            fx.push(Effect::Straggling(kill));
            self.kill_at = Some(
                now + if kill == Kill::Term {
                    GRACE_MS
                } else {
                    AGAIN_MS
                },
            );
        }
        self.arm_alone(now);
    }

    pub(super) fn journal_full(&mut self, now: u64, fx: &mut Vec<Effect>) {
        if self.exhausted {
            return;
        }
        if self.exited.is_some() {
            // It has ended by itself; what is left to say is little.
            return fx.push(Effect::Seal);
        }
        self.exhausted = true;
        self.stop(now, fx);
        fx.push(Effect::Record(Record::State {
            state: self.fold.view().state,
            phase: Phase::Stopping,
            reason: LIMIT.to_owned(),
            until_ms: 0,
        }));
        fx.push(Effect::Seal);
        // Nobody has asked for this, so nobody but us will see it through.
        self.linger_until.get_or_insert(now + LINGER_MS);
    }

    pub(super) fn agent_exited(&mut self, exit: Exit, now: u64, fx: &mut Vec<Effect>) {
        if self.exited.is_some() {
            return;
        }
        self.exited = Some(exit);
        self.silent_at = None;
        self.linger_until = None;
        self.kill_at = None;
        self.unwritten.clear();
        self.close_stdin(fx);
        self.orphans_at = Some(now + ORPHANS_MS);
        if self.setup.container == Container::Jail && !self.container_closed {
            self.proof_by = Some(now + PROOF_MS);
        }
    }

    pub(super) fn empty(&mut self, proof: Proof, tail: Tail, now: u64, fx: &mut Vec<Effect>) {
        let exit = self.exited.unwrap_or(Exit::Unseen);
        self.fail_due(|_| true, "the agent has exited", fx);
        let asked = self.stopping;
        self.fold(Input::Exit { exit, asked }, now, fx);
        let view = self.fold.view().clone();
        let mut end = (view.state, view.reason);
        let mut proof = proof;
        if let Some((_, reason)) = &self.setup.failed {
            end = (State::Error, reason.clone());
            proof = Proof::NothingStarted;
        } else if self.exhausted {
            end = (State::Error, LIMIT.to_owned());
        } else if let (Some(why), false) = (&self.fruitless, self.stopping || self.worked) {
            if !why.is_empty() {
                end = (State::Error, why.clone());
            }
        }
        let shown = self.fold.view();
        if end != (shown.state, shown.reason.clone()) {
            fx.push(Effect::Record(Record::State {
                state: end.0,
                phase: Phase::None,
                reason: end.1.clone(),
                until_ms: 0,
            }));
        }
        fx.push(Effect::Record(Record::Ended(Ended {
            exit,
            asked: self.asked,
            state: end.0,
            reason: end.1,
            proof,
            stderr: tail.stderr,
            lines: tail.lines,
            bytes: tail.bytes,
            malformed: tail.malformed,
        })));
        fx.push(Effect::Finish);
        self.over = true;
    }

    pub(super) fn tell_exit(&mut self, fx: &mut Vec<Effect>) {
        if let (Some(exit), false) = (self.exited, self.told_exit) {
            self.told_exit = true;
            fx.push(Effect::Record(Record::Exited(exit)));
        }
    }

    /// The line that cancels a dialog; every kind of dialog takes it.
    pub(super) fn cancel_dialogs(&mut self, fx: &mut Vec<Effect>) {
        let open: Vec<String> = self
            .dialogs
            .iter_mut()
            .filter(|o| !o.answered)
            .map(|o| {
                o.answered = true;
                o.dialog.request.clone()
            })
            .collect();
        for request in open {
            let line = command::reply(&request, PiReply::Cancelled);
            let cancelled = true;
            self.write(line, None, What::Dialog { request, cancelled }, fx);
        }
    }

    /// Asks the agent to finish; the rest of a stop (TERM, KILL) is colibrid's to order.
    pub(super) fn stop(&mut self, now: u64, fx: &mut Vec<Effect>) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        fx.push(Effect::Record(Record::Stopping));
        self.fold(Input::Stopping, now, fx);
        self.arm_alone(now);
        if self.exited.is_some() || self.stdin == Stdin::Closed {
            return;
        }
        match self.setup.mode {
            Mode::Rpc if self.is_active() => {
                self.cancel_dialogs(fx);
                let line = command::line("stop", command::Command::Abort);
                self.write(line, None, What::Replied, fx);
                self.fold(Input::Aborted, now, fx);
                self.close_at = Some(now + ABORT_MS);
            }
            Mode::Rpc => self.close_stdin(fx),
            // Without a prompt Pi waits for the end of its input; with one it has it.
            Mode::Json if !self.prompted => self.close_stdin(fx),
            Mode::Json => {}
        }
    }
}
