//! pitchfork: one supervisor, parent of all children and of a process for each that takes its
//! output, so that it can do without the supervisor. A later supervisor adopts what lives.

use super::{child, command, find, said, Made, Peer};
use crate::procs::table;
use crate::wait::{must, LONG};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

struct Pitchfork {
    /// The project: its config is here.
    dir: PathBuf,
    program: PathBuf,
    added: bool,
    top: Option<Child>,
}

/// Writes the config. Its defaults are what keeps children: `orphan_policy` is to adopt them.
///
/// # Errors
/// When it is not installed.
pub fn make(dir: &Path, children: usize) -> Made {
    let program = find("pitchfork").ok_or(("pitchfork", "missing".to_owned()))?;
    let child = child(dir, children);
    let dir = dir.join("pitchfork");
    let mut text = String::new();
    for n in 0..children {
        let _ = write!(
            text,
            "[daemons.p{n}]\nrun = [{:?}, \"{n}\"]\n",
            child.display().to_string()
        );
    }
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("pitchfork.toml"), text).expect("the config");
    Ok(Box::new(Pitchfork {
        dir,
        program,
        added: false,
        top: None,
    }))
}

impl Pitchfork {
    /// Not the caller's supervisor, and none that a question starts or waits for.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = command(&self.program);
        command
            .current_dir(&self.dir)
            .env("PITCHFORK_STATE_DIR", self.dir.join("state"))
            .env("PITCHFORK_CONFIG_DIR", self.dir.join("config"))
            .env("PITCHFORK_SUPERVISOR_AUTO_START", "false")
            .env("PITCHFORK_IPC_CONNECT_ATTEMPTS", "1")
            .env_remove("SUDO_USER")
            .args(words);
        command
    }

    /// The list by number; empty when the supervisor does not answer.
    fn list(&self) -> BTreeMap<usize, Value> {
        let text = said(&mut self.command(&["list", "--json"]));
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        let number = |v: &Value| v["name"].as_str()?.strip_prefix('p')?.parse().ok();
        rows.into_iter()
            .filter_map(|v| Some((number(&v)?, v)))
            .collect()
    }
}

impl Peer for Pitchfork {
    fn name(&self) -> String {
        let version = said(&mut self.command(&["--version"]));
        version.trim().to_owned()
    }

    fn start(&mut self) {
        let started = self
            .command(&["supervisor", "run"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.top = Some(started.expect("pitchfork"));
        if self.added {
            return;
        }
        self.added = true;
        must("pitchfork", LONG, || {
            let up = self
                .command(&["supervisor", "status"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            up.is_ok_and(|s| s.success()).then_some(())
        });
        let _ = said(&mut self.command(&["start", "--local"]));
    }

    fn kill(&mut self) {
        if let Some(mut top) = self.top.take() {
            let _ = top.kill();
            let _ = top.wait();
        }
    }

    fn managed(&mut self) -> BTreeMap<usize, i32> {
        let runs = |(n, v): (usize, Value)| {
            let pid = i32::try_from(v["pid"].as_i64()?).ok()?;
            (v["status"] == "running").then_some((n, pid))
        };
        self.list().into_iter().filter_map(runs).collect()
    }

    /// Its list comes from a file that it writes every second: what stands there of before does not
    /// count.
    fn answers(&mut self, children: usize) -> bool {
        let processes = table();
        let lives = |pid: &i32| processes.iter().any(|p| p.pid == *pid && p.state != 'Z');
        self.list().len() == children && self.managed().values().all(lives)
    }

    /// It tells one of those that it saw exit: "exit code 7".
    fn exit_status(&mut self, child: usize) -> Option<i32> {
        let row = self.list().remove(&child)?;
        row["error"]
            .as_str()?
            .strip_prefix("exit code ")?
            .parse()
            .ok()
    }

    fn end(&mut self) {
        if let Some(mut top) = self.top.take() {
            let pid = i32::try_from(top.id()).unwrap_or(0);
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            let _ = top.wait();
        }
    }
}
