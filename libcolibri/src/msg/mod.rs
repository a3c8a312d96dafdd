//! Every message between two Colibri processes, typed by direction.
//!
//! What is not here cannot be said. spawnd speaks fixed-size messages of numbers only, and so does
//! schedd but for the names of time zones;
//! the monitor, which has no authority beyond its run, also takes and sends bounded text.

mod codec;
mod schedule;

use crate::record::Entry;
use crate::skill;
use crate::state::{Accounting, Container};
use crate::wire::{Reader, WireError, Writer};

pub use schedule::{FromSchedd, Planned, ToSchedd, When, PLAN_MAX, ZONE_MAX};

/// Longest prompt of a request, steering message or answer, in bytes.
pub const TEXT_MAX: usize = 256 * 1024;

/// Longest prompt that a monitor is given: of a request or a task, and the skills with it, those of
/// the task and those of its agent.
pub const PROMPT_MAX: usize = TEXT_MAX + 2 * skill::PER_TASK * (skill::GIVEN_MAX + 2);

/// Which run and which attempt at it; the attempt is the fence against late reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunKey {
    /// Run id.
    pub run: u64,
    /// Attempt id, unique over all runs.
    pub attempt: u64,
}

impl RunKey {
    /// The stem of every name that belongs to the run: `<run>-<attempt>`.
    #[must_use]
    pub fn stem(&self) -> String {
        format!("{}-{}", self.run, self.attempt)
    }

    /// The key of a stem; `None` for any other name.
    #[must_use]
    pub fn from_stem(stem: &str) -> Option<RunKey> {
        let (run, attempt) = stem.split_once('-')?;
        let key = RunKey {
            run: run.parse().ok()?,
            attempt: attempt.parse().ok()?,
        };
        (key.stem() == stem).then_some(key)
    }

    fn put(&self, w: &mut Writer<'_>) {
        w.u64(self.run);
        w.u64(self.attempt);
    }

    fn get(r: &mut Reader<'_>) -> Result<RunKey, WireError> {
        Ok(RunKey {
            run: r.u64()?,
            attempt: r.u64()?,
        })
    }
}

/// Signals that may be asked for: nothing else crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// SIGTERM to every process of the agent's tree.
    Term,
    /// SIGKILL to every process of the agent's tree.
    Kill,
}

/// colibrid to spawnd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToSpawnd {
    /// Start a run of a profile, by its place in the config.
    Start {
        /// Which run and attempt.
        key: RunKey,
        /// Index into the profile table.
        profile: u32,
    },
    /// A run that an earlier spawnd started: take charge of its signals and its proof.
    Adopt {
        /// Which.
        key: RunKey,
    },
    /// Signal the agent's tree.
    Signal {
        /// Which.
        key: RunKey,
        /// With what.
        kill: Kill,
    },
    /// syslogd was started again: make a new connection to it.
    Log,
    /// Connect to the watchdog and lend the connection.
    Watchdog,
    /// Try whether hostd takes a connection. It would believe whoever spawnd is, so this one is
    /// not lent.
    Hostd,
    /// The run is over or its monitor is lost: kill what is left, prove it, remove its
    /// TMPDIR, socket and notes.
    Release {
        /// Which.
        key: RunKey,
        /// Index into the profile table: says where its TMPDIR is when there is no note any more.
        profile: u32,
    },
    /// Say what the kernel knows of every run that left a trace: one [`FromSpawnd::Found`] each,
    /// then [`FromSpawnd::Surveyed`]. Changes nothing.
    Survey {
        /// Comes back.
        token: u64,
    },
}

/// Why spawnd did not start a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such profile.
    Profile,
    /// The journal exists already: this attempt was started before.
    Again,
    /// The system refused a step (errno beside it).
    System,
    /// The journal cannot be made or written (errno beside it).
    Journal,
    /// Too many runs at once.
    Full,
}

/// How the proof of a released run's death went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proven {
    /// Nothing of it is left.
    Empty,
    /// It still has processes; ask again.
    Alive,
}

