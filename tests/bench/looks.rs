//! How long a look takes when there is much to see: the status of ten thousand tasks and a hundred agents,
//! over a connection that is held and as a whole command, beside supervisor (a hundred programs, since it
//! knows no tasks) and pueue (the same tasks; it knows no agents).
//!
//! Colibri's status has the counts, and everything about those that live; `board` and `list-agents` are the
//! looks at both lists. supervisor and pueue send all they have each time. pueue's tasks are put into the
//! file of a daemon that is stopped: it needs longer for each that is added.
//!
//! Peers are taken as in bench-board-peers. A row ends after a minute with what it has.
//!
//! Usage: bench-looks [TASKS [LOOKS]]

use colibri_tests::measure::{conditions, monotonic_ns, row, table, Values};
use colibri_tests::peers::{command, find, supervisord};
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::Signal;
use serde_json::{json, Value};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Agents, and programs of supervisor.
const AGENTS: usize = 100;
/// Longest time for a row.
const ROW_S: f64 = 60.0;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|a| a.parse().ok());
    let mut number = |default: usize| numbers.next().flatten().unwrap_or(default);
    let (tasks, looks) = (number(10_000), number(1000));
    println!("{}", conditions());
    println!("see     {tasks} tasks, {AGENTS} agents or programs\n");
    let mut rows = vec![row(["a look at it", "median", "p99", "count"])];
    colibri(&mut rows, tasks, looks);
    supervisor(&mut rows, looks);
    pueue(&mut rows, tasks, looks);
    print!("{}", table(&rows));
}

/// Looks again and again, and adds the row.
fn measure(rows: &mut Vec<Vec<String>>, name: &str, looks: usize, mut look: impl FnMut()) {
    eprintln!("{name} …");
    look();
    let (mut values, from) = (Values::default(), monotonic_ns());
    for _ in 0..looks {
        let start = monotonic_ns();
        look();
        values.since(start);
        if monotonic_ns().saturating_sub(from) as f64 / 1e9 > ROW_S {
            break;
        }
    }
    let mut cells = vec![name.to_owned()];
    cells.extend(values.cells("ms"));
    rows.push(cells);
}

/// Runs a command that must succeed and say something.
fn run(command: &mut Command) {
    let out = command.stdin(Stdio::null()).output().expect("run");
    assert!(
        out.status.success() && !out.stdout.is_empty(),
        "{command:?}: {out:?}"
    );
}

fn colibri(rows: &mut Vec<Vec<String>>, tasks: usize, looks: usize) {
    let mut more = String::new();
    for n in 0..AGENTS {
        let _ = write!(
            more,
            "[agent.a{n}]\nusers = [\"uid:0\"]\ncapabilities = [\"c{n}\"]\n"
        );
    }
    let suite = Suite::start(Setup {
        limits: "requests_per_second = 100000\n".into(),
        more,
        ..Setup::default()
    });
    let mut client = suite.client();
    for n in 0..tasks {
        let capability = format!("c{}", n % AGENTS);
        let task = json!({"cmd": "create-task", "title": format!("task {n}"),
            "capabilities": [capability]});
        client.call(task);
    }
    for command in ["status", "list-agents"] {
        let name = format!("Colibri, held: {command}");
        measure(rows, &name, looks, || {
            let reply = client.call(json!({ "cmd": command }));
            assert!(reply.is_object());
        });
    }
    for word in ["status", "board"] {
        let name = format!("Colibri, whole command: {word}");
        measure(rows, &name, looks, || {
            assert!(!suite.ctl_ok(&[word]).is_empty());
        });
    }
}

/// A daemon that ends with this.
struct Running {
    daemon: Child,
    scratch: Scratch,
}

impl Running {
    fn start(scratch: Scratch, command: &mut Command, socket: &Path) -> Running {
        let _ = fs::remove_file(socket);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = command.spawn().expect("a daemon");
        must("its socket", LONG, || UnixStream::connect(socket).ok());
        Running { daemon, scratch }
    }

    fn stop(mut self) -> Scratch {
        // With its children.
        colibri_tests::procs::signal(
            i32::try_from(self.daemon.id()).expect("fits"),
            Signal::SIGTERM,
        );
        let _ = self.daemon.wait();
        self.scratch
    }
}

