//! The board beside other queues of one host, each through its own command, as an operator or a script would:
//! tasks added one by one to a queue that is held, the queue looked at, then released and worked off.
//!
//! Colibri stores each task durably before its command ends; task-spooler keeps its list in memory, pueue writes it
//! to a file without waiting for the disk. A task does nothing: for the others a shell that writes one line, for
//! Colibri an agent's process with a monitor, a container and a journal of its own.
//!
//! Peers are taken from the directory `COLIBRI_PEERS` (see tools/get-peers.sh) or the search path; one that is not
//! there is said to be missing. One that needs more than two minutes to add is stopped there, and task-spooler, which
//! keeps a process for each task that waits, says itself when it is full.
//!
//! Usage: bench-board-peers [TASKS [RUNS]]

use colibri_tests::client::Client;
use colibri_tests::measure::{conditions, monotonic_ns, row, table, Values};
use colibri_tests::peers::{command, find, said};
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest time to add.
const LIMIT_S: f64 = 120.0;
/// How often a full queue is looked at.
const LOOKS: usize = 20;
/// Longest time to work a queue off.
const DRAIN: Duration = Duration::from_secs(600);

/// A queue that is held until it is released.
trait Queue {
    /// Adds task `n`; whether it was taken.
    fn add(&mut self, n: usize) -> bool;
    /// Prints what is in it.
    fn look(&mut self);
    /// Works it off; returns when all of its tasks are done, each once.
    fn drain(&mut self, tasks: usize);
}

/// A queue that works on so many tasks at a time, or `None` when there is no such program.
type Make = fn(usize) -> Option<Box<dyn Queue>>;

const QUEUES: [(&str, Make); 3] = [
    ("Colibri", Board::make),
    ("task-spooler", Spooler::make),
    ("pueue", Pueue::make),
];

fn main() {
    let mut numbers = std::env::args().skip(1).map(|a| a.parse().ok());
    let mut number = |default: usize| numbers.next().flatten().unwrap_or(default);
    let (tasks, runs) = (number(10_000), number(500));
    println!("{}", conditions());
    let (mut adds, mut looks, mut drains) = (Vec::new(), Vec::new(), Vec::new());
    for (name, make) in QUEUES {
        eprintln!("{name} …");
        let Some(mut queue) = make(1) else {
            println!("{name}: missing");
            continue;
        };
        let added = fill(queue.as_mut(), tasks);
        let mut values = Values::default();
        for _ in 0..LOOKS {
            let start = monotonic_ns();
            queue.look();
            values.since(start);
        }
        drop(queue);
        adds.push((name, added));
        looks.push((name, values));
        let times = [2, 16].map(|wide| {
            let mut queue = make(wide).expect("it was there");
            assert!((0..runs).all(|n| queue.add(n)), "{name} is full");
            let start = monotonic_ns();
            queue.drain(runs);
            seconds(start)
        });
        drains.push((name, times));
    }
    show_adds(&adds);
    show_looks(&looks);
    show_drains(&drains, runs);
}

fn seconds(from_ns: u64) -> f64 {
    monotonic_ns().saturating_sub(from_ns) as f64 / 1e9
}

/// What adding took.
struct Added {
    /// Seconds of each whole block.
    blocks: Vec<f64>,
    /// Tasks of a block.
    block: usize,
    /// Tasks that were taken, if then no more were.
    full: Option<usize>,
}

impl Added {
    fn rate(&self) -> f64 {
        (self.block * self.blocks.len()) as f64 / self.blocks.iter().sum::<f64>()
    }
}

/// Adds the tasks in ten blocks, as many as are taken in time.
fn fill(queue: &mut dyn Queue, tasks: usize) -> Added {
    let block = (tasks / 10).max(1);
    let (mut blocks, from) = (Vec::new(), monotonic_ns());
    let mut full = None;
    while full.is_none() && blocks.len() < 10 && seconds(from) < LIMIT_S {
        let start = monotonic_ns();
        let before = blocks.len() * block;
        full = (before..before + block).find(|n| !queue.add(*n));
        if full.is_none() {
            blocks.push(seconds(start));
        }
    }
    Added {
        blocks,
        block,
        full,
    }
}

