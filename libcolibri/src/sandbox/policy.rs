//! The tables: what each process of the suite holds, calls and may use up, each with its reason.

use super::{CallGroup, Calls, Confinement, Limit, Right, Role};
use crate::sys::Resource;

use Right::{
    Accept, Event, Flock, Fstat, Fsync, Ftruncate, GetSockOpt, KqueueChange, KqueueEvent, Lookup,
    Read, Seek, Shutdown, UnlinkAt, Write,
};

const fn role(name: &'static str, rights: &'static [Right], why: &'static str) -> Role {
    Role { name, rights, why }
}

const fn calls(group: CallGroup, why: &'static str) -> Calls {
    Calls { group, why }
}

const fn limit(resource: Resource, value: u64, why: &'static str) -> Limit {
    Limit {
        resource,
        value,
        why,
    }
}

/// A stream to a peer that is polled and written to.
const CHANNEL: &[Right] = &[Read, Write, Event];

const STDIO: Role = role(
    "stdio",
    &[Write, Event],
    "/dev/null, or where -d logs; nothing is ever read from it",
);
const SYSLOG: Role = role("syslog", &[Write, Event], "log lines to syslogd");
const POLL: Role = role(
    "poll",
    &[KqueueEvent, KqueueChange],
    "the loop's kqueue or epoll",
);
const INNER_QUEUE: Role = role(
    "inner queue",
    &[KqueueEvent, KqueueChange, Event],
    "a kqueue for filters that mio refuses, watched by the loop",
);
const SIGNALS: Role = role(
    "signals",
    CHANNEL,
    "both ends of the pair that signal handlers write to",
);
const WAKER: Role = role("waker", CHANNEL, "Linux: the eventfd that a poll may own");

const NO_CORE: Limit = limit(
    Resource::RLIMIT_CORE,
    0,
    "a core file would hold prompts and keys",
);
const NO_FORK: Limit = limit(Resource::RLIMIT_NPROC, 0, "it starts nothing");
const NO_FILES: Limit = limit(Resource::RLIMIT_FSIZE, 0, "it writes no files");
const NO_LOCKED_MEMORY: Limit = limit(Resource::RLIMIT_MEMLOCK, 0, "it locks no memory");

/// colibrid: keeps the state and serves the public socket.
pub const COLIBRID: Confinement = Confinement {
    process: "colibrid",
    roles: &[
        STDIO,
        SYSLOG,
        POLL,
        INNER_QUEUE,
        SIGNALS,
        WAKER,
        role("spawnd", CHANNEL, "requests to spawnd, answers and monitors' channels from it"),
        role("schedd", CHANNEL, "the timetable to schedd, what is due from it"),
        role("keeper", CHANNEL, "tells the keeper that it is ready; its end says that the keeper died"),
        role(
            "listener",
            &[Accept, Event, GetSockOpt, Read, Write, Shutdown],
            "the public socket; accepted clients inherit these rights and no more",
        ),
        role(
            "client",
            &[Event, GetSockOpt, Read, Write, Shutdown],
            "somebody connected to the public socket",
        ),
        role("monitor", CHANNEL, "one run's monitor"),
        role(
            "watchdog",
            CHANNEL,
            "a connection to the host's watchdog, lent by spawnd for one question",
        ),
        role(
            "database",
            &[Read, Write, Seek, Fstat, Fsync, Ftruncate, Flock],
            "the state; names are never needed again after the first commit",
        ),
        role(
            "wal",
            &[Read, Write, Seek, Fstat, Fsync, Ftruncate, Flock],
            "the state's write-ahead log",
        ),
        role(
            "journals",
            &[Lookup, Read, Fstat, Seek, Flock, UnlinkAt],
            "the directory of the runs' journals: to read on after a monitor's end, and to remove old ones",
        ),
        role(
            "run directory",
            &[Lookup, UnlinkAt],
            "to remove its socket and pid file at the end",
        ),
        role(
            "lock",
            &[Write, Seek, Ftruncate, Fstat, Flock],
            "the pid file, whose lock says that the suite lives; it names this process once the keeper is gone",
        ),
    ],
    calls: &[
        calls(CallGroup::Base, "every process"),
        calls(CallGroup::Events, "the loop"),
        calls(CallGroup::Files, "SQLite and reading journals"),
        calls(CallGroup::Sockets, "clients, daemons, monitors, peer credentials"),
        calls(CallGroup::Accept, "clients"),
        calls(CallGroup::ReceiveFd, "spawnd hands over the channel of each new monitor"),
        calls(CallGroup::Wait, "spawnd and schedd are its children"),
        calls(CallGroup::Directories, "journals and the socket's and pid file's removal"),
    ],
    limits: &[
        NO_CORE,
        NO_FORK,
        NO_LOCKED_MEMORY,
        limit(Resource::RLIMIT_NOFILE, 4096, "clients and monitors, each bounded by the config"),
    ],
    capability_mode: true,
};

