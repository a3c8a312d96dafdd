//! The host's authorities: the watchdog, whose word on launches is obeyed, and hostd, of which is
//! shown whether it is there.
//!
//! Nobody is asked on a clock. The watchdog is asked when its word is needed, before a launch or
//! for somebody who looks at the status, and the last one is too old; and as long as work waits for
//! the host, each time that its word grows old. spawnd makes the connection, since a confined
//! process cannot; what comes over it is read here. Whoever needs the word waits for it, at most
//! [`PATIENCE`].

pub mod verdict;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::time::{Duration, Instant};

use libcolibri::config::{self, Leave};
use libcolibri::error::{reason, Context, Result};
use libcolibri::msg::ToSpawnd;
use libcolibri::{info, sys, warn};
use mio::net::UnixStream;
use mio::{Interest, Token};
use serde_json::{json, Value};

use crate::engine::{Engine, Out};
use crate::event::{or_null, Event};
use crate::request::Refusal;
use crate::time::rfc3339;
use verdict::{Said, ANSWER_MAX};

/// How long the watchdog may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of requests that may wait for its answer.
const PARKED_MAX: usize = 4 * 1024 * 1024;

/// What it is asked.
const QUESTION: &[u8] = b"{\"cmd\":\"status\"}\n";

/// A word of the watchdog, or why there is none.
struct Verdict {
    said: std::result::Result<Said, String>,
    at: Instant,
    at_ms: u64,
}

/// Whether hostd took a connection when it was tried.
struct Sight {
    errno: i32,
    at_ms: u64,
}

/// A connection over which the answer comes.
struct Line {
    token: Token,
    stream: UnixStream,
    input: Vec<u8>,
}

/// A question that was not answered yet.
struct Asking {
    until: Instant,
    line: Option<Line>,
}

/// What is known of the host.
#[derive(Default)]
pub struct Host {
    asking: Option<Asking>,
    verdict: Option<Verdict>,
    hostd: Option<Sight>,
    /// Connections that spawnd was asked for and has not answered yet: to the watchdog, to hostd.
    owed: [bool; 2],
    /// Requests that wait for the watchdog's word.
    parked: Vec<(Token, Vec<u8>)>,
    /// When it is asked again for work that waits.
    again_at: Option<Instant>,
}

impl Host {
    /// Whether this is the watchdog's connection.
    pub(crate) fn is(&self, token: Token) -> bool {
        let line = self.asking.as_ref().and_then(|a| a.line.as_ref());
        line.is_some_and(|l| l.token == token)
    }

    /// Whether spawnd was asked for a connection to the watchdog.
    pub(crate) fn awaits_watchdog(&self) -> bool {
        self.owed[0]
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let asking = self.asking.as_ref().map(|a| a.until);
        asking.into_iter().chain(self.again_at).min()
    }

    /// A client is gone.
    pub(crate) fn forget(&mut self, client: Token) {
        self.parked.retain(|(token, _)| *token != client);
    }

    /// How far launches may go, if that is known well enough.
    fn leave(&self, config: &config::Host) -> Option<Leave> {
        if config.watchdog.is_none() {
            return Some(Leave::Normal);
        }
        let fresh = Duration::from_secs(config.fresh.into());
        let v = self.verdict.as_ref().filter(|v| v.at.elapsed() < fresh)?;
        Some(obeyed(v, config))
    }
}

/// What follows from a verdict.
fn obeyed(v: &Verdict, config: &config::Host) -> Leave {
    v.said.as_ref().map_or(config.unreachable, |s| s.leave)
}

/// `held`, and why.
fn words(v: &Verdict, config: &config::Host) -> String {
    let leave = obeyed(v, config).as_str();
    match &v.said {
        Ok(s) if s.reason.is_empty() => leave.to_owned(),
        Ok(s) => format!("{leave}: {}", s.reason),
        Err(why) => format!("{leave}: the watchdog gives no answer: {why}"),
    }
}

impl Engine {
    /// Whether a run may be launched for a task while so many are alive. If not, the board is looked
    /// at again when the watchdog has answered, or when its word is old.
    pub(crate) fn host_lets(&mut self, alive: usize) -> bool {
        match self.host.leave(&self.config.host) {
            Some(leave) if alive < leave.runs() => return true,
            Some(_) => self.ask_when_old(),
            None => self.ask_host(),
        }
        false
    }

    /// Whether the host allows any launch, which tasks wait for; `None` until its word is known.
    pub(crate) fn host_launches(&mut self) -> Option<bool> {
        let leave = self.host.leave(&self.config.host);
        match leave {
            None => self.ask_host(),
            Some(_) => self.ask_when_old(),
        }
        leave.map(|l| l.runs() > 0)
    }

