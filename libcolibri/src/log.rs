//! The log: five words (debug, info, warn, error, and `fatal` in the daemons' main), one line
//! each, tagged with the process. To syslogd, or to stderr in the foreground.
//!
//! The socket is connected before confinement, and lines that it does not take are lost: a log
//! never blocks a daemon. When syslogd was started again, a confined process cannot connect to the
//! new one: somebody who can hands it a connection ([`is_lost`], [`replace`]). Nothing that a client or an agent wrote is logged but in
//! escaped, clipped form; prompts and secrets never are.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;

use syslog::{Facility, Formatter5424, Logger};

use crate::error::Fatal;
use crate::record::clip;

/// Longest line, in bytes; syslogd takes 8 KiB at most.
const LINE_MAX: usize = 2048;

/// Where syslogd listens: FreeBSD, Linux.
const SOCKETS: [&str; 2] = ["/var/run/log", "/dev/log"];

/// Where the lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To stderr, with the tag in front.
    Stderr,
    /// To syslogd, facility daemon.
    Syslog,
}

impl Target {
    /// Where a daemon's lines go: in the foreground to stderr.
    #[must_use]
    pub fn of(foreground: bool) -> Target {
        match foreground {
            true => Target::Stderr,
            false => Target::Syslog,
        }
    }
}

struct Datagrams(UnixDatagram);

impl Write for Datagrams {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.send(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Sink {
    Stderr,
    Syslog(Box<Logger<Collect, Formatter5424>>),
}

/// The formatter writes in pieces; a datagram must be one.
struct Collect {
    line: Vec<u8>,
    to: Datagrams,
}

impl Write for Collect {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        self.to.write(&line).map(|_| ())
    }
}

struct State {
    tag: &'static str,
    sink: Sink,
    verbose: bool,
    /// syslogd has gone from the other end.
    lost: bool,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// Starts the log of this process. Without it, everything is dropped.
///
/// # Errors
/// When syslogd cannot be reached; the caller decides whether that matters.
pub fn init(tag: &'static str, target: Target, verbose: bool) -> io::Result<()> {
    let sink = match target {
        Target::Stderr => Sink::Stderr,
        Target::Syslog => Sink::Syslog(Box::new(connect(tag)?)),
    };
    *lock() = Some(State {
        tag,
        sink,
        verbose,
        lost: false,
    });
    Ok(())
}

fn connect(tag: &str) -> io::Result<Logger<Collect, Formatter5424>> {
    let to = Datagrams(connection()?.into());
    let hostname = nix::unistd::gethostname()
        .ok()
        .and_then(|h| h.into_string().ok());
    let format = Formatter5424 {
        facility: Facility::LOG_DAEMON,
        hostname,
        process: tag.to_owned(),
        pid: std::process::id(),
    };
    let line = Vec::new();
    Ok(Logger::new(Collect { line, to }, format))
}

/// A new connection to syslogd, non-blocking; for a process that is not confined.
///
/// # Errors
/// When syslogd is not there.
pub fn connection() -> io::Result<OwnedFd> {
    let socket = UnixDatagram::unbound()?;
    let mut last = io::ErrorKind::NotFound.into();
    for path in SOCKETS {
        match socket.connect(path) {
            Ok(()) => {
                socket.set_nonblocking(true)?;
                return Ok(socket.into());
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Whether the log goes to stderr.
pub fn is_to_stderr() -> bool {
    matches!(
        &*lock(),
        Some(State {
            sink: Sink::Stderr,
            ..
        })
    )
}

/// The last word of a daemon, and its exit code. It goes to stderr as well: the command that starts
/// the suite passes it on, while there is one.
pub fn last_word(tag: &str, fatal: &Fatal) -> i32 {
    crate::error!("{fatal}");
    if !is_to_stderr() {
        // Its reader may be gone.
        let line = format!("{tag}: {fatal}\n");
        let _ = io::stderr().write_all(line.as_bytes());
    }
    fatal.code
}

/// Whether a line was lost because syslogd has gone, and no new connection was given since.
pub fn is_lost() -> bool {
    lock().as_ref().is_some_and(|s| s.lost)
}

/// Logs through another connection from now on; without effect where the log goes to stderr.
pub fn replace(fd: OwnedFd) {
    if let Some(state) = lock().as_mut() {
        state.lost = false;
        if let Sink::Syslog(l) = &mut state.sink {
            l.backend.to = Datagrams(fd.into());
        }
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<State>> {
    STATE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Calls `f` with the descriptor of the connection to syslogd, if there is one.
pub fn with_fd<T>(f: impl FnOnce(Option<BorrowedFd<'_>>) -> T) -> T {
    match &*lock() {
        Some(State {
            sink: Sink::Syslog(l),
            ..
        }) => f(Some(l.backend.to.0.as_fd())),
        _ => f(None),
    }
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Only with -v.
    Debug,
    /// A normal event worth a line.
    Info,
    /// Something is not as it should be; work goes on.
    Warn,
    /// Something failed.
    Error,
}

/// Writes one line. Use the macros [`debug!`](crate::debug), [`info!`](crate::info),
/// [`warn!`](crate::warn) and [`error!`](crate::error!).
pub fn line(level: Level, args: fmt::Arguments<'_>) {
    let mut guard = lock();
    let Some(state) = guard.as_mut() else {
        return;
    };
    if level == Level::Debug && !state.verbose {
        return;
    }
    let text = clean(&args.to_string());
    match &mut state.sink {
        // The result is dropped on purpose: there is nobody left to tell.
        Sink::Stderr => {
            // In one piece: several processes may write there.
            let line = format!("{}: {}{text}\n", state.tag, word(level));
            let _ = io::stderr().write_all(line.as_bytes());
        }
        Sink::Syslog(l) => {
            let message = (0, std::collections::BTreeMap::new(), text);
            let _ = match level {
                Level::Debug => l.debug(message),
                Level::Info => l.info(message),
                Level::Warn => l.warning(message),
                Level::Error => l.err(message),
            };
            // A full queue passes by itself; any other error is syslogd's end.
            let full = |e: &io::Error| {
                e.kind() == io::ErrorKind::WouldBlock
                    || e.raw_os_error() == Some(nix::libc::ENOBUFS)
            };
            state.lost |= l.backend.flush().is_err_and(|e| !full(&e));
        }
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug: ",
        Level::Info => "",
        Level::Warn => "warning: ",
        Level::Error => "error: ",
    }
}

/// One printable line: control characters become escapes, the length is bounded.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LINE_MAX));
    for c in clip(text, LINE_MAX).chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}') {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// A line for those who asked with -v.
#[macro_export]
macro_rules! debug {
    ($($a:tt)*) => { $crate::log::line($crate::log::Level::Debug, format_args!($($a)*)) };
}

/// A line about a normal event.
#[macro_export]
macro_rules! info {
    ($($a:tt)*) => { $crate::log::line($crate::log::Level::Info, format_args!($($a)*)) };
}

/// A line about something that is not as it should be.
#[macro_export]
macro_rules! warn {
    ($($a:tt)*) => { $crate::log::line($crate::log::Level::Warn, format_args!($($a)*)) };
}

/// A line about a failure.
#[macro_export]
macro_rules! error {
    ($($a:tt)*) => { $crate::log::line($crate::log::Level::Error, format_args!($($a)*)) };
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(clean("a\nb\x1b[31m"), "a\\u{a}b\\u{1b}[31m");
        assert_eq!(clean("\u{85}\u{202e}x"), "\\u{85}\\u{202e}x");
        assert!(clean(&"x".repeat(100_000)).len() <= 2048);
    }
}
