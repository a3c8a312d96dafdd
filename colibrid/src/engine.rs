//! The loop: events in, one transaction, then what may leave only after it is durable.
//!
//! One thread, one poll, one deadline. What belongs to a peer is in that peer's file; here is
//! only what all of them share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use libcolibri::chan::ChanError;
use libcolibri::config::Config;
use libcolibri::error::{cannot, reason, Context, Fatal, Result, EX_CONFIG, EX_OK};
use libcolibri::msg::{RunKey, ToMonitor, ToSpawnd};
use libcolibri::sandbox::{self, policy, Confined};
use libcolibri::signals::Signals;
use libcolibri::state::Container;
use libcolibri::{error, info, log, sys};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::answers::Answer;
use crate::audit::Audit;
use crate::board::Desk;
use crate::clients::{Accepted, Clients};
use crate::descriptors::Descriptors;
use crate::event::Event;
use crate::host::Host;
use crate::keeper::EX_AGAIN;
use crate::log_ring::Ring;
use crate::monitors::Monitor;
use crate::request::Request;
use crate::runs::Live;
use crate::schedd::Schedd;
use crate::schedule::Timetable;
use crate::spawnd::Spawnd;
use crate::start::{self, Children, Ground, Names};
use crate::store::{self, Store};
use crate::turn::Stuck;

pub(crate) const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);
const SPAWND: Token = Token(2);
pub(crate) const SCHEDD: Token = Token(3);
const KEEPER: Token = Token(4);
/// Clients and monitors get numbers from here on, never the same twice.
const FIRST_FREE: usize = 16;

/// How long spawnd and schedd may take to become ready.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// How long accepting pauses when the system has no descriptor for a client.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How long a daemon that has closed its channel may take to exit before that is all there is to say.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);
/// How long spawnd and schedd may take to go when the suite ends.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What leaves after the commit.
pub enum Out {
    /// To spawnd.
    Spawnd(ToSpawnd),
    /// To a monitor.
    Monitor(Token, ToMonitor),
}

/// Everything colibrid knows, and the loop over it.
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) names: Names,
    pub(crate) store: Store,
    pub(crate) poll: Poll,
    pub(crate) spawnd: Spawnd,
    pub(crate) schedd: Schedd,
    pub(crate) clients: Clients,
    pub(crate) monitors: BTreeMap<Token, Monitor>,
    pub(crate) runs: BTreeMap<u64, Live>,
    pub(crate) desk: Desk,
    /// Agents that were added by a command.
    pub(crate) added: BTreeSet<String>,
    pub(crate) timetable: Timetable,
    pub(crate) host: Host,
    pub(crate) ring: Ring,
    pub(crate) journals: OwnedFd,
    pub(crate) out: VecDeque<Out>,
    pub(crate) audit: Option<Audit>,
    pub(crate) answers: Vec<Answer>,
    /// Runs accepted in this turn; they come to life with the commit.
    pub(crate) accepted: Vec<Live>,
    /// Something other than an acceptance was written in this turn: if it cannot be committed,
    /// memory and disk differ.
    pub(crate) concluded: bool,
    /// The events of this turn.
    pub(crate) unstored: Vec<Event>,
    /// The database takes no writes.
    pub(crate) stuck: Option<Stuck>,
    /// Runs whose panes and places in their journals changed in this turn.
    pub(crate) unsaved: BTreeSet<u64>,
    pub(crate) descriptors: Descriptors,
    /// Clients and monitors that have more than a turn's worth, or were waiting for something
    /// that came.
    pub(crate) again: Vec<Token>,
    /// Runs that were forgotten in this turn; their journals go after the commit.
    pub(crate) expired: Vec<RunKey>,
    /// Requests that are answered when the turn is durable.
    pub(crate) late: Vec<(Token, Option<Value>, Request)>,
    /// The token of the last command to a monitor.
    pub(crate) last_command: u64,
    pub(crate) started_ms: u64,
    pub(crate) kept: bool,
    /// There was no syslogd, and once the starting command has gone nobody reads stderr.
    pub(crate) unheard: bool,
    pub(crate) mechanism: &'static str,
    pub(crate) ending: bool,
    /// The suite is to be started again when this turn has ended.
    restarting: bool,
    pub(crate) ready: bool,
    pid_file: File,
    run_dir: OwnedFd,
    keeper: Option<OwnedFd>,
    ready_pipe: Option<OwnedFd>,
    signals: Signals,
    child_pids: [i32; 2],
    next_token: usize,
    accept_again: Option<Instant>,
    ready_until: Instant,
}

