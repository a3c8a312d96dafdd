//! The monitor of one run: the agent's parent.

use std::io::Read;

use libcolibri::sys;

use crate::monitor_args::{fd, Args};

/// Runs the monitor: waits until the agent's pipes are closed and its container is empty.
pub fn main(args: Args) -> ! {
    if args.failed.is_none() {
        let _ = sys::inherit(fd::STDIN);
        for pipe in [fd::STDOUT, fd::STDERR] {
            if let Ok(pipe) = sys::inherit(pipe) {
                let _ = std::fs::File::from(pipe).read_to_end(&mut Vec::new());
            }
        }
        while sys::wait_any(true).is_ok() {}
    }
    sys::exit_now(0)
}
