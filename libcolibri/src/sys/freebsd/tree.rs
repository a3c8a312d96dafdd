//! Process trees by reaper.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use super::ffi::{ReaperPidInfo, REAPER_PIDINFO_VALID, REAPER_PIDINFO_ZOMBIE};
use super::{jail, process};
use crate::state::Container;

/// Descendants beyond this number are not listed; no run's process limit comes near.
const MAX_PIDS: usize = 1 << 17;

fn require_reaper(pid: i32) -> io::Result<()> {
    if process::is_reaper(pid)? {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("process {pid} is not a reaper"),
    ))
}

pub(in crate::sys) fn signal_tree(
    root: i32,
    signal: Signal,
    include_root: bool,
) -> io::Result<u32> {
    require_reaper(root)?;
    let mut count = match process::reaper_kill(root, signal) {
        // Nothing below it.
        Err(Errno::ESRCH) => 0,
        other => other?,
    };
    if include_root {
        match kill(Pid::from_raw(root), signal) {
            Ok(()) => count += 1,
            Err(Errno::ESRCH) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(count)
}

pub(in crate::sys) fn count_tree(root: i32) -> io::Result<u32> {
    require_reaper(root)?;
    let mut list = vec![ReaperPidInfo::default(); 64];
    loop {
        list.fill(ReaperPidInfo::default());
        process::reaper_pids(root, &mut list)?;
        let filled = |p: &&ReaperPidInfo| p.flags & REAPER_PIDINFO_VALID != 0;
        // A full list may have been cut off.
        if list.iter().filter(filled).count() < list.len() || list.len() >= MAX_PIDS {
            let alive = list
                .iter()
                .filter(filled)
                .filter(|p| p.flags & REAPER_PIDINFO_ZOMBIE == 0);
            return Ok(u32::try_from(alive.count()).unwrap_or(u32::MAX));
        }
        list.resize(list.len() * 4, ReaperPidInfo::default());
    }
}

pub(in crate::sys) fn count_trees(roots: &[i32]) -> Vec<Option<u32>> {
    roots.iter().map(|root| count_tree(*root).ok()).collect()
}

pub(in crate::sys) fn available_container(root: bool) -> Container {
    match root && jail::permitted() {
        true => Container::Jail,
        false => Container::Reaper,
    }
}