fn show_adds(adds: &[(&str, Added)]) {
    let head = [
        "add, whole commands",
        "tasks",
        "rate",
        "growth",
        "of Colibri's rate",
    ];
    let mut rows = vec![row(head)];
    let own = adds.first().map_or(1.0, |(_, a)| a.rate());
    for (name, a) in adds {
        let tasks = match a.full {
            Some(n) => format!("full at {n}"),
            None => (a.block * a.blocks.len()).to_string(),
        };
        let growth = match (a.blocks.first(), a.blocks.last()) {
            (Some(first), Some(last)) if a.blocks.len() > 1 => format!("{:.2}", last / first),
            _ => "-".into(),
        };
        // One that was full before the first block was has no rate.
        let shown = |text: String| {
            if a.blocks.is_empty() {
                "-".into()
            } else {
                text
            }
        };
        rows.push(row([
            (*name).to_owned(),
            tasks,
            shown(format!("{:.0}/s", a.rate())),
            growth,
            shown(format!("{:.2}", a.rate() / own)),
        ]));
    }
    print!("\n{}", table(&rows));
}

fn show_looks(looks: &[(&str, Values)]) {
    let mut rows = vec![row(["look, whole commands", "median", "p99", "count"])];
    for (name, values) in looks {
        let mut cells = vec![(*name).to_owned()];
        cells.extend(values.cells("ms"));
        rows.push(cells);
    }
    print!("\n{}", table(&rows));
}

fn show_drains(drains: &[(&str, [f64; 2])], runs: usize) {
    let head = format!("{runs} tasks, each done once");
    let mut rows = vec![row([&head, "2 at a time", "16 at a time"])];
    for (name, times) in drains {
        let mut cells = vec![(*name).to_owned()];
        cells.extend(times.map(|s| format!("{:.0}/s", runs as f64 / s)));
        rows.push(cells);
    }
    print!("\n{}", table(&rows));
}

/// Runs a command quietly; whether it succeeded.
fn ran(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|s| s.success())
}

/// Runs a command that must succeed.
fn must_run(command: &mut Command) {
    assert!(ran(command), "{command:?}");
}

/// Colibri with one agent that does nothing.
struct Board {
    suite: Suite,
    client: Client,
}

impl Board {
    fn make(wide: usize) -> Option<Box<dyn Queue>> {
        let scratch = Scratch::new();
        let agent = scratch.copy(&program("colibri-stamp"));
        let words = ["--beat", "1000", "0"].map(str::to_owned);
        let command = [vec![agent.display().to_string()], words.to_vec()].concat();
        let suite = Suite::start_in(
            scratch,
            Setup {
                profiles: vec![Profile::new("noop", "json", command)],
                limits: "requests_per_second = 100000\n".into(),
                more: format!("[agent.noop]\nruns = {wide}\n"),
                ..Setup::default()
            },
        );
        let mut client = suite.client();
        client.call(json!({"cmd": "pause-agent", "agent_id": "noop"}));
        Some(Box::new(Board { suite, client }))
    }
}

impl Queue for Board {
    fn add(&mut self, n: usize) -> bool {
        self.suite
            .ctl(&["task", "add", &n.to_string()])
            .status
            .success()
    }

    fn look(&mut self) {
        let _ = self.suite.ctl_ok(&["board"]);
    }

    fn drain(&mut self, tasks: usize) {
        self.client.subscribe(None);
        self.client
            .call(json!({"cmd": "resume-agent", "agent_id": "noop"}));
        let mut done = BTreeSet::new();
        while done.len() < tasks {
            let line = self.client.event(LONG).expect("an event");
            let event = &line["event"];
            if event["kind"] == "task" && event["status"] == "done" {
                let task = event["task"].as_u64().expect("a task");
                assert!(done.insert(task), "task {task} twice");
            }
            assert_ne!(event["status"], "failed", "{line}");
        }
    }
}

