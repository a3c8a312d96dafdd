//! Watching the system calls of a suite, and making some of them fail, by strace: Linux only, and only
//! where it is installed and may trace.

use crate::wait::{must, LONG};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The words before a program that is to be traced: it keeps its parent and its number, and the tracer
/// ends with it. `more` are options of strace.
#[must_use]
pub fn words(trace: &Path, more: &[&str]) -> Vec<String> {
    let mut words = vec!["strace".into(), "-D".into(), "-o".into()];
    words.push(trace.display().to_string());
    words.extend(more.iter().map(|w| (*w).to_owned()));
    words
}

/// Why nothing can be traced here, if so.
#[must_use]
pub fn missing() -> Option<String> {
    let mut words = words(Path::new("/dev/null"), &["-f", "true"]);
    let program = words.remove(0);
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null());
    match command.output() {
        Ok(out) if out.status.success() && out.stderr.is_empty() => None,
        Ok(out) => Some(format!(
            "strace cannot trace: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        )),
        Err(e) => Some(format!("no strace: {e}")),
    }
}

/// Options with which [`read`] gets whole calls.
pub const WHOLE: [&str; 6] = [
    "-f",
    "-y",
    "-xx",
    "-s1048576",
    "-e",
    "trace=pwrite64,write,sendto,fsync,fdatasync,ftruncate",
];

/// What a call did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Bytes went to this place of a file.
    Wrote(usize, Vec<u8>),
    /// A file was cut or grew to this size.
    Cut(usize),
    /// Everything that was written to it is on the disk.
    Synced,
    /// Bytes were sent to a socket, or written at the end of a file.
    Sent(Vec<u8>),
}

/// A call that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What its descriptor leads to; empty when that was never seen.
    pub path: PathBuf,
    /// What it did.
    pub what: What,
}

/// The calls of a trace that has ended, in the order of their ends.
///
/// # Panics
/// When the trace does not end or is not understood.
#[must_use]
pub fn read(trace: &Path) -> Vec<Call> {
    let text = must("the end of the trace", LONG, || {
        let text = fs::read_to_string(trace).ok()?;
        text.trim_end().ends_with(" +++").then_some(text)
    });
    let mut begun: HashMap<&str, &str> = HashMap::new();
    // Not even its tracer may ask where the descriptors of a process lead that has given up its rights.
    let mut seen: HashMap<(&str, u32), PathBuf> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (pid, rest) = line.split_once(' ').expect("a process and a call");
        let rest = rest.trim_start();
        let made = if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, start);
            None
        } else if let Some((_, end)) = rest.split_once(" resumed>") {
            let start = begun.remove(pid).unwrap_or_default();
            call(&format!("{start}{end}"))
        } else {
            call(rest)
        };
        let Some((fd, path, what)) = made else {
            continue;
        };
        let known = seen.entry((pid, fd)).or_default();
        if let Some(path) = path {
            *known = path;
        }
        let path = known.clone();
        calls.push(Call { path, what });
    }
    calls
}

/// One call: the descriptor, where it leads if that is told, and what it did; `None` for signals, ends
/// and what failed.
fn call(line: &str) -> Option<(u32, Option<PathBuf>, What)> {
    let (name, rest) = line.split_once('(')?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let fd = rest[..end].parse().ok()?;
    let (path, rest) = match rest[end..].strip_prefix('<') {
        Some(rest) => rest
            .split_once('>')
            .map(|(path, rest)| (Some(path), rest))?,
        None => (None, &rest[end..]),
    };
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let result: usize = result.split_whitespace().next()?.parse().ok()?;
    let last = || {
        let last = arguments.trim_end().strip_suffix(')')?.rsplit(", ").next();
        last?.parse().ok()
    };
    let bytes = || {
        assert!(!arguments.contains("\"..."), "cut: {name} of {fd}");
        let mut bytes = unhex(arguments.split('"').nth(1)?);
        bytes.truncate(result);
        Some(bytes)
    };
    let what = match name {
        "fsync" | "fdatasync" => What::Synced,
        "ftruncate" => What::Cut(last()?),
        "pwrite64" => What::Wrote(last()?, bytes()?),
        _ => What::Sent(bytes()?),
    };
    let path = path.and_then(|path| String::from_utf8(unhex(path)).ok());
    Some((fd, path.map(PathBuf::from), what))
}

/// Bytes that are all written as `\x41`, or a text in which none is.
fn unhex(text: &str) -> Vec<u8> {
    if !text.contains("\\x") {
        return text.as_bytes().to_vec();
    }
    let digit = |b: u8| char::from(b).to_digit(16).expect("a hexadecimal digit") as u8;
    let of = |four: &[u8]| digit(four[2]) << 4 | digit(four[3]);
    text.as_bytes().chunks_exact(4).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read() {
        let wrote = r#"pwrite64(13<\x2f\x61>, "\x0d\x00\xff", 3, 4096) = 3"#;
        let what = What::Wrote(4096, vec![13, 0, 255]);
        assert_eq!(call(wrote), Some((13, Some("/a".into()), what)));
        let sent = r#"sendto(9<socket:[1]>, "\x61\x62", 2, MSG_NOSIGNAL, NULL, 0) = 1"#;
        let what = What::Sent(vec![b'a']);
        assert_eq!(call(sent), Some((9, Some("socket:[1]".into()), what)));
        assert_eq!(call("fsync(4</a>) = -1 EIO (Input/output error)"), None);
        assert_eq!(call("fsync(4)       = 0"), Some((4, None, What::Synced)));
        let cut = Some((4, Some("/a".into()), What::Cut(70)));
        assert_eq!(call("ftruncate(4</a>, 70) = 0"), cut);
        assert_eq!(call("+++ exited with 0 +++"), None);
    }
}
