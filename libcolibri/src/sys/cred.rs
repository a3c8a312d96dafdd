//! Users: who is at the other end of a socket, and becoming somebody less.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::unistd::{self, Gid, Uid};

use super::system;

/// Who connected, as the kernel recorded it; never taken from a message.
///
/// On both systems these are the credentials at the time of `connect(2)` (on the client's side: of
/// whoever called `listen(2)`). A socketpair shows its creator at both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCred {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups; FreeBSD reports at most 15 of them.
    pub groups: Vec<u32>,
    /// Process id where the kernel knows it. For log lines only: it may have been reused.
    pub pid: Option<i32>,
}

/// Reads the credentials of the peer of a connected Unix socket.
///
/// Allowed in capability mode (right `GetSockOpt`).
pub fn peer_cred(fd: BorrowedFd<'_>) -> io::Result<PeerCred> {
    system::peer_cred(fd)
}

/// A user to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// Real, effective and saved user id.
    pub uid: u32,
    /// Real, effective and saved group id.
    pub gid: u32,
    /// All supplementary groups; empty is allowed and best.
    pub groups: Vec<u32>,
}

/// Becomes `ids` for good: groups first, then group, then user, then everything is read back and
/// every way back to root is tried and must fail.
///
/// The caller must be root. On an error the process may hold a mixture of both users and must exit.
pub fn drop_to(ids: &Ids) -> io::Result<()> {
    if ids.uid == 0 || ids.gid == 0 || ids.uid == u32::MAX || ids.gid == u32::MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "user and group to drop to must not be root",
        ));
    }
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    let groups: Vec<Gid> = ids.groups.iter().copied().map(Gid::from_raw).collect();
    unistd::setgroups(&groups)?;
    unistd::setresgid(gid, gid, gid)?;
    unistd::setresuid(uid, uid, uid)?;
    verify_ids(ids)?;
    verify_no_way_back()
}

/// Reads back all ids and compares them with what was asked for.
fn verify_ids(ids: &Ids) -> io::Result<()> {
    let user = unistd::getresuid()?;
    let group = unistd::getresgid()?;
    let uids = [user.real, user.effective, user.saved].map(Uid::as_raw);
    let gids = [group.real, group.effective, group.saved].map(Gid::as_raw);
    let plain = |mut list: Vec<u32>| {
        // FreeBSD before 15 lists the effective group as well: it adds nothing.
        list.retain(|g| *g != ids.gid);
        list.sort_unstable();
        list.dedup();
        list
    };
    let held = unistd::getgroups()?.into_iter().map(Gid::as_raw).collect();
    if uids != [ids.uid; 3] || gids != [ids.gid; 3] || plain(held) != plain(ids.groups.clone()) {
        return Err(io::Error::other("user ids differ from those asked for"));
    }
    Ok(())
}

/// Tries every call that could bring root back; each must answer EPERM.
fn verify_no_way_back() -> io::Result<()> {
    let (root, keep) = (Uid::from_raw(0), Uid::from_raw(u32::MAX));
    let (wheel, same) = (Gid::from_raw(0), Gid::from_raw(u32::MAX));
    let tries = [
        ("setuid(0)", unistd::setuid(root)),
        ("seteuid(0)", unistd::seteuid(root)),
        ("setresuid(-1, 0, -1)", unistd::setresuid(keep, root, keep)),
        ("setresuid(0, 0, 0)", unistd::setresuid(root, root, root)),
        ("setgid(0)", unistd::setgid(wheel)),
        ("setresgid(-1, 0, -1)", unistd::setresgid(same, wheel, same)),
        ("setgroups(0)", unistd::setgroups(&[wheel])),
    ];
    for (call, result) in tries {
        if result != Err(Errno::EPERM) {
            return Err(io::Error::other(format!(
                "{call} after dropping privileges did not fail with EPERM: {result:?}"
            )));
        }
    }
    Ok(())
}
