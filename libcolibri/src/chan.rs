//! A private channel between two Colibri processes: a stream socketpair that carries frames.
//!
//! The types say who may say what: `Chan<ToSpawnd, FromSpawnd>` is colibrid's end. Any byte that
//! does not fit the types is an error that ends the peer: between our own processes there is no
//! innocent garbage.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;

use mio::net::UnixStream;
use nix::sys::socket::{
    sendmsg, socketpair, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType,
};

use crate::error::reason;
use crate::sys;
use crate::wire::{self, Wire, WireError, HEADER};

/// Bytes asked of the kernel at once.
const CHUNK: usize = 16 * 1024;

/// Most bytes that may wait to be sent before [`Chan::send`] refuses: a peer that does not read
/// is broken, and our memory is bounded.
pub const QUEUE_MAX: usize = 8 * 1024 * 1024;

/// Most descriptors that may be ahead of their frames: a read that ends inside one frame and
/// the next read that brings another make two.
const FDS_MAX: usize = 2;

/// Why a channel is over.
#[derive(Debug)]
pub enum ChanError {
    /// The system call failed.
    Io(io::Error),
    /// The peer closed its end or died.
    Closed,
    /// The peer sent something that no peer of this build sends.
    Wire(WireError),
    /// A descriptor came that no message announced.
    StrayFd,
    /// The peer does not read: [`QUEUE_MAX`] bytes wait.
    Full,
}

impl fmt::Display for ChanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChanError::Io(e) => f.write_str(&reason(e)),
            ChanError::Closed => write!(f, "the peer is gone"),
            ChanError::Wire(e) => write!(f, "{e}"),
            ChanError::StrayFd => write!(f, "unexpected descriptor"),
            ChanError::Full => write!(f, "the peer does not read"),
        }
    }
}

impl std::error::Error for ChanError {}

impl From<WireError> for ChanError {
    fn from(e: WireError) -> Self {
        ChanError::Wire(e)
    }
}

/// One end of a private channel.
pub struct Chan<Tx, Rx> {
    stream: UnixStream,
    out: Vec<u8>,
    sent: usize,
    /// Descriptors to send, each with the offset in `out` of the frame it belongs to.
    out_fds: VecDeque<(usize, OwnedFd)>,
    inbuf: Vec<u8>,
    /// Descriptors received, in the order of their frames; more than a read can hold frames
    /// for is a flood.
    in_fds: VecDeque<OwnedFd>,
    closed: bool,
    _types: PhantomData<(Tx, Rx)>,
}

/// Two connected descriptors for a channel, both close-on-exec and non-blocking.
///
/// # Errors
/// When the system has no more descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        flags,
    )?)
}

