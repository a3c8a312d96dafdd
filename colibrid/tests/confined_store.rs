//! The database where it lives: in capability mode (Linux: under the filter), through thousands of
//! writes, its log's end, compaction, and the death of its process at any moment.

#[path = "../../libcolibri/tests/harness/mod.rs"]
mod harness;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use colibrid::store::{self, NewRun, Store};
use harness::{case, Case, TempDir};
use libcolibri::config::Paths;
use libcolibri::sandbox::{confine, policy, Confined};
use libcolibri::sys::{self, Fork};
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rusqlite::Connection;

fn main() {
    harness::main(CASES);
}

const CASES: &[Case] = &[
    case("thousands of writes, and the log cut back", writes),
    case("compaction and everything else SQL has", sql),
    case("killed in mid-transaction, four times", killed),
];

fn paths(dir: &Path) -> Paths {
    let paths = Paths {
        run_dir: dir.join("run"),
        state_dir: dir.join("state"),
        tmp_dir: dir.join("tmp"),
        zoneinfo: dir.join("zoneinfo"),
    };
    std::fs::create_dir_all(paths.database_dir()).expect("directories");
    paths
}

/// Confines this process as colibrid is, with the database open and one more descriptor.
fn confined(paths: &Paths, pipe: Option<&std::io::PipeWriter>) -> Confined {
    let mut held = vec![
        (sys::borrow(&0), "stdio"),
        (sys::borrow(&1), "stdio"),
        (sys::borrow(&2), "stdio"),
    ];
    let database = store::descriptors(paths).expect("descriptors");
    assert_eq!(database.len(), 2, "database and log");
    held.extend(database.iter().map(|(fd, role)| (sys::borrow(fd), *role)));
    held.extend(pipe.map(|p| (p.as_fd(), "keeper")));
    confine(&policy::COLIBRID, &held).unwrap_or_else(|e| panic!("{e}"))
}

fn accept(store: &Store, n: u64) -> (u64, u64) {
    let new = NewRun {
        profile: "p",
        agent: "a",
        prompt: &format!("{n} {}", "x".repeat(500)),
        by_uid: 1,
        at_ms: n,
        pane: "{}",
        of_task: None,
    };
    store.accept(&new).expect("accept")
}

/// What a process that is not confined finds there afterwards: a whole database and no index file.
fn look(paths: &Paths) -> Connection {
    let shm = paths.database_dir().join("colibri.sqlite-shm");
    assert!(!shm.exists(), "an index file is left");
    let db = Connection::open(paths.database()).expect("open");
    let word: String = db
        .query_row("PRAGMA integrity_check", [], |r| r.get(0))
        .expect("check");
    assert_eq!(word, "ok");
    db
}

/// Runs `inside` in a child of its own; the parent looks at what is left.
fn apart(inside: impl FnOnce()) {
    match sys::fork().expect("fork") {
        Fork::Child => {
            inside();
            sys::exit_now(0)
        }
        Fork::Parent(pid) => {
            let status = harness::wait(pid).expect("the end");
            assert!(
                matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)),
                "{status:?}"
            );
        }
    }
}

fn writes() {
    let dir = TempDir::new();
    let paths = paths(&dir.0);
    apart(|| {
        let store = Store::open(&paths).expect("open");
        let _confined = confined(&paths, None);
        let mut seq = 0;
        // Small commits, then one of thousands of rows, then the log's end, twice.
        for round in 0..2 {
            for n in 0..150 {
                let (run, attempt) = accept(&store, n);
                for _ in 0..5 {
                    seq += 1;
                    store
                        .add_event(seq, run, "{\"kind\":\"state\"}", 1_000_000)
                        .expect("event");
                }
                store
                    .progress(run, attempt, n, true, "{}")
                    .expect("progress");
                store.commit().expect("commit");
            }
            for n in 0..5000 {
                seq += 1;
                store
                    .add_event(seq, n, &"y".repeat(200), 1_000_000)
                    .expect("event");
            }
            store.commit().expect("commit");
            assert_eq!(store.count_runs().expect("count"), (round + 1) * 150);
            store.close();
        }
        assert_eq!(store.event_range().expect("range"), (1, seq));
    });
    let db = look(&paths);
    let events: u64 = db
        .query_row("SELECT count(*) FROM events", [], |r| r.get(0))
        .expect("count");
    assert_eq!(events, 2 * (150 * 5 + 5000));
}

fn sql() {
    let dir = TempDir::new();
    let paths = paths(&dir.0);
    apart(|| {
        // The connection of the store, without the store's idea of what to ask.
        let db = store::connect(&paths.database()).expect("connect");
        db.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); INSERT INTO t (b) VALUES (hex(randomblob(8)))")
            .expect("prime");
        let _confined = confined(&paths, None);
        db.execute_batch(
            "BEGIN; INSERT INTO t (b) VALUES ('gone'); ROLLBACK;
             BEGIN; SAVEPOINT s; INSERT INTO t (b) VALUES ('gone'); ROLLBACK TO s; COMMIT;
             INSERT INTO t (b) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
               SELECT hex(randomblob(16)) FROM n;
             CREATE INDEX t_b ON t (b);
             CREATE TEMP TABLE u AS SELECT b, count(*) AS c FROM t GROUP BY b ORDER BY b DESC;
             DELETE FROM t WHERE a % 2 = 0;
             VACUUM;",
        )
        .expect("all of it");
        let left: u64 = db
            .query_row("SELECT count(*) FROM t", [], |r| r.get(0))
            .expect("count");
        assert_eq!(left, 10_001);
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| {
            assert_eq!(r.get::<_, i64>(0)?, 0, "busy");
            Ok(())
        })
        .expect("checkpoint");
    });
    look(&paths);
}

/// Writes until it is killed; `told` gets the number of each run whose commit has returned.
fn write_for_ever(paths: &Paths, mut told: std::io::PipeWriter) -> ! {
    let store = Store::open(paths).expect("open");
    let _confined = confined(paths, Some(&told));
    for n in 0.. {
        let (run, _) = accept(&store, n);
        // The next one is open when the signal comes, more often than not.
        store.commit().expect("commit");
        told.write_all(&run.to_le_bytes()).expect("told");
        accept(&store, n);
        store
            .add_event(run, run, &"z".repeat(3000), 10_000)
            .expect("event");
        store.commit().expect("commit");
    }
    unreachable!("it is killed")
}

fn killed() {
    let dir = TempDir::new();
    let paths = paths(&dir.0);
    let mut last = 0;
    for round in 1..=4 {
        let (mut reader, writer) = std::io::pipe().expect("pipe");
        let pid = match sys::fork().expect("fork") {
            Fork::Child => {
                drop(reader);
                write_for_ever(&paths, writer)
            }
            Fork::Parent(pid) => pid,
        };
        drop(writer);
        let mut number = [0; 8];
        for _ in 0..20 * round {
            reader.read_exact(&mut number).expect("a commit");
        }
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("killed");
        waitpid(Pid::from_raw(pid), None).expect("reaped");
        while reader.read_exact(&mut number).is_ok() {}
        let told = u64::from_le_bytes(number);
        assert!(told > last);
        // Whoever comes next recovers it: nothing that was told is missing.
        let store = Store::open(&paths).expect("recovered");
        for run in last + 1..=told {
            assert!(
                store.run(run).expect("query").is_some(),
                "run {run} is lost"
            );
        }
        last = store.count_runs().expect("count");
        assert!(last <= told + 2, "{last} runs, {told} told");
        drop(store);
        look(&paths);
    }
}
