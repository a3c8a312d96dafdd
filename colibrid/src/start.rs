//! Everything that needs names or root, in the order of main.rs: a look at the database,
//! directories, the lock, the other daemons, the public socket, the drop.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use libcolibri::chan;
use libcolibri::config::{group_id, Config, Holder, Ids, RoleTable, Subject};
use libcolibri::error::{cannot, Context, Fatal, Result, EX_OK};
use libcolibri::log::{self, Target};
use libcolibri::signals::Signals;
use libcolibri::sys::{self, Fork, Signal};
use libcolibri::{info, warn};
use nix::poll::PollTimeout;
use nix::sys::stat::{umask, Mode};
use nix::sys::wait::waitpid;
use nix::unistd::{chown, geteuid, Gid, Pid, Uid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::args::Args;
use crate::{keeper, store};

/// How long an earlier suite has to be gone: its daemons exit as soon as they lose a peer.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Names turned into numbers while there is a user database.
pub struct Names {
    /// Whether the daemons have users of their own.
    pub separate: bool,
    /// colibrid.
    pub colibrid: Ids,
    /// The monitors.
    pub monitor: Ids,
    /// schedd.
    pub schedd: Ids,
    /// Roles on the public socket.
    pub roles: RoleTable,
    /// Who speaks for each external agent.
    pub agents: BTreeMap<String, Vec<u32>>,
    /// Host name, for snapshots.
    pub host: String,
}

/// What was opened with root's rights.
pub struct Ground {
    /// The pid file; its lock is shared with spawnd.
    pub pid_file: File,
    /// The run directory, to remove socket and pid file at the end.
    pub run_dir: OwnedFd,
    /// Closes when the keeper dies; `None` when there is none.
    pub keeper: Option<OwnedFd>,
    /// Takes one byte when the suite is ready.
    pub ready: Option<OwnedFd>,
    /// What came since there was something to clean up.
    pub signals: Signals,
}

/// The ends of the channels to the daemons that were started.
pub struct Children {
    /// To spawnd.
    pub spawnd: OwnedFd,
    /// Its process id.
    pub spawnd_pid: i32,
    /// To schedd.
    pub schedd: OwnedFd,
    /// Its process id.
    pub schedd_pid: i32,
}

/// Closes whatever descriptors the caller left open, but for stdio and what a keeper passes.
///
/// # Errors
/// When the system refuses.
pub fn close_strangers(args: &Args) -> Result<()> {
    let first = if args.kept { keeper::READY_FD } else { 2 } + 1;
    sys::close_from(first).or_fatal("close what the caller left open")
}

/// Looks up every name of the config.
///
/// # Errors
/// Exit code 78 for a user or group that the system does not have.
pub fn resolve(config: &Config) -> Result<Names> {
    let separate = config.separate && geteuid().is_root();
    let ids = |name: &str| {
        if separate {
            Ids::lookup(name)
        } else {
            Ok(Ids::own())
        }
    };
    let names = Names {
        separate,
        colibrid: ids(&config.user_colibrid)?,
        monitor: ids(&config.user_monitor)?,
        schedd: ids(&config.user_schedd)?,
        roles: config.roles.resolve()?,
        agents: speakers(config)?,
        host: nix::unistd::gethostname()
            .ok()
            .and_then(|h| h.into_string().ok())
            .unwrap_or_else(|| "unknown".into()),
    };
    let own = [&names.colibrid, &names.monitor, &names.schedd];
    if separate && own.iter().any(|i| i.uid == 0) {
        return Err(Fatal::config("users: none of them may be root"));
    }
    for p in &config.profiles {
        check_profile(config, &names, p)?;
    }
    Ok(names)
}

/// The users of each external agent, by number.
fn speakers(config: &Config) -> Result<BTreeMap<String, Vec<u32>>> {
    let mut all = BTreeMap::new();
    for agent in &config.agents {
        if let Holder::External(users) = &agent.holder {
            let mut uids = Vec::with_capacity(users.len());
            for user in users {
                match user {
                    Subject::Uid(n) => uids.push(*n),
                    Subject::User(name) => uids.push(Ids::lookup(name)?.uid),
                    // The config has none.
                    Subject::Group(_) | Subject::Gid(_) => {}
                }
            }
            all.insert(agent.name.clone(), uids);
        }
    }
    Ok(all)
}

fn check_profile(config: &Config, names: &Names, p: &libcolibri::config::Profile) -> Result<()> {
    let bad = |what: &str| {
        let file = config.file.display();
        Err(Fatal::config(format!("{file}: profile.{}.{what}", p.name)))
    };
    for g in &p.groups {
        group_id(g)?;
    }
    let Some(user) = &p.user else {
        return if names.separate {
            bad("user: missing; a suite that runs as root must say as whom its agents run")
        } else {
            Ok(())
        };
    };
    let ids = Ids::lookup(user)?;
    if !names.separate {
        return if ids.uid == geteuid().as_raw() {
            Ok(())
        } else {
            bad("user: another user than the caller's needs a suite that runs as root")
        };
    }
    if ids.uid == 0 {
        return bad("user: an agent must not run as root");
    }
    if [&names.colibrid, &names.monitor, &names.schedd]
        .iter()
        .any(|i| i.uid == ids.uid)
    {
        return bad("user: an agent must not run as one of Colibri's own users");
    }
    Ok(())
}

/// Refuses the database of a newer build before anything is touched. A process of its own looks, as
/// colibrid's user; while a suite has the database open, it sees nothing, and [`prepare`] finds that
/// suite's lock.
///
/// # Errors
/// When the schema is newer, or the system refuses.
pub fn check_database(config: &Config, names: &Names) -> Result<()> {
    let path = config.paths.database();
    let (mut ours, mut theirs) = io::pipe().or_fatal("make a pipe")?;
    match sys::fork().or_fatal("fork")? {
        Fork::Child => {
            let seen = become_colibrid(names)
                .ok()
                .and_then(|()| store::schema(&path));
            // Nothing to tell is told by the pipe's end.
            let _ = seen.map(|version| theirs.write_all(&version.to_le_bytes()));
            sys::exit_now(EX_OK)
        }
        Fork::Parent(pid) => {
            drop(theirs);
            let mut version = [0; 8];
            let seen = ours.read_exact(&mut version).is_ok();
            // Where SIGCHLD is ignored there is nobody to wait for; the pipe's end has told all.
            let _ = waitpid(Pid::from_raw(pid), None);
            match seen {
                true => store::check_schema(&path, i64::from_le_bytes(version)),
                false => Ok(()),
            }
        }
    }
}

/// Makes the directories, takes the lock, starts the log.
///
/// # Errors
/// When another suite runs there, or the system refuses.
pub fn prepare(args: &Args, config: &Config, names: &Names) -> Result<Ground> {
    let (keeper, ready) = if args.kept {
        let keeper = sys::inherit(keeper::KEEPER_FD).or_fatal("use the keeper's pipe")?;
        let ready = sys::inherit(keeper::READY_FD).or_fatal("use the readiness pipe")?;
        (Some(keeper), Some(ready))
    } else {
        (None, None)
    };
    start_log(args);
    // New files are nobody else's business unless a mode says so.
    umask(Mode::from_bits_truncate(0o077));
    directories(config, names)?;
    let pid_file = lock(config)?;
    // From here on, an end that is asked for is an orderly one.
    let signals = Signals::new(&[SIGTERM, SIGINT, SIGHUP, SIGCHLD]).or_fatal("set up signals")?;
    if args.end {
        // As if it had been asked for just now.
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).or_fatal("end the runs")?;
    }
    let run_dir = open_dir(&config.paths.run_dir)?;
    write_pid(&pid_file, keeper.is_some())
        .map_err(|e| cannot("write", &config.paths.pid_file(), &e))?;
    Ok(Ground {
        pid_file,
        run_dir,
        keeper,
        ready,
        signals,
    })
}

