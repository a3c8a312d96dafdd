//! Confinement on FreeBSD: rights on every descriptor, then capability mode.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use capsicum::{CapRights, FileRights};

use crate::sandbox::{Confinement, Expect, Mechanism, Probe, Right, Role};

/// ECAPMODE: the call, or a name of the global name space, does not exist in capability mode.
pub(crate) const REFUSED: i32 = libc::ECAPMODE;

fn right(right: Right) -> capsicum::Right {
    match right {
        Right::Read => capsicum::Right::Read,
        Right::Write => capsicum::Right::Write,
        Right::Seek => capsicum::Right::Seek,
        Right::Fstat => capsicum::Right::Fstat,
        Right::Fsync => capsicum::Right::Fsync,
        Right::Ftruncate => capsicum::Right::Ftruncate,
        Right::Flock => capsicum::Right::Flock,
        Right::Event => capsicum::Right::Event,
        Right::KqueueEvent => capsicum::Right::KqueueEvent,
        Right::KqueueChange => capsicum::Right::KqueueChange,
        Right::Accept => capsicum::Right::Accept,
        Right::GetSockOpt => capsicum::Right::Getsockopt,
        Right::Shutdown => capsicum::Right::Shutdown,
        Right::Lookup => capsicum::Right::Lookup,
        Right::UnlinkAt => capsicum::Right::Unlinkat,
        Right::Fexecve => capsicum::Right::Fexecve,
    }
}

/// Takes all rights but the role's. Without the rights `Ioctl` and `Fcntl`, which no role can have,
/// the kernel also clears the lists of ioctls and of what fcntl may do.
pub(crate) fn limit(fd: BorrowedFd<'_>, role: &Role) -> io::Result<()> {
    let mut rights = FileRights::new();
    for r in role.rights {
        rights.allow(right(*r));
    }
    rights.limit(&fd)
}

/// Gives everything up that the table does not name. From here on there is no way back.
pub(crate) fn enter(
    confinement: &Confinement,
    held: &[(BorrowedFd<'_>, &Role)],
) -> io::Result<Mechanism> {
    for (fd, role) in held {
        limit(*fd, role)?;
    }
    if !confinement.capability_mode {
        return Ok(Mechanism::None);
    }
    super::process::no_new_privs()?;
    // The C library looks for message catalogues when it formats its first error: that would be four
    // violations inside.
    let _ = io::Error::from_raw_os_error(libc::ECAPMODE).to_string();
    capsicum::enter()?;
    if !capsicum::get_mode()? {
        return Err(io::Error::other("not in capability mode after entering it"));
    }
    Ok(Mechanism::CapabilityMode)
}

/// Lines of the self-test that only this system has.
pub(crate) fn probes() -> Vec<Probe> {
    let mut list = vec![Probe {
        name: "read a descriptor without that right",
        expect: Expect::Errno(libc::ENOTCAPABLE),
        run: || {
            let (mut reader, _writer) = io::pipe()?;
            let mut rights = FileRights::new();
            rights.allow(capsicum::Right::Event);
            rights.limit(&reader.as_fd())?;
            reader.read_exact(&mut [0; 1])?;
            Ok(())
        },
    }];
    // Root may become root, and its processes are not counted: nothing to see.
    if !nix::unistd::geteuid().is_root() {
        list.push(Probe {
            name: "become root",
            expect: Expect::Errno(libc::EPERM),
            run: || Ok(nix::unistd::setuid(0.into())?),
        });
        list.push(Probe {
            name: "fork",
            // The limit of 0 processes; fork itself is allowed in capability mode.
            expect: Expect::Errno(libc::EAGAIN),
            run: crate::sandbox::try_fork,
        });
    }
    list
}
