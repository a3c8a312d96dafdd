//! Linux: prctl, `/proc`, pidfds, namespaces, seccomp.

mod cell;
pub(crate) mod confine;
pub mod namespace;
mod process;
mod tree;

pub(super) use cell::{
    accounting, forget_limits, jail_is_dying, jail_is_empty, jail_root, kill_strangers, Cell,
    ChildEvents,
};
pub(super) use process::{
    become_reaper, boot_id, die_with_parent, no_new_privs, not_traceable, process_start, set_title,
    thread_count, to_rlim, ProcessHandle,
};
pub(super) use tree::{
    available_container, count_tree, count_trees, find_by_environment, signal_tree,
};

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

use super::PeerCred;

/// Where the config is looked for.
pub const CONFIG_FILE: &str = "/etc/colibri/colibri.conf";

/// More supplementary groups than this are refused: nobody has them, and a list is allocated.
const MAX_GROUPS: usize = 65_536;

pub(super) fn peer_cred(fd: BorrowedFd<'_>) -> io::Result<PeerCred> {
    let cred = getsockopt(&fd, sockopt::PeerCredentials)?;
    Ok(PeerCred {
        uid: cred.uid(),
        gid: cred.gid(),
        groups: peer_groups(fd)?,
        pid: Some(cred.pid()).filter(|pid| *pid > 0),
    })
}

/// `SO_PEERGROUPS`, which nix lacks: answers ERANGE with the size it wants.
fn peer_groups(fd: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 32];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice()))
            .map_err(|_| Errno::EOVERFLOW)?;
        // SAFETY: the pointer and `bytes` describe the vector's initialised memory.
        let result = unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<u32>();
        match Errno::result(result) {
            Ok(_) => {
                groups.truncate(count);
                return Ok(groups);
            }
            Err(Errno::ERANGE) if count > groups.len() && count <= MAX_GROUPS => {
                groups.resize(count, 0);
            }
            Err(e) => return Err(e.into()),
        }
    }
}

pub(super) fn close_from(first: u32) -> io::Result<()> {
    close_range(first, 0)
}

pub(super) fn cloexec_from(first: u32) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: plain numbers; that the descriptors are in nobody's use is the caller's condition.
    // By number, so that it also works with a C library that lacks the function.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    Errno::result(result)?;
    Ok(())
}

pub(super) fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let mut dir = nix::dir::Dir::open(
        "/proc/self/fd",
        nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    let own = dir.as_raw_fd();
    let mut list = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_str().ok();
        let number = name.and_then(|n| n.parse::<RawFd>().ok());
        list.extend(number.filter(|n| *n != own));
    }
    list.sort_unstable();
    Ok(list)
}

/// Reads a small file of `/proc` or `/sys` whole.
fn read_small(path: &str) -> io::Result<Vec<u8>> {
    use std::io::Read;
    /// Longest file read here; `/proc/PID/stat` has under 1 KiB.
    const LIMIT: u64 = 64 * 1024;
    let mut text = Vec::with_capacity(512);
    std::fs::File::open(path)?
        .take(LIMIT)
        .read_to_end(&mut text)?;
    Ok(text)
}