fn supervisor(rows: &mut Vec<Vec<String>>, looks: usize) {
    let (Some(daemon), Some(ctl)) = (find("supervisord"), find("supervisorctl")) else {
        return println!("supervisor: missing");
    };
    let scratch = Scratch::new();
    let sleep = |_| "/bin/sleep 1000".to_owned();
    let config = supervisord::config(scratch.path(), AGENTS, sleep);
    let socket = scratch.path().join("s");
    let running = Running::start(scratch, command(&daemon).arg("-c").arg(&config), &socket);
    let status = || command(&ctl).arg("-c").arg(&config).arg("status").output();
    must("all programs", LONG, || {
        let said = String::from_utf8_lossy(&status().ok()?.stdout).into_owned();
        (said.matches("RUNNING").count() == AGENTS).then_some(())
    });
    let mut held = BufReader::new(UnixStream::connect(&socket).expect("connected"));
    measure(rows, "supervisor, held: getAllProcessInfo", looks, || {
        let length = xml_rpc(&mut held);
        assert!(length > AGENTS * 100, "{length}");
    });
    measure(rows, "supervisor, whole command: status", looks, || {
        run(command(&ctl).arg("-c").arg(&config).arg("status"));
    });
    drop(running.stop());
}

/// One request over a connection that stays; how long the answer's body is.
fn xml_rpc(held: &mut BufReader<UnixStream>) -> usize {
    let body = "<?xml version='1.0'?><methodCall><methodName>supervisor.getAllProcessInfo\
                </methodName><params></params></methodCall>";
    let request = format!(
        "POST /RPC2 HTTP/1.1\r\nHost: l\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    held.get_mut().write_all(request.as_bytes()).expect("sent");
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        assert_ne!(held.read_line(&mut line).expect("a line"), 0, "it hung up");
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(n) = header.strip_prefix("content-length:") {
            length = n.trim().parse().expect("a length");
        }
    }
    let mut answer = vec![0; length];
    held.read_exact(&mut answer).expect("an answer");
    length
}

fn pueue(rows: &mut Vec<Vec<String>>, tasks: usize, looks: usize) {
    let (Some(daemon), Some(client)) = (find("pueued"), find("pueue")) else {
        return println!("pueue: missing");
    };
    let scratch = Scratch::new();
    let dir = scratch.path().to_owned();
    let (config, socket) = (dir.join("pueue.yml"), dir.join("pueue.socket"));
    let text = format!(
        "client: {{}}\ndaemon: {{}}\nshared:\n  pueue_directory: {0}/pueue\n  \
         runtime_directory: {0}\n  use_unix_socket: true\n  unix_socket_path: {0}/pueue.socket\n",
        dir.display()
    );
    fs::create_dir_all(dir.join("pueue")).expect("a directory");
    fs::write(&config, text).expect("the config");
    let start = |scratch| {
        let mut daemon = command(&daemon);
        Running::start(scratch, daemon.arg("-c").arg(&config), &socket)
    };
    let ask = |words: &[&str]| {
        let mut client = command(&client);
        client.arg("-c").arg(&config).args(words);
        client
    };
    let running = start(scratch);
    run(&mut ask(&["pause"]));
    run(&mut ask(&["add", "--", "true"]));
    let scratch = running.stop();
    multiply(&dir.join("pueue/state.json"), tasks);
    let running = start(scratch);
    let mut held = UnixStream::connect(&socket).expect("connected");
    let secret = fs::read(dir.join("pueue/shared_secret")).expect("its secret");
    frame(&mut held, &secret);
    let _version = unframe(&mut held);
    measure(rows, "pueue, held: Status", looks, || {
        // A word as CBOR has it.
        frame(&mut held, b"\x66Status");
        let answer = unframe(&mut held);
        assert!(answer.len() > tasks * 100, "{}", answer.len());
    });
    measure(rows, "pueue, whole command: status", looks, || {
        run(&mut ask(&["status"]));
    });
    drop(running.stop());
}

/// Makes many of the one task in pueue's file.
fn multiply(state: &PathBuf, tasks: usize) {
    let text = fs::read(state).expect("its state");
    let mut state_is: Value = serde_json::from_slice(&text).expect("JSON");
    let all = state_is["tasks"].as_object_mut().expect("tasks");
    let one = all.values().next().expect("a task").clone();
    for n in 0..tasks {
        let mut task = one.clone();
        task["id"] = json!(n);
        all.insert(n.to_string(), task);
    }
    fs::write(state, state_is.to_string()).expect("written");
}

fn frame(stream: &mut UnixStream, payload: &[u8]) {
    let length = (payload.len() as u64).to_be_bytes();
    stream.write_all(&length).expect("sent");
    stream.write_all(payload).expect("sent");
}

fn unframe(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 8];
    stream.read_exact(&mut length).expect("a length");
    let mut payload = vec![0; usize::try_from(u64::from_be_bytes(length)).expect("fits")];
    stream.read_exact(&mut payload).expect("a payload");
    payload
}
