//! colibri-spawnd: starts runs, kills them, proves them dead. The only process of the suite that
//! keeps root, so it takes nothing but numbers, and only from colibrid.
//!
//! With `-M` the same program is the monitor of one run: see [`monitor`]. This file is the daemon's
//! privilege story, from top to bottom.

mod agent;
mod colibrid;
mod init;
mod launch;
mod monitor;
mod monitor_args;
mod notes;
mod options;
mod outside;
mod reap;
mod release;
mod remove;
mod schedd;
mod steps;
mod survey;
mod table;

use std::process::ExitCode;

use libcolibri::config::Config;
use libcolibri::error::{Context, Result};
use libcolibri::log::{self, Target};
use libcolibri::sys;
use options::{Options, Role};

fn main() -> ExitCode {
    let result = match options::parse(std::env::args_os().skip(1).collect()) {
        Ok(Role::Monitor(args)) => monitor::main(&args),
        Ok(Role::Spawnd(options)) => spawnd(&options),
        Ok(Role::Version) => options::say_version(),
        Err(usage) => Err(usage),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => ExitCode::from(log::last_word("colibri-spawnd", &fatal) as u8),
    }
}

fn spawnd(options: &Options) -> Result<()> {
    let channel = sys::inherit(3).or_fatal("find colibrid: this program is started by it")?;
    let lock = sys::inherit(4).or_fatal("find the suite's lock")?; // which is only kept
    sys::close_from(5).or_fatal("close descriptors")?;
    let schedd = options.schedd.and_then(schedd::Schedd::find);
    let target = Target::of(options.foreground);
    let _ = log::init("colibri-spawnd", target, options.verbose); // runs matter more
    let program = launch::own_program()?;
    let config = Config::load(&options.file)?;
    let table = table::Table::resolve(config, options.foreground, options.verbose)?;
    colibrid::rise()?; // it keeps root, and is kept small instead
    let spawnd = colibrid::Spawnd::new(channel, table, program, schedd)?;
    let limited = spawnd.confine(&lock)?; // to its limits and to what it may hold
    spawnd.serve(limited)
}
