//! Bytes from a Unix socket together with the descriptors that came with them.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::slice;

use nix::errno::Errno;

/// Words of control data that fit: more than a message can bring. Linux lets one carry 253
/// descriptors (SCM_MAX_FD), FreeBSD as many as pointers to them fill a cluster of 2048 bytes.
const CONTROL: usize = 160;

/// What one call of [`receive`] has read.
#[derive(Debug)]
pub struct Received {
    /// How many bytes; 0 at the end of the stream.
    pub bytes: usize,
    /// What came with them.
    pub fds: Vec<OwnedFd>,
    /// Descriptors are missing: there was no room for them here or in this process.
    pub cut: bool,
}

/// Reads once from a socket; descriptors that come with the bytes are close-on-exec.
///
/// Every descriptor that the kernel has put into this process is owned by the result, also where
/// some are missing: nix would leave those open that were there already.
pub fn receive(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Received> {
    let mut control = [0_u64; CONTROL];
    let mut iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: numbers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the buffers are as long as is said and live longer than the call.
    let read = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let bytes = Errno::result(read)? as usize;
    Ok(Received {
        bytes,
        fds: take_fds(&message),
        cut: message.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

/// Owns the descriptors in the control data of a message that has just been received.
fn take_fds(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    let end = message.msg_control as usize + length(message.msg_controllen);
    // SAFETY: the kernel has filled the buffer, which is aligned for headers, up to `end`.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: FIRSTHDR and NXTHDR return headers that are wholly in the buffer.
        let h = unsafe { header.read() };
        // SAFETY: only computes where its data begin.
        let data = unsafe { libc::CMSG_DATA(header) };
        let last = header as usize + length(h.cmsg_len);
        // Of one that does not fit FreeBSD copies a part, but has closed its descriptors.
        if last > end {
            break;
        }
        if (h.cmsg_level, h.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: up to `last`, which is in the buffer.
            let data = unsafe { slice::from_raw_parts(data, last.saturating_sub(data as usize)) };
            let numbers = data.chunks_exact(size_of::<RawFd>());
            fds.extend(numbers.filter_map(|n| n.try_into().ok()).map(|n| {
                // SAFETY: the kernel has just made it for this process: nobody else owns it.
                unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(n)) }
            }));
        }
        // SAFETY: as for the first.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    fds
}

/// A length in the header of a message, whose type differs per system.
fn length(n: impl TryInto<usize>) -> usize {
    n.try_into().unwrap_or(0)
}
