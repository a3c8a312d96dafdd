//! The database: what has been accepted and what has been concluded.
//!
//! SQLite in the one mode that works in capability mode without any path: WAL, exclusive
//! locking, temporary data in memory, opened and written once before confinement. A transaction
//! is opened by the first write of a turn of the loop and committed at its end, so that what
//! arrives together shares one sync.

mod audit;
mod claims;
mod events;
mod evidence;
mod pending;
mod queue;
mod runs;
mod schedules;
mod skills;
mod tasks;
mod updates;

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcolibri::config::Paths;
use libcolibri::error::{Fatal, Result};
use libcolibri::formats::DATABASE as SCHEMA;
use libcolibri::sys;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use pending::Sort;

pub use audit::{AuditFilter, AuditRow, NewAudit};
pub use claims::{AgentRecord, ClaimRow, NewClaim};
pub use pending::can_wait;
pub use runs::{AttemptRow, EndRow, NewRun, RunFilter, RunRow};
pub use schedules::{OccurrenceRow, ScheduleRow, Stands};
pub use skills::{NewSkill, SkillRow};
pub use tasks::{LogRow, NewTask, TaskFilter, TaskRow};

/// From each version of the schema to the next, beginning with an empty database.
const MIGRATIONS: [&[&str]; SCHEMA as usize] = [
    &[TABLES],
    &[tasks::TABLES, claims::TABLES],
    &[audit::TABLES],
    &[updates::TABLES],
    &[schedules::TABLES],
    &[skills::TABLES],
    &[tasks::BUDGETS],
];

/// The write-ahead log is cut back to this after a checkpoint, in bytes.
const WAL_LIMIT: i64 = 16 * 1024 * 1024;

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE runs (
    run INTEGER PRIMARY KEY AUTOINCREMENT,
    profile TEXT NOT NULL,
    agent TEXT NOT NULL,
    prompt TEXT NOT NULL,
    by_uid INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    wanted TEXT NOT NULL DEFAULT 'run',
    ended_ms INTEGER,
    pane TEXT NOT NULL,
    answer TEXT,
    stderr TEXT,
    exit TEXT,
    proof TEXT,
    lines INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    malformed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX runs_alive ON runs (run) WHERE ended_ms IS NULL;
CREATE INDEX runs_agent ON runs (agent, run);
CREATE TABLE attempts (
    attempt INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs (run),
    phase TEXT NOT NULL,
    journal_seq INTEGER NOT NULL DEFAULT 0,
    prompted INTEGER NOT NULL DEFAULT 0,
    container TEXT,
    monitor INTEGER,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER
) STRICT;
CREATE INDEX attempts_run ON attempts (run);
CREATE INDEX attempts_alive ON attempts (attempt) WHERE phase <> 'ended';
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    line TEXT NOT NULL
) STRICT;
";

/// An error of the database, with what was being done.
pub type DbResult<T> = std::result::Result<T, rusqlite::Error>;

/// The open database.
pub struct Store {
    db: Connection,
    /// A transaction is open.
    open: Cell<bool>,
    /// The last commit failed.
    stuck: Cell<bool>,
    /// A statement of this turn failed.
    failed: RefCell<Option<rusqlite::Error>>,
    /// Everything written since the last commit, and its size.
    pending: RefCell<Vec<pending::Write>>,
    kept: Cell<usize>,
}

/// A write that also draws randomness.
const PRIME: &str = "INSERT INTO meta VALUES ('primed', randomblob(8))
    ON CONFLICT (key) DO UPDATE SET value = excluded.value;";

fn fatal(path: &Path) -> impl Fn(rusqlite::Error) -> Fatal + '_ {
    move |e| Fatal::new(format!("cannot use {}: {e}", path.display()))
}

