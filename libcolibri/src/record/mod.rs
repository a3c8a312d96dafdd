//! What a monitor has to say about its run: the records of the journal, which are also what it
//! sends to colibrid. One encoding serves both, so that a replayed record cannot differ from the
//! one that was sent.

mod codec;

use crate::state::{Container, Exit, Phase, State, Usage};

/// Longest short text (names, ids, reasons), in bytes.
pub const SHORT: usize = 1024;
/// Longest long text (questions, answers, stderr tails), in bytes.
pub const LONG: usize = 64 * 1024;
/// Most options of a dialog that are kept.
pub const OPTIONS: usize = 64;
/// Longest encoded entry, in bytes: a dialog with long text and all options.
pub const ENTRY_MAX: usize = 2 * LONG + OPTIONS * (SHORT + 4) + 4 * SHORT;

/// One record with its place in the run's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// 1 for the first record, then one more each; never repeats within an attempt.
    pub seq: u64,
    /// When it was written, milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// What happened.
    pub record: Record,
}

/// How an agent gets its prompt and what it can be told while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `--mode rpc`: commands on stdin, dialogs, steering.
    Rpc,
    /// `--mode json`: one prompt on stdin, then end of file.
    Json,
}

/// A dialog that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// Pi's id of the request; the answer names it.
    pub request: String,
    /// `select`, `confirm`, `input` or `editor`.
    pub method: String,
    /// Its title, clipped to [`SHORT`].
    pub title: String,
    /// Its text (message, placeholder or prefill), clipped to [`LONG`].
    pub message: String,
    /// The choices of a `select`, at most [`OPTIONS`].
    pub options: Vec<String>,
    /// Milliseconds after which Pi answers itself; 0 = never.
    pub timeout_ms: u64,
}

/// How a dialog ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// We wrote an answer.
    Answered,
    /// We wrote a cancellation.
    Cancelled,
    /// Its own timeout passed.
    TimedOut,
    /// Later events show that it is over.
    Overtaken,
}

/// What an operator's command to a run was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// The task itself.
    Prompt,
    /// A message into the running work.
    Steer,
    /// Stop the current work, keep the process.
    Abort,
    /// An answer to a dialog.
    Answer,
}

/// How sure the end of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The kernel said that the container is empty.
    Kernel,
    /// No descendant was left to wait for or to find.
    Reaped,
    /// There never was a process.
    NothingStarted,
}

/// The last word on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How the agent's own process ended.
    pub exit: Exit,
    /// Whether its end had been asked for.
    pub asked: bool,
    /// Final state.
    pub state: State,
    /// Why, in a few words; empty for a plain `done`.
    pub reason: String,
    /// How we know that nothing of it is left.
    pub proof: Proof,
    /// The end of what it wrote to stderr, clipped to [`LONG`].
    pub stderr: String,
    /// Lines of its stream.
    pub lines: u64,
    /// Bytes of its stream.
    pub bytes: u64,
    /// Lines that were not JSON events.
    pub malformed: u64,
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// First record: the monitor stands.
    Opened {
        /// Run id.
        run: u64,
        /// Attempt id.
        attempt: u64,
        /// The monitor's process id, as the host sees it.
        monitor: u32,
        /// What holds the agent's tree.
        container: Container,
        /// How the agent is spoken to.
        mode: Mode,
    },
    /// The agent's program runs; its process id as the host sees it, 0 when unknown.
    Launched {
        /// Process id.
        pid: u32,
    },
    /// The state or an attribute of it changed.
    State {
        /// New state.
        state: State,
        /// New phase.
        phase: Phase,
        /// Why; empty when there is nothing to say.
        reason: String,
        /// When the phase ends by itself (retry delay), milliseconds since 1970; 0 = unknown.
        until_ms: u64,
    },
    /// Pi named its session.
    Session {
        /// Session id.
        id: String,
        /// Working directory as Pi sees it.
        cwd: String,
    },
    /// Sums so far; replaces the earlier one.
    Usage(Usage),
    /// A dialog waits for a person.
    Asked(Dialog),
    /// A dialog is over.
    Settled {
        /// Which.
        request: String,
        /// How.
        how: Closed,
    },
    /// A tool began.
    ToolStart {
        /// Call id.
        id: String,
        /// Tool name.
        name: String,
    },
    /// A tool ended.
    ToolEnd {
        /// Call id.
        id: String,
        /// Tool name.
        name: String,
        /// Whether it failed; normal work all the same.
        failed: bool,
        /// Its own measure, milliseconds; 0 = not told.
        duration_ms: u64,
    },
    /// The agent's last answer, when the work has settled.
    Answer {
        /// Clipped to [`LONG`].
        text: String,
    },
    /// What became of a command: it was written to the agent and taken, or refused.
    Did {
        /// colibrid's token of the command.
        token: u64,
        /// Which command.
        command: Command,
        /// Why not; empty when it was taken.
        error: String,
    },
    /// The end was asked for.
    Stopping,
    /// The agent's own process has ended, others of its tree have not yet.
    Exited(Exit),
    /// The journal reached its size limit; so many records of lesser weight were left out.
    Dropped {
        /// How many.
        records: u64,
    },
    /// Last record: proven dead.
    Ended(Ended),
}

/// Cuts `s` to at most `max` bytes at a character boundary.
#[must_use]
pub fn clip(s: &str, max: usize) -> &str {
    if s.len() <= max {
        return s;
    }
    let mut end = max;
    while !s.is_char_boundary(end) {
        end -= 1;
    }
    &s[..end]
}

impl Record {
    /// The number on the wire and in the journal.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Record::Opened { .. } => 1,
            Record::Launched { .. } => 2,
            Record::State { .. } => 3,
            Record::Session { .. } => 4,
            Record::Usage(_) => 5,
            Record::Asked(_) => 6,
            Record::Settled { .. } => 7,
            Record::ToolStart { .. } => 8,
            Record::ToolEnd { .. } => 9,
            Record::Answer { .. } => 10,
            Record::Did { .. } => 11,
            Record::Stopping => 12,
            Record::Exited(_) => 13,
            Record::Dropped { .. } => 14,
            Record::Ended(_) => 15,
        }
    }
}
