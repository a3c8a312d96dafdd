//! The command line of skills.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::skills::Bundle;

/// What to do with skills.
#[derive(Debug, Subcommand)]
pub enum SkillCommand {
    /// Take skills and artifacts in from directories
    Import(ImportArgs),
    /// The skills and artifacts that there are
    List,
    /// Everything about one: files, versions, tasks that were given it
    Show(ShowArgs),
    /// The skills and artifacts that hold all of these words
    Search {
        /// Words
        #[arg(required = true)]
        words: Vec<String>,
        /// At most so many
        #[arg(
            short, long, value_name = "N", default_value_t = 20,
            value_parser = clap::value_parser!(u32).range(1..=1000)
        )]
        number: u32,
    },
}

/// Arguments of `skill import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Where to look for SKILL.md and run_manifest.json
    #[arg(required = true, value_name = "DIRECTORY")]
    pub directories: Vec<PathBuf>,
    /// What was found there.
    #[arg(skip)]
    pub bundles: Vec<Bundle>,
}

/// Arguments of `skill show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its name
    pub skill: String,
    /// Another version than the one that counts
    #[arg(value_name = "VERSION")]
    pub number: Option<u64>,
    /// Print what its files hold, too
    #[arg(short = 'x', long)]
    pub text: bool,
}
