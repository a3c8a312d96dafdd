//! The connection of `top` to colibrid: requests go out when the socket takes them, lines come in when they are
//! there, nothing waits.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use libcolibri::error::reason;

use super::ask::Ask;
use crate::framing::{incoming, Incoming, Lines, Told};
use crate::model::Numbered;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// What one line says.
#[derive(Debug)]
pub enum Heard {
    /// The reply to a request.
    Reply(Ask, Result<Box<serde_json::value::RawValue>, String>),
    /// Part of the subscription.
    Told(Told),
}

/// See the module. After an error it is over.
pub struct Link {
    stream: UnixStream,
    lines: Lines,
    chunk: Vec<u8>,
    out: Vec<u8>,
    /// Requests without a reply, with their numbers and deadlines.
    open: VecDeque<(u64, Instant, Ask)>,
    last_id: u64,
    timeout: Duration,
}

impl Link {
    /// Over a connected socket that does not block; `timeout` is the longest wait for a reply.
    #[must_use]
    pub fn new(stream: OwnedFd, timeout: Duration) -> Link {
        Link {
            stream: UnixStream::from(stream),
            lines: Lines::default(),
            chunk: vec![0; CHUNK],
            out: Vec::new(),
            open: VecDeque::new(),
            last_id: 0,
            timeout,
        }
    }

    /// Queues a request.
    ///
    /// # Errors
    /// Connection lost.
    pub fn send(&mut self, ask: Ask, now: Instant) -> Result<(), String> {
        self.last_id += 1;
        let id = self.last_id;
        let request = &ask.request();
        serde_json::to_writer(&mut self.out, &Numbered { request, id })
            .map_err(|e| format!("cannot write the request as JSON: {e}"))?;
        self.out.push(b'\n');
        self.open.push_back((id, now + self.timeout, ask));
        self.flush()
    }

    /// Whether requests wait for the socket to take them.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.out.is_empty()
    }

    /// When the oldest request will have waited too long.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.open.front().map(|(_, deadline, _)| *deadline)
    }

    /// Sends as much as the socket takes.
    ///
    /// # Errors
    /// Connection lost.
    pub fn flush(&mut self) -> Result<(), String> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(lost(&e)),
            }
        }
        Ok(())
    }

    /// Reads once; what has come whole is added to `heard`.
    ///
    /// # Errors
    /// Connection lost, or bytes that are not the protocol's.
    pub fn read(&mut self, heard: &mut Vec<Heard>) -> Result<(), String> {
        let n = match self.stream.read(&mut self.chunk) {
            Ok(0) => return Err("it closed the connection".into()),
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(())
            }
            Err(e) => return Err(lost(&e)),
        };
        self.lines.push(&self.chunk[..n]);
        while let Some(line) = self.lines.next().map_err(sent)? {
            heard.push(match incoming(&line).map_err(|what| sent(&what))? {
                Incoming::Told(told) => Heard::Told(told),
                Incoming::Reply(id, result) => {
                    // A request that was refused unread has no number.
                    let unread = id.is_none() && result.is_err();
                    Heard::Reply(self.asked(id.as_deref(), unread)?, result)
                }
            });
        }
        Ok(())
    }

    /// The request that a reply is to: they come in order.
    fn asked(&mut self, id: Option<&str>, unread: bool) -> Result<Ask, String> {
        match self.open.pop_front() {
            Some((number, _, ask)) if unread || id == Some(&number.to_string()) => Ok(ask),
            _ => Err(sent("a reply to something else")),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn lost(e: &io::Error) -> String {
    format!("the connection broke: {}", reason(e))
}

fn sent(what: &str) -> String {
    format!("it sent {}", crate::text::clean(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Link, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Link::new(ours.into(), Duration::from_secs(9)), theirs)
    }

    #[test]
    fn replies_find_their_requests() {
        let (mut link, mut theirs) = pair();
        let now = Instant::now();
        link.send(Ask::Run(7), now).unwrap();
        link.send(Ask::Task(8), now).unwrap();
        assert_eq!(link.deadline(), Some(now + Duration::from_secs(9)));
        let mut got = [0; 256];
        let n = theirs.read(&mut got).unwrap();
        assert_eq!(
            str::from_utf8(&got[..n]).unwrap(),
            "{\"cmd\":\"get-run\",\"run\":7,\"id\":1}\n{\"cmd\":\"get-task\",\"task_id\":8,\"id\":2}\n"
        );
        let mut heard = Vec::new();
        theirs
            .write_all(b"{\"ok\":true,\"data\":{},\"id\":1}\n{\"gap\":{\"from\":1,\"to\":2}}\n{\"ok\":false,")
            .unwrap();
        link.read(&mut heard).unwrap();
        theirs
            .write_all(
                b"\"error\":{\"code\":\"not-found\",\"message\":\"no\\u001b such\"},\"id\":2}\n",
            )
            .unwrap();
        link.read(&mut heard).unwrap();
        link.read(&mut heard).unwrap();
        match &heard[..] {
            [Heard::Reply(Ask::Run(7), Ok(_)), Heard::Told(Told::Gap(gap)), Heard::Reply(Ask::Task(8), Err(why))] =>
            {
                assert_eq!((gap.from, gap.to), (1, 2));
                assert_eq!(why, "no\u{fffd} such (not-found)");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(link.deadline(), None);
    }

    #[test]
    fn nonsense_and_silence_end_it() {
        let (mut link, mut theirs) = pair();
        theirs
            .write_all(b"{\"ok\":true,\"data\":{},\"id\":1}\n")
            .unwrap();
        let error = link.read(&mut Vec::new()).unwrap_err();
        assert_eq!(error, "it sent a reply to something else");
        let (mut link, theirs) = pair();
        drop(theirs);
        let error = link.read(&mut Vec::new()).unwrap_err();
        assert_eq!(error, "it closed the connection");
    }
}
