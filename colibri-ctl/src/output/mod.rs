//! What the program prints: text for people, or colibrid's own JSON. Each command says once how its data
//! look as text; that JSON was asked for is decided here.

pub mod board;
pub mod events;
pub mod json;
pub mod schedule;
pub mod skill;
pub mod summary;
pub mod table;
pub mod text;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

use libcolibri::error::{reason, Fatal, Result, EX_OK};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::text::shell_word;
use crate::time;

/// What the text depends on besides the data.
#[derive(Debug, Clone)]
pub struct Style {
    /// Whether to add colour; it never carries meaning alone.
    pub colour: bool,
    /// Seconds since 1970, for ages.
    pub now: i64,
    /// How this program was called, for the commands that it suggests.
    pub command: String,
}

impl Style {
    /// The style for a caller who named this socket (or none) and prints to stdout.
    #[must_use]
    pub fn detect(socket: Option<&Path>) -> Style {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        let dumb = set("TERM").is_some_and(|t| t == "dumb");
        let mut command = String::from("colibri-ctl");
        if let Some(path) = socket {
            command.push_str(" -s ");
            command.push_str(&shell_word(&path.display().to_string()));
        }
        Style {
            colour: io::stdout().is_terminal() && !dumb && set("NO_COLOR").is_none(),
            now: time::now(),
            command,
        }
    }
}

/// Where results go.
pub struct Output {
    json: bool,
    style: Style,
}

impl Output {
    /// JSON or text in this style.
    #[must_use]
    pub fn new(json: bool, style: Style) -> Output {
        Output { json, style }
    }

    /// Whether JSON was asked for.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The style of text.
    #[must_use]
    pub fn style(&self) -> &Style {
        &self.style
    }

    /// Prints the data of a reply: as they came, or as `text` shows them.
    ///
    /// # Errors
    /// Data of another shape than the protocol's; see also [`Output::print`].
    pub fn data<T: DeserializeOwned>(
        &self,
        data: &RawValue,
        text: impl FnOnce(&T, &Style) -> String,
    ) -> Result<()> {
        if self.json {
            return self.raw(data.get());
        }
        self.print(&text(&read(data)?, &self.style))
    }

    /// Prints one line of colibrid's JSON.
    ///
    /// # Errors
    /// See [`Output::print`].
    pub fn raw(&self, line: &str) -> Result<()> {
        self.print(&format!("{}\n", json::for_terminal(line)))
    }

    /// Writes to standard output at once: followers show each line when it happens.
    ///
    /// # Errors
    /// Output that cannot be written. A reader that has gone (`colibri-ctl tail | head`) has what it
    /// wanted: that is a silent success.
    pub fn print(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|e| match e.kind() {
            ErrorKind::BrokenPipe => finished(),
            _ => Fatal::new(format!("cannot write to standard output: {}", reason(&e))),
        })
    }

    /// Tells a person something beside the result, on standard error. Progress that cannot be
    /// shown is no failure.
    pub fn tell(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// The end without anything to say.
#[must_use]
pub fn finished() -> Fatal {
    Fatal {
        code: EX_OK,
        message: String::new(),
    }
}

/// Reads the data of a reply.
///
/// # Errors
/// Data of another shape than the protocol's.
pub fn read<T: DeserializeOwned>(data: &RawValue) -> Result<T> {
    serde_json::from_str(data.get()).map_err(|e| {
        // serde_json quotes what it found, and that may come from anyone.
        let found = crate::text::clean(&e.to_string());
        Fatal::new(format!("cannot understand the reply of colibrid: {found}"))
    })
}
