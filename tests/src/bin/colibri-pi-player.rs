//! An agent that plays a recorded stream of the real Pi, in its own timing.
//!
//! `colibri-pi-player --mode rpc|json --trace FILE [--timing FILE] [--speed N] [--exit N]
//! [--signal N] [--each-prompt]`; other flags are ignored, so that it can stand where Pi stands in
//! a profile. In JSON mode it reads stdin to its end before the first byte; in RPC mode it plays
//! when a prompt comes (again at the next one) and ends at the end of stdin. A dialog waits for
//! its answer; what is played afterwards is what was recorded, whatever the answer was. `--exit`
//! with a number other than 0 and `--signal` end it right after the last line, as a crash does.
//! SIGTERM ends it with 143 and SIGHUP with 129, as Pi does.

use colibri_tests::player::{read_commands, Options, Player, Trace};
use nix::sys::signal::{kill, Signal};
use signal_hook::consts::{SIGHUP, SIGTERM};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::sync::Arc;

struct Args {
    rpc: bool,
    trace: PathBuf,
    timing: Option<PathBuf>,
    options: Options,
    exit: u8,
    signal: Option<Signal>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args {
        rpc: false,
        trace: PathBuf::new(),
        timing: None,
        options: Options {
            speed: 1.0,
            each_prompt: false,
        },
        exit: 0,
        signal: None,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--mode" => args.rpc = value()? == "rpc",
            "--trace" => args.trace = value()?.into(),
            "--timing" => args.timing = Some(value()?.into()),
            "--speed" => args.options.speed = number(&value()?)?,
            "--exit" => args.exit = number(&value()?)?,
            "--signal" => {
                let n: i32 = number(&value()?)?;
                args.signal =
                    Some(Signal::try_from(n).map_err(|_| format!("{n} is not a signal"))?);
            }
            "--each-prompt" => args.options.each_prompt = true,
            _ => {}
        }
    }
    if args.trace.as_os_str().is_empty() {
        return Err("--trace FILE is missing".into());
    }
    Ok(args)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{text} is not a number that fits"))
}

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(text) => {
            eprintln!("colibri-pi-player: {text}");
            return ExitCode::from(1);
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::from(args.exit),
        // Like Pi, whose reader has gone.
        Err(e) => {
            eprintln!("colibri-pi-player: {}: {e}", args.trace.display());
            ExitCode::from(1)
        }
    }
}

#[allow(clippy::disallowed_methods)] // an agent for tests: stdin is read beside the playing
fn run(args: &Args) -> io::Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(SIGTERM, 143, Arc::clone(&always))?;
    signal_hook::flag::register_conditional_shutdown(SIGHUP, 129, always)?;
    let trace = Trace::open(Path::new(&args.trace), args.timing.as_deref())?;
    let (send, input) = channel();
    let mut player = Player::new(&trace, io::stdout().lock(), input, args.options);
    if args.rpc {
        std::thread::spawn(move || read_commands(io::stdin().lock(), &send));
        player.rpc(args.exit != 0 || args.signal.is_some())?;
    } else {
        io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink())?;
        player.json()?;
        drop(send);
    }
    if let Some(signal) = args.signal {
        // The handlers above must not turn the signal into an exit.
        if signal_hook::low_level::emulate_default_handler(signal as i32).is_err() {
            kill(nix::unistd::getpid(), signal)?;
        }
    }
    Ok(())
}
