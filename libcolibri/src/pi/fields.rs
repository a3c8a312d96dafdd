//! What is picked out of one line, in whatever order its keys come, and the event it makes.

use super::event::{Answer, Disposition, Event, Response, Retry, Stop};
use super::json::Sink;
use super::text::Text;
use crate::record::{Dialog, LONG, OPTIONS, SHORT};
use crate::state::Usage;

/// The places in an event that matter. The names are the paths in Pi's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Slot {
    #[default]
    Ignore,
    Root,
    Type,
    Id,
    Cwd,
    Command,
    Success,
    Error,
    Data,
    DataDisposition,
    DataSession,
    DataStreaming,
    DataCompacting,
    /// `message`: an object in message events, a string in dialogs.
    Message,
    Role,
    StopReason,
    MessageError,
    Content,
    ContentItem,
    ContentType,
    ContentText,
    Usage,
    UsageInput,
    UsageOutput,
    UsageCacheRead,
    UsageCacheWrite,
    UsageCost,
    UsageCostTotal,
    ToolCallId,
    ToolName,
    IsError,
    DurationMs,
    WillRetry,
    Aborted,
    Attempt,
    MaxAttempts,
    DelayMs,
    ErrorMessage,
    FinalError,
    Reason,
    Result,
    Method,
    Title,
    Options,
    Option,
    Timeout,
    Placeholder,
    Prefill,
}

/// The `type` of a line, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Not read yet.
    #[default]
    None,
    Session,
    AgentStart,
    TurnStart,
    MessageStart,
    MessageUpdate,
    MessageEnd,
    ToolStart,
    ToolUpdate,
    ToolEnd,
    AgentEnd,
    AgentSettled,
    RetryStart,
    RetryEnd,
    CompactionStart,
    CompactionEnd,
    SummaryRetry,
    SummaryRetryOver,
    QueueUpdate,
    UiRequest,
    Response,
    ExtensionError,
    Other,
}

impl Kind {
    fn of(word: &[u8]) -> Kind {
        match word {
            b"session" => Kind::Session,
            b"agent_start" => Kind::AgentStart,
            b"turn_start" => Kind::TurnStart,
            b"message_start" => Kind::MessageStart,
            b"message_update" => Kind::MessageUpdate,
            b"message_end" => Kind::MessageEnd,
            b"tool_execution_start" => Kind::ToolStart,
            b"tool_execution_update" => Kind::ToolUpdate,
            b"tool_execution_end" => Kind::ToolEnd,
            b"agent_end" => Kind::AgentEnd,
            b"agent_settled" => Kind::AgentSettled,
            b"auto_retry_start" => Kind::RetryStart,
            b"auto_retry_end" => Kind::RetryEnd,
            // Until 0.62 these had "auto_" before them.
            b"compaction_start" | b"auto_compaction_start" => Kind::CompactionStart,
            b"compaction_end" | b"auto_compaction_end" => Kind::CompactionEnd,
            b"summarization_retry_scheduled" => Kind::SummaryRetry,
            b"summarization_retry_attempt_start" | b"summarization_retry_finished" => {
                Kind::SummaryRetryOver
            }
            b"queue_update" => Kind::QueueUpdate,
            b"extension_ui_request" => Kind::UiRequest,
            b"response" => Kind::Response,
            b"extension_error" => Kind::ExtensionError,
            _ => Kind::Other,
        }
    }
}

/// What one line has told so far. All texts are bounded, and given away or freed at its end.
#[derive(Debug, Default)]
pub struct Fields {
    pub kind: Kind,
    /// A `message` member that is an object was seen.
    pub has_message: bool,
    /// How the rest of a `message_update` is treated: read it to learn the dialect.
    pub learning: bool,
    /// The string being read.
    word: Text,
    assistant: Option<bool>,
    /// Where the text of the current content block began.
    block: usize,
    block_is_text: bool,
    text: Text,
    stop: Option<Stop>,
    usage: Usage,
    strings: Strings,
    numbers: Numbers,
    options: Vec<String>,
    success: Option<bool>,
    is_error: bool,
    will_retry: Option<bool>,
    aborted: Option<bool>,
    disposition: Option<Disposition>,
    streaming: Option<bool>,
    compacting: Option<bool>,
}

