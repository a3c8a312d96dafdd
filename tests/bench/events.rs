//! From the agent's write of a line that changes its state to a subscriber's sight of the event.
//!
//! The agent writes the monotonic clock into each line, as the name of a tool, so that it comes
//! through. The floor is the same agent behind the least that could lie between: a pipe to a
//! process that passes on what it reads through a Unix socket. The two run in turns.
//!
//! Usage: bench-events [ROUNDS [LINES [HZ]]]

use colibri_tests::client::Client;
use colibri_tests::measure::{conditions, monotonic_ns, row, table, Values};
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::wait::LONG;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

fn main() {
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_some_and(|a| a == "--relay") {
        return relay();
    }
    let mut numbers = args.map(|a| a.parse().ok());
    let mut number = |default: usize| numbers.next().flatten().unwrap_or(default);
    let (rounds, lines, hz) = (number(10), number(300), number(300));
    println!("{}", conditions());
    println!("rate    {lines} lines at {hz} a second, {rounds} rounds of each in turns");

    let scratch = Scratch::new();
    let agent = scratch.copy(&program("colibri-stamp"));
    let words = ["--beat".to_owned(), hz.to_string(), lines.to_string()];
    let mut command = vec![agent.display().to_string()];
    command.extend(words.clone());
    let setup = Setup {
        profiles: vec![Profile::new("beat", "json", command)],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let (mut ours, mut floor) = <(Sums, Sums)>::default();
    for _ in 0..rounds {
        floor.add(plain(&agent, &words, lines));
        ours.add(colibri(&mut client, lines));
    }
    let head = [
        "agent's write to reader",
        "median",
        "p99",
        "count",
        "medians of the rounds",
        "of the floor",
    ];
    let mut rows = vec![row(head)];
    for (name, sums) in [
        ("pipe and socket (floor)", &floor),
        ("colibri's subscriber", &ours),
    ] {
        let mut cells = vec![name.to_owned()];
        cells.extend(sums.all.cells("ms"));
        let spread = |q| sums.medians.quantile(q);
        cells.push(format!("{:.3} to {:.3} ms", spread(0.0), spread(1.0)));
        cells.push(format!("{:.1} x", sums.all.median() / floor.all.median()));
        rows.push(cells);
    }
    print!("\n{}", table(&rows));
}

/// Everything measured of one kind.
#[derive(Default)]
struct Sums {
    all: Values,
    medians: Values,
}

impl Sums {
    fn add(&mut self, round: Vec<f64>) {
        let mut values = Values::default();
        for value in round {
            values.push(value);
            self.all.push(value);
        }
        self.medians.push(values.median());
    }
}

/// Milliseconds from a stamp, which is the text of a JSON string.
fn age(stamp: &Value, now: u64) -> Option<f64> {
    let stamp: u64 = stamp.as_str()?.parse().ok()?;
    Some(now.saturating_sub(stamp) as f64 / 1e6)
}

/// One run; every line must be seen, in the order of the writes.
fn colibri(client: &mut Client, lines: usize) -> Vec<f64> {
    let run = client.spawn_agent("beat", "x");
    let (mut ages, mut last) = (Vec::new(), String::new());
    loop {
        // Events that came with the reply to the request are not timed: there the agent is not
        // running yet.
        let line = client.event(LONG).expect("an event");
        let now = monotonic_ns();
        let event = &line["event"];
        assert_eq!(event["run"], run, "{line}");
        match event["kind"].as_str() {
            Some("tool-start" | "tool-end") => {
                let name = event["name"].as_str().unwrap_or_default().to_owned();
                assert!(name > last, "out of order: {line}");
                ages.extend(age(&event["name"], now));
                last = name;
            }
            Some("ended") => break,
            _ => {}
        }
    }
    assert_eq!(ages.len(), lines, "events lost");
    ages
}

/// The same agent through a pipe, a relay and a socket.
fn plain(agent: &Path, words: &[String], lines: usize) -> Vec<f64> {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    let me = std::env::current_exe().expect("a program has a path");
    let mut child = Command::new(agent)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the agent starts");
    let pipe = child.stdout.take().expect("a pipe");
    let mut relay = Command::new(me)
        .arg("--relay")
        .stdin(pipe)
        .stdout(OwnedFd::from(far))
        .spawn()
        .expect("the relay starts");
    let mut ages = Vec::new();
    let mut near = BufReader::new(near);
    let mut line = Vec::new();
    while near.read_until(b'\n', &mut line).expect("the socket") > 0 {
        let value: Value = serde_json::from_slice(&line).expect("JSON");
        ages.extend(age(&value["toolName"], monotonic_ns()));
        line.clear();
    }
    assert!(child.wait().is_ok_and(|s| s.success()));
    assert!(relay.wait().is_ok_and(|s| s.success()));
    assert_eq!(ages.len(), lines, "lines lost");
    ages
}

/// From stdin to stdout as it comes.
fn relay() {
    let mut block = vec![0; 65536];
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    loop {
        match from.read(&mut block) {
            Ok(0) => return,
            // Standard output holds lines back until they end, and these have ended.
            Ok(n) => to
                .write_all(&block[..n])
                .and_then(|()| to.flush())
                .expect("a reader"),
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::Interrupted),
        }
    }
}
