//! colibri-journal(5) against the code: the journal that its example shows is read back, and its
//! tables name every kind and every code.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use libcolibri::journal::{Reader, MAGIC};
use libcolibri::record::{
    Command, Ended, Entry, Mode, Proof, Record, ENTRY_MAX, LONG, OPTIONS, SHORT,
};
use libcolibri::state::{Container, Exit, Phase, State};

/// At run time, since the tests may have been moved since they were built.
fn path(name: &str) -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join(name)
}

fn page() -> String {
    fs::read_to_string(path("../man/colibri-journal.5")).unwrap()
}

/// Written by a monitor: a run of a recorded agent that calls one tool.
fn journal() -> PathBuf {
    path("../tests/fixtures/journal/bash.journal")
}

fn entries() -> Vec<Entry> {
    let mut reader = Reader::new(File::open(journal()).unwrap());
    let mut all = Vec::new();
    while let Some(e) = reader.next_entry().unwrap() {
        all.push(e);
    }
    let whole = fs::metadata(journal()).unwrap().len();
    assert_eq!(reader.position(), whole, "nothing is torn");
    all
}

/// A line as `hexdump -C` prints it.
fn hexdump(at: usize, bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let (left, right) = hex.split_at(hex.len().min(8));
    let text: String = bytes
        .iter()
        .map(|b| match b {
            b' '..=b'~' => char::from(*b),
            _ => '.',
        })
        .collect();
    let columns = format!("{:<23}  {:<23}", left.join(" "), right.join(" "));
    format!("{at:08x}  {columns}  |{text}|")
}

#[test]
fn the_dumps_are_those_of_the_journal() {
    let bytes = fs::read(journal()).unwrap();
    let page = page();
    let is_dump = |l: &&str| l.len() > 60 && l.as_bytes()[8..10] == *b"  " && l.ends_with('|');
    let mut lines = 0;
    for line in page.lines().filter(is_dump) {
        let at = usize::from_str_radix(&line[..8], 16).unwrap();
        let end = bytes.len().min(at + 16);
        assert_eq!(line, hexdump(at, &bytes[at..end]));
        lines += 1;
    }
    assert_eq!(lines, 15);
}

#[test]
fn what_the_manual_says_of_the_example_is_what_the_reader_finds() {
    assert_eq!(MAGIC, b"COLIJ01\n");
    let all = entries();
    assert_eq!(all.len(), 15);
    let opened = Record::Opened {
        run: 1,
        attempt: 1,
        monitor: 1647,
        container: Container::PidNamespace,
        mode: Mode::Rpc,
    };
    assert_eq!((all[0].seq, all[0].at_ms), (1, 1_795_348_762_840));
    assert_eq!(all[0].record, opened);
    assert_eq!(all[1].record, Record::Launched { pid: 0 });
    let idle = Record::State {
        state: State::Idle,
        phase: Phase::None,
        reason: String::new(),
        until_ms: 0,
    };
    assert_eq!(all[2].record, idle);
    let taken = Record::Did {
        token: 1,
        command: Command::Prompt,
        error: String::new(),
    };
    assert_eq!(all[3].record, taken);
    let ended = Record::Ended(Ended {
        exit: Exit::Code(0),
        asked: false,
        state: State::Done,
        reason: String::new(),
        proof: Proof::Kernel,
        stderr: String::new(),
        lines: 49,
        bytes: 30_249,
        malformed: 0,
    });
    assert_eq!((all[14].seq, &all[14].record), (15, &ended));
}

#[test]
fn the_tables_have_every_kind_and_every_code() {
    let page = page();
    for kind in 1..=15 {
        assert!(page.contains(&format!("\n.It {kind} , Em ")), "kind {kind}");
    }
    assert!(!page.contains("\n.It 16 , Em "));
    let codes = (0..=255).filter_map(|n| Some(format!("{n} {}", State::from_code(n)?.as_str())));
    let phases = (0..=255).filter_map(|n| Some(format!("{n} {}", Phase::from_code(n)?.as_str())));
    let containers =
        (0..=255).filter_map(|n| Some(format!("{n} {}", Container::from_code(n)?.as_str())));
    for words in codes.chain(phases).chain(containers) {
        assert!(page.contains(&words), "{words}");
    }
    for number in [ENTRY_MAX, SHORT, LONG, OPTIONS] {
        assert!(page.contains(&number.to_string()), "{number}");
    }
}
