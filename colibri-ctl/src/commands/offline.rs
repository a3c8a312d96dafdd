//! Commands that need no colibrid: `fold` and `version`.

use std::io::{self, BufWriter, ErrorKind, Write};

use libcolibri::error::{Fatal, Result};

use crate::fold::{self, FoldArgs};
use crate::model::PROTOCOL;
use crate::output::{finished, Output};

/// `fold`: the states in a recorded stream.
///
/// # Errors
/// A recording that cannot be read.
pub fn fold(args: &FoldArgs, out: &Output) -> Result<()> {
    let mut sink = Sink {
        out: BufWriter::new(io::stdout().lock()),
        gone: false,
    };
    let folded = fold::run(args, out.is_json(), &mut sink);
    let flushed = sink.flush();
    match (folded, flushed) {
        _ if sink.gone => Err(finished()),
        (Err(message), _) => Err(Fatal::new(message)),
        (_, Err(e)) => Err(Fatal::new(format!("cannot write the result: {e}"))),
        _ => Ok(()),
    }
}

/// `version`: of this program and of its protocol.
///
/// # Errors
/// Standard output that cannot be written.
pub fn version(out: &Output) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    if out.is_json() {
        return out.raw(&format!(
            "{{\"version\":\"{version}\",\"protocol\":{PROTOCOL}}}"
        ));
    }
    out.print(&format!("colibri-ctl {version}, protocol {PROTOCOL}\n"))
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
