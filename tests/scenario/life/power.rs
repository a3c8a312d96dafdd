//! The power fails: what is left on the disk is what was synced, and of the rest nothing, some or all.
//! Whatever a client was told by then is there when the database is opened again.
//!
//! The disk is rebuilt from a trace of the suite's own writes and syncs.

use colibri_tests::client::Client;
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::strace::{self, What};
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibrid::store::Store;
use libcolibri::config::Paths;
use libcolibri::journal::Reader;
use libcolibri::record::Record;
use rusqlite::Connection;
use serde_json::{json, Value};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Tasks that are created; their texts fill the log until it goes into the database.
const TASKS: u64 = 75;
/// That many come in at once and share a commit.
const TOGETHER: u64 = 5;

/// A file, as processes see it and as the disk has it.
#[derive(Default)]
struct Disk {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<What>,
}

fn apply(image: &mut Vec<u8>, what: &What) {
    match what {
        What::Wrote(at, bytes) => {
            let end = at + bytes.len();
            image.resize(image.len().max(end), 0);
            image[*at..end].copy_from_slice(bytes);
        }
        What::Cut(size) => image.resize(*size, 0),
        What::Synced | What::Sent(_) => {}
    }
}

impl Disk {
    fn take(&mut self, what: What) {
        apply(&mut self.seen, &what);
        match what {
            What::Synced => {
                self.durable.clone_from(&self.seen);
                self.unsynced.clear();
            }
            other => self.unsynced.push(other),
        }
    }

    /// What may be left: nothing that was not synced, every other write, all of it.
    fn left(&self) -> Vec<Vec<u8>> {
        let mut some = self.durable.clone();
        for what in self.unsynced.iter().step_by(2) {
            apply(&mut some, what);
        }
        match self.unsynced.is_empty() {
            true => vec![some],
            false => vec![self.durable.clone(), some, self.seen.clone()],
        }
    }
}

/// What clients were told so far.
#[derive(Default)]
struct Told {
    tasks: Vec<u64>,
    runs: Vec<u64>,
    event: u64,
    ended: bool,
}

impl Told {
    /// Takes in what was sent to a client; whether it promised anything.
    fn take(&mut self, sent: &[u8]) -> bool {
        let lines = sent.split(|b| *b == b'\n');
        let mut promised = false;
        for line in lines.filter_map(|l| serde_json::from_slice::<Value>(l).ok()) {
            let number = |v: &Value| v.as_u64();
            let data = &line["data"];
            let before = (self.tasks.len(), self.runs.len(), self.event);
            if line["ok"] == true {
                self.tasks.extend(number(&data["id"]));
                self.runs.extend(number(&data["run"]));
            }
            self.event = number(&line["event"]["seq"]).unwrap_or(self.event);
            self.ended |= line["event"]["kind"] == "ended";
            promised |= before != (self.tasks.len(), self.runs.len(), self.event);
        }
        promised
    }
}

/// The machine that comes up again.
struct Machine {
    paths: Paths,
    looked_at: HashSet<u64>,
}

impl Machine {
    fn new(scratch: &Scratch) -> Self {
        let dir = scratch.path();
        let paths = Paths {
            run_dir: dir.join("run"),
            state_dir: dir.join("state"),
            tmp_dir: dir.join("tmp"),
            zoneinfo: dir.join("zoneinfo"),
        };
        fs::create_dir_all(paths.database_dir()).expect("a directory");
        Self {
            paths,
            looked_at: HashSet::new(),
        }
    }

    /// Every disk that may be left now has what was told.
    fn survives(&mut self, database: &Disk, log: &Disk, told: &Told) {
        for db in &database.left() {
            for wal in &log.left() {
                let mut hasher = DefaultHasher::new();
                (db, wal, told.tasks.len(), told.event).hash(&mut hasher);
                if self.looked_at.insert(hasher.finish()) {
                    self.comes_up(db, wal, told);
                }
            }
        }
    }

