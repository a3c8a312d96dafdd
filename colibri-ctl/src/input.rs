//! What has to be read before the program confines itself: the config, for the place of the socket, and
//! standard input, for texts given as `-`, and the skills that are to be imported.

use std::io::{self, Read};
use std::path::PathBuf;

use libcolibri::config::{default_file, Config, Ids};
use libcolibri::error::{reason, Context, Fatal, Result};
use libcolibri::msg::TEXT_MAX;

use crate::cli::Command;
use crate::cli_board::{AgentCommand, TaskCommand};
use crate::cli_schedule::ScheduleCommand;
use crate::cli_skill::SkillCommand;

/// Where colibrid listens if nobody said otherwise and no config can be read.
const SOCKET: &str = "/var/run/colibri/colibri.sock";

/// The socket of the installed config. A caller who may not read the config (it can hold keys) gets the
/// usual place.
#[must_use]
pub fn default_socket() -> PathBuf {
    match Config::load(default_file()) {
        Ok(config) => config.paths.socket(),
        Err(_) => PathBuf::from(SOCKET),
    }
}

/// Reads the texts that were given as `-`, and refuses those that colibrid would not take.
///
/// # Errors
/// A text that is empty, too long or not UTF-8; two texts from one standard input cannot occur.
pub fn complete(mut command: Command) -> Result<Command> {
    match &mut command {
        Command::Run(args) => text("prompt", &mut args.prompt, false)?,
        Command::Steer { text: message, .. } => text("text", message, false)?,
        // An empty answer is an answer.
        Command::Answer(args) => {
            if let Some(value) = &mut args.value {
                text("answer", value, true)?;
            }
        }
        Command::Intake { file } => *file = intake(file)?,
        Command::Task(TaskCommand::Add(args)) => {
            if let Some(description) = &mut args.description {
                text("description", description, true)?;
            }
        }
        Command::Agent(AgentCommand::Add(args)) => {
            let uids = args.users.iter().map(|u| uid(u));
            args.uids = uids.collect::<Result<_>>()?;
        }
        Command::Schedule(ScheduleCommand::Add(args)) => {
            if let Some(prompt) = &mut args.prompt {
                text("prompt", prompt, true)?;
            }
        }
        Command::Skill(SkillCommand::Import(args)) => {
            args.bundles = crate::skills::find(&args.directories)?;
        }
        _ => {}
    }
    Ok(command)
}

/// The number of a user.
fn uid(user: &str) -> Result<u32> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    let found = Ids::lookup(user).map_err(|e| Fatal::new(e.message))?;
    Ok(found.uid)
}

/// Longest file of `intake`, in bytes.
const INTAKE_MAX: u64 = 16 * 1024 * 1024;

/// What a file for `intake` holds: it cannot be opened later.
fn intake(file: &str) -> Result<String> {
    let shown = crate::text::clean(file);
    let failed = |e: io::Error| Fatal::new(format!("cannot read {shown}: {}", reason(&e)));
    let mut bytes = Vec::new();
    if file == "-" {
        io::stdin()
            .lock()
            .take(INTAKE_MAX + 1)
            .read_to_end(&mut bytes)
    } else {
        let input = std::fs::File::open(file).map_err(failed)?;
        input.take(INTAKE_MAX + 1).read_to_end(&mut bytes)
    }
    .map_err(failed)?;
    if bytes.len() as u64 > INTAKE_MAX {
        return Err(Fatal::new(format!(
            "{shown}: longer than {INTAKE_MAX} bytes"
        )));
    }
    String::from_utf8(bytes).map_err(|_| Fatal::new(format!("{shown}: not UTF-8")))
}

fn text(what: &str, value: &mut String, may_be_empty: bool) -> Result<()> {
    if value == "-" {
        *value = stdin(what)?;
    }
    if value.len() > TEXT_MAX {
        return Err(Fatal::new(format!(
            "the {what} is longer than {TEXT_MAX} bytes"
        )));
    }
    if value.trim().is_empty() && !may_be_empty {
        return Err(Fatal::new(format!("the {what} is empty")));
    }
    Ok(())
}

/// All of standard input, without the line feed that ends it.
fn stdin(what: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let most = TEXT_MAX as u64 + 2;
    let input = io::stdin().lock();
    let read = input.take(most).read_to_end(&mut bytes);
    read.or_fatal("read standard input")?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| Fatal::new(format!("the {what} is not UTF-8")))
}
