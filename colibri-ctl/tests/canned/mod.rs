//! A colibrid that follows a script: it expects requests, word for word, and sends what it is told.

#![allow(dead_code, reason = "each test program uses a part of it")]

#[path = "../../../libcolibri/tests/harness/program.rs"]
mod program;
pub mod replies;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use program::program;
use serde_json::Value;

/// One step of a script.
#[derive(Clone)]
pub enum Step {
    /// Reads a request and compares it, without its id.
    Expect(String),
    /// Sends these bytes; `$ID` stands for the id of the last request.
    Send(Vec<u8>),
    /// Says nothing until the client has gone.
    Hang,
}

/// Expects `request` and answers with `data`.
pub fn answer(request: &str, data: &str) -> Vec<Step> {
    vec![
        Step::Expect(request.into()),
        line(&format!("{{\"ok\":true,\"data\":{data},\"id\":$ID}}")),
    ]
}

/// Expects `request` and refuses it.
pub fn refuse(request: &str, code: &str, message: &str) -> Vec<Step> {
    let error = serde_json::json!({"code": code, "message": message});
    vec![
        Step::Expect(request.into()),
        line(&format!("{{\"ok\":false,\"error\":{error},\"id\":$ID}}")),
    ]
}

/// Sends an event.
pub fn event(fields: &str) -> Vec<Step> {
    vec![line(&format!("{{\"event\":{{{fields}}}}}"))]
}

/// Sends a line.
pub fn line(text: &str) -> Step {
    Step::Send(format!("{text}\n").into_bytes())
}

/// What came of one call of colibri-ctl.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// The socket's path.
    pub socket: String,
}

/// Runs colibri-ctl with `args` against a colibrid that follows `script`, to the end of both.
pub fn ctl(args: &[&str], script: Vec<Step>) -> Outcome {
    ctl_with(args, script, "")
}

/// The same, with this on standard input.
pub fn ctl_with(args: &[&str], script: Vec<Step>, input: &str) -> Outcome {
    let dir = Dir::new();
    let socket = dir.0.join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = serve(listener, script);
    let mut command = Command::new(program("colibri-ctl"));
    command.env("COLIBRI_SOCKET", &socket).args(args);
    let outcome = finish(command, input, socket.display().to_string());
    // One more connection ends a server that still waits for its client.
    drop(UnixStream::connect(&socket));
    if let Err(panic) = server.join() {
        eprintln!("{outcome:?}");
        std::panic::resume_unwind(panic);
    }
    outcome
}

/// Runs colibri-ctl without any server; `%` in an argument is the path of a fresh directory.
pub fn alone(args: &[&str]) -> Outcome {
    let dir = Dir::new();
    let path = dir.0.display().to_string();
    let mut command = Command::new(program("colibri-ctl"));
    command.env_remove("COLIBRI_SOCKET");
    command.args(args.iter().map(|a| a.replace('%', &path)));
    finish(command, "", path)
}

fn finish(mut command: Command, input: &str, socket: String) -> Outcome {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A child that does not read its standard input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().expect("killed by a signal"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        socket,
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the server must run beside the program under test; this is a test, not a daemon"
)]
fn serve(listener: UnixListener, script: Vec<Step>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        let mut id = String::from("null");
        for step in script {
            match step {
                Step::Expect(expected) => id = expect(&mut reader, &expected),
                Step::Send(bytes) => {
                    // Only ASCII scripts have the placeholder; others go out as they are.
                    let bytes = match String::from_utf8(bytes) {
                        Ok(text) => text.replace("$ID", &id).into_bytes(),
                        Err(e) => e.into_bytes(),
                    };
                    // A client that has seen enough hangs up; the outcome says whether it was right.
                    let _ = writer.write_all(&bytes);
                }
                Step::Hang => {
                    let _ = reader.read_to_end(&mut Vec::new());
                }
            }
        }
    })
}

/// Reads a request, compares it with `expected`, returns its id.
fn expect(reader: &mut BufReader<UnixStream>, expected: &str) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut request: Value = serde_json::from_str(&line).expect("a request in JSON");
    let id = request.as_object_mut().unwrap().remove("id");
    assert_eq!(request, serde_json::from_str::<Value>(expected).unwrap());
    id.expect("a request with an id").to_string()
}

/// A directory of this test's own, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("colibri-ctl-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The time `seconds` ago, as colibrid writes it.
pub fn ago(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at = now.as_secs() - seconds;
    let (days, clock) = (at / 86_400, at % 86_400);
    let (mut year, mut left) = (1970, days);
    let leap = |y: u64| (y.is_multiple_of(4) && !y.is_multiple_of(100)) || y.is_multiple_of(400);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    format!(
        "{year}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        month + 1,
        left + 1,
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}
