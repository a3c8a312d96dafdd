//! Playing a recorded stream of the real Pi as if it happened now.
//!
//! What comes out are the recorded bytes; only the id of the answered prompt is the one that was
//! really sent. What goes in is answered as Pi of the same dialect answers it.

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Largest recording, in bytes after decompression; the biggest one kept is 24 MB.
const MAX_TRACE: u64 = 256 << 20;

/// A recording.
#[derive(Debug, Default)]
pub struct Trace {
    /// Lines with their line feed; the last one may lack it, as it was cut.
    lines: Vec<Vec<u8>>,
    /// Milliseconds since Pi's start for each line, or empty.
    times: Vec<f64>,
    /// Whether this dialect says `agent_settled`.
    settles: bool,
}

impl Trace {
    /// Reads a recording and its times, both plain or compressed. Without `timing` a file
    /// `NAME.timing.tsv[.gz]` beside `NAME.jsonl[.gz]` is used if there is one.
    ///
    /// # Errors
    /// When a file that must be there cannot be read.
    pub fn open(path: &Path, timing: Option<&Path>) -> io::Result<Self> {
        let mut trace = Self::parse(&read_plain(path)?);
        if let Some(file) = timing.map(Path::to_path_buf).or_else(|| beside(path)) {
            trace.set_times(&String::from_utf8_lossy(&read_plain(&file)?));
        }
        Ok(trace)
    }

    fn parse(bytes: &[u8]) -> Self {
        let lines: Vec<_> = bytes.split_inclusive(|b| *b == b'\n').collect();
        Self {
            settles: lines.iter().any(|l| kind(l) == Some("agent_settled")),
            lines: lines.into_iter().map(<[u8]>::to_vec).collect(),
            times: Vec::new(),
        }
    }

    /// First column of a tab-separated table with a heading.
    fn set_times(&mut self, table: &str) {
        self.times = table
            .lines()
            .filter_map(|line| line.split('\t').next()?.parse().ok())
            .collect();
    }
}

fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|e| e == "gz") {
        MultiGzDecoder::new(file)
            .take(MAX_TRACE)
            .read_to_end(&mut bytes)?;
    } else {
        file.take(MAX_TRACE).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The file of times beside a recording.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.to_str()?;
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    let stem = stem.strip_suffix(".jsonl")?;
    [".timing.tsv", ".timing.tsv.gz"]
        .map(|end| PathBuf::from(format!("{stem}{end}")))
        .into_iter()
        .find(|p| p.exists())
}

/// The event type of a line that begins with it, as all of Pi's events do.
fn kind(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"{\"type\":\"")?;
    let end = rest.iter().position(|b| *b == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// Whether a line answers a prompt that was accepted.
fn accepts_prompt(line: &[u8]) -> bool {
    if line.len() > 4096 || kind(line).is_some_and(|k| k != "response") {
        return false;
    }
    serde_json::from_slice::<Value>(line).is_ok_and(|v| {
        v["type"] == "response" && v["command"] == "prompt" && v["success"] == Value::Bool(true)
    })
}

/// The id and, if it has one, the timeout of a dialog that waits for a person.
fn dialog(line: &[u8]) -> Option<(String, bool)> {
    if kind(line) != Some("extension_ui_request") {
        return None;
    }
    let v: Value = serde_json::from_slice(line).ok()?;
    matches!(
        v["method"].as_str()?,
        "select" | "confirm" | "input" | "editor"
    )
    .then(|| {
        (
            v["id"].as_str().unwrap_or("").to_owned(),
            v["timeout"].is_number(),
        )
    })
}

/// What arrived on stdin.
#[derive(Debug)]
pub enum Input {
    /// A line of JSON.
    Command(Value),
    /// A line that is not JSON.
    Garbage,
    /// The end.
    Eof,
}

/// Reads stdin line by line into `send` until its end; for a thread of its own.
pub fn read_commands(mut from: impl BufRead, send: &std::sync::mpsc::Sender<Input>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match from.read_until(b'\n', &mut line) {
            Ok(n) if n > 0 => {
                let input = serde_json::from_slice(&line).map_or(Input::Garbage, Input::Command);
                if send.send(input).is_err() {
                    return;
                }
            }
            _ => {
                let _ = send.send(Input::Eof);
                return;
            }
        }
    }
}

/// Why playing stopped.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    On,
    Aborted,
    Eof,
}

/// How to play.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many times faster than recorded; 0: at once.
    pub speed: f64,
    /// Wait for a prompt at every recorded prompt instead of only at the first.
    pub each_prompt: bool,
}

/// Plays one recording.
pub struct Player<'a, W> {
    trace: &'a Trace,
    out: W,
    input: Receiver<Input>,
    options: Options,
    /// When line 0 was at 0 ms.
    origin: Instant,
    running: bool,
    open_tools: BTreeMap<String, String>,
    open_dialog: Option<String>,
    abort_waits: Option<Value>,
}

