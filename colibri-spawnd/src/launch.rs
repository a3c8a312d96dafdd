//! From a request to a running agent. spawnd forks the launcher; the launcher, still with spawnd's
//! rights, makes everything that needs them, starts the agent, drops them and becomes the monitor
//! by executing this program again.
//!
//! Whatever fails, the launcher still becomes a monitor if it can, so that the journal says so.

use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;

use libcolibri::config::Place;
use libcolibri::error::{self, Context};
use libcolibri::journal;
use libcolibri::msg::RunKey;
use libcolibri::state::Accounting;
use libcolibri::sys::cell::{Cell, Within};
use libcolibri::sys::{self, Fork, Signal};
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::sys::socket::{
    bind, listen, socket, AddressFamily, Backlog, SockFlag, SockType, UnixAddr,
};
use nix::sys::stat::{umask, Mode};
use nix::unistd::{chown, fchown, getpid, pipe2, Gid, Uid};

use crate::agent;
use crate::init::Init;
use crate::monitor_args::{fd, Args};
use crate::notes::{self, Note};
use crate::steps::Step;
use crate::table::{Row, Table};

/// Where the launcher keeps the descriptor of this program, until it knows better.
const PROGRAM: RawFd = 5;

/// Above every number that the monitor expects: descriptors wait here for their places.
const WAITING: RawFd = 20;

/// Connections that may wait for the monitor: colibrid is the only one that comes.
const BACKLOG: Backlog = Backlog::MAXALLOWABLE;

/// A step that failed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub step: Step,
    /// Its errno.
    pub errno: i32,
}

impl Failure {
    /// Bytes of an encoded failure.
    const SIZE: usize = 8;

    /// As it crosses the pipe from the agent's process to the launcher.
    #[must_use]
    pub fn encode(self) -> [u8; Failure::SIZE] {
        let [a, b, c, d] = self.step.code().to_le_bytes();
        let [e, f, g, h] = self.errno.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }

    fn decode(bytes: &[u8]) -> Option<Failure> {
        let (step, errno) = bytes.split_first_chunk::<4>()?;
        Some(Failure {
            step: Step::from_code(u32::from_le_bytes(*step))?,
            errno: i32::from_le_bytes(errno.try_into().ok()?),
        })
    }
}

/// Names the step that an error belongs to.
pub trait At<T> {
    /// The same error, as the failure of `step`.
    fn at(self, step: Step) -> Result<T, Failure>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.map_err(|e| Failure {
            step,
            errno: errno_of(&e),
        })
    }
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.map_err(io::Error::from).at(step)
    }
}

/// The errno in an error; EIO where it has none.
#[must_use]
pub fn errno_of(e: &io::Error) -> i32 {
    e.raw_os_error().unwrap_or(nix::libc::EIO)
}

/// One run to be started.
pub struct Order<'a> {
    /// Which.
    pub key: RunKey,
    /// Its profile.
    pub profile: u32,
    /// Everything known; the forked children overwrite its secrets in their copies.
    pub table: &'a mut Table,
    /// This program, to become the monitor.
    pub program: BorrowedFd<'a>,
    /// The monitor's end of its channel to colibrid.
    pub channel: OwnedFd,
    /// The locked journal, which has not begun.
    pub journal: OwnedFd,
}

impl Order<'_> {
    /// The row of the profile.
    #[must_use]
    pub fn row(&self) -> &Row {
        &self.table.rows[self.profile as usize]
    }
}

/// The agent's and the monitor's ends of the three pipes.
struct Pipes {
    /// stdin, stdout, stderr of the agent.
    agent: [OwnedFd; 3],
    /// Their other ends, in the same order.
    monitor: [OwnedFd; 3],
}

/// What the monitor takes over when everything went well.
struct Running {
    child: i32,
    pipes: [OwnedFd; 3],
    container: Option<OwnedFd>,
}

