//! colibri-schedd: time. See colibri-schedd(8).
//!
//! It is started by colibrid with its channel on descriptor 3. It opens the directory of the time
//! zones, confines itself, says Ready and keeps time.

mod args;
mod colibrid;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use colibri_schedd::timetable::Timetable;
use colibri_schedd::zones::{below, Zones};
use libcolibri::error::{cannot, Context, Result};
use libcolibri::log::{self, Target};
use libcolibri::{info, sys, warn};

use args::Args;
use colibrid::Colibrid;

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
    let channel = sys::inherit(3).or_fatal("use the channel that colibrid passes")?;
    std::env::set_current_dir("/").or_fatal("go to /")?;
    let directory = open_zones(&args.zones);
    if let Some((uid, gid)) = args.ids {
        let groups = vec![gid];
        sys::drop_to(&sys::Ids { uid, gid, groups }).or_fatal("become my own user")?;
    }
    sys::no_new_privs().or_fatal("give up new privileges")?;
    sys::not_traceable().or_fatal("forbid tracing")?;
    let colibrid = Colibrid::new(channel)?;
    let confined = colibrid.confine(directory.as_ref().map(AsFd::as_fd))?;
    info!("{}", confined.report());
    let zones = match directory {
        Some(directory) => below(directory),
        None => Box::new(|_: &str| None),
    };
    colibrid.serve(Timetable::new(Zones::new(zones)), confined)
}

/// The directory of the time zones. Without it there is UTC, and who needs more is told.
fn open_zones(path: &Path) -> Option<OwnedFd> {
    let opened = File::options()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY)
        .open(path);
    match opened {
        Ok(file) => Some(file.into()),
        Err(e) => {
            warn!("{}: UTC is the only time zone", cannot("open", path, &e));
            None
        }
    }
}
