//! A test runner with one thread: each case runs in a forked child, as root and as an ordinary user.
//!
//! Case fails by panicking; the message and an abort are what the child leaves. A child that has
//! not ended after [`DEADLINE_MS`] is killed and counts as failed.

// Each test program compiles this for itself and uses its part.
#![allow(dead_code)]

pub mod program;

use std::io::Read;
use std::os::fd::AsFd;

use libcolibri::sys::{self, Fork, Ids, ProcessHandle, Signal};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::kill;
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{geteuid, Pid};

/// Far beyond what any case needs, in milliseconds.
#[cfg(not(target_os = "freebsd"))]
const DEADLINE_MS: i32 = 60_000;
/// The same on two emulated cores, on which the tests must pass, too.
#[cfg(target_os = "freebsd")]
const DEADLINE_MS: i32 = 300_000;

/// The longest wait for anything.
pub fn deadline() -> PollTimeout {
    PollTimeout::try_from(DEADLINE_MS).expect("positive")
}

/// Somebody without any rights: "nobody" on both systems.
pub const NOBODY: u32 = 65_534;

/// As whom a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Once per user that there is.
    Everybody,
    /// Only as root.
    Root,
}

/// How a case's child must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By returning.
    Well,
    /// By this exit code.
    Code(i32),
    /// By abort, having said this on stderr.
    Abort(&'static str),
}

#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub who: Who,
    pub end: End,
    pub run: fn(),
}

pub const fn case(name: &'static str, run: fn()) -> Case {
    Case {
        name,
        who: Who::Everybody,
        end: End::Well,
        run,
    }
}

impl Case {
    pub const fn as_root(mut self) -> Self {
        self.who = Who::Root;
        self
    }

    pub const fn ends(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

/// Runs the cases whose name contains the first argument, prints the sum and exits with 0 or 1.
pub fn main(cases: &[Case]) {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let filter = Some(filter)
        .filter(|f| !f.starts_with('-'))
        .unwrap_or_default();
    let root = geteuid().is_root();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in cases.iter().filter(|c| c.name.contains(&filter)) {
        // Root drops in the child for the second round; others have only their own.
        let rounds: &[(&str, bool)] = match (root, case.who) {
            (true, Who::Everybody) => &[("root", false), ("user", true)],
            (true, Who::Root) => &[("root", false)],
            (false, Who::Everybody) => &[("user", false)],
            (false, Who::Root) => {
                println!("skipped {}: not root", case.name);
                skipped += 1;
                continue;
            }
        };
        for (user, drop_first) in rounds {
            match run(case, *drop_first) {
                Ok(()) => passed += 1,
                Err(why) => {
                    failed += 1;
                    println!("FAILED {} ({user}): {why}", case.name);
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    std::process::exit(i32::from(failed > 0 || passed + skipped == 0));
}

fn run(case: &Case, drop_first: bool) -> Result<(), String> {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    match sys::fork().expect("fork") {
        Fork::Child => {
            drop(reader);
            sys::dup_to(writer.as_fd(), 2).expect("dup_to");
            drop(writer);
            child(case, drop_first)
        }
        Fork::Parent(pid) => {
            drop(writer);
            let status = wait(pid);
            // Whatever lived on with the case's stderr is dead or not our concern: read what is there.
            let mut said = Vec::new();
            if !matches!(status, Ok(WaitStatus::Exited(_, 0))) {
                let _ = reader.by_ref().take(65_536).read_to_end(&mut said);
            }
            judge(case.end, status?, &String::from_utf8_lossy(&said))
        }
    }
}

fn child(case: &Case, drop_first: bool) -> ! {
    // What every program of the suite does, by its build profile.
    std::panic::set_hook(Box::new(|info| {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "{info}");
        std::process::abort();
    }));
    // cargo's own descriptors
    sys::close_from(3).expect("close_from");
    sys::set_limits(&[(sys::Resource::RLIMIT_CORE, 0)]).expect("no core");
    if drop_first {
        let ids = Ids {
            uid: NOBODY,
            gid: NOBODY,
            groups: Vec::new(),
        };
        sys::drop_to(&ids).expect("drop");
        as_if_executed();
    }
    (case.run)();
    sys::exit_now(0)
}

/// A process that changed its user may not open its own `/proc` files until it has called exec, which
/// an ordinary user's process always has.
#[cfg(target_os = "linux")]
fn as_if_executed() {
    nix::sys::prctl::set_dumpable(true).expect("dumpable");
}
#[cfg(not(target_os = "linux"))]
fn as_if_executed() {}

fn judge(end: End, status: WaitStatus, said: &str) -> Result<(), String> {
    let fits = match (end, status) {
        (End::Well, WaitStatus::Exited(_, 0)) => true,
        (End::Code(code), WaitStatus::Exited(_, found)) => code == found,
        (End::Abort(text), WaitStatus::Signaled(_, Signal::SIGABRT, _)) => said.contains(text),
        _ => false,
    };
    match fits {
        true => Ok(()),
        false => Err(format!("expected {end:?}, found {status:?}: {said}")),
    }
}

/// Waits for a child until the deadline, then kills it.
pub fn wait(pid: i32) -> Result<WaitStatus, String> {
    let mut handle = ProcessHandle::open(pid).map_err(|e| e.to_string())?;
    let ready = poll(
        &mut [PollFd::new(sys::borrow(&handle), PollFlags::POLLIN)],
        deadline(),
    );
    let ended = handle.has_exited().map_err(|e| e.to_string())?;
    if !ended {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let status = waitpid(Pid::from_raw(pid), None).map_err(|e| e.to_string())?;
    match ended {
        true => Ok(status),
        false => Err(format!("did not end in time ({ready:?})")),
    }
}

/// Reads until everybody has closed the other end; panics at the deadline.
pub fn wait_closed(reader: &mut std::io::PipeReader) {
    loop {
        let ready = poll(
            &mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)],
            deadline(),
        );
        assert_eq!(ready, Ok(1), "somebody still lives");
        if reader.read(&mut [0; 64]).expect("read") == 0 {
            return;
        }
    }
}

/// A directory of its own that goes away with this value.
pub struct TempDir(pub std::path::PathBuf);

impl TempDir {
    pub fn new() -> Self {
        let name = format!("colibri-sys-test-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("create a temporary directory");
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