    /// Whether it is known to allow none.
    pub(crate) fn host_holds(&self) -> bool {
        self.host.leave(&self.config.host) == Some(Leave::Held)
    }

    /// Tasks wait for its word to change.
    fn ask_when_old(&mut self) {
        let fresh = Duration::from_secs(self.config.host.fresh.into());
        self.host.again_at = self.host.verdict.as_ref().map(|v| v.at + fresh);
    }

    /// Whether the host allows a run now; somebody has waited for its word.
    ///
    /// # Errors
    /// By name.
    pub(crate) fn host_allows_one(&self) -> std::result::Result<(), Refusal> {
        match self.host_sentence() {
            Some(why) => Err(Refusal::new("unavailable", why)),
            None => Ok(()),
        }
    }

    /// Why the host keeps a task from being launched, if it does.
    pub(crate) fn host_sentence(&self) -> Option<String> {
        let config = &self.config.host;
        config.watchdog.as_ref()?;
        let Some(v) = &self.host.verdict else {
            return Some("the watchdog has not said yet what the host allows".into());
        };
        let alive = self.runs.len() + self.accepted.len();
        (alive >= obeyed(v, config).runs()).then(|| format!("host {}", words(v, config)))
    }

    /// Keeps a request until the watchdog's word is known. `false`: it is known, or is not needed.
    ///
    /// # Errors
    /// When too much waits already.
    pub(crate) fn park(
        &mut self,
        client: Token,
        line: &[u8],
    ) -> std::result::Result<bool, Refusal> {
        if !self.ready || self.host.leave(&self.config.host).is_some() {
            return Ok(false);
        }
        self.ask_host();
        if self.host.asking.is_none() {
            return Ok(false);
        }
        let waiting: usize = self.host.parked.iter().map(|(_, l)| l.len()).sum();
        if waiting + line.len() > PARKED_MAX {
            let message = "too many requests wait for the watchdog";
            return Err(Refusal::new("too-many", message));
        }
        if let Some(c) = self.clients.get(client) {
            c.busy = true;
        }
        self.host.parked.push((client, line.to_vec()));
        Ok(true)
    }

    fn ask_host(&mut self) {
        if self.host.asking.is_some() || self.ending {
            return;
        }
        self.host.asking = Some(Asking {
            until: Instant::now() + PATIENCE,
            line: None,
        });
        let hostd = self.config.host.hostd.is_some();
        let ask = [(0, ToSpawnd::Watchdog, true), (1, ToSpawnd::Hostd, hostd)];
        for (which, message, wanted) in ask {
            // Not a second time while the first answer is to come.
            if wanted && !std::mem::replace(&mut self.host.owed[which], true) {
                self.out.push_back(Out::Spawnd(message));
            }
        }
    }

    /// spawnd lends a connection to the watchdog, or says why it has none.
    ///
    /// # Errors
    /// When the system refuses to watch it.
    pub(crate) fn watchdog_reached(
        &mut self,
        reached: std::result::Result<OwnedFd, i32>,
    ) -> Result<()> {
        self.host.owed[0] = false;
        // Whoever waited for it may have given up meanwhile.
        let Some(Asking { line: None, .. }) = self.host.asking else {
            return Ok(());
        };
        match reached {
            Ok(fd) => self.listen(fd)?,
            Err(errno) => self.host_said(Err(of_errno(errno))),
        }
        Ok(())
    }

    fn listen(&mut self, fd: OwnedFd) -> Result<()> {
        let mut stream = UnixStream::from_std(StdStream::from(fd));
        let token = self.token();
        self.poll
            .registry()
            .register(&mut stream, token, Interest::READABLE)
            .or_fatal("watch the watchdog's connection")?;
        // So few bytes go into an empty socket at once.
        if let Err(e) = stream.write_all(QUESTION) {
            self.host_said(Err(format!("it cannot be asked: {}", reason(&e))));
        } else if let Some(asking) = &mut self.host.asking {
            let input = Vec::new();
            asking.line = Some(Line {
                token,
                stream,
                input,
            });
        }
        Ok(())
    }

