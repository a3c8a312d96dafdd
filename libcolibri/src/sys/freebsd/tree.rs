//! Process trees by reaper.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use super::{jail, process, table};
use crate::state::Container;

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
    let tree = process::reaper_tree(root)?;
    Ok(u32::try_from(tree.len()).unwrap_or(u32::MAX))
}

pub(in crate::sys) fn count_trees(roots: &[i32]) -> Vec<Option<u32>> {
    roots.iter().map(|root| count_tree(*root).ok()).collect()
}

pub(in crate::sys) fn find_by_environment(uid: u32, entry: &[u8]) -> io::Result<Vec<i32>> {
    let theirs = |p: &libc::kinfo_proc| p.ki_uid == uid && p.ki_stat != libc::SZOMB;
    let mut found: Vec<i32> = table::processes()?
        .iter()
        .filter(|p| theirs(p))
        .map(|p| p.ki_pid)
        .collect();
    let mut room = vec![0; table::ARG_MAX];
    found.retain(|pid| {
        // Gone meanwhile, or not ours to see.
        let environ = table::environment(*pid, &mut room).unwrap_or_default();
        environ.split(|b| *b == 0).any(|e| e == entry)
    });
    Ok(found)
}

pub(in crate::sys) fn available_container(root: bool) -> Container {
    match root && jail::permitted() {
        true => Container::Jail,
        false => Container::Reaper,
    }
}
