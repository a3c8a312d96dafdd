//! What the launcher left open for the monitor, and the loop that is made of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};

use libcolibri::error::{reason, Context, Result};
use libcolibri::journal::Journal;
use libcolibri::record::{Mode, Record};
use libcolibri::signals::Signals;
use libcolibri::state::Container;
use libcolibri::{sys, warn};
use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Interest, Poll, Registry};
use nix::errno::Errno;

use super::children::Children;
use super::core::Core;
use super::ledger::Ledger;
use super::machine::Machine;
use super::pipes::{Sink, Source};
use super::shell::{self, Agent, Shell};
use super::watch::JailWatch;
use super::words::Setup;
use crate::monitor_args::{fd, Args};

/// The inherited descriptors. Where the launch failed, most of them may be missing.
pub struct Given {
    channel: OwnedFd,
    journal: OwnedFd,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    container: Option<OwnedFd>,
}

impl Given {
    /// Takes them over by number.
    ///
    /// # Errors
    /// When one is missing that must be there.
    pub fn take(args: &Args) -> Result<Given> {
        let must = |number, what: &str| {
            sys::inherit(number).or_fatal(&format!("inherit descriptor {number} ({what})"))
        };
        let may = |number, what: &str| match args.failed {
            Some(_) => Ok(present(number)),
            None => must(number, what).map(Some),
        };
        Ok(Given {
            channel: must(fd::CHANNEL, "channel")?,
            journal: must(fd::JOURNAL, "journal")?,
            stdin: may(fd::STDIN, "agent's stdin")?,
            stdout: may(fd::STDOUT, "agent's stdout")?,
            stderr: may(fd::STDERR, "agent's stderr")?,
            listener: may(fd::LISTENER, "run's socket")?,
            container: match args.container {
                Container::Reaper => None,
                _ => may(fd::CONTAINER, "container")?,
            },
        })
    }

    /// Begins the journal, registers everything with a new poll and puts the loop together.
    /// The channel to colibrid comes separately: it is first used after confinement.
    ///
    /// # Errors
    /// When the journal cannot be begun or a descriptor cannot be polled.
    pub fn into_shell(self, args: &Args, mut signals: Signals) -> Result<(Shell, UnixStream)> {
        let poll = Poll::new().or_fatal("create the event queue")?;
        let registry = poll.registry();
        let ledger = begin_journal(self.journal, args)?;
        let channel = stream(self.channel).or_fatal("use the channel to colibrid")?;
        let listener = match self.listener {
            Some(fd) => Some(listen(fd, registry).or_fatal("use the run's socket")?),
            None => None,
        };
        let source = SourceFd(&signals.raw());
        watch_signals(source, registry).or_fatal("watch signals")?;
        let _ = signals.take();
        let out = |fd: Option<OwnedFd>, token| match fd {
            Some(fd) => Source::new(fd, registry, token).or_fatal("watch the agent's output"),
            None => Ok(Source::none()),
        };
        let stdout = out(self.stdout, shell::STDOUT)?;
        let stderr = out(self.stderr, shell::STDERR)?;
        let stdin = match self.stdin {
            Some(fd) => {
                Sink::new(fd, registry, shell::STDIN).or_fatal("watch the agent's input")?
            }
            None => Sink::none(),
        };
        let children = children(self.container, registry, args)?;
        let core = Core::new(Machine::new(setup(args)), ledger, stdin);
        let agent = Agent {
            stdout,
            stderr,
            children,
        };
        let shell = Shell::new(poll, core, agent, signals, listener, args);
        Ok((shell, channel))
    }
}

/// The descriptor of that number, if it is open.
fn present(number: RawFd) -> Option<OwnedFd> {
    sys::inherit(number).ok()
}

fn stream(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = StdStream::from(fd);
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream))
}

fn listen(fd: OwnedFd, registry: &Registry) -> io::Result<UnixListener> {
    let listener = StdListener::from(fd);
    listener.set_nonblocking(true)?;
    let mut listener = UnixListener::from_std(listener);
    registry.register(&mut listener, shell::LISTENER, Interest::READABLE)?;
    Ok(listener)
}

fn watch_signals(mut source: SourceFd<'_>, registry: &Registry) -> io::Result<()> {
    registry.register(&mut source, shell::SIGNALS, Interest::READABLE)
}

fn children(fd: Option<OwnedFd>, registry: &Registry, args: &Args) -> Result<Children> {
    let (mut report, mut jail, mut watch) = (None, None, None);
    match (args.container, fd) {
        (Container::PidNamespace | Container::UserNamespace, Some(fd)) => {
            let source = Source::new(fd, registry, shell::CONTAINER);
            report = Some(source.or_fatal("watch the container's init")?);
        }
        (Container::Jail, Some(fd)) => {
            // An agent that has ended already leaves no jail to watch; then there is the other
            // proof.
            watch = JailWatch::new(fd.as_fd(), registry, shell::CONTAINER)
                .inspect_err(|e| warn!("cannot watch the jail: {}", reason(e)))
                .ok();
            jail = Some(fd);
        }
        _ => {}
    }
    let agent = args.child;
    Ok(Children::new(args.container, agent, report, jail, watch))
}

/// The first records: who watches, and that the agent runs.
fn begin_journal(fd: OwnedFd, args: &Args) -> Result<Ledger> {
    let journal = Journal::new(File::from(fd), args.journal_limit).or_fatal("use the journal")?;
    let mut ledger = Ledger::new(journal);
    let (wall, now) = (sys::wall_ms(), super::core::now());
    let opened = Record::Opened {
        run: args.key.run,
        attempt: args.key.attempt,
        monitor: std::process::id(),
        container: args.container,
        mode: args.mode,
    };
    ledger.append(wall, now, opened);
    if args.failed.is_none() {
        // In a namespace the child is its init; the agent's own number is not known here.
        let pid = match args.container {
            Container::PidNamespace | Container::UserNamespace => 0,
            Container::Jail | Container::Reaper => u32::try_from(args.child).unwrap_or(0),
        };
        ledger.append(wall, now, Record::Launched { pid });
    }
    Ok(ledger)
}

fn setup(args: &Args) -> Setup {
    let failed = args.failed.map(|(step, errno)| {
        let why = reason(&io::Error::from(Errno::from_raw(errno)));
        (errno, format!("cannot {}: {why}", step.words()))
    });
    Setup {
        mode: args.mode,
        // JSON mode ends by itself.
        on_settled: match args.mode {
            Mode::Json => libcolibri::config::OnSettled::End,
            Mode::Rpc => args.on_settled,
        },
        container: args.container,
        start_timeout_ms: u64::from(args.start_timeout) * 1000,
        failed,
    }
}
