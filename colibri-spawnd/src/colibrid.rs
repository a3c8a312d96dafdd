//! The conversation with colibrid, and the loop around it: one channel, one signal, one deadline.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use libcolibri::chan::{self, Chan, ChanError};
use libcolibri::error::{reason, Context, Fatal, Result};
use libcolibri::journal;
use libcolibri::msg::{FromSpawnd, Kill, Proven, Refusal, RunKey, ToSpawnd};
use libcolibri::sandbox::{self, policy, Confined};
use libcolibri::state::Container;
use libcolibri::sys::{self, Signal};
use libcolibri::{debug, info, log, warn};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::unistd::{fchown, Gid};

use crate::launch::{self, errno_of, Order};
use crate::notes::Note;
use crate::outside;
use crate::reap::{Child, Children};
use crate::release::{Monitor, Progress, Release};
use crate::schedd::Schedd;
use crate::survey::survey;
use crate::table::Table;

/// Runs that may be known at once, whatever colibrid thinks.
const RUNS_MAX: usize = 10_000;

/// Messages taken from colibrid in a turn of the loop: dead children are reaped and releases moved
/// on between two turns, however much it says.
const TURN: usize = 64;

/// What a conversation can be in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until Ready has been said.
    Setup,
    /// After it.
    Running,
}

/// A request without its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Start,
    Adopt,
    Signal,
    Release,
    Survey,
    Log,
    Watchdog,
    Hostd,
}

/// What colibrid may ask for, and when. Anything else ends this process.
const ALLOWED: [(Phase, &[Request]); 2] = [
    (Phase::Setup, &[]),
    (
        Phase::Running,
        &[
            Request::Start,
            Request::Adopt,
            Request::Signal,
            Request::Release,
            Request::Survey,
            Request::Log,
            Request::Watchdog,
            Request::Hostd,
        ],
    ),
];

const COLIBRID: Token = Token(0);
const CHILDREN: Token = Token(1);

/// spawnd at work.
pub struct Spawnd {
    chan: Chan<FromSpawnd, ToSpawnd>,
    poll: Poll,
    table: Table,
    /// This program, for the monitors.
    program: OwnedFd,
    schedd: Option<Schedd>,
    phase: Phase,
    children: Children,
    monitors: HashMap<RunKey, Monitor>,
    releases: HashMap<RunKey, Release>,
}