/// schedd: knows calendars, holds nothing else.
pub const SCHEDD: Confinement = Confinement {
    process: "colibri-schedd",
    roles: &[
        STDIO,
        SYSLOG,
        POLL,
        SIGNALS,
        WAKER,
        role("colibrid", CHANNEL, "its only peer"),
        role(
            "zones",
            &[Lookup, Read, Fstat, Seek],
            "the directory of the time zones; each is read when a schedule first names it",
        ),
        role(
            "zone",
            &[Read, Fstat, Seek],
            "the file of a time zone, while it is read",
        ),
    ],
    calls: &[
        calls(CallGroup::Base, "every process"),
        calls(CallGroup::Events, "the loop"),
        calls(CallGroup::Sockets, "its channel"),
        calls(CallGroup::Lookup, "the files of the time zones"),
        calls(
            CallGroup::ReceiveFd,
            "the channel's reader uses recvmsg; a descriptor is an error there",
        ),
    ],
    limits: &[
        NO_CORE,
        NO_FORK,
        NO_FILES,
        NO_LOCKED_MEMORY,
        limit(Resource::RLIMIT_NOFILE, 64, "a handful of descriptors"),
    ],
    capability_mode: true,
};

/// The monitor: parent of one agent, reader of its output, writer of its journal.
pub const MONITOR: Confinement = Confinement {
    process: "colibri-spawnd: run",
    roles: &[
        STDIO,
        SYSLOG,
        POLL,
        INNER_QUEUE,
        SIGNALS,
        WAKER,
        role("channel", CHANNEL, "to the colibrid that asked for the run"),
        role(
            "journal",
            &[Read, Write, Seek, Fstat, Fsync, Flock],
            "the run's record; the lock on it says that this monitor lives",
        ),
        role(
            "agent stdin",
            &[Write, Event],
            "prompts and commands to the agent",
        ),
        role("agent stdout", &[Read, Event], "the agent's event stream"),
        role(
            "agent stderr",
            &[Read, Event],
            "the agent's complaints, of which a tail is kept",
        ),
        role(
            "listener",
            &[Accept, Event, GetSockOpt, Read, Write, Shutdown],
            "the run's socket, for a colibrid that was started later",
        ),
        role(
            "client",
            &[Event, GetSockOpt, Read, Write, Shutdown],
            "a colibrid that connected to the run's socket",
        ),
        role(
            "container",
            &[Event],
            "FreeBSD: owns the run's jail, closing it kills all that is in it",
        ),
        role(
            "init",
            &[Read, Event],
            "Linux: the exit status that the namespace's init reports",
        ),
    ],
    calls: &[
        calls(CallGroup::Base, "every process"),
        calls(CallGroup::Events, "the loop"),
        calls(CallGroup::Files, "the journal"),
        calls(CallGroup::Sockets, "colibrid, peer credentials"),
        calls(CallGroup::Accept, "a colibrid that was started later"),
        calls(
            CallGroup::ReceiveFd,
            "the channel's reader uses recvmsg; a descriptor is an error there",
        ),
        calls(
            CallGroup::Wait,
            "the agent's exit status, and orphans of its tree",
        ),
    ],
    limits: &[
        NO_CORE,
        NO_FORK,
        NO_LOCKED_MEMORY,
        limit(
            Resource::RLIMIT_NOFILE,
            64,
            "a handful of descriptors and one colibrid at a time",
        ),
    ],
    capability_mode: true,
};

/// spawnd: starts the runs, so it keeps root and stays outside capability mode. It holds little and
/// parses nothing that came from a client or an agent.
pub const SPAWND: Confinement = Confinement {
    process: "colibri-spawnd",
    roles: &[
        STDIO,
        SYSLOG,
        POLL,
        INNER_QUEUE,
        SIGNALS,
        WAKER,
        role(
            "colibrid",
            CHANNEL,
            "its only peer; ends of monitors' channels are sent through it",
        ),
        role(
            "lock",
            &[],
            "the suite's lock: as long as this process can start something, no other suite may",
        ),
        role(
            "program",
            &[Read, Seek, Fstat, Right::Fexecve],
            "this program's own file, which each monitor is executed from",
        ),
        role(
            "process",
            &[KqueueEvent, KqueueChange, Event],
            "the end of a monitor is waited for",
        ),
    ],
    calls: &[],
    limits: &[
        // Limits are inherited by the agents, which get their own from their profiles: no others here.
        limit(
            Resource::RLIMIT_CORE,
            0,
            "its own memory holds profiles' keys, and so do the agents'",
        ),
    ],
    capability_mode: false,
};

/// All tables, for tests and for listings.
pub const ALL: &[&Confinement] = &[&COLIBRID, &SPAWND, &MONITOR, &SCHEDD];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_line_has_a_name_and_a_reason() {
        for table in ALL {
            let mut names = HashSet::new();
            for role in table.roles {
                assert!(names.insert(role.name), "{}: {}", table.process, role.name);
                assert!(!role.why.is_empty());
                let rights: HashSet<_> = role.rights.iter().collect();
                assert_eq!(rights.len(), role.rights.len(), "{}", role.name);
            }
            let groups: HashSet<_> = table.calls.iter().map(|c| c.group).collect();
            assert_eq!(groups.len(), table.calls.len(), "{}", table.process);
            assert!(table.calls.iter().all(|c| !c.why.is_empty()));
            assert!(table.limits.iter().all(|l| !l.why.is_empty()));
        }
    }

    #[test]
    fn only_spawnd_stays_outside() {
        for table in ALL {
            assert_eq!(table.capability_mode, table.process != "colibri-spawnd");
            let forks = table
                .limits
                .iter()
                .all(|l| l.resource != Resource::RLIMIT_NPROC);
            assert_eq!(forks, !table.capability_mode);
        }
    }
}
