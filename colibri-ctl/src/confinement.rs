//! What colibri-ctl may hold and do once it is connected. It runs with the rights of whoever called it, root
//! included, and reads what agents wrote.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use libcolibri::error::{Context, Fatal, Result};
use libcolibri::sandbox::{confine, CallGroup, Calls, Confinement, Limit, Right, Role};
use libcolibri::sys::{self, Resource};

use Right::{Event, Fstat, Read, Write};

/// The table of colibri-ctl.
pub const CTL: Confinement = Confinement {
    process: "colibri-ctl",
    roles: &[
        Role {
            name: "colibrid",
            rights: &[Read, Write, Event],
            why: "requests, replies, events",
        },
        Role {
            name: "input",
            rights: &[],
            why: "standard input, which has been read by now",
        },
        Role {
            name: "output",
            rights: &[Write, Event, Fstat],
            why: "results and messages; polled, to end when nobody reads them any more",
        },
    ],
    calls: &[
        Calls {
            group: CallGroup::Base,
            why: "every process",
        },
        Calls {
            group: CallGroup::Events,
            why: "waiting for colibrid, with a deadline",
        },
        Calls {
            group: CallGroup::Sockets,
            why: "requests to colibrid",
        },
    ],
    limits: &[
        limit(Resource::RLIMIT_CORE, "a core file would hold prompts"),
        limit(Resource::RLIMIT_NPROC, "it starts nothing"),
        limit(Resource::RLIMIT_FSIZE, "it writes no files of its own"),
        limit(Resource::RLIMIT_MEMLOCK, "it locks no memory"),
    ],
    capability_mode: true,
};

const fn limit(resource: Resource, why: &'static str) -> Limit {
    let value = 0;
    Limit {
        resource,
        value,
        why,
    }
}

/// Closes what the caller's shell left open, so that the table can name all there is. To be called before
/// anything but the standard streams has been opened.
///
/// # Errors
/// The system's.
pub fn close_inherited() -> Result<()> {
    sys::close_from(3).or_fatal("close inherited descriptors")
}

/// Confines this process to its connection and its standard streams, for good, and tries that it holds.
///
/// # Errors
/// A process that cannot be confined must not go on.
pub fn enter(colibrid: &UnixStream) -> Result<()> {
    let (input, output, messages) = (io::stdin(), io::stdout(), io::stderr());
    let held = [
        (colibrid.as_fd(), "colibrid"),
        (input.as_fd(), "input"),
        (output.as_fd(), "output"),
        (messages.as_fd(), "output"),
    ];
    match confine(&CTL, &held) {
        Ok(_) => Ok(()),
        Err(e) => Err(Fatal::new(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_gives_nothing_away() {
        // Whether it holds is tried by confine() itself at every start, so by every other test.
        for role in CTL.roles {
            assert!(!role.why.is_empty());
            let allowed = [Read, Write, Event, Fstat];
            assert!(role.rights.iter().all(|r| allowed.contains(r)));
        }
        let reads = |r: &&Role| r.rights.contains(&Read);
        let readers: Vec<&str> = CTL.roles.iter().filter(reads).map(|r| r.name).collect();
        assert_eq!(readers, ["colibrid"]);
    }
}
