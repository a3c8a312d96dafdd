//! An agent that misbehaves, to show that its supervisor does not mind.
//!
//! `colibri-hostile [--mode json] WHAT [N]`; other flags are ignored. It waits for a prompt (RPC
//! mode) or the end of stdin (JSON mode), says that it works, and then does WHAT:
//!
//! | WHAT | |
//! |---|---|
//! | `sleep` | nothing, for ever |
//! | `ignore-term` | nothing, and SIGTERM, SIGHUP and SIGINT do not end it |
//! | `stopped` | stops itself with SIGSTOP |
//! | `double-fork`, `setsid` | leaves a grandchild / a child in its own session, and waits |
//! | `leave` | leaves such a grandchild that ignores SIGTERM, settles and exits |
//! | `fork-storm N` | N chains of processes, each of which starts its successor and exits |
//! | `zombies N` | leaves N children that have exited, and waits |
//! | `close N` | closes stdout, waits for the end of stdin, exits with N |
//! | `hold-pipe` | exits while a grandchild keeps stdout and stderr open |
//! | `share-pipe` | leaves such a grandchild, and waits |
//! | `big-line N`, `flood N` | one line of N bytes / N lines as fast as they go, then settles |
//! | `garbage` | bytes that are no events, then settles |
//! | `cut N` | N bytes without a line feed, then exits |
//! | `exit N` | exits with N at once |
//! | `late-exit N` | settles, waits for the end of stdin, exits with N |
//! | `deaf` | settles, then outlives the end of stdin |
//! | `env` | one JSON line about itself on stderr, or in the file `COLIBRI_HOSTILE_OUT`; settles |
//!
//! The agent (except for `env`) and everything it starts keep a shared lock on the file
//! `COLIBRI_HOSTILE_LOCK`, if that is set, for as long as they live (the others as their stdin, from
//! one to the next), so "is anyone left" is a question to the file that works across namespaces
//! and jails; see `colibri_tests::procs::held`. One line
//! per new process is appended to the file `COLIBRI_HOSTILE_PIDS`. All of them end by themselves
//! after five minutes.

use colibri_tests::wait::Stop;
use libcolibri::sys;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{getrlimit, Resource};
use nix::sys::signal::{raise, Signal};
use nix::unistd;
use serde_json::{json, Value};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest life of anything here, in seconds: a test that failed to kill must not burden the
/// machine for ever.
const LIFE: u64 = 300;

/// Words that are WHAT; everything else on the command line belongs to Pi.
const WORDS: [&str; 20] = [
    "sleep",
    "ignore-term",
    "stopped",
    "double-fork",
    "setsid",
    "leave",
    "fork-storm",
    "zombies",
    "close",
    "hold-pipe",
    "share-pipe",
    "big-line",
    "flood",
    "garbage",
    "cut",
    "exit",
    "late-exit",
    "deaf",
    "env",
    "__child",
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(at) = args.iter().position(|a| WORDS.contains(&a.as_str())) else {
        eprintln!("colibri-hostile: which of {}?", WORDS.join(", "));
        return ExitCode::from(2);
    };
    let json_mode = args.windows(2).any(|w| w[0] == "--mode" && w[1] == "json");
    let done = if args[at] == "__child" {
        child(&args[at + 1..])
    } else {
        agent(&args[at], args.get(at + 1), json_mode)
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("colibri-hostile: {}: {e}", args[at]);
            ExitCode::from(1)
        }
    }
}

