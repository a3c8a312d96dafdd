//! A scripted model server: speaks the OpenAI chat-completions protocol with streaming on loopback,
//! so that a real Pi can be driven without a network, a key or chance.
//!
//! The model id in the request chooses what happens; see [`script`]. The server keeps no
//! conversation: which step of a script comes next is counted from the messages of the request,
//! as a real endpoint would see them. Only the scripts that fail first and succeed later count
//! requests, per model and prompt; use different prompts for runs that overlap.
//!
//! Test code: one thread per connection is simpler here than an event loop, and nothing here is
//! part of a daemon.

pub mod script;

use crate::wait::{wait_for, Stop};
use script::{Act, Conversation, Reply};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Largest request body accepted, in bytes; Pi repeats the whole conversation each time.
const MAX_BODY: usize = 64 << 20;
/// Most header lines read of one request.
const MAX_HEADERS: usize = 100;

/// One request that arrived, in the order of arrival.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The model id asked for.
    pub model: String,
    /// The text of the last user message.
    pub prompt: String,
    /// The contents of all tool results in the request.
    pub tool_results: Vec<String>,
    /// All user messages, first to last.
    pub user_messages: Vec<String>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    arrived: Condvar,
    /// Pieces of answers written so far.
    written: Mutex<usize>,
    /// Failures so far of scripts that fail first, by model and prompt.
    failures: Mutex<HashMap<(String, String), u32>>,
    /// Open connections, to be cut when the server goes.
    open: Mutex<Vec<TcpStream>>,
    stop: Stop,
    verbose: bool,
}

/// A running server. Dropping it cuts every connection.
pub struct ModelServer {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// A poisoned lock only means that another test thread panicked; the data are still good.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ModelServer {
    /// Listens on a free loopback port and answers from a thread.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start() -> io::Result<Self> {
        Self::start_on(0, false)
    }

    /// The same on a port of the caller's choice (0: any); `verbose` prints a line per request
    /// on stderr.
    ///
    /// # Errors
    /// When the port cannot be had.
    #[allow(clippy::disallowed_methods)] // test code: a server beside the test needs its own thread
    pub fn start_on(port: u16, verbose: bool) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            verbose,
            ..Shared::default()
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { addr, shared })
    }

    /// What goes into `models.json` as `baseUrl`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// The requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Waits until `n` pieces of answers have been written in all, over all requests; false when
    /// `limit` passed first.
    #[must_use]
    pub fn wait_for_pieces(&self, n: usize, limit: Duration) -> bool {
        wait_for(limit, || (*lock(&self.shared.written) >= n).then_some(())).is_some()
    }

    /// Waits until `n` requests have arrived in all; false when `limit` passed first.
    #[must_use]
    pub fn wait_for_requests(&self, n: usize, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut seen = lock(&self.shared.seen);
        while seen.len() < n {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            seen = self
                .shared
                .arrived
                .wait_timeout(seen, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.shared.stop.set();
        for conn in lock(&self.shared.open).drain(..) {
            let _ = conn.shutdown(Shutdown::Both);
        }
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.addr);
    }
}

#[allow(clippy::disallowed_methods)] // test code: a thread per connection
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for conn in listener.incoming() {
        if shared.stop.is_set() {
            return;
        }
        let Ok(conn) = conn else { continue };
        if let Ok(twin) = conn.try_clone() {
            lock(&shared.open).push(twin);
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let peer = conn.peer_addr().ok();
            // A client that goes away in the middle is what many scenarios want; nothing to report.
            let _ = serve(conn, &shared);
            lock(&shared.open).retain(|c| c.peer_addr().ok() != peer || peer.is_none());
        });
    }
}

/// One request, one answer, then the connection is closed.
fn serve(conn: TcpStream, shared: &Shared) -> io::Result<()> {
    conn.set_nodelay(true)?;
    let mut reader = BufReader::new(conn.try_clone()?);
    let mut out = conn;
    let (target, body) = read_request(&mut reader)?;
    if !target.ends_with("/chat/completions") {
        return refuse(&mut out, 404, "not_found", "no such endpoint");
    }
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return refuse(&mut out, 400, "invalid_json", "the body is not JSON");
    };
    let talk = Conversation::new(&request);
    if shared.verbose {
        eprintln!(
            "fake-model: {} turn {} after {} user messages",
            talk.model,
            talk.turn,
            talk.user_messages.len()
        );
    }
    lock(&shared.seen).push(Seen {
        model: talk.model.clone(),
        prompt: talk.prompt().to_owned(),
        tool_results: talk.tool_results.clone(),
        user_messages: talk.user_messages.clone(),
    });
    shared.arrived.notify_all();
    let mut reply = script::reply(&talk);
    if reply.fail_first > 0 {
        let key = (talk.model.clone(), talk.prompt().to_owned());
        let mut failures = lock(&shared.failures);
        let count = failures.entry(key.clone()).or_default();
        if *count >= reply.fail_first {
            failures.remove(&key);
            reply = script::after_failures(&talk);
        } else {
            *count += 1;
        }
    }
    play(&mut out, &talk, &reply, body.len(), shared)
}