impl Store {
    /// Opens, recovers, migrates and primes the database. Afterwards no path is needed any more.
    ///
    /// # Errors
    /// When it cannot be used or was written by a newer build.
    pub fn open(paths: &Paths) -> Result<Store> {
        let path = paths.database();
        let fatal = fatal(&path);
        let db = open_exclusively(&path).map_err(&fatal)?;
        check_schema(&path, version(&db).map_err(&fatal)?)?;
        settle(&db).map_err(&fatal)?;
        let store = Store {
            db,
            open: Cell::new(false),
            stuck: Cell::new(false),
            failed: RefCell::new(None),
            pending: RefCell::new(Vec::new()),
            kept: Cell::new(0),
        };
        store.migrate().map_err(&fatal)?;
        match store.prime() {
            // Living runs can be supervised meanwhile.
            Err(e) if can_wait(&e) => store.prime_without_writing().map_err(&fatal)?,
            other => other.map_err(&fatal)?,
        }
        Ok(store)
    }

    fn migrate(&self) -> DbResult<()> {
        let version = version(&self.db)?;
        for (at, tables) in MIGRATIONS.iter().enumerate() {
            let next = at as i64 + 1;
            if next > version {
                let sql = tables.concat();
                self.db.execute_batch(&format!(
                    "BEGIN IMMEDIATE; {sql} PRAGMA user_version = {next}; COMMIT;"
                ))?;
            }
        }
        Ok(())
    }

    /// One committed write that also draws randomness: opens the WAL, seeds the generator, syncs
    /// the directory.
    fn prime(&self) -> DbResult<()> {
        let done = self
            .db
            .execute_batch(&format!("BEGIN IMMEDIATE; {PRIME} COMMIT;"));
        if done.is_err() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
        done
    }

    /// The same on a disk that takes no writes, with a WAL that was there before: the store begins
    /// stuck.
    fn prime_without_writing(&self) -> DbResult<()> {
        self.stuck.set(true);
        self.db
            .query_row("SELECT randomblob(8), count(*) FROM meta", [], |_| Ok(()))
    }

    /// Notes what the tasks' agents were computed from; whether that has changed.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn new_generation(&self, generation: u64) -> DbResult<bool> {
        let now = generation.to_string();
        let before: Option<String> = self
            .db
            .prepare_cached("SELECT value FROM meta WHERE key = 'generation'")?
            .query_row([], |r| r.get(0))
            .optional()?;
        if before.as_ref() == Some(&now) {
            return Ok(false);
        }
        self.write(
            Sort::Decision,
            "INSERT INTO meta VALUES ('generation', ?1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            &[&now],
        )?;
        Ok(true)
    }

    /// Makes sure that a transaction is open.
    ///
    /// # Errors
    /// When the database refuses.
    fn begin(&self) -> DbResult<()> {
        if !self.open.get() {
            self.db.execute_batch("BEGIN IMMEDIATE")?;
            self.open.set(true);
        }
        Ok(())
    }

    /// Before the end of the process: the WAL goes into the database.
    pub fn close(&self) {
        let _ = self.commit();
        let _ = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

/// A connection in the store's mode, without its tables: nothing of it needs a path any more once
/// something has been written.
///
/// # Errors
/// When it cannot be used.
pub fn connect(path: &Path) -> DbResult<Connection> {
    let db = open_exclusively(path)?;
    settle(&db)?;
    Ok(db)
}

fn open_exclusively(path: &Path) -> DbResult<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(path, flags)?;
    // Before the first read: otherwise a WAL that a crash left would be read through a shared
    // index file, which must not be held later.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    // At close SQLite would move the WAL into the database, of whatever schema that is, and unlink
    // it by path, which it cannot do in capability mode.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(db)
}

fn version(db: &Connection) -> DbResult<i64> {
    db.pragma_query_value(None, "user_version", |r| r.get(0))
}

/// Where SQLite keeps `user_version` in the database file, big-endian.
const VERSION_AT: u64 = 60;

/// The schema of the database, for [`check_schema`], without a change to any file. `None` when there
/// is none, somebody has it open, or it cannot be read, which [`Store::open`] will say.
#[must_use]
pub fn schema(path: &Path) -> Option<i64> {
    let mut in_header = [0; 4];
    let file = std::fs::File::open(path).ok()?;
    file.read_exact_at(&mut in_header, VERSION_AT).ok()?;
    drop(file);
    // SQLite would make a WAL where none is, and has nothing to add to the header then.
    if std::fs::metadata(wal(path)).map_or(0, |m| m.len()) == 0 {
        return Some(i32::from_be_bytes(in_header).into());
    }
    let db = open_exclusively(path).ok()?;
    db.busy_timeout(Duration::ZERO).ok()?;
    version(&db).ok()
}

