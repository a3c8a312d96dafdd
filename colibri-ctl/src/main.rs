//! colibri-ctl: the operator's tool. It asks colibrid over the public socket and shows what it says.
//!
//! Arguments, standard input, connect, confine, then the first foreign byte.

mod cli;
mod cli_board;
mod cli_schedule;
mod cli_skill;
mod client;
mod commands;
mod confinement;
mod fold;
mod framing;
mod input;
mod model;
mod model_board;
mod model_request;
mod model_schedule;
mod model_skill;
mod output;
mod skills;
mod text;
mod time;
mod top;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use libcolibri::error::Result;

use cli::{Cli, Command};
use client::Client;
use commands::Session;
use output::{Output, Style};

fn main() -> ExitCode {
    // A wrong command line ends in here, with exit status 2.
    let cli = Cli::parse();
    let code = match act(cli) {
        Ok(()) => libcolibri::error::EX_OK,
        Err(fatal) => {
            if !fatal.message.is_empty() {
                // Nothing can be done if nobody reads standard error either.
                let _ = writeln!(std::io::stderr(), "colibri-ctl: {fatal}");
            }
            fatal.code
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn act(cli: Cli) -> Result<()> {
    let out = Output::new(cli.json, Style::detect(cli.socket.as_deref()));
    match cli.command {
        Command::Fold(args) => return commands::fold(&args, &out),
        Command::Version => return commands::version(&out),
        Command::Top => {
            let path = cli.socket.unwrap_or_else(input::default_socket);
            return top::top(&path, cli.timeout, &out);
        }
        _ => {}
    }
    let command = input::complete(cli.command)?;
    let check = matches!(command, Command::Check { .. });
    let reached = connect(cli.socket, cli.timeout);
    match reached {
        Ok(client) => commands::dispatch(Session { client, out }, command),
        Err(e) if check => commands::unreachable(&out, &e),
        Err(e) => Err(e),
    }
}

/// Connects and confines: from here on only this socket and the standard streams are left.
fn connect(socket: Option<std::path::PathBuf>, timeout: u32) -> Result<Client> {
    let path = socket.unwrap_or_else(input::default_socket);
    confinement::close_inherited()?;
    let client = Client::connect(&path, Duration::from_secs(u64::from(timeout)))?;
    confinement::enter(client.descriptor())?;
    Ok(client)
}
