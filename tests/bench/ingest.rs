//! How fast Pi's stream is read: our parser and fold, beside a search for line feeds (the floor),
//! `serde_json` on every line, and `jq -c .type`. All in one run, in turns, median of the turns.
//!
//! The streams have the shapes of the recorded ones, scaled up: one answer of 50 000 characters that
//! arrives four at a time (lines up to 100 kB in the cumulative dialect), and several such runs with
//! tools in the delta dialect. They are cut into pieces at random places (seeded).
//!
//! Usage: bench-ingest [MEGABYTES [TURNS]]

use libcolibri::pi::{Fold, Input, Options, Parser};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A small generator of pseudo-random numbers (xorshift64*), so that every run cuts alike.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

const NO_USAGE: &str = r#"{"input":0,"output":0,"cacheRead":0,"cacheWrite":0,"totalTokens":0,"cost":{"input":0,"output":0,"cacheRead":0,"cacheWrite":0,"total":0}}"#;

fn message(text: &str, stop: &str) -> String {
    format!(
        r#"{{"role":"assistant","content":[{{"type":"text","text":"{text}"}}],"api":"openai-completions","provider":"fake","model":"long50","usage":{NO_USAGE},"stopReason":"{stop}","timestamp":1795334462332,"responseId":"chatcmpl-fake"}}"#
    )
}

