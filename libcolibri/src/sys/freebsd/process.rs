//! What FreeBSD does by procctl, sysctl and kqueue.

use std::cell::Cell;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use nix::sys::signal::Signal;

use super::{ffi, sysctl_value};

/// Most descendants listed at once; no run's process limit comes near.
const MAX_PIDS: usize = 1 << 17;

/// `procctl(2)` with a parameter of type `T`.
///
/// # Safety
/// `T` must be the structure that `command` reads and writes.
unsafe fn procctl<T>(pid: i32, command: libc::c_int, data: &mut T) -> nix::Result<()> {
    // SAFETY: `data` is valid for the call, and of the right type by this function's condition.
    let result = unsafe {
        libc::procctl(
            libc::P_PID,
            libc::id_t::from(pid),
            command,
            std::ptr::from_mut(data).cast(),
        )
    };
    Errno::result(result).map(drop)
}

fn switch(command: libc::c_int, mut value: libc::c_int) -> io::Result<()> {
    // SAFETY: the commands used here take an int; process 0 is the caller.
    Ok(unsafe { procctl(0, command, &mut value) }?)
}

pub(in crate::sys) fn no_new_privs() -> io::Result<()> {
    switch(libc::PROC_NO_NEW_PRIVS_CTL, libc::PROC_NO_NEW_PRIVS_ENABLE)
}

pub(in crate::sys) fn not_traceable() -> io::Result<()> {
    match switch(libc::PROC_TRACE_CTL, libc::PROC_TRACE_CTL_DISABLE) {
        // Who traces this process already, by ktrace(1) or a debugger, started it or is root.
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        other => other,
    }
}

pub(in crate::sys) fn die_with_parent(signal: Signal) -> io::Result<()> {
    switch(libc::PROC_PDEATHSIG_CTL, signal as libc::c_int)
}

