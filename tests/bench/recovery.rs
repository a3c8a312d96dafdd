//! From the start of a suite after a kill -9 of all of it to its first right answer, with runs
//! alive; and from a stop to the proof that a hostile tree is dead.
//!
//! Right means: the status shows every run, connected again and in its state. The kill hits
//! colibrid, colibri-spawnd and colibri-schedd at once, so all three start anew; monitors and agents
//! live on.
//!
//! At last a minute in which nothing may happen: it fails when a process of the suite woke up.
//!
//! Usage: bench-recovery [ROUNDS [RUNS…]]

use colibri_tests::agents::hostile;
use colibri_tests::client::Client;
use colibri_tests::daemon::Parts;
use colibri_tests::measure::{conditions, monotonic_ns, row, table, Values};
use colibri_tests::procs::held;
use colibri_tests::quiet::wake_ups;
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::wait::{must, Stop, LONG};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse::<u64>().ok());
    let rounds = numbers.next().unwrap_or(5);
    let mut sizes: Vec<u64> = numbers.collect();
    if sizes.is_empty() {
        sizes = vec![0, 100, 1000];
    }
    println!("{}", conditions());
    println!("rounds  {rounds} kills for each number of runs\n");
    let mut rows = vec![row([
        "restart, runs alive",
        "median",
        "p99",
        "count",
        "longest start of a run",
    ])];
    for runs in sizes {
        rows.push(restarts(runs, rounds));
    }
    print!("{}", table(&rows));
    let head = [
        "stop, grace 1 s",
        "median",
        "p99",
        "count",
        "processes started",
    ];
    let mut rows = vec![row(head)];
    for words in [
        &["fork-storm", "8"][..],
        &["double-fork"],
        &["ignore-term"],
        &["stopped"],
        &["sleep"],
    ] {
        rows.push(stops(words, rounds));
    }
    print!("\n{}", table(&rows));
    match idle(200) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// A suite with agents that take their task and rest.
fn resting(runs: u64) -> Suite {
    let scratch = Scratch::new();
    let agent = scratch.copy(&program("colibri-scripted"));
    let mut profile = Profile::new("rests", "rpc", vec![agent.display().to_string()]);
    profile.more = "on_settled = \"stay\"\nstop_grace = 1".into();
    Suite::start_in(
        scratch,
        Setup {
            profiles: vec![profile],
            limits: format!("runs = {}", runs.max(1)),
            ..Setup::default()
        },
    )
}

/// How many runs a status shows at rest, with their monitors connected.
fn at_rest(client: &mut Client) -> Option<u64> {
    let reply = client.request(json!({"cmd": "status"})).ok()?;
    let panes = reply["data"]["panes"].as_array()?.iter();
    let rest = |p: &&Value| p["state"] == "done" && p["ended"] == false;
    Some(panes.filter(rest).count() as u64)
}

fn start_all(suite: &Suite, runs: u64) -> f64 {
    let mut client = suite.client();
    let mut longest: f64 = 0.0;
    for n in 0..runs {
        let from = monotonic_ns();
        client.spawn_agent("rests", "settle rest");
        longest = longest.max((monotonic_ns() - from) as f64 / 1e6);
        // The allowance of one connection is for ordinary clients.
        if n % 50 == 49 {
            must("them to be at rest", LONG * 5, || {
                (at_rest(&mut client)? > n).then_some(())
            });
        }
    }
    must("all to be at rest", LONG * 5, || {
        (at_rest(&mut client)? == runs).then_some(())
    });
    longest
}

fn restarts(runs: u64, rounds: u64) -> Vec<String> {
    let mut suite = resting(runs);
    let longest = start_all(&suite, runs);
    let mut times = Values::default();
    for _ in 0..rounds {
        let parts = Parts::below(suite.pid()).expect("three daemons");
        for pid in parts.all() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        suite.wait_end();
        let from = monotonic_ns();
        suite.launch();
        must("the first right answer", LONG, || {
            let mut client = Client::connect(&suite.socket()).ok()?;
            (at_rest(&mut client)? == runs).then_some(())
        });
        times.since(from);
        let audit = suite.client().call(json!({"cmd": "audit"}));
        assert_eq!(audit["disagreements"], json!([]), "{audit}");
    }
    let mut cells = vec![runs.to_string()];
    cells.extend(times.cells("ms"));
    cells.push(format!("{longest:.1} ms"));
    cells
}

fn stops(words: &[&str], rounds: u64) -> Vec<String> {
    let scratch = Scratch::new();
    let (mut profile, traces) = hostile(&scratch, "hostile", "rpc", words);
    profile.more = "stop_grace = 1".into();
    let suite = Suite::start_in(
        scratch,
        Setup {
            profiles: vec![profile],
            ..Setup::default()
        },
    );
    let mut client = suite.client();
    client.subscribe(None);
    let mut times = Values::default();
    for _ in 0..rounds {
        let run = client.spawn_agent("hostile", "go");
        client.wait_state(run, "working");
        // The storm is to be a storm.
        let grown = traces.started() + if words[0] == "fork-storm" { 500 } else { 0 };
        must("the tree", LONG, || {
            (traces.started() >= grown).then_some(())
        });
        let from = monotonic_ns();
        client.call(json!({"cmd": "stop-agent", "run": run}));
        client.wait_ended(run);
        times.since(from);
        assert!(!held(&traces.lock), "something of {words:?} lives");
    }
    let mut cells = vec![words.join(" ")];
    cells.extend(times.cells("ms"));
    cells.push(traces.started().to_string());
    cells
}

/// A minute in which nothing may happen; how often something woke up.
fn idle(runs: u64) -> u64 {
    let suite = resting(runs);
    start_all(&suite, runs);
    let below = suite.processes();
    let ours = below
        .iter()
        .filter(|p| p.title.contains("colibri-") && !p.title.contains("scripted"));
    let pids: Vec<i32> = std::iter::once(suite.pid())
        .chain(ours.map(|p| p.pid))
        .collect();
    let _ = Stop::default().wait(Duration::from_secs(5));
    let before = wake_ups(&pids).expect("counts");
    let _ = Stop::default().wait(Duration::from_secs(60));
    let after = wake_ups(&pids).expect("counts");
    let woken: u64 = before
        .iter()
        .zip(&after)
        .map(|(b, a)| a.switches - b.switches)
        .sum();
    println!(
        "\nidle    {runs} runs at rest, {} processes of the suite: {woken} context switches in 60 s",
        pids.len()
    );
    woken
}