/// This program's own file, to become monitors by.
///
/// # Errors
/// When it cannot be opened.
pub fn own_program() -> error::Result<OwnedFd> {
    let file = std::env::current_exe().and_then(File::open);
    Ok(file.or_fatal("open this program")?.into())
}

/// Forks the launcher of a run and returns its process id, which is the monitor's.
///
/// # Errors
/// When there are no more processes; nothing has been made then.
pub fn start(mut order: Order<'_>) -> io::Result<i32> {
    let mask = sys::block_signals()?;
    let forked = sys::fork();
    if let Ok(Fork::Child) = forked {
        launcher(&mut order);
    }
    sys::restore_signals(&mask)?;
    match forked? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => unreachable!("the launcher does not return"),
    }
}

/// The launcher's whole life.
fn launcher(order: &mut Order<'_>) -> ! {
    let Ok([channel, journal, program]) = take_places(order) else {
        sys::exit_now(1);
    };
    // Should spawnd be killed now, this is what tells that the attempt has begun.
    let journal = match begin_journal(journal) {
        Ok(fd) => fd,
        Err(_) => sys::exit_now(1),
    };
    // Only a name for ps.
    let _ = sys::set_title("run");
    let stem = order.key.stem();
    let socket = bind_socket(order, &stem);
    let running = match &socket {
        Ok(_) => run(order, &stem),
        Err(f) => Err(*f),
    };
    if running.is_err() {
        end_tree();
    }
    // From here on as the monitor's user, or not at all. Our exit is the end of the run then:
    // the container dies with us, spawnd sees to the rest.
    if drop_rights(order.table).is_err() {
        sys::exit_now(1);
    }
    let mut places = vec![(fd::CHANNEL, channel), (fd::JOURNAL, journal)];
    if let Ok(s) = socket {
        // Clients see the credentials of whoever says this.
        if listen(&s, BACKLOG).is_err() {
            sys::exit_now(1);
        }
        places.push((fd::LISTENER, s));
    }
    let args = args(order, &running);
    if let Ok(r) = running {
        let [stdin, stdout, stderr] = r.pipes;
        places.extend([
            (fd::STDIN, stdin),
            (fd::STDOUT, stdout),
            (fd::STDERR, stderr),
        ]);
        places.extend(r.container.map(|c| (fd::CONTAINER, c)));
    }
    // Returns only when it fails, with nobody left to tell.
    let _ = become_monitor(&args, program, places);
    sys::exit_now(1)
}

/// Closes all that spawnd had but what the launcher needs: /dev/null or the log on 0 to 2, and the
/// channel, the journal and this program, which are returned.
fn take_places(order: &Order<'_>) -> io::Result<[OwnedFd; 3]> {
    // First: a late SIGCHLD would make spawnd's handler write to some descriptor of ours.
    sys::default_signals()?;
    let null = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
    sys::dup_to(null.as_fd(), 0)?;
    sys::dup_to(null.as_fd(), 1)?;
    if !order.table.foreground {
        sys::dup_to(null.as_fd(), 2)?;
    }
    drop(null);
    // spawnd has 0 to 4 itself, so these come from above; the program was put higher still.
    sys::dup_to(order.channel.as_fd(), fd::CHANNEL)?;
    sys::dup_to(order.journal.as_fd(), fd::JOURNAL)?;
    sys::dup_to(order.program, PROGRAM)?;
    sys::close_from(PROGRAM + 1)?;
    if sys::nice() < 0 {
        sys::set_nice(0)?;
    }
    Ok([
        sys::inherit(fd::CHANNEL)?,
        sys::inherit(fd::JOURNAL)?,
        sys::inherit(PROGRAM)?,
    ])
}

fn begin_journal(fd: OwnedFd) -> io::Result<OwnedFd> {
    let file = File::from(fd);
    journal::begin(&file)?;
    Ok(file.into())
}

