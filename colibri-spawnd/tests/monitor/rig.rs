//! A monitor as its launcher starts it, with a shell script for an agent; the test is colibrid.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use libcolibri::chan::{self, Chan, ChanError};
use libcolibri::journal::Reader;
use libcolibri::msg::{FromMonitor, ToMonitor};
use libcolibri::record::{Ended, Entry, Record};
use libcolibri::state::Container;
use libcolibri::sys::{self, Fork};
use nix::poll::{poll, PollFd, PollFlags};
use nix::sys::wait::WaitStatus;

use crate::harness;

/// RPC, JSON.
pub const RPC: u8 = 0;
pub const JSON: u8 = 1;
/// What follows the work: end, stay.
pub const END: u8 = 0;
pub const STAY: u8 = 1;

/// How a run is started.
pub struct Spec<'a> {
    pub mode: u8,
    pub on_settled: u8,
    pub container: Container,
    pub journal_limit: u64,
    pub start_timeout: u32,
    /// Step and errno of a launch that failed.
    pub failed: (u32, i32),
    /// Who may connect; this process's user otherwise.
    pub colibrid: Option<u32>,
    /// For `sh -c`.
    pub script: &'a str,
    /// Where the journal is; the rig's own directory otherwise.
    pub dir: Option<PathBuf>,
}

pub const SPEC: Spec<'static> = Spec {
    mode: RPC,
    on_settled: STAY,
    container: Container::Reaper,
    journal_limit: 64 << 20,
    start_timeout: 0,
    failed: (0, 0),
    colibrid: None,
    script: "",
    dir: None,
};

/// One run, seen from colibrid.
pub struct Rig {
    pub chan: Option<Chan<ToMonitor, FromMonitor>>,
    pub monitor: i32,
    pub journal: PathBuf,
    pub socket: PathBuf,
    _dir: harness::TempDir,
}

/// This program's directory with what root must have copied for others to reach.
pub fn shared() -> PathBuf {
    PathBuf::from(std::env::var_os("MONITOR_TEST_DIR").expect("set by main"))
}

impl Rig {
    pub fn start(spec: &Spec<'_>) -> Rig {
        let dir = harness::TempDir::new();
        let journal = spec.dir.as_ref().unwrap_or(&dir.0).join("1-2.journal");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&journal)
            .expect("journal");
        assert!(sys::flock_exclusive_nb(file.as_fd()).expect("lock"));
        libcolibri::journal::begin(&file).expect("begun");
        let socket = dir.0.join("1-2.sock");
        let listener = UnixListener::bind(&socket).expect("bind");
        let (here, there) = chan::pair().expect("pair");
        let monitor = match sys::fork().expect("fork") {
            Fork::Child => {
                // Otherwise the agent has it, too, until it is executed, and our end is no end.
                drop(here);
                launch(spec, there, file.into(), listener.into())
            }
            Fork::Parent(pid) => pid,
        };
        drop((there, file, listener));
        Rig {
            chan: Some(Chan::new(here)),
            monitor,
            journal,
            socket,
            _dir: dir,
        }
    }

    /// Says Hello and Resume; returns the last sequence number that Hello told.
    pub fn resume(&mut self, from_seq: u64) -> u64 {
        let FromMonitor::Hello { key, last_seq } = self.next().expect("hello") else {
            panic!("no hello");
        };
        assert_eq!((key.run, key.attempt), (1, 2));
        self.send(&ToMonitor::Resume { from_seq });
        last_seq
    }

    pub fn send(&mut self, msg: &ToMonitor) {
        self.chan
            .as_mut()
            .expect("connected")
            .send(msg)
            .expect("send");
    }

    pub fn prompt(&mut self, token: u64, text: &str) {
        let text = text.to_owned();
        self.send(&ToMonitor::Prompt { token, text });
    }

    /// A new connection through the run's socket.
    pub fn reconnect(&mut self) {
        let stream = UnixStream::connect(&self.socket).expect("connect");
        stream.set_nonblocking(true).expect("make it non-blocking");
        self.chan = Some(Chan::new(stream.into()));
    }

    /// The next message.
    pub fn next(&mut self) -> Result<FromMonitor, ChanError> {
        let chan = self.chan.as_mut().expect("connected");
        loop {
            if let Some((msg, fd)) = chan.recv()? {
                assert!(fd.is_none());
                return Ok(msg);
            }
            chan.flush()?;
            let writing = match chan.is_pending() {
                true => PollFlags::POLLOUT,
                false => PollFlags::empty(),
            };
            wait_for(chan.as_fd(), PollFlags::POLLIN | writing);
        }
    }

    /// The next entry, whatever else is said between.
    pub fn entry(&mut self) -> Entry {
        loop {
            if let FromMonitor::Entry(entry) = self.next().expect("entry") {
                return entry;
            }
        }
    }

    /// Reads entries up to the first that is wanted.
    pub fn until(&mut self, wanted: impl Fn(&Record) -> bool) -> Record {
        loop {
            let entry = self.entry();
            assert!(
                wanted(&entry.record) || !matches!(entry.record, Record::Ended(_)),
                "ended: {:?}",
                entry.record
            );
            if wanted(&entry.record) {
                return entry.record;
            }
        }
    }

    /// Reads on to the end of the run.
    pub fn ended(&mut self) -> Ended {
        match self.until(|r| matches!(r, Record::Ended(_))) {
            Record::Ended(ended) => ended,
            other => panic!("{other:?}"),
        }
    }

    /// What became of command `token`.
    pub fn did(&mut self, token: u64) -> String {
        match self.until(|r| matches!(r, Record::Did { token: t, .. } if *t == token)) {
            Record::Did { error, .. } => error,
            other => panic!("{other:?}"),
        }
    }

    /// Everything in the journal.
    pub fn read_journal(&self) -> Vec<Entry> {
        let mut reader = Reader::new(File::open(&self.journal).expect("journal"));
        let mut all = Vec::new();
        while let Some(entry) = reader.next_entry().expect("journal") {
            assert_eq!(entry.seq, all.len() as u64 + 1);
            all.push(entry);
        }
        all
    }

    /// Waits for the monitor's own end, which must be a good one.
    pub fn gone(&mut self) {
        let status = harness::wait(self.monitor).expect("monitor ends");
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    }
}

