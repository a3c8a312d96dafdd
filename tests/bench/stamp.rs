//! The agent of the benchmarks: it does the least that counts as an agent, and tells the time.
//!
//! `colibri-stamp --stamp FILE`: appends the monotonic clock (8 bytes, little endian, nanoseconds)
//! to FILE as its first act, says that it has worked, and ends.
//! `colibri-stamp --beat HZ COUNT`: so many lines a second, COUNT in all, each of which changes the
//! state and carries the clock as the tool's name.
//! `colibri-stamp --serve`: RPC mode; a prompt that is a number is answered with one line of so
//! many bytes.
//!
//! Other arguments are ignored.

use colibri_tests::measure::monotonic_ns;
use colibri_tests::wait::Stop;
use serde_json::{json, Value};
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

const BEGIN: &str = "{\"type\":\"agent_start\"}\n{\"type\":\"turn_start\"}\n";
const END: &str =
    "{\"type\":\"agent_end\",\"messages\":[],\"willRetry\":false}\n{\"type\":\"agent_settled\",\"aborted\":false}\n";

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |word: &str, n: usize| {
        let at = args.iter().position(|a| a == word)?;
        args.get(at + n)
    };
    if let Some(file) = after("--stamp", 1) {
        let now = monotonic_ns();
        File::options()
            .append(true)
            .open(file)?
            .write_all(&now.to_le_bytes())?;
        return io::stdout().write_all([BEGIN, END].concat().as_bytes());
    }
    let number = |n| after("--beat", n).and_then(|a| a.parse::<u32>().ok());
    match (number(1), number(2)) {
        (Some(hz), Some(count)) => beat(hz, count),
        _ => serve(),
    }
}

/// Tools that begin and end in turns, so that each line changes the phase.
fn beat(hz: u32, count: u32) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(BEGIN.as_bytes())?;
    let never = Stop::default();
    let start = Instant::now();
    for n in 0..count {
        let due = start + Duration::from_secs(1) * n / hz.max(1);
        let _ = never.wait(due.saturating_duration_since(Instant::now()));
        let (word, id) = if n % 2 == 0 {
            ("start", n)
        } else {
            ("end", n - 1)
        };
        // The clock is the last thing before the write.
        let line = format!(
            "{{\"type\":\"tool_execution_{word}\",\"toolCallId\":\"c{id}\",\"toolName\":\"{}\"}}\n",
            monotonic_ns()
        );
        out.write_all(line.as_bytes())?;
        out.flush()?;
    }
    out.write_all(END.as_bytes())
}

fn serve() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let command: Value = serde_json::from_str(&line?)?;
        let reply = json!({"id": command["id"], "type": "response", "command": command["type"], "success": true});
        writeln!(out, "{reply}")?;
        let asked = command["message"].as_str().map(str::parse::<usize>);
        if let Some(Ok(bytes)) = asked {
            out.write_all(BEGIN.as_bytes())?;
            long_line(&mut out, bytes)?;
            out.write_all(END.as_bytes())?;
        }
        out.flush()?;
    }
    Ok(())
}

/// One line, most of it the output of a tool.
fn long_line(out: &mut impl Write, bytes: usize) -> io::Result<()> {
    out.write_all(b"{\"type\":\"tool_execution_end\",\"toolCallId\":\"x\",\"result\":\"")?;
    let block = [b'x'; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let n = left.min(block.len());
        out.write_all(&block[..n])?;
        left -= n;
    }
    out.write_all(b"\"}\n")
}
