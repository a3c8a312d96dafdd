//! A client of the public socket: one JSON object per line each way, everything with a deadline.

use crate::suite::program;
use crate::wait::LONG;
use nix::sys::socket::{recvmsg, ControlMessageOwned, MsgFlags};
use serde_json::{json, Value};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A connection. Replies come in the order of the requests; events that arrive in between are kept
/// and handed out by [`Client::event`].
pub struct Client {
    conn: UnixStream,
    /// Bytes of a line that has not ended yet.
    partial: Vec<u8>,
    lines: VecDeque<Vec<u8>>,
    events: VecDeque<Value>,
    next_id: u64,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        UnixStream::connect(socket).map(Self::over)
    }

    /// Connects as somebody else, `UID:GID[,GROUP…]`, by way of the program `colibri-as`: who a
    /// client is, is settled when it connects. Needs root.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    #[must_use]
    pub fn connect_as(who: &str, socket: &Path) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let status = Command::new(program("colibri-as"))
            .arg(who)
            .arg(socket)
            .stdin(OwnedFd::from(theirs))
            .status()
            .unwrap_or_else(|e| panic!("cannot run colibri-as: {e}"));
        assert!(status.success(), "colibri-as {who}: {status}");
        let mut byte = [0; 1];
        let mut pieces = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let message = recvmsg::<()>(
            ours.as_raw_fd(),
            &mut pieces,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .expect("the connection");
        match message.cmsgs().expect("whole").next() {
            Some(ControlMessageOwned::ScmRights(fds)) => {
                Self::over(libcolibri::sys::inherit(fds[0]).expect("open").into())
            }
            other => panic!("colibri-as {who} sent {other:?}"),
        }
    }

    /// Takes over a connection that somebody else made.
    #[must_use]
    pub fn over(conn: UnixStream) -> Self {
        Self {
            conn,
            partial: Vec::new(),
            lines: VecDeque::new(),
            events: VecDeque::new(),
            next_id: 1,
        }
    }

    /// Sends bytes as they are, for tests that send what no client should.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.conn.write_all(bytes)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn finish(&self) -> io::Result<()> {
        self.conn.shutdown(Shutdown::Write)
    }

    /// The next line without its line feed; `None` at the end of the connection.
    ///
    /// # Errors
    /// `TimedOut` when `limit` passes first, or when the connection breaks.
    pub fn line(&mut self, limit: Duration) -> io::Result<Option<Vec<u8>>> {
        let end = Instant::now() + limit;
        let mut block = vec![0; 65536];
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.conn.set_read_timeout(Some(left))?;
            match self.conn.read(&mut block) {
                Ok(0) => return Ok(None),
                Ok(n) => {
                    for piece in block[..n].split_inclusive(|b| *b == b'\n') {
                        self.partial.extend_from_slice(piece);
                        if self.partial.last() == Some(&b'\n') {
                            self.partial.pop();
                            self.lines.push_back(std::mem::take(&mut self.partial));
                        }
                    }
                }
                // A read that ran out of time says WouldBlock; the loop then sees the deadline.
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The next line as JSON.
    ///
    /// # Errors
    /// As [`Client::line`]; `UnexpectedEof` at the end, `InvalidData` when it is not JSON.
    pub fn value(&mut self, limit: Duration) -> io::Result<Value> {
        let line = self
            .line(limit)?
            .ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?;
        serde_json::from_slice(&line).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
    }

    /// Sends a request, given without id, and returns the whole reply with that id.
    ///
    /// # Errors
    /// When the connection breaks or no reply comes within a minute.
    pub fn request(&mut self, mut request: Value) -> io::Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        request["id"] = json!(id);
        self.send_raw(format!("{request}\n").as_bytes())?;
        let end = Instant::now() + LONG;
        loop {
            let value = self.value(end.saturating_duration_since(Instant::now()))?;
            if value.get("event").is_some() || value.get("gap").is_some() {
                self.events.push_back(value);
            } else if value["id"] == json!(id) {
                return Ok(value);
            } else {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    format!("not the reply to {id}: {value}"),
                ));
            }
        }
    }

    /// The `data` of a request that must succeed.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn call(&mut self, request: Value) -> Value {
        let shown = request.to_string();
        match self.request(request) {
            Ok(mut reply) if reply["ok"] == json!(true) => reply["data"].take(),
            Ok(reply) => panic!("{shown} was refused: {reply}"),
            Err(e) => panic!("{shown} got no answer: {e}"),
        }
    }

    /// The error code of a request that must be refused.
    ///
    /// # Panics
    /// When it succeeds or the refusal has no code and message.
    #[track_caller]
    pub fn refused(&mut self, request: Value) -> String {
        let shown = request.to_string();
        let reply = self
            .request(request)
            .unwrap_or_else(|e| panic!("{shown} got no answer: {e}"));
        assert_eq!(reply["ok"], json!(false), "{shown}: {reply}");
        assert!(reply["error"]["message"].is_string(), "{shown}: {reply}");
        reply["error"]["code"]
            .as_str()
            .unwrap_or_else(|| panic!("{shown}: no code in {reply}"))
            .to_owned()
    }

    /// Starts a run and returns its number.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn spawn_agent(&mut self, profile: &str, prompt: &str) -> u64 {
        let data = self.call(json!({"cmd": "spawn-agent", "profile": profile, "prompt": prompt}));
        data["run"]
            .as_u64()
            .unwrap_or_else(|| panic!("no run in {data}"))
    }

    /// Subscribes to the events after `from`, or from now on; all later events come out of
    /// [`Client::event`].
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn subscribe(&mut self, from: Option<u64>) -> Value {
        let mut request = json!({"cmd": "subscribe"});
        if let Some(from) = from {
            request["from"] = json!(from);
        }
        self.call(request)
    }

    /// The next event (or gap) line of a subscription, whole.
    ///
    /// # Errors
    /// As [`Client::value`].
    pub fn event(&mut self, limit: Duration) -> io::Result<Value> {
        match self.events.pop_front() {
            Some(event) => Ok(event),
            None => self.value(limit),
        }
    }

    /// Waits until a run has its monitor; the monitor's process id.
    ///
    /// # Panics
    /// As [`Client::wait_event`].
    #[track_caller]
    pub fn wait_monitor(&mut self, run: u64) -> i32 {
        let started = self.wait_event(run, "its monitor", |e| e["kind"] == "started");
        i32::try_from(started["monitor"].as_i64().expect("pid")).expect("fits")
    }

    /// Reads events until one of `run` fits and returns it (the inner object); events before it
    /// are dropped.
    ///
    /// # Panics
    /// When a minute passes, the connection ends or a gap is announced.
    #[track_caller]
    pub fn wait_event(&mut self, run: u64, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LONG;
        let mut last = Value::Null;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut line = self
                .event(left)
                .unwrap_or_else(|e| panic!("waited for {what}: {e}; the last event was {last}"));
            assert!(line.get("gap").is_none(), "waited for {what}, got {line}");
            let event = line["event"].take();
            if event["run"] == json!(run) && fits(&event) {
                return event;
            }
            last = event;
        }
    }

    /// Waits until `run` says that it is in `state`.
    ///
    /// # Panics
    /// As [`Client::wait_event`].
    #[track_caller]
    pub fn wait_state(&mut self, run: u64, state: &str) -> Value {
        self.wait_event(run, state, |e| e["kind"] == "state" && e["state"] == state)
    }

    /// Waits until `run` has ended.
    ///
    /// # Panics
    /// As [`Client::wait_event`].
    #[track_caller]
    pub fn wait_ended(&mut self, run: u64) -> Value {
        self.wait_event(run, "the end", |e| e["kind"] == "ended")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Client, UnixStream) {
        let (conn, other) = UnixStream::pair().expect("pair");
        (Client::over(conn), other)
    }

    #[test]
    fn events_before_a_reply_are_kept() {
        let (mut client, mut server) = pair();
        server
            .write_all(b"{\"event\":{\"seq\":1,\"run\":7,\"kind\":\"state\",\"state\":\"idle\"}}\n{\"ok\":true,\"da")
            .expect("written");
        server
            .write_all(b"ta\":{\"x\":1},\"id\":1}\n")
            .expect("written");
        assert_eq!(client.call(json!({"cmd": "ping"})), json!({"x": 1}));
        assert_eq!(client.wait_state(7, "idle")["seq"], 1);
        let mut sent = vec![0; 100];
        let n = server.read(&mut sent).expect("request");
        assert_eq!(&sent[..n], b"{\"cmd\":\"ping\",\"id\":1}\n");
    }

    #[test]
    fn refusals_and_silence_are_told_apart() {
        let (mut client, mut server) = pair();
        server
            .write_all(
                b"{\"ok\":false,\"error\":{\"code\":\"denied\",\"message\":\"no\"},\"id\":1}\n",
            )
            .expect("written");
        assert_eq!(client.refused(json!({"cmd": "status"})), "denied");
        let quiet = client.value(Duration::from_millis(20)).expect_err("quiet");
        assert_eq!(quiet.kind(), ErrorKind::TimedOut);
        // A socket that is closed with unread bytes resets instead of ending.
        let _ = server.read(&mut [0; 100]).expect("request");
        drop(server);
        let ended = client.value(LONG).expect_err("ended");
        assert_eq!(ended.kind(), ErrorKind::UnexpectedEof);
    }
}
