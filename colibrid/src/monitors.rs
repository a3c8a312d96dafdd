//! The conversations with the monitors, one for each living run.
//!
//! A monitor reads what an agent wrote, so it is trusted with nothing but its own run: garbage
//! or a wrong attempt ends its connection, and a run whose monitor is not there is lost.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use libcolibri::chan::{Chan, ChanError};
use libcolibri::error::{cannot, reason, Context, Result};
use libcolibri::journal::{self, Reader};
use libcolibri::msg::{FromMonitor, RunKey, ToMonitor};
use libcolibri::record::Record;
use libcolibri::state::State;
use libcolibri::{debug, info, sys, warn};
use mio::{Interest, Token};
use nix::fcntl::{openat, OFlag};
use nix::poll::PollTimeout;
use nix::sys::stat::Mode;

use crate::attempt::Happened;
use crate::engine::Engine;
use crate::runs::Live;
use crate::turn::KEPT_MAX;

/// Messages taken from one monitor in a turn of the loop, so that one does not starve the rest.
const TURN: usize = 256;

/// How long the monitors that were just being started when the last suite died may take to listen, all
/// together: those that do not are taken for dead, so it is long enough for a machine under load.
const LISTEN_PATIENCE: Duration = Duration::from_secs(10);

/// Our end of one channel.
pub struct Monitor {
    /// Which run it speaks for, by our own word: what it says itself is compared.
    pub key: RunKey,
    /// The channel.
    pub chan: Chan<ToMonitor, FromMonitor>,
    /// It said Hello, with the number of its last record then.
    pub hello: Option<u64>,
    /// Since when it is connected.
    pub since: Instant,
}

/// What is left of an attempt of an earlier suite.
enum Found {
    /// Its monitor lives and answers.
    Alive(OwnedFd),
    /// Its monitor is gone.
    Dead,
    /// It has no journal, or one that was never begun: spawnd was never told, or did not get to it.
    NeverStarted,
}

impl Engine {
    /// spawnd has started a monitor and hands over the channel to it.
    ///
    /// # Errors
    /// When the system refuses to watch it.
    pub(crate) fn monitor_started(&mut self, key: RunKey, fd: OwnedFd) -> Result<()> {
        if self.runs.get(&key.run).is_none_or(|l| l.key != key) {
            // Its end of the channel closes here; the monitor goes on and is not ours.
            warn!("colibri-spawnd started {}, which nobody wanted", key.stem());
            return Ok(());
        }
        self.watch(key, fd)?;
        self.happened(key.run, Happened::Started);
        Ok(())
    }

    fn watch(&mut self, key: RunKey, fd: OwnedFd) -> Result<()> {
        let mut chan = Chan::new(fd);
        let token = self.token();
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(chan.source(), token, both)
            .or_fatal("watch a monitor's channel")?;
        let from_seq = self.runs.get(&key.run).map_or(0, |l| l.journal_seq);
        // A failure here shows as the end of the channel.
        let _ = chan.send(&ToMonitor::Resume { from_seq });
        let monitor = Monitor {
            key,
            chan,
            hello: None,
            since: Instant::now(),
        };
        self.monitors.insert(token, monitor);
        if let Some(live) = self.runs.get_mut(&key.run) {
            live.monitor = Some(token);
        }
        Ok(())
    }

    /// Sends to a monitor; a failure is the end of its channel, which the loop will see.
    pub(crate) fn tell_monitor(&mut self, token: Token, m: &ToMonitor) {
        if let Some(monitor) = self.monitors.get_mut(&token) {
            if let Err(e) = monitor.chan.send(m) {
                debug!("cannot reach the monitor of {}: {e}", monitor.key.stem());
            }
        }
    }

