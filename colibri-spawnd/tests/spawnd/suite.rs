//! A private suite without colibrid: directories, config, and the real spawnd at the other end of
//! a channel. The test plays colibrid.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{chown, PermissionsExt};
use std::path::PathBuf;

use libcolibri::chan::{self, Chan, ChanError};
use libcolibri::msg::{FromMonitor, FromSpawnd, Proven, RunKey, ToMonitor, ToSpawnd};
use libcolibri::record::{Ended, Record};
use libcolibri::state::Container;
use libcolibri::sys::{self, Fork};
use nix::poll::{poll, PollFd, PollFlags};
use nix::sys::wait::WaitStatus;
use nix::unistd::geteuid;

use crate::harness::{self, TempDir};

/// The suite's users, as numbers: no entries are needed.
pub const COLIBRID: u32 = 61_001;
pub const MONITOR: u32 = 61_002;
pub const SCHEDD: u32 = 61_003;
/// The agents' user.
pub const AGENT: u32 = 61_004;

/// The one run of most cases.
pub const KEY: RunKey = RunKey { run: 7, attempt: 8 };

/// The program under test, at a place where everybody can execute it.
pub fn program() -> PathBuf {
    PathBuf::from(std::env::var_os("SPAWND_TEST_PROGRAM").expect("set by main"))
}

pub struct Suite {
    pub dir: TempDir,
    pub pid: i32,
    /// None: given away or closed.
    chan: Option<Chan<ToSpawnd, FromSpawnd>>,
}

impl Suite {
    /// Directories as colibrid makes them, a config with the given profiles; nothing is started.
    pub fn prepare(profiles: &str) -> Suite {
        let dir = own_dir();
        let root = geteuid().is_root();
        for (name, mode) in [
            ("run", 0o755),
            ("run/runs", 0o750),
            ("run/spawnd", 0o700),
            ("state", 0o755),
            ("state/runs", 0o750),
            ("tmp", 0o711),
            ("out", 0o777),
        ] {
            let path = dir.0.join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            if root && matches!(name, "run/runs" | "state/runs") {
                chown(&path, None, Some(COLIBRID)).unwrap();
            }
        }
        let base = dir.0.display();
        let mut config = format!(
            "[suite]\nrun_dir = \"{base}/run\"\nstate_dir = \"{base}/state\"\n\
             tmp_dir = \"{base}/tmp\"\n"
        );
        if root {
            config += &format!(
                "[users]\ncolibrid = \"{COLIBRID}:{COLIBRID}\"\n\
                 monitor = \"{MONITOR}:{MONITOR}\"\nschedd = \"{SCHEDD}:{SCHEDD}\"\n"
            );
        }
        config += profiles;
        fs::write(dir.0.join("conf"), config).unwrap();
        Suite {
            dir,
            pid: 0,
            chan: None,
        }
    }

    /// With one profile `a` whose agent is this shell script; `$OUT` is a directory it may write.
    pub fn script(script: &str) -> Suite {
        Suite::scripts(&[("a", script, "")])
    }

    /// Profiles of a name, a script and further lines each.
    pub fn scripts(list: &[(&str, &str, &str)]) -> Suite {
        let mut s = Suite::prepare("");
        let mut text = fs::read_to_string(s.dir.0.join("conf")).unwrap();
        for (name, script, more) in list {
            let out = s.dir.0.join("out");
            text += &profile(
                name,
                &format!("\"/bin/sh\", \"-c\", '''{script}''', \"agent\""),
                &format!("{}{more}\nenv.OUT = \"{}\"\n", agent_user(), out.display()),
            );
        }
        fs::write(s.dir.0.join("conf"), text).unwrap();
        s.start();
        s.ready();
        s
    }

    /// Starts a spawnd; its log goes to the file `log`.
    pub fn start(&mut self) {
        let (ours, theirs) = chan::pair().unwrap();
        self.pid = self.spawn(&theirs);
        self.chan = Some(Chan::new(ours));
    }