pub(in crate::sys) fn become_reaper() -> io::Result<()> {
    // SAFETY: no parameter; process 0 is the caller.
    let result = unsafe {
        libc::procctl(
            libc::P_PID,
            0,
            libc::PROC_REAP_ACQUIRE,
            std::ptr::null_mut(),
        )
    };
    match Errno::result(result) {
        // It is one already.
        Ok(_) | Err(Errno::EBUSY) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Whether `pid` is itself a reaper; ESRCH if there is no such process.
pub(super) fn is_reaper(pid: i32) -> nix::Result<bool> {
    let mut status = ffi::ReaperStatus::default();
    // SAFETY: the structure of this command.
    unsafe { procctl(pid, libc::PROC_REAP_STATUS, &mut status) }?;
    Ok(status.flags & ffi::REAPER_STATUS_OWNED != 0)
}

/// Signals all descendants of a reaper; the count of those hit.
pub(super) fn reaper_kill(pid: i32, signal: Signal) -> nix::Result<u32> {
    request_kill(pid, ffi::ReaperKill::new(signal as libc::c_int))
}

/// Signals those descendants of a reaper that come from one child of it, dead or alive.
pub(super) fn reaper_kill_subtree(pid: i32, child: i32, signal: Signal) -> nix::Result<u32> {
    request_kill(pid, ffi::ReaperKill::of(signal as libc::c_int, child))
}

fn request_kill(pid: i32, mut kill: ffi::ReaperKill) -> nix::Result<u32> {
    // SAFETY: the structure of this command.
    unsafe { procctl(pid, libc::PROC_REAP_KILL, &mut kill) }?;
    Ok(kill.killed)
}

/// Fills `list` with descendants of a reaper; elements that stay empty lack the VALID flag.
fn reaper_pids(pid: i32, list: &mut [ffi::ReaperPidInfo]) -> nix::Result<()> {
    let mut request = ffi::ReaperPids::new(list);
    // SAFETY: the structure of this command; it describes `list`, which lives through the call.
    unsafe { procctl(pid, libc::PROC_REAP_GETPIDS, &mut request) }
}

/// The living descendants of a reaper. Beyond [`MAX_PIDS`] they are not listed.
pub(super) fn reaper_tree(pid: i32) -> nix::Result<Vec<ffi::ReaperPidInfo>> {
    let mut list = vec![ffi::ReaperPidInfo::default(); 64];
    loop {
        list.fill(ffi::ReaperPidInfo::default());
        reaper_pids(pid, &mut list)?;
        let filled = |p: &ffi::ReaperPidInfo| p.flags & ffi::REAPER_PIDINFO_VALID != 0;
        // A full list may have been cut off.
        if list.iter().all(filled) && list.len() < MAX_PIDS {
            list.resize(list.len() * 4, ffi::ReaperPidInfo::default());
            continue;
        }
        list.retain(|p| filled(p) && p.flags & ffi::REAPER_PIDINFO_ZOMBIE == 0);
        return Ok(list);
    }
}

// libc has rlim_t as a signed type here.
pub(in crate::sys) fn to_rlim(value: u64) -> nix::sys::resource::rlim_t {
    nix::sys::resource::rlim_t::try_from(value).unwrap_or(nix::sys::resource::rlim_t::MAX)
}

fn info(pid: i32) -> io::Result<libc::kinfo_proc> {
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid];
    let info: libc::kinfo_proc = sysctl_value(&name)?;
    if info.ki_pid != pid {
        return Err(Errno::ESRCH.into());
    }
    Ok(info)
}

pub(in crate::sys) fn thread_count() -> io::Result<usize> {
    let me = info(nix::unistd::getpid().as_raw())?;
    Ok(usize::try_from(me.ki_numthreads).unwrap_or(0))
}

fn micros(time: libc::timeval) -> i64 {
    time.tv_sec.saturating_mul(1_000_000) + time.tv_usec
}

/// The kernel stores the start as time since boot and adds the boot time when asked; that one
/// moves when the clock is stepped, so it is taken off again.
pub(in crate::sys) fn process_start(pid: i32) -> io::Result<u64> {
    loop {
        let before: libc::timeval = boot_time()?;
        let start = micros(info(pid)?.ki_start);
        // A step between the two questions would give a wrong difference: ask again.
        if micros(before) == micros(boot_time()?) {
            return Ok(u64::try_from(start - micros(before)).unwrap_or(0));
        }
    }
}

fn boot_time() -> io::Result<libc::timeval> {
    sysctl_value(&[libc::CTL_KERN, libc::KERN_BOOTTIME])
}

/// `kern.boot_id`: 16 random bytes, drawn once per boot; it has no fixed number.
pub(in crate::sys) fn boot_id() -> io::Result<String> {
    let id: [u8; 16] = super::sysctl_by_name(c"kern.boot_id")?;
    Ok(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(in crate::sys) fn set_title(text: &CStr) -> io::Result<()> {
    // SAFETY: a format with one string and that string. Through "%s" a leading dash has no
    // meaning, so the program's name always comes first: service(8) looks for it.
    unsafe { libc::setproctitle(c"%s".as_ptr(), text.as_ptr()) };
    Ok(())
}

/// A kqueue with one `EVFILT_PROC` in it: mio itself refuses that filter.
#[derive(Debug)]
pub(in crate::sys) struct ProcessHandle {
    queue: Kqueue,
    /// The event comes once and is taken out by asking.
    exited: Cell<bool>,
}

impl ProcessHandle {
    pub(in crate::sys) fn open(pid: i32) -> io::Result<Self> {
        let queue = Kqueue::new()?;
        let ident = usize::try_from(pid).map_err(|_| Errno::ESRCH)?;
        let watch = KEvent::new(
            ident,
            EventFilter::EVFILT_PROC,
            EvFlags::EV_ADD | EvFlags::EV_ONESHOT,
            FilterFlag::NOTE_EXIT,
            0,
            0,
        );
        // With no room for events an error of the change is the call's error.
        queue.kevent(&[watch], &mut [], None)?;
        Ok(Self {
            queue,
            exited: Cell::new(false),
        })
    }

    pub(in crate::sys) fn has_exited(&mut self) -> io::Result<bool> {
        let mut events = [KEvent::new(
            0,
            EventFilter::EVFILT_PROC,
            EvFlags::empty(),
            FilterFlag::empty(),
            0,
            0,
        )];
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if !self.exited.get() && self.queue.kevent(&[], &mut events, Some(now))? > 0 {
            self.exited.set(true);
        }
        Ok(self.exited.get())
    }
}

impl AsRawFd for ProcessHandle {
    fn as_raw_fd(&self) -> RawFd {
        self.queue.as_fd().as_raw_fd()
    }
}