#[derive(Debug, Default)]
struct Strings {
    id: String,
    cwd: String,
    session: String,
    command: String,
    error: String,
    message: String,
    tool_id: String,
    tool_name: String,
    error_message: String,
    final_error: String,
    reason: String,
    method: String,
    title: String,
    placeholder: String,
    prefill: String,
}

#[derive(Debug, Default)]
struct Numbers {
    duration_ms: u64,
    attempt: u64,
    max_attempts: u64,
    delay_ms: u64,
    timeout: u64,
}

impl Sink for Fields {
    type Slot = Slot;
    const ROOT: Slot = Slot::Root;

    fn member(parent: Slot, key: &[u8]) -> Slot {
        match parent {
            Slot::Root => root_member(key),
            Slot::Message => match key {
                b"role" => Slot::Role,
                b"stopReason" => Slot::StopReason,
                b"errorMessage" => Slot::MessageError,
                b"content" => Slot::Content,
                b"usage" => Slot::Usage,
                _ => Slot::Ignore,
            },
            Slot::ContentItem => match key {
                b"type" => Slot::ContentType,
                b"text" => Slot::ContentText,
                _ => Slot::Ignore,
            },
            Slot::Usage => match key {
                b"input" => Slot::UsageInput,
                b"output" => Slot::UsageOutput,
                b"cacheRead" => Slot::UsageCacheRead,
                b"cacheWrite" => Slot::UsageCacheWrite,
                b"cost" => Slot::UsageCost,
                _ => Slot::Ignore,
            },
            Slot::UsageCost if key == b"total" => Slot::UsageCostTotal,
            Slot::Result if key == b"usage" => Slot::Usage,
            Slot::Data => match key {
                b"disposition" => Slot::DataDisposition,
                b"sessionId" => Slot::DataSession,
                b"isStreaming" => Slot::DataStreaming,
                b"isCompacting" => Slot::DataCompacting,
                _ => Slot::Ignore,
            },
            _ => Slot::Ignore,
        }
    }

    fn element(parent: Slot) -> Slot {
        match parent {
            Slot::Content => Slot::ContentItem,
            Slot::Options => Slot::Option,
            _ => Slot::Ignore,
        }
    }

    fn object(&mut self, at: Slot, begins: bool) {
        match (at, begins) {
            (Slot::Message, true) => self.has_message = true,
            (Slot::ContentItem, true) => {
                self.block = self.text.len();
                self.block_is_text = false;
            }
            (Slot::ContentItem, false) if !self.block_is_text => self.text.truncate(self.block),
            _ => {}
        }
    }

    fn wants_string(&self, at: Slot) -> bool {
        match at {
            Slot::Content | Slot::ContentText => self.may_be_answer(),
            Slot::Option => self.options.len() < OPTIONS,
            _ => true,
        }
    }

    fn piece(&mut self, at: Slot, bytes: &[u8]) {
        match at {
            Slot::Content | Slot::ContentText => self.text.push(bytes, LONG),
            Slot::Message | Slot::Placeholder | Slot::Prefill => self.word.push(bytes, LONG),
            _ => self.word.push(bytes, SHORT),
        }
    }

    fn string(&mut self, at: Slot) -> bool {
        let s = &mut self.strings;
        let into = match at {
            Slot::Type => {
                self.kind = Kind::of(self.word.as_bytes());
                self.word.take();
                return self.enough();
            }
            Slot::Role => {
                self.assistant = Some(self.word.as_bytes() == b"assistant");
                self.word.take();
                return self.enough();
            }
            Slot::ContentText | Slot::Content => return false,
            Slot::ContentType => {
                self.block_is_text = self.word.as_bytes() == b"text";
                self.word.take();
                return false;
            }
            Slot::StopReason => {
                self.stop = Some(stop(self.word.as_bytes()));
                self.word.take();
                return false;
            }
            Slot::DataDisposition => {
                self.disposition = disposition(self.word.as_bytes());
                self.word.take();
                return false;
            }
            Slot::Option => {
                self.options.push(self.word.take());
                return false;
            }
            Slot::ToolCallId => {
                s.tool_id = self.word.take();
                return self.kind == Kind::ToolUpdate;
            }
            Slot::Id => &mut s.id,
            Slot::Cwd => &mut s.cwd,
            Slot::DataSession => &mut s.session,
            Slot::Command => &mut s.command,
            Slot::Error => &mut s.error,
            Slot::Message => &mut s.message,
            Slot::ToolName => &mut s.tool_name,
            Slot::ErrorMessage | Slot::MessageError => &mut s.error_message,
            Slot::FinalError => &mut s.final_error,
            Slot::Reason => &mut s.reason,
            Slot::Method => &mut s.method,
            Slot::Title => &mut s.title,
            Slot::Placeholder => &mut s.placeholder,
            Slot::Prefill => &mut s.prefill,
            _ => {
                self.word.take();
                return false;
            }
        };
        *into = self.word.take();
        false
    }

