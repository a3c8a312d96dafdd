//! Signals as bytes on a descriptor that a loop watches.

use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::sys;

/// The signals that a process listens to.
pub struct Signals {
    stream: UnixStream,
    /// The handlers own these; the numbers are kept to name the descriptors at confinement.
    writers: Vec<RawFd>,
    flags: Vec<(i32, Arc<AtomicBool>)>,
}

impl Signals {
    /// Installs handlers for the given signal numbers.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(numbers: &[i32]) -> io::Result<Signals> {
        let (stream, writer) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        let mut signals = Signals {
            stream,
            writers: Vec::new(),
            flags: Vec::new(),
        };
        for &number in numbers {
            let flag = Arc::default();
            // The flag first, so that it is set when the byte arrives.
            signal_hook::flag::register(number, Arc::clone(&flag))?;
            let writer = writer.try_clone()?;
            signals.writers.push(writer.as_raw_fd());
            signal_hook::low_level::pipe::register(number, writer)?;
            signals.flags.push((number, flag));
        }
        Ok(signals)
    }

    /// The descriptor to watch for reading.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// All descriptors that belong to it, to be named at confinement.
    ///
    /// # Errors
    /// When one of them is not open, which would be a mistake of ours.
    pub fn held(&self) -> io::Result<Vec<ManuallyDrop<OwnedFd>>> {
        let own = self.stream.as_raw_fd();
        let all = self.writers.iter().copied().chain([own]);
        all.map(|raw| sys::inherit(raw).map(ManuallyDrop::new))
            .collect()
    }

    /// The signals that came since the last call.
    pub fn take(&mut self) -> Vec<i32> {
        let mut sink = [0; 64];
        while matches!(self.stream.read(&mut sink), Ok(n) if n > 0) {}
        self.flags
            .iter()
            .filter(|(_, flag)| flag.swap(false, Ordering::Relaxed))
            .map(|(number, _)| *number)
            .collect()
    }

    /// Waits for any of them; `false` when `until` has passed (`None`: no limit).
    pub fn wait_until(&mut self, until: Option<Instant>) -> bool {
        let timeout = match until {
            None => PollTimeout::NONE,
            Some(t) => {
                let left = t.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, timeout);
        true
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
