//! colibri-ctl

use clap::{Parser, Subcommand};

mod fold;

#[derive(Parser)]
#[command(name = "colibri-ctl", version)]
struct Args {
    /// JSON instead of text
    #[arg(short, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fold a recorded Pi stream offline
    Fold(fold::FoldArgs),
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    let Command::Fold(fold) = &args.command;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let done = fold::run(fold, args.json, &mut out)
        .and_then(|()| std::io::Write::flush(&mut out).map_err(|e| e.to_string()));
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("colibri-ctl: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
