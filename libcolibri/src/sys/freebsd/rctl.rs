//! Limits of a jail by rctl(4), where the kernel accounts for resources (`kern.racct.enable=1`).

use std::ffi::CString;
use std::io;

use nix::errno::Errno;

use super::ffi;
use crate::state::Accounting;
use crate::sys::cell::RunLimits;

/// Whether there is resource accounting, by sysctl(8)'s `kern.racct.enable`.
pub(in crate::sys) fn accounting() -> Accounting {
    match super::sysctl_by_name::<u8>(c"kern.racct.enable") {
        Ok(0) => Accounting::Off,
        Ok(_) => Accounting::On,
        // A kernel without the option RACCT.
        Err(_) => Accounting::Absent,
    }
}

/// Adds the rules. `memoryuse:deny` was seen not to bite without swap, so memory ends by a signal.
pub(super) fn limit(jail: &str, limits: &RunLimits) -> io::Result<()> {
    let rules = [
        (limits.memory, "memoryuse:sigkill"),
        (limits.processes, "maxproc:deny"),
        (limits.cpu, "pcpu:deny"),
    ];
    for (value, rule) in rules {
        if let Some(n) = value {
            call(ffi::rctl_add_rule, &format!("jail:{jail}:{rule}={n}"))?;
        }
    }
    Ok(())
}

/// Removes every rule about that jail; it need not exist any more.
pub(in crate::sys) fn forget_limits(jail: &str) -> io::Result<()> {
    if accounting() != Accounting::On {
        return Ok(());
    }
    match call(ffi::rctl_remove_rule, &format!("jail:{jail}")) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

fn call(function: ffi::Rctl, rule: &str) -> io::Result<()> {
    let rule = CString::new(rule)?;
    let bytes = rule.as_bytes_with_nul();
    // SAFETY: the rule with its NUL and its length; no answer is asked for.
    let result = unsafe { function(bytes.as_ptr().cast(), bytes.len(), std::ptr::null_mut(), 0) };
    Errno::result(result)?;
    Ok(())
}
