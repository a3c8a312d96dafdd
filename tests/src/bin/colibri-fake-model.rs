//! The scripted model server as a program.
//!
//! `colibri-fake-model [--port N] [--agent-dir DIR] [-v]` prints one line with its base URL on
//! stdout and serves until it is killed. With `--agent-dir` it writes the settings of a Pi that
//! talks to it (`PI_CODING_AGENT_DIR=DIR pi --model fake/plain …`).

use colibri_tests::model::ModelServer;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("colibri-fake-model: {text}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let (mut port, mut dir, mut verbose) = (0, None, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--port" => {
                let text = args.next().ok_or("--port needs a number")?;
                port = text
                    .parse()
                    .map_err(|_| format!("{text} is not a port number"))?;
            }
            "--agent-dir" => dir = Some(args.next().ok_or("--agent-dir needs a directory")?),
            "-v" => verbose = true,
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    let server = ModelServer::start_on(port, verbose)
        .map_err(|e| format!("cannot listen on port {port}: {e}"))?;
    if let Some(dir) = dir {
        colibri_tests::pi::write_agent_dir(Path::new(&dir), &server.base_url(), None)
            .map_err(|e| format!("cannot write {dir}: {e}"))?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}", server.base_url())
        .and_then(|()| out.flush())
        .map_err(|e| format!("cannot write to stdout: {e}"))?;
    // The server works in its own threads; this one only has to stay.
    loop {
        std::thread::park();
    }
}
