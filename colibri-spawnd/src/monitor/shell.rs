//! The monitor's loop: one thread, one poll, one deadline. It reads, writes and waits; what all
//! that means is [`super::machine`]'s to say.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use libcolibri::error::reason;
use libcolibri::msg::{FromMonitor, RunKey, ToMonitor};
use libcolibri::pi::Parser;
use libcolibri::sandbox::Confined;
use libcolibri::{debug, sys, warn};
use mio::net::UnixStream;
use mio::{Events, Poll, Token};

use super::children::Children;
use super::core::{now, Core};
use super::link::{log_end, Link, Pumped};
use super::machine::{Event, Tail};
use super::pipes::{Got, Sink, Source, TailText};

/// The loop's names for its descriptors; each connection gets the next number from [`LINKS`] up,
/// so that a late event of a closed one is nobody's.
pub const STDIN: Token = Token(0);
/// The agent's stdout.
pub const STDOUT: Token = Token(1);
/// The agent's stderr.
pub const STDERR: Token = Token(2);
/// The run's socket.
pub const LISTENER: Token = Token(3);
/// The signal pipe.
pub const SIGNALS: Token = Token(4);
/// The init's report, or the jail's watch.
pub const CONTAINER: Token = Token(5);
/// The first connection.
const LINKS: usize = 16;

/// Bytes read at once; a Linux pipe holds as many.
const CHUNK: usize = 64 * 1024;
/// Reads of one pipe before the others have their turn.
const READS: usize = 16;
/// Commands of colibrid before the others have their turn.
const COMMANDS: usize = 64;
/// Shortest time between two activity messages, milliseconds.
const ACTIVITY_MS: u64 = 1000;
/// How long colibrid may take to read the end, milliseconds; it can read the journal, too.
const FAREWELL_MS: u64 = 2000;
/// Most of what is in a pipe when nobody writes any more; Linux lets a process enlarge a pipe to
/// 1 MiB. More can only come from somebody outside of the run.
const LEFT_IN_PIPE: usize = 16 * 1024 * 1024;

/// Which descriptors have something for us: mio tells of edges only.
#[derive(Debug, Default)]
struct Ready {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    link: bool,
    accept: bool,
    children: bool,
    /// The journal holds more than the link was given.
    pump: bool,
}

/// What the loop has of the agent.
pub struct Agent {
    /// Its stdin.
    pub stdin: Sink,
    /// Its stdout.
    pub stdout: Source,
    /// Its stderr.
    pub stderr: Source,
    /// It and its tree.
    pub children: Children,
}

/// Signals, as bytes and as a flag.
pub struct Signals {
    /// A byte for each.
    pub pipe: UnixStream,
    /// SIGTERM has come.
    pub term: Arc<AtomicBool>,
}

/// Everything the loop holds.
pub struct Shell {
    poll: Poll,
    core: Core,
    parser: Parser,
    stdout: Source,
    stderr: Source,
    tail: TailText,
    children: Children,
    signals: Signals,
    listener: UnixListener,
    link: Option<Link>,
    links: usize,
    key: RunKey,
    /// Who may connect, besides root.
    colibrid: u32,
    ready: Ready,
    buf: Box<[u8]>,
    told: Told,
    farewell: Option<u64>,
    empty: bool,
}

/// What colibrid was last told about the stream.
#[derive(Debug, Default)]
struct Told {
    bytes: u64,
    at: u64,
    /// Wall clock of the last byte.
    last_ms: u64,
}

impl Shell {
    /// Puts the parts together.
    pub fn new(
        poll: Poll,
        core: impl FnOnce(Sink) -> Core,
        agent: Agent,
        signals: Signals,
        listener: UnixListener,
        key: RunKey,
        colibrid: u32,
    ) -> Shell {
        Shell {
            poll,
            core: core(agent.stdin),
            parser: Parser::new(),
            stdout: agent.stdout,
            stderr: agent.stderr,
            tail: TailText::default(),
            children: agent.children,
            signals,
            listener,
            link: None,
            links: 0,
            key,
            colibrid,
            // Whatever came before the descriptors were registered gave no edge.
            ready: Ready {
                stdin: true,
                stdout: true,
                stderr: true,
                link: false,
                accept: true,
                children: true,
                pump: false,
            },
            buf: vec![0; CHUNK].into_boxed_slice(),
            told: Told::default(),
            farewell: None,
            empty: false,
        }
    }