fn start_log(args: &Args) {
    if log::init("colibrid", Target::of(args.foreground), args.verbose).is_err() {
        // No syslogd is no reason not to run; stderr goes to the starting command at least.
        let _ = log::init("colibrid", Target::Stderr, args.verbose);
        warn!("cannot reach syslogd: logging to stderr");
    }
}

fn directories(config: &Config, names: &Names) -> Result<()> {
    let p = &config.paths;
    let colibrid = Some((names.colibrid.uid, names.colibrid.gid));
    let monitor = Some((names.monitor.uid, names.monitor.gid));
    let root = Some((0, 0));
    let rows = [
        // colibrid removes its socket and pid file from here when it ends.
        (p.run_dir.clone(), 0o755, colibrid),
        // Monitors bind here; colibrid, in their group, passes through.
        (p.run_sockets(), 0o710, monitor),
        (p.notes(), 0o700, root),
        (p.state_dir.clone(), 0o711, root),
        (p.database_dir(), 0o700, colibrid),
        // spawnd makes the journals, colibrid reads and expires them.
        (p.journals(), 0o700, colibrid),
        // Agents reach their own directory through here, and see no other name.
        (p.tmp_dir.clone(), 0o711, root),
    ];
    for (path, mode, owner) in rows {
        directory(&path, mode, owner.filter(|_| names.separate))?;
    }
    Ok(())
}

