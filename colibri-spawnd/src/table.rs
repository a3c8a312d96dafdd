//! The resolved profiles: users as numbers, texts as C strings. Everything that can be wrong with
//! a profile is found here, at start, and nothing has to be looked up between fork and exec.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use libcolibri::config::{
    group_id, hash, AgentLimits, Config, Ids, OnSettled, Paths, Place, Profile,
};
use libcolibri::error::{Fatal, Result};
use libcolibri::record::Mode;
use libcolibri::state::{Accounting, Container};
use libcolibri::sys::cell::{self, RunLimits};
use libcolibri::sys::{self, Resource};
use nix::unistd::{getegid, geteuid};

/// Search path of the agents that their profile does not give one.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Longest path of a Unix socket, its NUL left out (FreeBSD's 104; Linux has 108).
const SOCKET_PATH_MAX: usize = 103;

/// Longest stem of a run: two numbers of 20 digits and a dash.
const STEM_MAX: usize = 41;

/// One profile, ready to be started.
pub struct Row {
    /// Its name, for the log.
    pub name: String,
    /// RPC or JSON.
    pub mode: Mode,
    /// What follows when the work has settled.
    pub on_settled: OnSettled,
    /// Seconds to the first sign of life.
    pub start_timeout: u32,
    /// Program and arguments; the first is the absolute path.
    pub argv: Vec<CString>,
    /// Environment but for TMPDIR and COLIBRI_RUN, which differ per run.
    pub env: Vec<(String, String)>,
    /// Whom to become; `None`: the agent runs as the caller.
    pub ids: Option<sys::Ids>,
    /// Owner of the run's TMPDIR: user and group of the agent.
    pub owner: (u32, u32),
    /// Working directory, as the agent sees it.
    pub cwd: PathBuf,
    /// rlimits, core dumps included.
    pub limits: Vec<(Resource, u64)>,
    /// Nice value.
    pub nice: i32,
    /// Host, jail or root.
    pub place: Place,
    /// Limits of all its processes together, where the system can.
    pub run_limits: RunLimits,
}

/// Everything spawnd knows.
pub struct Table {
    /// Hash of the config that it was made from.
    pub generation: u64,
    /// The profiles, in the order of the config.
    pub rows: Vec<Row>,
    /// The container that every run gets.
    pub container: Container,
    /// Whether a run can be limited as a whole.
    pub accounting: Accounting,
    /// Where things are.
    pub paths: Paths,
    /// Whom the launchers become; `None`: they stay the caller.
    pub monitor: Option<sys::Ids>,
    /// User and group of colibrid.
    pub colibrid: (u32, u32),
    /// Size limit of a journal.
    pub journal_limit: u64,
    /// The watchdog's socket.
    pub watchdog: Option<PathBuf>,
    /// hostd's socket.
    pub hostd: Option<PathBuf>,
    /// Log to stderr.
    pub foreground: bool,
    /// Log details.
    pub verbose: bool,
}

/// The users of the suite, if it has any.
struct Suite {
    colibrid: Ids,
    monitor: Ids,
    schedd: Ids,
}

impl Table {
    /// Resolves a config.
    ///
    /// # Errors
    /// Exit code 78: users that do not exist or must not run agents, places that this system or
    /// this user cannot provide.
    pub fn resolve(config: Config, foreground: bool, verbose: bool) -> Result<Table> {
        let root = geteuid().is_root();
        check_paths(&config.paths)?;
        let suite = match root && config.separate {
            true => Some(Suite {
                colibrid: Ids::lookup(&config.user_colibrid)?,
                monitor: Ids::lookup(&config.user_monitor)?,
                schedd: Ids::lookup(&config.user_schedd)?,
            }),
            false => None,
        };
        let container = sys::available_container(root);
        let rows = config
            .profiles
            .iter()
            .map(|p| row(p, root, suite.as_ref(), container))
            .collect::<Result<Vec<Row>>>()?;
        let own = (geteuid().as_raw(), getegid().as_raw());
        Ok(Table {
            generation: config.generation,
            rows,
            container,
            // Rules name the jail.
            accounting: match container {
                Container::Jail => cell::accounting(),
                _ => Accounting::Absent,
            },
            paths: config.paths,
            monitor: suite.as_ref().map(|s| bare(&s.monitor)),
            colibrid: suite.map_or(own, |s| (s.colibrid.uid, s.colibrid.gid)),
            journal_limit: config.limits.journal_bytes,
            watchdog: config.host.watchdog,
            hostd: config.host.hostd,
            foreground,
            verbose,
        })
    }

