//! The journal of one attempt: a file of checksummed records, written by the monitor, read by
//! colibrid. The format is described in colibri-journal(5).
//!
//! File: the 8 bytes [`MAGIC`], then records. Record: length of the body u32, CRC-32C of the body
//! u32, body; the body is one encoded [`Entry`]. Little endian. A record is whole or it is the
//! torn end of the file: readers stop before it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use crate::error::reason;
use crate::record::{Entry, Record, ENTRY_MAX};
use crate::wire::{Reader as WireReader, WireError, Writer as WireWriter};

/// First bytes of every journal; the last two digits are the format's version.
pub const MAGIC: &[u8; 8] = b"COLIJ01\n";

/// Bytes before a record's body.
const PREFIX: usize = 8;

/// Kept free for records that matter when the size limit is reached: state, dialogs, the end.
pub const RESERVE: u64 = 1024 * 1024;

/// Why a journal cannot be read further.
#[derive(Debug)]
pub enum JournalError {
    /// The system call failed.
    Io(io::Error),
    /// The file does not begin with [`MAGIC`].
    NotAJournal,
    /// A record is whole and its checksum right, yet its content is not ours.
    Record(WireError),
    /// Sequence numbers do not follow each other.
    Sequence {
        /// The number found.
        found: u64,
        /// The number due.
        due: u64,
    },
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalError::Io(e) => f.write_str(&reason(e)),
            JournalError::NotAJournal => write!(f, "not a journal of this version"),
            JournalError::Record(e) => write!(f, "bad record: {e}"),
            JournalError::Sequence { found, due } => {
                write!(f, "record {found} where {due} was due")
            }
        }
    }
}

impl std::error::Error for JournalError {}

impl From<io::Error> for JournalError {
    fn from(e: io::Error) -> Self {
        JournalError::Io(e)
    }
}

/// The writing end: one process, appending.
pub struct Journal {
    file: File,
    end: u64,
    seq: u64,
    limit: u64,
    dropped: u64,
    buf: Vec<u8>,
}

/// Takes room on the disk for the beginning of a journal: all of [`MAGIC`] but its last byte, which
/// says nothing yet.
///
/// # Errors
/// When the file cannot be written (disk full).
pub fn prepare(file: &File) -> io::Result<()> {
    file.write_all_at(&MAGIC[..MAGIC.len() - 1], 0)
}

/// Begins a journal in an empty or [prepared](prepare) file. From here on something of the attempt
/// may have been started; before, nothing was.
///
/// # Errors
/// When it has begun already or cannot be written.
pub fn begin(file: &File) -> io::Result<()> {
    if has_begun(file)? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    file.write_all_at(MAGIC, 0)
}

/// Whether something of the attempt may have been started: see [`begin`].
///
/// # Errors
/// When the system does not say.
pub fn has_begun(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.len() >= MAGIC.len() as u64)
}