impl<'a, W: Write> Player<'a, W> {
    /// A player whose clock starts now.
    pub fn new(trace: &'a Trace, out: W, input: Receiver<Input>, options: Options) -> Self {
        Self {
            trace,
            out,
            input,
            options,
            origin: Instant::now(),
            running: false,
            open_tools: BTreeMap::new(),
            open_dialog: None,
            abort_waits: None,
        }
    }

    /// JSON mode: every line in its time. Stdin must have been read to its end before.
    ///
    /// # Errors
    /// When the reader of stdout is gone.
    pub fn json(&mut self) -> io::Result<()> {
        for at in 0..self.trace.lines.len() {
            self.wait_until_due(at)?;
            self.line(at)?;
        }
        Ok(())
    }

    /// RPC mode: waits for a prompt, plays, and again, until stdin ends. With `once` it returns
    /// after the first play, as a Pi does that crashes then.
    ///
    /// # Errors
    /// When the reader of stdout is gone.
    pub fn rpc(&mut self, once: bool) -> io::Result<()> {
        while let Some(prompt) = self.next_prompt()? {
            // The recorded start-up time has passed already if the prompt came late.
            if let Some(first) = self.trace.times.first() {
                self.origin = self.origin.max(Instant::now() - self.scaled(*first));
            }
            match self.play(&prompt)? {
                Flow::Eof => return Ok(()),
                Flow::Aborted => self.finish_aborted()?,
                Flow::On if once => return Ok(()),
                Flow::On => {}
            }
            self.running = false;
        }
        Ok(())
    }

    /// Waits for a prompt while nothing is played; `None` at the end of stdin.
    fn next_prompt(&mut self) -> io::Result<Option<Value>> {
        loop {
            match self.input.recv() {
                Ok(Input::Command(c)) if c["type"] == "prompt" => return Ok(Some(c)),
                Ok(input) => {
                    if self.handle(input)? == Flow::Eof {
                        return Ok(None);
                    }
                }
                Err(_) => return Ok(None),
            }
        }
    }

    fn play(&mut self, prompt: &Value) -> io::Result<Flow> {
        let mut prompt = Some(prompt.clone());
        if !self.trace.lines.iter().any(|l| accepts_prompt(l)) {
            // Recorded in JSON mode: nobody asked by command, so the answer is made up.
            let p = prompt.take().unwrap_or_default();
            self.respond(&p, "prompt", true, self.disposition("started"))?;
        }
        for at in 0..self.trace.lines.len() {
            let line = &self.trace.lines[at];
            if kind(line) == Some("session") {
                continue;
            }
            let flow = self.wait_until_due(at)?;
            if flow != Flow::On {
                return Ok(flow);
            }
            if accepts_prompt(line) {
                if prompt.is_none() && self.options.each_prompt {
                    match self.next_prompt()? {
                        Some(next) => prompt = Some(next),
                        None => return Ok(Flow::Eof),
                    }
                    self.restart_clock(at);
                }
                if let Some(p) = prompt.take() {
                    self.respond(&p, "prompt", true, self.disposition("started"))?;
                    continue;
                }
            }
            self.line(at)?;
            if let Some((id, false)) = dialog(line) {
                self.open_dialog = Some(id);
                let flow = self.wait_for_answer()?;
                if flow != Flow::On {
                    return Ok(flow);
                }
                self.restart_clock(at + 1);
            }
        }
        Ok(Flow::On)
    }

    /// Everything after `at` is as much later as the wait before it took.
    fn restart_clock(&mut self, at: usize) {
        if let Some(ms) = self.trace.times.get(at) {
            self.origin = Instant::now() - self.scaled(*ms);
        }
    }

    fn scaled(&self, ms: f64) -> Duration {
        if self.options.speed > 0.0 && ms > 0.0 {
            Duration::from_secs_f64(ms / 1000.0 / self.options.speed)
        } else {
            Duration::ZERO
        }
    }

    /// Serves commands until line `at` is due.
    fn wait_until_due(&mut self, at: usize) -> io::Result<Flow> {
        let due = match self.trace.times.get(at) {
            Some(ms) if self.options.speed > 0.0 => self.origin + self.scaled(*ms),
            _ => Instant::now(),
        };
        loop {
            let left = due.saturating_duration_since(Instant::now());
            match self.input.recv_timeout(left) {
                Ok(input) => {
                    let flow = self.handle(input)?;
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                // Without a sender there is nobody to wait for either.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Ok(Flow::On)
                }
            }
        }
    }

    /// A dialog waits for its answer for ever; an abort waits for the dialog, as Pi's does.
    fn wait_for_answer(&mut self) -> io::Result<Flow> {
        while self.open_dialog.is_some() {
            let Ok(input) = self.input.recv() else {
                return Ok(Flow::Eof);
            };
            if self.handle(input)? == Flow::Eof {
                return Ok(Flow::Eof);
            }
        }
        Ok(if self.abort_waits.is_some() {
            Flow::Aborted
        } else {
            Flow::On
        })
    }