    /// Takes in what a monitor has sent, a turn's worth; the rest is asked for in the next turn.
    ///
    /// # Errors
    /// Never for what the monitor did; only when this process cannot go on.
    pub(crate) fn hear_monitor(&mut self, token: Token) -> Result<()> {
        if self.is_deaf_to(token) {
            return Ok(());
        }
        for _ in 0..TURN {
            if self.store.kept() > KEPT_MAX {
                break;
            }
            let Some(monitor) = self.monitors.get_mut(&token) else {
                return Ok(());
            };
            let _ = monitor.chan.flush();
            let key = monitor.key;
            match monitor.chan.recv() {
                Ok(Some((m, _))) => {
                    if let Err(why) = self.monitor_says(token, m) {
                        warn!("monitor of {}: {why}: dropped", key.stem());
                        self.monitor_gone(token);
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(e) => {
                    match e {
                        ChanError::Closed => debug!("monitor of {}: {e}", key.stem()),
                        _ => warn!("monitor of {}: {e}: dropped", key.stem()),
                    }
                    self.monitor_gone(token);
                    return Ok(());
                }
            }
        }
        self.again.push(token);
        Ok(())
    }

    fn monitor_says(&mut self, token: Token, m: FromMonitor) -> std::result::Result<(), String> {
        let Some(monitor) = self.monitors.get_mut(&token) else {
            return Ok(());
        };
        let key = monitor.key;
        match m {
            FromMonitor::Hello {
                key: said,
                last_seq,
            } => {
                if said != key || monitor.hello.is_some() {
                    return Err(format!("it says that it is {}", said.stem()));
                }
                monitor.hello = Some(last_seq);
                self.prompt_if_due(key.run);
            }
            _ if monitor.hello.is_none() => return Err("no hello".into()),
            FromMonitor::Entry(entry) => {
                let Some(live) = self.runs.get(&key.run) else {
                    return Ok(());
                };
                if entry.seq != live.journal_seq + 1 {
                    let due = live.journal_seq + 1;
                    return Err(format!("record {} where {due} was due", entry.seq));
                }
                self.record(key.run, &entry);
                self.prompt_if_due(key.run);
            }
            FromMonitor::Activity { at_ms, .. } => self.activity(key.run, at_ms),
            FromMonitor::Straggling { kill } => {
                self.happened(key.run, Happened::Straggling(kill));
            }
        }
        Ok(())
    }

    /// The channel is over: the journal has the last word.
    fn monitor_gone(&mut self, token: Token) {
        let Some(mut monitor) = self.monitors.remove(&token) else {
            return;
        };
        let _ = self.poll.registry().deregister(monitor.chan.source());
        let run = monitor.key.run;
        if let Some(live) = self.runs.get_mut(&run) {
            live.monitor = None;
        }
        self.read_rest(monitor.key);
        self.commands_lost(run);
        self.happened(run, Happened::Lost);
    }

    /// Reads what the journal has beyond what is stored.
    fn read_rest(&mut self, key: RunKey) {
        let mut reader = match self.open_journal(key) {
            Ok(f) => Reader::new(f),
            Err(e) => {
                warn!("cannot open the journal of {}: {}", key.stem(), reason(&e));
                return;
            }
        };
        loop {
            match reader.next_entry() {
                Ok(Some(entry)) => {
                    let Some(live) = self.runs.get(&key.run) else {
                        return;
                    };
                    if entry.seq == live.journal_seq + 1 {
                        self.record(key.run, &entry);
                    } else if let Record::Ended(e) = &entry.record {
                        // Its last word was stored by a suite that died before the proof.
                        self.ended(key.run, e);
                    }
                }
                Ok(None) => return,
                Err(e) => {
                    warn!("cannot read on in the journal of {}: {e}", key.stem());
                    return;
                }
            }
        }
    }

    fn open_journal(&self, key: RunKey) -> io::Result<File> {
        let name = format!("{}.journal", key.stem());
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let fd = openat(&self.journals, name.as_str(), flags, Mode::empty())?;
        Ok(File::from(fd))
    }

    /// Finds every attempt that an earlier suite left, before confinement: connecting by name is
    /// not possible afterwards.
    ///
    /// # Errors
    /// When the stored state cannot be read or the system refuses.
    pub(crate) fn adopt(&mut self) -> Result<()> {
        let rows = self.store.alive();
        let rows = rows.map_err(|e| {
            libcolibri::error::Fatal::new(format!("cannot read the living runs: {e}"))
        })?;
        let until = Instant::now() + LISTEN_PATIENCE;
        for row in rows {
            let mut live = Live::of_row(&self.config, &row);
            live.task = self.tag_of(row.run, row.of_task);
            let key = live.key;
            // Once it was noted as lost, it stays lost.
            let never_ran = row.journal_seq == 0 && live.pane.state == State::Unknown;
            self.runs.insert(key.run, live);
            match self.find(key, until)? {
                Found::NeverStarted if never_ran => self.start(key.run),
                Found::Alive(fd) => {
                    info!("run {}: its monitor is there", key.run);
                    self.adopt_in_spawnd(key.run);
                    self.watch(key, fd)?;
                    self.happened(key.run, Happened::Started);
                }
                Found::Dead | Found::NeverStarted => {
                    self.adopt_in_spawnd(key.run);
                    self.read_rest(key);
                    self.happened(key.run, Happened::Lost);
                }
            }
            // Of all their journals together there may be much.
            if self.store.kept() > KEPT_MAX {
                self.store_early()?;
            }
        }
        Ok(())
    }

    fn find(&self, key: RunKey, until: Instant) -> Result<Found> {
        let name = format!("{}.journal", key.stem());
        let path = self.config.paths.journals().join(name);
        let journal = match self.open_journal(key) {
            Ok(f) => f,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::NeverStarted),
            // It is given to us before anything is started.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(Found::NeverStarted);
            }
            Err(e) => return Err(cannot("open", &path, &e)),
        };
        let socket = self
            .config
            .paths
            .run_sockets()
            .join(format!("{}.sock", key.stem()));
        loop {
            // The lock is the monitor's life: it is gone with the last holder.
            let alive = sys::lock_is_held(journal.as_fd());
            if !alive.map_err(|e| cannot("look at the lock of", &path, &e))? {
                let begun = journal::has_begun(&journal);
                return Ok(match begun.map_err(|e| cannot("look at", &path, &e))? {
                    false => Found::NeverStarted,
                    true => Found::Dead,
                });
            }
            match UnixStream::connect(&socket).and_then(|s| s.set_nonblocking(true).map(|()| s)) {
                Ok(s) => return Ok(self.check_peer(key, s)),
                // Not its fault: it must not be taken for dead.
                Err(e) if is_ours(&e) => return Err(cannot("connect to", &socket, &e)),
                Err(e) if Instant::now() >= until => {
                    warn!(
                        "run {}: its monitor does not listen: {}",
                        key.run,
                        reason(&e)
                    );
                    return Ok(Found::Dead);
                }
                // It was still being made when the last suite died; there is no event for it.
                Err(_) => {
                    let _ = nix::poll::poll(&mut [], PollTimeout::from(10u8));
                }
            }
        }
    }

    /// Only a process of the monitors' user may speak for a run.
    fn check_peer(&self, key: RunKey, stream: UnixStream) -> Found {
        match sys::peer_cred(stream.as_fd()) {
            Ok(c) if c.uid == self.names.monitor.uid => Found::Alive(stream.into()),
            _ => {
                warn!("run {}: its socket is not its monitor's", key.run);
                Found::Dead
            }
        }
    }
}

/// Whether it is this process or the system that has no descriptor or memory.
fn is_ours(e: &io::Error) -> bool {
    use nix::errno::Errno;
    [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS]
        .iter()
        .any(|n| e.raw_os_error() == Some(*n as i32))
}
