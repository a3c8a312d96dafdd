//! The kernel's table of processes, and what they were executed with.

use std::io;

use nix::errno::Errno;

/// Most processes listed at once.
const MAX_PIDS: usize = 1 << 17;

/// Most that arguments and environment of a program take, in bytes: `kern.argmax` of amd64.
pub(super) const ARG_MAX: usize = 512 * 1024;

/// The environment that a process was executed with, as its strings lie in memory.
pub(super) fn environment(pid: i32, room: &mut [u8]) -> io::Result<&[u8]> {
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_ENV, pid];
    let mut bytes = room.len();
    sysctl(&name, room.as_mut_ptr().cast(), &mut bytes)?;
    Ok(&room[..bytes.min(room.len())])
}

/// The kernel's table of all processes. It grows while it is read, so room is left and the call
/// repeated.
pub(super) fn processes() -> io::Result<Vec<libc::kinfo_proc>> {
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PROC];
    let one = size_of::<libc::kinfo_proc>();
    loop {
        let mut bytes = 0;
        sysctl(&name, std::ptr::null_mut(), &mut bytes)?;
        let room = bytes / one + 64;
        if room > MAX_PIDS {
            return Err(Errno::ENOMEM.into());
        }
        let mut list: Vec<libc::kinfo_proc> = Vec::with_capacity(room);
        bytes = room * one;
        match sysctl(&name, list.as_mut_ptr().cast(), &mut bytes) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOMEM) => continue,
            Err(e) => return Err(e),
        }
        // SAFETY: the kernel has filled that many whole elements, each `one` bytes long, and any
        // bits are a valid kinfo_proc (integers, raw pointers and arrays of them).
        unsafe { list.set_len(bytes / one) };
        return Ok(list);
    }
}

fn sysctl(name: &[libc::c_int], to: *mut libc::c_void, bytes: &mut usize) -> io::Result<()> {
    let length = libc::c_uint::try_from(name.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: name and its length belong together; `to` is null, or has room for `bytes`.
    let result = unsafe { libc::sysctl(name.as_ptr(), length, to, bytes, std::ptr::null(), 0) };
    Errno::result(result)?;
    Ok(())
}