/// Makes a directory or checks an existing one, which must be a real directory of the expected
/// owner that nobody else can write: what root uses by name must not be changed by others.
fn directory(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    let made = match fs::DirBuilder::new()
        .mode(mode)
        .recursive(false)
        .create(path)
    {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
        Err(e) => return Err(cannot("make directory", path, &e)),
    };
    let meta = fs::symlink_metadata(path).map_err(|e| cannot("look at", path, &e))?;
    if !meta.is_dir() {
        return Err(Fatal::new(format!("{} is not a directory", path.display())));
    }
    let expected = owner.map_or(geteuid().as_raw(), |(uid, _)| uid);
    if let (true, Some((uid, gid))) = (made || meta.uid() == 0, owner) {
        chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|e| cannot("give away", path, &e.into()))?;
    } else if meta.uid() != expected {
        return Err(Fatal::new(format!(
            "{} belongs to user {}, expected {expected}",
            path.display(),
            meta.uid()
        )));
    }
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
        .map_err(|e| cannot("set the mode of", path, &e))
}

/// Takes the suite's lock. colibrid and spawnd share it: it is free only when none of an earlier
/// suite is left that could still start something or write the database.
fn lock(config: &Config) -> Result<File> {
    let path = config.paths.pid_file();
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|e| cannot("open", &path, &e))?;
        let locked =
            sys::flock_exclusive_nb(file.as_fd()).map_err(|e| cannot("lock", &path, &e))?;
        if locked && is_at(&file, &path) {
            return Ok(file);
        }
        if !locked {
            if UnixStream::connect(config.paths.socket()).is_ok() {
                return Err(Fatal::new(format!(
                    "already running: {} answers",
                    config.paths.socket().display()
                )));
            }
            if Instant::now() >= until {
                return Err(Fatal::new(format!(
                    "already running: {} is locked",
                    path.display()
                )));
            }
            // There is no event for a lock that becomes free, and this happens only while an
            // earlier suite is on its way out.
            let _ = nix::poll::poll(&mut [], PollTimeout::from(10u8));
        }
    }
}

/// Whether `path` still names the file: a suite on its way out removes its pid file last.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Writes into the pid file whom to signal: the keeper, or without one this process.
///
/// # Errors
/// When the file cannot be written.
pub fn write_pid(mut file: &File, kept: bool) -> io::Result<()> {
    let pid = if kept {
        nix::unistd::getppid()
    } else {
        nix::unistd::getpid()
    };
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{pid}")
}

/// Binds the public socket. Whoever listens there holds the lock, so a socket that is left over
/// belongs to nobody; it is probed all the same before it is removed. No other process may ever have
/// the listener: while one did, the socket of a killed colibrid would still answer.
///
/// # Errors
/// When somebody answers there, or the system refuses.
pub fn public_socket(config: &Config) -> Result<UnixListener> {
    let path = config.paths.socket();
    if UnixStream::connect(&path).is_ok() {
        return Err(Fatal::new(format!(
            "already running: {} answers",
            path.display()
        )));
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot("remove", &path, &e)),
        _ => {}
    }
    // Anybody may connect; what somebody may do is decided by the kernel's word on who it is.
    let old = umask(Mode::from_bits_truncate(0o111));
    let listener = UnixListener::bind(&path);
    umask(old);
    let listener = listener.map_err(|e| cannot("bind", &path, &e))?;
    listener
        .set_nonblocking(true)
        .or_fatal("set up the public socket")?;
    Ok(listener)
}

/// Opens a directory for use after confinement.
///
/// # Errors
/// When it cannot be opened.
pub fn open_dir(path: &Path) -> Result<OwnedFd> {
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
        .open(path)
        .map_err(|e| cannot("open", path, &e))?;
    Ok(file.into())
}

