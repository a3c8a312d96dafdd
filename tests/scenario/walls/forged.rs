//! A monitor that has been taken over says what it must not: its run is lost, and nothing else
//! happens to anybody.
//!
//! Only a process of the monitors' user is listened to at all, so the forger has to be one: these
//! tests need a suite whose users are not separated.

use colibri_tests::agents::hostile;
use colibri_tests::daemon::Parts;
use colibri_tests::procs::{held, users_of};
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{is_root, Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use libcolibri::msg::{FromMonitor, Kill, RunKey, ToMonitor};
use libcolibri::record::{Command, Ended, Entry, Mode, Proof, Record};
use libcolibri::state::{Container, Exit, Phase, State, Usage};
use libcolibri::wire;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{kill, Signal};
use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::fs::{self, File};
use std::io::{Error, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::stage::{frame, garbage};

fn hello(key: RunKey) -> Vec<u8> {
    frame(&FromMonitor::Hello {
        key,
        last_seq: 1_000_000,
    })
}

fn entry(seq: u64, record: Record) -> Vec<u8> {
    frame(&FromMonitor::Entry(Entry {
        seq,
        at_ms: u64::MAX,
        record,
    }))
}

/// One thing to say.
struct Lie {
    what: &'static str,
    bytes: Vec<u8>,
    /// Descriptors that come with it.
    fds: usize,
    /// Why its connection ends, if that alone ends it.
    why: Option<String>,
}

fn lie(what: &'static str, bytes: Vec<u8>, why: &str) -> Lie {
    let why = Some(why.to_owned());
    Lie {
        what,
        bytes,
        fds: 0,
        why,
    }
}

/// What is said to a colibrid that has the run's records up to `seq`.
fn lies(key: RunKey, seq: u64) -> Vec<Lie> {
    let other = RunKey {
        run: key.run + 1,
        attempt: key.attempt + 1,
    };
    let stale = RunKey { attempt: 77, ..key };
    let is = |key: RunKey| format!("it says that it is {}: dropped", key.stem());
    let straggling = FromMonitor::Straggling { kill: Kill::Kill };
    let gap = format!("record 500000 where {} was due: dropped", seq + 1);
    let did = Record::Did {
        token: 4711,
        command: Command::Steer,
        error: String::new(),
    };
    let mut all = vec![
        lie("another run", hello(other), &is(other)),
        lie("a stale attempt", hello(stale), &is(stale)),
        lie("hello twice", hello(key).repeat(2), &is(key)),
        lie(
            "a record before hello",
            entry(1, Record::Stopping),
            "no hello: dropped",
        ),
        lie(
            "a record out of order",
            [hello(key), entry(500_000, Record::Stopping)].concat(),
            &gap,
        ),
    ];
    for (what, bytes, why) in garbage(&straggling) {
        let said = [hello(key), bytes].concat();
        all.push(lie(what, said, &format!("{why}: dropped")));
    }
    for fds in [1, 3, 200] {
        all.push(Lie {
            fds,
            ..lie("descriptors", hello(key), "unexpected descriptor: dropped")
        });
    }
    all.push(Lie {
        why: None,
        ..lie("the largest numbers", largest(key, seq), "")
    });
    let mut half = [hello(key), frame(&straggling)].concat();
    half.pop();
    all.push(lie("half a frame and the end", half, "the peer is gone"));
    for (what, said) in [
        ("a thousand signals", frame(&straggling).repeat(1000)),
        (
            "an answer to a command that nobody gave",
            entry(seq + 1, did),
        ),
    ] {
        all.push(Lie {
            why: None,
            ..lie(what, [hello(key), said].concat(), "")
        });
    }
    all
}

/// Every number as large as it can be, in a stream that is otherwise in order.
fn largest(key: RunKey, seq: u64) -> Vec<u8> {
    let max = u64::MAX;
    let records = [
        Record::Opened {
            run: max,
            attempt: max,
            monitor: u32::MAX,
            container: Container::Jail,
            mode: Mode::Rpc,
        },
        Record::Launched { pid: u32::MAX },
        Record::State {
            state: State::Working,
            phase: Phase::Retrying,
            reason: String::new(),
            until_ms: max,
        },
        // Twice: whoever adds them up has too much.
        Record::Usage(MOST),
        Record::Usage(MOST),
        Record::ToolEnd {
            id: String::new(),
            name: String::new(),
            failed: true,
            duration_ms: max,
        },
        Record::Dropped { records: max },
        Record::Exited(Exit::Code(i32::MIN)),
    ];
    let mut said = frame(&FromMonitor::Hello { key, last_seq: max });
    for (next, record) in (seq + 1..).zip(records) {
        said.extend(entry(next, record));
    }
    said.extend(frame(&FromMonitor::Activity {
        at_ms: max,
        lines: max,
        bytes: max,
    }));
    said
}

const MOST: Usage = Usage {
    messages: u64::MAX,
    input: u64::MAX,
    output: u64::MAX,
    cache_read: u64::MAX,
    cache_write: u64::MAX,
    cost_nano_usd: u64::MAX,
};

/// The record that colibrid wants the next after, as it says first of all.
fn resume(conn: &mut UnixStream) -> u64 {
    let mut said = frame(&ToMonitor::Resume { from_seq: 0 });
    conn.read_exact(&mut said).expect("Resume");
    let header = wire::header::<ToMonitor>(&said).expect("a header");
    match wire::decode(header.expect("whole").kind, &said[wire::HEADER..]) {
        Ok(ToMonitor::Resume { from_seq }) => from_seq,
        other => panic!("{other:?} instead of Resume"),
    }
}

fn say(conn: &UnixStream, lie: &Lie) {
    let fds = vec![conn.as_raw_fd(); lie.fds];
    let with = [ControlMessage::ScmRights(&fds)];
    let with = if fds.is_empty() { &[][..] } else { &with[..] };
    let mut left = &lie.bytes[..];
    let bytes = [IoSlice::new(left)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    if let Ok(n) = sendmsg::<()>(conn.as_raw_fd(), &bytes, with, flags, None) {
        left = &left[n..];
    }
    // It may hang up in the middle of it.
    let _ = (&*conn).write_all(left);
    if lie.why.as_deref() == Some("the peer is gone") {
        conn.shutdown(Shutdown::Write).expect("the end");
    }
}

fn only(dir: &Path) -> PathBuf {
    let mut files = fs::read_dir(dir).expect("a directory").flatten();
    files.next().expect("a file").path()
}

/// A suite that takes us for the monitor of its only run.
struct Forged {
    suite: Suite,
    steps: Steps,
    key: RunKey,
    conn: UnixStream,
    /// What says that the monitor lives.
    life: (UnixListener, Flock<File>),
}

impl Forged {
    /// Kills a suite and the monitor of its run, and starts it again with us in the dead one's
    /// place: its lock and its socket.
    fn start() -> Forged {
        let scratch = Scratch::new();
        let (profile, steps) = Steps::new(&scratch, "steps");
        let setup = Setup {
            profiles: vec![profile],
            args: vec!["-v".into()],
            ..Setup::default()
        };
        let mut suite = Suite::start_in(scratch, setup);
        let mut client = suite.client();
        client.subscribe(None);
        let run = client.spawn_agent("steps", "go");
        let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
        client.wait_state(run, "working");
        let monitor = started["monitor"].as_i64().expect("a monitor");
        let attempt = started["attempt"].as_u64().expect("an attempt");
        let mut all = vec![i32::try_from(monitor).expect("fits"), suite.pid()];
        all.extend(suite.processes().iter().map(|p| p.pid));
        for pid in all {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        suite.wait_end();
        must("the last process to go", LONG, || {
            users_of(suite.dir()).is_empty().then_some(())
        });
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
        let (conn, _) = listener.accept().expect("colibrid connects");
        conn.set_read_timeout(Some(LONG)).expect("a deadline");
        Forged {
            suite,
            steps,
            key: RunKey { run, attempt },
            conn,
            life: (listener, lock),
        }
    }

    /// The connection ends, and the log says why.
    #[track_caller]
    fn is_dropped(&mut self, what: &str, why: &str) {
        // With bytes of ours unread its end is a reset.
        let over = self.conn.read_to_end(&mut Vec::new());
        let reset = |e: &Error| e.kind() == ErrorKind::ConnectionReset;
        let ended = over.is_ok() || over.as_ref().is_err_and(reset);
        assert!(ended, "{what}: {over:?}");
        let line = format!("monitor of {}: {why}\n", self.key.stem());
        must("a word in the log", LONG, || {
            self.suite.log().contains(&line).then_some(())
        });
    }

    /// The run is lost, and that is all.
    #[track_caller]
    fn harms_nobody(self, what: &str) {
        let mut client = self.suite.client();
        let pid = client.call(json!({"cmd": "status"}))["pid"].clone();
        assert_eq!(client.call(json!({"cmd": "ping"})), json!({}), "{what}");
        drop((self.conn, self.life));
        let row: Value = must("the run to be given up", LONG, || {
            let row = client.call(json!({"cmd": "get-run", "run": self.key.run}));
            (row["ended"] == true).then_some(row)
        });
        assert_eq!(row["reason"], "monitor lost", "{what}: {row}");
        let status = client.call(json!({"cmd": "status"}));
        assert_eq!(status["pid"], pid, "{what}: the suite was started anew");
        let log = self.suite.log();
        for word in ["panicked", "cannot store"] {
            assert!(!log.contains(word), "{what}: {log}");
        }
        assert_eq!(self.steps.started(), 1);
    }
}

#[test]
fn a_forged_monitor_harms_nobody() {
    if is_root() {
        return skip("as an ordinary user only, where the monitors' user is ours");
    }
    for n in 0..lies(RunKey { run: 1, attempt: 1 }, 0).len() {
        let mut forged = Forged::start();
        let from = resume(&mut forged.conn);
        let lie = lies(forged.key, from).swap_remove(n);
        say(&forged.conn, &lie);
        if let Some(why) = &lie.why {
            forged.is_dropped(lie.what, why);
        }
        forged.harms_nobody(lie.what);
    }
}

/// The agent lives, its monitor is held still, and in its name somebody says that all is over.
#[test]
fn a_false_end_is_none_before_the_agent_is_proven_dead() {
    if is_root() {
        return skip("as an ordinary user only, where the monitors' user is ours");
    }
    let scratch = Scratch::new();
    let (profile, traces) = hostile(&scratch, "bad", "rpc", &["double-fork"]);
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("bad", "go");
    let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
    client.wait_state(run, "working");
    must("the tree", LONG, || (traces.started() == 1).then_some(()));
    let monitor = started["monitor"].as_i64().expect("a monitor");
    let attempt = started["attempt"].as_u64().expect("an attempt");
    for pid in Parts::below(suite.pid()).expect("three daemons").all() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    suite.wait_end();
    let monitor = Pid::from_raw(i32::try_from(monitor).expect("fits"));
    kill(monitor, Signal::SIGSTOP).expect("held still");
    let path = only(&suite.dir().join("run/runs"));
    fs::remove_file(&path).expect("removed");
    let listener = UnixListener::bind(&path).expect("bound");
    suite.launch();
    let (mut conn, _) = listener.accept().expect("colibrid connects");
    let seq = resume(&mut conn);
    let ended = Record::Ended(Ended {
        exit: Exit::Code(0),
        asked: false,
        state: State::Done,
        reason: String::new(),
        proof: Proof::Kernel,
        stderr: String::new(),
        lines: u64::MAX,
        bytes: u64::MAX,
        malformed: u64::MAX,
    });
    let mut client = suite.client();
    client.subscribe(None);
    assert!(held(&traces.lock), "the agent is gone too early");
    let said = [hello(RunKey { run, attempt }), entry(seq + 1, ended)].concat();
    conn.write_all(&said).expect("said");
    client.wait_ended(run);
    assert!(!held(&traces.lock), "it was said to have ended and lives");
    let log = suite.log();
    assert!(!log.contains("cannot store"), "{log}");
}
