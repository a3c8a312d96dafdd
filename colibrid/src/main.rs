//! colibrid: state, policy, the public socket. See colibrid(8).
//!
//! This file is the daemon's privilege story, from top to bottom: the keeper, which knows
//! nothing; then, in a process of its own, a look at the database, what is opened as root, the
//! other daemons, the drop, the files opened without root, confinement, the loop.

use clap::Parser;
use colibrid::{args, engine, keeper, start, store};
use libcolibri::config::Config;
use libcolibri::error::{Result, EX_OK};

fn main() {
    let args = args::Args::parse();
    let code = match run(&args) {
        Ok(code) => code,
        Err(fatal) => libcolibri::log::last_word("colibrid", &fatal),
    };
    std::process::exit(code);
}

fn run(args: &args::Args) -> Result<i32> {
    if args.check {
        let config = Config::load(&args.file)?;
        start::resolve(&config)?;
        println!("{}: configuration OK", args.file.display());
        return Ok(EX_OK);
    }
    start::close_strangers(args)?; // what the caller left open is nobody's here
    if !args.foreground && !args.kept {
        return keeper::start(args);
    }
    let config = Config::load(&args.file)?;
    let names = start::resolve(&config)?;
    start::check_database(&config, &names)?; // by a process without root: of a newer build?
    let ground = start::prepare(args, &config, &names)?; // directories, lock, log
    let children = start::children(args, &config, &names, &ground)?; // spawnd and schedd
    let public = start::public_socket(&config)?;
    start::drop_root(&config, &names)?;
    let store = store::Store::open(&config.paths)?; // SQLite, recovered and primed
    let mut engine = engine::Engine::new(config, names, ground, children, public, store)?;
    let confined = engine.confine()?;
    engine.run(confined)
}