impl Spawnd {
    /// Takes over the channel to colibrid, and what is to go with it.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new(
        channel: OwnedFd,
        table: Table,
        program: OwnedFd,
        schedd: Option<Schedd>,
    ) -> Result<Spawnd> {
        let adopts = table.container == Container::Reaper;
        let mut chan = Chan::new(channel);
        let children = Children::new(adopts).or_fatal("listen for signals")?;
        let poll = Poll::new().or_fatal("make an event queue")?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(chan.source(), COLIBRID, both)
            .or_fatal("watch the channel to colibrid")?;
        let signals = children.signals().raw();
        poll.registry()
            .register(&mut SourceFd(&signals), CHILDREN, Interest::READABLE)
            .or_fatal("watch for signals")?;
        Ok(Spawnd {
            chan,
            poll,
            table,
            // Above all numbers that the launcher rearranges.
            program: launch::aside(program).or_fatal("keep this program open")?,
            schedd,
            phase: Phase::Setup,
            children,
            monitors: HashMap::new(),
            releases: HashMap::new(),
        })
    }

    /// Sets the limits and names every descriptor that is held. There is no sandbox: what it does it
    /// could do in none.
    ///
    /// # Errors
    /// When a limit cannot be set, or something is open that the table does not name.
    pub fn confine(&self, lock: &OwnedFd) -> Result<Confined> {
        let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
        log::with_fd(|syslog| {
            let mut held: Vec<(BorrowedFd<'_>, &'static str)> = vec![
                (input.as_fd(), "stdio"),
                (output.as_fd(), "stdio"),
                (errors.as_fd(), "stdio"),
                (sys::borrow(&self.poll), "poll"),
                (self.chan.as_fd(), "colibrid"),
                (lock.as_fd(), "lock"),
                (self.program.as_fd(), "program"),
            ];
            let signals = self.children.signals();
            held.extend(signals.held().map(|fd| (fd, "signals")));
            held.extend(syslog.map(|fd| (fd, "syslog")));
            sandbox::confine(&policy::SPAWND, &held)
        })
        .map_err(|e| Fatal::new(e.to_string()))
    }

    /// Says Ready and serves until colibrid is gone. Runs go on without us.
    ///
    /// # Errors
    /// Whatever colibrid says that it must not.
    pub fn serve(mut self, _limited: Confined) -> Result<()> {
        match self.converse() {
            Err(Stop::Gone) => {
                self.schedd.iter().for_each(Schedd::kill);
                Ok(())
            }
            // Then colibrid is there and has to learn whose fault it is.
            Err(Stop::Fatal(f)) => Err(f),
            Ok(never) => match never {},
        }
    }

    fn converse(&mut self) -> std::result::Result<std::convert::Infallible, Stop> {
        let mut events = Events::with_capacity(8);
        // Whatever is there before Ready is out of turn.
        let _ = self.hear()?;
        self.say(FromSpawnd::Ready {
            generation: self.table.generation,
            profiles: self.table.rows.len() as u32,
            container: self.table.container,
            accounting: self.table.accounting,
        })?;
        self.phase = Phase::Running;
        loop {
            self.chan.flush()?;
            let more = self.hear()?;
            self.reap()?;
            if log::is_lost() {
                log::connection().into_iter().for_each(log::replace);
            }
            let deadline = self.advance()?;
            let wait = match more {
                true => Some(Duration::ZERO),
                false => timeout(deadline),
            };
            match self.poll.poll(&mut events, wait) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => other.or_fatal("wait for events")?,
            }
        }
    }

    fn say(&mut self, msg: FromSpawnd) -> std::result::Result<(), Stop> {
        Ok(self.chan.send(&msg)?)
    }

    /// Takes the requests that are there, a turn's worth; whether there may be more.
    fn hear(&mut self) -> std::result::Result<bool, Stop> {
        for _ in 0..TURN {
            let Some((msg, _)) = self.chan.recv()? else {
                return Ok(false);
            };
            self.check(&msg)?;
            match msg {
                ToSpawnd::Start { key, profile } => self.start(key, profile)?,
                ToSpawnd::Adopt { key } => self.adopt(key),
                ToSpawnd::Signal { key, kill } => self.signal(key, kill)?,
                ToSpawnd::Release { key, profile } => self.release(key, profile),
                ToSpawnd::Survey { token } => self.survey(token)?,
                ToSpawnd::Log => self.lend_log()?,
                ToSpawnd::Watchdog => self.lend_watchdog()?,
                ToSpawnd::Hostd => self.try_hostd()?,
            }
        }
        Ok(true)
    }

    /// A connection to syslogd for colibrid, which cannot make one itself any more.
    fn lend_log(&mut self) -> std::result::Result<(), Stop> {
        match log::connection() {
            Ok(fd) => {
                limit_for_colibrid(&fd, "syslog")?;
                Ok(self.chan.send_fd(&FromSpawnd::Log, fd)?)
            }
            // It asks again when it has something to say.
            Err(_) => Ok(()),
        }
    }

    /// A connection to the watchdog for colibrid, which reads what it says.
    fn lend_watchdog(&mut self) -> std::result::Result<(), Stop> {
        match outside::connect(self.table.watchdog.as_deref()) {
            Ok(fd) => {
                limit_for_colibrid(&fd, "watchdog")?;
                Ok(self.chan.send_fd(&FromSpawnd::Watchdog, fd)?)
            }
            Err(e) => self.say(FromSpawnd::NoWatchdog {
                errno: errno_of(&e),
            }),
        }
    }

    /// Whether hostd takes connections; nothing is said on this one.
    fn try_hostd(&mut self) -> std::result::Result<(), Stop> {
        let tried = outside::connect(self.table.hostd.as_deref());
        self.say(FromSpawnd::Hostd {
            errno: tried.map_or_else(|e| errno_of(&e), |_| 0),
        })
    }

    /// Whether a request may be made now.
    fn check(&self, msg: &ToSpawnd) -> Result<()> {
        let request = match msg {
            ToSpawnd::Start { .. } => Request::Start,
            ToSpawnd::Adopt { .. } => Request::Adopt,
            ToSpawnd::Signal { .. } => Request::Signal,
            ToSpawnd::Release { .. } => Request::Release,
            ToSpawnd::Survey { .. } => Request::Survey,
            ToSpawnd::Log => Request::Log,
            ToSpawnd::Watchdog => Request::Watchdog,
            ToSpawnd::Hostd => Request::Hostd,
        };
        let allowed = ALLOWED
            .iter()
            .any(|(phase, list)| *phase == self.phase && list.contains(&request));
        match allowed {
            true => Ok(()),
            false => Err(Fatal::new(format!(
                "colibrid asks for {request:?} in phase {:?}",
                self.phase
            ))),
        }
    }

    fn start(&mut self, key: RunKey, profile: u32) -> std::result::Result<(), Stop> {
        match self.launch(key, profile) {
            Ok((monitor, channel)) => {
                let started = FromSpawnd::Started {
                    key,
                    monitor: monitor.unsigned_abs(),
                };
                limit_for_colibrid(&channel, "monitor")?;
                Ok(self.chan.send_fd(&started, channel)?)
            }
            Err((why, errno)) => {
                warn!("run {}: not started: {why:?}, errno {errno}", key.stem());
                self.say(FromSpawnd::Refused { key, why, errno })
            }
        }
    }

    /// Forks the launcher; its process id and colibrid's end of its channel.
    fn launch(
        &mut self,
        key: RunKey,
        profile: u32,
    ) -> std::result::Result<(i32, OwnedFd), (Refusal, i32)> {
        let system = |e: io::Error| (Refusal::System, errno_of(&e));
        let Some(row) = self.table.rows.get(profile as usize) else {
            return Err((Refusal::Profile, 0));
        };
        let name = row.name.clone();
        if self.monitors.len() >= RUNS_MAX {
            return Err((Refusal::Full, 0));
        }
        let (theirs, ours) = chan::pair().map_err(system)?;
        let path = self.table.journal(&key.stem());
        let journal = match self.make_journal(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err((Refusal::Again, 0));
            }
            other => other.map_err(|e| (Refusal::Journal, errno_of(&e)))?,
        };
        let started = launch::start(Order {
            key,
            profile,
            table: &mut self.table,
            program: self.program.as_fd(),
            channel: ours,
            journal,
        });
        let pid = started.map_err(|e| {
            // The attempt has not begun: it may be asked for again.
            let _ = std::fs::remove_file(&path);
            system(e)
        })?;
        info!("run {}: started, profile {name}, monitor {pid}", key.stem());
        self.children.add(pid, Child::Monitor(key));
        self.monitors.insert(
            key,
            Monitor {
                pid,
                start: None,
                reaped: false,
            },
        );
        Ok((pid, theirs))
    }

    /// The journal, locked and with room to begin. That there is none, or one that nobody has begun,
    /// is what makes an attempt start only once.
    fn make_journal(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut open = File::options();
        open.read(true).write(true).mode(0o640);
        let file = match open.clone().create_new(true).open(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => not_begun(&open, path)?,
            other => other?,
        };
        let ready = self.give_to_colibrid(&file).and_then(|()| {
            match sys::flock_exclusive_nb(file.as_fd())? {
                true => journal::prepare(&file),
                false => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match ready {
            Ok(()) => Ok(file.into()),
            Err(e) => {
                let _ = std::fs::remove_file(path);
                Err(e)
            }
        }
    }

    /// colibrid reads the journals by its group; the umask must not be in its way.
    fn give_to_colibrid(&self, file: &File) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        if self.table.monitor.is_some() {
            fchown(file, None, Some(Gid::from_raw(self.table.colibrid.1)))?;
        }
        file.set_permissions(std::fs::Permissions::from_mode(0o640))
    }

    fn adopt(&mut self, key: RunKey) {
        match self.find(key) {
            Some(m) => info!("run {}: adopted, monitor {}", key.stem(), m.pid),
            None => warn!("run {}: nothing is known of it", key.stem()),
        }
    }

    /// The monitor of a run: remembered, or from the note of an earlier spawnd.
    fn find(&mut self, key: RunKey) -> Option<Monitor> {
        if let Some(m) = self.monitors.get(&key) {
            return Some(*m);
        }
        let m = self.note(key)?.monitor();
        self.monitors.insert(key, m);
        Some(m)
    }

    fn note(&self, key: RunKey) -> Option<Note> {
        let stem = key.stem();
        match Note::load(&self.table.paths.notes(), &stem) {
            Ok(note) => note,
            Err(e) => {
                warn!("run {stem}: cannot read the note about it: {}", reason(&e));
                None
            }
        }
    }

    fn signal(&mut self, key: RunKey, kill: Kill) -> std::result::Result<(), Stop> {
        let signal = match kill {
            Kill::Term => Signal::SIGTERM,
            Kill::Kill => Signal::SIGKILL,
        };
        let alive = self.find(key).filter(Monitor::is_alive);
        let count = match alive.map(|m| sys::signal_tree(m.pid, signal, false)) {
            None => 0,
            Some(Ok(n)) => n,
            Some(Err(e)) => {
                warn!("run {}: cannot signal: {}", key.stem(), reason(&e));
                0
            }
        };
        debug!("run {}: {signal} to {count}", key.stem());
        self.say(FromSpawnd::Signalled { key, count })
    }

    fn release(&mut self, key: RunKey, profile: u32) {
        self.find(key);
        let note = self.note(key);
        self.releases
            .entry(key)
            .or_insert_with(|| Release::new(key, profile, note, sys::mono_ms()));
    }

    fn survey(&mut self, token: u64) -> std::result::Result<(), Stop> {
        for found in survey(&self.table, &self.monitors) {
            self.say(found)?;
        }
        self.say(FromSpawnd::Surveyed { token })
    }

    /// Moves every release on; when to look again.
    fn advance(&mut self) -> std::result::Result<Option<u64>, Stop> {
        if self.releases.is_empty() {
            return Ok(None);
        }
        let now = sys::mono_ms();
        let mut deadline = u64::MAX;
        let keys: Vec<RunKey> = self.releases.keys().copied().collect();
        for key in keys {
            deadline = deadline.min(self.advance_one(key, now)?);
        }
        Ok((deadline != u64::MAX).then_some(deadline))
    }

    fn advance_one(&mut self, key: RunKey, now: u64) -> std::result::Result<u64, Stop> {
        let monitor = self.monitors.get(&key).copied();
        let locked = monitor.is_none() && self.is_locked(key);
        let Some(release) = self.releases.get_mut(&key) else {
            return Ok(u64::MAX);
        };
        if locked {
            // Somebody writes the journal, so a monitor lives of which nothing is known: a
            // launcher that has not written its note yet.
            self.releases.remove(&key);
            let proven = Proven::Alive;
            self.say(FromSpawnd::Released { key, proven })?;
            return Ok(u64::MAX);
        }
        match release.step(monitor, &self.table, &mut self.children, now) {
            Progress::Wait(until) => Ok(until),
            Progress::Answer(proven) => {
                self.say(FromSpawnd::Released { key, proven })?;
                Ok(u64::MAX)
            }
            Progress::Over(answer) => {
                self.releases.remove(&key);
                if answer != Some(Proven::Alive) {
                    self.monitors.remove(&key);
                }
                if let Some(proven) = answer {
                    debug!("run {}: released, {proven:?}", key.stem());
                    self.say(FromSpawnd::Released { key, proven })?;
                }
                Ok(u64::MAX)
            }
        }
    }

    /// Whether somebody holds the lock of a run's journal.
    fn is_locked(&self, key: RunKey) -> bool {
        match File::open(self.table.journal(&key.stem())) {
            Ok(file) => sys::lock_is_held(file.as_fd()).unwrap_or(true),
            Err(_) => false,
        }
    }

    /// Takes note of every child that has ended.
    fn reap(&mut self) -> std::result::Result<(), Stop> {
        let mut any = false;
        while let Some((child, status)) = self.children.next() {
            any = true;
            match child {
                Child::Remover(key) => {
                    if let Some(r) = self.releases.get_mut(&key) {
                        r.removed(status);
                    }
                }
                Child::Monitor(key) => {
                    if let Some(m) = self.monitors.get_mut(&key) {
                        m.reaped = true;
                    }
                    debug!("run {}: monitor exited, status {status}", key.stem());
                    self.say(FromSpawnd::MonitorExited { key, status })?;
                }
            }
        }
        if any {
            self.children.sweep();
        }
        Ok(())
    }
}

/// The journal of an attempt whose spawnd was killed before it could fork the launcher, locked:
/// it has not begun, and nobody holds it.
fn not_begun(open: &OpenOptions, path: &Path) -> io::Result<File> {
    let file = open.open(path)?;
    match sys::flock_exclusive_nb(file.as_fd())? && !journal::has_begun(&file)? {
        true => Ok(file),
        false => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

/// Goes ahead of everything that a run may do, where it has the right; the launchers go back. No
/// debugger may look at it.
///
/// # Errors
/// When the system refuses.
pub fn rise() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        // A jail in which the suite lives does not allow it; it would only be later than it could.
        if let Err(e) = sys::set_nice(-5) {
            warn!("cannot raise the priority: {}", reason(&e));
        }
        sys::not_traceable().or_fatal("forbid debuggers")?;
    }
    Ok(())
}

/// colibrid is confined already: what it gets now must have its rights before.
fn limit_for_colibrid(fd: &OwnedFd, role: &'static str) -> Result<()> {
    sandbox::limit(&policy::COLIBRID, fd.as_fd(), role).map_err(|e| Fatal::new(e.to_string()))
}

/// Milliseconds from now until `deadline`; at least one, so that a clock that is rounded down does
/// not spin.
fn timeout(deadline: Option<u64>) -> Option<Duration> {
    let left = deadline?.saturating_sub(sys::mono_ms()).max(1);
    Some(Duration::from_millis(left))
}

/// Why the conversation ends.
enum Stop {
    /// colibrid is gone.
    Gone,
    /// It has said what it must not, or we cannot go on.
    Fatal(Fatal),
}

impl From<ChanError> for Stop {
    fn from(e: ChanError) -> Stop {
        match e {
            ChanError::Closed => Stop::Gone,
            other => Stop::Fatal(Fatal::new(format!("colibrid: {other}"))),
        }
    }
}

impl From<Fatal> for Stop {
    fn from(f: Fatal) -> Stop {
        Stop::Fatal(f)
    }
}
