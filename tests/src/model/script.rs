//! What the scripted model says: one script per model id.
//!
//! | model | what happens |
//! |---|---|
//! | `demo` | what `make run` shows: thinking, four tools, an answer, at the pace of a real provider |
//! | `plain` | one short answer in small deltas |
//! | `think` | thinking, then an answer |
//! | `empty`, `length` | nothing / an answer cut by the output limit |
//! | `tools` | write, read, edit, two bash calls at once, answer |
//! | `toolfail` | a command that exits 3, a missing file, a tool that does not exist, answer |
//! | `long50` | 50 000 characters, four at a time |
//! | `bigtool` | a command that prints 5 MB, answer |
//! | `unicode` | U+2028, U+2029, joined emoji, a command that prints NUL, ESC and broken UTF-8 |
//! | `retry429` | 429 twice, then the answer; Pi sees each failure |
//! | `retry429sdk` | the same without the header that stops the client library's own retries |
//! | `always500`, `auth401`, `bad400`, `malformed` | that failure, every time |
//! | `disconnect`, `disconnectfin` | a reset / an orderly end in the middle of the answer once, then the answer |
//! | `ask`, `askselect`, `askinput`, `askeditor`, `asktimeout` | a command for which the extension `fixtures/ext/ask.mjs` asks a person |
//! | `steer` | short commands until a second user message arrives (60 at most), then an answer that quotes it |
//! | `slow` | an answer of a minute, a word every 50 ms |
//! | `sleep`, `aborttool` | a silent command of five minutes / one that says `started` first |
//! | `hold` | a silent command that keeps the FIFO `alive` of its directory open, see [`crate::procs::Lifeline`] |
//! | `holdfar` | the same, and so does a process of its own session that is deaf to SIGTERM |
//! | `daemon` | a command that leaves a process in a session of its own behind |
//! | `selfterm` | a command that sends SIGTERM to Pi |
//! | `toolstream` | a command that prints a line every 0.2 s for two seconds |
//! | `loop` | one command after the other, without end |
//! | `silent`, `silentbody` | no byte at all / headers and then nothing |
//!
//! Any other model, such as `unknown`, answers like `plain`.

use serde_json::{json, Value};

/// Every script's model id.
pub const MODELS: [&str; 36] = [
    "demo",
    "plain",
    "think",
    "empty",
    "length",
    "tools",
    "toolfail",
    "long50",
    "bigtool",
    "unicode",
    "retry429",
    "retry429sdk",
    "always500",
    "auth401",
    "bad400",
    "malformed",
    "disconnect",
    "disconnectfin",
    "ask",
    "askselect",
    "askinput",
    "askeditor",
    "asktimeout",
    "steer",
    "slow",
    "sleep",
    "aborttool",
    "hold",
    "holdfar",
    "daemon",
    "selfterm",
    "loop",
    "silent",
    "silentbody",
    "toolstream",
    "unknown",
];

/// What the request says about the conversation so far.
#[derive(Debug, Default)]
pub struct Conversation {
    /// The model id.
    pub model: String,
    /// Number of messages in the request.
    pub messages: usize,
    /// Assistant messages since the first user message that has not been answered in words;
    /// 0 for the first request of a prompt.
    pub turn: usize,
    /// All user messages.
    pub user_messages: Vec<String>,
    /// All tool results.
    pub tool_results: Vec<String>,
}

impl Conversation {
    /// Reads an OpenAI chat-completions request. Anything missing counts as empty.
    #[must_use]
    pub fn new(request: &Value) -> Self {
        let mut talk = Self {
            model: request["model"].as_str().unwrap_or("plain").to_owned(),
            ..Self::default()
        };
        let none = Vec::new();
        for message in request["messages"].as_array().unwrap_or(&none) {
            talk.messages += 1;
            let text = text_of(&message["content"]);
            match message["role"].as_str() {
                Some("user") => talk.user_messages.push(text),
                Some("tool") => talk.tool_results.push(text),
                // An answer without calls ends a prompt; the next one starts its script anew.
                Some("assistant") if message["tool_calls"].is_array() => talk.turn += 1,
                Some("assistant") => talk.turn = 0,
                _ => {}
            }
        }
        talk
    }

    /// The last user message, or nothing.
    #[must_use]
    pub fn prompt(&self) -> &str {
        self.user_messages.last().map_or("", String::as_str)
    }
}

