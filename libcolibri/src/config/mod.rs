//! The config file, colibri.conf(5): TOML, read once by colibrid and once by spawnd, each from
//! the file itself. An error names the file, the line and the field.

mod added;
mod board;
mod host;
mod hours;
mod limits;
mod raw;
mod schedule;
mod users;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{cannot, Fatal, Result};
use crate::record::Mode;
use crate::schedule::Schedule;
use crate::sys::cell::RunLimits;

pub use added::AddedAgent;
pub use board::{Agent, Board, Holder, Intake, AGENTS_MAX, CAPABILITIES_MAX};
pub use host::{Host, Leave};
pub use hours::Hours;
pub use users::{group_id, Ids, Role, RoleTable, Roles, Subject};

/// Largest config file, in bytes.
pub const FILE_MAX: u64 = 1024 * 1024;
/// Most profiles.
pub const PROFILES_MAX: usize = 1024;
/// Longest profile name, in bytes.
pub const NAME_MAX: usize = 64;

/// Where things are. All absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Sockets, the pid file, spawnd's notes: `/var/run/colibri`.
    pub run_dir: PathBuf,
    /// Database and journals: `/var/db/colibri`.
    pub state_dir: PathBuf,
    /// Parent of the runs' own temporary directories: `/var/tmp/colibri`.
    pub tmp_dir: PathBuf,
    /// The time zones: `/usr/share/zoneinfo`.
    pub zoneinfo: PathBuf,
}

impl Paths {
    /// The public socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("colibri.sock")
    }

    /// The pid file, locked while any daemon of the suite lives.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.run_dir.join("colibrid.pid")
    }

    /// Directory of the monitors' sockets.
    #[must_use]
    pub fn run_sockets(&self) -> PathBuf {
        self.run_dir.join("runs")
    }

    /// spawnd's notes about the runs it started; nobody else reads them.
    #[must_use]
    pub fn notes(&self) -> PathBuf {
        self.run_dir.join("spawnd")
    }

    /// Directory of the journals.
    #[must_use]
    pub fn journals(&self) -> PathBuf {
        self.state_dir.join("runs")
    }

    /// Directory of the database.
    #[must_use]
    pub fn database_dir(&self) -> PathBuf {
        self.state_dir.join("db")
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.database_dir().join("colibri.sqlite")
    }
}

/// What is bounded, each by one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Runs alive at once.
    pub runs: u32,
    /// Newest runs that are remembered, with their journals.
    pub runs_kept: u64,
    /// Connections to the public socket at once.
    pub clients: u32,
    /// Of these, by one user.
    pub clients_per_user: u32,
    /// Bytes that all connections together may have colibrid hold for them.
    pub client_memory: u64,
    /// Requests a second by one connection, with a burst of twice that.
    pub requests_per_second: u32,
    /// Events kept for subscribers.
    pub events: u64,
    /// Size of one run's journal, in bytes.
    pub journal_bytes: u64,
    /// Tasks that have not ended.
    pub tasks: u64,
    /// Newest tasks that are remembered once they have ended.
    pub tasks_kept: u64,
    /// Entries of the audit log that are kept.
    pub audit: u64,
    /// Schedules that are not retired.
    pub schedules: u64,
    /// Newest occurrences of each schedule that are remembered.
    pub occurrences_kept: u64,
}

/// Resource limits of an agent's processes; `None` leaves the system's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentLimits {
    /// Open files per process.
    pub open_files: Option<u64>,
    /// Processes of the user (the limit is the user's, so runs that share a user share it).
    pub processes: Option<u64>,
    /// Largest file, in bytes.
    pub file_bytes: Option<u64>,
    /// CPU seconds per process.
    pub cpu_seconds: Option<u64>,
}

/// What follows when an agent has finished its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSettled {
    /// The run ends.
    End,
    /// The agent stays and can be given more.
    Stay,
}

/// Where an agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On the host, in a container that shares its root and network.
    Host,
    /// Inside a child of this jail, which somebody else manages (FreeBSD).
    Jail(String),
    /// In a jail of its own with this root (FreeBSD).
    Root(PathBuf),
}

