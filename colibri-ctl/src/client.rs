//! The connection to colibrid: requests with a deadline, replies, events. One blocking socket, one buffer;
//! poll(2) waits, so that every wait has its limit and a closed standard output ends a tail.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use libcolibri::error::{reason, Fatal, Result};
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{self, sockopt, AddressFamily, SockFlag, SockType, UnixAddr};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::value::RawValue;

use crate::framing::{self, Incoming, Lines, Told};
use crate::model::{Event, Gap, Numbered, Request};
use crate::text::clean;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// How long a request waits that was one too many in a second, in milliseconds.
const PAUSE: u16 = 500;
/// How the refusal of such a request begins.
const HASTY: &str = "limits.requests_per_second";
/// Events kept while a reply is awaited; colibrid has no reason to send more in between.
const QUEUE_MAX: usize = 16 * 1024;

/// What follows a subscription.
#[derive(Debug)]
pub enum News {
    /// Something happened; the line as it came, and read.
    Event(String, Box<Event>),
    /// Events were lost; the line as it came, and read.
    Gap(String, Gap),
    /// Nothing came in the time given.
    Quiet,
    /// Nobody reads our standard output any more.
    Unread,
}

/// A connection to colibrid.
pub struct Client {
    stream: UnixStream,
    name: String,
    timeout: Duration,
    lines: Lines,
    chunk: Vec<u8>,
    queue: VecDeque<News>,
    last_id: u64,
}

impl Client {
    /// Connects to the socket at `path`; `timeout` bounds this and each request.
    ///
    /// # Errors
    /// As [`connect`].
    pub fn connect(path: &Path, timeout: Duration) -> Result<Client> {
        Ok(Client {
            stream: connect(path, timeout)?,
            name: clean(&path.display().to_string()),
            timeout,
            lines: Lines::default(),
            chunk: vec![0; CHUNK],
            queue: VecDeque::new(),
            last_id: 0,
        })
    }

