//! What each live process holds and may do, seen from outside and compared with its table: where
//! descriptors lead, how many of each kind there are, and the limits. FreeBSD has rights of single descriptors instead, see tests/freebsd/holdings.rs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use colibri_tests::daemon::Daemon;
use colibri_tests::procs::{self, descriptors_of, status_field};
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{is_root, Scratch, Setup, COLIBRID, MONITOR, SCHEDD};
use colibri_tests::wait::{must, wait_for, LONG};
use libcolibri::log;
use libcolibri::sandbox::{policy, Confinement};
use libcolibri::sys::Resource;
use nix::sys::signal::Signal;
use serde_json::json;

/// What a descriptor is that leads to `target`, and the roles that it can have. Sockets and pipes
/// cannot be told apart from outside.
fn kind_of(fd: i32, target: &Path) -> (&'static str, &'static [&'static str]) {
    let text = target.to_string_lossy();
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    match &*text {
        _ if fd <= 2 => ("stdio", &["stdio"]),
        "anon_inode:[eventpoll]" => ("poll", &["poll"]),
        t if t.starts_with("socket:") => (
            "socket",
            &[
                "signals", "spawnd", "schedd", "colibrid", "listener", "client", "monitor",
                "channel", "syslog",
            ],
        ),
        t if t.starts_with("pipe:") => {
            ("pipe", &["keeper", "agent stdout", "agent stderr", "init"])
        }
        _ => match &*name {
            "colibrid.pid" => ("lock", &["lock"]),
            "run" => ("run directory", &["run directory"]),
            "runs" => ("journals", &["journals"]),
            "zoneinfo" => ("zones", &["zones"]),
            "colibri-spawnd" => ("program", &["program"]),
            n if n.ends_with(".journal") => ("journal", &["journal"]),
            n if n.ends_with("-wal") => ("wal", &["wal"]),
            n if n.ends_with(".sqlite") => ("database", &["database"]),
            _ => ("something else", &[]),
        },
    }
}

/// Asserts that the process holds exactly this, each with a role in its table. What it has just
/// done with may still be there for a moment.
#[track_caller]
fn holds(pid: i32, table: &Confinement, expected: &[(&'static str, usize)]) {
    let expected: BTreeMap<_, _> = expected.iter().copied().filter(|(_, n)| *n > 0).collect();
    let mut held = Vec::new();
    let mut count = BTreeMap::new();
    let _ = wait_for(LONG / 6, || {
        held = descriptors_of(pid);
        count = BTreeMap::new();
        for (fd, target) in &held {
            *count.entry(kind_of(*fd, target).0).or_default() += 1;
        }
        (count == expected).then_some(())
    });
    assert_eq!(count, expected, "{} ({pid}): {held:?}", table.process);
    for (fd, target) in &held {
        let (_, roles) = kind_of(*fd, target);
        assert!(
            roles.iter().any(|r| table.role(r).is_some()),
            "{} ({pid}) holds {fd} -> {}, which its table does not name",
            table.process,
            target.display()
        );
    }
}

/// A limit's line in `/proc/PID/limits`.
fn line_of(resource: Resource) -> &'static str {
    match resource {
        Resource::RLIMIT_CORE => "Max core file size",
        Resource::RLIMIT_NPROC => "Max processes",
        Resource::RLIMIT_FSIZE => "Max file size",
        Resource::RLIMIT_MEMLOCK => "Max locked memory",
        Resource::RLIMIT_NOFILE => "Max open files",
        other => panic!("{other:?} is in a table"),
    }
}

/// Asserts that the limits of a process are those of its table, soft and hard.
#[track_caller]
fn is_limited(pid: i32, table: &Confinement) {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
    assert!(!table.limits.is_empty(), "{}", table.process);
    for limit in table.limits {
        // What the suite was started with cannot be raised.
        let (_, most) = nix::sys::resource::getrlimit(limit.resource).expect("our limit");
        let value = limit.value.min(most).to_string();
        let name = line_of(limit.resource);
        let line = text.lines().find_map(|l| l.strip_prefix(name));
        let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
        assert_eq!(words[..2], [&value, &value], "{name} of {}", table.process);
    }
}

/// Asserts the user, and whether a filter is in force.
#[track_caller]
fn is(pid: i32, who: Option<(u32, u32)>, confined: bool) {
    let field = |name| status_field(pid, name).unwrap_or_else(|| panic!("{name} of {pid}"));
    assert_eq!(field("Seccomp"), if confined { "2" } else { "0" }, "{pid}");
    if confined {
        assert_eq!(field("NoNewPrivs"), "1", "{pid}");
    }
    let Some((uid, gid)) = who else {
        return;
    };
    let all = |id: u32| format!("{id}\t{id}\t{id}\t{id}");
    assert_eq!(field("Uid"), all(uid), "{pid}");
    assert_eq!(field("Gid"), all(gid), "{pid}");
    if uid != 0 {
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set} of {pid}");
        }
    }
    // A suite that runs as its caller keeps the caller's groups; there is nothing to give up.
    let groups = field("Groups");
    assert!(
        !is_root() || groups.split_whitespace().all(|g| g != "0"),
        "{pid} is in {groups}"
    );
}

