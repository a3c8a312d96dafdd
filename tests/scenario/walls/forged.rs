//! A monitor that has been taken over says what it must not: its run is lost, and nothing else
//! happens to anybody.
//!
//! Only a process of the monitors' user is listened to at all, so the forger has to be one: these
//! tests need a suite whose users are not separated.

use colibri_tests::procs::users_of;
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{is_root, Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use libcolibri::msg::{FromMonitor, Kill, RunKey};
use libcolibri::record::{Entry, Record};
use libcolibri::wire::{self, Wire};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

fn frame<M: Wire>(m: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode(m, &mut bytes);
    bytes
}

fn hello(key: RunKey) -> Vec<u8> {
    frame(&FromMonitor::Hello {
        key,
        last_seq: 1_000_000,
    })
}

fn entry(seq: u64) -> Vec<u8> {
    let record = Record::Stopping;
    frame(&FromMonitor::Entry(Entry {
        seq,
        at_ms: u64::MAX,
        record,
    }))
}

/// What it says, and whether that alone ends its connection.
fn lies(key: RunKey) -> Vec<(&'static str, Vec<u8>, bool)> {
    let other = RunKey {
        run: key.run + 1,
        attempt: key.attempt + 1,
    };
    let straggling = frame(&FromMonitor::Straggling { kill: Kill::Kill });
    vec![
        ("another run", hello(other), true),
        (
            "a stale attempt",
            hello(RunKey { attempt: 77, ..key }),
            true,
        ),
        ("hello twice", [hello(key), hello(key)].concat(), true),
        ("a record before hello", entry(1), true),
        (
            "a record out of order",
            [hello(key), entry(500_000)].concat(),
            true,
        ),
        ("text", b"GET / HTTP/1.0\r\n\r\n".to_vec(), true),
        ("zeroes", vec![0; 4096], true),
        ("ones", vec![0xff; 4096], true),
        (
            "a thousand signals",
            [hello(key), straggling.repeat(1000)].concat(),
            false,
        ),
    ]
}

fn only(dir: &Path) -> PathBuf {
    let mut files = fs::read_dir(dir).expect("a directory").flatten();
    files.next().expect("a file").path()
}

#[test]
fn a_forged_monitor_harms_nobody() {
    if is_root() {
        return skip("as an ordinary user only, where the monitors' user is ours");
    }
    for n in 0..lies(RunKey { run: 1, attempt: 1 }).len() {
        let scratch = Scratch::new();
        let (profile, steps) = Steps::new(&scratch, "steps");
        let setup = Setup {
            profiles: vec![profile],
            ..Setup::default()
        };
        let mut suite = Suite::start_in(scratch, setup);
        let mut client = suite.client();
        client.subscribe(None);
        let run = client.spawn_agent("steps", "go");
        let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
        client.wait_state(run, "working");
        let monitor = started["monitor"]
            .as_i64()
            .and_then(|p| i32::try_from(p).ok());
        let attempt = started["attempt"].as_u64().expect("an attempt");
        let below = suite.processes();
        for pid in below
            .iter()
            .map(|p| p.pid)
            .chain(monitor)
            .chain([suite.pid()])
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        suite.wait_end();
        must("the last process to go", LONG, || {
            users_of(suite.dir()).is_empty().then_some(())
        });
        // In the dead monitor's place: its lock and its socket.
        let journal = File::open(only(&suite.dir().join("state/runs"))).expect("the journal");
        // To an ordinary user a dying monitor does not show what it still holds.
        let lock = must("the dead monitor's lock", LONG, || {
            let journal = journal.try_clone().expect("a copy");
            Flock::lock(journal, FlockArg::LockExclusiveNonblock).ok()
        });
        let path = only(&suite.dir().join("run/runs"));
        fs::remove_file(&path).expect("removed");
        let listener = UnixListener::bind(&path).expect("bound");
        suite.launch();
        let (mut conn, _) = listener.accept().expect("colibrid connects");
        conn.set_read_timeout(Some(LONG)).expect("a deadline");
        let (what, bytes, ends) = lies(RunKey { run, attempt }).swap_remove(n);
        // It may hang up in the middle of it.
        let _ = conn.write_all(&bytes);
        if ends {
            let mut rest = Vec::new();
            let over = conn.read_to_end(&mut rest);
            assert!(over.is_ok() || rest.len() < 4096, "{what}: {over:?}");
        }
        let mut client = suite.client();
        let pid = client.call(json!({"cmd": "status"}))["pid"].clone();
        assert_eq!(client.call(json!({"cmd": "ping"})), json!({}), "{what}");
        drop((conn, listener, lock));
        let row: Value = must("the run to be given up", LONG, || {
            let row = client.call(json!({"cmd": "get-run", "run": run}));
            (row["ended"] == true).then_some(row)
        });
        assert_eq!(row["reason"], "monitor lost", "{what}: {row}");
        let status = client.call(json!({"cmd": "status"}));
        assert_eq!(status["pid"], pid, "{what}: the suite was started anew");
        assert!(!suite.log().contains("panicked"), "{what}: {}", suite.log());
        assert_eq!(steps.started(), 1);
    }
}
