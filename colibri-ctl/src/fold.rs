//! `colibri-ctl fold`: what a recorded Pi stream says about the agent, without any daemon.

use flate2::read::MultiGzDecoder;
use libcolibri::error::reason;
use libcolibri::pi::{Fold, Input, Options, Parser};
use libcolibri::record::Record;
use libcolibri::state::{Exit, Phase, State};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsFd;

/// Arguments of `fold`.
#[derive(Debug, clap::Args)]
pub struct FoldArgs {
    /// The exit code Pi ended with, or minus a signal; default 0
    #[arg(
        long, value_name = "N", allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-128..=255)
    )]
    exit: Option<i32>,
    /// The signal that killed Pi
    #[arg(
        long, value_name = "N", conflicts_with = "exit",
        value_parser = clap::value_parser!(i32).range(1..=128)
    )]
    signal: Option<i32>,
    /// The end was asked for
    #[arg(long)]
    asked: bool,
    /// Pi's recorded stdout, plain or gzip; - is standard input
    #[arg(value_name = "FILE")]
    file: String,
}

/// One printed line.
struct Transition {
    seq: u64,
    line: u64,
    state: State,
    phase: Phase,
    reason: String,
}

impl FoldArgs {
    /// What the recording is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.file.as_str() {
            "-" => "standard input",
            name => name,
        }
    }

    /// Opens the recording. Nothing of it is read.
    ///
    /// # Errors
    /// The system's, in a sentence.
    pub fn open(&self) -> Result<File, String> {
        let file = match self.file.as_str() {
            "-" => std::io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .map(File::from),
            name => File::open(name),
        };
        file.map_err(|e| format!("cannot open {}: {}", self.name(), reason(&e)))
    }
}

/// Folds the recording and prints every transition and, last, the final state. Without `--exit` and
/// `--signal` the process is taken to have exited with 0. With `json` each transition is an object
/// with `seq`, `line` (of the stream, from 1), `state`, `phase` and `reason`, and the last line is
/// `{"final":{"state","reason"}}`. Returns whether the recording was whole: a packed one that ends too
/// early is folded as far as it goes.
///
/// # Errors
/// The file cannot be read, or `out` cannot be written.
pub fn run(
    args: &FoldArgs,
    recording: File,
    json: bool,
    out: &mut impl Write,
) -> Result<bool, String> {
    let fail = |e: std::io::Error| format!("cannot read {}: {}", args.name(), reason(&e));
    let exit = match (args.exit, args.signal) {
        (_, Some(signal)) => Exit::Signal(signal),
        (Some(code), None) if code < 0 => Exit::Signal(code.saturating_neg()),
        (code, None) => Exit::Code(code.unwrap_or(0)),
    };
    let mut printer = Printer::new(json, out);
    let mut input = unpacked(recording).map_err(fail)?;
    let mut fold = Fold::new(Options::default());
    let mut parser = Parser::new();
    let whole = loop {
        let chunk = match input.fill_buf() {
            Ok([]) => break true,
            Ok(chunk) => chunk,
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => break false,
            Err(e) => return Err(fail(e)),
        };
        // Line by line, so that each transition knows its line.
        let len = chunk.len();
        for part in chunk.split_inclusive(|&b| b == b'\n') {
            let mut events = Vec::new();
            parser.feed(part, &mut |event| events.push(event));
            printer.take(&mut fold, events, parser.lines())?;
        }
        input.consume(len);
    };
    let mut events = Vec::new();
    parser.finish(&mut |event| events.push(event));
    printer.take(&mut fold, events, parser.lines())?;
    let mut records = Vec::new();
    let asked = args.asked;
    fold.step(Input::Exit { exit, asked }, 0, &mut records);
    printer.print(records, parser.lines())?;
    printer.last(&fold, &parser)?;
    Ok(whole)
}

/// A reader of the plain bytes of a recording, unpacked if they begin like gzip.
fn unpacked(file: File) -> std::io::Result<Box<dyn BufRead>> {
    let mut plain = BufReader::with_capacity(64 * 1024, file);
    if plain.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        let unpacked = MultiGzDecoder::new(plain);
        return Ok(Box::new(BufReader::with_capacity(64 * 1024, unpacked)));
    }
    Ok(Box::new(plain))
}

struct Printer<'a, W: Write> {
    json: bool,
    out: &'a mut W,
    seq: u64,
}

impl<'a, W: Write> Printer<'a, W> {
    fn new(json: bool, out: &'a mut W) -> Self {
        Printer { json, out, seq: 0 }
    }

    fn take(
        &mut self,
        fold: &mut Fold,
        events: Vec<libcolibri::pi::Event>,
        line: u64,
    ) -> Result<(), String> {
        let mut records = Vec::new();
        for event in events {
            fold.step(Input::Event(event), 0, &mut records);
        }
        self.print(records, line)
    }

    fn print(&mut self, records: Vec<Record>, line: u64) -> Result<(), String> {
        for record in records {
            if let Record::State {
                state,
                phase,
                reason,
                ..
            } = record
            {
                self.seq += 1;
                let seq = self.seq;
                self.transition(&Transition {
                    seq,
                    line,
                    state,
                    phase,
                    reason,
                })?;
            }
        }
        Ok(())
    }

    fn transition(&mut self, t: &Transition) -> Result<(), String> {
        let written = if self.json {
            let object = serde_json::json!({
                "seq": t.seq, "line": t.line, "state": t.state, "phase": t.phase, "reason": t.reason,
            });
            writeln!(self.out, "{object}")
        } else {
            let what = match t.phase {
                Phase::None => t.state.as_str().to_owned(),
                phase => format!("{}/{}", t.state.as_str(), phase.as_str()),
            };
            let text = format!("line {:>7}  {what:<19} {}", t.line, clean(&t.reason));
            writeln!(self.out, "{}", text.trim_end())
        };
        written.map_err(unwritable)
    }

    fn last(&mut self, fold: &Fold, parser: &Parser) -> Result<(), String> {
        let view = fold.view();
        let written = if self.json {
            let object = serde_json::json!({
                "final": {"state": view.state, "reason": view.reason},
            });
            writeln!(self.out, "{object}")
        } else {
            let mut text = format!("final: {}", view.state.as_str());
            if !view.reason.is_empty() {
                text.push_str(" (");
                text.push_str(&clean(&view.reason));
                text.push(')');
            }
            if parser.malformed() > 0 {
                text.push_str(&format!(", {} malformed lines", parser.malformed()));
            }
            writeln!(self.out, "{text}")
        };
        written.map_err(unwritable)
    }
}

fn unwritable(e: std::io::Error) -> String {
    format!("cannot write the result: {e}")
}

/// Text that cannot move a terminal's cursor or change its colours: control characters (C0, DEL, C1)
/// and those that reorder text become U+FFFD.
fn clean(text: &str) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if odd(c) { '\u{fffd}' } else { c })
        .collect()
}
