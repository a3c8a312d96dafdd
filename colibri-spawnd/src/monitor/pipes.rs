//! The agent's three pipes, none of which ever makes the monitor wait.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::unistd;

/// How much of the end of stderr is kept, in bytes.
const TAIL: usize = 4096;

/// Makes a descriptor non-blocking: the other ends have descriptions of their own and notice
/// nothing.
///
/// # Errors
/// When it is not open.
pub fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Dry,
    /// Nothing ever more.
    End,
}

/// A read end: the agent's stdout or stderr, or an init's status pipe.
pub struct Source {
    fd: Option<OwnedFd>,
}

impl Source {
    /// Registers the read end of a pipe.
    ///
    /// # Errors
    /// When it cannot be polled.
    pub fn new(fd: OwnedFd, registry: &Registry, token: Token) -> io::Result<Source> {
        set_nonblocking(&fd)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Source { fd: Some(fd) })
    }

    /// A pipe that is not there.
    pub fn none() -> Source {
        Source { fd: None }
    }

    /// The descriptor, for confinement.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Reads once; closes the pipe at its end.
    pub fn read(&mut self, buf: &mut [u8]) -> Got {
        let Some(fd) = &self.fd else {
            return Got::End;
        };
        loop {
            match unistd::read(fd, buf) {
                Ok(n) if n > 0 => return Got::Bytes(n),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Got::Dry,
                Ok(_) | Err(_) => {
                    self.fd = None;
                    return Got::End;
                }
            }
        }
    }
}

/// The agent's stdin: writes wait here until the pipe takes them.
pub struct Sink {
    fd: Option<OwnedFd>,
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the first one that are in the pipe.
    at: usize,
    /// Whole writes that are in the pipe.
    written: u64,
}

impl Sink {
    /// Registers the write end of a pipe.
    ///
    /// # Errors
    /// When it cannot be polled.
    pub fn new(fd: OwnedFd, registry: &Registry, token: Token) -> io::Result<Sink> {
        set_nonblocking(&fd)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::WRITABLE)?;
        Ok(Sink {
            fd: Some(fd),
            ..Sink::none()
        })
    }

    /// A pipe that is not there.
    pub fn none() -> Sink {
        Sink {
            fd: None,
            queue: VecDeque::new(),
            at: 0,
            written: 0,
        }
    }

    /// The descriptor, for confinement.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Queues one write.
    pub fn push(&mut self, bytes: Vec<u8>) {
        self.queue.push_back(bytes);
    }

    /// Drops what waits, and closes.
    pub fn close(&mut self) {
        self.queue.clear();
        self.fd = None;
    }

    /// Writes what the pipe takes; `true` when a write has become whole.
    ///
    /// # Errors
    /// When the agent has closed its end, or we ours while something waits.
    pub fn flush(&mut self) -> io::Result<bool> {
        let before = self.written;
        while let Some(first) = self.queue.front() {
            if self.at < first.len() {
                let fd = self.fd.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
                match unistd::write(fd, &first[self.at..]) {
                    Ok(n) => self.at += n,
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Err(e) => return Err(e.into()),
                }
            } else {
                self.queue.pop_front();
                self.at = 0;
                self.written += 1;
            }
        }
        Ok(self.written > before)
    }

    /// How many writes are in the pipe, since the start.
    pub fn written(&self) -> u64 {
        self.written
    }
}

/// The end of a text whose beginning does not matter.
#[derive(Default)]
pub struct TailText {
    bytes: Vec<u8>,
}

impl TailText {
    /// Adds what comes next.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
        let keep = TAIL - bytes.len();
        let over = self.bytes.len().saturating_sub(keep);
        self.bytes.drain(..over);
        self.bytes.extend_from_slice(bytes);
    }

    /// As text; a character that was cut at the front is left out.
    pub fn text(&self) -> String {
        let start = self
            .bytes
            .iter()
            .take(3)
            .take_while(|b| self.bytes.len() == TAIL && **b & 0xc0 == 0x80)
            .count();
        String::from_utf8_lossy(&self.bytes[start..]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end() {
        let mut t = TailText::default();
        t.push(b"abc");
        assert_eq!(t.text(), "abc");
        t.push(&vec![b'x'; TAIL - 2]);
        assert_eq!(t.text(), format!("bc{}", "x".repeat(TAIL - 2)).as_str());
        t.push("é".repeat(TAIL).as_bytes());
        t.push(b"!");
        let text = t.text();
        assert!(text.ends_with("é!") && !text.contains('\u{fffd}'));
        assert_eq!(text.len(), TAIL - 1);
    }
}