    /// The path of the TMPDIR of a run that has the host's root.
    #[must_use]
    pub fn tmpdir(&self, stem: &str) -> PathBuf {
        self.paths.tmp_dir.join(stem)
    }

    /// The TMPDIR of a run as its agent sees it.
    #[must_use]
    pub fn agent_tmpdir(&self, place: &Place, stem: &str) -> PathBuf {
        match place {
            Place::Host => self.tmpdir(stem),
            Place::Jail(_) | Place::Root(_) => tmpdir_inside(stem),
        }
    }

    /// The name of a run's jail. Names are the host's, and it may have several suites, each with
    /// a run 1: the run directory tells them apart.
    #[must_use]
    pub fn jail(&self, stem: &str) -> String {
        let suite = hash(self.paths.run_dir.as_os_str().as_encoded_bytes()) as u32;
        format!("colibri-{suite:08x}-{stem}")
    }

    /// The path of a run's socket.
    #[must_use]
    pub fn socket(&self, stem: &str) -> PathBuf {
        self.paths.run_sockets().join(format!("{stem}.sock"))
    }

    /// The path of a run's journal.
    #[must_use]
    pub fn journal(&self, stem: &str) -> PathBuf {
        self.paths.journals().join(format!("{stem}.journal"))
    }

    /// Overwrites every secret that the profiles may hold. For a forked child that lives on.
    pub fn wipe(&mut self) {
        for row in &mut self.rows {
            for (_, value) in &mut row.env {
                let mut bytes = std::mem::take(value).into_bytes();
                bytes.fill(0);
                // Otherwise the compiler may leave out a write that nobody reads.
                std::hint::black_box(&bytes);
            }
        }
    }
}

/// The TMPDIR of a run in a root of its own, seen from inside. The agent's process makes it with the
/// agent's rights: what is below such a root is no business of a process with root's.
#[must_use]
pub fn tmpdir_inside(stem: &str) -> PathBuf {
    PathBuf::from(format!("/tmp/colibri-{stem}"))
}

/// Directories that hide each other, or names that the system cannot take.
fn check_paths(paths: &Paths) -> Result<()> {
    for (what, dir) in [("run_dir", &paths.run_dir), ("state_dir", &paths.state_dir)] {
        if paths.tmp_dir.starts_with(dir) {
            return Err(Fatal::config(format!(
                "suite.tmp_dir: must not be below suite.{what}, which agents do not see"
            )));
        }
    }
    let sockets = paths.run_sockets();
    // "/", the stem and ".sock".
    if sockets.as_os_str().len() + 1 + STEM_MAX + 5 > SOCKET_PATH_MAX {
        return Err(Fatal::config(format!(
            "suite.run_dir: {} is too long: sockets below it would have no valid name",
            paths.run_dir.display()
        )));
    }
    Ok(())
}

fn bare(ids: &Ids) -> sys::Ids {
    sys::Ids {
        uid: ids.uid,
        gid: ids.gid,
        groups: ids.groups.clone(),
    }
}

fn row(p: &Profile, root: bool, suite: Option<&Suite>, container: Container) -> Result<Row> {
    let bad =
        |field: &str, what: &str| Fatal::config(format!("profile.{}.{field}: {what}", p.name));
    if p.place != Place::Host && container != Container::Jail {
        return Err(bad("jail", "needs root on FreeBSD 15"));
    }
    if let Place::Root(root) = &p.place {
        check_root(root).map_err(|what| bad("root", what))?;
    }
    let (ids, person) = user(p, root, suite).map_err(|(field, what)| bad(field, &what))?;
    let c_string = |s: &String| CString::new(s.as_str()).map_err(|_| bad("command", "holds NUL"));
    let argv = p.command.iter().map(c_string).collect::<Result<_>>()?;
    Ok(Row {
        name: p.name.clone(),
        mode: p.mode,
        on_settled: p.on_settled,
        start_timeout: p.start_timeout,
        argv,
        env: environment(p, &person),
        ids,
        owner: (person.uid, person.gid),
        cwd: p.cwd.clone(),
        limits: limits(&p.limits),
        nice: p.nice,
        place: p.place.clone(),
        run_limits: p.run_limits,
    })
}

