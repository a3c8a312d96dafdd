//! What comes from colibrid: bytes to lines, lines to replies, events and gaps. The errors say what was sent.

use serde_json::value::RawValue;

use crate::model::{Event, Gap, Line};
use crate::text::clean;

/// Longest line read, in bytes: what colibrid holds for one client at most.
pub const LINE_MAX: usize = 8 * 1024 * 1024;

/// Something that happened.
#[derive(Debug)]
pub enum Told {
    /// The event.
    Event(Box<Event>),
    /// Events that were lost.
    Gap(Gap),
}

/// A line, read.
#[derive(Debug)]
pub enum Incoming {
    /// To a request: its number as it came, and the data, or why it was refused, clean.
    Reply(Option<String>, Result<Box<RawValue>, String>),
    /// Part of a subscription.
    Told(Told),
}

/// Bytes received and not yet handed out as lines.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// So many of them hold no line feed.
    scanned: usize,
}

impl Lines {
    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether nothing is left of an unfinished line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next line without its line feed, if it has come whole.
    ///
    /// # Errors
    /// Not UTF-8, or longer than [`LINE_MAX`].
    pub fn next(&mut self) -> Result<Option<String>, &'static str> {
        let Some(at) = self.buffer[self.scanned..].iter().position(|b| *b == b'\n') else {
            self.scanned = self.buffer.len();
            return match self.scanned > LINE_MAX {
                true => Err("a line without end"),
                false => Ok(None),
            };
        };
        let rest = self.buffer.split_off(self.scanned + at + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        self.scanned = 0;
        match String::from_utf8(line) {
            Ok(line) => Ok(Some(line)),
            Err(_) => Err("bytes that are not UTF-8"),
        }
    }
}

/// Reads a line.
///
/// # Errors
/// What it is instead of one of the protocol's.
pub fn incoming(line: &str) -> Result<Incoming, String> {
    let line: Line<'_> =
        serde_json::from_str(line).map_err(|_| "a line that is not its protocol")?;
    let id = line.id.map(|id| id.get().to_owned());
    match (line.ok, line.data, line.error, line.event, line.gap) {
        (Some(true), Some(data), ..) => Ok(Incoming::Reply(id, Ok(data.to_owned()))),
        (Some(true), None, ..) => Err("a reply without data".into()),
        (Some(false), _, Some(e), ..) => {
            let refusal = format!("{} ({})", clean(&e.message), clean(&e.code));
            Ok(Incoming::Reply(id, Err(refusal)))
        }
        (Some(false), ..) => Err("a refusal without an error".into()),
        (None, .., Some(event), _) => {
            let event = serde_json::from_str(event.get());
            let event = event.map_err(|e| format!("an event that is none ({e})"))?;
            Ok(Incoming::Told(Told::Event(event)))
        }
        (None, .., Some(gap)) => Ok(Incoming::Told(Told::Gap(gap))),
        (None, ..) => Err("a line that is neither reply nor event".into()),
    }
}