/// Binds the run's socket with spawnd's rights, for colibrid's group: monitors cannot make names
/// in that directory. Who listens on it is what its clients see, and that comes later.
fn bind_socket(order: &Order<'_>, stem: &str) -> Result<OwnedFd, Failure> {
    let step = Step::Socket;
    let path = order.table.socket(stem);
    let flags = SockFlag::SOCK_CLOEXEC;
    let s = socket(AddressFamily::Unix, SockType::Stream, flags, None).at(step)?;
    let address = UnixAddr::new(&path).at(step)?;
    // 0660 from the first moment on.
    let before = umask(Mode::from_bits_truncate(0o117));
    let bound = bind(s.as_raw_fd(), &address);
    umask(before);
    bound.at(step)?;
    if let Some(ids) = &order.table.monitor {
        let (_, group) = order.table.colibrid;
        let owner = Some(Uid::from_raw(ids.uid));
        chown(&path, owner, Some(Gid::from_raw(group))).at(step)?;
    }
    Ok(s)
}

/// Everything between the socket and the running agent, with spawnd's rights.
fn run(order: &mut Order<'_>, stem: &str) -> Result<Running, Failure> {
    let kind = order.table.container;
    let own = Note::own(order.row().owner, order.profile, kind).at(Step::Note)?;
    let mut note = notes::Writer::create(&order.table.paths.notes(), stem, &own).at(Step::Note)?;
    if order.row().place == Place::Host {
        make_tmpdir(order, stem).at(Step::Tmpdir)?;
    }
    sys::become_reaper().at(Step::Reaper)?;
    let Pipes { agent, monitor } = make_pipes(order.row()).at(Step::Pipes)?;
    let (report, tell) = pipe2(OFlag::O_CLOEXEC).at(Step::Pipes)?;
    let name = order.table.jail(stem);
    let cell = Cell::create(kind, &name, within(&order.row().place)).at(Step::Container)?;
    let mut trace = cell.trace();
    // Before they are in force: whoever removes them must find the name.
    let limits = order.row().run_limits;
    let limited = order.table.accounting == Accounting::On && !limits.is_empty();
    let (child, init) = if cell.has_init() {
        let init = Init::start(order, &cell, &agent, tell)?;
        trace.init = init.pid;
        trace.init_start = sys::process_start(init.pid).at(Step::Note)?;
        note.add(&trace).at(Step::Note)?;
        init.go()?;
        (init.pid, Some(init))
    } else {
        note.add(&trace).at(Step::Note)?;
        if limited {
            cell.limit(&limits).at(Step::Limits)?;
        }
        (agent::start(order, &cell, &agent, tell)?, None)
    };
    drop(agent);
    await_exec(report)?;
    cell.settle().at(Step::Settle)?;
    let container = match init {
        Some(init) => Some(init.into_status()),
        None => cell.into_descriptor(),
    };
    Ok(Running {
        child,
        pipes: monitor,
        container,
    })
}

fn within(place: &Place) -> Within<'_> {
    match place {
        Place::Host => Within::Host,
        Place::Jail(name) => Within::Jail(name),
        Place::Root(path) => Within::Root(path),
    }
}