/// A named way to run an agent: everything that never crosses the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// The agent's name on the glasspane.
    pub agent: String,
    /// RPC or JSON.
    pub mode: Mode,
    /// Program (absolute) and arguments, the mode's option included.
    pub command: Vec<String>,
    /// The user it runs as; `None` = the caller (a suite without root only).
    pub user: Option<String>,
    /// Supplementary groups.
    pub groups: Vec<String>,
    /// Working directory, as the agent sees it.
    pub cwd: PathBuf,
    /// Environment beyond the defaults.
    pub env: BTreeMap<String, String>,
    /// Where.
    pub place: Place,
    /// Nice value, at least 10 (an agent must not starve its supervisor).
    pub nice: i32,
    /// rlimits.
    pub limits: AgentLimits,
    /// Runs of it alive at once; `None` = as many as the suite allows.
    pub runs: Option<u32>,
    /// Limits of all its processes together.
    pub run_limits: RunLimits,
    /// What follows when the work has settled.
    pub on_settled: OnSettled,
    /// Seconds from the start to the first sign of life.
    pub start_timeout: u32,
    /// Quiet seconds after which a working agent is shown as stalled.
    pub stall_after: u32,
    /// Seconds from asking to SIGTERM, and again to SIGKILL.
    pub stop_grace: u32,
}

/// The whole config, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// Hash of the file's bytes: colibrid and spawnd must have read the same.
    pub generation: u64,
    /// Where things are.
    pub paths: Paths,
    /// Whether the daemons take users of their own (needs root).
    pub separate: bool,
    /// User of colibrid.
    pub user_colibrid: String,
    /// User of the monitors.
    pub user_monitor: String,
    /// User of schedd.
    pub user_schedd: String,
    /// Who may do what on the public socket.
    pub roles: Roles,
    /// Limits.
    pub limits: Limits,
    /// Profiles by name; their index is what crosses the wire.
    pub profiles: Vec<Profile>,
    /// Agents that take tasks, by name.
    pub agents: Vec<Agent>,
    /// How tasks are tried and tried again.
    pub board: Board,
    /// Which chats may do what.
    pub intake: Intake,
    /// Who is in charge of the host.
    pub host: Host,
    /// Declared schedules, by name.
    pub schedules: Vec<(String, Schedule)>,
}

/// The default place of the config.
#[must_use]
pub fn default_file() -> &'static Path {
    Path::new(crate::sys::CONFIG_FILE)
}

impl Config {
    /// Reads and checks a config file.
    ///
    /// # Errors
    /// Exit code 78 for whatever is wrong with it; as root also a file that others may write.
    pub fn load(file: &Path) -> Result<Config> {
        let as_config = |f: Fatal| Fatal::config(f.message);
        let open = |e| as_config(cannot("open", file, &e));
        let handle = fs::File::open(file).map_err(open)?;
        let meta = handle.metadata().map_err(open)?;
        if nix::unistd::geteuid().is_root() && (meta.uid() != 0 || meta.mode() & 0o022 != 0) {
            return Err(Fatal::config(format!(
                "{}: must belong to root and be writable by nobody else: it says what root starts",
                file.display()
            )));
        }
        let mut text = Vec::new();
        handle
            .take(FILE_MAX + 1)
            .read_to_end(&mut text)
            .map_err(|e| as_config(cannot("read", file, &e)))?;
        if text.len() as u64 > FILE_MAX {
            return Err(Fatal::config(format!(
                "{}: larger than {FILE_MAX} bytes",
                file.display()
            )));
        }
        Config::parse(file, &text)
    }

    /// Checks the text of a config; `file` is for messages.
    ///
    /// # Errors
    /// Exit code 78; the message names file, line and field.
    pub fn parse(file: &Path, text: &[u8]) -> Result<Config> {
        raw::parse(file, text).map_err(Fatal::config)
    }

    /// The profile of a name, with its index.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<(u32, &Profile)> {
        let at = self.profiles.iter().position(|p| p.name == name)?;
        Some((at as u32, &self.profiles[at]))
    }

    /// The agent of a name.
    #[must_use]
    pub fn agent(&self, name: &str) -> Option<&Agent> {
        self.agents.iter().find(|a| a.name == name)
    }
}

/// What is wrong with a text that is no name.
const NAME: &str = "must be 1 to 64 letters, digits, dots, dashes or underscores";

/// Whether a text is the name of a profile, an agent or a capability.
#[must_use]
pub fn is_name(s: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    !s.is_empty() && s.len() <= NAME_MAX && s.bytes().all(ok)
}

/// FNV-1a, 64 bits: tells two config files apart; no defence against design.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    })
}