impl Engine {
    /// Puts the pieces together and finds the runs that an earlier suite left.
    ///
    /// # Errors
    /// When the system refuses or the stored state cannot be read.
    pub fn new(
        config: Config,
        names: Names,
        ground: Ground,
        children: Children,
        public: UnixListener,
        store: Store,
    ) -> Result<Engine> {
        let poll = Poll::new().or_fatal("make a poll")?;
        let journals = start::open_dir(&config.paths.journals())?;
        let owner = (!names.separate).then(|| nix::unistd::geteuid().as_raw());
        let limits = config.limits.clone();
        let clients = Clients::new(public, limits, names.roles.clone(), owner);
        let (oldest, last) = store
            .event_range()
            .map_err(|e| Fatal::new(format!("cannot read the events: {e}")))?;
        let kept = ground.keeper.is_some();
        let stuck = store
            .is_stuck()
            .then(|| Stuck::new("it took no write at the start".into()));
        let mut engine = Engine {
            spawnd: Spawnd::new(children.spawnd),
            schedd: Schedd::new(children.schedd),
            ring: Ring::new(oldest, last),
            signals: ground.signals,
            child_pids: [children.spawnd_pid, children.schedd_pid],
            monitors: BTreeMap::new(),
            runs: BTreeMap::new(),
            desk: Desk::default(),
            added: BTreeSet::new(),
            timetable: Timetable::new(),
            host: Host::default(),
            out: VecDeque::new(),
            audit: None,
            answers: Vec::new(),
            accepted: Vec::new(),
            concluded: false,
            unstored: Vec::new(),
            stuck,
            unsaved: BTreeSet::new(),
            descriptors: Descriptors::new(0),
            again: Vec::new(),
            late: Vec::new(),
            expired: Vec::new(),
            // Tokens must not repeat over restarts: a monitor outlives us.
            last_command: sys::wall_ms() << 20,
            started_ms: sys::wall_ms(),
            kept,
            unheard: kept && log::is_to_stderr(),
            mechanism: "none",
            ending: false,
            restarting: false,
            ready: false,
            next_token: FIRST_FREE,
            accept_again: None,
            ready_until: Instant::now() + READY_PATIENCE,
            config,
            names,
            store,
            poll,
            clients,
            journals,
            pid_file: ground.pid_file,
            run_dir: ground.run_dir,
            keeper: ground.keeper,
            ready_pipe: ground.ready,
        };
        engine.register()?;
        engine.adopt()?;
        engine.find_expired()?;
        // That may have taken a while, which is not the others' fault.
        engine.ready_until = Instant::now() + READY_PATIENCE;
        let refit = engine.load_agents().and_then(|()| engine.refit_tasks());
        refit.map_err(|e| Fatal::new(format!("cannot read the open tasks: {e}")))?;
        engine.desk.touched = true;
        Ok(engine)
    }

