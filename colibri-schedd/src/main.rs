//! colibri-schedd: time. See colibri-schedd(8).
//!
//! It is started by colibrid with its channel on descriptor 3 and the suite's lock on 4, and
//! nothing else. It confines itself, says Ready and answers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libcolibri::chan::{Chan, ChanError};
use libcolibri::error::{Context, Fatal, Result, EX_USAGE};
use libcolibri::log::{self, Target};
use libcolibri::msg::{FromSchedd, ToSchedd};
use libcolibri::sandbox::{confine, policy, Confined};
use libcolibri::{info, sys};
use mio::{Events, Interest, Poll, Token};

const COLIBRID: Token = Token(0);

fn main() {
    let code = match run() {
        Ok(()) => libcolibri::error::EX_OK,
        Err(fatal) => {
            libcolibri::error!("{fatal}");
            fatal.code
        }
    };
    std::process::exit(code);
}

fn run() -> Result<()> {
    let args = Args::parse(std::env::args().skip(1))?;
    if args.version {
        println!("colibri-schedd {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let target = if args.stderr {
        Target::Stderr
    } else {
        Target::Syslog
    };
    // Without syslogd there is nobody to tell, and no reason not to keep time.
    let _ = log::init("colibri-schedd", target, args.verbose);
    let what = "use the descriptors that colibrid passes";
    let channel = sys::inherit(3).or_fatal(what)?;
    let lock = sys::inherit(4).or_fatal(what)?;
    std::env::set_current_dir("/").or_fatal("go to /")?;
    if let Some((uid, gid)) = args.ids {
        let groups = vec![gid];
        sys::drop_to(&sys::Ids { uid, gid, groups }).or_fatal("become my own user")?;
    }
    sys::no_new_privs().or_fatal("give up new privileges")?;
    sys::not_traceable().or_fatal("forbid tracing")?;
    let colibrid = Colibrid::new(channel)?;
    let confined = colibrid.confine(&lock)?;
    info!("{}", confined.report());
    colibrid.serve(confined)
}

/// The command line that colibrid gives; nobody else starts this program.
struct Args {
    ids: Option<(u32, u32)>,
    stderr: bool,
    verbose: bool,
    version: bool,
}

impl Args {
    fn parse(args: impl Iterator<Item = String>) -> Result<Args> {
        let usage = || Fatal {
            code: EX_USAGE,
            message: "usage: colibri-schedd [-dvV] [-u uid:gid] (started by colibrid only)".into(),
        };
        let mut out = Args {
            ids: None,
            stderr: false,
            verbose: false,
            version: false,
        };
        let mut args = args;
        while let Some(a) = args.next() {
            match a.as_str() {
                "-d" => out.stderr = true,
                "-v" => out.verbose = true,
                "-V" | "--version" => out.version = true,
                "-u" => {
                    let value = args.next().ok_or_else(usage)?;
                    let (uid, gid) = value.split_once(':').ok_or_else(usage)?;
                    let number = |s: &str| s.parse::<u32>().map_err(|_| usage());
                    out.ids = Some((number(uid)?, number(gid)?));
                }
                _ => {
                    eprintln!("{}", usage().message);
                    return Err(usage());
                }
            }
        }
        Ok(out)
    }
}

/// The only peer.
struct Colibrid {
    chan: Chan<FromSchedd, ToSchedd>,
    poll: Poll,
}

impl Colibrid {
    fn new(channel: OwnedFd) -> Result<Colibrid> {
        let mut chan = Chan::new(channel);
        let poll = Poll::new().or_fatal("make a poll")?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(chan.source(), COLIBRID, both)
            .or_fatal("watch colibrid's channel")?;
        Ok(Colibrid { chan, poll })
    }

    fn confine(&self, lock: &OwnedFd) -> Result<Confined> {
        let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
        let poll = self.poll.as_raw_fd();
        log::with_fd(|syslog| {
            let mut held: Vec<(BorrowedFd<'_>, &'static str)> = vec![
                (input.as_fd(), "stdio"),
                (output.as_fd(), "stdio"),
                (errors.as_fd(), "stdio"),
                (sys::borrow(&poll), "poll"),
                (self.chan.as_fd(), "colibrid"),
                (lock.as_fd(), "lock"),
            ];
            held.extend(syslog.map(|fd| (fd, "syslog")));
            confine(&policy::SCHEDD, &held)
        })
        .map_err(|e| Fatal::new(e.to_string()))
    }

    /// Answers until colibrid is gone: the daemons live and die together.
    fn serve(mut self, _confined: Confined) -> Result<()> {
        let lost = |e: ChanError| Fatal::new(format!("lost colibrid: {e}"));
        self.chan.send(&FromSchedd::Ready).map_err(lost)?;
        let mut events = Events::with_capacity(8);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                    return Err(e).or_fatal("wait for events")
                }
                _ => {}
            }
            self.chan.flush().map_err(lost)?;
            loop {
                match self.chan.recv() {
                    Ok(Some((ToSchedd::Ping { token }, _))) => {
                        self.chan.send(&FromSchedd::Pong { token }).map_err(lost)?;
                    }
                    Ok(None) => break,
                    Err(ChanError::Closed) => return Ok(()),
                    Err(e) => return Err(lost(e)),
                }
            }
        }
    }
}
