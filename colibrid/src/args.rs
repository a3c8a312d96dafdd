//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// The state daemon of the Colibri suite; see colibrid(8).
#[derive(Parser, Debug, Clone)]
#[command(name = "colibrid", version, disable_help_subcommand = true)]
pub struct Args {
    /// Stay in the foreground, without a keeper, and log to stderr
    #[arg(short = 'd')]
    pub foreground: bool,

    /// The config file
    #[arg(short = 'f', value_name = "FILE", default_value_os_t = libcolibri::config::default_file().to_owned())]
    pub file: PathBuf,

    /// Check the config and exit
    #[arg(short = 'n')]
    pub check: bool,

    /// Log more
    #[arg(short = 'v')]
    pub verbose: bool,

    /// Run the suite as the child of a keeper (for the keeper's own use)
    #[arg(short = 'K', hide = true)]
    pub kept: bool,

    /// End the runs that are alive, and leave (for the keeper's own use)
    #[arg(short = 'E', hide = true)]
    pub end: bool,
}

impl Args {
    /// The arguments with which the keeper starts the suite, without the program's name; with `end`
    /// it only ends what is alive.
    #[must_use]
    pub fn for_suite(&self, end: bool) -> Vec<std::ffi::CString> {
        use std::os::unix::ffi::OsStrExt;
        // An argument that came by exec has no NUL inside.
        let c = |s: &std::ffi::OsStr| std::ffi::CString::new(s.as_bytes()).unwrap_or_default();
        let mut out = vec![c("-K".as_ref()), c("-f".as_ref()), c(self.file.as_os_str())];
        if self.verbose {
            out.push(c("-v".as_ref()));
        }
        if end {
            out.push(c("-E".as_ref()));
        }
        out
    }
}
