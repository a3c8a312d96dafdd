//! The command line that colibrid gives; nobody else starts this program.

use std::path::PathBuf;

use libcolibri::error::{Fatal, Result, EX_USAGE};
use libcolibri::sys::Ids;

/// The options of colibri-schedd(8).
pub struct Args {
    /// Whom to become.
    pub ids: Option<Ids>,
    /// Log to standard error.
    pub foreground: bool,
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
            foreground: false,
            verbose: false,
            version: false,
            zones: "/usr/share/zoneinfo".into(),
        };
        while let Some(a) = args.next() {
            match a.as_str() {
                "-d" => out.foreground = true,
                "-v" => out.verbose = true,
                "-V" | "--version" => out.version = true,
                "-u" => {
                    let value = args.next().ok_or_else(usage)?;
                    let (uid, gid) = value.split_once(':').ok_or_else(usage)?;
                    let number = |s: &str| s.parse::<u32>().map_err(|_| usage());
                    let (uid, gid) = (number(uid)?, number(gid)?);
                    let groups = vec![gid];
                    out.ids = Some(Ids { uid, gid, groups });
                }
                "-z" => out.zones = args.next().ok_or_else(usage)?.into(),
                _ => return Err(usage()),
            }
        }
        Ok(out)
    }
}
