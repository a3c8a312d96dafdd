//! `top`: a live view of runs and board, in two processes. The guard owns the terminal and connects to colibrid; it
//! reads neither keys nor what colibrid says. The view reads both, confined; when its connection is lost the guard
//! hands it another, which no confined process could make. Whatever ends the view, the guard puts the terminal
//! back.

mod app;
mod ask;
mod draw;
mod draw_open;
mod facts;
mod guard;
mod keys;
mod link;
mod modal;
mod session;
mod terminal;
mod view;
mod wire;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use libcolibri::chan::{self, Chan};
use libcolibri::error::{Context, Fatal, Result, EX_USAGE};
use libcolibri::sys::{self, Fork};

use crate::confinement;
use crate::output::Output;
use guard::Guard;
use terminal::Terminal;

/// Runs until the operator has seen enough. `timeout` is in seconds, the longest wait for an answer.
///
/// # Errors
/// Not on a terminal, colibrid not reachable at the start, a view that died.
pub fn top(path: &Path, timeout: u32, out: &Output) -> Result<()> {
    suitable(out)?;
    let timeout = Duration::from_secs(timeout.into());
    confinement::close_inherited()?;
    let first = guard::connect(path, timeout)?;
    let terminal = Terminal::open().or_fatal("read the terminal's modes")?;
    let (ours, theirs) = chan::pair().or_fatal("make a channel")?;
    match sys::fork().or_fatal("fork")? {
        Fork::Parent(view) => {
            drop((first, theirs));
            Guard::new(Chan::new(ours), view, path, timeout, terminal)?.run()
        }
        Fork::Child => {
            drop(ours);
            let code = view::run(Chan::new(theirs), first, timeout, out.style());
            sys::exit_now(code)
        }
    }
}

/// A live view needs somebody who looks.
fn suitable(out: &Output) -> Result<()> {
    let usage = |message: &str| Fatal {
        code: EX_USAGE,
        message: message.into(),
    };
    if out.is_json() {
        return Err(usage(
            "top has no JSON; colibri-ctl -j tail prints the events",
        ));
    }
    for (what, there) in [
        ("standard input", io::stdin().is_terminal()),
        ("standard output", io::stdout().is_terminal()),
    ] {
        if !there {
            return Err(usage(&format!("cannot run top: {what} is not a terminal")));
        }
    }
    match std::env::var("TERM").as_deref() {
        Ok("dumb") | Ok("") | Err(_) => Err(usage(
            "cannot run top: TERM names no terminal with a cursor that can be moved",
        )),
        Ok(_) => Ok(()),
    }
}