#[test]
fn every_process_holds_what_its_table_names_and_nothing_else() {
    let scratch = Scratch::new();
    let (profile, mut steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let daemon = Daemon::start(scratch, &setup);
    let mut client = daemon.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
    let monitor = i32::try_from(started["monitor"].as_i64().expect("pid")).expect("fits");
    client.wait_state(run, "working");
    let parts = daemon.parts();
    let status = client.call(json!({"cmd": "status"}));
    let mut clients = vec![client];
    // The monitor's channel is colibrid's connection to it; a restart makes it a client.
    for round in 0..2 {
        let parts = if round == 0 {
            parts
        } else {
            procs::signal(daemon.pid().expect("the keeper"), Signal::SIGHUP);
            for pid in parts.all() {
                assert!(procs::gone(pid, LONG));
            }
            must("the run", LONG, || {
                let reply = daemon.client().call(json!({"cmd": "get-run", "run": run}));
                (reply["pane"]["container"].is_string()).then_some(())
            });
            clients = vec![daemon.client(), daemon.client()];
            daemon.parts()
        };
        let of_root = |ids: (u32, u32)| is_root().then_some(ids);
        is(parts.colibrid, of_root(COLIBRID), true);
        is(parts.schedd, of_root(SCHEDD), true);
        is(monitor, of_root(MONITOR), true);
        is(parts.spawnd, None, false);
        if !is_root() {
            skip("daemons that forbid tracing show their descriptors to root only");
            continue;
        }
        // Where there is a syslogd, each process has a connection to it.
        let syslog = usize::from(log::connection().is_ok());
        // All but the reaper, of which nothing is to be held.
        let init = usize::from(status["container"] != "reaper");
        let colibrid = [
            ("stdio", 3),
            ("poll", 1),
            ("lock", 1),
            ("run directory", 1),
            ("journals", 1),
            ("database", 1),
            ("wal", 1),
            // The keeper's.
            ("pipe", 1),
            // Two daemons, the public socket, five of the signals, the monitor, our clients.
            ("socket", 9 + syslog + clients.len()),
        ];
        holds(parts.colibrid, &policy::COLIBRID, &colibrid);
        let schedd = [
            ("stdio", 3),
            ("poll", 1),
            ("zones", 1),
            ("socket", 1 + syslog),
        ];
        holds(parts.schedd, &policy::SCHEDD, &schedd);
        let spawnd = [
            ("stdio", 3),
            ("poll", 1),
            ("program", 1),
            ("lock", 1),
            // colibrid, two of the signals.
            ("socket", 3 + syslog),
        ];
        holds(parts.spawnd, &policy::SPAWND, &spawnd);
        let of_run = [
            ("stdio", 3),
            ("poll", 1),
            ("journal", 1),
            // What the agent writes, and its end.
            ("pipe", 2 + init),
            // colibrid, its own socket, six of the signals.
            ("socket", 8 + syslog),
        ];
        holds(monitor, &policy::MONITOR, &of_run);
        is_limited(parts.colibrid, &policy::COLIBRID);
        is_limited(parts.schedd, &policy::SCHEDD);
        is_limited(parts.spawnd, &policy::SPAWND);
        is_limited(monitor, &policy::MONITOR);
    }
    steps.settle();
    steps.exit(0);
    let mut client = daemon.client();
    client.subscribe(Some(0));
    client.wait_ended(run);
}
