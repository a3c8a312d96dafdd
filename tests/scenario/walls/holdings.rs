//! What each live process holds and may do, seen from outside and compared with its table: where
//! descriptors lead. FreeBSD has rights of single descriptors instead, see tests/freebsd/holdings.rs.

use std::collections::BTreeMap;
use std::path::Path;

use colibri_tests::daemon::Daemon;
use colibri_tests::procs::{self, descriptors_of, status_field};
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{is_root, Scratch, Setup, COLIBRID, MONITOR, SCHEDD};
use colibri_tests::wait::{must, LONG};
use libcolibri::sandbox::{policy, Confinement};
use nix::sys::signal::Signal;
use serde_json::json;

/// The roles that a descriptor which leads to `target` can have.
fn roles_of(fd: i32, target: &Path) -> &'static [&'static str] {
    let text = target.to_string_lossy();
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    match &*text {
        _ if fd <= 2 => &["stdio"],
        "anon_inode:[eventpoll]" => &["poll"],
        "anon_inode:[eventfd]" => &["waker"],
        "anon_inode:[pidfd]" => &["process"],
        t if t.starts_with("socket:") => &[
            "signals", "spawnd", "schedd", "colibrid", "listener", "client", "monitor", "channel",
            "syslog",
        ],
        t if t.starts_with("pipe:") => &[
            "keeper",
            "agent stdin",
            "agent stdout",
            "agent stderr",
            "init",
        ],
        _ => match &*name {
            "colibrid.pid" => &["lock"],
            "run" => &["run directory"],
            "runs" => &["journals"],
            "zoneinfo" => &["zones"],
            "colibri-spawnd" => &["program"],
            n if n.ends_with(".journal") => &["journal"],
            n if n.ends_with("-wal") => &["wal"],
            n if n.ends_with(".db") || n.ends_with(".sqlite") => &["database"],
            _ => &[],
        },
    }
}

/// Asserts that everything the process holds has a role in its table; returns how many of each
/// kind there are.
#[track_caller]
fn holds(pid: i32, table: &Confinement) -> BTreeMap<&'static str, usize> {
    let held = descriptors_of(pid);
    assert!(held.len() > 3, "{}: {held:?}", table.process);
    let mut count = BTreeMap::new();
    for (fd, target) in &held {
        let roles = roles_of(*fd, target);
        let known: Vec<_> = roles.iter().filter(|r| table.role(r).is_some()).collect();
        assert!(
            !known.is_empty(),
            "{} ({pid}) holds {fd} -> {}, which its table does not name",
            table.process,
            target.display()
        );
        *count.entry(*known[0]).or_default() += 1;
    }
    count
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
        let one = |count: &BTreeMap<_, usize>, role| {
            assert_eq!(count.get(role), Some(&1), "{role}: {count:?}");
        };
        let colibrid = holds(parts.colibrid, &policy::COLIBRID);
        for role in [
            "poll",
            "database",
            "wal",
            "journals",
            "run directory",
            "lock",
        ] {
            one(&colibrid, role);
        }
        let schedd = holds(parts.schedd, &policy::SCHEDD);
        one(&schedd, "poll");
        one(&schedd, "zones");
        // Its channel, and perhaps the one to syslogd.
        assert!(schedd["signals"] <= 2, "{schedd:?}");
        let spawnd = holds(parts.spawnd, &policy::SPAWND);
        one(&spawnd, "program");
        one(&spawnd, "lock");
        let monitor = holds(monitor, &policy::MONITOR);
        one(&monitor, "poll");
        one(&monitor, "journal");
    }
    steps.settle();
    steps.exit(0);
    client = daemon.client();
    client.subscribe(Some(0));
    client.wait_ended(run);
}
