//! pueue: one daemon, parent of all tasks, which its client adds.

use super::{child, command, find, said, Made, Peer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

struct Pueue {
    dir: PathBuf,
    daemon: PathBuf,
    client: PathBuf,
    child: PathBuf,
    children: usize,
    added: bool,
    top: Option<Child>,
}

/// Writes the config.
///
/// # Errors
/// When it is not installed.
pub fn make(dir: &Path, children: usize) -> Made {
    let missing = || ("pueue", "missing".to_owned());
    let daemon = find("pueued").ok_or_else(missing)?;
    let client = find("pueue").ok_or_else(missing)?;
    let child = child(dir, children);
    let config = format!(
        "client: {{}}\ndaemon: {{}}\nshared:\n  \
         pueue_directory: {0}/pueue\n  runtime_directory: {0}\n  use_unix_socket: true\n  \
         unix_socket_path: {0}/pueue.socket\n",
        dir.display()
    );
    fs::create_dir_all(dir.join("pueue")).expect("a directory");
    fs::write(dir.join("pueue.yml"), config).expect("the config");
    Ok(Box::new(Pueue {
        dir: dir.to_owned(),
        daemon,
        client,
        child,
        children,
        added: false,
        top: None,
    }))
}

impl Pueue {
    fn command(&self, program: &Path) -> Command {
        let mut command = command(program);
        command.arg("-c").arg(self.dir.join("pueue.yml"));
        command
    }

    fn tasks(&self) -> BTreeMap<usize, Value> {
        let text = said(self.command(&self.client).args(["status", "--json"]));
        let v: Value = serde_json::from_str(&text).unwrap_or_default();
        let tasks = v["tasks"].as_object().cloned().unwrap_or_default();
        tasks
            .into_iter()
            .filter_map(|(k, v)| Some((k.parse().ok()?, v)))
            .collect()
    }
}

impl Peer for Pueue {
    fn name(&self) -> String {
        let version = said(Command::new(&self.daemon).arg("--version"));
        version.trim().replace("pueued", "pueue")
    }

    fn start(&mut self) {
        // A socket that a dead daemon left would make it refuse.
        let _ = fs::remove_file(self.dir.join("pueue.socket"));
        let started = self
            .command(&self.daemon)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.top = Some(started.expect("pueued"));
        if self.added {
            return;
        }
        self.added = true;
        let socket = self.dir.join("pueue.socket");
        crate::wait::must("pueued", crate::wait::LONG, || {
            socket.exists().then_some(())
        });
        let all = self.children.to_string();
        let _ = said(self.command(&self.client).args(["parallel", &all]));
        for n in 0..self.children {
            let mut add = self.command(&self.client);
            add.args(["add", "--escape", "--"]).arg(&self.child);
            let _ = said(add.arg(n.to_string()));
        }
    }

    fn kill(&mut self) {
        if let Some(mut top) = self.top.take() {
            let _ = top.kill();
            let _ = top.wait();
        }
    }

    /// It names no process; a task that it says runs counts as the one that it started.
    fn managed(&mut self) -> BTreeMap<usize, i32> {
        let runs = |(_, v): &(usize, Value)| v["status"]["Running"].is_object();
        self.tasks()
            .into_iter()
            .filter(runs)
            .map(|(n, _)| (n, 0))
            .collect()
    }

    fn same(&self, _: i32, _: i32) -> bool {
        true
    }

    fn answers(&mut self, children: usize) -> bool {
        self.tasks().len() == children
    }

    fn exit_status(&mut self, child: usize) -> Option<i32> {
        let task = self.tasks().remove(&child)?;
        let code = task["status"]["Done"]["result"]["Failed"].as_i64()?;
        i32::try_from(code).ok()
    }

    fn end(&mut self) {
        let _ = said(self.command(&self.client).args(["kill", "--all"]));
        self.kill();
    }
}
