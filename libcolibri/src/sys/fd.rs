//! Descriptors by number: inheriting them, closing the rest, locks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{self, FcntlArg, FdFlag};

use super::system;

/// Takes over a descriptor that was open when this program started, and marks it close-on-exec.
///
/// Call it once per number, at start, before anything else has been opened: the number must
/// belong to nobody else in this process.
pub fn inherit(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: only borrowed for fcntl, which answers EBADF if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    set_cloexec(borrowed)?;
    // SAFETY: fcntl has shown that it is open; that nobody else owns it is this function's condition.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Borrows a descriptor from something that owns it but only tells its number (`mio::Poll`, and a
/// number found by [`open_descriptors`], which whoever owns it must keep open meanwhile).
pub fn borrow<T: AsRawFd + ?Sized>(owner: &T) -> BorrowedFd<'_> {
    // SAFETY: the owner is borrowed for as long as the result, and doesn't close it meanwhile.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

fn set_cloexec(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = FdFlag::from_bits_retain(fcntl::fcntl(fd, FcntlArg::F_GETFD)?);
    fcntl::fcntl(fd, FcntlArg::F_SETFD(flags | FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Makes `target` a copy of `fd` that survives exec, closing what `target` was.
///
/// For the steps between fork and exec: nobody may own `target` and go on using it. If both are
/// the same number, only close-on-exec is taken away.
pub fn dup_to(fd: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == target {
        fcntl::fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        return Ok(());
    }
    loop {
        // SAFETY: plain numbers; what happens to `target` is this function's purpose.
        let result = unsafe { libc::dup2(fd.as_raw_fd(), target) };
        match Errno::result(result) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop).map_err(io::Error::from),
        }
    }
}

/// Closes every descriptor from `first` upwards.
///
/// For a process that has just started or forked: whatever owns such a descriptor loses it.
pub fn close_from(first: RawFd) -> io::Result<()> {
    system::close_from(checked(first)?)
}

/// Marks every descriptor from `first` upwards close-on-exec.
pub fn cloexec_from(first: RawFd) -> io::Result<()> {
    system::cloexec_from(checked(first)?)
}

fn checked(first: RawFd) -> io::Result<u32> {
    u32::try_from(first).map_err(|_| Errno::EBADF.into())
}

/// The numbers of all open descriptors of this process, ascending.
///
/// Needs no name lookups on FreeBSD; on Linux it reads `/proc/self/fd` (whose own descriptor is
/// left out), so it must run before confinement.
pub fn open_descriptors() -> io::Result<Vec<RawFd>> {
    system::open_descriptors()
}

/// Takes the `flock(2)` of this open file without waiting; `false` if another open file has it.
///
/// The lock belongs to the open file, so every inherited or passed copy of the descriptor keeps it.
pub fn flock_exclusive_nb(fd: BorrowedFd<'_>) -> io::Result<bool> {
    try_flock(fd, fcntl::FlockArg::LockExclusiveNonblock)
}

/// Whether somebody else holds the exclusive `flock(2)` of this file.
///
/// `fd` must come from an own `open(2)`: a copy of the holder's descriptor would find its own lock
/// and release it. The question takes the shared lock for an instant, which an exclusive attempt at
/// that very instant sees as held.
pub fn lock_is_held(fd: BorrowedFd<'_>) -> io::Result<bool> {
    if !try_flock(fd, fcntl::FlockArg::LockSharedNonblock)? {
        return Ok(true);
    }
    try_flock(fd, fcntl::FlockArg::Unlock)?;
    Ok(false)
}

// nix prefers a guard that unlocks on drop; these locks must outlive the value, and even the process.
#[allow(deprecated)]
fn try_flock(fd: BorrowedFd<'_>, arg: fcntl::FlockArg) -> io::Result<bool> {
    match fcntl::flock(fd.as_raw_fd(), arg) {
        Ok(()) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_closed_number_is_not_inherited() {
        assert_eq!(
            inherit(9_999).unwrap_err().raw_os_error(),
            Some(libc::EBADF)
        );
        assert_eq!(inherit(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn locks_belong_to_the_open_file() {
        let path = std::env::temp_dir().join(format!("colibri-lock-{}", std::process::id()));
        let mine = std::fs::File::create(&path).unwrap();
        let other = std::fs::File::open(&path).unwrap();
        assert!(!lock_is_held(other.as_fd()).unwrap());
        assert!(flock_exclusive_nb(mine.as_fd()).unwrap());
        assert!(lock_is_held(other.as_fd()).unwrap());
        assert!(!flock_exclusive_nb(other.as_fd()).unwrap());
        let copy = mine.try_clone().unwrap();
        drop(mine);
        assert!(lock_is_held(other.as_fd()).unwrap());
        drop(copy);
        assert!(!lock_is_held(other.as_fd()).unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn open_descriptors_lists_what_is_open() {
        let (a, b) = nix::unistd::pipe().unwrap();
        let list = open_descriptors().unwrap();
        assert!(list.contains(&a.as_raw_fd()) && list.contains(&b.as_raw_fd()));
        assert!(list.windows(2).all(|w| w[0] < w[1]));
    }
}