/// Refuses a schema that this build does not know.
///
/// # Errors
/// When it is newer.
pub fn check_schema(path: &Path, version: i64) -> Result<()> {
    if version <= SCHEMA {
        return Ok(());
    }
    Err(Fatal::new(format!(
        "{}: schema {version} is from a newer Colibri, this one knows {SCHEMA}; nothing was changed",
        path.display()
    )))
}

/// The write-ahead log of a database.
fn wal(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// The rest of the mode, on a connection that locks exclusively: the WAL's index lives on the
/// heap.
fn settle(db: &Connection) -> DbResult<()> {
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |r| r.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidQuery);
    }
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "trusted_schema", false)?;
    // Nothing is written before the commit, so nothing but the commit finds the disk full.
    db.pragma_update(None, "cache_spill", false)?;
    db.pragma_update_and_check(None, "journal_size_limit", WAL_LIMIT, |_| Ok(()))?;
    // Otherwise a statement that could use a partial index is compiled anew for each value.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.set_prepared_statement_cache_capacity(128);
    Ok(())
}

/// The descriptors of the database and its WAL, found by their inodes, since SQLite does not
/// tell. SQLite owns them and keeps them open as long as the database is.
///
/// # Errors
/// When a file or a descriptor cannot be looked at.
pub fn descriptors(paths: &Paths) -> std::io::Result<Vec<(RawFd, &'static str)>> {
    let mut found = Vec::new();
    let database = paths.database();
    for (path, role) in [(wal(&database), "wal"), (database, "database")] {
        let meta = std::fs::metadata(&path)?;
        for raw in sys::open_descriptors()? {
            // Looked at in place: closing a copy would give up SQLite's lock on the file.
            let of_fd = nix::sys::stat::fstat(sys::borrow(&raw))?;
            if (of_fd.st_dev as u64, of_fd.st_ino as u64) == (meta.dev(), meta.ino()) {
                found.push((raw, role));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn scratch(name: &str) -> Paths {
        let dir = std::env::temp_dir().join(format!("colibri-store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let paths = Paths {
            run_dir: dir.join("run"),
            state_dir: dir.join("state"),
            tmp_dir: dir.join("tmp"),
            zoneinfo: dir.join("zoneinfo"),
        };
        std::fs::create_dir_all(paths.database_dir()).unwrap();
        paths
    }

    fn accept(store: &Store) -> (u64, u64) {
        let new = NewRun {
            profile: "p",
            agent: "a",
            prompt: "x",
            by_uid: 1,
            at_ms: 5,
            pane: "{}",
            of_task: None,
        };
        store.accept(&new).unwrap()
    }

    #[test]
    fn a_database_that_a_crash_left_is_recovered_without_an_index_file() {
        let paths = scratch("crash");
        let store = Store::open(&paths).unwrap();
        let (run, _) = accept(&store);
        store.commit().unwrap();
        accept(&store);
        // As kill -9 leaves it: copied with the WAL, nothing closed, the second run uncommitted.
        let copy = scratch("copy");
        for suffix in ["", "-wal"] {
            let name = format!("colibri.sqlite{suffix}");
            let from = paths.database_dir().join(&name);
            std::fs::copy(from, copy.database_dir().join(&name)).unwrap();
        }
        let back = Store::open(&copy).unwrap();
        assert!(back.run(run).unwrap().is_some());
        assert_eq!(back.alive().unwrap().len(), 1);
        assert!(!copy.database_dir().join("colibri.sqlite-shm").exists());
        let held = descriptors(&copy).unwrap();
        assert_eq!(held.len(), 2);
    }

    #[test]
    fn a_newer_schema_is_refused_untouched() {
        let paths = scratch("newer");
        let database = paths.database();
        // In the database, and then in a WAL that a crash left.
        drop(Store::open(&paths).unwrap());
        for next in 1..=2 {
            let db = Connection::open(&database).unwrap();
            db.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
            let stays = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            db.set_db_config(stays, next == 2).unwrap();
            let newer = SCHEMA + next;
            db.pragma_update(None, "user_version", newer).unwrap();
            assert_eq!(schema(&database), None, "it is in use");
            drop(db);
            let files = || [&database, &wal(&database)].map(|p| std::fs::read(p).ok());
            let before = files();
            assert_eq!(before[1].is_some(), next == 2);
            assert_eq!(schema(&database), Some(newer));
            assert_eq!(files(), before);
            if next == 2 {
                let e = Store::open(&paths).err().unwrap();
                assert!(e.message.contains("newer Colibri"), "{e}");
                assert_eq!(files(), before);
            }
        }
    }

    #[test]
    fn an_older_schema_is_carried_over_with_what_it_holds() {
        for version in 1..SCHEMA {
            carried_over_from(version);
        }
    }

    fn carried_over_from(version: i64) {
        let paths = scratch(&format!("older-{version}"));
        let db = Connection::open(paths.database()).unwrap();
        for tables in &MIGRATIONS[..version as usize] {
            db.execute_batch(&tables.concat()).unwrap();
        }
        let run = "INSERT INTO runs (profile, agent, prompt, by_uid, created_ms, pane)
                   VALUES ('p', 'a', 'x', 1, 5, '{}')";
        db.execute(run, []).unwrap();
        let attempt = "INSERT INTO attempts (run, phase, started_ms) VALUES (1, 'ended', 5)";
        db.execute(attempt, []).unwrap();
        if version >= 2 {
            db.execute_batch(
                "INSERT INTO tasks (status, since_ms, title, description, capabilities, fits, priority,
                     by_uid, created_ms, attempts, retry_on)
                 VALUES ('queued', 5, 't', '', '[]', 'a', 0, 1, 5, 3, 0);
                 INSERT INTO agents (agent, done) VALUES ('a', 2);",
            )
            .unwrap();
        }
        db.pragma_update(None, "user_version", version).unwrap();
        drop(db);
        let store = Store::open(&paths).unwrap();
        assert_eq!(store.run(1).unwrap().unwrap().of_task, None);
        if version >= 2 {
            let mut t = store.task(1).unwrap().unwrap();
            assert!(t.skills.is_empty() && t.budget.is_none() && !t.for_host);
            t.for_host = true;
            store.save_task(&t).unwrap();
            assert_eq!(store.held_for("a").unwrap(), 1);
            assert_eq!(store.agent("a").unwrap().done, 2);
        }
        assert!(store.added_agents().unwrap().is_empty());
        assert_eq!(store.count_schedules().unwrap(), 0);
        assert_eq!(store.count_skills().unwrap(), 0);
    }

    #[test]
    fn what_belongs_together_is_stored_whole_or_not_at_all() {
        let store = Store::open(&scratch("spoilt")).unwrap();
        let (old, attempt) = accept(&store);
        store.commit().unwrap();
        store.progress(old, attempt, 5, true, "{}").unwrap();
        accept(&store);
        store.spoil();
        // Nothing more is decided in this turn; what is concluded is kept.
        assert!(store.give_reason(1, "").is_ok() && store.new_generation(7).is_err());
        store.end(old, attempt, 9, "{}").unwrap();
        assert!(can_wait(&store.commit().unwrap_err()) && store.is_stuck());
        store.give_up_decisions();
        store.commit().unwrap();
        let row = store.run(old).unwrap().unwrap();
        assert_eq!((row.journal_seq, row.ended_ms), (5, Some(9)));
        assert!(store.run(old + 1).unwrap().is_none());
        let (run, _) = accept(&store);
        store.commit().unwrap();
        assert!(store.run(run).unwrap().is_some());
    }

    #[test]
    fn old_runs_are_forgotten_and_living_ones_never() {
        let store = Store::open(&scratch("expire")).unwrap();
        let all: Vec<_> = (0..10).map(|_| accept(&store)).collect();
        for (run, attempt) in &all[1..9] {
            store.end(*run, *attempt, 9, "{}").unwrap();
        }
        let gone = store.expire(3).unwrap();
        let runs: Vec<u64> = gone.iter().map(|k| k.run).collect();
        assert_eq!(runs, [2, 3, 4, 5, 6, 7]);
        assert!(store.run(all[0].0).unwrap().is_some());
        assert!(store.run(2).unwrap().is_none());
        assert!(store.expire(3).unwrap().is_empty());
    }
}
