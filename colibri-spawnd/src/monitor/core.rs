//! The machine and what its effects act upon: the journal and the agent's stdin. Apart from the
//! rest of the shell so that the stream's parser can feed it while it reads.

use std::collections::VecDeque;

use libcolibri::msg::Kill;
use libcolibri::record::Record;
use libcolibri::sys;

use super::ledger::Ledger;
use super::machine::Machine;
use super::pipes::Sink;
use super::words::{Effect, Event};

/// See the module.
pub struct Core {
    /// The decisions.
    pub machine: Machine,
    /// The journal.
    pub ledger: Ledger,
    /// The agent's stdin.
    pub stdin: Sink,
    /// A signal to ask colibrid for.
    pub ask: Option<Kill>,
    /// The container's descriptor is to be closed.
    pub close_container: bool,
    /// The machine has said its last word.
    pub finished: bool,
    events: VecDeque<Event>,
    effects: Vec<Effect>,
}

/// Milliseconds of a clock that never steps, never 0.
pub fn now() -> u64 {
    sys::mono_ms() + 1
}

impl Core {
    /// Over a fresh journal and the agent's stdin.
    pub fn new(machine: Machine, ledger: Ledger, stdin: Sink) -> Core {
        Core {
            machine,
            ledger,
            stdin,
            ask: None,
            close_container: false,
            finished: false,
            events: VecDeque::new(),
            effects: Vec::new(),
        }
    }

    /// Takes one event through the machine, and does what it says; so with the events that come
    /// of that.
    pub fn feed(&mut self, event: Event) {
        self.events.push_back(event);
        self.run();
    }

    /// The agent's stdin may take more.
    pub fn stdin_ready(&mut self) {
        self.flush_stdin();
        self.run();
    }

    fn run(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        while let Some(event) = self.events.pop_front() {
            self.machine.step(event, now(), &mut effects);
            for effect in effects.drain(..) {
                self.perform(effect);
            }
            if self.ledger.is_exhausted() && !self.ledger.is_sealed() {
                self.events.push_back(Event::Exhausted);
            }
        }
        self.effects = effects;
    }

    /// A record that does not come from the machine.
    pub fn record(&mut self, record: Record) {
        let (wall, now) = (sys::wall_ms(), now());
        let record = match record {
            // The machine's clock is not the one that people read.
            Record::State {
                state,
                phase,
                reason,
                until_ms,
            } if until_ms != 0 => Record::State {
                state,
                phase,
                reason,
                until_ms: wall.saturating_add(until_ms.saturating_sub(now)),
            },
            record => record,
        };
        self.ledger.append(wall, now, record);
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Record(record) => self.record(record),
            Effect::Write(bytes) => {
                self.stdin.push(bytes);
                self.flush_stdin();
            }
            Effect::CloseStdin => self.stdin.close(),
            Effect::Straggling(kill) => self.ask = Some(kill),
            Effect::CloseContainer => self.close_container = true,
            Effect::Seal => self.ledger.seal(),
            Effect::Finish => self.finished = true,
        }
    }

    /// Writes to the agent what its pipe takes; the outcome becomes an event.
    fn flush_stdin(&mut self) {
        match self.stdin.flush() {
            Ok(true) => self.events.push_back(Event::Written(self.stdin.written())),
            Ok(false) => {}
            Err(_) => {
                // What became whole before the failure counts.
                self.events.push_back(Event::Written(self.stdin.written()));
                self.stdin.close();
                self.events.push_back(Event::StdinBroken);
            }
        }
    }
}