    fn scalar(&mut self, at: Slot, text: &[u8]) {
        let n = &mut self.numbers;
        match at {
            Slot::Success => self.success = boolean(text),
            Slot::IsError => self.is_error = text == b"true",
            Slot::WillRetry => self.will_retry = boolean(text),
            Slot::Aborted => self.aborted = boolean(text),
            Slot::DataStreaming => self.streaming = boolean(text),
            Slot::DataCompacting => self.compacting = boolean(text),
            Slot::DurationMs => n.duration_ms = whole(text),
            Slot::Attempt => n.attempt = whole(text),
            Slot::MaxAttempts => n.max_attempts = whole(text),
            Slot::DelayMs => n.delay_ms = whole(text),
            Slot::Timeout => n.timeout = whole(text),
            Slot::UsageInput => self.usage.input = whole(text),
            Slot::UsageOutput => self.usage.output = whole(text),
            Slot::UsageCacheRead => self.usage.cache_read = whole(text),
            Slot::UsageCacheWrite => self.usage.cache_write = whole(text),
            Slot::UsageCostTotal => self.usage.cost_nano_usd = nano(text),
            _ => {}
        }
    }
}

impl Fields {
    /// Whether the message being read can still turn out to be the model's complete answer.
    fn may_be_answer(&self) -> bool {
        matches!(self.kind, Kind::None | Kind::MessageEnd) && self.assistant != Some(false)
    }

    /// Whether what is known settles which event this is, so that the rest need not be read.
    fn enough(&self) -> bool {
        match self.kind {
            Kind::MessageUpdate => !self.learning,
            Kind::Other => true,
            Kind::MessageStart => self.assistant.is_some(),
            Kind::MessageEnd => self.assistant == Some(false),
            _ => false,
        }
    }

    /// Bytes of memory held.
    pub fn capacity(&self) -> usize {
        let s = &self.strings;
        self.word.capacity()
            + self.text.capacity()
            + s.message.capacity()
            + s.placeholder.capacity()
            + s.prefill.capacity()
            + self.options.iter().map(String::capacity).sum::<usize>()
    }

    /// The event of a complete line; `None` when it names no type.
    pub fn event(self) -> Option<Event> {
        let n = self.numbers;
        let s = self.strings;
        Some(match self.kind {
            Kind::None => return None,
            Kind::Session => Event::Session {
                id: s.id,
                cwd: s.cwd,
            },
            Kind::AgentStart => Event::AgentStart,
            Kind::TurnStart => Event::TurnStart,
            Kind::MessageStart => Event::MessageStart {
                assistant: self.assistant == Some(true),
            },
            Kind::MessageEnd if self.assistant == Some(true) => {
                return Some(answer(self.stop, s.error_message, self.usage, self.text))
            }
            Kind::ToolStart => Event::ToolStart {
                id: s.tool_id,
                name: s.tool_name,
            },
            Kind::ToolUpdate => Event::ToolUpdate { id: s.tool_id },
            Kind::ToolEnd => Event::ToolEnd {
                id: s.tool_id,
                name: s.tool_name,
                failed: self.is_error,
                duration_ms: n.duration_ms,
            },
            Kind::AgentEnd => Event::AgentEnd {
                will_retry: self.will_retry,
            },
            Kind::AgentSettled => Event::AgentSettled {
                aborted: self.aborted,
            },
            Kind::RetryStart | Kind::SummaryRetry => {
                let retry = Retry {
                    attempt: n.attempt,
                    max: n.max_attempts,
                    delay_ms: n.delay_ms,
                    error: s.error_message,
                };
                if self.kind == Kind::RetryStart {
                    Event::RetryStart(retry)
                } else {
                    Event::SummaryRetry(retry)
                }
            }
            Kind::RetryEnd => Event::RetryEnd {
                success: self.success == Some(true),
                error: s.final_error,
            },
            Kind::CompactionStart => Event::CompactionStart,
            Kind::CompactionEnd => Event::CompactionEnd {
                manual: s.reason == "manual",
                aborted: self.aborted == Some(true),
                will_retry: self.will_retry == Some(true),
                error: s.error_message,
                usage: self.usage,
            },
            Kind::SummaryRetryOver => Event::SummaryRetryOver,
            Kind::QueueUpdate => Event::QueueUpdate,
            Kind::UiRequest => dialog(s, n.timeout, self.options),
            Kind::Response => Event::Response(Response {
                id: s.id,
                command: s.command,
                success: self.success == Some(true),
                error: s.error,
                disposition: self.disposition,
                session: s.session,
                is_streaming: self.streaming,
                is_compacting: self.compacting,
            }),
            Kind::ExtensionError => Event::ExtensionError { error: s.error },
            Kind::MessageEnd | Kind::MessageUpdate | Kind::Other => Event::Other,
        })
    }
}