/// Makes the run's TMPDIR, for the agent's user alone.
fn make_tmpdir(order: &Order<'_>, stem: &str) -> io::Result<()> {
    let path = order.table.tmpdir(stem);
    DirBuilder::new().mode(0o700).create(&path)?;
    let row = order.row();
    if row.ids.is_some() {
        let (uid, gid) = row.owner;
        chown(&path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(())
}

/// Pipes, never sockets: over a socket an agent could send descriptors.
fn make_pipes(row: &Row) -> io::Result<Pipes> {
    let (stdin, to_agent) = pipe2(OFlag::O_CLOEXEC)?;
    let (from_agent, stdout) = pipe2(OFlag::O_CLOEXEC)?;
    let (errors, stderr) = pipe2(OFlag::O_CLOEXEC)?;
    let agent = [stdin, stdout, stderr];
    if let Some(ids) = &row.ids {
        for end in &agent {
            // So that "> /dev/stderr" works. Where pipes have no owner, it works anyway.
            let _ = fchown(
                end,
                Some(Uid::from_raw(ids.uid)),
                Some(Gid::from_raw(ids.gid)),
            );
        }
    }
    Ok(Pipes {
        agent,
        monitor: [to_agent, from_agent, errors],
    })
}

/// Waits until the agent has been executed, which closes the pipe, or says which step failed.
fn await_exec(report: OwnedFd) -> Result<(), Failure> {
    let mut said = Vec::new();
    // Two of them at most.
    let limit = 2 * Failure::SIZE as u64;
    File::from(report)
        .take(limit)
        .read_to_end(&mut said)
        .at(Step::Report)?;
    if said.is_empty() {
        return Ok(());
    }
    // The agent and its init may both have failed: the first one counts.
    match said.get(..Failure::SIZE).and_then(Failure::decode) {
        Some(failure) => Err(failure),
        None => Err(io::Error::from(io::ErrorKind::InvalidData)).at(Step::Report),
    }
}

/// Becomes the monitor's user for good, where the suite has users.
///
/// # Errors
/// Then the process may be half of each and must exit.
pub fn drop_rights(table: &Table) -> io::Result<()> {
    match &table.monitor {
        Some(ids) => sys::drop_to(ids),
        None => Ok(()),
    }
}

/// Kills whatever this launcher has started and waits for it.
fn end_tree() {
    // Without a child there is nobody to be found, and waiting says so.
    let _ = sys::signal_tree(getpid().as_raw(), Signal::SIGKILL, false);
    while sys::wait_any(true).is_ok() {}
}

fn args(order: &Order<'_>, running: &Result<Running, Failure>) -> Args {
    let row = order.row();
    let table = &order.table;
    Args {
        key: order.key,
        mode: row.mode,
        on_settled: row.on_settled,
        container: table.container,
        journal_limit: table.journal_limit,
        start_timeout: row.start_timeout,
        child: running.as_ref().map_or(0, |r| r.child),
        failed: running.as_ref().err().map(|f| (f.step, f.errno)),
        colibrid_uid: table.colibrid.0,
        foreground: table.foreground,
        verbose: table.verbose,
    }
}

/// Puts every descriptor in its place and executes this program as the monitor, with a fresh
/// address space and an empty environment.
fn become_monitor(args: &Args, program: OwnedFd, places: Vec<(RawFd, OwnedFd)>) -> io::Error {
    // The program first: the arrangement may need the number that it has.
    match aside(program).and_then(|program| Ok((program, arrange(places)?))) {
        Ok((program, _held)) => sys::exec_fd(program.as_fd(), &args.encode(), &[]),
        Err(e) => e,
    }
}

/// Moves all descriptors out of the way, then each to its place, the only ones to survive exec.
fn arrange(places: Vec<(RawFd, OwnedFd)>) -> io::Result<Vec<OwnedFd>> {
    let mut held = Vec::new();
    for (place, fd) in places {
        held.push((place, aside(fd)?));
    }
    for (place, fd) in &held {
        sys::dup_to(fd.as_fd(), *place)?;
    }
    Ok(held.into_iter().map(|(_, fd)| fd).collect())
}

/// The same descriptor at a number that the monitor does not use, close-on-exec.
///
/// # Errors
/// When there are no more descriptors.
pub fn aside(fd: OwnedFd) -> io::Result<OwnedFd> {
    sys::inherit(fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(WAITING))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_crosses_the_pipe() {
        let f = Failure {
            step: Step::Execute,
            errno: 2,
        };
        assert_eq!(Failure::decode(&f.encode()), Some(f));
        assert_eq!(Failure::decode(&f.encode()[..7]), None);
        assert_eq!(Failure::decode(&[0; 9]), None);
    }
}