fn agent(what: &str, value: Option<&String>, json_mode: bool) -> io::Result<u8> {
    let n: usize = value.and_then(|v| v.parse().ok()).unwrap_or(0);
    begin(json_mode)?;
    if what != "env" {
        // Kept for life: the agent itself counts as one who is left, too.
        std::mem::forget(lock()?);
    }
    let mut out = io::stdout();
    match what {
        "ignore-term" => deafen()?,
        "stopped" => raise(Signal::SIGSTOP)?,
        // The middle process is gone at once, so the grandchild is nobody's child.
        "double-fork" => spawn("middle", 0, false)?,
        "setsid" => spawn("session", 0, false)?,
        "share-pipe" => spawn("middle", 0, true)?,
        "leave" => {
            spawn("middle", 0, false)?;
            settle(&mut out)?;
            return Ok(0);
        }
        "fork-storm" => {
            for _ in 0..n.clamp(1, 64) {
                spawn("hop", now() + 60, false)?;
            }
        }
        "zombies" => {
            for _ in 0..n {
                spawn("hop", 0, false)?;
            }
        }
        "close" => {
            out.flush()?;
            sys::dup_to(File::open("/dev/null")?.as_fd(), 1)?;
            note();
            io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink())?;
            return Ok(u8::try_from(n).unwrap_or(255));
        }
        "hold-pipe" => {
            spawn("middle", 0, true)?;
            settle(&mut out)?;
            return Ok(0);
        }
        "big-line" => {
            big_line(&mut out, n)?;
            return rest(&mut out, json_mode, 0);
        }
        "flood" => {
            let line = b"{\"type\":\"message_update\",\"assistantMessageEvent\":{\"type\":\"text_delta\",\"contentIndex\":0,\"delta\":\"x\"}}\n";
            let block = line.repeat(512);
            for _ in 0..n / 512 {
                out.write_all(&block)?;
            }
            out.write_all(&line.repeat(n % 512))?;
            return rest(&mut out, json_mode, 0);
        }
        "garbage" => {
            garbage(&mut out)?;
            return rest(&mut out, json_mode, 0);
        }
        "cut" => {
            out.write_all(b"{\"type\":\"message_update\",\"x\":\"")?;
            out.write_all(&vec![b'x'; n])?;
            return Ok(0);
        }
        "exit" => return Ok(u8::try_from(n).unwrap_or(255)),
        "late-exit" => return rest(&mut out, json_mode, u8::try_from(n).unwrap_or(255)),
        "deaf" => {
            settle(&mut out)?;
            deafen()?;
        }
        "env" => {
            report()?;
            return rest(&mut out, json_mode, 0);
        }
        _ => {}
    }
    live()
}

/// Waits for work as Pi does and says that it began.
fn begin(json_mode: bool) -> io::Result<()> {
    let mut out = io::stdout();
    if json_mode {
        io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink())?;
        writeln!(
            out,
            r#"{{"type":"session","version":3,"id":"hostile","timestamp":"2026-01-01T00:00:00.000Z","cwd":"/"}}"#
        )?;
    } else {
        let mut line = String::new();
        let prompt = loop {
            line.clear();
            if io::stdin().lock().read_line(&mut line)? == 0 {
                std::process::exit(0);
            }
            let v: Value = serde_json::from_str(&line).unwrap_or_default();
            if v["type"] == "prompt" {
                break v;
            }
        };
        let id = match &prompt["id"] {
            Value::Null => String::new(),
            id => format!("\"id\":{id},"),
        };
        writeln!(
            out,
            r#"{{{id}"type":"response","command":"prompt","success":true,"data":{{"disposition":"started"}}}}"#
        )?;
    }
    writeln!(out, r#"{{"type":"agent_start"}}"#)?;
    writeln!(out, r#"{{"type":"turn_start"}}"#)?;
    out.flush()
}

/// A good end of a run.
fn settle(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        r#"{{"type":"message_end","message":{{"role":"assistant","content":[{{"type":"text","text":"done"}}],"usage":{{"input":1,"output":1,"cacheRead":0,"cacheWrite":0,"totalTokens":2,"cost":{{"input":0,"output":0,"cacheRead":0,"cacheWrite":0,"total":0}}}},"stopReason":"stop"}}}}"#
    )?;
    writeln!(
        out,
        r#"{{"type":"agent_end","messages":[],"willRetry":false}}"#
    )?;
    writeln!(out, r#"{{"type":"agent_settled","aborted":false}}"#)?;
    out.flush()
}

/// Settles, waits for the end of stdin in RPC mode, and ends with `code`.
fn rest(out: &mut impl Write, json_mode: bool, code: u8) -> io::Result<u8> {
    settle(out)?;
    if !json_mode {
        io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink())?;
    }
    Ok(code)
}