impl Journal {
    /// The journal in a file that [`begin`] was just called for; `limit` is the file size in bytes
    /// past which records of lesser weight are left out.
    ///
    /// # Errors
    /// When the file holds more or less than that.
    pub fn new(file: File, limit: u64) -> io::Result<Journal> {
        if file.metadata()?.len() != MAGIC.len() as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Journal {
            file,
            end: MAGIC.len() as u64,
            seq: 0,
            limit,
            dropped: 0,
            buf: Vec::new(),
        })
    }

    /// Sequence number of the last record.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.seq
    }

    /// Appends a record and returns its entry; `None` when it was left out because the journal
    /// is full (see [`Journal::is_weighty`]).
    ///
    /// # Errors
    /// When the system refuses (disk full): nothing of the record is left in the file and the
    /// same call may be made again.
    pub fn append(&mut self, at_ms: u64, record: Record) -> io::Result<Option<Entry>> {
        let weighty = Self::is_weighty(&record);
        if !weighty && self.end + RESERVE > self.limit {
            self.dropped += 1;
            return Ok(None);
        }
        if self.dropped > 0 && matches!(record, Record::Ended(_)) {
            let records = self.dropped;
            self.write(at_ms, Record::Dropped { records })?;
            self.dropped = 0;
        }
        self.write(at_ms, record).map(Some)
    }

    /// Whether so much has been written that not even weighty records have room: the run must
    /// be ended.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.end > self.limit
    }

    /// Records that are kept even past the limit: all that a reader needs for the truth about
    /// the run's state. Tools, usage and phases inside `working` are of lesser weight.
    #[must_use]
    pub fn is_weighty(record: &Record) -> bool {
        use crate::state::State;
        !matches!(
            record,
            Record::ToolStart { .. }
                | Record::ToolEnd { .. }
                | Record::Usage(_)
                | Record::State {
                    state: State::Working,
                    ..
                }
        )
    }

    fn write(&mut self, at_ms: u64, record: Record) -> io::Result<Entry> {
        let entry = Entry {
            seq: self.seq + 1,
            at_ms,
            record,
        };
        self.buf.clear();
        self.buf.extend_from_slice(&[0; PREFIX]);
        entry.put(&mut WireWriter::new(&mut self.buf));
        let body = &self.buf[PREFIX..];
        let len = (body.len() as u32).to_le_bytes();
        let crc = crc32c::crc32c(body).to_le_bytes();
        self.buf[..4].copy_from_slice(&len);
        self.buf[4..PREFIX].copy_from_slice(&crc);
        if let Err(e) = self.file.write_all_at(&self.buf, self.end) {
            // Best effort: a reader would stop before the torn record anyway, and the next
            // write goes to the same place.
            let _ = self.file.set_len(self.end);
            return Err(e);
        }
        self.end += self.buf.len() as u64;
        self.buf.shrink_to(4096);
        self.seq += 1;
        Ok(entry)
    }

    /// Waits until everything written is on the disk.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// A reader of the same file from a place that a reader of it gave, for sending records
    /// again. It borrows the journal: keep the [`Mark`], not the reader, between appends.
    #[must_use]
    pub fn reader(&self, from: Mark) -> Reader<&File> {
        Reader {
            file: &self.file,
            at: from.at,
            seq: from.seq,
        }
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A place between two records of one journal; the default is its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    at: u64,
    seq: u64,
}

impl Mark {
    /// Sequence number of the record before this place, 0 at the beginning.
    #[must_use]
    pub fn seq(self) -> u64 {
        self.seq
    }
}

/// The reading end; follows a file that is still being written.
pub struct Reader<F> {
    file: F,
    at: u64,
    seq: u64,
}

impl Reader<File> {
    /// Reads `file` from its beginning.
    #[must_use]
    pub fn new(file: File) -> Self {
        Reader {
            file,
            at: 0,
            seq: 0,
        }
    }
}

impl<F: std::borrow::Borrow<File>> Reader<F> {
    /// The next record; `None` at the end, which may be torn: asking again after more was
    /// written goes on from there.
    ///
    /// # Errors
    /// A file that is not a journal, or a record that no monitor of this build wrote.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, JournalError> {
        if self.at == 0 {
            let mut magic = [0; MAGIC.len()];
            if !self.read_exact_or_end(&mut magic)? {
                return Ok(None);
            }
            if &magic != MAGIC {
                return Err(JournalError::NotAJournal);
            }
            self.at = MAGIC.len() as u64;
        }
        let mut prefix = [0; PREFIX];
        if !self.read_exact_or_end(&mut prefix)? {
            return Ok(None);
        }
        let [l0, l1, l2, l3, c0, c1, c2, c3] = prefix;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len == 0 || len > ENTRY_MAX {
            return Ok(None);
        }
        let mut body = vec![0; len];
        self.at += PREFIX as u64;
        let whole = self.read_exact_or_end(&mut body);
        self.at -= PREFIX as u64;
        if !whole? || crc32c::crc32c(&body) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Ok(None);
        }
        let entry = parse(&body).map_err(JournalError::Record)?;
        let due = self.seq + 1;
        if entry.seq != due {
            return Err(JournalError::Sequence {
                found: entry.seq,
                due,
            });
        }
        self.seq = due;
        self.at += (PREFIX + len) as u64;
        Ok(Some(entry))
    }

    /// Where this reader is, to go on from there with [`Journal::reader`].
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            at: self.at,
            seq: self.seq,
        }
    }

    /// Bytes of whole records so far, the magic included.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Fills `buf` from the current position; `false` when the file ends before that.
    fn read_exact_or_end(&self, buf: &mut [u8]) -> io::Result<bool> {
        match self.file.borrow().read_exact_at(buf, self.at) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
        }
    }
}

