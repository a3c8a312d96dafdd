//! The journal against a model, on a disk that refuses writes at any byte and loses what was not
//! synced: an acknowledged record is there, one that was refused is not, and after a power loss
//! everything up to the last sync can be read.
//!
//! One test, because the file size limit that refuses the writes is the whole process's.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use libcolibri::journal::{self, Journal, Reader};
use libcolibri::record::{Entry, Record};
use libcolibri::state::{Phase, State};
use nix::sys::resource::{getrlimit, rlim_t, setrlimit, Resource};

/// A small generator of numbers: the same ones each time.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn record(&mut self) -> Record {
        match self.below(4) {
            0 => Record::ToolStart {
                id: "x".repeat(self.below(40) as usize),
                name: "bash".into(),
            },
            1 => Record::Answer {
                text: "y".repeat(self.below(3000) as usize),
            },
            2 => Record::Stopping,
            _ => Record::State {
                state: State::Blocked,
                phase: Phase::None,
                reason: "z".repeat(self.below(100) as usize),
                until_ms: self.below(9),
            },
        }
    }
}

/// Files of this process may grow to `size` bytes and no further.
fn limit(size: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("the limit");
    let size = rlim_t::try_from(size).expect("fits").min(hard);
    setrlimit(Resource::RLIMIT_FSIZE, size, hard).expect("set");
}

fn read(path: &PathBuf) -> Vec<Entry> {
    let mut reader = Reader::new(File::open(path).expect("open"));
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry().expect("readable") {
        all.push(entry);
    }
    all
}

/// What is left after a power loss: everything up to `synced`, and of the rest some, as it was, as
/// zeroes or as garbage.
fn after_power_loss(rng: &mut Rng, path: &PathBuf, lost: &PathBuf, synced: u64) {
    let mut bytes = fs::read(path).expect("the journal");
    let unsynced = bytes.len() as u64 - synced;
    bytes.truncate((synced + rng.below(unsynced + 1)) as usize);
    let how = rng.below(3);
    for byte in &mut bytes[synced as usize..] {
        match how {
            0 => *byte = 0,
            1 if rng.below(40) == 0 => *byte = rng.below(256) as u8,
            _ => {}
        }
    }
    fs::write(lost, bytes).expect("written");
}

#[test]
fn what_was_acknowledged_is_there_and_nothing_else() {
    // Otherwise the limit ends the process instead of failing the write.
    signal_hook::flag::register(nix::libc::SIGXFSZ, Arc::new(AtomicBool::new(false)))
        .expect("a handler");
    let dir = std::env::temp_dir().join(format!("colibri-faults-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory");
    let (path, lost) = (dir.join("journal"), dir.join("lost"));
    let mut refused = 0;
    for seed in 1..=12 {
        let mut rng = Rng(seed * 7919);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .expect("a file");
        journal::begin(&file).expect("an empty file");
        let mut journal = Journal::new(file, u64::MAX / 2).expect("a journal");
        let mut acknowledged: Vec<Entry> = Vec::new();
        let (mut synced, mut synced_bytes) = (0, 8);
        journal.sync().expect("synced");
        for at in 0..60 {
            let size = fs::metadata(&path).expect("size").len();
            let record = rng.record();
            if rng.below(3) == 0 {
                // The disk ends somewhere in this record, or just behind it.
                limit(size + rng.below(64));
                match journal.append(at, record.clone()) {
                    Ok(entry) => acknowledged.extend(entry),
                    Err(_) => {
                        refused += 1;
                        assert_eq!(fs::metadata(&path).expect("size").len(), size);
                        assert_eq!(read(&path), acknowledged);
                        limit(u64::MAX);
                        // The same call again.
                        let entry = journal.append(at, record).expect("room");
                        acknowledged.extend(entry);
                    }
                }
                limit(u64::MAX);
            } else {
                acknowledged.extend(journal.append(at, record).expect("room"));
            }
            assert_eq!(journal.last_seq(), acknowledged.len() as u64);
            if rng.below(5) == 0 {
                journal.sync().expect("synced");
                synced = acknowledged.len();
                synced_bytes = fs::metadata(&path).expect("size").len();
            }
            after_power_loss(&mut rng, &path, &lost, synced_bytes);
            let left = read(&lost);
            assert!(
                left.len() >= synced,
                "seed {seed}: {} of {synced}",
                left.len()
            );
            assert_eq!(left[..], acknowledged[..left.len()], "seed {seed}");
        }
        assert_eq!(read(&path), acknowledged);
    }
    assert!(refused > 40, "the disk refused only {refused} times");
    fs::remove_dir_all(&dir).expect("removed");
}