/// Starts spawnd and schedd: the process graph of the suite.
///
/// # Errors
/// When a program is missing or the system refuses.
pub fn children(args: &Args, config: &Config, names: &Names, ground: &Ground) -> Result<Children> {
    let own = std::env::current_exe().or_fatal("find my own program")?;
    let dir = own.parent().unwrap_or(Path::new("/"));
    let c = |s: &[u8]| CString::new(s).map_err(|_| Fatal::new("an argument has a NUL byte"));
    let mut flags = Vec::new();
    if args.foreground {
        flags.push(c(b"-d")?);
    }
    if args.verbose {
        flags.push(c(b"-v")?);
    }

    let program = c(dir.join("colibri-schedd").as_os_str().as_bytes())?;
    let mut argv = vec![program.clone()];
    if names.separate {
        let ids = format!("{}:{}", names.schedd.uid, names.schedd.gid);
        argv.extend([c(b"-u")?, c(ids.as_bytes())?]);
    }
    let zones = config.paths.zoneinfo.as_os_str().as_bytes();
    argv.extend([c(b"-z")?, c(zones)?]);
    argv.extend(flags.iter().cloned());
    let (schedd_pid, schedd) = start(&program, &argv, None)?;

    let program = c(dir.join("colibri-spawnd").as_os_str().as_bytes())?;
    let file = c(config.file.as_os_str().as_bytes())?;
    let mut argv = vec![program.clone(), c(b"-f")?, file];
    // We could not kill schedd ourselves, once we are another user.
    argv.extend([c(b"-s")?, c(schedd_pid.to_string().as_bytes())?]);
    argv.extend(flags);
    // It can start something: as long as it lives no other suite may.
    let (spawnd_pid, spawnd) = start(&program, &argv, Some(ground.pid_file.as_fd()))?;
    Ok(Children {
        spawnd,
        spawnd_pid,
        schedd,
        schedd_pid,
    })
}

/// Fork and exec of one daemon: descriptor 3 is its channel, 4 the suite's lock if it gets that,
/// nothing else but stdio; the environment is empty.
fn start(
    program: &CString,
    argv: &[CString],
    lock: Option<BorrowedFd<'_>>,
) -> Result<(i32, OwnedFd)> {
    let (ours, theirs) = chan::pair().or_fatal("make a socket pair")?;
    match sys::fork().or_fatal("fork")? {
        Fork::Parent(pid) => Ok((pid, ours)),
        Fork::Child => {
            let e = exec(program, argv, theirs, lock);
            let path = Path::new(std::ffi::OsStr::from_bytes(program.as_bytes()));
            eprintln!("colibrid: {}", cannot("start", path, &e));
            sys::exit_now(libcolibri::error::EX_FAILURE)
        }
    }
}

fn exec(
    program: &CString,
    argv: &[CString],
    channel: OwnedFd,
    lock: Option<BorrowedFd<'_>>,
) -> io::Error {
    let step = || -> io::Result<()> {
        // Copies above the target numbers first: either may sit on the other's place.
        let up = |fd: BorrowedFd<'_>| {
            let arg = nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(10);
            sys::inherit(nix::fcntl::fcntl(fd, arg)?)
        };
        let channel = up(channel.as_fd())?;
        let lock = lock.map(up).transpose()?;
        // Away from the terminal: an interrupt typed there is for colibrid, who ends the runs first.
        nix::unistd::setsid()?;
        sys::dup_to(channel.as_fd(), 3)?;
        if let Some(lock) = &lock {
            sys::dup_to(lock.as_fd(), 4)?;
        }
        // They end when their channel does: a terminal's ^C or a shutdown's SIGTERM is for
        // colibrid to act on, in order.
        sys::ignore_signals(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])?;
        sys::cloexec_from(if lock.is_some() { 5 } else { 4 })
    };
    if let Err(e) = step() {
        return e;
    }
    sys::exec_path(program, argv, &[])
}

/// Becomes colibrid's user. The monitors' group stays beside the own one: their sockets are
/// open to it.
///
/// # Errors
/// When root's rights do not go away for good.
pub fn drop_root(config: &Config, names: &Names) -> Result<()> {
    std::env::set_current_dir("/").or_fatal("go to /")?;
    if !names.separate && geteuid().is_root() {
        info!(
            "{}: separate = false: everything runs as root",
            config.file.display()
        );
    }
    become_colibrid(names).or_fatal("become colibrid's user")
}

fn become_colibrid(names: &Names) -> io::Result<()> {
    if !names.separate {
        return Ok(());
    }
    sys::drop_to(&sys::Ids {
        uid: names.colibrid.uid,
        gid: names.colibrid.gid,
        groups: vec![names.colibrid.gid, names.monitor.gid],
    })
}
