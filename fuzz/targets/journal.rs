//! The journal: a reader survives any file and gives only what a writer put there; what was
//! written is read back up to where the file is cut, and no further.
//!
//! The first byte of the input picks: the rest is a file; or the bodies of records, whose lengths
//! and checksums are made right here; or entries to write, cut and read.
#![no_main]

use colibri_fuzz::Rng;
use libcolibri::journal::{begin, Journal, Mark, Reader, MAGIC, RESERVE};
use libcolibri::record::{Entry, Record};
use libcolibri::wire::{Reader as Fields, Writer};
use libfuzzer_sys::fuzz_target;
use std::fs::File;
use std::os::unix::fs::FileExt;

thread_local! {
    /// One file without a name serves all inputs.
    static FILE: File = scratch();
}

fn scratch() -> File {
    let path = std::env::temp_dir().join(format!("colibri-fuzz-{}", std::process::id()));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path);
    let file = file.unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
    std::fs::remove_file(path).expect("our own file");
    file
}

fuzz_target!(|data: &[u8]| {
    let Some((&pick, rest)) = data.split_first() else {
        return;
    };
    FILE.with(|file| match pick % 3 {
        0 => raw(file, rest),
        1 => bodies(file, rest),
        _ => written(file, rest, &mut Rng::of(data)),
    });
});

fn fill(file: &File, bytes: &[u8]) {
    file.set_len(0).expect("emptied");
    file.write_all_at(bytes, 0).expect("filled");
}

fn reader(file: &File) -> Reader<File> {
    Reader::new(file.try_clone().expect("a copy"))
}

/// Reads `bytes` as a file; whatever is read must be there byte for byte.
fn raw(file: &File, bytes: &[u8]) {
    fill(file, bytes);
    let mut reader = reader(file);
    let mut again = MAGIC.to_vec();
    while let Ok(Some(entry)) = reader.next_entry() {
        put(&entry, &mut again);
        assert_eq!(entry.seq, reader.mark().seq());
    }
    let position = reader.position() as usize;
    assert!(position <= bytes.len());
    if position > 0 {
        assert_eq!(again, bytes[..position], "read what nobody wrote");
    }
}

/// Appends a record as the format has it.
fn put(entry: &Entry, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    entry.put(&mut Writer::new(&mut body));
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&checksum(&body).to_le_bytes());
    out.extend_from_slice(&body);
}

/// CRC-32C the slow way, so that the target does not check a program against itself.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            (c >> 1) ^ (0x82f6_3b78 & (c & 1).wrapping_neg())
        })
    })
}

/// Each piece (one byte for its length) is a body with the right length and checksum.
fn bodies(file: &File, mut rest: &[u8]) {
    let mut bytes = MAGIC.to_vec();
    while let Some((&len, tail)) = rest.split_first() {
        let (body, next) = tail.split_at(tail.len().min(usize::from(len)));
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&checksum(body).to_le_bytes());
        bytes.extend_from_slice(body);
        rest = next;
    }
    raw(file, &bytes);
}

/// Writes the records that the input encodes, cuts the file somewhere, spoils a byte of it, and
/// reads: what comes is the beginning of what was written.
fn written(file: &File, bytes: &[u8], rng: &mut Rng) {
    fill(file, &[]);
    let limit = RESERVE + rng.below(4096) as u64;
    let copy = file.try_clone().expect("a copy");
    begin(&copy).expect("an empty file");
    let mut journal = Journal::new(copy, limit).expect("a journal");
    let mut all: Vec<Entry> = Vec::new();
    let mut fields = Fields::new(bytes);
    while let Ok(Entry { at_ms, record, .. }) = Entry::get(&mut fields) {
        let weighty = Journal::is_weighty(&record);
        let ended = matches!(record, Record::Ended(_));
        let before = journal.last_seq();
        match journal
            .append(at_ms, record.clone())
            .expect("a disk with room")
        {
            Some(entry) => {
                assert_eq!((&entry.record, entry.at_ms), (&record, at_ms));
                // A count of what was left out may stand before the end.
                for seq in before + 1..entry.seq {
                    assert!(ended);
                    all.push(dropped(&journal, seq));
                }
                all.push(entry);
            }
            None => assert!(!weighty, "left out {record:?}"),
        }
    }
    assert_eq!(read(file), all);
    assert_eq!(journal.last_seq(), all.len() as u64);
    damage(file, &all, rng);
}

/// The record with this number, which must be a count.
fn dropped(journal: &Journal, seq: u64) -> Entry {
    let mut reader = journal.reader(Mark::default());
    loop {
        let entry = reader.next_entry().expect("readable").expect("there");
        if entry.seq == seq {
            assert!(matches!(entry.record, Record::Dropped { .. }));
            return entry;
        }
    }
}

fn read(file: &File) -> Vec<Entry> {
    let mut reader = reader(file);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry().expect("our own journal") {
        all.push(entry);
    }
    all
}

fn damage(file: &File, all: &[Entry], rng: &mut Rng) {
    let len = file.metadata().expect("a file").len() as usize;
    let cut = rng.below(len + 1);
    file.set_len(cut as u64).expect("cut");
    let rest = read(file);
    assert_eq!(rest, all[..rest.len()]);
    assert!(cut < len || rest.len() == all.len());
    let at = rng.below(cut) as u64;
    let mut byte = [0];
    if at < MAGIC.len() as u64 || file.read_exact_at(&mut byte, at).is_err() {
        return;
    }
    file.write_all_at(&[byte[0] ^ (1 << rng.below(8))], at)
        .expect("spoiled");
    let mut reader = reader(file);
    let mut count = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        assert_eq!(entry, rest[count]);
        count += 1;
    }
    assert!(reader.position() <= at, "a flipped bit went unseen");
}
