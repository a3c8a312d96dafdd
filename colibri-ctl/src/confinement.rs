//! What colibri-ctl may hold and do once it is connected. It runs with the rights of whoever called it, root
//! included, and reads what agents wrote.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
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

/// The table of the process of `colibri-ctl top` that reads: keys, what colibrid says, what its guard says.
pub const TOP: Confinement = Confinement {
    process: "colibri-ctl top",
    roles: &[
        Role {
            name: "colibrid",
            rights: &[Read, Write, Event],
            why: "requests, replies, events; when it is lost the guard brings another",
        },
        Role {
            name: "guard",
            rights: &[Read, Write, Event],
            why: "the terminal's size and new connections from the process that owns the terminal",
        },
        Role {
            name: "keys",
            rights: &[Read, Event],
            why: "what the operator types",
        },
        Role {
            name: "screen",
            rights: &[Write, Event],
            why: "what the operator sees",
        },
    ],
    calls: &[
        Calls {
            group: CallGroup::Base,
            why: "every process",
        },
        Calls {
            group: CallGroup::Events,
            why: "waiting for keys, colibrid and the guard",
        },
        Calls {
            group: CallGroup::Sockets,
            why: "requests to colibrid, messages to the guard",
        },
        Calls {
            group: CallGroup::ReceiveFd,
            why: "a new connection to a colibrid that was started again",
        },
    ],
    limits: CTL.limits,
    capability_mode: true,
};

/// The table of `colibri-ctl fold`, which unpacks and reads what an agent wrote.
pub const FOLD: Confinement = Confinement {
    process: "colibri-ctl fold",
    roles: &[
        Role {
            name: "recording",
            rights: &[Read, Fstat],
            why: "the recorded stream",
        },
        Role {
            name: "input",
            rights: &[],
            why: "standard input; when it is the recording, that is a copy of it",
        },
        Role {
            name: "output",
            rights: &[Write, Event, Fstat],
            why: "results and messages",
        },
    ],
    calls: &[Calls {
        group: CallGroup::Base,
        why: "every process",
    }],
    limits: CTL.limits,
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

/// Confines the process of `top` that reads, in the same way; `guard` has all its ends of that channel.
///
/// # Errors
/// A process that cannot be confined must not go on.
pub fn enter_top(colibrid: BorrowedFd<'_>, guard: &[BorrowedFd<'_>]) -> Result<()> {
    let (input, output, messages) = (io::stdin(), io::stdout(), io::stderr());
    let mut held = vec![
        (colibrid, "colibrid"),
        (input.as_fd(), "keys"),
        (output.as_fd(), "screen"),
        (messages.as_fd(), "screen"),
    ];
    held.extend(guard.iter().map(|fd| (*fd, "guard")));
    match confine(&TOP, &held) {
        Ok(_) => Ok(()),
        Err(e) => Err(Fatal::new(e.to_string())),
    }
}

/// Confines `fold` to its recording and its standard streams.
///
/// # Errors
/// A process that cannot be confined must not go on.
pub fn enter_fold(recording: BorrowedFd<'_>) -> Result<()> {
    enter_with(&FOLD, (recording, "recording"))
}

/// Confines this process to its connection and its standard streams, for good, and tries that it holds.
///
/// # Errors
/// A process that cannot be confined must not go on.
pub fn enter(colibrid: &UnixStream) -> Result<()> {
    enter_with(&CTL, (colibrid.as_fd(), "colibrid"))
}

fn enter_with(table: &Confinement, own: (BorrowedFd<'_>, &'static str)) -> Result<()> {
    let (input, output, messages) = (io::stdin(), io::stdout(), io::stderr());
    let held = [
        own,
        (input.as_fd(), "input"),
        (output.as_fd(), "output"),
        (messages.as_fd(), "output"),
    ];
    match confine(table, &held) {
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
        for role in CTL.roles.iter().chain(TOP.roles).chain(FOLD.roles) {
            assert!(!role.why.is_empty());
            let allowed = [Read, Write, Event, Fstat];
            assert!(role.rights.iter().all(|r| allowed.contains(r)));
        }
        let reads = |r: &&Role| r.rights.contains(&Read);
        let readers = |table: &Confinement| -> Vec<&str> {
            table.roles.iter().filter(reads).map(|r| r.name).collect()
        };
        assert_eq!(readers(&CTL), ["colibrid"]);
        assert_eq!(readers(&TOP), ["colibrid", "guard", "keys"]);
        assert_eq!(readers(&FOLD), ["recording"]);
    }
}