    fn register(&mut self) -> Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        let what = "watch a descriptor";
        registry
            .register(self.spawnd.chan.source(), SPAWND, both)
            .or_fatal(what)?;
        registry
            .register(self.schedd.chan.source(), SCHEDD, both)
            .or_fatal(what)?;
        registry
            .register(
                &mut SourceFd(&self.signals.raw()),
                SIGNALS,
                Interest::READABLE,
            )
            .or_fatal(what)?;
        if let Some(keeper) = &self.keeper {
            registry
                .register(
                    &mut SourceFd(&keeper.as_raw_fd()),
                    KEEPER,
                    Interest::READABLE,
                )
                .or_fatal(what)?;
        }
        Ok(())
    }

    /// A token that was never used before.
    pub(crate) fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// Enters the sandbox, naming every descriptor that is held.
    ///
    /// # Errors
    /// When confinement cannot be had or does not bite.
    pub fn confine(&mut self) -> Result<Confined> {
        let database =
            store::descriptors(&self.config.paths).or_fatal("find the database's descriptors")?;
        let listener = self.clients.listener().as_raw_fd();
        let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let result = log::with_fd(|syslog| {
            let mut held: Vec<(BorrowedFd<'_>, &'static str)> = vec![
                (input.as_fd(), "stdio"),
                (output.as_fd(), "stdio"),
                (errors.as_fd(), "stdio"),
                (sys::borrow(&self.poll), "poll"),
                (self.spawnd.chan.as_fd(), "spawnd"),
                (self.schedd.chan.as_fd(), "schedd"),
                (self.pid_file.as_fd(), "lock"),
                (self.run_dir.as_fd(), "run directory"),
                (self.journals.as_fd(), "journals"),
            ];
            held.push((sys::borrow(&listener), "listener"));
            held.extend(self.signals.held().map(|fd| (fd, "signals")));
            held.extend(syslog.map(|fd| (fd, "syslog")));
            let pipes = [&self.keeper, &self.ready_pipe];
            held.extend(pipes.into_iter().flatten().map(|fd| (fd.as_fd(), "keeper")));
            held.extend(database.iter().map(|(fd, role)| (sys::borrow(fd), *role)));
            self.descriptors = Descriptors::new(held.len());
            held.extend(self.monitors.values().map(|m| (m.chan.as_fd(), "monitor")));
            sandbox::confine(&policy::COLIBRID, &held)
        });
        let confined = result.map_err(|e| Fatal::new(e.to_string()))?;
        self.mechanism = confined.report().mechanism.as_str();
        info!("{}", confined.report());
        Ok(confined)
    }

    /// The loop. Returns the exit code when the suite is to end.
    ///
    /// # Errors
    /// When a daemon was lost or what was concluded cannot be stored: the suite is started again.
    pub fn run(mut self, _confined: Confined) -> Result<i32> {
        let mut events = Events::with_capacity(256);
        loop {
            let timeout = if self.again.is_empty() {
                self.timeout()
            } else {
                Some(Duration::ZERO)
            };
            match self.poll.poll(&mut events, timeout) {
                Err(e) if e.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(e).or_fatal("wait for events")
                }
                _ => {}
            }
            for event in &events {
                self.dispatch(event)?;
            }
            self.deadlines()?;
            self.serve_again()?;
            self.end_turn()?;
            if self.restarting {
                // What cannot be stored now is in the journals.
                self.store.close();
                std::process::exit(EX_AGAIN);
            }
            if let Some(code) = self.finished() {
                return self.leave(code);
            }
        }
    }

    fn dispatch(&mut self, event: &mio::event::Event) -> Result<()> {
        match event.token() {
            LISTENER => self.accept_clients(),
            SIGNALS => {}
            SPAWND => self.hear_spawnd()?,
            SCHEDD => self.hear_schedd()?,
            KEEPER => {
                self.kept = false;
                self.keeper = None;
                error!("the keeper is gone: a crash of this suite would be its end");
                if let Err(e) = start::write_pid(&self.pid_file, self.kept) {
                    error!("cannot write my number into the pid file: {}", reason(&e));
                }
            }
            token if self.monitors.contains_key(&token) => self.hear_monitor(token)?,
            token if self.host.is(token) => self.hear_watchdog(),
            token => self.client_event(token, event.is_write_closed()),
        }
        Ok(())
    }

    /// Both daemons are ready: the suite is open.
    pub(crate) fn open_if_ready(&mut self) -> Result<()> {
        if self.ready || !self.spawnd.ready || !self.schedd.ready {
            return Ok(());
        }
        self.ready = true;
        self.clean_up();
        let registry = self.poll.registry();
        registry
            .register(self.clients.listener(), LISTENER, Interest::READABLE)
            .or_fatal("watch the public socket")?;
        if let Some(pipe) = self.ready_pipe.take() {
            // The starting command may have been interrupted; that is no reason to stop.
            let _ = nix::unistd::write(&pipe, b"R");
        }
        info!(
            "ready: profiles {}, agents {}, runs alive {}, held by {}",
            self.config.profiles.len(),
            self.config.agents.len(),
            self.runs.len(),
            self.spawnd.container.map_or("nothing", Container::as_str),
        );
        Ok(())
    }

    pub(crate) fn accept_clients(&mut self) {
        let room = self.descriptors_left();
        let (clients, next) = (&mut self.clients, &mut self.next_token);
        let accepted = clients.accept(self.poll.registry(), room, || {
            *next += 1;
            Token(*next)
        });
        if accepted == Accepted::Some {
            self.again.push(LISTENER);
        }
        let full = accepted == Accepted::Full;
        self.accept_again = full.then(|| Instant::now() + ACCEPT_PAUSE);
    }

    /// Time until something is due that no descriptor will tell of.
    fn timeout(&self) -> Option<Duration> {
        let ready = (!self.ready).then_some(self.ready_until);
        let due = self
            .next_run_deadline()
            .into_iter()
            .chain(ready)
            .chain(self.accept_again)
            .chain(self.schedule_wait())
            .chain(self.host.deadline())
            .chain(self.stuck.as_ref().map(|s| s.again_at))
            .min();
        let due = due.map(|t| t.saturating_duration_since(Instant::now()));
        due.into_iter().chain(self.board_wait()).min()
    }

    fn deadlines(&mut self) -> Result<()> {
        let now = Instant::now();
        if !self.ready && now >= self.ready_until {
            let who = if self.spawnd.ready {
                "colibri-schedd"
            } else {
                "colibri-spawnd"
            };
            return Err(Fatal::new(format!("{who} did not become ready")));
        }
        if self.accept_again.is_some_and(|t| now >= t) {
            self.accept_clients();
        }
        self.run_deadlines(now);
        self.host_deadline(now);
        self.schedules_again(now);
        let signals = self.signals.take();
        self.signal(&signals)
    }

    fn signal(&mut self, signals: &[i32]) -> Result<()> {
        for s in signals {
            match *s {
                SIGTERM | SIGINT => {
                    info!("asked to stop: runs to end {}", self.runs.len());
                    self.ending = true;
                    self.stop_all();
                }
                SIGHUP => {
                    info!(
                        "asked to start again; {} runs go on meanwhile",
                        self.runs.len()
                    );
                    self.restarting = true;
                }
                _ => self.check_children()?,
            }
        }
        Ok(())
    }

    /// A peer that closes its channel is about to exit, and its exit status says more than that.
    pub(crate) fn lost_peer(&mut self, name: &str, e: &ChanError) -> Fatal {
        let lost = Fatal::new(format!("lost {name}: {e}"));
        if !matches!(e, ChanError::Closed) {
            return lost;
        }
        let until = Instant::now() + EXIT_PATIENCE;
        loop {
            if let Err(fatal) = self.check_children() {
                return fatal;
            }
            if !self.signals.wait_until(Some(until)) {
                return lost;
            }
            self.signals.take();
        }
    }

    /// The three daemons live and die together. With what status one of them exits must not decide
    /// what becomes of the suite: to the keeper 0 and 75 are orders. Only while it starts is a
    /// config that spawnd refuses told as such.
    fn check_children(&self) -> Result<()> {
        use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
        for (pid, name) in self
            .child_pids
            .iter()
            .zip(["colibri-spawnd", "colibri-schedd"])
        {
            let status = waitpid(nix::unistd::Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG));
            match status {
                Ok(WaitStatus::Exited(_, code)) => {
                    let message = format!("lost child: {name} exited with {code}");
                    let refused =
                        !self.spawnd.ready && (name, code) == ("colibri-spawnd", EX_CONFIG);
                    return Err(match refused {
                        true => Fatal::config(message),
                        false => Fatal::new(message),
                    });
                }
                Ok(WaitStatus::Signaled(_, s, _)) => {
                    return Err(Fatal::new(format!("lost child: {name} killed by {s}")))
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn flush_out(&mut self) -> Result<()> {
        let mut held = VecDeque::new();
        while let Some(out) = self.out.pop_front() {
            match out {
                Out::Spawnd(m) if self.spawnd.ready => self.spawnd.send(&m)?,
                Out::Spawnd(m) => held.push_back(Out::Spawnd(m)),
                Out::Monitor(token, m) => self.tell_monitor(token, &m),
            }
        }
        self.out = held;
        Ok(())
    }

    /// Finds the journals that a suite which was killed between the two had forgotten and not removed.
    fn find_expired(&mut self) -> Result<()> {
        let dir = self.config.paths.journals();
        let entries = std::fs::read_dir(&dir).map_err(|e| cannot("list", &dir, &e))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let stem = name.to_str().and_then(|n| n.strip_suffix(".journal"));
            let Some(key) = stem.and_then(RunKey::from_stem) else {
                continue;
            };
            let forgotten = self.store.is_forgotten(key);
            if forgotten.map_err(|e| Fatal::new(format!("cannot read the runs: {e}")))? {
                self.expired.push(key);
            }
        }
        Ok(())
    }

    /// The journals of runs that the database has forgotten.
    pub(crate) fn remove_expired(&mut self) {
        for key in std::mem::take(&mut self.expired) {
            let name = format!("{}.journal", key.stem());
            let flag = nix::unistd::UnlinkatFlags::NoRemoveDir;
            match nix::unistd::unlinkat(&self.journals, name.as_str(), flag) {
                Ok(()) | Err(nix::Error::ENOENT) => {}
                Err(e) => error!("cannot remove {name}: {}", e.desc()),
            }
        }
    }

    fn finished(&self) -> Option<i32> {
        (self.ending && self.runs.is_empty() && self.out.is_empty()).then_some(EX_OK)
    }

    /// The clean end: no socket, no pid file, no process stays behind.
    fn leave(self, code: i32) -> Result<i32> {
        self.store.close();
        let Engine {
            run_dir,
            spawnd,
            schedd,
            mut signals,
            child_pids,
            config,
            ..
        } = self;
        drop((spawnd, schedd)); // they go when their channel does
        let until = Instant::now() + END_PATIENCE;
        for pid in child_pids {
            let pid = nix::unistd::Pid::from_raw(pid);
            let flag = Some(nix::sys::wait::WaitPidFlag::WNOHANG);
            while let Ok(nix::sys::wait::WaitStatus::StillAlive) =
                nix::sys::wait::waitpid(pid, flag)
            {
                if !signals.wait_until(Some(until)) {
                    error!("process {pid} does not end");
                    break;
                }
                signals.take();
            }
        }
        for path in [config.paths.socket(), config.paths.pid_file()] {
            if let Some(name) = path.file_name() {
                let flag = nix::unistd::UnlinkatFlags::NoRemoveDir;
                if let Err(e) = nix::unistd::unlinkat(&run_dir, name, flag) {
                    error!("cannot remove {}: {}", path.display(), e.desc());
                }
            }
        }
        info!("stopped");
        Ok(code)
    }
}