/// The others' task as a script: it writes its number down.
fn script(dir: &Path) -> PathBuf {
    let path = dir.join("task");
    let text = format!("#!/bin/sh\necho \"$1\" >>{}/done\n", dir.display());
    fs::write(&path, text).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

/// Waits until each task has written its number once.
fn wait_done(dir: &Path, tasks: usize) {
    let text = must("all tasks", DRAIN, || {
        let text = fs::read_to_string(dir.join("done")).unwrap_or_default();
        (text.lines().count() >= tasks).then_some(text)
    });
    let all: BTreeSet<&str> = text.lines().collect();
    assert_eq!(
        (all.len(), text.lines().count()),
        (tasks, tasks),
        "each once"
    );
}

/// task-spooler: its first client starts its server.
struct Spooler {
    scratch: Scratch,
    program: PathBuf,
    script: PathBuf,
    wide: usize,
}

impl Spooler {
    fn make(wide: usize) -> Option<Box<dyn Queue>> {
        let program = find("tsp")?;
        let scratch = Scratch::new();
        let script = script(scratch.path());
        let spooler = Spooler {
            scratch,
            program,
            script,
            wide,
        };
        // It cannot be held, but its one slot can be taken.
        let go = spooler.scratch.path().join("go");
        let wait = format!("until [ -e {} ]; do sleep 0.01; done", go.display());
        must_run(spooler.command().args(["-n", "sh", "-c", &wait]));
        Some(Box::new(spooler))
    }

    fn command(&self) -> Command {
        let mut command = command(&self.program);
        command
            .env("TS_SOCKET", self.scratch.path().join("tsp"))
            .env("TS_MAXFINISHED", "100000")
            .env("TMPDIR", self.scratch.path());
        command
    }
}

impl Queue for Spooler {
    fn add(&mut self, n: usize) -> bool {
        ran(self
            .command()
            .args(["-B", "-n"])
            .arg(&self.script)
            .arg(n.to_string()))
    }

    fn look(&mut self) {
        must_run(&mut self.command());
    }

    fn drain(&mut self, tasks: usize) {
        must_run(self.command().args(["-S", &self.wide.to_string()]));
        fs::write(self.scratch.path().join("go"), "").expect("written");
        wait_done(self.scratch.path(), tasks);
    }
}

impl Drop for Spooler {
    fn drop(&mut self) {
        // Its server, and with it the process of each task that waits.
        let _ = said(self.command().arg("-K"));
        let _ = fs::write(self.scratch.path().join("go"), "");
    }
}

/// pueue: a daemon, and a client that adds.
struct Pueue {
    scratch: Scratch,
    client: PathBuf,
    script: PathBuf,
    daemon: Child,
}

impl Pueue {
    fn make(wide: usize) -> Option<Box<dyn Queue>> {
        let (daemon, client) = (find("pueued")?, find("pueue")?);
        let scratch = Scratch::new();
        let dir = scratch.path();
        let config = format!(
            "client: {{}}\ndaemon: {{}}\nshared:\n  pueue_directory: {0}/pueue\n  \
             runtime_directory: {0}\n  use_unix_socket: true\n  unix_socket_path: {0}/pueue.socket\n",
            dir.display()
        );
        fs::create_dir_all(dir.join("pueue")).expect("a directory");
        fs::write(dir.join("pueue.yml"), config).expect("the config");
        let daemon = command(&daemon)
            .arg("-c")
            .arg(dir.join("pueue.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pueued");
        let socket = dir.join("pueue.socket");
        must("pueued", LONG, || socket.exists().then_some(()));
        let script = script(dir);
        let pueue = Pueue {
            scratch,
            client,
            script,
            daemon,
        };
        must_run(pueue.command().args(["parallel", &wide.to_string()]));
        must_run(pueue.command().arg("pause"));
        Some(Box::new(pueue))
    }

    fn command(&self) -> Command {
        let mut command = command(&self.client);
        command.arg("-c").arg(self.scratch.path().join("pueue.yml"));
        command
    }
}

impl Queue for Pueue {
    fn add(&mut self, n: usize) -> bool {
        let mut command = self.command();
        command.args(["add", "--escape", "--"]).arg(&self.script);
        ran(command.arg(n.to_string()))
    }

    fn look(&mut self) {
        must_run(self.command().arg("status"));
    }

    fn drain(&mut self, tasks: usize) {
        must_run(self.command().arg("start"));
        wait_done(self.scratch.path(), tasks);
    }
}

impl Drop for Pueue {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
