//! What Linux does by prctl, `/proc` and pidfds.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::read_small;

pub(in crate::sys) fn no_new_privs() -> io::Result<()> {
    Ok(prctl::set_no_new_privs()?)
}

pub(in crate::sys) fn not_traceable() -> io::Result<()> {
    Ok(prctl::set_dumpable(false)?)
}

pub(in crate::sys) fn die_with_parent(signal: Signal) -> io::Result<()> {
    Ok(prctl::set_pdeathsig(signal)?)
}

pub(in crate::sys) fn become_reaper() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

// The identity here, a sign change on the other system.
pub(in crate::sys) fn to_rlim(value: u64) -> nix::sys::resource::rlim_t {
    value
}

pub(in crate::sys) fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

pub(in crate::sys) fn boot_id() -> io::Result<String> {
    let text = read_small("/proc/sys/kernel/random/boot_id")?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    Ok(text.trim_end().to_owned())
}

/// Field 22 of `/proc/PID/stat`: clock ticks between boot and the process's start.
pub(in crate::sys) fn process_start(pid: i32) -> io::Result<u64> {
    Stat::read(pid).map(|s| s.start)
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// Parent.
    pub ppid: i32,
    /// Dead, only its exit status is left.
    pub zombie: bool,
    /// Clock ticks between boot and start.
    pub start: u64,
}

impl Stat {
    /// ESRCH if there is no such process (it may vanish while being read).
    pub fn read(pid: i32) -> io::Result<Self> {
        match read_small(&format!("/proc/{pid}/stat")) {
            Ok(text) => {
                Self::parse(&text).ok_or_else(|| io::Error::other("unexpected /proc/PID/stat"))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Errno::ESRCH.into()),
            Err(e) => Err(e),
        }
    }

    /// The second field is the program's name in brackets and may itself hold brackets, blanks and
    /// line feeds: everything is counted from the last closing one.
    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|b| *b == b')')?;
        let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let ppid = fields.next()?.parse().ok()?;
        // State is field 3, the parent 4: the start, field 22, is the 18th after it.
        let start = fields.nth(17)?.parse().ok()?;
        Some(Self {
            ppid,
            zombie: matches!(state, "Z" | "X"),
            start,
        })
    }
}

pub(in crate::sys) fn set_title(text: &CStr) -> io::Result<()> {
    let first = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&first)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    // A second call finds the first one's text there.
    let name = name.split(": ").next().unwrap_or_default();
    // After fexecve the kernel's short name is a descriptor number.
    prctl::set_name(&std::ffi::CString::new(name)?)?;
    let (start, end) = argument_area()?;
    let mut title = format!("{name}: ").into_bytes();
    title.extend_from_slice(text.to_bytes());
    // The last byte stays NUL: otherwise the kernel reads on into the environment.
    title.resize(end - start, 0);
    if let Some(last) = title.last_mut() {
        *last = 0;
    }
    // SAFETY: the kernel put the argument strings of this process into [start, end), writable
    // memory that stays for its life; readers of argv find shorter or other text, NUL-terminated,
    // and one thread means that nobody reads meanwhile.
    unsafe { std::ptr::copy_nonoverlapping(title.as_ptr(), start as *mut u8, title.len()) };
    Ok(())
}

/// Where the argument strings lie: fields 48 and 49 of `/proc/self/stat`.
fn argument_area() -> io::Result<(usize, usize)> {
    let text = read_small("/proc/self/stat")?;
    let text = String::from_utf8_lossy(&text);
    let rest = text.rsplit(')').next().unwrap_or_default();
    let mut fields = rest.split_ascii_whitespace().skip(45);
    let mut next = || fields.next().and_then(|f| f.parse::<usize>().ok());
    match (next(), next()) {
        // No access to them reads as 0.
        (Some(start), Some(end)) if start != 0 && end > start => Ok((start, end)),
        _ => Err(io::Error::other("argument area unknown")),
    }
}

/// A pidfd.
#[derive(Debug)]
pub(in crate::sys) struct ProcessHandle(OwnedFd);

impl ProcessHandle {
    pub(in crate::sys) fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: plain numbers; PIDFD flags 0. nix and the C library lack the call.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
        // SAFETY: just made by the kernel (close-on-exec) and owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    // `&mut` because the other system has to remember the answer.
    pub(in crate::sys) fn has_exited(&mut self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, PollTimeout::ZERO) {
                Err(Errno::EINTR) => {}
                other => return Ok(other? > 0),
            }
        }
    }

    pub(super) fn signal(&self, signal: Signal) -> nix::Result<()> {
        // SAFETY: an open pidfd, a signal number, no siginfo, flags 0.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal as libc::c_int,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        Errno::result(result).map(drop)
    }
}

impl AsRawFd for ProcessHandle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_program_name_does_not_shift_the_fields() {
        let mut line =
            b"42 (a) Z 1 2 (b)\n) S 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5150 ".to_vec();
        line.extend_from_slice(b"1 2 3\n");
        let stat = Stat::parse(&line).unwrap();
        assert_eq!((stat.ppid, stat.zombie, stat.start), (7, false, 5150));
        assert_eq!(Stat::parse(b"42 (x) S 1"), None);
        assert_eq!(Stat::parse(b""), None);
    }
}
