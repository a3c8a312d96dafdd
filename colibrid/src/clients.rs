//! Connections to the public socket: who is there, bytes in and out, all of it bounded.
//!
//! A client is identified by the kernel. What it sends is cut into lines here and understood in
//! request.rs; garbage costs the sender its own connection at most.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use libcolibri::config::{Limits, Role, RoleTable};
use libcolibri::{debug, sys, warn};
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use crate::request::{reply, Refusal, LINE_MAX};

/// Most bytes that wait for one client. One that does not read is not heard, so it does not get there.
const OUT_MAX: usize = 8 * 1024 * 1024;
/// A client is heard, and a subscriber gets more events, while no more bytes than this wait for it.
pub const OUT_LOW: usize = 64 * 1024;
/// Longest reply in bytes; it fits beside what else may wait.
pub const REPLY_MAX: usize = 7 * 1024 * 1024;
/// Most bytes read from one client in a turn of the loop: a flood does not starve the others.
const TURN_BYTES: usize = 64 * 1024;
/// Most connections taken in a turn of the loop, for the same reason.
const TURN_CONNECTIONS: usize = 16;
/// The least time between two lines of the log on refused clients: anybody may connect.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);

/// A subscription: where it stands in the event log.
#[derive(Debug, Clone, Copy)]
pub struct Subscription {
    /// The last event sent.
    pub cursor: u64,
    /// Only this run's events.
    pub run: Option<u64>,
}

/// One connection.
pub struct Client {
    stream: UnixStream,
    /// Its user, by the kernel's word at the time it connected.
    pub uid: u32,
    /// What it may do.
    pub role: Role,
    inbuf: Vec<u8>,
    /// Bytes of `inbuf` that have been looked through: no line ends there.
    scanned: usize,
    /// There was nothing more to read.
    drained: bool,
    out: Vec<u8>,
    sent: usize,
    /// Requests it may still make now; refilled by time.
    allowance: f64,
    refilled: Instant,
    /// A command of its that waits for a monitor: what follows waits too.
    pub busy: bool,
    /// Its subscription.
    pub subscription: Option<Subscription>,
    /// Goes when what waits has been sent.
    closing: bool,
    /// The peer has sent its last byte.
    eof: bool,
    gone: bool,
}

/// All connections.
pub struct Clients {
    listener: UnixListener,
    map: BTreeMap<Token, Client>,
    limits: Limits,
    roles: RoleTable,
    owner: Option<u32>,
    refusals: Refusals,
}

/// Refused clients, for the log.
#[derive(Default)]
struct Refusals {
    /// When one was told last.
    told: Option<Instant>,
    /// Those since then that were not.
    untold: u64,
}

impl Refusals {
    fn note(&mut self, uid: u32, why: &str) {
        let now = Instant::now();
        if self.told.is_some_and(|t| now < t + REFUSAL_PAUSE) {
            self.untold += 1;
            return;
        }
        match std::mem::take(&mut self.untold) {
            0 => warn!("refused a client of uid {uid}: {why}"),
            n => warn!("refused a client of uid {uid}: {why}; and {n} others before"),
        }
        self.told = Some(now);
    }
}

/// How far [`Clients::accept`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Nobody waits any more.
    All,
    /// Somebody may still wait: it is the others' turn.
    Some,
    /// The system had no descriptor or memory for a connection: try again in a while.
    Full,
}

impl Clients {
    /// Takes over the listening socket. `owner` is the user that may do everything because the
    /// suite is its own (a suite without root).
    pub fn new(
        listener: std::os::unix::net::UnixListener,
        limits: Limits,
        roles: RoleTable,
        owner: Option<u32>,
    ) -> Clients {
        Clients {
            listener: UnixListener::from_std(listener),
            map: BTreeMap::new(),
            limits,
            roles,
            owner,
            refusals: Refusals::default(),
        }
    }

    /// The listening socket, to register it.
    pub fn listener(&mut self) -> &mut UnixListener {
        &mut self.listener
    }

    /// The client of a token.
    pub fn get(&mut self, token: Token) -> Option<&mut Client> {
        self.map.get_mut(&token)
    }

