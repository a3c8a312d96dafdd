//! What the launcher tells the monitor through exec: numbers only, in the argument list.
//!
//! `colibri-spawnd: run -M RUN ATTEMPT MODE ON_SETTLED CONTAINER JOURNAL_LIMIT START_TIMEOUT CHILD
//! STEP ERRNO COLIBRID_UID LOG`. The environment is empty. Descriptors: see [`fd`].

use std::ffi::CString;

use libcolibri::config::OnSettled;
use libcolibri::msg::RunKey;
use libcolibri::record::Mode;
use libcolibri::state::Container;

use crate::steps::Step;

/// The descriptors of the monitor at its start; 0 and 1 are /dev/null, 2 is the log in the
/// foreground and /dev/null otherwise.
///
/// When a step failed, only [`fd::CHANNEL`] and [`fd::JOURNAL`] are certain to be there;
/// [`fd::LISTENER`] is unless binding or listening was what failed.
pub mod fd {
    use std::os::fd::RawFd;

    /// Socket to colibrid.
    pub const CHANNEL: RawFd = 3;
    /// The journal: empty, read and write, its lock held.
    pub const JOURNAL: RawFd = 4;
    /// Pipe to the agent's stdin.
    pub const STDIN: RawFd = 5;
    /// Pipe from the agent's stdout.
    pub const STDOUT: RawFd = 6;
    /// Pipe from the agent's stderr.
    pub const STDERR: RawFd = 7;
    /// The run's socket, listening.
    pub const LISTENER: RawFd = 8;
    /// Jail: its owning descriptor. Namespaces: the pipe on which the init says how the agent
    /// ended (two i32: 0 and the exit code, or 1 and the signal; end of file without them: it was
    /// killed together with the agent). Reaper: absent.
    pub const CONTAINER: RawFd = 9;
}

/// The option that makes this program a monitor.
pub const OPTION: &str = "-M";

/// Program name in the argument list; `ps` shows it until the monitor sets its title.
const ARGV0: &str = "colibri-spawnd: run";

/// Words after [`OPTION`].
const FIELDS: usize = 12;

/// Everything a monitor is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// Which run and attempt.
    pub key: RunKey,
    /// RPC or JSON.
    pub mode: Mode,
    /// What follows when the work has settled.
    pub on_settled: OnSettled,
    /// The container around the agent.
    pub container: Container,
    /// Size limit of the journal, in bytes.
    pub journal_limit: u64,
    /// Seconds from the start to the agent's first sign of life.
    pub start_timeout: u32,
    /// The monitor's one child: the agent, or the init of its namespace. 0 when a step failed.
    pub child: i32,
    /// The step that failed, with its errno; `None`: the agent was executed.
    pub failed: Option<(Step, i32)>,
    /// The user that may connect to the run's socket.
    pub colibrid_uid: u32,
    /// Log to stderr instead of syslog.
    pub foreground: bool,
    /// Log details.
    pub verbose: bool,
}

impl Args {
    /// The argument list.
    #[must_use]
    pub fn encode(&self) -> Vec<CString> {
        let (step, errno) = self.failed.map_or((0, 0), |(s, e)| (s.code(), e));
        let fields: [String; FIELDS] = [
            self.key.run.to_string(),
            self.key.attempt.to_string(),
            flag(self.mode == Mode::Json),
            flag(self.on_settled == OnSettled::Stay),
            self.container.code().to_string(),
            self.journal_limit.to_string(),
            self.start_timeout.to_string(),
            self.child.to_string(),
            step.to_string(),
            errno.to_string(),
            self.colibrid_uid.to_string(),
            (u8::from(self.foreground) | u8::from(self.verbose) << 1).to_string(),
        ];
        [ARGV0, OPTION]
            .into_iter()
            .chain(fields.iter().map(String::as_str))
            .filter_map(|s| CString::new(s).ok())
            .collect()
    }

    /// Reads the words after [`OPTION`]; `None` for a list that [`Args::encode`] does not write.
    #[must_use]
    pub fn parse(words: &[String]) -> Option<Args> {
        if words.len() != FIELDS {
            return None;
        }
        let number = |n: usize| words[n].parse::<u64>().ok();
        let small = |n: usize| words[n].parse::<u32>().ok();
        let bit = |n: usize| match number(n)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        let failed = match small(8)? {
            0 => None,
            code => Some((Step::from_code(code)?, words[9].parse().ok()?)),
        };
        let log = number(11).filter(|n| *n < 4)?;
        Some(Args {
            key: RunKey {
                run: number(0)?,
                attempt: number(1)?,
            },
            mode: if bit(2)? { Mode::Json } else { Mode::Rpc },
            on_settled: if bit(3)? {
                OnSettled::Stay
            } else {
                OnSettled::End
            },
            container: Container::from_code(words[4].parse().ok()?)?,
            journal_limit: number(5)?,
            start_timeout: small(6)?,
            child: words[7].parse().ok()?,
            failed,
            colibrid_uid: small(10)?,
            foreground: log & 1 != 0,
            verbose: log & 2 != 0,
        })
    }
}

fn flag(set: bool) -> String {
    u8::from(set).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Args {
        Args {
            key: RunKey {
                run: u64::MAX,
                attempt: 2,
            },
            mode: Mode::Json,
            on_settled: OnSettled::Stay,
            container: Container::UserNamespace,
            journal_limit: 3,
            start_timeout: 4,
            child: 5,
            failed: Some((Step::Execute, 2)),
            colibrid_uid: 6,
            foreground: true,
            verbose: false,
        }
    }

    fn words(args: &Args) -> Vec<String> {
        let all = args.encode();
        let texts = all.iter().map(|c| c.to_str().unwrap().to_owned());
        texts.skip(2).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let a = sample();
        assert_eq!(Args::parse(&words(&a)), Some(a.clone()));
        let b = Args {
            mode: Mode::Rpc,
            on_settled: OnSettled::End,
            failed: None,
            foreground: false,
            verbose: true,
            ..a
        };
        assert_eq!(Args::parse(&words(&b)), Some(b));
    }

    #[test]
    fn other_lists_are_refused() {
        let good = words(&sample());
        assert!(Args::parse(&good[1..]).is_none());
        for n in 0..good.len() {
            // No field takes a word, and none a number of this size but the 64-bit ones.
            let mut bad = good.clone();
            bad[n] = "x".into();
            // The errno is read only with a step, which the sample has.
            assert!(Args::parse(&bad).is_none(), "field {n}");
        }
    }
}