/// Reads the request line, the headers and the body.
fn read_request(reader: &mut impl BufRead) -> io::Result<(String, Vec<u8>)> {
    let mut line = String::new();
    reader.by_ref().take(8192).read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or("").to_owned();
    let mut length = 0usize;
    for _ in 0..MAX_HEADERS {
        let mut header = String::new();
        reader.by_ref().take(65536).read_line(&mut header)?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
    }
    if length > MAX_BODY {
        return Err(io::Error::new(ErrorKind::InvalidData, "body too long"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((target, body))
}

/// An error answer in the provider's form.
///
/// `x-should-retry: false` keeps the client library inside older Pi versions from repeating the
/// request by itself, which would hide the failure from Pi and so from its events.
fn refuse(out: &mut TcpStream, status: u16, code: &str, message: &str) -> io::Result<()> {
    refuse_with(out, status, code, message, "x-should-retry: false\r\n")
}

fn refuse_with(
    out: &mut TcpStream,
    status: u16,
    code: &str,
    message: &str,
    extra: &str,
) -> io::Result<()> {
    let body = json!({"error": {"message": message, "type": "scripted", "code": code}}).to_string();
    write!(
        out,
        "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{extra}connection: close\r\n\r\n{body}",
        body.len()
    )?;
    out.flush()
}

/// Carries out a reply on the wire.
fn play(
    out: &mut TcpStream,
    talk: &Conversation,
    reply: &Reply,
    body_len: usize,
    shared: &Shared,
) -> io::Result<()> {
    let mut stream = Stream {
        out,
        model: &talk.model,
        started: false,
        deltas: 0,
    };
    for act in &reply.acts {
        match act {
            Act::Silence => {
                // Ends when the client hangs up or the server goes.
                let mut byte = [0];
                let _ = stream.out.read(&mut byte);
                return Ok(());
            }
            Act::Head => stream.head()?,
            Act::Refuse {
                status,
                code,
                message,
                retryable,
            } => {
                let extra = if *retryable {
                    ""
                } else {
                    "x-should-retry: false\r\n"
                };
                return refuse_with(stream.out, *status, code, message, extra);
            }
            Act::Reset => return reset(stream.out),
            Act::Cut => return stream.out.shutdown(Shutdown::Both),
            Act::Raw(text) => stream.event(text)?,
            Act::Text {
                text,
                chunk,
                delay_ms,
            } => {
                for piece in pieces(text, *chunk) {
                    stream.delta(&json!({"content": piece}))?;
                    *lock(&shared.written) += 1;
                    if *delay_ms > 0 && shared.stop.wait(Duration::from_millis(*delay_ms)) {
                        return Ok(());
                    }
                }
            }
            Act::Pause(ms) => {
                if shared.stop.wait(Duration::from_millis(*ms)) {
                    return Ok(());
                }
            }
            Act::Think { text, delay_ms } => {
                for piece in pieces(text, 8) {
                    stream.delta(&json!({"reasoning_content": piece}))?;
                    if *delay_ms > 0 && shared.stop.wait(Duration::from_millis(*delay_ms)) {
                        return Ok(());
                    }
                }
            }
            Act::Tools(calls) => stream.tools(talk.messages, calls)?,
            Act::Finish(reason) => stream.finish(reason, body_len)?,
        }
    }
    Ok(())
}

/// Cuts `text` into pieces of `chunk` characters.
fn pieces(text: &str, chunk: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = rest
            .char_indices()
            .nth(chunk.max(1))
            .map_or(rest.len(), |(i, _)| i);
        let (piece, tail) = rest.split_at(at);
        rest = tail;
        Some(piece)
    })
}

/// Closes with a reset instead of an orderly end: what a crashed provider looks like.
fn reset(conn: &TcpStream) -> io::Result<()> {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // Takes effect when the last copy of the descriptor is closed, right after this.
    nix::sys::socket::setsockopt(conn, nix::sys::socket::sockopt::Linger, &linger)?;
    Ok(())
}

/// The answer as server-sent events in a chunked body.
struct Stream<'a> {
    out: &'a mut TcpStream,
    model: &'a str,
    started: bool,
    deltas: u64,
}

impl Stream<'_> {
    fn head(&mut self) -> io::Result<()> {
        if !self.started {
            self.started = true;
            self.out.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
            )?;
        }
        Ok(())
    }

    fn event(&mut self, data: &str) -> io::Result<()> {
        self.head()?;
        let text = format!("data: {data}\n\n");
        let frame = format!("{:x}\r\n{text}\r\n", text.len());
        self.out.write_all(frame.as_bytes())
    }

    fn chunk(&mut self, delta: &Value, finish: Option<&str>, usage: &Value) -> io::Result<()> {
        let mut chunk = json!({
            "id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        });
        if !usage.is_null() {
            chunk["usage"] = usage.clone();
        }
        self.event(&chunk.to_string())
    }

    fn delta(&mut self, delta: &Value) -> io::Result<()> {
        self.deltas += 1;
        self.chunk(delta, None, &Value::Null)
    }

    /// Announces each call, then streams its arguments in pieces, as providers do.
    fn tools(&mut self, messages: usize, calls: &[(&str, Value)]) -> io::Result<()> {
        for (index, (name, args)) in calls.iter().enumerate() {
            let id = format!("call_{messages}_{index}");
            self.delta(
                &json!({"tool_calls": [{"index": index, "id": id, "type": "function",
                "function": {"name": name, "arguments": ""}}]}),
            )?;
            for piece in pieces(&args.to_string(), 16) {
                self.delta(&json!({"tool_calls": [{"index": index,
                    "function": {"arguments": piece}}]}))?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, reason: &str, body_len: usize) -> io::Result<()> {
        // Four bytes a token is the usual rule of thumb; three quarters of a repeated prompt are
        // said to come from the provider's cache.
        let prompt = (body_len / 4) as u64;
        let usage = json!({
            "prompt_tokens": prompt, "completion_tokens": self.deltas,
            "total_tokens": prompt + self.deltas,
            "prompt_tokens_details": {"cached_tokens": prompt * 3 / 4},
        });
        self.chunk(&json!({}), Some(reason), &usage)?;
        self.event("[DONE]")?;
        self.out.write_all(b"0\r\n\r\n")?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
