//! One function per command.

mod board;
mod check;
mod control;
pub mod explain;
mod follow;
mod intake;
mod offline;
mod read;
mod run;
mod schedule;
mod skill;
mod tail;

use libcolibri::error::Result;

use crate::cli::Command;
use crate::client::Client;
use crate::output::Output;

pub use check::unreachable;
pub use offline::{fold, version};

/// What a command works with: the confined connection and the output.
pub struct Session {
    /// colibrid.
    pub client: Client,
    /// Where results go.
    pub out: Output,
}

/// Runs a command that needs colibrid.
///
/// # Errors
/// What the command could not do, in words.
pub fn dispatch(mut session: Session, command: Command) -> Result<()> {
    let s = &mut session;
    match command {
        Command::Status => read::status(s),
        Command::Snapshot => read::snapshot(s),
        Command::Runs(args) => read::runs(s, &args),
        Command::Show { run } => read::show(s, run),
        Command::Intake { file } => intake::intake(s, &file),
        Command::Audit(args) => board::audit(s, &args),
        Command::Board => board::board(s),
        Command::Task(command) => board::task(s, &command),
        Command::Agent(command) => board::agent(s, &command),
        Command::Schedule(command) => schedule::schedule(s, &command),
        Command::Skill(command) => skill::skill(s, &command),
        Command::Explain { run } => explain::explain(s, run),
        Command::Check { deep } => check::check(s, deep),
        Command::Run(args) => run::run(s, &args),
        Command::Tail(args) => tail::tail(s, &args),
        Command::Stop { run, wait } => control::stop(s, run, wait),
        Command::Steer { run, text } => control::steer(s, run, &text),
        Command::Abort { run } => control::abort(s, run),
        Command::Answer(args) => control::answer(s, &args),
        Command::Fold(args) => offline::fold(&args, &s.out),
        Command::Version => offline::version(&s.out),
        // Has a connection of its own.
        Command::Top => Ok(()),
    }
}
