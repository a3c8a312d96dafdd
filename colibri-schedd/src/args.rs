//! The command line that colibrid gives; nobody else starts this program.

use std::path::PathBuf;

use libcolibri::error::{Fatal, Result, EX_USAGE};

/// The options of colibri-schedd(8).
pub struct Args {
    /// Whom to become.
    pub ids: Option<(u32, u32)>,
    /// Log to standard error.
    pub stderr: bool,
    /// Log more.
    pub verbose: bool,
    /// Say which version this is, and nothing else.
    pub version: bool,
    /// Where the time zones are.
    pub zones: PathBuf,
}

impl Args {
    /// Reads the options.
    ///
    /// # Errors
    /// Exit code 2 for any other.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Args> {
        let usage = || {
            Fatal {
            code: EX_USAGE,
            message:
                "usage: colibri-schedd [-dvV] [-u uid:gid] [-z directory] (started by colibrid only)"
                    .into(),
        }
        };
        let mut out = Args {
            ids: None,
            stderr: false,
            verbose: false,
            version: false,
            zones: "/usr/share/zoneinfo".into(),
        };
        while let Some(a) = args.next() {
            match a.as_str() {
                "-d" => out.stderr = true,
                "-v" => out.verbose = true,
                "-V" | "--version" => out.version = true,
                "-u" => {
                    let value = args.next().ok_or_else(usage)?;
                    let (uid, gid) = value.split_once(':').ok_or_else(usage)?;
                    let number = |s: &str| s.parse::<u32>().map_err(|_| usage());
                    out.ids = Some((number(uid)?, number(gid)?));
                }
                "-z" => out.zones = args.next().ok_or_else(usage)?.into(),
                _ => {
                    eprintln!("{}", usage().message);
                    return Err(usage());
                }
            }
        }
        Ok(out)
    }
}
