//! Confinement as data: what each process may hold and call, and one function that makes it so.
//!
//! A [`Confinement`] lists the roles of a process's descriptors, the rights of each role and why.
//! [`confine`] compares the list with the descriptors that are really open, lowers the limits, enters
//! capability mode (Linux: installs the filter) and tries what must fail. It returns a [`Confined`],
//! without which no daemon's loop can be called.
//!
//! The tables of all processes are in [`policy`].

mod error;
pub mod policy;
mod selftest;

use std::collections::HashSet;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

pub use error::ConfineError;
pub(crate) use selftest::try_fork;
pub use selftest::{probes, selftest, Expect, Probe, Tried};

use crate::sys::{self, Resource};

/// One thing that may be done with a descriptor. On FreeBSD these are the rights of the same names in
/// rights(4); on Linux, where rights belong to the process, they document and choose for Landlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// read, recv, recvmsg; openat for reading.
    Read,
    /// write, send, sendmsg.
    Write,
    /// lseek; with `Read` and `Write`: pread and pwrite.
    Seek,
    /// fstat.
    Fstat,
    /// fsync, fdatasync.
    Fsync,
    /// ftruncate.
    Ftruncate,
    /// flock and fcntl locks.
    Flock,
    /// Being watched by poll, kqueue or epoll.
    Event,
    /// Taking events from a kqueue.
    KqueueEvent,
    /// Changing what a kqueue watches.
    KqueueChange,
    /// accept.
    Accept,
    /// getsockopt: peer credentials, pending errors.
    GetSockOpt,
    /// shutdown.
    Shutdown,
    /// Opening names below a directory.
    Lookup,
    /// Removing names below a directory.
    UnlinkAt,
    /// Executing it as a program.
    Fexecve,
}

/// What a descriptor is for. Several descriptors may have the same role.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// Its name; the key in [`confine`]'s list.
    pub name: &'static str,
    /// All that may be done with it. What comes out of it (accepted sockets, files opened below it)
    /// has no more.
    pub rights: &'static [Right],
    /// Why the process holds it.
    pub why: &'static str,
}

/// Groups of system calls of the Linux filter. FreeBSD has no such list: there the rights decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallGroup {
    /// Memory, clocks, read and write, own identity, signals to itself, exit.
    Base,
    /// Waiting for events on descriptors.
    Events,
    /// Positioned input and output, sync, truncation, locks.
    Files,
    /// Connected sockets: send, receive, options, shutdown.
    Sockets,
    /// Taking connections.
    Accept,
    /// recvmsg, which can bring a descriptor.
    ReceiveFd,
    /// Waiting for child processes.
    Wait,
    /// Names below a directory descriptor: open for reading.
    Lookup,
    /// The same, and remove.
    Directories,
}

/// A group that a process needs.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    /// The group.
    pub group: CallGroup,
    /// Why.
    pub why: &'static str,
}

/// An upper limit, set soft and hard.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// In the unit of setrlimit(2).
    pub value: u64,
    /// Why.
    pub why: &'static str,
}

/// All that a process may hold and do.
#[derive(Debug, Clone, Copy)]
pub struct Confinement {
    /// The process's name in messages.
    pub process: &'static str,
    /// The roles that its descriptors may have.
    pub roles: &'static [Role],
    /// What it may call (Linux).
    pub calls: &'static [Calls],
    /// Its limits. A file size of 0 is left out while a descriptor that it may write is a regular
    /// file (a log that was redirected there): the kernel would kill it for writing.
    pub limits: &'static [Limit],
    /// Whether it enters capability mode (Linux: gets the filter) at all.
    pub capability_mode: bool,
}

impl Confinement {
    /// The role of that name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&'static Role> {
        self.roles.iter().find(|r| r.name == name)
    }
}

/// What keeps the process confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// FreeBSD's capability mode.
    CapabilityMode,
    /// A seccomp filter, and Landlock as far as the kernel has it.
    SeccompLandlock,
    /// A seccomp filter alone: names below held directories are guarded by file modes only.
    Seccomp,
    /// Nothing but limits and closed descriptors (spawnd).
    None,
}

impl Mechanism {
    /// The word for `status` and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mechanism::CapabilityMode => "capability-mode",
            Mechanism::SeccompLandlock => "seccomp+landlock",
            Mechanism::Seccomp => "seccomp",
            Mechanism::None => "none",
        }
    }
}

