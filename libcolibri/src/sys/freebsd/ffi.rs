//! Declarations of FreeBSD 15.0 that libc lacks, each with its size checked at compile time.
//!
//! Numbers and layouts: sys/sys/{procctl,jail,event,sysctl}.h of 15.0, confirmed on a running kernel.
//! The manual pages leave out the padding of the reaper structures; the kernel writes it.

use std::mem::offset_of;

/// `PROC_REAP_STATUS`: the process is itself a reaper. Without it the kernel has answered for the
/// next reaper above, and `PROC_REAP_KILL` would act on that one's descendants.
pub const REAPER_STATUS_OWNED: u32 = 1;
/// `PROC_REAP_GETPIDS`: this element is filled in.
pub const REAPER_PIDINFO_VALID: u32 = 1;
/// `PROC_REAP_GETPIDS`: dead and not yet waited for.
pub const REAPER_PIDINFO_ZOMBIE: u32 = 8;

/// `PROC_REAP_KILL`: only the descendants of one child.
pub const REAPER_KILL_SUBTREE: u32 = 2;

/// `struct procctl_reaper_status`
#[repr(C)]
#[derive(Default)]
pub struct ReaperStatus {
    pub flags: u32,
    pub children: u32,
    pub descendants: u32,
    pub reaper: libc::pid_t,
    pub first_child: libc::pid_t,
    pad: [u32; 15],
}
const _: () = assert!(size_of::<ReaperStatus>() == 80);

/// `struct procctl_reaper_pidinfo`
#[repr(C)]
#[derive(Default, Clone, Copy)]
pub struct ReaperPidInfo {
    pub pid: libc::pid_t,
    pub subtree: libc::pid_t,
    pub flags: u32,
    pad: [u32; 15],
}
const _: () = assert!(size_of::<ReaperPidInfo>() == 72);

/// `struct procctl_reaper_pids`
#[repr(C)]
pub struct ReaperPids {
    count: u32,
    pad: [u32; 15],
    pids: *mut ReaperPidInfo,
}
const _: () = assert!(size_of::<ReaperPids>() == 72);
const _: () = assert!(offset_of!(ReaperPids, pids) == 64);

impl ReaperPids {
    /// Describes `list` to the kernel, which fills at most its length.
    pub fn new(list: &mut [ReaperPidInfo]) -> Self {
        Self {
            count: u32::try_from(list.len()).unwrap_or(u32::MAX),
            pad: [0; 15],
            pids: list.as_mut_ptr(),
        }
    }
}

/// `struct procctl_reaper_kill`
#[repr(C)]
#[derive(Default)]
pub struct ReaperKill {
    pub signal: libc::c_int,
    pub flags: u32,
    pub subtree: libc::pid_t,
    pub killed: u32,
    pub first_failed: libc::pid_t,
    pad: [u32; 15],
}
const _: () = assert!(size_of::<ReaperKill>() == 80);

impl ReaperKill {
    pub fn new(signal: libc::c_int) -> Self {
        Self {
            signal,
            ..Self::default()
        }
    }

    /// Only those that descend from this child of the reaper, which may be dead.
    pub fn of(signal: libc::c_int, child: libc::pid_t) -> Self {
        Self {
            flags: REAPER_KILL_SUBTREE,
            subtree: child,
            ..Self::new(signal)
        }
    }
}

const _: () = assert!(size_of::<libc::kinfo_proc>() == 1088);
const _: () = assert!(offset_of!(libc::kinfo_proc, ki_jid) == 592);

/// `kern.proc.nfds`: how many descriptors the asking process has open; takes pid 0 only.
pub const KERN_PROC_NFDS: libc::c_int = 43;

/// Create a jail; it must not exist.
pub const JAIL_CREATE: libc::c_int = 1;
/// Change a jail; it must exist.
pub const JAIL_UPDATE: libc::c_int = 2;
/// Name the jail by the descriptor in the parameter `desc`.
pub const JAIL_USE_DESC: libc::c_int = 0x10;
/// Return in `desc` a descriptor whose last close removes the jail.
pub const JAIL_OWN_DESC: libc::c_int = 0x80;
/// Value of the parameters `host`, `ip4` and `ip6`: share the creator's.
pub const JAIL_SYS_INHERIT: libc::c_int = 2;

/// kqueue filter on a jail descriptor.
pub const EVFILT_JAILDESC: i16 = -15;
/// A process has entered the jail; its id is in the event's data.
pub const NOTE_JAIL_ATTACH: u32 = 0x2000_0000;
/// The jail is being removed, or has lost its last process.
pub const NOTE_JAIL_REMOVE: u32 = 0x1000_0000;
/// Look for a jail that is being removed, too.
pub const JAIL_DYING: libc::c_int = 8;

/// `rctl_add_rule(2)` and `rctl_remove_rule(2)`: rule, its length with the NUL, room for an answer.
pub type Rctl = unsafe extern "C" fn(
    *const libc::c_char,
    libc::size_t,
    *mut libc::c_char,
    libc::size_t,
) -> libc::c_int;

extern "C" {
    pub fn rctl_add_rule(
        rule: *const libc::c_char,
        length: libc::size_t,
        answer: *mut libc::c_char,
        room: libc::size_t,
    ) -> libc::c_int;
    pub fn rctl_remove_rule(
        filter: *const libc::c_char,
        length: libc::size_t,
        answer: *mut libc::c_char,
        room: libc::size_t,
    ) -> libc::c_int;
}