    /// The socket, for the confinement.
    #[must_use]
    pub fn descriptor(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends a request and returns the `data` of its reply; events that come first are kept.
    ///
    /// # Errors
    /// Refused by colibrid, no reply in time, connection lost, or a reply that is not one.
    pub fn request(&mut self, request: &Request<'_>) -> Result<Box<RawValue>> {
        let deadline = Instant::now() + self.timeout;
        self.last_id += 1;
        let id = self.last_id;
        let mut line = serde_json::to_string(&Numbered { request, id })
            .map_err(|e| Fatal::new(format!("cannot write the request as JSON: {e}")))?;
        line.push('\n');
        let sent = line;
        self.write(&sent)?;
        loop {
            let line = match self.line(Some(deadline), false)? {
                Got::Line(line) => line,
                Got::Quiet | Got::Unread => return Err(self.silent()),
            };
            let told = match self.incoming(&line)? {
                Incoming::Reply(_, Err(refusal)) => {
                    if !refusal.starts_with(HASTY) || Instant::now() >= deadline {
                        return Err(Fatal::new(refusal));
                    }
                    // It was not read; there is no event for the second to be over.
                    let _ = poll(&mut [], PAUSE);
                    self.write(&sent)?;
                    continue;
                }
                Incoming::Reply(to, Ok(data)) if to == Some(id.to_string()) => return Ok(data),
                Incoming::Reply(..) => return Err(self.nonsense("a reply to something else")),
                Incoming::Told(told) => told,
            };
            if self.queue.len() >= QUEUE_MAX {
                return Err(self.nonsense("events without end instead of a reply"));
            }
            self.queue.push_back(match told {
                Told::Event(event) => News::Event(line, event),
                Told::Gap(gap) => News::Gap(line, gap),
            });
        }
    }

    fn write(&mut self, line: &str) -> Result<()> {
        let Err(e) = self.stream.write_all(line.as_bytes()) else {
            return Ok(());
        };
        if e.kind() == io::ErrorKind::WouldBlock {
            return Err(self.silent());
        }
        let lost = self.lost("send the request to", &e);
        Err(self.last_word().unwrap_or(lost))
    }

    /// Why colibrid has closed the connection, as far as it has said so: whom it does not let in is
    /// told before it asks for anything.
    fn last_word(&mut self) -> Option<Fatal> {
        let Ok(Got::Line(line)) = self.line(Some(Instant::now() + self.timeout), false) else {
            return None;
        };
        match self.incoming(&line) {
            Ok(Incoming::Reply(_, Err(refusal))) => Some(Fatal::new(refusal)),
            _ => None,
        }
    }

    /// Waits for the next event or gap, at most until `patience` has passed; with `unread` also
    /// only as long as somebody reads our standard output.
    ///
    /// # Errors
    /// Connection lost, or a line that is not an event.
    pub fn next(&mut self, patience: Option<Duration>, unread: bool) -> Result<News> {
        if let Some(news) = self.queue.pop_front() {
            return Ok(news);
        }
        let deadline = patience.map(|p| Instant::now() + p);
        match self.line(deadline, unread)? {
            Got::Line(line) => self.news(line),
            Got::Quiet => Ok(News::Quiet),
            Got::Unread => Ok(News::Unread),
        }
    }

    /// Reads a line of a subscription.
    fn news(&self, line: String) -> Result<News> {
        match self.incoming(&line)? {
            Incoming::Told(Told::Event(event)) => Ok(News::Event(line, event)),
            Incoming::Told(Told::Gap(gap)) => Ok(News::Gap(line, gap)),
            Incoming::Reply(..) => Err(self.nonsense("a reply to nothing")),
        }
    }

    fn incoming(&self, line: &str) -> Result<Incoming> {
        framing::incoming(line).map_err(|what| self.nonsense(&what))
    }

    /// The next line without its line feed. With `unread`, also ends when nobody reads stdout.
    fn line(&mut self, deadline: Option<Instant>, unread: bool) -> Result<Got> {
        loop {
            if let Some(line) = self.lines.next().map_err(|what| self.nonsense(what))? {
                return Ok(Got::Line(line));
            }
            match self.wait(deadline, unread)? {
                Ready::Socket => self.fill()?,
                Ready::Timeout => return Ok(Got::Quiet),
                Ready::Unread => return Ok(Got::Unread),
            }
        }
    }

    /// Waits until the socket can be read.
    fn wait(&self, deadline: Option<Instant>, unread: bool) -> Result<Ready> {
        let out = io::stdout();
        loop {
            let timeout = match deadline {
                None => PollTimeout::NONE,
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(Ready::Timeout);
                    }
                    // Rounded up, or the last millisecond would be a busy loop.
                    let ms = i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
                    PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
                }
            };
            let mut fds = [
                PollFd::new(self.stream.as_fd(), PollFlags::POLLIN),
                PollFd::new(out.as_fd(), PollFlags::empty()),
            ];
            let used = if unread { &mut fds[..] } else { &mut fds[..1] };
            match poll(used, timeout) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(self.lost("wait for", &io::Error::from(e))),
            }
            let any = |fd: &PollFd<'_>| fd.revents().is_some_and(|r| !r.is_empty());
            if any(&fds[0]) {
                return Ok(Ready::Socket);
            }
            if any(&fds[1]) {
                return Ok(Ready::Unread);
            }
        }
    }

    fn fill(&mut self) -> Result<()> {
        match self.stream.read(&mut self.chunk) {
            Ok(0) => {
                let half = if self.lines.is_empty() {
                    ""
                } else {
                    " in the middle of a line"
                };
                Err(Fatal::new(format!(
                    "colibrid at {} closed the connection{half}",
                    self.name
                )))
            }
            Ok(n) => {
                self.lines.push(&self.chunk[..n]);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(self.lost("read from", &e)),
        }
    }

    fn lost(&self, action: &str, e: &io::Error) -> Fatal {
        Fatal::new(format!(
            "cannot {action} colibrid at {}: {}",
            self.name,
            reason(e)
        ))
    }

    fn silent(&self) -> Fatal {
        Fatal::new(format!(
            "colibrid at {} did not answer within {} s",
            self.name,
            self.timeout.as_secs()
        ))
    }

    /// What to say of a peer that does not speak the protocol. Its bytes are not repeated.
    #[must_use]
    pub fn nonsense(&self, what: &str) -> Fatal {
        Fatal::new(format!("colibrid at {} sent {what}", self.name))
    }
}

/// Connects to the socket at `path`, within `timeout`, which bounds each later write, too.
///
/// # Errors
/// In words, with a guess at the cause where there is an obvious one.
pub fn connect(path: &Path, timeout: Duration) -> Result<UnixStream> {
    let failed = |e: Errno| {
        let hint = match e {
            Errno::ENOENT | Errno::ECONNREFUSED => " (is colibrid running?)",
            Errno::EACCES | Errno::EPERM => " (may this user use colibrid?)",
            Errno::EAGAIN => " (colibrid takes no connections)",
            _ => "",
        };
        let (name, reason) = (path.display().to_string(), reason(&io::Error::from(e)));
        Fatal::new(format!(
            "cannot connect to {}: {reason}{hint}",
            clean(&name)
        ))
    };
    let address = UnixAddr::new(path).map_err(failed)?;
    let fd: OwnedFd = socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(failed)?;
    // Bounds connect() too, where it waits at all (Linux, when the backlog is full).
    let limit = TimeVal::seconds(i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX));
    socket::setsockopt(&fd, sockopt::SendTimeout, &limit).map_err(failed)?;
    socket::connect(fd.as_raw_fd(), &address).map_err(failed)?;
    Ok(UnixStream::from(fd))
}

enum Got {
    Line(String),
    Quiet,
    Unread,
}

enum Ready {
    Socket,
    Timeout,
    Unread,
}
