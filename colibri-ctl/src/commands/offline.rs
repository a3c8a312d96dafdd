//! Commands that need no colibrid: `fold` and `version`.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;

use libcolibri::error::{Fatal, Result};
use libcolibri::formats::{DATABASE, SNAPSHOT};
use libcolibri::journal::MAGIC;
use libcolibri::wire::VERSION as MESSAGES;
use serde::Deserialize;

use crate::confinement;
use crate::fold::{self, FoldArgs};
use crate::model::PROTOCOL;
use crate::output::{finished, Output};

/// `fold`: the states in a recorded stream.
///
/// # Errors
/// A recording that cannot be read.
pub fn fold(args: &FoldArgs, out: &Output) -> Result<()> {
    confinement::close_inherited()?;
    let recording = args.open().map_err(Fatal::new)?;
    confinement::enter_fold(recording.as_fd())?;
    let mut sink = Sink {
        out: BufWriter::new(io::stdout().lock()),
        gone: false,
    };
    let folded = fold::run(args, recording, out.is_json(), &mut sink);
    let flushed = sink.flush();
    match (folded, flushed) {
        _ if sink.gone => Err(finished()),
        (Err(message), _) => Err(Fatal::new(message)),
        (_, Err(e)) => Err(Fatal::new(format!("cannot write the result: {e}"))),
        (Ok(false), Ok(())) => {
            let name = args.name();
            out.tell(&format!("{name} ends too early; this is how far it goes\n"));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What the build script found out, as the fields of a JSON object.
const BUILD: &str = env!("COLIBRI_BUILD");

/// `version`: of this program, of what it was built from, and of what it speaks.
///
/// # Errors
/// Standard output that cannot be written.
pub fn version(out: &Output) -> Result<()> {
    let journal = str::from_utf8(MAGIC).unwrap_or_default().trim_end();
    if out.is_json() {
        let build = BUILD.trim_end_matches('}');
        return out.raw(&format!(
            "{build},\"protocol\":{PROTOCOL},\"messages\":{MESSAGES},\"journal\":\"{journal}\",\
             \"database\":{DATABASE},\"snapshot\":\"{SNAPSHOT}\"}}"
        ));
    }
    let build: Build = serde_json::from_str(BUILD)
        .map_err(|e| Fatal::new(format!("cannot read what was built in: {e}")))?;
    let changed = if build.dirty == Some(true) {
        ", with changes"
    } else {
        ""
    };
    let features = if build.features.is_empty() {
        "none".into()
    } else {
        build.features.join(", ")
    };
    out.print(&format!(
        "colibri-ctl {}, protocol {PROTOCOL}\n\
         commit    {}{changed}\n\
         target    {}, profile {}\n\
         compiler  rustc {}\n\
         features  {features}; TLS {}\n\
         formats   messages {MESSAGES}, journal {journal}, database {DATABASE}, {SNAPSHOT}\n",
        build.version, build.commit, build.target, build.profile, build.rustc, build.tls,
    ))
}

/// [`BUILD`], read.
#[derive(Deserialize)]
struct Build {
    version: String,
    commit: String,
    dirty: Option<bool>,
    target: String,
    rustc: String,
    profile: String,
    features: Vec<String>,
    tls: String,
}

/// Standard output that remembers that its reader has gone, which is no failure.
struct Sink<W: Write> {
    out: BufWriter<W>,
    gone: bool,
}

impl<W: Write> Sink<W> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(e) = &result {
            self.gone |= e.kind() == ErrorKind::BrokenPipe;
        }
        result
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.note(result)
    }
}