    /// The same with a socket of the caller's.
    pub fn spawn(&self, theirs: &OwnedFd) -> i32 {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let lock = File::create(self.path("lock")).unwrap();
        let program = program();
        let argv: Vec<CString> = [
            program.to_str().unwrap(),
            "-dv",
            "-f",
            self.path("conf").to_str().unwrap(),
        ]
        .iter()
        .flat_map(|w| match *w {
            "-dv" => vec![c"-d".to_owned(), c"-v".to_owned()],
            w => vec![CString::new(w).unwrap()],
        })
        .collect();
        match sys::fork().unwrap() {
            Fork::Parent(pid) => pid,
            Fork::Child => {
                // Out of the way first: any of them may have the number of another's place.
                let fds: Vec<OwnedFd> = [theirs.as_fd(), lock.as_fd(), log.as_fd()]
                    .iter()
                    .map(|fd| high(*fd))
                    .collect();
                for (fd, place) in fds.iter().zip([3, 4, 2]) {
                    sys::dup_to(fd.as_fd(), place).unwrap();
                }
                sys::close_from(5).unwrap();
                let e = sys::exec_path(&argv[0], &argv, &[]);
                panic!("cannot execute spawnd: {e}");
            }
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }

    pub fn out(&self, name: &str) -> String {
        fs::read_to_string(self.path("out").join(name)).unwrap_or_default()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The Ready message.
    pub fn ready(&mut self) -> (u32, Container) {
        match self.recv() {
            FromSpawnd::Ready {
                generation,
                profiles,
                container,
                accounting: _,
            } => {
                let text = fs::read(self.path("conf")).unwrap();
                assert_eq!(generation, libcolibri::config::hash(&text));
                (profiles, container)
            }
            other => panic!("{other:?} instead of Ready"),
        }
    }

    pub fn chan(&mut self) -> &mut Chan<ToSpawnd, FromSpawnd> {
        self.chan.as_mut().expect("a channel")
    }

    pub fn send(&mut self, msg: ToSpawnd) {
        self.chan().send(&msg).unwrap();
    }

    pub fn recv(&mut self) -> FromSpawnd {
        let (msg, fd) = next(self.chan());
        assert!(fd.is_none(), "{msg:?} came with a descriptor");
        msg
    }

    /// Starts a run and takes its channel.
    pub fn run(&mut self, key: RunKey, profile: u32) -> Run {
        self.send(ToSpawnd::Start { key, profile });
        let answer = loop {
            match next(self.chan()) {
                // Of an earlier run.
                (FromSpawnd::MonitorExited { key: k, .. }, _) if k != key => {}
                other => break other,
            }
        };
        match answer {
            (FromSpawnd::Started { key: k, monitor }, Some(fd)) => {
                assert_eq!(k, key);
                let mut chan: Chan<ToMonitor, FromMonitor> = Chan::new(fd);
                chan.send(&ToMonitor::Resume { from_seq: 0 }).unwrap();
                Run {
                    monitor: monitor as i32,
                    chan,
                }
            }
            (other, _) => panic!("{other:?} instead of Started; log: {}", self.log()),
        }
    }

    /// Runs profile 0 to its end and releases it.
    pub fn run_through(&mut self) -> Ended {
        let mut run = self.run(KEY, 0);
        let ended = run.ended();
        drop(run);
        self.monitor_exited(KEY);
        self.release(KEY);
        ended
    }

    pub fn monitor_exited(&mut self, key: RunKey) -> i32 {
        match self.recv() {
            FromSpawnd::MonitorExited { key: k, status } if k == key => status,
            other => panic!("{other:?} instead of MonitorExited; log: {}", self.log()),
        }
    }

    /// Asks for the release and expects the proof; the monitor's exit may come before.
    pub fn release(&mut self, key: RunKey) {
        self.send(ToSpawnd::Release { key, profile: 0 });
        loop {
            match self.recv() {
                FromSpawnd::MonitorExited { .. } => {}
                FromSpawnd::Released { key: k, proven } => {
                    assert_eq!((k, proven), (key, Proven::Empty));
                    break;
                }
                other => panic!("{other:?} instead of Released"),
            }
        }
        for name in ["run/runs", "run/spawnd", "tmp"] {
            let left: Vec<_> = fs::read_dir(self.path(name)).unwrap().collect();
            assert!(
                left.is_empty(),
                "{left:?} is left in {name}: {}",
                self.log()
            );
        }
    }

    /// Closes the channel and waits for the end of spawnd.
    pub fn end(mut self) -> WaitStatus {
        self.chan = None;
        harness::wait(self.pid).unwrap()
    }

    /// Waits for the end of spawnd, the channel open.
    pub fn wait(&self) -> WaitStatus {
        harness::wait(self.pid).unwrap()
    }
}

/// One run, from colibrid's side.
pub struct Run {
    pub monitor: i32,
    chan: Chan<ToMonitor, FromMonitor>,
}

impl Run {
    /// The next message of the monitor.
    pub fn recv(&mut self) -> FromMonitor {
        next(&mut self.chan).0
    }

    /// Waits for the record of the end.
    pub fn ended(&mut self) -> Ended {
        loop {
            if let FromMonitor::Entry(entry) = self.recv() {
                if let Record::Ended(e) = entry.record {
                    return e;
                }
            }
        }
    }
}

/// Lines of a profile that runs `command`.
pub fn profile(name: &str, command: &str, more: &str) -> String {
    format!("[profile.{name}]\nmode = \"json\"\ncommand = [{command}]\n{more}\n")
}

/// The user that root has to name.
pub fn agent_user() -> String {
    match geteuid().is_root() {
        true => format!("user = \"{AGENT}:{AGENT}\"\n"),
        false => String::new(),
    }
}

/// The uid that agents have.
pub fn agent_uid() -> u32 {
    match geteuid().is_root() {
        true => AGENT,
        false => geteuid().as_raw(),
    }
}

fn high(fd: std::os::fd::BorrowedFd<'_>) -> OwnedFd {
    let raw = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(50)).unwrap();
    sys::inherit(raw).unwrap()
}

/// A directory for each suite of a case.
fn own_dir() -> TempDir {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("colibri-spawnd-test-{}-{n}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::create_dir(&path).expect("create a temporary directory");
    TempDir(path)
}

/// The next message, waiting for it.
fn next<T, R>(chan: &mut Chan<T, R>) -> (R, Option<OwnedFd>)
where
    T: libcolibri::wire::Wire,
    R: libcolibri::wire::Wire,
{
    loop {
        match chan.recv() {
            Ok(Some(got)) => return got,
            Ok(None) => {}
            Err(e @ ChanError::Closed) => panic!("{e}"),
            Err(e) => panic!("{e}"),
        }
        let mut fds = [PollFd::new(chan.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, harness::deadline());
        assert_eq!(ready, Ok(1), "no message in time");
    }
}
