//! Whether processes sleep: how often each has been given the processor.
//!
//! A process that makes a system call has to run, and one that waits in a system call has to be
//! woken for that: then its count of context switches has grown.

use std::process::Command;

/// A process and its count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    /// Which.
    pub pid: i32,
    /// Context switches so far, of both kinds.
    pub switches: u64,
}

/// The counts of all of them; `None` when one is gone or the system does not tell.
#[must_use]
pub fn wake_ups(pids: &[i32]) -> Option<Vec<Quiet>> {
    pids.iter()
        .map(|pid| {
            let switches = of_proc(*pid).or_else(|| of_ps(*pid))?;
            Some(Quiet {
                pid: *pid,
                switches,
            })
        })
        .collect()
}

/// Linux.
fn of_proc(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let counts = text.lines().filter(|l| l.contains("ctxt_switches:"));
    let counts = counts.map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
    let counts: Vec<u64> = counts.collect::<Option<_>>()?;
    (counts.len() == 2).then(|| counts.iter().sum())
}

/// FreeBSD.
fn of_ps(pid: i32) -> Option<u64> {
    let out = Command::new("ps")
        .args(["-o", "nvcsw=", "-o", "nivcsw=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let counts = text.split_whitespace().map(|w| w.parse::<u64>().ok());
    let counts: Vec<u64> = counts.collect::<Option<_>>()?;
    (counts.len() == 2).then(|| counts.iter().sum())
}
