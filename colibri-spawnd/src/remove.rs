//! Removing a run's TMPDIR. What is in it was made by the agent, so nothing with root looks at it:
//! a forked child becomes the agent's user and empties it; spawnd then removes the empty directory.
//!
//! No path of more than one component is used and no link followed; depth and number of entries
//! cost neither memory nor descriptors: deep directories are moved up to the top and emptied there.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use libcolibri::sys::{self, Fork, Resource};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{open, openat, renameat, OFlag};
use nix::sys::stat::{fchmodat, FchmodatFlags, Mode};
use nix::unistd::{chdir, chroot, unlinkat, UnlinkatFlags};

/// CPU seconds that a removal may take: far more than any honest directory needs.
const CPU_SECONDS: u64 = 600;

/// Like an agent, a removal must not get into anybody's way.
const NICE: i32 = 10;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Where a run's TMPDIR is.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'a> {
    /// On the host, in a directory where only we make names: its name stays for us to remove.
    Ours(&'a Path),
    /// Below another root, where the agent made it: all of it is removed from inside.
    Theirs {
        /// The other root as the host sees it.
        root: &'a Path,
        /// Its path from there.
        dir: &'a Path,
    },
}

/// Forks a child that empties the directory as `owner` and then exits; returns its id.
///
/// # Errors
/// When there are no more processes.
pub fn start(dir: Whose<'_>, owner: Option<&sys::Ids>) -> io::Result<i32> {
    let mask = sys::block_signals()?;
    let forked = sys::fork();
    if let Ok(Fork::Child) = forked {
        let done = child(dir, owner);
        sys::exit_now(i32::from(done.is_err()));
    }
    sys::restore_signals(&mask)?;
    match forked? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => unreachable!("the child has exited"),
    }
}

fn child(dir: Whose<'_>, owner: Option<&sys::Ids>) -> io::Result<()> {
    sys::default_signals()?;
    sys::close_from(3)?;
    // Only a name for ps.
    let _ = sys::set_title("remove");
    sys::set_limits(&[
        (Resource::RLIMIT_CPU, CPU_SECONDS),
        (Resource::RLIMIT_CORE, 0),
    ])?;
    sys::set_nice(sys::nice().max(NICE))?;
    if let Whose::Theirs { root, .. } = dir {
        // Links below it then lead nowhere else.
        chroot(root)?;
        chdir("/")?;
    }
    if let Some(ids) = owner {
        sys::drop_to(ids)?;
    }
    match dir {
        Whose::Ours(dir) => empty(dir),
        // Where the profile has a TMPDIR of its own there is none of ours.
        Whose::Theirs { dir, .. } => match empty(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.and_then(|()| std::fs::remove_dir(dir)),
        },
    }
}

/// Removes everything in `dir`.
fn empty(dir: &Path) -> io::Result<()> {
    // The parent belongs to us: this component is what we made. The agent may have changed its mode.
    fchmodat(
        nix::fcntl::AT_FDCWD,
        dir,
        Mode::S_IRWXU,
        FchmodatFlags::FollowSymlink,
    )?;
    let top = open(dir, DIRECTORY, Mode::empty())?;
    let mut mover = Mover { next: 0 };
    loop {
        let pass = each(&top, &mut |name, is_dir| {
            if is_dir {
                mover.empty_and_remove(&top, name)
            } else {
                unlink(top.as_fd(), name)
            }
        })?;
        match pass {
            Pass { done: 0, left: 0 } => return Ok(()),
            Pass { done: 0, .. } => return Err(Errno::ENOTEMPTY.into()),
            // Entries may be passed over while others vanish: look again.
            Pass { .. } => {}
        }
    }
}

/// What one pass through a directory did.
struct Pass {
    done: u64,
    left: u64,
}

