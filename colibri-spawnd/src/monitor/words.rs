//! What goes into the state machine of a monitor, and what comes out of it.

use libcolibri::config::OnSettled;
use libcolibri::msg::{Kill, ToMonitor};
use libcolibri::pi::event::Event as PiEvent;
use libcolibri::record::{Mode, Proof, Record};
use libcolibri::state::{Container, Exit};

/// What a run's monitor is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// How the agent is spoken to.
    pub mode: Mode,
    /// What happens when its work has settled.
    pub on_settled: OnSettled,
    /// What holds its tree.
    pub container: Container,
    /// Milliseconds of silence after the start that are worth a word; 0 = never.
    pub start_timeout_ms: u64,
    /// Why the agent never ran: errno, and the reason in words.
    pub failed: Option<(i32, String)>,
}

/// What the shell has seen of the agent when all is over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tail {
    /// The end of its stderr.
    pub stderr: String,
    /// Lines of its stream.
    pub lines: u64,
    /// Bytes of its stream.
    pub bytes: u64,
    /// Lines that were not events.
    pub malformed: u64,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// The monitor is confined and its loop begins.
    Begin,
    /// The agent said something.
    Pi(PiEvent),
    /// colibrid wants something (`Resume` is the link's own matter).
    Command(ToMonitor),
    /// The first so many writes are in the agent's pipe.
    Written(u64),
    /// The agent's stdin takes no more.
    StdinBroken,
    /// A colibrid listens.
    Linked,
    /// None does any more.
    Unlinked,
    /// The journal has no room left.
    Exhausted,
    /// The agent's own process has ended, and what it had written is read.
    Exited(Exit),
    /// Its tree is proven empty, and what was in its pipes is read.
    Empty(Proof, Tail),
    /// A deadline has passed.
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Append to the journal.
    Record(Record),
    /// Write to the agent; the n-th of these is told as `Written(n)`.
    Write(Vec<u8>),
    /// Close the agent's stdin.
    CloseStdin,
    /// Ask colibrid for a signal.
    Straggling(Kill),
    /// Close the owning descriptor of the container: the last resort.
    CloseContainer,
    /// From now on, keep only what the end needs.
    Seal,
    /// Everything is said.
    Finish,
}
