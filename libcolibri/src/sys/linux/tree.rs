//! Process trees by walking `/proc`.
//!
//! `/proc/PID/task/TID/children` would be shorter, but not every kernel has it, and its manual
//! page allows it to miss children unless all of them are stopped. One pass over all processes
//! builds the tree from their parents instead.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::process::{ProcessHandle, Stat};
use crate::state::Container;

/// Passes of the stopping phase and of the killing phase; each needs one or two unless new
/// processes keep coming.
const MAX_PASSES: usize = 64;

/// One process for ever: id and start.
type Identity = (i32, u64);

/// Children by parent.
type Children = HashMap<i32, Vec<(i32, Stat)>>;

/// All processes as they are now.
fn all_children() -> io::Result<Children> {
    let mut children = Children::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        // Gone meanwhile, or not ours to see: not a process that could be signalled.
        if let Ok(stat) = Stat::read(pid) {
            children.entry(stat.ppid).or_default().push((pid, stat));
        }
    }
    Ok(children)
}

/// All living (not zombie) descendants of `root`.
fn descendants(root: i32) -> io::Result<Vec<Identity>> {
    Stat::read(root)?;
    Ok(below(root, &mut all_children()?))
}

/// The living descendants of `root`; they are taken out of `children`.
fn below(root: i32, children: &mut Children) -> Vec<Identity> {
    // Each process is listed under one parent and taken from the map once: no cycle can hold this up.
    let mut todo = vec![root];
    let mut found = Vec::new();
    while let Some(parent) = todo.pop() {
        for (pid, stat) in children.remove(&parent).unwrap_or_default() {
            todo.push(pid);
            if !stat.zombie {
                found.push((pid, stat.start));
            }
        }
    }
    found
}

/// Signals exactly the process of that identity; `false` if it has ended.
fn signal_one((pid, start): Identity, signal: Signal) -> nix::Result<bool> {
    let gone = |e: &io::Error| e.raw_os_error() == Some(libc::ESRCH);
    let handle = match ProcessHandle::open(pid) {
        Ok(handle) => handle,
        Err(e) if gone(&e) => return Ok(false),
        Err(e) => return Err(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))),
    };
    // The pidfd names whoever has the id now; the start says whether that is still the one meant.
    if !matches!(Stat::read(pid), Ok(stat) if stat.start == start) {
        return Ok(false);
    }
    match handle.signal(signal) {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Signals each descendant once, pass by pass until no new one appears.
fn signal_all(root: i32, signal: Signal, refused: &mut Option<Errno>) -> io::Result<u32> {
    let mut seen = HashSet::new();
    let mut count = 0;
    for _ in 0..MAX_PASSES {
        let fresh: Vec<Identity> = descendants(root)?
            .into_iter()
            .filter(|who| seen.insert(*who))
            .collect();
        if fresh.is_empty() {
            break;
        }
        for who in fresh {
            match signal_one(who, signal) {
                Ok(true) => count += 1,
                Ok(false) => {}
                Err(e) => *refused = refused.or(Some(e)),
            }
        }
    }
    Ok(count)
}

pub(in crate::sys) fn signal_tree(
    root: i32,
    signal: Signal,
    include_root: bool,
) -> io::Result<u32> {
    let start = Stat::read(root)?.start;
    let mut refused = None;
    if signal == Signal::SIGKILL {
        // A stopped process forks no more, and keeps its children's parent visible.
        signal_all(root, Signal::SIGSTOP, &mut refused)?;
    }
    refused = None;
    let mut count = signal_all(root, signal, &mut refused)?;
    if include_root {
        match signal_one((root, start), signal) {
            Ok(hit) => count += u32::from(hit),
            Err(e) => refused = refused.or(Some(e)),
        }
    }
    refused.map_or(Ok(count), |e| Err(e.into()))
}

pub(in crate::sys) fn count_tree(root: i32) -> io::Result<u32> {
    Ok(u32::try_from(descendants(root)?.len()).unwrap_or(u32::MAX))
}

pub(in crate::sys) fn count_trees(roots: &[i32]) -> Vec<Option<u32>> {
    let Ok(mut children) = all_children() else {
        return vec![None; roots.len()];
    };
    let count = |root: &i32| {
        Stat::read(*root).ok()?;
        u32::try_from(below(*root, &mut children).len()).ok()
    };
    roots.iter().map(count).collect()
}

pub(in crate::sys) fn find_by_environment(uid: u32, entry: &[u8]) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc")? {
        let process = process?;
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // Gone meanwhile, or not ours to see.
        let is_theirs = process.metadata().is_ok_and(|m| m.uid() == uid);
        let environ = std::fs::read(process.path().join("environ")).unwrap_or_default();
        if is_theirs && environ.split(|b| *b == 0).any(|e| e == entry) {
            found.push(pid);
        }
    }
    Ok(found)
}

pub(in crate::sys) fn available_container(root: bool) -> Container {
    use super::namespace::{permitted, Kind};
    match root {
        true if permitted(Kind::Root) => Container::PidNamespace,
        false if permitted(Kind::User) => Container::UserNamespace,
        _ => Container::Reaper,
    }
}
