//! The events of Pi's stream that say something about its state.

use crate::record::Dialog;
use crate::state::Usage;

/// Which of Pi's two ways of streaming an answer is spoken, recognised by what appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Every `message_update` repeats the whole message so far (Pi up to 0.83).
    Cumulative,
    /// A `message_update` has only what is new (Pi from 0.84). Such a Pi always says `agent_settled`.
    Delta,
}

/// Why a model's answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It was complete.
    Stop,
    /// It wants tools run; another turn follows.
    ToolUse,
    /// The output limit cut it.
    Length,
    /// The provider or the connection failed.
    Error,
    /// It was cut on request.
    Aborted,
    /// Another word, or none.
    Other,
}

/// The agent's answer, or its failure, as told by an assistant's `message_end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Why it ended.
    pub stop: Stop,
    /// The provider's error, clipped to [`crate::record::SHORT`]; empty when there is none.
    pub error: String,
    /// Tokens and money of this one message.
    pub usage: Usage,
    /// Its text blocks, joined, clipped to [`crate::record::LONG`].
    pub text: String,
}

/// What became of a prompt (Pi from 0.99).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// A run begins.
    Started,
    /// It waits for its turn in the running work.
    Queued,
    /// An extension took it: no run, and no `agent_settled`, will follow.
    Handled,
}

/// Pi's reply to one of our commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The id that the command had; empty when it had none.
    pub id: String,
    /// The command's word.
    pub command: String,
    /// Whether it was accepted.
    pub success: bool,
    /// Why not.
    pub error: String,
    /// What became of a prompt, where Pi tells.
    pub disposition: Option<Disposition>,
    /// From `get_state`: the session; empty where it does not say.
    pub session: String,
    /// From `get_state`: a run is going on.
    pub is_streaming: Option<bool>,
    /// From `get_state`: the context is being summarised.
    pub is_compacting: Option<bool>,
}

/// A wait before a provider is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// 1 for the first repetition.
    pub attempt: u64,
    /// How many there can be.
    pub max: u64,
    /// How long it waits, milliseconds.
    pub delay_ms: u64,
    /// What went wrong, clipped to [`crate::record::SHORT`].
    pub error: String,
}

/// One line of Pi's stream. Texts are clipped as they are read; ids and names to
/// [`crate::record::SHORT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The header of JSON mode.
    Session {
        /// Session id.
        id: String,
        /// Working directory.
        cwd: String,
    },
    /// Which dialect is spoken: once, before the first `message_update` counts.
    Dialect(Dialect),
    /// A low-level run begins; again after every retry and overflow compaction.
    AgentStart,
    /// One model request begins.
    TurnStart,
    /// The first byte of a message.
    MessageStart {
        /// Whether it is the model's.
        assistant: bool,
    },
    /// The model's answer is complete.
    Answer(Answer),
    /// A tool begins (or asks for permission to).
    ToolStart {
        /// Call id.
        id: String,
        /// Tool name.
        name: String,
    },
    /// A running tool has shown output.
    ToolUpdate {
        /// Call id.
        id: String,
    },
    /// A tool is over.
    ToolEnd {
        /// Call id.
        id: String,
        /// Tool name.
        name: String,
        /// Whether it failed; normal work all the same.
        failed: bool,
        /// Pi's measure, milliseconds; 0 = not told.
        duration_ms: u64,
    },
    /// The low-level run is over, not necessarily the work.
    AgentEnd {
        /// Whether Pi means to try again; `None` where Pi does not tell (before 0.75.4).
        will_retry: Option<bool>,
    },
    /// No automatic work is left (Pi from 0.80.4).
    AgentSettled {
        /// Whether it was aborted, where Pi tells (from 1.1.0).
        aborted: Option<bool>,
    },
    /// Pi waits before it repeats a failed run.
    RetryStart(Retry),
    /// The repetition worked, or Pi gives up.
    RetryEnd {
        /// Whether it worked.
        success: bool,
        /// Why not.
        error: String,
    },
    /// Summarising the context begins.
    CompactionStart,
    /// Summarising is over.
    CompactionEnd {
        /// Somebody asked for it by command, as opposed to Pi's own decision.
        manual: bool,
        /// It was cut.
        aborted: bool,
        /// The run is repeated now.
        will_retry: bool,
        /// What went wrong; empty when nothing did.
        error: String,
        /// What the summary cost; it stands nowhere else.
        usage: Usage,
    },
    /// Pi waits before it repeats a failed summary.
    SummaryRetry(Retry),
    /// That wait is over.
    SummaryRetryOver,
    /// The queue of steering and follow-up messages changed. Says nothing about the state.
    QueueUpdate,
    /// An extension asks a person.
    Asked(Dialog),
    /// A reply to a command.
    Response(Response),
    /// An extension failed; Pi goes on.
    ExtensionError {
        /// What it said.
        error: String,
    },
    /// Any other well-formed line, known or not.
    Other,
}
