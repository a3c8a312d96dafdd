//! Looking at processes from outside: children, descriptors, survivors.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::signal::{kill, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, Pid};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::wait::wait_for;

/// One line of the process table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Parent's id.
    pub parent: i32,
    /// Real user id.
    pub uid: u32,
    /// State letter of `ps`; `Z` is a zombie.
    pub state: char,
    /// Title or command line, as the process wants it.
    pub title: String,
}

/// The process table, by `ps`, which answers alike on all systems.
///
/// # Panics
/// When `ps` cannot be run.
#[must_use]
pub fn table() -> Vec<Process> {
    let out = Command::new("ps")
        .arg("-axww")
        // One by one: on FreeBSD a header without a text takes the rest of its word for one.
        .args(["pid=", "ppid=", "uid=", "stat=", "args="].map(|k| format!("-o{k}")))
        .output()
        .unwrap_or_else(|e| panic!("cannot run ps: {e}"));
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter_map(parse_line)
        .collect()
}

fn parse_line(line: &str) -> Option<Process> {
    let mut words = line.split_whitespace();
    Some(Process {
        pid: words.next()?.parse().ok()?,
        parent: words.next()?.parse().ok()?,
        uid: words.next()?.parse().ok()?,
        state: words.next()?.chars().next()?,
        title: words.collect::<Vec<_>>().join(" "),
    })
}

/// The direct children of a process, zombies too.
#[must_use]
pub fn children_of(pid: i32) -> Vec<Process> {
    table().into_iter().filter(|p| p.parent == pid).collect()
}

/// All descendants of a process that still hang together.
#[must_use]
pub fn descendants_of(pid: i32) -> Vec<Process> {
    below(&table(), pid)
}

/// The same in a process table that was read before.
#[must_use]
pub fn below(all: &[Process], pid: i32) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for p in all.iter().filter(|p| p.parent == parent) {
            parents.push(p.pid);
            found.push(p.clone());
        }
    }
    found
}

/// Whether the process exists and is not a zombie.
#[must_use]
pub fn alive(pid: i32) -> bool {
    match kill(Pid::from_raw(pid), None) {
        Err(Errno::ESRCH) => false,
        _ => !table().iter().any(|p| p.pid == pid && p.state == 'Z'),
    }
}

/// Sends a signal; an error is a failed test.
///
/// # Panics
/// When the process does not exist or is not ours.
pub fn signal(pid: i32, signal: Signal) {
    // 0 and negative numbers would mean whole groups.
    assert!(pid > 1, "will not signal {pid}");
    kill(Pid::from_raw(pid), signal).unwrap_or_else(|e| panic!("cannot signal {pid}: {e}"));
}

/// Waits until a process is gone; false when it is not within `limit`.
#[must_use]
pub fn gone(pid: i32, limit: Duration) -> bool {
    wait_for(limit, || (!alive(pid)).then_some(())).is_some()
}

/// Descriptors of a process and what they lead to; none when that is forbidden.
#[must_use]
pub fn descriptors_of(pid: i32) -> Vec<(i32, PathBuf)> {
    let mut all = descriptors(pid);
    all.sort_unstable();
    all
}

#[cfg(not(target_os = "freebsd"))]
fn descriptors(pid: i32) -> Vec<(i32, PathBuf)> {
    let Ok(dir) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    dir.flatten()
        .filter_map(|entry| {
            let fd = entry.file_name().to_str()?.parse().ok()?;
            Some((fd, std::fs::read_link(entry.path()).ok()?))
        })
        .collect()
}

/// Files have a path, everything else the name that the other system gives its kind.
#[cfg(target_os = "freebsd")]
fn descriptors(pid: i32) -> Vec<(i32, PathBuf)> {
    let table = procstat(&["-f", &pid.to_string()]);
    let lines = table.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // Names instead of numbers: text, cwd, root, jail.
        let fd = words.get(2)?.parse().ok()?;
        let target = match *words.get(3)? {
            "s" => "socket:",
            "p" => "pipe:",
            _ => words.last()?,
        };
        Some((fd, PathBuf::from(target)))
    });
    lines.collect()
}

#[cfg(target_os = "freebsd")]
fn procstat(args: &[&str]) -> String {
    let out = Command::new("/usr/bin/procstat")
        .arg("-h")
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("cannot run procstat: {e}"));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Processes that have a file below `dir` open, run from there or work there, as far as the caller
/// may know: what a test left behind, whoever its parent is now. Not the caller.
#[must_use]
pub fn users_of(dir: &Path) -> Vec<i32> {
    let me = std::process::id();
    let mut found = users(dir);
    found.retain(|pid| u32::try_from(*pid) != Ok(me));
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(not(target_os = "freebsd"))]
fn users(dir: &Path) -> Vec<i32> {
    let Ok(all) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    all.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let of = |what: &str| std::fs::read_link(format!("/proc/{pid}/{what}"));
            ["exe", "cwd"]
                .iter()
                .any(|what| of(what).is_ok_and(|p| p.starts_with(dir)))
                || descriptors_of(*pid).iter().any(|(_, p)| p.starts_with(dir))
        })
        .collect()
}