    fn handle(&mut self, input: Input) -> io::Result<Flow> {
        let c = match input {
            Input::Eof => return Ok(Flow::Eof),
            Input::Garbage => {
                self.say(
                    r#"{"type":"response","command":"parse","success":false,"error":"Failed to parse command"}"#,
                )?;
                return Ok(Flow::On);
            }
            Input::Command(c) => c,
        };
        match c["type"].as_str().unwrap_or("") {
            "abort" if self.running => {
                self.abort_waits = Some(c);
                return Ok(if self.open_dialog.is_some() {
                    Flow::On
                } else {
                    Flow::Aborted
                });
            }
            "abort" => self.respond(&c, "abort", true, String::new())?,
            "extension_ui_response" => {
                if c["id"].as_str() == self.open_dialog.as_deref() {
                    self.open_dialog = None;
                }
            }
            "get_state" => {
                let data = format!(
                    r#","data":{{"isStreaming":{},"isCompacting":false,"sessionId":"played","messageCount":0,"pendingMessageCount":0}}"#,
                    self.running
                );
                self.respond(&c, "get_state", true, data)?;
            }
            "prompt" if c["streamingBehavior"].is_null() => self.respond(
                &c,
                "prompt",
                false,
                r#","error":"Agent is already processing. Specify streamingBehavior ('steer' or 'followUp') to queue the message.""#.into(),
            )?,
            word @ ("prompt" | "steer" | "follow_up") => {
                let text = &c["message"];
                self.say(&if word == "follow_up" {
                    format!(r#"{{"type":"queue_update","steering":[],"followUp":[{text}]}}"#)
                } else {
                    format!(r#"{{"type":"queue_update","steering":[{text}],"followUp":[]}}"#)
                })?;
                self.respond(&c, word, true, self.disposition("queued"))?;
            }
            word => {
                let error = Value::from(format!("Unknown command: {word}"));
                self.respond(&c, word, false, format!(r#","error":{error}"#))?;
            }
        }
        Ok(Flow::On)
    }

    /// Newer versions say what became of a message.
    fn disposition(&self, word: &str) -> String {
        if self.trace.settles {
            format!(r#","data":{{"disposition":"{word}"}}"#)
        } else {
            String::new()
        }
    }

    fn respond(&mut self, to: &Value, command: &str, ok: bool, more: String) -> io::Result<()> {
        let id = match &to["id"] {
            Value::Null => String::new(),
            id => format!(r#""id":{id},"#),
        };
        let command = Value::from(command);
        self.say(&format!(
            r#"{{{id}"type":"response","command":{command},"success":{ok}{more}}}"#
        ))
    }

    /// The end of a run as Pi writes it after an abort.
    fn finish_aborted(&mut self) -> io::Result<()> {
        for (id, name) in std::mem::take(&mut self.open_tools) {
            let (id, name) = (Value::from(id), Value::from(name));
            self.say(&format!(
                r#"{{"type":"tool_execution_end","toolCallId":{id},"toolName":{name},"result":{{"content":[{{"type":"text","text":"Command aborted"}}]}},"isError":true}}"#
            ))?;
        }
        let message = r#"{"role":"assistant","content":[],"usage":{"input":0,"output":0,"cacheRead":0,"cacheWrite":0,"totalTokens":0,"cost":{"input":0,"output":0,"cacheRead":0,"cacheWrite":0,"total":0}},"stopReason":"aborted","errorMessage":"Request was aborted"}"#;
        self.say(&format!(r#"{{"type":"message_end","message":{message}}}"#))?;
        self.say(&format!(
            r#"{{"type":"turn_end","message":{message},"toolResults":[]}}"#
        ))?;
        if self.trace.settles {
            self.say(r#"{"type":"agent_end","messages":[],"willRetry":false}"#)?;
            self.say(r#"{"type":"agent_settled","aborted":true}"#)?;
        } else {
            self.say(r#"{"type":"agent_end","messages":[]}"#)?;
        }
        self.running = false;
        match self.abort_waits.take() {
            Some(abort) => self.respond(&abort, "abort", true, String::new()),
            None => Ok(()),
        }
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Writes a recorded line and remembers what an abort would have to close.
    fn line(&mut self, at: usize) -> io::Result<()> {
        let line = &self.trace.lines[at];
        self.out.write_all(line)?;
        self.out.flush()?;
        match kind(line) {
            Some("agent_start") => self.running = true,
            Some("agent_settled") => self.running = false,
            Some("agent_end") if !self.trace.settles => self.running = false,
            Some("tool_execution_start" | "tool_execution_end") => self.note_tool(line),
            _ => {}
        }
        Ok(())
    }

    fn note_tool(&mut self, line: &[u8]) {
        let Ok(v) = serde_json::from_slice::<Value>(line) else {
            return;
        };
        let text = |key: &str| v[key].as_str().unwrap_or("").to_owned();
        if v["type"] == "tool_execution_start" {
            self.open_tools.insert(text("toolCallId"), text("toolName"));
        } else {
            self.open_tools.remove(&text("toolCallId"));
        }
    }
}

#[cfg(test)]
mod tests;
