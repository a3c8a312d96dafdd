//! colibri-spawnd: starts runs, kills them, proves them dead. The only process of the suite that
//! keeps root, so it takes nothing but numbers, and only from colibrid.
//!
//! With `-M` the same program is the monitor of one run: see [`monitor`].

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

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use libcolibri::config::Config;
use libcolibri::error::{Context, Result};
use libcolibri::log::Target;
use libcolibri::{log, sys};
use options::{Options, Role};

fn main() -> ExitCode {
    let _ = log::init("colibri-spawnd", Target::Stderr, false);
    let result = match options::parse(std::env::args_os().skip(1).collect()) {
        Ok(Role::Monitor(args)) => monitor::main(&args),
        Ok(Role::Spawnd(options)) => spawnd(&options),
        Ok(Role::Version) => {
            println!("colibri-spawnd {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Err(usage) => Err(usage),
    };
    let Err(fatal) = result else {
        return ExitCode::SUCCESS;
    };
    libcolibri::error!("{fatal}");
    if !log::is_to_stderr() {
        // The command that starts the suite passes this on, while there is one.
        let _ = writeln!(std::io::stderr(), "colibri-spawnd: {fatal}");
    }
    ExitCode::from(fatal.code as u8)
}

fn spawnd(options: &Options) -> Result<()> {
    // Inherited: the channel to colibrid, and the suite's lock, which is only kept.
    let channel = sys::inherit(3).or_fatal("find colibrid: this program is started by it")?;
    let _lock = sys::inherit(4).or_fatal("find the suite's lock")?;
    sys::close_from(5).or_fatal("close descriptors")?;
    let target = if options.foreground {
        Target::Stderr
    } else {
        Target::Syslog
    };
    // Without syslogd there is nobody to tell; runs matter more.
    let _ = log::init("colibri-spawnd", target, options.verbose);
    // What needs names. This process is neither dropped nor confined: it is kept small instead.
    let program = std::env::current_exe().and_then(File::open);
    let program = program.or_fatal("open this program")?.into();
    let config = Config::load(&options.file)?;
    let table = table::Table::resolve(config, options.foreground, options.verbose)?;
    if nix::unistd::geteuid().is_root() {
        // Ahead of everything that a run may do; the launchers go back.
        sys::set_nice(-5).or_fatal("raise the priority")?;
        sys::not_traceable().or_fatal("forbid debuggers")?;
    }
    let schedd = options.schedd.and_then(schedd::Schedd::find);
    // Ready, and the loop.
    colibrid::Spawnd::new(channel, table, program, schedd)?.serve()
}