fn begin(out: &mut String) {
    out.push_str("{\"type\":\"agent_start\"}\n{\"type\":\"turn_start\"}\n");
    let empty = message("", "stop");
    let _ = writeln!(out, r#"{{"type":"message_start","message":{empty}}}"#);
}

fn end(out: &mut String, text: &str) {
    let whole = message(text, "stop");
    let _ = writeln!(out, r#"{{"type":"message_end","message":{whole}}}"#);
    let _ = writeln!(
        out,
        r#"{{"type":"turn_end","message":{whole},"toolResults":[]}}"#
    );
    let _ = writeln!(
        out,
        r#"{{"type":"agent_end","messages":[{whole}],"willRetry":false}}"#
    );
    out.push_str("{\"type\":\"agent_settled\",\"aborted\":false}\n");
}

/// Pi up to 0.83: every update repeats the text so far, twice.
fn cumulative(bytes: usize) -> String {
    let mut out = String::with_capacity(bytes + (1 << 20));
    while out.len() < bytes {
        begin(&mut out);
        let mut text = String::new();
        // Every 16th of the recorded updates, so that all lengths occur in a stream of this size.
        while text.len() < 50_000 && out.len() < bytes {
            text.push_str("the quick brown fox jumps over the lazy dog. \\\"quoted\\\"\\n 0123456");
            let partial = message(&text, "stop");
            let _ = writeln!(
                out,
                r#"{{"type":"message_update","assistantMessageEvent":{{"type":"text_delta","contentIndex":0,"delta":"the ","partial":{partial}}},"message":{partial}}}"#
            );
        }
        end(&mut out, &text);
    }
    out
}

/// Pi from 0.84: every update has four more characters; tools in between.
fn delta(bytes: usize) -> String {
    let mut out = String::with_capacity(bytes + (1 << 20));
    let mut call = 0;
    while out.len() < bytes {
        begin(&mut out);
        let mut text = String::new();
        while text.len() < 50_000 && out.len() < bytes {
            text.push_str("the ");
            let _ = writeln!(
                out,
                r#"{{"type":"message_update","usage":{NO_USAGE},"assistantMessageEvent":{{"type":"text_delta","contentIndex":0,"delta":"the "}}}}"#
            );
        }
        call += 1;
        let head = format!(r#""toolCallId":"call_{call}","toolName":"bash""#);
        let _ = writeln!(
            out,
            r#"{{"type":"tool_execution_start",{head},"args":{{"command":"ls"}}}}"#
        );
        let result = "some output\\n".repeat(1000);
        let _ = writeln!(
            out,
            r#"{{"type":"tool_execution_end",{head},"result":{{"content":[{{"type":"text","text":"{result}"}}]}},"isError":false,"durationMs":29}}"#
        );
        end(&mut out, &text);
    }
    out
}

/// Pieces as reads from a pipe give them: 1 byte to 64 KiB.
fn cuts(len: usize, seed: u64) -> Vec<usize> {
    let mut rng = Rng(seed);
    let mut at = 0;
    let mut ends = Vec::new();
    while at < len {
        at = len.min(at + 1 + rng.below(64 * 1024));
        ends.push(at);
    }
    ends
}

fn pieces<'a>(stream: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> + 'a {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends).map(|(from, &to)| &stream[from..to])
}

fn ours(stream: &[u8], ends: &[usize]) -> u64 {
    let mut parser = Parser::new();
    let mut fold = Fold::new(Options::default());
    let mut records = Vec::new();
    for piece in pieces(stream, ends) {
        parser.feed(piece, &mut |event| {
            fold.step(Input::Event(event), 0, &mut records);
        });
        records.clear();
    }
    assert_eq!(parser.malformed(), 0);
    parser.lines()
}

/// Only finds the ends of lines.
fn floor(stream: &[u8], ends: &[usize]) -> u64 {
    let lines = |piece| memchr::memchr_iter(b'\n', piece).count() as u64;
    pieces(stream, ends).map(lines).sum()
}

/// What one writes first: collect a line, parse it, look at its type.
fn serde(stream: &[u8], ends: &[usize]) -> u64 {
    let mut line = Vec::new();
    let mut lines = 0;
    for piece in pieces(stream, ends) {
        for part in piece.split_inclusive(|&b| b == b'\n') {
            line.extend_from_slice(part);
            if line.ends_with(b"\n") {
                let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
                lines += u64::from(value["type"].is_string());
                line.clear();
            }
        }
    }
    lines
}

fn jq(stream: &[u8], ends: &[usize]) -> Option<u64> {
    let mut child = Command::new("jq")
        .args(["-c", ".type"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    for piece in pieces(stream, ends) {
        stdin.write_all(piece).ok()?;
    }
    drop(stdin);
    child.wait().ok()?.success().then_some(0)
}

/// A way to read the stream; `None` = it is not installed.
type Reader = fn(&[u8], &[usize]) -> Option<u64>;

const READERS: [(&str, Reader); 4] = [
    ("colibri parser+fold", |s, e| Some(ours(s, e))),
    ("memchr lines (floor)", |s, e| Some(floor(s, e))),
    ("serde_json every line", |s, e| Some(serde(s, e))),
    ("jq -c .type", jq),
];

fn bench(name: &str, stream: &[u8], turns: usize) {
    let ends = cuts(stream.len(), 0x5eed);
    let mut seconds: [Vec<f64>; READERS.len()] = Default::default();
    let mut lines = Vec::new();
    for _ in 0..turns {
        for (reader, times) in READERS.iter().zip(&mut seconds) {
            let begin = Instant::now();
            if let Some(n) = reader.1(stream, &ends) {
                times.push(begin.elapsed().as_secs_f64());
                lines.push(n);
            }
        }
    }
    lines.retain(|&n| n != 0);
    lines.dedup();
    assert_eq!(
        lines.len(),
        1,
        "the readers disagree about the number of lines"
    );
    let mib = stream.len() as f64 / f64::from(1 << 20);
    println!(
        "{name}: {mib:.0} MiB, {} lines, median of {turns}",
        lines[0]
    );
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    };
    let own = median(&mut seconds[0]);
    for ((name, _), times) in READERS.iter().zip(&mut seconds) {
        match (own, median(times)) {
            (Some(own), Some(time)) => {
                let speed = mib / time;
                println!(
                    "  {name:<22} {speed:>8.0} MiB/s   ours is {:>7.2} x",
                    time / own
                );
            }
            _ => println!("  {name:<22}  missing"),
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default| args.next().and_then(|a| a.parse().ok()).unwrap_or(default);
    let (megabytes, turns): (usize, usize) = (number(64), number(5));
    bench("cumulative", cumulative(megabytes << 20).as_bytes(), turns);
    bench("delta", delta(megabytes << 20).as_bytes(), turns);
}
