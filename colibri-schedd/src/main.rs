//! colibri-schedd: time. See colibri-schedd(8).
//!
//! This file is the daemon's privilege story, from top to bottom: its channel, the directory of the
//! time zones, the drop, confinement, the loop.

mod args;
mod colibrid;

use std::os::fd::AsFd;

use colibri_schedd::timetable::Timetable;
use colibri_schedd::zones::{self, Zones};
use libcolibri::error::{Context, Result, EX_OK};
use libcolibri::log::{self, Target};
use libcolibri::{info, sys};

use args::Args;
use colibrid::Colibrid;

fn main() {
    let code = match run() {
        Ok(()) => EX_OK,
        Err(fatal) => log::last_word("colibri-schedd", &fatal),
    };
    std::process::exit(code);
}

fn run() -> Result<()> {
    let args = Args::parse(std::env::args().skip(1))?;
    if args.version {
        println!("colibri-schedd {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let channel = sys::inherit(3).or_fatal("find colibrid: this program is started by it")?;
    let target = Target::of(args.foreground);
    let _ = log::init("colibri-schedd", target, args.verbose); // time goes on without
    let directory = zones::open(&args.zones);
    std::env::set_current_dir("/").or_fatal("go to /")?;
    if let Some(ids) = &args.ids {
        sys::drop_to(ids).or_fatal("become my own user")?;
    }
    sys::no_new_privs().or_fatal("give up new privileges")?;
    sys::not_traceable().or_fatal("forbid tracing")?;
    let colibrid = Colibrid::new(channel)?;
    let confined = colibrid.confine(directory.as_ref().map(AsFd::as_fd))?;
    info!("{}", confined.report());
    let zones = Zones::new(zones::below(directory));
    colibrid.serve(Timetable::new(zones), confined)
}
