//! The conversation with colibri-spawnd.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use libcolibri::chan::{Chan, ChanError};
use libcolibri::error::{Fatal, Result};
use libcolibri::msg::{FromSpawnd, Refusal, RunKey, ToSpawnd};
use libcolibri::state::{Accounting, Container};
use libcolibri::{info, log};

use crate::attempt::{Happened, Stage};
use crate::audit::Sight;
use crate::engine::{Engine, Out};

/// Shortest time between two questions for a connection to syslogd, which may be stopped.
const LOG_PAUSE: Duration = Duration::from_secs(5);

/// Our end of the channel.
pub struct Spawnd {
    /// The channel.
    pub chan: Chan<ToSpawnd, FromSpawnd>,
    /// It said Ready.
    pub ready: bool,
    /// What runs are held by on this system.
    pub container: Option<Container>,
    /// It was asked for a new connection to syslogd, and has not sent one since.
    pub log_asked: bool,
    /// When it may be asked again.
    log_again: Option<Instant>,
    /// Whether runs can be limited as a whole on this system.
    pub accounting: Option<Accounting>,
}

/// In messages.
const NAME: &str = "colibri-spawnd";

fn lost(e: &ChanError) -> Fatal {
    Fatal::new(format!("lost {NAME}: {e}"))
}

impl Spawnd {
    /// Takes over the channel.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Spawnd {
        Spawnd {
            chan: Chan::new(fd),
            ready: false,
            container: None,
            log_asked: false,
            log_again: None,
            accounting: None,
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When it is gone: the suite ends.
    pub fn send(&mut self, m: &ToSpawnd) -> Result<()> {
        self.chan.send(m).map_err(|e| lost(&e))
    }
}

impl Engine {
    /// Asks for a new connection to syslogd when a line could not be said, now and then.
    pub(crate) fn mend_log(&mut self) {
        let now = Instant::now();
        if !log::is_lost() || self.spawnd.log_again.is_some_and(|t| now < t) {
            return;
        }
        self.spawnd.log_again = Some(now + LOG_PAUSE);
        self.spawnd.log_asked = true;
        self.out.push_back(Out::Spawnd(ToSpawnd::Log));
    }

    /// Takes in what spawnd has sent.
    ///
    /// # Errors
    /// When it is gone or sent what it must not.
    pub(crate) fn hear_spawnd(&mut self) -> Result<()> {
        if let Err(e) = self.spawnd.chan.flush() {
            return Err(self.lost_peer(NAME, &e));
        }
        loop {
            match self.spawnd.chan.recv() {
                Ok(Some((m, fd))) => self.spawnd_says(m, fd)?,
                Ok(None) => return Ok(()),
                Err(e) => return Err(self.lost_peer(NAME, &e)),
            }
        }
    }

    fn spawnd_says(&mut self, m: FromSpawnd, fd: Option<OwnedFd>) -> Result<()> {
        match (m, fd) {
            (
                FromSpawnd::Ready {
                    generation,
                    profiles,
                    container,
                    accounting,
                },
                None,
            ) if !self.spawnd.ready => {
                let same = generation == self.config.generation
                    && profiles as usize == self.config.profiles.len();
                if !same {
                    return Err(Fatal::new(
                        "the config changed while starting: colibri-spawnd read another one",
                    ));
                }
                self.spawnd.ready = true;
                self.spawnd.container = Some(container);
                self.spawnd.accounting = Some(accounting);
                self.open_if_ready()
            }
            (FromSpawnd::Started { key, .. }, Some(fd)) if self.awaits_start(key) => {
                self.monitor_started(key, fd)
            }
            (FromSpawnd::Log, Some(fd)) if self.spawnd.log_asked => {
                self.spawnd.log_asked = false;
                log::replace(fd);
                info!("syslogd was started again");
                Ok(())
            }
            (FromSpawnd::Watchdog, Some(fd)) if self.host.awaits_watchdog() => {
                self.watchdog_reached(Ok(fd))
            }
            (FromSpawnd::NoWatchdog { errno }, None) if self.host.awaits_watchdog() => {
                self.watchdog_reached(Err(errno))
            }
            (FromSpawnd::Hostd { errno }, None) if self.hostd_tried(errno) => Ok(()),
            (FromSpawnd::Refused { key, why, errno }, None) if self.awaits_start(key) => {
                match refusal(why, errno) {
                    Some(why) => self.not_started(key, &why),
                    None => self.if_current(key, |e| e.happened(key.run, Happened::Lost)),
                }
                Ok(())
            }
            // What counts is the monitor's channel: its end comes after its last word.
            (FromSpawnd::MonitorExited { .. } | FromSpawnd::Signalled { .. }, None) => Ok(()),
            (FromSpawnd::Released { key, proven }, None) => {
                self.if_current(key, |e| e.happened(key.run, Happened::Released(proven)));
                Ok(())
            }
            (
                FromSpawnd::Found {
                    key,
                    monitor,
                    processes,
                },
                None,
            ) if self.found(key, Sight { monitor, processes }) => Ok(()),
            (FromSpawnd::Surveyed { .. }, None) if self.surveyed() => Ok(()),
            _ => Err(Fatal::new(
                "colibri-spawnd said something out of turn: it is not to be trusted",
            )),
        }
    }

    /// Whether the attempt is being started. What is said of one that is not there is stale.
    fn awaits_start(&self, key: RunKey) -> bool {
        let live = self.runs.get(&key.run).filter(|l| l.key == key);
        live.is_none_or(|l| l.stage == Stage::Starting)
    }

    /// Does something for a living attempt; what is said of any other is stale.
    pub(crate) fn if_current(&mut self, key: RunKey, f: impl FnOnce(&mut Engine)) {
        if self.runs.get(&key.run).is_some_and(|l| l.key == key) {
            f(self);
        } else {
            info!("ignored word of stale attempt {}", key.stem());
        }
    }
}

/// Why nothing was started; `None` when something was, earlier, which is to be proven dead.
fn refusal(why: Refusal, errno: i32) -> Option<String> {
    Some(match why {
        Refusal::Profile => "not started: colibri-spawnd has no such profile".into(),
        Refusal::Again => return None,
        Refusal::Full => "not started: colibri-spawnd holds too many runs".into(),
        Refusal::System => format!("not started: {}", errno_reason(errno)),
        Refusal::Journal => {
            let why = errno_reason(errno);
            format!("not started: cannot write the journal: {why}")
        }
    })
}

fn errno_reason(errno: i32) -> String {
    libcolibri::error::reason(&std::io::Error::from_raw_os_error(errno))
}