/// Message contents are a string or a list of parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// One step of an answer.
#[derive(Debug)]
pub enum Act {
    /// Nothing, until the client hangs up.
    Silence,
    /// Only the response headers.
    Head,
    /// An HTTP error; `retryable` leaves out the header that stops client-library retries.
    Refuse {
        /// HTTP status.
        status: u16,
        /// The provider's error code.
        code: &'static str,
        /// The provider's words.
        message: &'static str,
        /// Whether the client library may repeat the request unseen.
        retryable: bool,
    },
    /// Closes the connection with a reset.
    Reset,
    /// Closes the connection in order, in the middle of the body.
    Cut,
    /// One event with this text as it is.
    Raw(&'static str),
    /// Text in deltas of `chunk` characters with `delay_ms` after each.
    Text {
        /// The text.
        text: String,
        /// Characters per delta.
        chunk: usize,
        /// Milliseconds after each delta.
        delay_ms: u64,
    },
    /// Nothing for so many milliseconds: a provider that takes its time.
    Pause(u64),
    /// Thinking, in deltas of eight characters with `delay_ms` after each.
    Think {
        /// The thoughts.
        text: &'static str,
        /// Milliseconds after each delta.
        delay_ms: u64,
    },
    /// Tool calls: name and arguments.
    Tools(Vec<(&'static str, Value)>),
    /// The end, with the provider's reason.
    Finish(&'static str),
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// What to do, in order.
    pub acts: Vec<Act>,
    /// How often this is said before [`after_failures`] is said instead; 0: for ever.
    pub fail_first: u32,
}

fn acts(acts: Vec<Act>) -> Reply {
    Reply {
        acts,
        fail_first: 0,
    }
}

fn text(words: &str) -> Reply {
    acts(vec![
        Act::Text {
            text: words.to_owned(),
            chunk: 4,
            delay_ms: 0,
        },
        Act::Finish("stop"),
    ])
}

fn tools(calls: Vec<(&'static str, Value)>) -> Reply {
    acts(vec![Act::Tools(calls), Act::Finish("tool_calls")])
}

fn bash(command: &str) -> Reply {
    tools(vec![("bash", json!({ "command": command }))])
}

fn refuse(status: u16, code: &'static str, message: &'static str) -> Act {
    Act::Refuse {
        status,
        code,
        message,
        retryable: false,
    }
}

/// `command` at the first turn, `answer` at the next.
fn once(talk: &Conversation, command: &str, answer: &str) -> Reply {
    if talk.turn == 0 {
        bash(command)
    } else {
        text(answer)
    }
}

/// The next step of the model's script.
#[must_use]
pub fn reply(talk: &Conversation) -> Reply {
    match talk.model.as_str() {
        "think" => acts(vec![
            Act::Think {
                text: "Let me think about this for a moment.",
                delay_ms: 0,
            },
            Act::Text {
                text: "Thought about it.".into(),
                chunk: 4,
                delay_ms: 0,
            },
            Act::Finish("stop"),
        ]),
        "demo" => demo(talk.turn),
        "empty" => acts(vec![Act::Finish("stop")]),
        "length" => acts(vec![
            Act::Text {
                text: "This answer is cut".into(),
                chunk: 4,
                delay_ms: 0,
            },
            Act::Finish("length"),
        ]),
        "long50" => text(&"0123456789".repeat(5_000)),
        "slow" => acts(vec![
            Act::Text {
                text: "word ".repeat(1_200),
                chunk: 5,
                delay_ms: 50,
            },
            Act::Finish("stop"),
        ]),
        "silent" => acts(vec![Act::Silence]),
        "silentbody" => acts(vec![Act::Head, Act::Silence]),
        "tools" | "toolfail" | "bigtool" | "unicode" | "sleep" | "aborttool" | "hold"
        | "holdfar" | "daemon" | "selfterm" | "loop" | "steer" | "toolstream" => with_tools(talk),
        "ask" | "askselect" | "askinput" | "askeditor" | "asktimeout" => asking(talk),
        "retry429" | "retry429sdk" | "always500" | "auth401" | "bad400" | "malformed"
        | "disconnect" | "disconnectfin" => failing(&talk.model),
        _ => text("Hello! This is the scripted model speaking."),
    }
}

/// What a script that failed first says in the end.
#[must_use]
pub fn after_failures(_talk: &Conversation) -> Reply {
    text("It worked in the end.")
}

fn with_tools(talk: &Conversation) -> Reply {
    match (talk.model.as_str(), talk.turn) {
        ("tools", 0) => tools(vec![(
            "write",
            json!({"path": "notes.txt", "content": "alpha\nbeta\ngamma\n"}),
        )]),
        ("tools", 1) => tools(vec![("read", json!({"path": "notes.txt"}))]),
        ("tools", 2) => tools(vec![(
            "edit",
            json!({"path": "notes.txt", "edits": [{"oldText": "beta", "newText": "BETA"}]}),
        )]),
        ("tools", 3) => tools(vec![
            ("bash", json!({"command": "cat notes.txt"})),
            ("bash", json!({"command": "wc -l notes.txt; sleep 0.3"})),
        ]),
        ("tools", _) => text("All four tools were used."),
        ("toolfail", 0) => bash("echo before failing >&2; exit 3"),
        ("toolfail", 1) => tools(vec![("read", json!({"path": "no-such-file.txt"}))]),
        ("toolfail", 2) => tools(vec![("no_such_tool", json!({"x": 1}))]),
        ("toolfail", _) => text("Three calls failed."),
        ("bigtool", _) => once(
            talk,
            "head -c 5000000 /dev/zero | tr '\\0' x",
            "That was a lot.",
        ),
        ("unicode", 0) => acts(vec![
            Act::Text {
                text: "Line\u{2028}separator, paragraph\u{2029}end, 日本語, e\u{301}, \u{1F469}\u{200D}\u{1F469}\u{200D}\u{1F467} \u{1F680}".into(),
                chunk: 1,
                delay_ms: 0,
            },
            Act::Tools(vec![(
                "bash",
                json!({"command": "printf 'nul:\\000 esc:\\033[31m bad:\\377\\376 ls:\\342\\200\\250 nel:\\302\\205 end\\n'"}),
            )]),
            Act::Finish("tool_calls"),
        ]),
        ("unicode", _) => text("Seen: \u{2028}\u{FEFF}\u{1F600}."),
        ("sleep", _) => once(talk, "sleep 300", "Slept."),
        ("aborttool", _) => once(talk, "echo started; sleep 300", "Slept."),
        ("hold", _) => once(talk, "exec 9>alive; echo up >&9; sleep 300", "Held."),
        ("holdfar", _) => once(
            talk,
            "exec 9>alive; (trap '' TERM; setsid sleep 300 || daemon sleep 300) & echo up >&9; sleep 300",
            "Held.",
        ),
        ("daemon", _) => once(
            talk,
            "(setsid sleep 300 || daemon sleep 300) </dev/null >/dev/null 2>&1 & echo left",
            "A process was left behind.",
        ),
        ("toolstream", _) => once(
            talk,
            "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 0.2; done",
            "Ten lines.",
        ),
        ("selfterm", _) => once(talk, "kill -TERM $PPID; sleep 5", "Still here."),
        ("steer", turn) if talk.user_messages.len() < 2 && turn < 60 => {
            bash("echo tick; sleep 0.5")
        }
        ("steer", _) => text(&format!("Now following: {}", talk.prompt())),
        _ => bash("echo again"),
    }
}

/// The conversation that `make run` plays: `demo` in `fixtures/pi` is a recording of it.
fn demo(turn: usize) -> Reply {
    let say = |words: &str| Act::Text {
        text: words.to_owned(),
        chunk: 5,
        delay_ms: 30,
    };
    let bash = |command: &str| ("bash", json!({ "command": command }));
    acts(match turn {
        0 => vec![
            Act::Pause(600),
            Act::Think {
                text: "I do not know this directory yet. First the names, then the line counts.",
                delay_ms: 60,
            },
            say("Let me see what is here."),
            Act::Tools(vec![bash("ls -1; sleep 0.4")]),
            Act::Finish("tool_calls"),
        ],
        1 => vec![
            Act::Pause(500),
            say("Three files. I count their lines and look at how they begin."),
            Act::Tools(vec![
                bash("wc -l *.txt; sleep 1"),
                bash("head -n 1 *.txt; sleep 0.5"),
            ]),
            Act::Finish("tool_calls"),
        ],
        2 => vec![
            Act::Pause(700),
            Act::Tools(vec![(
                "write",
                json!({"path": "longest", "content": "poem.txt\n"}),
            )]),
            Act::Finish("tool_calls"),
        ],
        _ => vec![
            Act::Pause(500),
            say("poem.txt is the longest of the three files, with 14 lines. I have noted its name in the file longest."),
            Act::Finish("stop"),
        ],
    })
}

/// A command that the extension recognises by its first words, and an answer by its outcome.
fn asking(talk: &Conversation) -> Reply {
    if talk.turn == 0 {
        let how = match talk.model.as_str() {
            "askselect" => "select",
            "askinput" => "input",
            "askeditor" => "editor",
            "asktimeout" => "timeout",
            _ => "confirm",
        };
        return bash(&format!(": needs-permission {how}; echo allowed"));
    }
    let refused = talk
        .tool_results
        .last()
        .is_some_and(|t| t.contains("refused"));
    text(if refused {
        "The command was refused."
    } else {
        "The command was allowed."
    })
}

fn failing(model: &str) -> Reply {
    let half = Act::Text {
        text: "The first half of an ans".into(),
        chunk: 4,
        delay_ms: 0,
    };
    let (acts, fail_first) = match model {
        "retry429" | "retry429sdk" => (
            vec![Act::Refuse {
                status: 429,
                code: "rate_limit_exceeded",
                message: "Rate limit reached for requests",
                retryable: model == "retry429sdk",
            }],
            2,
        ),
        "auth401" => (
            vec![refuse(
                401,
                "invalid_api_key",
                "Incorrect API key provided: sk-scripted",
            )],
            0,
        ),
        "bad400" => (vec![refuse(400, "invalid_request", "Bad request")], 0),
        "malformed" => (vec![half, Act::Raw("{\"choices\":[{"), Act::Cut], 0),
        // The reset waits a moment: otherwise the kernel may throw away what was not read yet.
        "disconnect" => (
            vec![
                half,
                Act::Text {
                    text: "wer".into(),
                    chunk: 3,
                    delay_ms: 100,
                },
                Act::Reset,
            ],
            1,
        ),
        "disconnectfin" => (vec![half, Act::Cut], 1),
        _ => (vec![refuse(500, "server_error", "Internal error")], 0),
    };
    Reply { acts, fail_first }
}
