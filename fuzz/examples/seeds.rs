//! Writes inputs of the binary formats for their targets to start from, as they are now, into the
//! directory that is named; tools/fuzz.sh does so each time.

use libcolibri::journal::MAGIC;
use libcolibri::msg::{
    FromMonitor, FromSchedd, FromSpawnd, Kill, Proven, Refusal, Reply, RunKey, ToMonitor, ToSchedd,
    ToSpawnd,
};
use libcolibri::record::{Closed, Command, Dialog, Ended, Entry, Mode, Proof, Record};
use libcolibri::state::{Accounting, Container, Exit, Phase, State, Usage};
use libcolibri::wire::{encode, Wire, Writer, HEADER};
use std::fs;
use std::path::Path;

fn main() {
    let dir = std::env::args().nth(1).expect("a directory");
    for (name, fill) in [("wire", wire as fn(&Path)), ("journal", journal)] {
        let dir = Path::new(&dir).join(name);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {name}: {e}"));
        fill(&dir);
    }
}

fn save(dir: &Path, name: &str, bytes: &[u8]) {
    fs::write(dir.join(name), bytes).unwrap_or_else(|e| panic!("cannot write {name}: {e}"));
}

/// A message with its kind alone before the payload, and one as a whole frame.
fn messages<M: Wire>(dir: &Path, direction: u8, messages: &[M]) {
    for (at, message) in messages.iter().enumerate() {
        let mut frame = Vec::new();
        encode(message, &mut frame);
        let mut short = vec![direction, frame[4]];
        short.extend_from_slice(&frame[HEADER..]);
        save(dir, &format!("{direction}-{at}"), &short);
        if at == 0 {
            // The highest bit asks for a frame; 133 has it and is a multiple of the seven directions.
            frame.insert(0, 133 + direction);
            save(dir, &format!("{direction}-frame"), &frame);
        }
    }
}

fn wire(dir: &Path) {
    let key = RunKey { run: 1, attempt: 2 };
    let kill = Kill::Kill;
    messages(
        dir,
        0,
        &[
            ToSpawnd::Start { key, profile: 3 },
            ToSpawnd::Adopt { key },
            ToSpawnd::Signal { key, kill },
            ToSpawnd::Release { key, profile: 3 },
            ToSpawnd::Watchdog,
        ],
    );
    messages(
        dir,
        1,
        &[
            FromSpawnd::Ready {
                generation: 1,
                profiles: 2,
                container: Container::PidNamespace,
                accounting: Accounting::Absent,
            },
            FromSpawnd::Started { key, monitor: 9 },
            FromSpawnd::Refused {
                key,
                why: Refusal::System,
                errno: 2,
            },
            FromSpawnd::MonitorExited { key, status: 9 },
            FromSpawnd::Signalled { key, count: 1 },
            FromSpawnd::Released {
                key,
                proven: Proven::Alive,
            },
            FromSpawnd::NoWatchdog { errno: 2 },
        ],
    );
    messages(dir, 2, &[ToSchedd::Ping { token: 7 }]);
    messages(dir, 3, &[FromSchedd::Ready, FromSchedd::Pong { token: 7 }]);
    let (token, text, request) = (7, "text".to_owned(), "q".to_owned());
    messages(
        dir,
        4,
        &[
            ToMonitor::Resume { from_seq: 1 },
            ToMonitor::Prompt { token, text },
            ToMonitor::Abort { token },
            ToMonitor::Answer {
                token,
                request,
                reply: Reply::Value("yes".into()),
            },
            ToMonitor::Stop,
        ],
    );
    let mut all = vec![
        FromMonitor::Hello { key, last_seq: 4 },
        FromMonitor::Activity {
            at_ms: 1,
            lines: 2,
            bytes: 3,
        },
        FromMonitor::Straggling { kill },
    ];
    all.extend(entries().into_iter().map(FromMonitor::Entry));
    messages(dir, 5, &all);
}

fn journal(dir: &Path) {
    let (mut file, mut bodies, mut written) = (vec![0], vec![1], vec![2]);
    file.extend_from_slice(MAGIC);
    for entry in entries() {
        let mut body = Vec::new();
        entry.put(&mut Writer::new(&mut body));
        written.extend_from_slice(&body);
        bodies.push(u8::try_from(body.len()).expect("a short record"));
        bodies.extend_from_slice(&body);
    }
    save(dir, "magic", &file);
    save(dir, "bodies", &bodies);
    save(dir, "written", &written);
}

/// One entry of each kind.
fn entries() -> Vec<Entry> {
    let dialog = Dialog {
        request: "q".into(),
        method: "select".into(),
        title: "t".into(),
        message: "m".into(),
        options: vec!["a".into(), "b".into()],
        timeout_ms: 5,
    };
    let ended = Ended {
        exit: Exit::Signal(9),
        asked: true,
        state: State::Error,
        reason: "killed".into(),
        proof: Proof::Kernel,
        stderr: "bye".into(),
        lines: 1,
        bytes: 2,
        malformed: 3,
    };
    let id = String::from("i");
    let records = vec![
        Record::Opened {
            run: 1,
            attempt: 2,
            monitor: 3,
            container: Container::Reaper,
            mode: Mode::Json,
        },
        Record::Launched { pid: 9 },
        Record::State {
            state: State::Working,
            phase: Phase::Tool,
            reason: "r".into(),
            until_ms: 4,
        },
        Record::Session {
            id: id.clone(),
            cwd: "/w".into(),
        },
        Record::Usage(Usage {
            messages: 1,
            ..Usage::default()
        }),
        Record::Asked(dialog),
        Record::Settled {
            request: "q".into(),
            how: Closed::Cancelled,
        },
        Record::ToolStart {
            id: id.clone(),
            name: "bash".into(),
        },
        Record::ToolEnd {
            id,
            name: "bash".into(),
            failed: true,
            duration_ms: 3,
        },
        Record::Answer { text: "a".into() },
        Record::Did {
            token: 1,
            command: Command::Steer,
            error: String::new(),
        },
        Record::Stopping,
        Record::Exited(Exit::Unseen),
        Record::Dropped { records: 1 },
        Record::Ended(ended),
    ];
    let number = |(n, record)| Entry {
        seq: n as u64 + 1,
        at_ms: 1_700_000_000_000,
        record,
    };
    records.into_iter().enumerate().map(number).collect()
}