/// spawnd to colibrid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromSpawnd {
    /// Table loaded, ready.
    Ready {
        /// Hash of the config file; must be colibrid's own.
        generation: u64,
        /// Profiles in the table.
        profiles: u32,
        /// The container that runs get on this system.
        container: Container,
        /// Whether runs can be limited as a whole.
        accounting: Accounting,
    },
    /// The monitor stands; its channel comes with this message.
    Started {
        /// Which.
        key: RunKey,
        /// The monitor's process id.
        monitor: u32,
    },
    /// The run was not started.
    Refused {
        /// Which.
        key: RunKey,
        /// Why.
        why: Refusal,
        /// Errno of the failed step, or 0.
        errno: i32,
    },
    /// A monitor that this spawnd started has exited.
    MonitorExited {
        /// Which.
        key: RunKey,
        /// Its wait status, as the system gives it.
        status: i32,
    },
    /// The answer to `Signal`: how many processes got it (0: none was found).
    Signalled {
        /// Which.
        key: RunKey,
        /// How many.
        count: u32,
    },
    /// The answer to `Log`, unless syslogd is not there: a connection comes with it.
    Log,
    /// The answer to `Watchdog`: a connection comes with it.
    Watchdog,
    /// The other answer to `Watchdog`: there is nobody.
    NoWatchdog {
        /// Why.
        errno: i32,
    },
    /// The answer to `Hostd`.
    Hostd {
        /// 0 when it took the connection, else why not.
        errno: i32,
    },
    /// The answer to `Release`.
    Released {
        /// Which.
        key: RunKey,
        /// Whether the tree is proven dead.
        proven: Proven,
    },
    /// Part of the answer to `Survey`: a run that is remembered here, or has a note, a socket or a
    /// TMPDIR.
    Found {
        /// Which.
        key: RunKey,
        /// Process id of its living monitor; 0 when there is none.
        monitor: u32,
        /// Living processes of the run besides the monitor; of a run without a monitor, 1 when
        /// its container is not empty.
        processes: u32,
    },
    /// The end of the answer to `Survey`.
    Surveyed {
        /// The token of the request.
        token: u64,
    },
}

/// What a dialog is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A value: text, or one of the options of a `select`; `true`/`yes` confirms a `confirm`.
    Value(String),
    /// No answer: the dialog is cancelled.
    Cancel,
}

/// colibrid to a monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToMonitor {
    /// First message on every connection: send what comes after `from_seq`.
    Resume {
        /// Last record colibrid has stored, 0 for none.
        from_seq: u64,
    },
    /// Give the agent its task.
    Prompt {
        /// Comes back in [`crate::record::Record::Did`].
        token: u64,
        /// The prompt.
        text: String,
    },
    /// A message into the running work, or a further prompt when the agent is at rest.
    Steer {
        /// Comes back.
        token: u64,
        /// The message.
        text: String,
    },
    /// Stop the current work, keep the process.
    Abort {
        /// Comes back.
        token: u64,
    },
    /// Answer a dialog.
    Answer {
        /// Comes back.
        token: u64,
        /// Pi's request id.
        request: String,
        /// The answer.
        reply: Reply,
    },
    /// End the run: ask the agent to finish; from now on its end was asked for.
    Stop,
}

/// A monitor to colibrid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromMonitor {
    /// First message on every connection.
    Hello {
        /// Which run and attempt this is.
        key: RunKey,
        /// The last record in the journal.
        last_seq: u64,
    },
    /// A record that is in the journal.
    Entry(Entry),
    /// The stream moved although no record was due; at most one a second, not durable.
    Activity {
        /// Milliseconds since 1970 of the last byte.
        at_ms: u64,
        /// Lines so far.
        lines: u64,
        /// Bytes so far.
        bytes: u64,
    },
    /// The agent's process has ended or must end, its tree is not empty: please signal it.
    Straggling {
        /// With what.
        kill: Kill,
    },
}