/// What is in force, for `status` and the log.
#[derive(Debug, Clone)]
pub struct Report {
    /// The process.
    pub process: &'static str,
    /// By what it is confined.
    pub mechanism: Mechanism,
    /// What the self-test tried, and what came of it.
    pub tried: Vec<Tried>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} confined by {}, {} forbidden actions tried and refused",
            self.process,
            self.mechanism.as_str(),
            self.tried.len()
        )
    }
}

/// Proof that [`confine`] has succeeded in this process. Loops take it by value or by reference; only
/// this module can make one.
#[derive(Debug)]
pub struct Confined {
    report: Report,
}

impl Confined {
    /// What is in force.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// Confines this process to `confinement`, for good.
///
/// `held` names the role of every open descriptor; one that is open but not named, or named with a
/// role that the table lacks, or named twice, is an error. So are limits that can't be set and a
/// self-test line that does not fail as it must. The order is: descriptors, limits, rights, capability
/// mode, self-test. After an error the process must exit: it may be half confined.
pub fn confine(
    confinement: &Confinement,
    held: &[(BorrowedFd<'_>, &'static str)],
) -> Result<Confined, ConfineError> {
    let process = confinement.process;
    let roles = name_roles(confinement, held)?;
    let limits = limits(confinement, &roles);
    let step = |action| move |source| ConfineError::step(process, action, source);
    sys::set_limits(&limits).map_err(step("set limits"))?;
    let mechanism = sys::confine::enter(confinement, &roles).map_err(step("enter the sandbox"))?;
    let tried = match confinement.capability_mode {
        true => selftest(process, &probes())?,
        false => Vec::new(),
    };
    Ok(Confined {
        report: Report {
            process,
            mechanism,
            tried,
        },
    })
}

/// Takes all rights from a descriptor but those of a role, before it is handed to a process of that
/// table, which could not name it when it was confined. On Linux, where rights belong to the
/// process, this does nothing.
pub fn limit(
    confinement: &Confinement,
    fd: BorrowedFd<'_>,
    role: &'static str,
) -> Result<(), ConfineError> {
    let process = confinement.process;
    let known = confinement.role(role).ok_or(ConfineError::UnknownRole {
        process,
        fd: fd.as_raw_fd(),
        role,
    })?;
    sys::confine::limit(fd, known)
        .map_err(|e| ConfineError::step(process, "limit a descriptor for", e))
}

/// Pairs each descriptor with its role, and checks that none is missing.
fn name_roles<'a>(
    confinement: &Confinement,
    held: &[(BorrowedFd<'a>, &'static str)],
) -> Result<Vec<(BorrowedFd<'a>, &'static Role)>, ConfineError> {
    let process = confinement.process;
    let mut numbers = HashSet::new();
    let mut roles = Vec::with_capacity(held.len());
    for &(fd, name) in held {
        let number = fd.as_raw_fd();
        let role = confinement.role(name).ok_or(ConfineError::UnknownRole {
            process,
            fd: number,
            role: name,
        })?;
        if !numbers.insert(number) {
            return Err(ConfineError::NamedTwice {
                process,
                fd: number,
                role: name,
            });
        }
        roles.push((fd, role));
    }
    let open = sys::open_descriptors()
        .map_err(|e| ConfineError::step(process, "list open descriptors", e))?;
    match open.into_iter().find(|fd| !numbers.contains(fd)) {
        Some(fd) => Err(ConfineError::UnknownDescriptor { process, fd }),
        None => Ok(roles),
    }
}

/// The limits that apply; see [`Confinement::limits`] for the exception.
fn limits(confinement: &Confinement, held: &[(BorrowedFd<'_>, &Role)]) -> Vec<(Resource, u64)> {
    let writes_file = held
        .iter()
        .any(|(fd, role)| role.rights.contains(&Right::Write) && is_regular(*fd));
    confinement
        .limits
        .iter()
        .filter(|l| !(writes_file && l.resource == Resource::RLIMIT_FSIZE && l.value == 0))
        .map(|l| (l.resource, l.value))
        .collect()
}

fn is_regular(fd: BorrowedFd<'_>) -> bool {
    use nix::sys::stat::{fstat, SFlag};
    fstat(fd).is_ok_and(|s| SFlag::from_bits_truncate(s.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)
}