    /// Reads what the watchdog has sent.
    pub(crate) fn hear_watchdog(&mut self) {
        let asking = self.host.asking.as_mut();
        let Some(line) = asking.and_then(|a| a.line.as_mut()) else {
            return;
        };
        let mut block = [0; 4096];
        let said = loop {
            match line.stream.read(&mut block) {
                Ok(0) => break Err("it closed the connection without an answer".into()),
                Ok(n) => {
                    line.input.extend_from_slice(&block[..n]);
                    let end = line.input.iter().position(|b| *b == b'\n');
                    if end.is_some() || line.input.len() > ANSWER_MAX {
                        let answer = &line.input[..end.unwrap_or(line.input.len())];
                        break verdict::read(answer).map_err(str::to_owned);
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => break Err(format!("it cannot be heard: {}", reason(&e))),
            }
        };
        self.host_said(said);
    }

    /// spawnd has tried hostd. `false`: nobody asked.
    pub(crate) fn hostd_tried(&mut self, errno: i32) -> bool {
        let asked = std::mem::take(&mut self.host.owed[1]);
        if asked {
            let at_ms = sys::wall_ms();
            self.host.hostd = Some(Sight { errno, at_ms });
        }
        asked
    }

    /// Does what is due.
    pub(crate) fn host_deadline(&mut self, now: Instant) {
        if self.host.asking.as_ref().is_some_and(|a| now >= a.until) {
            let seconds = PATIENCE.as_secs();
            self.host_said(Err(format!("no answer within {seconds} s")));
        }
        if self.host.again_at.is_some_and(|t| now >= t) {
            self.host.again_at = None;
            self.desk.touched = true;
        }
    }

    /// The question is over: whoever waited for it goes on.
    fn host_said(&mut self, said: std::result::Result<Said, String>) {
        if let Some(Asking { line: Some(l), .. }) = self.host.asking.take() {
            let Line { mut stream, .. } = l;
            let _ = self.poll.registry().deregister(&mut stream);
        }
        let (at, at_ms) = (Instant::now(), sys::wall_ms());
        let new = Verdict { said, at, at_ms };
        self.tell_verdict(&new);
        self.host.verdict = Some(new);
        self.desk.touched = true;
        for (client, line) in std::mem::take(&mut self.host.parked) {
            if let Some(c) = self.clients.get(client) {
                c.busy = false;
            }
            self.again.push(client);
            self.request_now(client, &line);
        }
    }

    /// A word that differs from the last one is news.
    fn tell_verdict(&mut self, new: &Verdict) {
        let config = &self.config.host;
        let said = words(new, config);
        let before = self.host.verdict.as_ref().map(|v| words(v, config));
        if before.as_ref() == Some(&said) {
            return;
        }
        let leave = obeyed(new, config);
        match leave {
            Leave::Normal if new.said.is_ok() => info!("host {said}"),
            _ => warn!("host {said}"),
        }
        let fields = json!({"obeys": leave.as_str(), "reason": or_null(why(new))});
        self.emit(&Event::new(0, 0, new.at_ms, "host", fields));
    }

    /// The watchdog in `status`; null when there is none.
    pub(crate) fn watchdog_view(&self) -> Value {
        let config = &self.config.host;
        if config.watchdog.is_none() {
            return Value::Null;
        }
        let Some(v) = &self.host.verdict else {
            return json!({"said": null, "obeys": null, "reason": null, "at": null,
                "age_seconds": null, "raw": null});
        };
        json!({
            "said": v.said.as_ref().ok().map(|s| s.leave.as_str()),
            "obeys": obeyed(v, config).as_str(),
            "reason": or_null(why(v)),
            "at": rfc3339(v.at_ms),
            "age_seconds": v.at.elapsed().as_secs(),
            "raw": v.said.as_ref().ok().map(|s| &s.raw),
        })
    }

    /// hostd in `status`; null when there is none.
    pub(crate) fn hostd_view(&self) -> Value {
        if self.config.host.hostd.is_none() {
            return Value::Null;
        }
        let Some(s) = &self.host.hostd else {
            return json!({"reachable": null, "reason": null, "at": null});
        };
        let reason = (s.errno != 0).then(|| of_errno(s.errno));
        json!({"reachable": s.errno == 0, "reason": reason, "at": rfc3339(s.at_ms)})
    }

    /// What is not as it should be with them.
    pub(crate) fn host_warnings(&self) -> Vec<String> {
        let config = &self.config.host;
        let mut out = Vec::new();
        if let Some(v) = self.host.verdict.as_ref().filter(|v| v.said.is_err()) {
            out.push(format!("host {}", words(v, config)));
        }
        if let Some(s) = self.host.hostd.as_ref().filter(|s| s.errno != 0) {
            let why = of_errno(s.errno);
            out.push(format!("hostd cannot be reached: {why}"));
        }
        out
    }
}

fn why(v: &Verdict) -> &str {
    match &v.said {
        Ok(s) => &s.reason,
        Err(why) => why,
    }
}

fn of_errno(errno: i32) -> String {
    reason(&std::io::Error::from_raw_os_error(errno))
}
