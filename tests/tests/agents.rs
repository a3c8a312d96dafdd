//! The agents of the tests, without a suite: what they do must be what the scenarios rely on.

use colibri_tests::agents::{hostile, real, recorded};
use colibri_tests::model::ModelServer;
use colibri_tests::pi::{require_pi, Version};
use colibri_tests::procs::held;
use colibri_tests::suite::{Profile, Scratch};
use colibri_tests::wait::{must, wait_for, LONG};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

/// An agent started by hand in a process group of its own, which is killed in the end.
struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Agent {
    fn start(scratch: &Scratch, profile: &Profile) -> Self {
        let mut child = Command::new(&profile.command[0])
            .args(&profile.command[1..])
            .env_clear()
            .envs(profile.env.iter().cloned())
            .current_dir(scratch.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("stdout is a pipe")),
            child,
        }
    }

    fn send(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{line}").expect("the agent reads");
    }

    fn prompt(&mut self) {
        self.send(r#"{"id":"p1","type":"prompt","message":"go"}"#);
    }

    /// Reads lines up to and including the first that contains `text`.
    fn until(&mut self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut bytes = Vec::new();
            let n = self.stdout.read_until(b'\n', &mut bytes).expect("a pipe");
            assert!(n > 0, "ended before {text}: {lines:?}");
            let line = String::from_utf8_lossy(&bytes).into_owned();
            let found = line.contains(text);
            lines.push(line);
            if found {
                return lines;
            }
        }
    }

    fn rest(&mut self) -> Vec<u8> {
        self.stdin = None;
        let mut all = Vec::new();
        self.stdout.read_to_end(&mut all).expect("a pipe");
        all
    }

    fn end(&mut self) -> ExitStatus {
        let child = &mut self.child;
        must("the agent's end", LONG, || child.try_wait().ok().flatten())
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("fits");
        kill(Pid::from_raw(pid), signal).expect("the agent lives");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fixture(scratch: &Scratch) -> std::path::PathBuf {
    let path = scratch.path().join("t.jsonl");
    std::fs::write(
        &path,
        "{\"type\":\"agent_start\"}\n{\"type\":\"agent_end\",\"messages\":[]}\n",
    )
    .expect("written");
    path
}

#[test]
fn the_player_ends_as_it_is_told() {
    let scratch = Scratch::new();
    let trace = fixture(&scratch);
    let mut crash = Agent::start(
        &scratch,
        &recorded(&scratch, "x", "rpc", &trace, &["--exit", "7"]),
    );
    crash.prompt();
    crash.until("agent_end");
    // Without the end of stdin: a crash does not wait for it.
    assert_eq!(crash.end().code(), Some(7));

    let mut killed = Agent::start(
        &scratch,
        &recorded(&scratch, "x", "rpc", &trace, &["--signal", "9"]),
    );
    killed.prompt();
    assert_eq!(killed.end().signal(), Some(9));

    let mut calm = Agent::start(&scratch, &recorded(&scratch, "x", "rpc", &trace, &[]));
    calm.prompt();
    calm.until("agent_end");
    calm.send(r#"{"id":"g","type":"get_state"}"#);
    calm.until(r#""isStreaming":false"#);
    calm.stdin = None;
    assert_eq!(calm.end().code(), Some(0));

    let mut term = Agent::start(&scratch, &recorded(&scratch, "x", "rpc", &trace, &[]));
    term.prompt();
    term.until("agent_end");
    term.signal(Signal::SIGTERM);
    assert_eq!(term.end().code(), Some(143));
}

#[test]
fn json_mode_waits_for_the_end_of_stdin() {
    let scratch = Scratch::new();
    let trace = fixture(&scratch);
    let mut agent = Agent::start(&scratch, &recorded(&scratch, "x", "json", &trace, &[]));
    agent.send("the prompt");
    assert_eq!(agent.rest(), std::fs::read(&trace).expect("trace"));
    assert_eq!(agent.end().code(), Some(0));
}

#[test]
fn left_processes_hold_their_lock_until_killed() {
    let scratch = Scratch::new();
    let (profile, traces) = hostile(&scratch, "df", "rpc", &["leave"]);
    assert!(!held(&traces.lock));
    let mut agent = Agent::start(&scratch, &profile);
    agent.prompt();
    agent.until("agent_settled");
    agent.stdin = None;
    assert_eq!(agent.end().code(), Some(0));
    let pid = must("the grandchild", LONG, || {
        std::fs::read_to_string(&traces.pids)
            .ok()?
            .trim()
            .parse::<i32>()
            .ok()
    });
    assert!(held(&traces.lock));
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it lives");
    // It is deaf to that, so only the second signal can be the one that ends it.
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it lives");
    must("the lock", LONG, || (!held(&traces.lock)).then_some(()));
}

#[test]
fn a_pipe_is_held_by_a_grandchild() {
    let scratch = Scratch::new();
    let (profile, traces) = hostile(&scratch, "hp", "rpc", &["hold-pipe"]);
    let mut agent = Agent::start(&scratch, &profile);
    agent.prompt();
    agent.until("agent_settled");
    assert_eq!(agent.end().code(), Some(0));
    let pid = must("the grandchild", LONG, || {
        std::fs::read_to_string(&traces.pids)
            .ok()?
            .trim()
            .parse::<i32>()
            .ok()
    });
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it holds the pipe and lives");
    assert!(agent.rest().is_empty());
}

#[test]
fn big_lines_floods_and_reports_have_their_size() {
    let scratch = Scratch::new();
    let (big, _) = hostile(&scratch, "big", "json", &["big-line", "1000000"]);
    let mut agent = Agent::start(&scratch, &big);
    let all = agent.rest();
    let longest = all.split_inclusive(|b| *b == b'\n').map(<[u8]>::len).max();
    assert_eq!(longest, Some(1_000_000));

    let (flood, _) = hostile(&scratch, "flood", "json", &["flood", "1000"]);
    let mut agent = Agent::start(&scratch, &flood);
    let all = String::from_utf8(agent.rest()).expect("text");
    assert_eq!(all.matches("message_update").count(), 1000);

    let (env, traces) = hostile(&scratch, "env", "json", &["env"]);
    let mut agent = Agent::start(&scratch, &env);
    agent.rest();
    let text = std::fs::read_to_string(&traces.report).expect("report");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert!(report["env"]["COLIBRI_HOSTILE_OUT"].is_string(), "{report}");
    assert_eq!(report["uid"], nix::unistd::getuid().as_raw());
    let fds: Vec<_> = report["fds"].as_array().expect("list").iter().collect();
    assert!(fds.len() >= 3, "{report}");
}

#[test]
fn a_fork_storm_moves_and_can_be_ended() {
    let scratch = Scratch::new();
    let (profile, traces) = hostile(&scratch, "storm", "rpc", &["fork-storm", "2"]);
    let mut agent = Agent::start(&scratch, &profile);
    agent.prompt();
    must("twenty generations", LONG, || {
        (traces.started() > 20).then_some(())
    });
    assert!(held(&traces.lock));
    agent.signal(Signal::SIGKILL);
    agent.end();
    assert!(held(&traces.lock), "the chains go on without the agent");
    // The chains end when they cannot start their program any more.
    let program = scratch.path().join("bin/colibri-hostile");
    std::fs::remove_file(program).expect("removed");
    assert!(wait_for(LONG, || (!held(&traces.lock)).then_some(())).is_some());
}

/// One answer, one tool with a question, one abort: enough to know that the server and the
/// extension fit both versions. The scenarios with a suite do the rest.
#[test]
fn the_real_pi_talks_to_the_scripted_model() {
    let Some(found) = require_pi() else { return };
    let server = ModelServer::start().expect("server");
    for version in Version::ALL {
        let scratch = Scratch::new();
        let start = |mode, model| {
            let profile = real(&scratch, &found, &server, version, mode, model);
            Agent::start(&scratch, &profile)
        };
        let mut plain = start("json", "plain");
        plain.send("Say hello");
        let all = String::from_utf8(plain.rest()).expect("text");
        assert!(
            all.contains("This is the scripted model speaking."),
            "{all}"
        );
        assert_eq!(plain.end().code(), Some(0));

        let mut ask = start("rpc", "ask");
        ask.prompt();
        let lines = ask.until("extension_ui_request");
        let question: Value = serde_json::from_str(lines.last().expect("a line")).expect("JSON");
        ask.send(&format!(
            r#"{{"type":"extension_ui_response","id":{},"cancelled":true}}"#,
            question["id"]
        ));
        ask.until("The command was refused.");
        ask.stdin = None;
        assert_eq!(ask.end().code(), Some(0));

        let mut silent = start("rpc", "silent");
        silent.prompt();
        let before = server.seen().len();
        assert!(server.wait_for_requests(before.max(1), LONG));
        silent.until("turn_start");
        silent.send(r#"{"id":"a","type":"abort"}"#);
        let lines = silent.until(r#""command":"abort""#).join("");
        assert_eq!(
            lines.contains(r#"{"type":"agent_settled","aborted":true}"#),
            version.settles(),
            "{lines}"
        );
    }
}
