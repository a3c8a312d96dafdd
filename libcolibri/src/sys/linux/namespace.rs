//! PID and mount namespaces as run containers.
//!
//! Order for a launcher: [`unshare`], then fork: the child is the namespace's init. There
//! [`mount_proc`] and [`cover`] what the agent must not see, then fork the agent. When the init
//! dies, the kernel kills all the others, and its wait status proves that they are gone.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{mount, MsFlags};
use nix::sched::CloneFlags;
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{self, Pid};

use crate::sys::{exit_now, fork, Fork};

/// Who makes the namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Root.
    Root,
    /// Anybody, inside a new user namespace in which only the caller's own ids exist.
    User,
}

/// Moves this process into a new mount namespace, and its future children into a new PID namespace.
///
/// Only the first child matters: it becomes init, and once it is dead no fork succeeds any more.
/// Mounts made afterwards are seen by nobody else. [`Kind::User`] also makes a user namespace that
/// maps the caller's effective ids to themselves and forbids setgroups.
pub fn unshare(kind: Kind) -> io::Result<()> {
    let spaces = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    match kind {
        Kind::Root => nix::sched::unshare(spaces)?,
        Kind::User => {
            let (uid, gid) = (unistd::geteuid(), unistd::getegid());
            nix::sched::unshare(spaces | CloneFlags::CLONE_NEWUSER)?;
            // The kernel demands this order from somebody without privileges.
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
            fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
        }
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    Ok(())
}

const PLAIN: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

/// Puts the new namespace's own `/proc` over the old one; for the init.
///
/// EPERM is normal for [`Kind::User`] where parts of `/proc` are masked (inside other containers):
/// then the host's processes stay visible, though not reachable by signals.
pub fn mount_proc() -> io::Result<()> {
    let none: Option<&str> = None;
    mount(Some("proc"), "/proc", Some("proc"), PLAIN, none)?;
    Ok(())
}

/// Hides a directory under an empty read-only one, for everybody in this mount namespace.
///
/// Descriptors that are already open below it stay usable.
pub fn cover(path: &Path) -> io::Result<()> {
    let data = Some("size=4k,nr_inodes=1,mode=0555");
    let flags = PLAIN | MsFlags::MS_RDONLY;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, data)?;
    Ok(())
}

/// Whether [`unshare`] and a fork into the new namespace work here, found out by a forked child.
///
/// Sysctls, seccomp filters of an outer container and security modules all have a say, so only
/// trying tells. The process must have one thread and no other child that it waits for by `-1`.
#[must_use]
pub fn permitted(kind: Kind) -> bool {
    match fork() {
        Ok(Fork::Child) => exit_now(i32::from(try_as_child(kind).is_err())),
        Ok(Fork::Parent(pid)) => ended_well(pid),
        Err(_) => false,
    }
}

fn try_as_child(kind: Kind) -> io::Result<()> {
    unshare(kind)?;
    match fork()? {
        Fork::Child => exit_now(i32::from(unistd::getpid().as_raw() != 1)),
        Fork::Parent(pid) if ended_well(pid) => Ok(()),
        Fork::Parent(_) => Err(io::Error::other("the child was not the namespace's init")),
    }
}

fn ended_well(pid: i32) -> bool {
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return matches!(other, Ok(WaitStatus::Exited(_, 0))),
        }
    }
}
