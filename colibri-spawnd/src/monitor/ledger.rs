//! The run's journal, and the records that wait because the disk did not take them.
//!
//! Order is never lost: while one record waits, all later ones wait behind it. What waits is
//! bounded: first records of lesser weight are left out, and when only weighty ones are left the
//! shell stops reading the agent until there is room again, so that none of them is lost.

use std::collections::VecDeque;
use std::io;

use libcolibri::error::reason;
use libcolibri::journal::{Journal, Mark};
use libcolibri::record::{Command, Record, ENTRY_MAX};
use libcolibri::warn;

/// Records that may wait before lesser ones are left out; with only weighty ones waiting, what
/// one more read of the agent brings comes on top.
const WAITING_MAX: usize = 1024;

/// The same in bytes of memory.
const WAITING_BYTES: usize = 1024 * 1024;

/// Milliseconds between two attempts to write what waits.
const AGAIN_MS: u64 = 1000;

/// The writing side of a run's journal.
pub struct Ledger {
    journal: Journal,
    waiting: VecDeque<(u64, Record)>,
    bytes: usize,
    dropped: u64,
    again_at: u64,
    /// The journal is over its limit and the run is being ended.
    sealed: bool,
}

impl Ledger {
    /// Over a fresh journal.
    pub fn new(journal: Journal) -> Self {
        Ledger {
            journal,
            waiting: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            again_at: 0,
            sealed: false,
        }
    }

    /// From now on keeps only what the end of the run needs, so that an agent that goes on
    /// until it is killed cannot make the journal grow.
    pub fn seal(&mut self) {
        self.sealed = true;
    }

    /// Whether it has been sealed.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Writes a record behind all earlier ones; `wall` and `now` are the two clocks,
    /// milliseconds.
    pub fn append(&mut self, wall: u64, now: u64, record: Record) {
        if self.sealed && !is_last_word(&record) {
            self.dropped += 1;
            return;
        }
        self.bytes += weight(&record);
        self.waiting.push_back((wall, record));
        self.write_waiting(wall, now);
        self.make_room();
    }

    /// Tries again when it is time.
    pub fn tick(&mut self, wall: u64, now: u64) {
        if now >= self.again_at {
            self.write_waiting(wall, now);
        }
    }

    /// When [`Ledger::tick`] is due, if at all.
    pub fn deadline(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then_some(self.again_at)
    }

    /// Whether everything said so far is in the file.
    pub fn is_written(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nothing more may be taken in until the disk has room.
    pub fn is_full(&self) -> bool {
        self.waiting.len() > WAITING_MAX || self.bytes > WAITING_BYTES
    }

    /// Whether the journal has no room even for records of weight: the run must end.
    pub fn is_exhausted(&self) -> bool {
        self.journal.is_exhausted()
    }

    /// Sequence number of the last record in the file.
    pub fn last_seq(&self) -> u64 {
        self.journal.last_seq()
    }

    /// The journal, for readers.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Where a reader that has passed `seq` records goes on.
    pub fn mark_after(&self, from: Mark, seq: u64, budget: usize) -> Mark {
        let mut reader = self.journal.reader(from);
        for _ in 0..budget {
            if reader.mark().seq() >= seq || !matches!(reader.next_entry(), Ok(Some(_))) {
                break;
            }
        }
        reader.mark()
    }

    fn write_waiting(&mut self, wall: u64, now: u64) {
        while let Some((at, record)) = self.waiting.front() {
            if let Err(e) = self.write(*at, record.clone()) {
                if now >= self.again_at {
                    warn!("cannot write journal: {}; trying again", reason(&e));
                }
                self.again_at = now + AGAIN_MS;
                return;
            }
            if let Some((_, record)) = self.waiting.pop_front() {
                self.bytes -= weight(&record);
            }
        }
        self.bytes = 0;
        self.waiting.shrink_to(8);
        if !self.sealed {
            self.tell_dropped(wall);
        }
    }

    /// One record to the file, and to the disk where somebody will rely on it: the end of the
    /// run, and that the agent has its prompt (which must not be given twice after a power loss).
    fn write(&mut self, at: u64, record: Record) -> io::Result<()> {
        let must_last = matches!(
            record,
            Record::Ended(_)
                | Record::Did {
                    command: Command::Prompt,
                    ..
                }
        );
        if matches!(record, Record::Ended(_)) {
            self.tell_dropped(at);
        }
        self.journal.append(at, record)?;
        if must_last {
            // The record is in the file already; saying it twice would be worse. A second sync would
            // prove nothing of pages that the first one has given up. colibrid tells nobody of the
            // record before its own commit, which is synced, too.
            if let Err(e) = self.journal.sync() {
                warn!("cannot sync journal: {}", reason(&e));
            }
        }
        Ok(())
    }

    /// Leaves out waiting records of lesser weight, oldest first, while there are too many.
    fn make_room(&mut self) {
        while self.is_full() {
            let lesser = |(_, r): &(u64, Record)| !Journal::is_weighty(r);
            let Some(at) = self.waiting.iter().position(lesser) else {
                return;
            };
            if let Some((_, record)) = self.waiting.remove(at) {
                self.bytes -= weight(&record);
                self.dropped += 1;
            }
        }
    }

    fn tell_dropped(&mut self, wall: u64) {
        let records = std::mem::take(&mut self.dropped);
        if records > 0
            && self
                .journal
                .append(wall, Record::Dropped { records })
                .is_err()
        {
            self.dropped = records;
        }
    }
}

/// What is recorded even past the limit; each of these is either one of its kind or caused by
/// colibrid.
fn is_last_word(record: &Record) -> bool {
    matches!(
        record,
        Record::Did { .. } | Record::Stopping | Record::Exited(_) | Record::Ended(_)
    )
}

/// Bytes of memory that a waiting record holds, roughly and at least.
fn weight(record: &Record) -> usize {
    let text = match record {
        Record::State { reason, .. } => reason.len(),
        Record::Session { id, cwd } => id.len() + cwd.len(),
        Record::Asked(d) => {
            let options: usize = d.options.iter().map(String::len).sum();
            d.request.len() + d.title.len() + d.message.len() + options
        }
        Record::ToolStart { id, name } | Record::ToolEnd { id, name, .. } => id.len() + name.len(),
        Record::Answer { text } => text.len(),
        Record::Did { error, .. } => error.len(),
        Record::Ended(e) => e.reason.len() + e.stderr.len(),
        _ => 0,
    };
    size_of::<Record>() + text.min(ENTRY_MAX)
}