    /// The children, for confinement.
    pub fn children(&self) -> &Children {
        &self.children
    }

    /// Makes `fd` the connection to colibrid.
    pub fn connect(&mut self, fd: OwnedFd) {
        self.links += 1;
        let token = Token(LINKS + self.links);
        let last = self.core.ledger.last_seq();
        match Link::new(fd, self.poll.registry(), token, self.key, last) {
            Ok(link) => {
                self.link = Some(link);
                self.ready.link = true;
            }
            Err(e) => log_end(&e),
        }
    }

    /// Runs until the end of the run is told. Only a confined process may.
    pub fn run(mut self, _: &Confined) {
        let mut events = Events::with_capacity(32);
        self.core.feed(Event::Begin);
        loop {
            self.turn();
            if self.is_over() {
                return;
            }
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    // Without events there is no supervision; our death ends the run.
                    warn!("cannot wait for events: {}", reason(&e));
                    sys::exit_now(libcolibri::error::EX_FAILURE);
                }
            }
            for event in &events {
                self.note(event.token());
            }
        }
    }

    fn note(&mut self, token: Token) {
        match token {
            STDIN => self.ready.stdin = true,
            STDOUT => self.ready.stdout = true,
            STDERR => self.ready.stderr = true,
            LISTENER => self.ready.accept = true,
            SIGNALS | CONTAINER => self.ready.children = true,
            Token(n) if n == LINKS + self.links => self.ready.link = true,
            Token(_) => {}
        }
    }

    /// Everything that can be done now.
    fn turn(&mut self) {
        if std::mem::take(&mut self.ready.children) {
            self.read_signals();
        }
        self.read_stdout();
        self.read_stderr();
        if std::mem::take(&mut self.ready.stdin) {
            self.core.stdin_ready();
        }
        self.children();
        if std::mem::take(&mut self.ready.link) {
            self.hear_link();
        }
        if std::mem::take(&mut self.ready.accept) {
            self.accept();
        }
        self.timers();
        self.speak();
    }

    /// How long nothing can happen; `None`: until something does.
    fn timeout(&self) -> Option<Duration> {
        let room = !self.core.ledger.is_full();
        let more = self.ready.pump
            || self.ready.stderr
            || room && (self.ready.stdout || self.ready.link);
        if more {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.core.machine.deadline().filter(|_| !self.core.finished),
            self.core.ledger.deadline(),
            self.activity_due(),
            self.farewell,
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(Duration::from_millis(next.saturating_sub(now())))
    }

    fn timers(&mut self) {
        let now = now();
        if self.core.machine.deadline().is_some_and(|at| at <= now) {
            self.core.feed(Event::Tick);
        }
        self.core.ledger.tick(sys::wall_ms(), now);
        if std::mem::take(&mut self.core.close_container) {
            self.children.close_container();
            // Those that it killed are still to be reaped; signals will tell.
            self.collect();
        }
    }

    // ---- the agent ----

    fn read_signals(&mut self) {
        let mut bytes = [0; 64];
        while matches!(std::io::Read::read(&mut self.signals.pipe, &mut bytes), Ok(n) if n > 0) {}
        if self.signals.term.swap(false, Ordering::Relaxed) {
            self.core.feed(Event::Command(ToMonitor::Stop));
        }
    }

    fn read_stdout(&mut self) {
        for _ in 0..READS {
            // A full disk slows the agent; nothing of weight is lost.
            if !self.ready.stdout || self.core.ledger.is_full() {
                return;
            }
            match self.stdout.read(&mut self.buf) {
                Got::Bytes(n) => self.parse(n),
                Got::Dry | Got::End => self.ready.stdout = false,
            }
        }
    }

    fn parse(&mut self, n: usize) {
        let core = &mut self.core;
        self.parser
            .feed(&self.buf[..n], &mut |event| core.feed(Event::Pi(event)));
        self.told.last_ms = sys::wall_ms();
    }

    fn read_stderr(&mut self) {
        for _ in 0..READS {
            if !self.ready.stderr {
                return;
            }
            match self.stderr.read(&mut self.buf) {
                Got::Bytes(n) => self.tail.push(&self.buf[..n]),
                Got::Dry | Got::End => self.ready.stderr = false,
            }
        }
    }

    fn children(&mut self) {
        todo_children(self);
    }

    fn collect(&mut self) {
        self.children.collect();
    }
}
