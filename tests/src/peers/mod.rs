//! Supervisors that benchmarks compare: each is started, killed and asked in its own way.

pub mod colibri;
pub mod pitchfork;
pub mod pueue;
pub mod runit;
pub mod s6;
pub mod supervisord;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A supervisor with its children, which are numbered from 0.
pub trait Peer {
    /// Its name and version.
    fn name(&self) -> String;
    /// Starts it; the children too when it never ran.
    fn start(&mut self);
    /// kill -9 of what it consists of, as an accident would hit it.
    fn kill(&mut self);
    /// The children that it says run now, with the processes that it names.
    fn managed(&mut self) -> BTreeMap<usize, i32>;
    /// Whether it answers about all children.
    fn answers(&mut self, children: usize) -> bool;
    /// The exit status that it tells of a child that has ended.
    fn exit_status(&mut self, child: usize) -> Option<i32>;
    /// The processes of the children as the whole machine numbers them; `written` is what they
    /// wrote down themselves.
    fn processes(&mut self, written: &BTreeMap<usize, i32>) -> BTreeMap<usize, i32> {
        written.clone()
    }
    /// Whether the process that it names for a child is the one that was started first.
    fn same(&self, named: i32, first: i32) -> bool {
        named == first
    }
    /// Ends everything.
    fn end(&mut self);
}

/// A peer, or its name and why there is none.
pub type Made = Result<Box<dyn Peer>, (&'static str, String)>;

/// A child as a script: it writes down that it was started, and the first tenth of all exits with 7
/// when the file `go` is there.
///
/// # Panics
/// When it cannot be written.
#[must_use]
pub fn child(dir: &Path, children: usize) -> PathBuf {
    let path = dir.join("child");
    let dir = dir.display();
    let leave = children / 10;
    let script = format!(
        "#!/bin/sh\necho \"$1 $$\" >>{dir}/started\n[ \"$1\" -ge {leave} ] && exec sleep 600\n\
         while [ ! -e {dir}/go ]; do sleep 0.2; done\nexit 7\n"
    );
    fs::write(&path, script).expect("the child");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

/// Where peers are that were only unpacked.
#[must_use]
pub fn place() -> PathBuf {
    std::env::var_os("COLIBRI_PEERS")
        .map_or_else(|| PathBuf::from("/var/cache/colibri-peers"), PathBuf::from)
}

/// A program of a peer.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["bin", "usr/bin", "usr/sbin"]
        .iter()
        .map(|d| place().join(d))
        .chain(std::env::split_paths(&path))
        .map(|d| d.join(name))
        .find(|p| p.is_file())
}

/// A command of a peer that was unpacked and not installed, with what lies beside it.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let root = program.parent().and_then(Path::parent).map(|p| {
        p.strip_prefix("/")
            .map_or(p.to_path_buf(), |_| p.to_path_buf())
    });
    if let Some(usr) = root.filter(|r| !r.starts_with("/usr")) {
        command.env("PYTHONPATH", usr.join("lib/python3/dist-packages"));
        let old = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{old}", usr.join("bin").display()));
    }
    command.stdin(Stdio::null());
    command
}

/// What a command printed; empty when it failed to run.
#[must_use]
pub fn said(command: &mut Command) -> String {
    let out = command.stderr(Stdio::null()).output();
    out.map_or(String::new(), |o| {
        String::from_utf8_lossy(&o.stdout).into_owned()
    })
}