    /// Tokens of all clients.
    pub fn tokens(&self) -> Vec<Token> {
        self.map.keys().copied().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Accepts whoever waits, a turn's worth, up to the limits and to `room` more. `next` makes
    /// tokens.
    pub fn accept(
        &mut self,
        registry: &Registry,
        room: usize,
        mut next: impl FnMut() -> Token,
    ) -> Accepted {
        let most = self.map.len() + room;
        for _ in 0..TURN_CONNECTIONS {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(registry, most, stream, next()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Accepted::All,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    warn!("cannot accept a client: {}", libcolibri::error::reason(&e));
                    return Accepted::Full;
                }
            }
        }
        Accepted::Some
    }

    fn admit(&mut self, registry: &Registry, most: usize, stream: UnixStream, token: Token) {
        let cred = match sys::peer_cred(stream.as_fd()) {
            Ok(c) => c,
            Err(e) => {
                warn!(
                    "cannot tell who a client is: {}",
                    libcolibri::error::reason(&e)
                );
                return;
            }
        };
        let mut groups = cred.groups;
        groups.push(cred.gid);
        let role = self.roles.role_of(cred.uid, &groups, self.owner);
        let refusal = self.refuse(cred.uid, role, most);
        let mut client = Client {
            stream,
            uid: cred.uid,
            role: role.unwrap_or(Role::Observer),
            inbuf: Vec::new(),
            scanned: 0,
            drained: false,
            out: Vec::new(),
            sent: 0,
            allowance: f64::from(self.limits.requests_per_second) * 2.0,
            refilled: Instant::now(),
            busy: false,
            subscription: None,
            closing: false,
            eof: false,
            gone: false,
        };
        if let Some(r) = refusal {
            // One line into an empty socket buffer: there is always room.
            self.refusals.note(cred.uid, &r.message);
            client.send(&reply(None, Err(r)));
            client.flush();
            return;
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        if registry
            .register(&mut client.stream, token, interest)
            .is_ok()
        {
            debug!("client of uid {} connected", cred.uid);
            self.map.insert(token, client);
        }
    }

    fn refuse(&self, uid: u32, role: Option<Role>, most: usize) -> Option<Refusal> {
        if role.is_none() {
            let message = format!("uid {uid} has no role here (see [roles] in colibri.conf(5))");
            return Some(Refusal::new("denied", message));
        }
        if self.map.len() >= most {
            return Some(Refusal::new("too-many", "no descriptors left for a client"));
        }
        let mine = self.map.values().filter(|c| c.uid == uid).count();
        if self.map.len() >= self.limits.clients as usize {
            return Some(Refusal::new("too-many", "limits.clients is reached"));
        }
        if mine >= self.limits.clients_per_user as usize {
            let message = "limits.clients_per_user is reached";
            return Some(Refusal::new("too-many", message));
        }
        None
    }

    /// The peer has closed both directions: nothing more can be said to it.
    pub fn hung_up(&mut self, token: Token) {
        if let Some(c) = self.map.get_mut(&token) {
            c.gone = true;
        }
    }

    /// Reads from a client, at most a turn's worth.
    pub fn read(&mut self, token: Token) {
        if let Some(c) = self.map.get_mut(&token) {
            c.read();
        }
    }

    /// The next whole line of a client that is not waiting for an earlier request.
    pub fn next_line(&mut self, token: Token) -> Option<Line> {
        let rate = f64::from(self.limits.requests_per_second);
        self.map.get_mut(&token)?.next_line(rate)
    }

    /// Sends what waits and forgets the connections that are over. Returns their tokens, and those
    /// of clients that go on now because they have read.
    pub fn flush(&mut self, registry: &Registry) -> (Vec<Token>, Vec<Token>) {
        let (mut over, mut go_on) = (Vec::new(), Vec::new());
        for (token, c) in &mut self.map {
            let waited = c.waiting() > OUT_LOW;
            c.flush();
            if waited && c.waiting() <= OUT_LOW {
                go_on.push(*token);
            }
        }
        while self.map.values().map(Client::held).sum::<u64>() > self.limits.client_memory {
            self.drop_largest();
        }
        for (token, c) in &mut self.map {
            if c.is_over() {
                let _ = registry.deregister(&mut c.stream);
                over.push(*token);
            }
        }
        for t in &over {
            self.map.remove(t);
        }
        (over, go_on)
    }

    /// There is no memory for all: whoever takes most of it loses some. By users, so that nobody
    /// makes others lose theirs by many connections.
    fn drop_largest(&mut self) {
        let mut users: BTreeMap<u32, u64> = BTreeMap::new();
        for c in self.map.values() {
            *users.entry(c.uid).or_default() += c.held();
        }
        let most = users.into_iter().max_by_key(|(_, held)| *held);
        let theirs = self
            .map
            .values_mut()
            .filter(|c| Some(c.uid) == most.map(|m| m.0));
        if let Some(c) = theirs.max_by_key(|c| c.held()) {
            warn!(
                "dropped a client of uid {}: limits.client_memory is reached",
                c.uid
            );
            c.drop_now();
        }
    }
}

/// What a client sent.
pub enum Line {
    /// A request line.
    Request(Vec<u8>),
    /// More requests a second than allowed: this one is not read.
    TooMany,
    /// Longer than [`LINE_MAX`]: the connection ends.
    TooLong,
}

impl Client {
    fn read(&mut self) {
        let mut buf = [0; 16 * 1024];
        self.drained = false;
        let mut left = TURN_BYTES;
        while left > 0 && !self.eof && self.inbuf.len() <= LINE_MAX {
            match self.stream.read(&mut buf) {
                Ok(0) => (self.eof, self.drained) = (true, true),
                Ok(n) => {
                    self.inbuf.extend_from_slice(&buf[..n]);
                    left = left.saturating_sub(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.drained = true;
                    return;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        self.drained |= self.eof;
    }

    /// Where the first line ends.
    fn line_end(&self) -> Option<usize> {
        let rest = self.inbuf.get(self.scanned..).unwrap_or_default();
        let at = rest.iter().position(|b| *b == b'\n')?;
        Some(self.scanned + at)
    }

    fn next_line(&mut self, rate: f64) -> Option<Line> {
        if self.busy || self.closing || self.gone || self.waiting() > OUT_LOW {
            return None;
        }
        let Some(end) = self.line_end() else {
            self.scanned = self.inbuf.len();
            if self.inbuf.len() > LINE_MAX {
                (self.inbuf, self.scanned) = (Vec::new(), 0);
                self.closing = true;
                return Some(Line::TooLong);
            }
            return None;
        };
        self.scanned = 0;
        let mut line: Vec<u8> = self.inbuf.drain(..=end).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if self.inbuf.is_empty() {
            self.inbuf = Vec::new();
        }
        if line.len() > LINE_MAX {
            self.closing = true;
            return Some(Line::TooLong);
        }
        let now = Instant::now();
        let earned = now.duration_since(self.refilled).as_secs_f64() * rate;
        self.allowance = (self.allowance + earned).min(rate * 2.0);
        self.refilled = now;
        if self.allowance < 1.0 {
            return Some(Line::TooMany);
        }
        self.allowance -= 1.0;
        Some(Line::Request(line))
    }

    /// Whether it can be served at once: there is a line, or more to read and room for it, and
    /// nothing that is waited for first.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        let may_read = !self.drained && self.inbuf.len() <= LINE_MAX;
        let held = self.busy || self.closing || self.gone || self.waiting() > OUT_LOW;
        !held && (may_read || self.line_end().is_some())
    }

    /// Bytes of memory in its buffers.
    fn held(&self) -> u64 {
        (self.inbuf.capacity() + self.out.capacity()) as u64
    }

    fn drop_now(&mut self) {
        self.gone = true;
        (self.inbuf, self.scanned) = (Vec::new(), 0);
        (self.out, self.sent) = (Vec::new(), 0);
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Queues text. That of a client for which too much waits is not: it is dropped.
    pub fn send(&mut self, text: &str) {
        if self.waiting() + text.len() > OUT_MAX {
            warn!("dropped a client of uid {}: it does not read", self.uid);
            self.gone = true;
            return;
        }
        self.out.extend_from_slice(text.as_bytes());
    }

    fn flush(&mut self) {
        while self.sent < self.out.len() && !self.gone {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(0) => self.gone = true,
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.out.shrink_to(4096);
            self.sent = 0;
        } else if self.sent > OUT_LOW {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// A client that has shut down its writing side still gets its replies; a subscriber is one
    /// that reads only, so end of input does not end it before its peer is gone.
    fn is_over(&self) -> bool {
        let done = self.sent == self.out.len();
        let asks = self.busy || self.line_end().is_some();
        let quiet = self.eof && !asks && self.subscription.is_none();
        self.gone || (done && (self.closing || quiet))
    }
}