fn parse(body: &[u8]) -> Result<Entry, WireError> {
    let mut r = WireReader::new(body);
    let entry = Entry::get(&mut r)?;
    match r.left() {
        0 => Ok(entry),
        n => Err(WireError::Trailing(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Phase, State};

    fn scratch() -> File {
        let dir = std::env::temp_dir();
        let path = dir.join(format!(
            "colibri-journal-{}-{:?}",
            std::process::id(),
            std::time::Instant::now()
        ));
        let f = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(path).unwrap();
        f
    }

    fn state(n: u64) -> Record {
        Record::State {
            state: State::Idle,
            phase: Phase::None,
            reason: format!("reason {n}"),
            until_ms: n,
        }
    }

    #[test]
    fn every_truncation_yields_a_prefix() {
        let f = scratch();
        begin(&f).unwrap();
        let mut j = Journal::new(f.try_clone().unwrap(), 1 << 30).unwrap();
        for n in 0..20 {
            j.append(n, state(n)).unwrap().unwrap();
        }
        let len = f.metadata().unwrap().len();
        for cut in (0..=len).rev() {
            f.set_len(cut).unwrap();
            let mut r = Reader::new(f.try_clone().unwrap());
            let mut count = 0;
            while let Some(e) = r.next_entry().unwrap() {
                assert_eq!(e.record, state(count));
                count += 1;
            }
            assert!(r.position() <= cut);
            if cut == len {
                assert_eq!(count, 20);
            }
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_readable_part() {
        let f = scratch();
        begin(&f).unwrap();
        let mut j = Journal::new(f.try_clone().unwrap(), 1 << 30).unwrap();
        for n in 0..3 {
            j.append(n, state(n)).unwrap();
        }
        let mut byte = [0];
        f.read_exact_at(&mut byte, 60).unwrap();
        f.write_all_at(&[byte[0] ^ 4], 60).unwrap();
        let mut r = Reader::new(f);
        let mut count = 0;
        while let Ok(Some(_)) = r.next_entry() {
            count += 1;
        }
        assert!(count < 3);
    }

    #[test]
    fn a_full_journal_keeps_what_matters_and_says_what_it_left_out() {
        let f = scratch();
        begin(&f).unwrap();
        let mut j = Journal::new(f.try_clone().unwrap(), RESERVE + 100).unwrap();
        let tool = Record::ToolStart {
            id: "x".repeat(200),
            name: "bash".into(),
        };
        assert!(j.append(0, tool.clone()).unwrap().is_some());
        assert!(j.append(0, tool.clone()).unwrap().is_none());
        assert!(j.append(0, tool).unwrap().is_none());
        assert!(j.append(0, state(1)).unwrap().is_some());
        let ended = Record::Ended(crate::record::Ended {
            exit: crate::state::Exit::Code(0),
            asked: false,
            state: State::Done,
            reason: String::new(),
            proof: crate::record::Proof::Kernel,
            stderr: String::new(),
            lines: 0,
            bytes: 0,
            malformed: 0,
        });
        j.append(0, ended.clone()).unwrap();
        let mut r = Reader::new(f);
        let mut all = Vec::new();
        while let Some(e) = r.next_entry().unwrap() {
            all.push(e.record);
        }
        assert_eq!(all[2], Record::Dropped { records: 2 });
        assert_eq!(all[3], ended);
    }
}
