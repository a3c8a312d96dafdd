//! An agent in RPC mode that does what its prompt says, and writes down that it did.
//!
//! The prompt is a list of words, done from left to right: `edition N` (of a skill that is given),
//! `nonce N` (who we are), `tool N` (start and end N tools), `wait MS`, `ask` (a dialog, until it is
//! answered), `shout N` (N dialogs as long as any, in characters that JSON makes longer, that nobody
//! need answer), `bill N` (N answers of a model, with their prices), `child` (leave a grandchild in its own session), `deaf` (ignore SIGTERM), `settle`,
//! `rest` (until the end of stdin), `exit N`. Other words mean nothing.
//!
//! `COLIBRI_LEDGER` names a file to which `start RUN`, `edition RUN N`, `taken RUN NONCE` and
//! `exit RUN N` are appended. In the directory `COLIBRI_LOCKS` the file RUN is kept locked by the agent and all that
//! it starts; see `colibri_tests::procs::held`. Everything ends by itself after five minutes.

use colibri_tests::wait::Stop;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd;
use serde_json::{json, Value};
use signal_hook::consts::{SIGHUP, SIGTERM};
use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Duration;

/// Longest life of anything here.
const LIFE: Duration = Duration::from_secs(300);

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("__grandchild") {
        return grandchild();
    }
    let run = std::env::var("COLIBRI_RUN").unwrap_or_default();
    lock(&run)?;
    note(&format!("start {run}"))?;
    let mut agent = Agent { run, tools: 0 };
    let Some(prompt) = agent.hear("prompt")? else {
        return Ok(());
    };
    let id = &prompt["id"];
    agent.say(
        json!({"id": id, "type": "response", "command": "prompt", "success": true,
        "data": {"disposition": "started"}}),
    )?;
    agent.say(json!({"type": "agent_start"}))?;
    let code = agent.play(prompt["message"].as_str().unwrap_or_default())?;
    note(&format!("exit {} {code}", agent.run))?;
    std::process::exit(code);
}

struct Agent {
    run: String,
    tools: u64,
}

impl Agent {
    /// Does what the words say; the exit status.
    fn play(&mut self, script: &str) -> io::Result<i32> {
        let mut words = script.split_whitespace();
        while let Some(word) = words.next() {
            let mut number = || {
                words
                    .next()
                    .and_then(|w| w.parse::<u64>().ok())
                    .unwrap_or(0)
            };
            match word {
                "edition" => note(&format!("edition {} {}", self.run, number()))?,
                "nonce" => note(&format!("taken {} {}", self.run, number()))?,
                "tool" => self.tools(number())?,
                "wait" => drop(Stop::default().wait(Duration::from_millis(number()))),
                "ask" if !self.ask()? => return Ok(0),
                "shout" => self.shout(number())?,
                "bill" => (0..number()).try_for_each(|_| self.bill("toolUse"))?,
                "child" => leave_grandchild()?,
                "deaf" => {
                    for signal in [SIGTERM, SIGHUP] {
                        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
                    }
                }
                "settle" => self.settle()?,
                "rest" => drop(self.hear("")?),
                "live" => drop(Stop::default().wait(LIFE)),
                "exit" => return Ok(i32::try_from(number()).unwrap_or(255)),
                _ => {}
            }
        }
        Ok(0)
    }

    fn say(&self, line: Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// The next line of this type; `None` at the end of stdin.
    fn hear(&self, kind: &str) -> io::Result<Option<Value>> {
        let mut line = String::new();
        loop {
            line.clear();
            if io::stdin().lock().read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let v: Value = serde_json::from_str(&line).unwrap_or_default();
            if v["type"] == kind {
                return Ok(Some(v));
            }
        }
    }

    fn tools(&mut self, n: u64) -> io::Result<()> {
        for _ in 0..n {
            let id = format!("call-{}", self.tools);
            self.tools += 1;
            self.say(json!({"type": "tool_execution_start", "toolCallId": id,
                "toolName": "bash", "args": {}}))?;
            self.say(json!({"type": "tool_execution_end", "toolCallId": id,
                "toolName": "bash", "result": {}, "isError": false}))?;
        }
        Ok(())
    }

    /// `false` when nobody will answer any more.
    fn ask(&self) -> io::Result<bool> {
        self.say(
            json!({"type": "extension_ui_request", "id": "question", "method": "confirm",
            "title": "Go on?", "message": "really"}),
        )?;
        Ok(self.hear("extension_ui_response")?.is_some())
    }

    fn shout(&self, n: u64) -> io::Result<()> {
        let long = |n: usize| "\u{1}".repeat(n);
        for i in 0..n {
            self.say(
                json!({"type": "extension_ui_request", "id": format!("shout-{i}"), "method": "select",
                "title": long(1000), "message": long(64 * 1024), "options": vec![long(1000); 64]}),
            )?;
        }
        Ok(())
    }

    /// An answer of the model that ended for that reason.
    fn bill(&self, why: &str) -> io::Result<()> {
        let cost = json!({"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0});
        self.say(
            json!({"type": "message_end", "message": {"role": "assistant",
            "content": [{"type": "text", "text": "done"}], "stopReason": why,
            "usage": {"input": 1, "output": 1, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 2,
                "cost": cost}}}),
        )
    }

    fn settle(&self) -> io::Result<()> {
        self.bill("stop")?;
        self.say(json!({"type": "agent_end", "messages": [], "willRetry": false}))?;
        self.say(json!({"type": "agent_settled", "aborted": false}))
    }
}

/// Keeps the run's file locked for the life of this process and of its children, which inherit
/// it.
fn lock(run: &str) -> io::Result<()> {
    let Some(dir) = std::env::var_os("COLIBRI_LOCKS") else {
        return Ok(());
    };
    let path = PathBuf::from(dir).join(run);
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)?;
    let held = Flock::lock(file, FlockArg::LockShared).map_err(|(_, e)| io::Error::from(e))?;
    // The copy survives exec; a lock belongs to the open file, which both share.
    std::mem::forget(unistd::dup(&*held)?);
    std::mem::forget(held);
    Ok(())
}

/// One line, whole: short appends are atomic.
fn note(line: &str) -> io::Result<()> {
    let Some(path) = std::env::var_os("COLIBRI_LEDGER") else {
        return Ok(());
    };
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// A child in a session of its own whose parent is gone at once.
#[allow(clippy::zombie_processes)] // whoever supervises us has to reap it
fn leave_grandchild() -> io::Result<()> {
    Command::new("/bin/sh")
        .args(["-c", "\"$0\" __grandchild </dev/null >/dev/null 2>&1 &"])
        .arg(std::env::current_exe()?)
        .stdin(Stdio::null())
        .status()
        .map(drop)
}

fn grandchild() -> io::Result<()> {
    unistd::setsid()?;
    signal_hook::flag::register(SIGTERM, Arc::new(AtomicBool::new(false)))?;
    let _ = Stop::default().wait(LIFE);
    Ok(())
}
