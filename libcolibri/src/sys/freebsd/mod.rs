//! FreeBSD 15: procctl, sysctl, jails, Capsicum.

mod cell;
pub(crate) mod confine;
mod ffi;
pub mod jail;
mod process;
mod rctl;
mod table;
mod tree;

pub(super) use cell::{jail_is_dying, jail_is_empty, jail_root, kill_strangers, Cell, ChildEvents};
pub(super) use process::{
    become_reaper, boot_id, die_with_parent, no_new_privs, not_traceable, process_start, set_title,
    thread_count, to_rlim, ProcessHandle,
};
pub(super) use rctl::{accounting, forget_limits};
pub(super) use tree::{
    available_container, count_tree, count_trees, find_by_environment, signal_tree,
};

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::{sysconf, SysconfVar};

use super::PeerCred;

/// Where the config is looked for.
pub const CONFIG_FILE: &str = "/usr/local/etc/colibri/colibri.conf";

/// `LOCAL_PEERCRED` read whole: nix's type hides the process id.
pub(super) fn peer_cred(fd: BorrowedFd<'_>) -> io::Result<PeerCred> {
    // SAFETY: integers, and a union of a pointer and a pid: all zeroes is a valid value.
    let mut cred: libc::xucred = unsafe { std::mem::zeroed() };
    let mut bytes = libc::socklen_t::try_from(size_of::<libc::xucred>()).unwrap_or(0);
    // SAFETY: the pointer and `bytes` describe `cred`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_LOCAL,
            libc::LOCAL_PEERCRED,
            (&raw mut cred).cast(),
            &raw mut bytes,
        )
    };
    Errno::result(result)?;
    let count = usize::try_from(cred.cr_ngroups).unwrap_or(0);
    if bytes as usize != size_of::<libc::xucred>()
        || cred.cr_version != libc::XUCRED_VERSION
        || !(1..=cred.cr_groups.len()).contains(&count)
    {
        return Err(io::Error::other("unexpected layout of peer credentials"));
    }
    // SAFETY: getsockopt writes the pid; any bits are a valid integer.
    let pid = unsafe { cred.cr_pid__c_anonymous_union.cr_pid };
    Ok(PeerCred {
        uid: cred.cr_uid,
        gid: cred.cr_groups[0],
        groups: cred.cr_groups[1..count].to_vec(),
        pid: Some(pid).filter(|pid| *pid > 0),
    })
}

pub(super) fn close_from(first: u32) -> io::Result<()> {
    close_range(first, 0)
}

pub(super) fn cloexec_from(first: u32) -> io::Result<()> {
    close_range(first, CLOSE_RANGE_CLOEXEC)
}

/// `CLOSE_RANGE_CLOEXEC` in the type of the call: libc declares it unsigned.
const CLOSE_RANGE_CLOEXEC: libc::c_int = 4;

fn close_range(first: u32, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: plain numbers; that the descriptors are in nobody's use is the caller's condition.
    Errno::result(unsafe { libc::close_range(first, libc::c_uint::MAX, flags) })?;
    Ok(())
}

/// Asks how many there are and probes from 0 until all are found: works without fdescfs and in
/// capability mode, and costs a few calls more than there are descriptors.
pub(super) fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let count: libc::c_int =
        sysctl_value(&[libc::CTL_KERN, libc::KERN_PROC, ffi::KERN_PROC_NFDS, 0])?;
    let count = usize::try_from(count).unwrap_or(0);
    // A descriptor may lie above a limit that was lowered later; the bound only ends a miscount.
    let bound = sysconf(SysconfVar::OPEN_MAX)?
        .and_then(|n| RawFd::try_from(n).ok())
        .unwrap_or(RawFd::MAX)
        .max(65_536);
    let mut list = Vec::with_capacity(count);
    for fd in 0..bound {
        if list.len() == count {
            return Ok(list);
        }
        if is_open(fd) {
            list.push(fd);
        }
    }
    if list.len() == count {
        return Ok(list);
    }
    Err(io::Error::other("could not find all open descriptors"))
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: borrowed for F_GETFD only, which answers EBADF if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    nix::fcntl::fcntl(borrowed, nix::fcntl::FcntlArg::F_GETFD).is_ok()
}

/// A type of which every bit pattern is a value, as sysctl wants to write it.
///
/// # Safety
/// Any bytes, all zeroes included, must be a valid value.
unsafe trait Plain: Sized {}
// SAFETY: an integer.
unsafe impl Plain for libc::c_int {}
// SAFETY: an integer; the kernel's booleans are read as one.
unsafe impl Plain for u8 {}
// SAFETY: two integers.
unsafe impl Plain for libc::timeval {}
// SAFETY: integers, and raw pointers that are never followed.
unsafe impl Plain for libc::kinfo_proc {}
// SAFETY: bytes.
unsafe impl Plain for [u8; 16] {}

/// Reads one sysctl of a fixed size; a shorter or longer answer is an error (ESRCH if empty: so
/// the process sysctls say that there is none).
fn sysctl_value<T: Plain>(name: &[libc::c_int]) -> io::Result<T> {
    // SAFETY: allowed by `Plain`.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut bytes = size_of::<T>();
    let length = libc::c_uint::try_from(name.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: name and its length, the value's memory and its size; nothing is written to the kernel.
    let result = unsafe {
        libc::sysctl(
            name.as_ptr(),
            length,
            (&raw mut value).cast(),
            &raw mut bytes,
            std::ptr::null(),
            0,
        )
    };
    Errno::result(result)?;
    match bytes {
        n if n == size_of::<T>() => Ok(value),
        0 => Err(Errno::ESRCH.into()),
        _ => Err(io::Error::other("unexpected size of a sysctl")),
    }
}

/// [`sysctl_value`] of a name that has no fixed number.
fn sysctl_by_name<T: Plain>(name: &CStr) -> io::Result<T> {
    let mut number = [0; 4];
    let mut length = number.len();
    // SAFETY: a NUL-terminated name, and the array's memory with its length in elements.
    let result =
        unsafe { libc::sysctlnametomib(name.as_ptr(), number.as_mut_ptr(), &raw mut length) };
    Errno::result(result)?;
    sysctl_value(&number[..length.min(4)])
}
