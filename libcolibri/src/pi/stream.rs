//! From the bytes of Pi's stdout to events, in constant memory.
//!
//! Lines end with LF only; U+2028 and CR are bytes like others. A `message_update`, nine of ten
//! lines and up to 150 kB each, is recognised by its first bytes and skipped to its end without being
//! looked at. Every other line goes through a tokenizer that holds only what an event needs, each
//! text within its limit; so the answers are exact for lines of any length, with keys in any order.

use super::event::{Dialect, Event};
use super::fields::{Fields, Kind};
use super::json::{Fed, Tokenizer};

/// How Pi (every version seen) begins its most frequent line.
const UPDATE: &[u8] = b"{\"type\":\"message_update\"";

/// What is done with the bytes up to the next LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Nothing of it was read yet.
    Start,
    /// Goes through the tokenizer.
    Read,
    /// A known `message_update`.
    Update,
    /// Its event is known.
    Known,
    /// It is not JSON.
    Bad,
}

/// Reads Pi's stream. Feed it what was read from the pipe, in pieces of any size.
pub struct Parser {
    line: Line,
    blank: bool,
    tokens: Tokenizer<Fields>,
    fields: Fields,
    dialect: Option<Dialect>,
    lines: u64,
    bytes: u64,
    updates: u64,
    malformed: u64,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// At the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Parser {
            line: Line::Start,
            blank: true,
            tokens: Tokenizer::new(),
            fields: Fields::default(),
            dialect: None,
            lines: 0,
            bytes: 0,
            updates: 0,
            malformed: 0,
        }
    }

    /// Reads the next bytes and hands out the events of the lines that end in them.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event)) {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.line == Line::Start {
                self.begin(rest);
            }
            let end = memchr::memchr(b'\n', rest);
            if self.line == Line::Read {
                self.read(&rest[..end.unwrap_or(rest.len())]);
            }
            match end {
                Some(at) => {
                    self.end(sink);
                    rest = &rest[at + 1..];
                }
                None => return,
            }
        }
    }

    /// The stream is over. A last line without LF counts when it is complete; a cut one is malformed.
    pub fn finish(&mut self, sink: &mut impl FnMut(Event)) {
        match self.line {
            Line::Start => {}
            // Known only by its beginning, so nobody can say that it is whole.
            Line::Update | Line::Known | Line::Bad => self.spoiled(),
            Line::Read => self.end(sink),
        }
    }

    /// Lines so far, empty ones included.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `message_update` lines so far.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Lines that were not JSON objects with a `type`.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// The dialect, once a `message_update` has shown it.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// Bytes of heap memory held for the line being read; bounded, and zero between lines.
    #[must_use]
    pub fn held(&self) -> usize {
        self.fields.capacity()
    }

    fn begin(&mut self, rest: &[u8]) {
        self.blank = true;
        self.line = Line::Read;
        if self.dialect.is_some() && rest.starts_with(UPDATE) {
            // The tokenizer would find the same: the key is whole and the value is whole.
            self.line = Line::Update;
        } else {
            self.tokens.reset();
            self.fields.learning = self.dialect.is_none();
        }
    }

    fn read(&mut self, part: &[u8]) {
        if self.blank {
            self.blank = part.iter().all(u8::is_ascii_whitespace);
        }
        match self.tokens.feed(&mut self.fields, part) {
            Fed::More => {}
            Fed::Bad => self.line = Line::Bad,
            Fed::Enough if self.fields.kind == Kind::MessageUpdate => self.line = Line::Update,
            Fed::Enough => self.line = Line::Known,
        }
    }

    /// At the end of a line.
    fn end(&mut self, sink: &mut impl FnMut(Event)) {
        let line = std::mem::replace(&mut self.line, Line::Start);
        self.lines += 1;
        match line {
            Line::Update => {
                self.updates += 1;
                if self.fields.kind != Kind::None {
                    self.fields = Fields::default();
                }
                return;
            }
            Line::Read if self.blank => return,
            Line::Start => return,
            Line::Bad => return self.forget(),
            Line::Read if !self.tokens.complete() => return self.forget(),
            Line::Read | Line::Known => {}
        }
        let fields = std::mem::take(&mut self.fields);
        if fields.kind == Kind::MessageUpdate {
            self.updates += 1;
            let dialect = if fields.has_message {
                Dialect::Cumulative
            } else {
                Dialect::Delta
            };
            if self.dialect.is_none() {
                self.dialect = Some(dialect);
                sink(Event::Dialect(dialect));
            }
            return;
        }
        match fields.event() {
            Some(event) => sink(event),
            None => self.malformed += 1,
        }
    }

    /// A last line without LF that cannot be used.
    fn spoiled(&mut self) {
        self.line = Line::Start;
        self.lines += 1;
        self.forget();
    }

    fn forget(&mut self) {
        self.malformed += 1;
        self.fields = Fields::default();
    }
}