    fn comes_up(&self, db: &[u8], wal: &[u8], told: &Told) {
        let path = self.paths.database();
        fs::write(&path, db).expect("written");
        fs::write(wal_of(&path), wal).expect("written");
        let store = Store::open(&self.paths).unwrap_or_else(|e| panic!("{e}"));
        for task in &told.tasks {
            assert!(store.task(*task).expect("read").is_some(), "task {task}");
        }
        for run in &told.runs {
            assert!(store.run(*run).expect("read").is_some(), "run {run}");
        }
        let (_, last) = store.event_range().expect("read");
        assert!(
            last >= told.event,
            "event {} was told, not {last}",
            told.event
        );
        drop(store);
        let db = Connection::open(path).expect("open");
        let word: String = db
            .query_row("PRAGMA integrity_check", [], |r| r.get(0))
            .expect("a word");
        assert_eq!(word, "ok");
    }
}

fn wal_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Whether the disk has the journal's last record for certain.
fn has_its_end(journal: &Disk, scratch: &Scratch) -> bool {
    let path = scratch.path().join("journal");
    fs::write(&path, &journal.durable).expect("written");
    let mut reader = Reader::new(File::open(&path).expect("open"));
    let mut ended = false;
    while let Ok(Some(entry)) = reader.next_entry() {
        ended |= matches!(entry.record, Record::Ended(_));
    }
    ended
}

/// A run from its beginning to its end, and tasks with long texts; how many were accepted.
fn work(suite: &Suite, steps: &mut Steps) -> u64 {
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    steps.tools(3);
    steps.settle();
    steps.exit(0);
    client.wait_ended(run);
    let mut accepted = 0;
    for _ in 0..TASKS / TOGETHER {
        let mut client: Client = suite.client();
        let text = "x".repeat(60_000);
        let task = json!({"cmd": "create-task", "title": "t", "description": text});
        client
            .send_raw(format!("{task}\n").repeat(TOGETHER as usize).as_bytes())
            .expect("sent");
        for _ in 0..TOGETHER {
            let reply = client.value(colibri_tests::wait::LONG).expect("a reply");
            assert_eq!(reply["ok"], true, "{reply}");
            accepted += 1;
        }
    }
    accepted
}

#[test]
fn what_was_told_is_on_the_disk() {
    if let Some(why) = strace::missing() {
        return skip(&why);
    }
    let scratch = Scratch::new();
    let trace = scratch.path().join("trace");
    let (profile, mut steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        under: strace::words(&trace, &strace::WHOLE),
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    let accepted = work(&suite, &mut steps);
    suite.stop();

    let other = Scratch::new();
    let mut machine = Machine::new(&other);
    let directory = suite.dir().join("state/db");
    let database = directory.join("colibri.sqlite");
    let log = wal_of(&database);
    let mut told = Told::default();
    let mut disks: BTreeMap<PathBuf, Disk> = BTreeMap::new();
    let (mut named, mut checkpoints) = (false, 0);
    for path in [&database, &log] {
        disks.insert(path.clone(), Disk::default());
    }
    for call in strace::read(&trace) {
        let is_file = call.path.starts_with(suite.dir().join("state"));
        match &call.what {
            What::Sent(bytes) if !is_file => {
                let before = told.ended;
                if told.take(bytes) {
                    assert!(named, "the log's name is not synced");
                    machine.survives(&disks[&database], &disks[&log], &told);
                }
                if told.ended && !before {
                    let journal = disks.iter().find(|(p, _)| !p.starts_with(&directory));
                    let (_, journal) = journal.expect("a journal");
                    assert!(has_its_end(journal, &other), "the end is not synced");
                }
            }
            What::Synced if call.path == directory => named = true,
            What::Synced if call.path.starts_with(&directory) && told.event > 0 => {
                // In the middle of it.
                machine.survives(&disks[&database], &disks[&log], &told);
                checkpoints += usize::from(call.path == database);
            }
            _ => {}
        }
        if is_file {
            disks.entry(call.path).or_default().take(call.what);
        }
    }
    assert_eq!((told.tasks.len() as u64, told.runs.len()), (accepted, 1));
    assert!(checkpoints >= 2, "{checkpoints} checkpoints only");
    println!("{} disks", machine.looked_at.len());
    // The trace is understood: the files are as the suite left them.
    for path in [&database, &log] {
        assert!(
            fs::read(path).expect("there") == disks[path].seen,
            "{path:?}"
        );
    }
}
