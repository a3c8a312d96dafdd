//! The monitor: one process per run, the agent's parent. It reads what the agent says, writes the
//! run's journal and talks to nobody but its agent and colibrid.
//!
//! - [`machine`], [`commands`], [`end`], [`words`]: what is decided, without side effects;
//! - [`shell`], [`core`]: the loop around it;
//! - [`ledger`], [`link`], [`pipes`], [`children`]: journal, colibrid, the agent's pipes, its tree.

mod children;
mod commands;
mod core;
mod end;
mod inherit;
mod ledger;
mod link;
mod machine;
mod pipes;
mod shell;
#[cfg(test)]
mod tests;
#[cfg_attr(target_os = "freebsd", path = "watch_jail.rs")]
#[cfg_attr(not(target_os = "freebsd"), path = "watch_none.rs")]
mod watch;
mod words;

use libcolibri::error::{Context, Fatal, Result, EX_OK};
use libcolibri::sandbox::{confine, policy, Confined};
use libcolibri::signals::Signals;
use libcolibri::{debug, error, log, sys};
use nix::libc::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

use crate::monitor_args::Args;

/// Runs the monitor of one attempt until its end is told.
pub fn main(args: &Args) -> ! {
    let stem = args.key.stem();
    let code = match run(args) {
        Ok(()) => EX_OK,
        Err(fatal) => {
            // The agent ends with us: whoever finds the journal without an end says so.
            error!("run {stem}: {fatal}");
            fatal.code
        }
    };
    sys::exit_now(code)
}

fn run(args: &Args) -> Result<()> {
    // Without a log there is still the journal.
    let target = log::Target::of(args.foreground);
    let _ = log::init("colibri-spawnd", target, args.verbose);
    let given = inherit::Given::take(args)?; // 3 to 9, and nothing else
                                             // SIGXFSZ so that a limit on file sizes is a failed write and not our death.
    let wanted = [SIGCHLD, SIGTERM, SIGHUP, SIGINT, SIGXFSZ];
    let signals = Signals::new(&wanted).or_fatal("catch signals")?;
    sys::set_title(&format!("run {}", args.key.run)).or_fatal("set process title")?;
    sys::not_traceable().or_fatal("forbid tracing")?;
    let (mut shell, channel) = given.into_shell(args, signals)?; // journal begun, descriptors polled
    let confined = confined(&shell, &channel)?;
    debug!("run {}: {}", args.key.stem(), confined.report());
    shell.connect(channel);
    shell.run(&confined);
    Ok(())
}

/// Gives up everything but what the table names.
fn confined(shell: &shell::Shell, channel: &mio::net::UnixStream) -> Result<Confined> {
    use std::os::fd::AsFd;
    let mut held = shell.held();
    held.extend([0, 1, 2].iter().map(|fd| (sys::borrow(fd), "stdio")));
    held.extend(shell.signals().held().map(|fd| (fd, "signals")));
    held.push((channel.as_fd(), "channel"));
    log::with_fd(|syslog| {
        let mut held = held; // no longer than the lock on the log
        held.extend(syslog.map(|fd| (fd, "syslog")));
        confine(&policy::MONITOR, &held).map_err(|e| Fatal::new(e.to_string()))
    })
}
