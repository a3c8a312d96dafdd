//! How long it takes from the request to the agent's first instruction, and how many runs a second
//! go through, each beside a plain fork and exec of the same program.
//!
//! Requests are answered when they are durable (synced to the disk). The agent stamps the monotonic
//! clock as its first act. The floor is the same program started by `std::process::Command`, the
//! two in turns.
//!
//! Usage: bench-start [STARTS [RUNS]]

use colibri_tests::client::Client;
use colibri_tests::measure::{conditions, monotonic_ns, row, table, Values};
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::wait::LONG;
use serde_json::{json, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Bench {
    suite: Suite,
    agent: PathBuf,
    stamps: PathBuf,
}

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse().ok());
    let mut number = |default: usize| args.next().flatten().unwrap_or(default);
    let (starts, runs) = (number(100), number(500));
    println!("{}", conditions());
    let bench = Bench::new();
    latency(&bench, starts.max(10));
    for at_once in [1, 8, runs] {
        throughput(&bench, runs, at_once);
    }
}

impl Bench {
    fn new() -> Bench {
        let scratch = Scratch::new();
        let agent = scratch.copy(&program("colibri-stamp"));
        let stamps = scratch.path().join("stamps");
        File::create(&stamps)
            .and_then(|_| fs::set_permissions(&stamps, fs::Permissions::from_mode(0o666)))
            .expect("a file for the stamps");
        let words = ["--stamp", &stamps.display().to_string()].map(str::to_owned);
        let mut command = vec![agent.display().to_string()];
        command.extend(words);
        let setup = Setup {
            profiles: vec![Profile::new("stamp", "json", command)],
            limits: "runs = 2000\nrequests_per_second = 100000".into(),
            ..Setup::default()
        };
        Bench {
            suite: Suite::start_in(scratch, setup),
            agent,
            stamps,
        }
    }

    /// The floor: fork, exec and wait.
    fn plain(&self) {
        let status = Command::new(&self.agent)
            .arg("--stamp")
            .arg(&self.stamps)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("the agent starts").success());
    }
}

/// The one stamp since the last look.
fn take_stamp(file: &Path) -> u64 {
    let bytes = fs::read(file).expect("the stamps");
    File::options()
        .write(true)
        .truncate(true)
        .open(file)
        .expect("the stamps");
    u64::from_le_bytes(bytes.try_into().expect("one stamp"))
}

fn latency(bench: &Bench, starts: usize) {
    let mut client = bench.suite.client();
    client.subscribe(None);
    let (mut plain, mut exec, mut reply) = <(Values, Values, Values)>::default();
    let mut seen: BTreeMap<String, Values> = BTreeMap::new();
    // The first of each warms the caches and is not counted.
    for n in 0..=starts {
        let begin = monotonic_ns();
        bench.plain();
        let stamp = take_stamp(&bench.stamps);
        if n > 0 {
            plain.between(begin, stamp);
        }
        let begin = monotonic_ns();
        let run = client.spawn_agent("stamp", "x");
        let answered = monotonic_ns();
        let mut last = String::new();
        while last != "ended" {
            let mut line = client.event(LONG).expect("an event");
            let now = monotonic_ns();
            let event = line["event"].take();
            assert_eq!(event["run"], json!(run), "{line}");
            last = kind(&event);
            if last == "ended" {
                assert_eq!(event["state"], "done", "{event}");
            }
            if n > 0 {
                seen.entry(last.clone()).or_default().between(begin, now);
            }
        }
        let stamp = take_stamp(&bench.stamps);
        if n > 0 {
            exec.between(begin, stamp);
            reply.between(begin, answered);
        }
    }
    let mut rows = vec![row([
        "from the request to",
        "median",
        "p99",
        "count",
        "of the floor",
    ])];
    let mut add = |name: &str, values: &Values| {
        let mut cells = vec![name.to_owned()];
        cells.extend(values.cells("ms"));
        cells.push(format!("{:.1} x", values.median() / plain.median()));
        rows.push(cells);
    };
    add("exec, fork and exec alone (floor)", &plain);
    add("the durable answer", &reply);
    add("the agent's exec", &exec);
    let mut stages: Vec<_> = seen.iter().collect();
    stages.sort_by(|a, b| a.1.median().total_cmp(&b.1.median()));
    for (kind, values) in stages {
        add(&format!("a subscriber's sight of \"{kind}\""), values);
    }
    print!("\n{}", table(&rows));
}

fn kind(event: &Value) -> String {
    event["kind"].as_str().unwrap_or_default().to_owned()
}

/// So many runs, at most `at_once` of them alive, from the first request to the last end.
fn throughput(bench: &Bench, runs: usize, at_once: usize) {
    let begin = monotonic_ns();
    for _ in 0..runs {
        bench.plain();
    }
    let floor = seconds_since(begin);
    let mut client = bench.suite.client();
    let mut watch = bench.suite.client();
    watch.subscribe(None);
    let begin = monotonic_ns();
    let ended = through(&mut client, &mut watch, runs, at_once);
    let ours = seconds_since(begin);
    assert_eq!(ended, runs, "runs that ended");
    let stamps = fs::metadata(&bench.stamps).expect("the stamps").len();
    assert_eq!(
        stamps,
        16 * runs as u64,
        "a run without its agent, or with two"
    );
    File::create(&bench.stamps).expect("the stamps");
    let rate = |seconds: f64| runs as f64 / seconds;
    let rows = [
        row([
            &format!("{runs} instant agents, {at_once} at once"),
            "runs/s",
            "time",
            "of the floor",
        ]),
        row([
            "fork, exec and wait, one after the other (floor)",
            &format!("{:.0}", rate(floor)),
            &format!("{floor:.2} s"),
            "1.000",
        ]),
        row([
            "accepted, run, proven dead, recorded",
            &format!("{:.0}", rate(ours)),
            &format!("{ours:.2} s"),
            &format!("{:.3}", floor / ours),
        ]),
    ];
    print!("\n{}", table(&rows));
}

fn seconds_since(begin: u64) -> f64 {
    (monotonic_ns() - begin) as f64 / 1e9
}

/// Returns how many different runs ended well.
fn through(client: &mut Client, watch: &mut Client, runs: usize, at_once: usize) -> usize {
    let request = "{\"cmd\":\"spawn-agent\",\"profile\":\"stamp\",\"prompt\":\"x\"}\n";
    let mut ended = BTreeSet::new();
    let mut sent = 0;
    while ended.len() < runs {
        let room = (runs - sent).min(at_once + ended.len() - sent);
        client
            .send_raw(request.repeat(room).as_bytes())
            .expect("the suite listens");
        sent += room;
        for _ in 0..room {
            let reply = client.value(LONG).expect("a reply");
            assert_eq!(reply["ok"], true, "{reply}");
        }
        // One end makes room for one more.
        let line = watch.event(LONG).expect("an event");
        assert!(line.get("gap").is_none(), "{line}");
        let event = &line["event"];
        if event["kind"] == "ended" {
            assert_eq!(event["state"], "done", "{event}");
            let first = ended.insert(event["run"].as_u64());
            assert!(first, "ended twice: {event}");
        }
    }
    ended.len()
}