fn big_line(out: &mut impl Write, n: usize) -> io::Result<()> {
    let head = b"{\"type\":\"message_update\",\"x\":\"";
    let tail = b"\"}\n";
    out.write_all(head)?;
    let mut left = n.saturating_sub(head.len() + tail.len());
    let block = vec![b'x'; 65536];
    while left > 0 {
        let now = left.min(block.len());
        out.write_all(&block[..now])?;
        left -= now;
    }
    out.write_all(tail)?;
    out.flush()
}

/// Lines that are no events: not text, not JSON, not objects, wrong types, too deep, too large.
fn garbage(out: &mut impl Write) -> io::Result<()> {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let lines: [&[u8]; 16] = [
        b"",
        b"\r",
        b"\xff\xfe\x00\x01",
        b"not json",
        b"{\"type\":",
        b"{\"type\":5}",
        b"{\"type\":null,\"type\":\"agent_settled\"",
        b"[1,2,3]",
        b"null",
        b"{\"type\":\"agent_end\"",
        b"{\"type\":\"tool_execution_end\",\"toolCallId\":{\"a\":[]},\"isError\":\"maybe\"}",
        b"{\"type\":\"message_end\",\"message\":{\"role\":\"assistant\",\"stopReason\":\"\xed\xa0\x80\",\"usage\":{\"input\":-1,\"output\":1e999}}}",
        b"{\"type\":\"auto_retry_start\",\"delayMs\":99999999999999999999999999}",
        b"{\"type\":\"extension_ui_request\",\"method\":\"confirm\"}",
        b"{\"type\":\"no_such_event\",\"\\u0000\":\"\x1b[31m\xe2\x80\xa8\"}",
        &deep,
    ];
    for line in lines {
        out.write_all(line)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Catches the polite signals and does nothing.
fn deafen() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    for signal in [SIGTERM, SIGHUP, SIGINT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// Lives until it is killed, or for [`LIFE`].
fn live() -> io::Result<u8> {
    let _ = Stop::default().wait(Duration::from_secs(LIFE));
    Ok(0)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Starts this program as a child of the given sort, with the lock as its stdin. Only with `pipes`
/// does it keep stdout and stderr.
#[allow(clippy::zombie_processes)] // to be reaped by whoever supervises us is the point
fn spawn(sort: &str, until: u64, pipes: bool) -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["__child", sort, &until.to_string()])
        .stdin(lock()?);
    if !pipes {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    command.spawn().map(drop)
}

/// The lock file for a child's stdin, locked; `/dev/null` without one.
fn lock() -> io::Result<Stdio> {
    let Some(path) = std::env::var_os("COLIBRI_HOSTILE_LOCK") else {
        return Ok(Stdio::null());
    };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)?;
    let held = Flock::lock(file, FlockArg::LockShared).map_err(|(_, e)| io::Error::from(e))?;
    let twin: File = held.try_clone()?;
    // A lock belongs to the open file, which the child shares; unlocking here would unlock it there.
    std::mem::forget(held);
    Ok(twin.into())
}

fn child(args: &[String]) -> io::Result<u8> {
    let until: u64 = args.get(1).and_then(|a| a.parse().ok()).unwrap_or(0);
    match args.first().map(String::as_str) {
        Some("middle") => {
            // Its own stdin, the lock, is inherited by the grandchild.
            unistd::setsid()?;
            Command::new(std::env::current_exe()?)
                .args(["__child", "leaf", "0"])
                .spawn()
                .map(drop)?;
            Ok(0)
        }
        Some("session") => {
            unistd::setsid()?;
            note();
            live()
        }
        Some("leaf") => {
            deafen()?;
            note();
            live()
        }
        Some("hop") => {
            note();
            if now() < until {
                let e = fork_and_leave(until);
                return Err(e);
            }
            Ok(0)
        }
        _ => Ok(2),
    }
}

/// Starts a successor in a new process group and is gone before anybody can look.
fn fork_and_leave(until: u64) -> io::Error {
    let exe = match std::env::current_exe() {
        Ok(exe) => exe,
        Err(e) => return e,
    };
    let started = Command::new(exe)
        .args(["__child", "hop", &until.to_string()])
        .process_group(0)
        .spawn();
    match started {
        Ok(_) => std::process::exit(0),
        Err(e) => e,
    }
}

/// Writes down that a process is there.
fn note() {
    let Some(path) = std::env::var_os("COLIBRI_HOSTILE_PIDS") else {
        return;
    };
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = file.write_all(format!("{}\n", std::process::id()).as_bytes());
    }
}

/// What a child sees of itself, as one JSON line.
fn report() -> io::Result<()> {
    let env: serde_json::Map<String, Value> = std::env::vars_os()
        .map(|(k, v)| (lossy(&k), Value::from(lossy(&v))))
        .collect();
    let groups: Vec<u32> = unistd::getgroups()?.iter().map(|g| g.as_raw()).collect();
    let mask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let about = json!({
        "env": env,
        "args": std::env::args().collect::<Vec<_>>(),
        "exe": std::env::current_exe()?.display().to_string(),
        "cwd": std::env::current_dir()?.display().to_string(),
        "uid": unistd::getuid().as_raw(), "euid": unistd::geteuid().as_raw(),
        "gid": unistd::getgid().as_raw(), "egid": unistd::getegid().as_raw(),
        "groups": groups,
        "pid": unistd::getpid().as_raw(), "ppid": unistd::getppid().as_raw(),
        "sid": unistd::getsid(None)?.as_raw(), "pgrp": unistd::getpgrp().as_raw(),
        "umask": mask.bits(),
        "nice": nice(),
        "fds": descriptors(),
        "limits": limits(),
    });
    match std::env::var_os("COLIBRI_HOSTILE_OUT") {
        Some(path) => std::fs::write(path, format!("{about}\n")),
        None => writeln!(io::stderr(), "{about}"),
    }
}

fn lossy(s: &std::ffi::OsStr) -> String {
    s.to_string_lossy().into_owned()
}

/// Open descriptors with what they lead to where the system tells. The one that lists the
/// directory is among them no more: it is closed before it is looked at.
fn descriptors() -> Vec<Value> {
    let names: Vec<String> = std::fs::read_dir("/dev/fd")
        .map(|dir| dir.flatten().map(|e| lossy(&e.file_name())).collect())
        .unwrap_or_default();
    let mut open: Vec<Value> = names
        .iter()
        .filter_map(|name| {
            let fd: u64 = name.parse().ok()?;
            let path = format!("/dev/fd/{fd}");
            std::fs::metadata(&path).ok()?;
            let leads_to = std::fs::read_link(&path).ok().map(|p| lossy(p.as_os_str()));
            Some(json!({"fd": fd, "to": leads_to}))
        })
        .collect();
    open.sort_by_key(|v| v["fd"].as_u64());
    open
}

fn limits() -> Value {
    let all = [
        ("nofile", Resource::RLIMIT_NOFILE),
        ("nproc", Resource::RLIMIT_NPROC),
        ("core", Resource::RLIMIT_CORE),
        ("cpu", Resource::RLIMIT_CPU),
        ("data", Resource::RLIMIT_DATA),
        ("fsize", Resource::RLIMIT_FSIZE),
        ("stack", Resource::RLIMIT_STACK),
    ];
    all.into_iter()
        .filter_map(|(name, which)| {
            let (soft, hard) = getrlimit(which).ok()?;
            Some((name.to_owned(), json!([soft, hard])))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Niceness as `ps` knows it; nothing where it cannot be asked.
fn nice() -> Value {
    let pid = std::process::id().to_string();
    Command::new("ps")
        .args(["-o", "nice=", "-p", &pid])
        .output()
        .ok()
        .and_then(|o| {
            String::from_utf8_lossy(&o.stdout)
                .trim()
                .parse::<i64>()
                .ok()
        })
        .map_or(Value::Null, Value::from)
}