/// Whoever can change a root from the host can lead root's own steps elsewhere.
fn check_root(root: &Path) -> std::result::Result<(), &'static str> {
    match std::fs::symlink_metadata(root) {
        Ok(m) if !m.is_dir() => Err("must be a directory"),
        Ok(m) if m.uid() != 0 || m.mode() & 0o022 != 0 => {
            Err("must belong to root and be writable by nobody else")
        }
        Ok(_) => Ok(()),
        Err(_) => Err("must be a directory that exists"),
    }
}

type Wrong = (&'static str, String);

/// Whom the agent becomes, and who that is.
fn user(
    p: &Profile,
    root: bool,
    suite: Option<&Suite>,
) -> std::result::Result<(Option<sys::Ids>, Ids), Wrong> {
    let Some(name) = &p.user else {
        if suite.is_some() {
            return Err(("user", "is needed: no agent runs as root".into()));
        }
        if !p.groups.is_empty() {
            return Err(("groups", "need a user, too".into()));
        }
        return Ok((None, Ids::own()));
    };
    let mut person = Ids::lookup(name).map_err(|f| ("user", f.message))?;
    for g in &p.groups {
        let gid = group_id(g).map_err(|f| ("groups", f.message))?;
        person.groups.push(gid);
    }
    if !root {
        if person.uid != geteuid().as_raw() {
            return Err(("user", "only root can start agents as somebody else".into()));
        }
        if !p.groups.is_empty() {
            return Err(("groups", "only root can give groups".into()));
        }
        return Ok((None, person));
    }
    if let Some(suite) = suite {
        not_ours(&person, suite)?;
    } else if person.uid == 0 {
        return Ok((None, person));
    }
    Ok((Some(bare(&person)), person))
}

/// An agent with root or with one of the suite's own users or groups could touch the suite.
fn not_ours(person: &Ids, suite: &Suite) -> std::result::Result<(), Wrong> {
    let ours = [&suite.colibrid, &suite.monitor, &suite.schedd];
    if person.uid == 0 {
        return Err(("user", "must not be root".into()));
    }
    if ours.iter().any(|o| o.uid == person.uid) {
        return Err(("user", "must not be one of Colibri's own users".into()));
    }
    for gid in person.groups.iter().chain([&person.gid]) {
        if *gid == 0 || ours.iter().any(|o| o.gid == *gid) {
            let what = format!("group {gid} is root's or Colibri's own");
            return Err(("groups", what));
        }
    }
    Ok(())
}

/// The defaults, then the profile's own, which win.
fn environment(p: &Profile, person: &Ids) -> Vec<(String, String)> {
    let defaults = [
        ("PATH", PATH),
        ("HOME", person.home.as_str()),
        ("USER", person.name.as_str()),
        ("LOGNAME", person.name.as_str()),
        ("SHELL", "/bin/sh"),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
        // No look for updates and no telemetry at start: an agent's work needs neither.
        ("PI_OFFLINE", "1"),
        ("PI_TELEMETRY", "0"),
        ("PI_SKIP_VERSION_CHECK", "1"),
    ];
    let own = p.env.iter().map(|(k, v)| (k.clone(), v.clone()));
    defaults
        .iter()
        .filter(|(k, _)| !p.env.contains_key(*k))
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .chain(own)
        .collect()
}

fn limits(l: &AgentLimits) -> Vec<(Resource, u64)> {
    let wanted = [
        (Resource::RLIMIT_NOFILE, l.open_files),
        (Resource::RLIMIT_NPROC, l.processes),
        (Resource::RLIMIT_FSIZE, l.file_bytes),
        (Resource::RLIMIT_CPU, l.cpu_seconds),
        (Resource::RLIMIT_CORE, Some(0)),
    ];
    wanted
        .iter()
        .filter_map(|(r, v)| v.map(|v| (*r, v)))
        .collect()
}

/// The paths that agents must not see.
#[must_use]
pub fn hidden(paths: &Paths) -> [&Path; 2] {
    [&paths.run_dir, &paths.state_dir]
}