fn root_member(key: &[u8]) -> Slot {
    match key {
        b"type" => Slot::Type,
        b"id" => Slot::Id,
        b"cwd" => Slot::Cwd,
        b"command" => Slot::Command,
        b"success" => Slot::Success,
        b"error" => Slot::Error,
        b"data" => Slot::Data,
        b"message" => Slot::Message,
        b"toolCallId" => Slot::ToolCallId,
        b"toolName" => Slot::ToolName,
        b"isError" => Slot::IsError,
        b"durationMs" => Slot::DurationMs,
        b"willRetry" => Slot::WillRetry,
        b"aborted" => Slot::Aborted,
        b"attempt" => Slot::Attempt,
        b"maxAttempts" => Slot::MaxAttempts,
        b"delayMs" => Slot::DelayMs,
        b"errorMessage" => Slot::ErrorMessage,
        b"finalError" => Slot::FinalError,
        b"reason" => Slot::Reason,
        b"result" => Slot::Result,
        b"method" => Slot::Method,
        b"title" => Slot::Title,
        b"options" => Slot::Options,
        b"timeout" => Slot::Timeout,
        b"placeholder" => Slot::Placeholder,
        b"prefill" => Slot::Prefill,
        _ => Slot::Ignore,
    }
}

fn answer(stop: Option<Stop>, error: String, mut usage: Usage, mut text: Text) -> Event {
    let stop = stop.unwrap_or(Stop::Other);
    // A failed attempt is no answer; it carries zeros.
    usage.messages = u64::from(stop != Stop::Error);
    Event::Answer(Answer {
        stop,
        error,
        usage,
        text: text.take(),
    })
}

/// Only four methods wait for a person; the others only show something.
fn dialog(s: Strings, timeout_ms: u64, options: Vec<String>) -> Event {
    let message = match s.method.as_str() {
        "select" | "confirm" => s.message,
        "input" => s.placeholder,
        "editor" => s.prefill,
        _ => return Event::Other,
    };
    Event::Asked(Dialog {
        request: s.id,
        method: s.method,
        title: s.title,
        message,
        options,
        timeout_ms,
    })
}

fn stop(word: &[u8]) -> Stop {
    match word {
        b"stop" => Stop::Stop,
        b"toolUse" => Stop::ToolUse,
        b"length" => Stop::Length,
        b"error" => Stop::Error,
        b"aborted" => Stop::Aborted,
        _ => Stop::Other,
    }
}

fn disposition(word: &[u8]) -> Option<Disposition> {
    match word {
        b"started" => Some(Disposition::Started),
        b"queued" => Some(Disposition::Queued),
        b"handled" => Some(Disposition::Handled),
        _ => None,
    }
}

fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn float(text: &[u8]) -> f64 {
    let n = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
    n.unwrap_or(0.0)
}

/// A count; fractions are cut, and what is negative or no number is 0 (`as` saturates).
fn whole(text: &[u8]) -> u64 {
    float(text) as u64
}

/// Dollars to billionths, rounded.
fn nano(text: &[u8]) -> u64 {
    (float(text) * 1e9).round() as u64
}
