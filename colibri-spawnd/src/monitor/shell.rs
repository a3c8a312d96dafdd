//! The monitor's loop: one thread, one poll, one deadline. It reads, writes and waits; what all
//! that means is [`super::machine`]'s to say.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use libcolibri::chan::ChanError;
use libcolibri::error::reason;
use libcolibri::msg::{FromMonitor, RunKey, ToMonitor};
use libcolibri::pi::Parser;
use libcolibri::sandbox::Confined;
use libcolibri::signals::Signals;
use libcolibri::{debug, sys, warn};
use mio::net::{UnixListener, UnixStream};
use mio::{Events, Poll, Token};

use super::children::Children;
use super::core::{now, Core};
use super::link::{log_end, Link, Pumped};
use super::pipes::{Got, Source, TailText};
use super::words::{Event, Tail};
use crate::monitor_args::Args;

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
/// Commands that a colibrid which is gone may have left behind: more than a socket holds.
const LAST_WORDS: usize = 16 * 1024;
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
    /// Its stdout.
    pub stdout: Source,
    /// Its stderr.
    pub stderr: Source,
    /// It and its tree.
    pub children: Children,
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
    /// Missing only where the launch failed before it was bound.
    listener: Option<UnixListener>,
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
        core: Core,
        agent: Agent,
        signals: Signals,
        listener: Option<UnixListener>,
        args: &Args,
    ) -> Shell {
        Shell {
            poll,
            core,
            parser: Parser::new(),
            stdout: agent.stdout,
            stderr: agent.stderr,
            tail: TailText::default(),
            children: agent.children,
            signals,
            listener,
            link: None,
            links: 0,
            key: args.key,
            colibrid: args.colibrid_uid,
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

    /// Every descriptor of the loop with its role in the monitor's confinement.
    pub fn held(&self) -> Vec<(BorrowedFd<'_>, &'static str)> {
        let some = [
            (self.core.stdin.fd(), "agent stdin"),
            (self.stdout.fd(), "agent stdout"),
            (self.stderr.fd(), "agent stderr"),
            (self.listener.as_ref().map(AsFd::as_fd), "listener"),
            (self.children.jail(), "container"),
            (self.children.watch(), "inner queue"),
            (self.children.report(), "init"),
            (Some(self.poll.registry().as_fd()), "poll"),
            (Some(self.core.ledger.journal().as_fd()), "journal"),
        ];
        let open = some.into_iter();
        open.filter_map(|(fd, role)| Some((fd?, role))).collect()
    }

    /// The signals, whose descriptors belong to nobody that could lend them.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Makes `stream` the connection to colibrid; it must be non-blocking.
    pub fn connect(&mut self, stream: UnixStream) {
        self.links += 1;
        let token = Token(LINKS + self.links);
        let last = self.core.ledger.last_seq();
        match Link::new(stream, self.poll.registry(), token, self.key, last) {
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
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
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
            self.collect();
        }
        self.read_stdout();
        self.read_stderr();
        if std::mem::take(&mut self.ready.stdin) {
            self.core.stdin_ready();
        }
        if std::mem::take(&mut self.ready.link) {
            self.hear();
        }
        if std::mem::take(&mut self.ready.accept) {
            self.accept();
        }
        self.timers();
        self.conclude();
        self.speak();
    }

    /// How long nothing can happen; `None`: until something does.
    fn timeout(&self) -> Option<Duration> {
        let room = !self.core.ledger.is_full();
        let more =
            self.ready.pump || self.ready.stderr || room && (self.ready.stdout || self.ready.link);
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
        // SIGCHLD needs no more than the waking; a hangup or an interrupt meant for a terminal's
        // foreground group is not for us.
        if self.signals.take().contains(&nix::libc::SIGTERM) {
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

    /// What the children's end means, in the order in which it can be known.
    fn collect(&mut self) {
        self.children.collect();
        if let Some(exit) = self.children.new_exit() {
            debug!("the agent has ended: {exit:?}");
            self.core.feed(Event::Exited(exit));
        }
    }

    /// The end, once the tree is proven empty and what it had written is read.
    fn conclude(&mut self) {
        if self.empty || self.core.ledger.is_full() {
            return;
        }
        let Some(proof) = self.children.proof() else {
            return;
        };
        self.empty = true;
        self.drain();
        let core = &mut self.core;
        self.parser.finish(&mut |event| core.feed(Event::Pi(event)));
        let tail = Tail {
            stderr: self.tail.text(),
            lines: self.parser.lines(),
            bytes: self.parser.bytes(),
            malformed: self.parser.malformed(),
        };
        self.core.feed(Event::Empty(proof, tail));
    }

    /// Reads what is left in the pipes. Nobody of the run can write any more, so they run dry,
    /// whether or not somebody else still holds an end.
    fn drain(&mut self) {
        let mut left = LEFT_IN_PIPE;
        while let (true, Got::Bytes(n)) = (left > 0, self.stdout.read(&mut self.buf)) {
            self.parse(n);
            left = left.saturating_sub(n);
        }
        left = LEFT_IN_PIPE;
        while let (true, Got::Bytes(n)) = (left > 0, self.stderr.read(&mut self.buf)) {
            self.tail.push(&self.buf[..n]);
            left = left.saturating_sub(n);
        }
    }

    // ---- colibrid ----

    /// Takes in what colibrid has sent.
    fn hear(&mut self) {
        for _ in 0..COMMANDS {
            // Of its first word, where it is, nothing is recorded.
            let resumed = self.link.as_ref().is_some_and(Link::is_resumed);
            if resumed && self.core.ledger.is_full() {
                break;
            }
            if !self.hear_one() {
                return;
            }
        }
        self.ready.link = true;
    }

    /// Takes in one message; `false` when there is none.
    fn hear_one(&mut self) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        match link.recv(self.core.ledger.last_seq()) {
            Ok(None) => return false,
            Ok(Some(ToMonitor::Resume { .. })) => self.core.feed(Event::Linked),
            Ok(Some(command)) => self.core.feed(Event::Command(command)),
            Err(e) => {
                self.unlink(&e);
                return false;
            }
        }
        true
    }

    fn unlink(&mut self, e: &ChanError) {
        log_end(e);
        if let Some(link) = self.link.take() {
            let resumed = link.is_resumed();
            link.close(self.poll.registry());
            self.ready.link = false;
            self.ready.pump = false;
            if resumed {
                self.core.feed(Event::Unlinked);
            }
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.as_ref().map(UnixListener::accept) {
                Some(Ok((stream, _))) => self.admit(stream),
                Some(Err(e)) => match e.kind() {
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    ErrorKind::WouldBlock => return,
                    _ => return warn!("cannot accept a connection: {}", reason(&e)),
                },
                None => return,
            }
        }
    }

    /// One colibrid at a time, and nobody else.
    fn admit(&mut self, stream: UnixStream) {
        match sys::peer_cred(stream.as_fd()) {
            Ok(peer) if peer.uid == self.colibrid || peer.uid == 0 => {}
            Ok(peer) => return warn!("refused a connection of uid {}", peer.uid),
            Err(e) => return warn!("cannot learn who connected: {}", reason(&e)),
        }
        // The old one may be gone, which shows behind the last that it has said. That much is taken
        // in even when the journal has no room.
        let last_words = (0..LAST_WORDS).all(|_| self.hear_one());
        if self.link.is_some() {
            self.ready.link |= last_words;
            return warn!("refused a second connection");
        }
        self.connect(stream);
    }

    /// Tells colibrid what there is to tell.
    fn speak(&mut self) {
        let ask = self.core.ask.take();
        let due = self.activity_due().is_some_and(|at| at <= now());
        let Some(link) = &mut self.link else {
            return;
        };
        let said = ask
            .map_or(Ok(()), |kill| link.ask_kill(kill))
            .and_then(|()| link.pump(&self.core.ledger));
        match said {
            Ok(pumped) => self.ready.pump = pumped == Pumped::More,
            Err(e) => return self.unlink(&e),
        }
        if due {
            let activity = FromMonitor::Activity {
                at_ms: self.told.last_ms,
                lines: self.parser.lines(),
                bytes: self.parser.bytes(),
            };
            self.told.at = now();
            match link.mention(&activity) {
                Ok(true) => self.told.bytes = self.parser.bytes(),
                Ok(false) => {}
                Err(e) => self.unlink(&e),
            }
        }
    }

    /// When colibrid is due a word about a stream that moves.
    fn activity_due(&self) -> Option<u64> {
        let listens = self.link.as_ref().is_some_and(Link::is_resumed);
        let moved = self.parser.bytes() != self.told.bytes;
        (listens && moved && !self.core.finished).then_some(self.told.at + ACTIVITY_MS)
    }

    /// Whether the end is in the journal and colibrid has it, or cannot be waited for.
    fn is_over(&mut self) -> bool {
        if !self.core.finished || !self.core.ledger.is_written() {
            return false;
        }
        let Some(link) = &self.link else {
            return true;
        };
        let until = *self.farewell.get_or_insert(now() + FAREWELL_MS);
        link.is_even(&self.core.ledger) || now() >= until
    }
}