/// One line for each file: the process comes first, paths come last.
#[cfg(target_os = "freebsd")]
fn users(dir: &Path) -> Vec<i32> {
    procstat(&["-a", "-f"])
        .lines()
        .filter(|line| {
            line.split_whitespace()
                .any(|w| Path::new(w).starts_with(dir))
        })
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}

/// A field of `/proc/PID/status` (Linux), for example `Seccomp` or `Uid`.
#[must_use]
pub fn status_field(pid: i32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim().to_owned())
}

/// Whether any process still holds the lock file of `colibri-hostile`: true means survivors.
///
/// The file must have been there before the question; see the program's `COLIBRI_HOSTILE_LOCK`.
///
/// # Panics
/// When the file cannot be opened: no answer must not look like a good one.
#[must_use]
pub fn held(lock: &Path) -> bool {
    let file = OpenOptions::new()
        .read(true)
        .open(lock)
        .unwrap_or_else(|e| panic!("cannot open {}: {e}", lock.display()));
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_) => false,
        Err((_, Errno::EWOULDBLOCK)) => true,
        Err((_, e)) => panic!("cannot lock {}: {e}", lock.display()),
    }
}

/// A FIFO that processes under test write to and keep open: it tells without a doubt when the last
/// of them is gone, wherever it went.
#[derive(Debug)]
pub struct Lifeline {
    reader: File,
    path: PathBuf,
}

impl Lifeline {
    /// Makes the FIFO; anybody may write to it. Opening it does not block, as it is being read.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let open = || {
            mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
            std::fs::set_permissions(path, Permissions::from_mode(0o622))?;
            OpenOptions::new()
                .read(true)
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open(path)
        };
        let reader = open().unwrap_or_else(|e: io::Error| {
            panic!("cannot make {}: {e}", path.display());
        });
        Self {
            reader,
            path: path.to_owned(),
        }
    }

    /// Waits until somebody writes a line; false when `limit` passed first.
    #[must_use]
    pub fn up(&self, limit: Duration) -> bool {
        wait_for(limit, || (self.read()? > 0).then_some(())).is_some()
    }

    /// Waits until nobody has it open for writing; false when `limit` passed first.
    #[must_use]
    pub fn cut(&self, limit: Duration) -> bool {
        wait_for(limit, || (self.read()? == 0).then_some(())).is_some()
    }

    /// Whether nobody has it open for writing now.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut(Duration::ZERO)
    }

    /// Bytes read; 0 without writers, `None` when the writers are silent.
    fn read(&self) -> Option<usize> {
        match (&self.reader).read(&mut [0; 512]) {
            Ok(n) => Some(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            Err(e) => panic!("cannot read {}: {e}", self.path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::LONG;

    #[test]
    fn finds_its_own_child_and_sees_it_go() {
        let me = i32::try_from(std::process::id()).expect("fits");
        let mut child = Command::new("sleep").arg("100").spawn().expect("sleep");
        let pid = i32::try_from(child.id()).expect("fits");
        assert!(children_of(me).iter().any(|p| p.pid == pid));
        assert!(descendants_of(me).iter().any(|p| p.pid == pid));
        assert!(alive(pid));
        signal(pid, Signal::SIGKILL);
        // A zombie counts as gone: nobody has waited yet.
        assert!(gone(pid, LONG));
        child.wait().expect("reaped");
        assert!(!alive(pid));
    }

    #[test]
    fn finds_who_works_in_a_directory() {
        let dir = std::env::temp_dir().join(format!("colibri-users-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("a directory");
        let dir = std::fs::canonicalize(dir).expect("its name");
        assert_eq!(users_of(&dir), [0; 0]);
        let mut sleep = Command::new("sleep");
        let mut child = sleep.arg("100").current_dir(&dir).spawn().expect("sleep");
        let pid = i32::try_from(child.id()).expect("fits");
        assert_eq!(users_of(&dir), [pid]);
        signal(pid, Signal::SIGKILL);
        child.wait().expect("reaped");
        assert_eq!(users_of(&dir), [0; 0]);
        std::fs::remove_dir(&dir).expect("removed");
    }

    #[test]
    fn a_held_lock_is_seen() {
        let path = std::env::temp_dir().join(format!("colibri-held-{}", std::process::id()));
        let file = std::fs::File::create(&path).expect("created");
        assert!(!held(&path));
        let lock = Flock::lock(file, FlockArg::LockShared).map_err(|(_, e)| e);
        assert!(held(&path));
        drop(lock);
        assert!(!held(&path));
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_lifeline_is_cut_with_its_last_writer() {
        let path = std::env::temp_dir().join(format!("colibri-line-{}", std::process::id()));
        let line = Lifeline::new(&path);
        let mut child = Command::new("sh")
            .args(["-c", "exec 9>\"$0\"; echo up >&9; sleep 100"])
            .arg(&path)
            .spawn()
            .expect("sh");
        assert!(line.up(LONG));
        assert!(!line.is_cut());
        // The shell may have become sleep or be its parent: both have to go.
        let pid = i32::try_from(child.id()).expect("fits");
        let below = descendants_of(pid);
        signal(pid, Signal::SIGKILL);
        child.wait().expect("reaped");
        for p in &below {
            assert!(!line.is_cut());
            signal(p.pid, Signal::SIGKILL);
        }
        assert!(line.cut(LONG));
        std::fs::remove_file(&path).expect("removed");
    }
}
