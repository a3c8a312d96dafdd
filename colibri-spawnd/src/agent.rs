//! From a forked child to the agent's program, one visible step after the other.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;

use libcolibri::config::Place;
use libcolibri::state::Container;
use libcolibri::sys::cell::Cell;
use libcolibri::sys::{self, Fork, Signal};
use nix::sys::stat::{umask, Mode};
use nix::unistd::{chdir, getpid, setsid, write};

use crate::launch::{At, Failure, Order};
use crate::steps::Step;

/// The pipe to the launcher on the way to exec, which closes it.
const REPORT: RawFd = 3;

/// What agents create is theirs to write and everybody's to read, as for a person at a shell.
const UMASK: u32 = 0o022;

/// Exit code of a child that did not come as far as exec; the report says more.
const NOT_EXECUTED: i32 = 127;

/// Forks the agent as a child of this process.
///
/// # Errors
/// When there are no more processes.
pub fn start(
    order: &Order<'_>,
    cell: &Cell,
    stdio: &[OwnedFd; 3],
    report: OwnedFd,
) -> Result<i32, Failure> {
    let parent = getpid().as_raw();
    match sys::fork().at(Step::Fork)? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => become_agent(order, cell, stdio, &report, parent),
    }
}

/// Turns this process into the agent, or reports the step that failed and exits.
pub fn become_agent(
    order: &Order<'_>,
    cell: &Cell,
    stdio: &[OwnedFd; 3],
    report: &OwnedFd,
    parent: i32,
) -> ! {
    // Its place first, so that every later failure can be told.
    let told = sys::dup_to(report.as_fd(), REPORT).and_then(|()| sys::inherit(REPORT));
    if let Ok(report) = told {
        let Err(failure) = steps(order, cell, stdio, parent);
        tell(&report, failure);
    }
    sys::exit_now(NOT_EXECUTED)
}

/// Sends a failure to the launcher.
pub fn tell(report: &OwnedFd, failure: Failure) {
    // A pipe takes 8 bytes at once or not at all; nobody else could be told.
    let _ = write(report, &failure.encode());
}

fn steps(
    order: &Order<'_>,
    cell: &Cell,
    stdio: &[OwnedFd; 3],
    parent: i32,
) -> Result<Infallible, Failure> {
    let row = order.row();
    setsid().at(Step::Session)?;
    for (n, end) in (0..).zip(stdio) {
        sys::dup_to(end.as_fd(), n).at(Step::Stdio)?;
    }
    // Before the descriptors go: the jail is among them. None of them is a directory.
    cell.enter().at(Step::Enter)?;
    sys::close_from(REPORT + 1).at(Step::Descriptors)?;
    umask(Mode::from_bits_truncate(UMASK as nix::libc::mode_t));
    sys::set_limits(&row.limits).at(Step::Limits)?;
    sys::set_nice(sys::nice().max(row.nice)).at(Step::Priority)?;
    if let Some(ids) = &row.ids {
        sys::drop_to(ids).at(Step::User)?;
    }
    sys::no_new_privs().at(Step::Privileges)?;
    if cell.kind() == Container::Reaper {
        tie(parent).at(Step::Tie)?;
    }
    make_tmpdir_inside(order).at(Step::Tmpdir)?;
    chdir(&row.cwd).at(Step::Directory)?;
    let env = environment(order);
    Err(sys::exec_path(&row.argv[0], &row.argv, &env)).at(Step::Execute)
}

/// In a root of its own nobody but the agent itself makes its TMPDIR, unless its profile has one.
fn make_tmpdir_inside(order: &Order<'_>) -> io::Result<()> {
    let row = order.row();
    if row.place == Place::Host || row.env.iter().any(|(k, _)| k == "TMPDIR") {
        return Ok(());
    }
    let path = order.table.agent_tmpdir(&row.place, &order.key.stem());
    DirBuilder::new().mode(0o700).create(path)
}

/// Without a container at least the agent's first process dies with its monitor.
fn tie(parent: i32) -> io::Result<()> {
    sys::die_with_parent(Signal::SIGKILL)?;
    match sys::parent_is(parent) {
        true => Ok(()),
        false => Err(nix::errno::Errno::ESRCH.into()),
    }
}

/// The profile's environment and what differs per run; the profile's own words win.
fn environment(order: &Order<'_>) -> Vec<CString> {
    let row = order.row();
    let tmpdir = order.table.agent_tmpdir(&row.place, &order.key.stem());
    let per_run = [
        ("TMPDIR", tmpdir.display().to_string()),
        ("COLIBRI_RUN", order.key.run.to_string()),
    ];
    let given = |name: &str| row.env.iter().any(|(k, _)| k == name);
    let own = row.env.iter().map(|(k, v)| format!("{k}={v}"));
    per_run
        .iter()
        .filter(|(k, _)| !given(k))
        .map(|(k, v)| format!("{k}={v}"))
        .chain(own)
        // The config refuses NUL in values.
        .filter_map(|line| CString::new(line).ok())
        .collect()
}
