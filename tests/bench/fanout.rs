//! Events to many subscribers, of which one never reads and one comes back from its cursor every
//! second: what arrives, how fast, and what it costs colibrid.
//!
//! The agents use tools as fast as they can; every tool is four events. Each subscriber that reads
//! must get every number once and in order; a gap would be counted as lost.
//!
//! Usage: bench-fanout [SUBSCRIBERS [TOOLS]]

use colibri_tests::client::Client;
use colibri_tests::measure::{conditions, monotonic_ns, row, table};
use colibri_tests::procs::status_field;
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use serde_json::{json, Value};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Agents that work at the same time.
const AGENTS: u64 = 4;

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse::<u64>().ok());
    let most = numbers.next().unwrap_or(100);
    let tools = numbers.next().unwrap_or(5000);
    println!("{}", conditions());
    println!("work    {AGENTS} agents use {tools} tools each; four events a tool\n");
    let mut rows = vec![row([
        "subscribers that read",
        "events",
        "events/s each",
        "lines/s in all",
        "lost",
        "colibrid's memory",
    ])];
    for readers in [1, 10, most] {
        rows.push(measure(readers, tools));
    }
    print!("{}", table(&rows));
}

fn measure(readers: u64, tools: u64) -> Vec<String> {
    let scratch = Scratch::new();
    let agent = scratch.copy(&program("colibri-scripted"));
    let profile = Profile::new("works", "rpc", vec![agent.display().to_string()]);
    let suite = Suite::start_in(
        scratch,
        Setup {
            profiles: vec![profile],
            limits: "events = 1000000\nclients = 1024\nclients_per_user = 1024".into(),
            ..Setup::default()
        },
    );
    let mut stalled = UnixStream::connect(suite.socket()).expect("connected");
    stalled
        .write_all(b"{\"cmd\":\"subscribe\",\"from\":0}\n")
        .expect("sent");
    let threads: Vec<JoinHandle<u64>> = (0..readers)
        .map(|_| reader(&suite.socket(), AGENTS))
        .collect();
    let returning = returning(&suite.socket(), AGENTS);
    let mut client = suite.client();
    let before = client.call(json!({"cmd": "status"}))["seq"].clone();
    let from = monotonic_ns();
    for _ in 0..AGENTS {
        client.spawn_agent("works", &format!("tool {tools} settle rest"));
    }
    let lost: u64 = threads
        .into_iter()
        .map(|t| t.join().expect("a reader"))
        .sum();
    let seconds = (monotonic_ns() - from) as f64 / 1e9;
    let lost = lost + returning.join().expect("the one that comes back");
    let last = client.call(json!({"cmd": "status"}))["seq"].clone();
    let events = last.as_u64().unwrap_or(0) - before.as_u64().unwrap_or(0);
    let memory = status_field(suite.pid(), "VmHWM").unwrap_or_else(|| "unknown".into());
    // The stalled one is still connected and has cost no more than its buffer.
    let _ = must("an answer beside it", LONG, || {
        Client::connect(&suite.socket())
            .ok()?
            .request(json!({"cmd": "ping"}))
            .ok()
    });
    drop(stalled);
    row([
        readers.to_string(),
        events.to_string(),
        format!("{:.0}", events as f64 / seconds),
        format!("{:.0}", (events * readers) as f64 / seconds),
        lost.to_string(),
        memory,
    ])
}

/// Reads to the end of all runs; how many events were lost. Numbers are looked for as bytes, so
/// that the reading is not what is measured.
#[allow(clippy::disallowed_methods)] // many readers beside the suite, not in a daemon
fn reader(socket: &Path, runs: u64) -> JoinHandle<u64> {
    let mut conn = UnixStream::connect(socket).expect("connected");
    conn.set_read_timeout(Some(LONG)).expect("a deadline");
    conn.write_all(b"{\"cmd\":\"subscribe\",\"from\":0}\n")
        .expect("sent");
    std::thread::spawn(move || {
        let (mut next, mut lost, mut ended) = (1, 0, 0);
        let mut block = vec![0; 256 * 1024];
        let mut line = Vec::new();
        while ended < runs {
            let n = conn.read(&mut block).expect("events");
            assert_ne!(n, 0, "colibrid hung up");
            for piece in block[..n].split_inclusive(|b| *b == b'\n') {
                line.extend_from_slice(piece);
                if line.last() == Some(&b'\n') {
                    if let Some(seq) = seq(&line) {
                        lost += seq - next;
                        next = seq + 1;
                        let kind = b"\"kind\":\"ended\"";
                        ended += u64::from(line.windows(kind.len()).any(|w| w == kind));
                    }
                    line.clear();
                }
            }
        }
        lost
    })
}

/// The number of an event's line.
fn seq(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"event\":{\"seq\":")?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit());
    Some(digits.fold(0, |n, d| n * 10 + u64::from(d - b'0')))
}

/// One that hangs up every second and comes back from its cursor.
#[allow(clippy::disallowed_methods)] // beside the suite, not in a daemon
fn returning(socket: &Path, runs: u64) -> JoinHandle<u64> {
    let socket = socket.to_owned();
    std::thread::spawn(move || {
        let (mut cursor, mut lost, mut ended) = (0, 0, 0);
        while ended < runs {
            let mut client = Client::connect(&socket).expect("connected");
            client.subscribe(Some(cursor));
            let until = Instant::now() + Duration::from_secs(1);
            while ended < runs && Instant::now() < until {
                let Ok(line) = client.event(Duration::from_secs(1)) else {
                    break;
                };
                let event: &Value = &line["event"];
                let Some(seq) = event["seq"].as_u64() else {
                    continue;
                };
                lost += seq - cursor - 1;
                cursor = seq;
                ended += u64::from(event["kind"] == "ended");
            }
        }
        lost
    })
}
