//! The command line: `colibri-spawnd [-dv] [-f FILE] [-s PID]`, `-V`, or the hidden role `-M` of a monitor.

use std::ffi::OsString;
use std::path::PathBuf;

use libcolibri::config::default_file;
use libcolibri::error::{Fatal, Result, EX_USAGE};

use crate::monitor_args::{self, Args};

/// What this process was started as.
#[derive(Debug, PartialEq, Eq)]
pub enum Role {
    /// spawnd.
    Spawnd(Options),
    /// The monitor of a run.
    Monitor(Args),
    /// Nothing: it says its version.
    Version,
}

/// spawnd's options.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// `-f`: the config.
    pub file: PathBuf,
    /// `-d`: log to stderr.
    pub foreground: bool,
    /// `-v`: log details.
    pub verbose: bool,
    /// `-s`: the process of schedd.
    pub schedd: Option<i32>,
}

/// Reads the arguments, the program's name left out.
///
/// # Errors
/// Exit code 2.
pub fn parse(words: Vec<OsString>) -> Result<Role> {
    if words.first().is_some_and(|w| w == monitor_args::OPTION) {
        let texts: Option<Vec<String>> = words
            .into_iter()
            .skip(1)
            .map(|w| w.into_string().ok())
            .collect();
        let args = texts.as_deref().and_then(Args::parse);
        return args.map(Role::Monitor).ok_or_else(usage);
    }
    let mut options = Options {
        file: default_file().to_owned(),
        foreground: false,
        verbose: false,
        schedd: None,
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-d") => options.foreground = true,
            Some("-v") => options.verbose = true,
            Some("-V" | "--version") => return Ok(Role::Version),
            Some("-f") => options.file = words.next().ok_or_else(usage)?.into(),
            Some("-s") => options.schedd = Some(pid(words.next()).ok_or_else(usage)?),
            _ => return Err(usage()),
        }
    }
    Ok(Role::Spawnd(options))
}

/// Says which version this is.
///
/// # Errors
/// Never: it has the form of what else this program may do.
pub fn say_version() -> Result<()> {
    println!("colibri-spawnd {}", env!("CARGO_PKG_VERSION"));
    Ok(())
}

/// The number of a process, of one and not of many.
fn pid(word: Option<OsString>) -> Option<i32> {
    let pid = word?.to_str()?.parse().ok()?;
    (pid > 1).then_some(pid)
}

fn usage() -> Fatal {
    Fatal {
        code: EX_USAGE,
        message: "usage: colibri-spawnd [-dvV] [-f file] [-s pid] (started by colibrid)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<OsString> {
        list.iter().map(OsString::from).collect()
    }

    #[test]
    fn options_are_read_and_others_refused() {
        let Ok(Role::Spawnd(o)) = parse(words(&["-v", "-f", "/x", "-d", "-s", "70"])) else {
            panic!("refused");
        };
        assert_eq!((o.file, o.schedd), (PathBuf::from("/x"), Some(70)));
        assert!(o.verbose && o.foreground);
        assert_eq!(parse(words(&["-V"])).unwrap(), Role::Version);
        for bad in [
            &["-f"][..],
            &["-x"],
            &["file"],
            &["-M", "1"],
            &["-v", "-M"],
            &["-s"],
            &["-s", "x"],
            &["-s", "1"],
            &["-s", "-1"],
        ] {
            assert_eq!(parse(words(bad)).unwrap_err().code, EX_USAGE, "{bad:?}");
        }
    }
}