impl<Tx: Wire, Rx: Wire> Chan<Tx, Rx> {
    /// Takes over one end of a [`pair`], or any stream socket that is non-blocking already: in
    /// capability mode nothing could make it so.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self::over(UnixStream::from_std(StdStream::from(fd)))
    }

    /// Takes over a socket as mio's listeners hand them out.
    #[must_use]
    pub fn over(stream: UnixStream) -> Self {
        Chan {
            stream,
            out: Vec::new(),
            sent: 0,
            out_fds: VecDeque::new(),
            inbuf: Vec::new(),
            in_fds: VecDeque::new(),
            closed: false,
            _types: PhantomData,
        }
    }

    /// The socket, to register it with mio (readable and writable; both are edges).
    pub fn source(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Whether bytes wait for the peer to read.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Queues a message and sends as much as the socket takes.
    ///
    /// # Errors
    /// When the peer is gone or does not read.
    pub fn send(&mut self, msg: &Tx) -> Result<(), ChanError> {
        debug_assert!(!Tx::brings_fd(msg.kind()));
        self.queue(msg)?;
        self.flush()
    }

    /// Queues a message together with the descriptor that belongs to it.
    ///
    /// # Errors
    /// As [`Chan::send`].
    pub fn send_fd(&mut self, msg: &Tx, fd: OwnedFd) -> Result<(), ChanError> {
        debug_assert!(Tx::brings_fd(msg.kind()));
        self.out_fds.push_back((self.out.len(), fd));
        self.queue(msg)?;
        self.flush()
    }

    fn queue(&mut self, msg: &Tx) -> Result<(), ChanError> {
        if self.out.len() - self.sent > QUEUE_MAX {
            return Err(ChanError::Full);
        }
        wire::encode(msg, &mut self.out);
        Ok(())
    }

    /// Sends what is queued until the socket is full; call it when the socket turns writable.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn flush(&mut self) -> Result<(), ChanError> {
        while self.sent < self.out.len() {
            match self.send_some() {
                Ok(0) => return Err(ChanError::Closed),
                Ok(n) => self.sent += n,
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        return Err(ChanError::Closed)
                    }
                    _ => return Err(ChanError::Io(e)),
                },
            }
        }
        self.out.clear();
        self.out.shrink_to(CHUNK);
        self.sent = 0;
        Ok(())
    }

    /// One system call: up to the next frame that brings a descriptor, or from that frame on.
    fn send_some(&mut self) -> io::Result<usize> {
        let Some((at, fd)) = self.out_fds.front() else {
            return self.stream.write(&self.out[self.sent..]);
        };
        if *at > self.sent {
            return self.stream.write(&self.out[self.sent..*at]);
        }
        // The descriptor goes with the first byte of its frame, so that the receiver has it
        // when it has the header; one frame at a time, so that two can never be mixed up.
        let end = self
            .out_fds
            .get(1)
            .map_or(self.out.len(), |(next, _)| *next);
        let raw = [fd.as_raw_fd()];
        let n = sendmsg::<()>(
            self.stream.as_raw_fd(),
            &[IoSlice::new(&self.out[self.sent..end])],
            &[ControlMessage::ScmRights(&raw)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        if n > 0 {
            self.out_fds.pop_front();
        }
        Ok(n)
    }

    /// The next message, reading from the socket as needed; `None` when there is no whole one
    /// yet. Call it until it says `None`: the loop is told of edges only.
    ///
    /// # Errors
    /// Anything that ends the channel; every later call fails too.
    pub fn recv(&mut self) -> Result<Option<(Rx, Option<OwnedFd>)>, ChanError> {
        loop {
            if let Some(got) = self.take_frame()? {
                return Ok(Some(got));
            }
            if self.closed {
                return Err(ChanError::Closed);
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(e) => {
                    self.closed = true;
                    return Err(e);
                }
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<(Rx, Option<OwnedFd>)>, ChanError> {
        let Some(h) = wire::header::<Rx>(&self.inbuf)? else {
            // A descriptor comes with the first byte of its frame: without any byte it is stray.
            if self.inbuf.is_empty() && !self.in_fds.is_empty() {
                return Err(ChanError::StrayFd);
            }
            return Ok(None);
        };
        let end = HEADER + h.len;
        if self.inbuf.len() < end {
            return Ok(None);
        }
        let msg = wire::decode::<Rx>(h.kind, &self.inbuf[HEADER..end])?;
        let fd = if h.fd {
            Some(self.in_fds.pop_front().ok_or(WireError::Flags(0))?)
        } else {
            None
        };
        self.inbuf.drain(..end);
        if self.inbuf.is_empty() {
            self.inbuf.shrink_to(CHUNK);
        }
        Ok(Some((msg, fd)))
    }

    /// Reads once. `false`: nothing there now.
    fn fill(&mut self) -> Result<bool, ChanError> {
        let mut buf = [0u8; CHUNK];
        let got = loop {
            match sys::receive(self.stream.as_fd(), &mut buf) {
                Ok(got) => break got,
                Err(e) => match e.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(false),
                    io::ErrorKind::ConnectionReset => return self.end(),
                    _ => return Err(ChanError::Io(e)),
                },
            }
        };
        if got.cut || self.in_fds.len() + got.fds.len() > FDS_MAX {
            return Err(ChanError::StrayFd);
        }
        self.in_fds.extend(got.fds);
        if got.bytes == 0 {
            return self.end();
        }
        self.inbuf.extend_from_slice(&buf[..got.bytes]);
        Ok(true)
    }

    /// End of stream; what was received whole is still handed out first.
    fn end(&mut self) -> Result<bool, ChanError> {
        self.closed = true;
        Err(ChanError::Closed)
    }
}

impl<Tx, Rx> AsFd for Chan<Tx, Rx> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::{FromSpawnd, RunKey, ToSpawnd};
    use std::io::Read;

    type Here = Chan<ToSpawnd, FromSpawnd>;
    type There = Chan<FromSpawnd, ToSpawnd>;

    const KEY: RunKey = RunKey { run: 1, attempt: 2 };

    fn both() -> (Here, There) {
        let (a, b) = pair().unwrap();
        (Chan::new(a), Chan::new(b))
    }

    /// The next message at `b`; the socket may be full, so `a` flushes when there is none.
    fn next(a: &mut Here, b: &mut There) -> (ToSpawnd, Option<OwnedFd>) {
        loop {
            if let Some(got) = b.recv().unwrap() {
                return got;
            }
            assert!(a.is_pending());
            a.flush().unwrap();
        }
    }

    #[test]
    fn messages_arrive_in_order() {
        let (mut a, mut b) = both();
        for profile in 0..1000 {
            a.send(&ToSpawnd::Start { key: KEY, profile }).unwrap();
        }
        for profile in 0..1000 {
            let (m, fd) = next(&mut a, &mut b);
            assert_eq!(m, ToSpawnd::Start { key: KEY, profile });
            assert!(fd.is_none());
        }
        assert!(b.recv().unwrap().is_none());
        drop(a);
        assert!(matches!(b.recv(), Err(ChanError::Closed)));
    }

    #[test]
    fn each_descriptor_comes_with_its_own_message() {
        let (mut a, mut b) = both();
        let mut readers = Vec::new();
        for n in 0..20 {
            b.send(&FromSpawnd::Signalled { key: KEY, count: n })
                .unwrap();
            let (r, w) = std::io::pipe().unwrap();
            (&w).write_all(&[n as u8]).unwrap();
            readers.push(r);
            let r2: OwnedFd = readers.last().unwrap().try_clone().unwrap().into();
            b.send_fd(
                &FromSpawnd::Started {
                    key: KEY,
                    monitor: n,
                },
                r2,
            )
            .unwrap();
        }
        for n in 0..20u32 {
            let (m, fd) = a.recv().unwrap().unwrap();
            assert_eq!(m, FromSpawnd::Signalled { key: KEY, count: n });
            assert!(fd.is_none());
            let (m, fd) = a.recv().unwrap().unwrap();
            assert!(matches!(m, FromSpawnd::Started { monitor, .. } if monitor == n));
            let mut f = std::fs::File::from(fd.unwrap());
            let mut byte = [0];
            f.read_exact(&mut byte).unwrap();
            assert_eq!(u32::from(byte[0]), n);
        }
    }

    #[test]
    fn a_stray_descriptor_ends_the_channel() {
        let (a, b) = pair().unwrap();
        let mut there: There = Chan::new(b);
        let mut frame = Vec::new();
        wire::encode(&ToSpawnd::Adopt { key: KEY }, &mut frame);
        let raw = [a.as_raw_fd()];
        sendmsg::<()>(
            a.as_raw_fd(),
            &[IoSlice::new(&frame)],
            &[ControlMessage::ScmRights(&raw)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        // The message itself is whole and comes first; then the stray descriptor shows.
        assert!(there.recv().unwrap().is_some());
        assert!(matches!(there.recv(), Err(ChanError::StrayFd)));
    }

    #[test]
    fn garbage_ends_the_channel() {
        let (a, b) = pair().unwrap();
        let mut there: There = Chan::new(b);
        StdStream::from(a)
            .write_all(b"GET / HTTP/1.0\r\n\r\n")
            .unwrap();
        assert!(matches!(there.recv(), Err(ChanError::Wire(_))));
    }

    #[test]
    fn half_a_frame_is_not_a_message() {
        let (a, b) = pair().unwrap();
        let mut there: There = Chan::new(b);
        let mut frame = Vec::new();
        wire::encode(&ToSpawnd::Adopt { key: KEY }, &mut frame);
        let mut s = StdStream::from(a);
        s.write_all(&frame[..frame.len() - 1]).unwrap();
        assert!(there.recv().unwrap().is_none());
        drop(s);
        assert!(matches!(there.recv(), Err(ChanError::Closed)));
    }
}
