//! The words for what an agent is doing: five states (Pi's own words) and their attributes.

use serde::{Deserialize, Serialize};

/// What an agent is doing, as far as its own events prove it.
///
/// The five states are the ones that Pi reports of itself; `Unknown` is what we say
/// before the first event and whenever we do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing read yet, or nothing certain.
    #[default]
    Unknown,
    /// Alive, no work in hand; also: stopped or aborted on request.
    Idle,
    /// Busy: a model call, a tool, compaction, a retry.
    Working,
    /// Waiting for a person's answer.
    Blocked,
    /// Finished what it was asked.
    Done,
    /// Failed.
    Error,
}

/// The attribute beside the state: which part of the work it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing to add to the state.
    #[default]
    None,
    /// The process is being started or has not said anything yet.
    Starting,
    /// Waiting for or reading the model's answer.
    Model,
    /// At least one tool is running.
    Tool,
    /// The context is being summarised.
    Compacting,
    /// Waiting out the delay before the provider is asked again.
    Retrying,
    /// The run is over, automatic follow-up work is still possible.
    Settling,
    /// Somebody asked for the end; it is not proven yet.
    Stopping,
}

/// What holds an agent's process tree together, best first. Decides which guarantee a stop has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Container {
    /// A FreeBSD jail with an owning descriptor: dies with its monitor, emptiness is a kernel event.
    Jail,
    /// A Linux PID namespace made by root: dies with its init, emptiness is init's wait status.
    PidNamespace,
    /// The same inside a user namespace, for a suite without root.
    UserNamespace,
    /// A reaper subtree: descendants are found and killed one by one; weaker.
    Reaper,
}

/// Whether the system can limit a run as a whole (memory, processes, processor).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Accounting {
    /// Yes.
    On,
    /// It could, but was started without (FreeBSD: `kern.racct.enable`).
    Off,
    /// It has no such thing that we use.
    Absent,
}

impl Accounting {
    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Accounting::On => "on",
            Accounting::Off => "off",
            Accounting::Absent => "absent",
        }
    }

    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The value of a wire number; `None` for a number that is not one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        let all = [Accounting::On, Accounting::Off, Accounting::Absent];
        all.get(usize::from(code)).copied()
    }
}

impl State {
    /// The word shown to people and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Idle => "idle",
            State::Working => "working",
            State::Blocked => "blocked",
            State::Done => "done",
            State::Error => "error",
        }
    }

    const ALL: [State; 6] = [
        State::Unknown,
        State::Idle,
        State::Working,
        State::Blocked,
        State::Done,
        State::Error,
    ];

    /// The number on the wire and in the journal.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The state of a wire number; `None` for a number that is not one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl Phase {
    /// The word shown to people and in JSON; `none` when there is nothing to add.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::None => "none",
            Phase::Starting => "starting",
            Phase::Model => "model",
            Phase::Tool => "tool",
            Phase::Compacting => "compacting",
            Phase::Retrying => "retrying",
            Phase::Settling => "settling",
            Phase::Stopping => "stopping",
        }
    }

    const ALL: [Phase; 8] = [
        Phase::None,
        Phase::Starting,
        Phase::Model,
        Phase::Tool,
        Phase::Compacting,
        Phase::Retrying,
        Phase::Settling,
        Phase::Stopping,
    ];

    /// The number on the wire and in the journal.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The phase of a wire number; `None` for a number that is not one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl Container {
    /// The word shown by `status` and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Container::Jail => "jail",
            Container::PidNamespace => "pid-namespace",
            Container::UserNamespace => "user-namespace",
            Container::Reaper => "reaper",
        }
    }

    /// Whether the kernel ends the whole tree when the monitor dies, and proves it empty.
    #[must_use]
    pub fn is_proof(self) -> bool {
        self != Container::Reaper
    }

    const ALL: [Container; 4] = [
        Container::Jail,
        Container::PidNamespace,
        Container::UserNamespace,
        Container::Reaper,
    ];

    /// The number on the wire and in the journal.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The container of a wire number; `None` for a number that is not one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// Tokens and money, summed over the assistant messages of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Model answers counted.
    pub messages: u64,
    /// Prompt tokens that were not cached.
    pub input: u64,
    /// Tokens written by the model, reasoning included.
    pub output: u64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: u64,
    /// Prompt tokens written to the provider's cache.
    pub cache_write: u64,
    /// Cost as Pi computed it, in billionths of a US dollar (Pi's floats, rounded per message).
    pub cost_nano_usd: u64,
}

impl Usage {
    /// Tokens of every kind.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        let kinds = [self.output, self.cache_read, self.cache_write];
        kinds.into_iter().fold(self.input, u64::saturating_add)
    }

    /// Adds `other`; saturates, so that a hostile stream cannot wrap a counter.
    pub fn add(&mut self, other: &Usage) {
        self.messages = self.messages.saturating_add(other.messages);
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
        self.cost_nano_usd = self.cost_nano_usd.saturating_add(other.cost_nano_usd);
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "how", content = "value")]
pub enum Exit {
    /// It called exit with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// It could not be started: the errno of the step that failed.
    NotStarted(i32),
    /// Nobody saw its status (its monitor was lost).
    Unseen,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_a_bijection() {
        for s in State::ALL {
            assert_eq!(State::from_code(s.code()), Some(s));
        }
        for p in Phase::ALL {
            assert_eq!(Phase::from_code(p.code()), Some(p));
        }
        for c in Container::ALL {
            assert_eq!(Container::from_code(c.code()), Some(c));
        }
        assert_eq!(State::from_code(6), None);
        assert_eq!(Phase::from_code(8), None);
        assert_eq!(Container::from_code(4), None);
    }
}
