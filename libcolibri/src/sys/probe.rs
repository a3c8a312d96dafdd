//! Calls that only the self-test makes, because nothing else offers them without unsafe.

use std::io;

/// Sleeps for no time by the call that `std::thread::sleep` uses, which capability mode lacks.
pub(crate) fn sleep_by_clock() -> io::Result<()> {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for the call; what is left of the time is not asked for.
    let error = unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_MONOTONIC,
            0,
            &raw const time,
            std::ptr::null_mut(),
        )
    };
    match error {
        0 => Ok(()),
        // Refused by capability mode before the call's own code is reached.
        -1 => Err(io::Error::last_os_error()),
        // This one returns the number instead of setting errno.
        e => Err(io::Error::from_raw_os_error(e)),
    }
}
