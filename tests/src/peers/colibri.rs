//! Colibri itself: the suite in the background with its keeper; all of it is killed, keeper too.

use super::{child, Made, Peer};
use crate::client::Client;
use crate::daemon::Daemon;
use crate::suite::{Profile, Scratch, Setup};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::path::Path;

struct Colibri {
    daemon: Daemon,
    children: usize,
    runs: Vec<u64>,
}

/// Prepares a suite with a profile for each child.
///
/// # Errors
/// Never.
pub fn make(dir: &Path, children: usize) -> Made {
    let scratch = Scratch::new();
    let child = child(dir, children);
    // The agents are another user: where they write and look has to be open to them.
    let open = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(dir, open(0o755)).expect("open");
    let started = dir.join("started");
    std::fs::write(&started, "").expect("a file");
    std::fs::set_permissions(&started, open(0o666)).expect("open");
    // Numbers in a namespace are not those outside: the run says which child it is.
    let profiles = (0..children).map(|n| {
        let words = ["/bin/sh".into(), child.display().to_string(), n.to_string()];
        Profile::new(&format!("p{n}"), "json", words.to_vec())
    });
    let setup = Setup {
        profiles: profiles.collect(),
        limits: format!("runs = {children}\nrequests_per_second = 10000"),
        ..Setup::default()
    };
    Ok(Box::new(Colibri {
        daemon: Daemon::prepare(scratch, &setup),
        children,
        runs: Vec::new(),
    }))
}

impl Colibri {
    fn rows(&self) -> Vec<Value> {
        let ask = || {
            let mut client = Client::connect(&self.daemon.socket()).ok()?;
            let list = json!({"cmd": "list-runs", "limit": 1000});
            let reply = client.request(list).ok()?;
            reply["data"]["runs"].as_array().cloned()
        };
        ask().unwrap_or_default()
    }

    fn number(row: &Value) -> Option<usize> {
        row["profile"].as_str()?.strip_prefix('p')?.parse().ok()
    }
}

impl Peer for Colibri {
    fn name(&self) -> String {
        "colibri (all of it killed)".into()
    }

    fn start(&mut self) {
        let ran = self.daemon.launch();
        assert_eq!(ran.code, Some(0), "{}", ran.said);
        if self.runs.is_empty() {
            let mut client = self.daemon.client();
            let spawn = |n| client.spawn_agent(&format!("p{n}"), "go");
            self.runs = (0..self.children).map(spawn).collect();
        }
    }

    fn kill(&mut self) {
        let parts = self.daemon.parts();
        for pid in self.daemon.pid().into_iter().chain(parts.all()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// The agents of runs whose monitors are connected.
    fn managed(&mut self) -> BTreeMap<usize, i32> {
        let Ok(mut client) = Client::connect(&self.daemon.socket()) else {
            return BTreeMap::new();
        };
        let rows = self.rows();
        let mut connected = |row: &Value| {
            let n = Self::number(row)?;
            let explain = json!({"cmd": "explain-run", "run": row["run"]});
            let reply = client.request(explain).ok()?;
            let monitor = &reply["data"]["monitor"];
            let pid = i32::try_from(monitor["pid"].as_i64()?).ok()?;
            (row["ended"] == false && monitor["connected"] == true).then_some((n, pid))
        };
        let monitors: Vec<(usize, i32)> = rows.iter().filter_map(&mut connected).collect();
        // Once for all of them: it takes its time.
        let all = crate::procs::table();
        let below = |(n, monitor): (usize, i32)| {
            let tree = crate::procs::below(&all, monitor);
            // The namespace's init, if there is one, is the agent's parent.
            let agent = tree.iter().find(|p| !p.title.starts_with("colibri-"))?;
            Some((n, agent.pid))
        };
        monitors.into_iter().filter_map(below).collect()
    }

    fn answers(&mut self, children: usize) -> bool {
        let rows = self.rows();
        let left = rows.iter().filter(|r| r["ended"] == true).count();
        rows.len() == children && left == children / 10
    }

    fn exit_status(&mut self, child: usize) -> Option<i32> {
        let row = self
            .rows()
            .into_iter()
            .find(|r| Self::number(r) == Some(child))?;
        let known = row["exit"]["how"] == "code";
        i32::try_from(row["exit"]["value"].as_i64().filter(|_| known)?).ok()
    }

    /// The children wrote down their numbers inside their namespaces.
    fn processes(&mut self, _: &BTreeMap<usize, i32>) -> BTreeMap<usize, i32> {
        self.managed()
    }

    fn end(&mut self) {
        if let Some(keeper) = self.daemon.pid() {
            let _ = kill(Pid::from_raw(keeper), Signal::SIGTERM);
            let _ = crate::procs::gone(keeper, crate::wait::LONG);
        }
    }
}