/// Calls `f` for every entry; an entry that cannot be removed does not stop it.
fn each(dir: &OwnedFd, f: &mut dyn FnMut(&CStr, bool) -> nix::Result<()>) -> io::Result<Pass> {
    let mut pass = Pass { done: 0, left: 0 };
    let mut list = Dir::openat(dir, ".", DIRECTORY, Mode::empty())?;
    for entry in list.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let is_dir = match entry.file_type() {
            Some(kind) => kind == nix::dir::Type::Directory,
            None => is_directory(dir, name),
        };
        match f(name, is_dir) {
            Ok(()) => pass.done += 1,
            Err(_) => pass.left += 1,
        }
    }
    Ok(pass)
}

fn is_directory(dir: &OwnedFd, name: &CStr) -> bool {
    use nix::sys::stat::{fstatat, SFlag};
    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    fstatat(dir, name, flags)
        .is_ok_and(|s| SFlag::from_bits_truncate(s.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

fn unlink(dir: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
    unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)
}

/// Gives directories that are moved up names of their own.
struct Mover {
    next: u64,
}

impl Mover {
    /// Unlinks the files in the directory `name` of `top`, moves its directories up into `top`,
    /// and removes it.
    fn empty_and_remove(&mut self, top: &OwnedFd, name: &CStr) -> nix::Result<()> {
        // Needed where the agent has taken its own rights away. If the entry is by now a link to
        // something else, that something is the agent's user's anyway.
        fchmodat(top, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
        let dir = openat(top, name, DIRECTORY, Mode::empty())?;
        let moved = each(&dir, &mut |inner, is_dir| {
            if is_dir {
                self.lift(&dir, inner, top)
            } else {
                unlink(dir.as_fd(), inner)
            }
        })
        .is_ok_and(|pass| pass.done > 0);
        match unlinkat(top, name, UnlinkatFlags::RemoveDir) {
            // Something went on: the next pass comes back to it.
            Err(Errno::ENOTEMPTY | Errno::EEXIST) if moved => Ok(()),
            other => other,
        }
    }

    /// Moves the directory `name` of `dir` into `top`.
    fn lift(&mut self, dir: &OwnedFd, name: &CStr, top: &OwnedFd) -> nix::Result<()> {
        // Moving a directory changes its "..", which takes write permission.
        fchmodat(dir, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
        loop {
            self.next += 1;
            let new = format!(".colibri-{}", self.next);
            match renameat(dir, name, top, new.as_str()) {
                // The agent has used that name.
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{symlink, PermissionsExt};
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("colibri-rm-{}-{name}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        dir
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let outside = scratch("outside");
        fs::write(outside.join("keep"), "x").unwrap();
        let dir = scratch("links");
        symlink(&outside, dir.join("link")).unwrap();
        symlink("/etc/passwd", dir.join("file")).unwrap();
        fs::create_dir(dir.join("sub")).unwrap();
        symlink(&outside, dir.join("sub/link")).unwrap();
        empty(&dir).unwrap();
        fs::remove_dir(&dir).unwrap();
        assert!(outside.join("keep").exists());
        fs::remove_dir_all(&outside).unwrap();
    }

    #[test]
    fn modes_names_and_numbers_do_not_stop_it() {
        let dir = scratch("hostile");
        for n in 0..300 {
            fs::write(dir.join(format!("f{n}")), "").unwrap();
        }
        // The names that directories get when they are moved up.
        fs::write(dir.join(".colibri-1"), "").unwrap();
        fs::create_dir_all(dir.join(".colibri-2/full")).unwrap();
        fs::create_dir_all(dir.join("a/b/c")).unwrap();
        fs::write(dir.join("a/b/c/\u{1b}x"), "").unwrap();
        for inner in ["a/b/c", "a/b", "a"] {
            set_mode(&dir.join(inner), 0);
        }
        set_mode(&dir, 0);
        empty(&dir).unwrap();
        fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn depth_costs_no_descriptors() {
        let dir = scratch("deep");
        let mut at = open(&dir, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..1500 {
            nix::sys::stat::mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
            at = openat(&at, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        drop(at);
        empty(&dir).unwrap();
        fs::remove_dir(&dir).unwrap();
    }
}