/// Waits until there is something to read.
pub fn readable(fd: BorrowedFd<'_>) {
    wait_for(fd, PollFlags::POLLIN);
}

fn wait_for(fd: BorrowedFd<'_>, what: PollFlags) {
    let mut fds = [PollFd::new(fd, what)];
    let ready = poll(&mut fds, harness::deadline());
    assert_eq!(ready, Ok(1), "nothing came in time");
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (r, w) = std::io::pipe().expect("pipe");
    (r.into(), w.into())
}

/// The launcher: reaper, agent, monitor.
fn launch(spec: &Spec<'_>, channel: OwnedFd, journal: OwnedFd, listener: OwnedFd) -> ! {
    sys::become_reaper().expect("reaper");
    // A case that fails aborts: nothing of it is left behind, and nobody holds its stderr.
    sys::die_with_parent(sys::Signal::SIGKILL).expect("tie");
    let ((in_r, in_w), (out_r, out_w), (err_r, err_w)) = (pipe(), pipe(), pipe());
    let (report_r, report_w) = pipe();
    let init = matches!(
        spec.container,
        Container::PidNamespace | Container::UserNamespace
    );
    let child = match (spec.failed.0, sys::fork().expect("fork")) {
        (0, Fork::Child) => {
            let stdio = [(&in_r, 0), (&out_w, 1), (&err_w, 2), (&report_w, 3)];
            for (fd, number) in stdio {
                put(fd, number + 20);
            }
            for (_, number) in stdio {
                sys::dup_to(sys::borrow(&(number + 20)), number).expect("dup");
            }
            sys::close_from(if init { 4 } else { 3 }).expect("close");
            match init {
                true => as_init(spec.script),
                false => shell(spec.script),
            }
        }
        (_, Fork::Child) => sys::exit_now(127),
        (0, Fork::Parent(pid)) => pid,
        (_, Fork::Parent(_)) => 0,
    };
    let null: OwnedFd = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .expect("null")
        .into();
    let mut table = vec![
        (&null, 0),
        (&null, 1),
        (&null, 2),
        (&channel, 3),
        (&journal, 4),
    ];
    if spec.failed.0 == 0 {
        table.extend([(&in_w, 5), (&out_r, 6), (&err_r, 7), (&listener, 8)]);
        if init {
            table.push((&report_r, 9));
        }
    }
    for (fd, number) in &table {
        put(fd, number + 30);
    }
    sys::close_from(50).expect("close");
    for (_, number) in &table {
        sys::dup_to(sys::borrow(&(number + 30)), *number).expect("dup");
    }
    sys::close_from(if spec.failed.0 != 0 {
        5
    } else if init {
        10
    } else {
        9
    })
    .expect("close");
    exec_monitor(spec, child)
}

/// Out of the way first, so that no number is overwritten while it is needed.
fn put(fd: &OwnedFd, number: RawFd) {
    sys::dup_to(fd.as_fd(), number).expect("dup");
}

fn shell(script: &str) -> ! {
    sys::die_with_parent(sys::Signal::SIGKILL).expect("tie");
    let argv = ["sh", "-c", script].map(|a| CString::new(a).expect("no NUL"));
    let env = [c"PATH=/usr/local/bin:/usr/bin:/bin".into()];
    panic!("{}", sys::exec_path(c"/bin/sh", &argv, &env));
}

/// A stand-in for a namespace's init: reports how the agent ended on descriptor 3.
fn as_init(script: &str) -> ! {
    let report = sys::inherit(3).expect("report");
    match sys::fork().expect("fork") {
        Fork::Child => shell(script),
        Fork::Parent(pid) => {
            let (how, value) = match nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None)
            {
                Ok(WaitStatus::Exited(_, code)) => (0i32, code),
                Ok(WaitStatus::Signaled(_, signal, _)) => (1, signal as i32),
                other => panic!("{other:?}"),
            };
            let bytes = [how.to_ne_bytes(), value.to_ne_bytes()].concat();
            nix::unistd::write(&report, &bytes).expect("report");
            sys::exit_now(0)
        }
    }
}

fn exec_monitor(spec: &Spec<'_>, child: i32) -> ! {
    let words = [
        "colibri-spawnd: run".to_owned(),
        "-M".to_owned(),
        "1".to_owned(),
        "2".to_owned(),
        spec.mode.to_string(),
        spec.on_settled.to_string(),
        spec.container.code().to_string(),
        spec.journal_limit.to_string(),
        spec.start_timeout.to_string(),
        child.to_string(),
        spec.failed.0.to_string(),
        spec.failed.1.to_string(),
        spec.colibrid
            .unwrap_or_else(|| nix::unistd::geteuid().as_raw())
            .to_string(),
        "3".to_owned(),
    ];
    let argv = words.map(|w| CString::new(w).expect("no NUL"));
    let path: &Path = &shared().join("colibri-spawnd");
    let path = CString::new(path.as_os_str().as_encoded_bytes()).expect("no NUL");
    panic!("{}", sys::exec_path(&path, &argv, &[]));
}
