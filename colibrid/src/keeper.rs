//! The keeper: starts the suite, waits, starts it again when it has died.
//!
//! It reads no file and no byte from anybody; it holds the write end of a pipe whose closing
//! tells the suite that the keeper is gone, and a socket on which its own signals arrive.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use libcolibri::error::{Context, Fatal, Result, EX_FAILURE, EX_OK};
use libcolibri::signals::Signals;
use libcolibri::sys::{self, Fork};
use nix::fcntl::{fcntl, FcntlArg};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::args::Args;

/// Descriptor of the suite on which it learns of the keeper's death.
pub const KEEPER_FD: i32 = 3;
/// Descriptor on which the suite says once that it is ready.
pub const READY_FD: i32 = 4;

/// Exit code of a suite that wants to be started again at once (reload, upgrade); EX_TEMPFAIL.
pub const EX_AGAIN: i32 = 75;

/// A suite that lived this long starts the back-off from the beginning.
const STABLE: Duration = Duration::from_secs(10);
/// The first restart is at once, the second after this, then doubling.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two starts.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How often a suite is started to end the runs, where the one that was asked to do so has died or
/// there was none.
const LAST_STARTS: u32 = 4;

/// Goes to the background and keeps the suite. Returns in the starting command only: with 0 when
/// the suite is ready, with its exit code when it failed.
///
/// # Errors
/// When the process cannot be set up.
pub fn start(args: &Args) -> Result<i32> {
    // The keeper leaves the directory that a relative name means.
    let mut args = args.clone();
    args.file = std::path::absolute(&args.file).or_fatal("find the config")?;
    let program = std::env::current_exe().or_fatal("find my own program")?;
    let program = CString::new(program.as_os_str().as_bytes())
        .map_err(|_| Fatal::new("cannot start: my own path has a NUL byte"))?;
    let (ready_r, ready_w) = io::pipe().or_fatal("make a pipe")?;
    let (said_r, said_w) = io::pipe().or_fatal("make a pipe")?;
    match sys::fork().or_fatal("fork")? {
        Fork::Parent(child) => {
            drop((ready_w, said_w));
            wait_ready(&ready_r, said_r, Pid::from_raw(child))
        }
        Fork::Child => {
            drop((ready_r, said_r));
            // Whoever reads the starting command's output must see its end when it has ended.
            leave_terminal(Some(said_w.into())).or_fatal("leave the terminal")?;
            nix::unistd::setsid().or_fatal("start a session")?;
            std::env::set_current_dir("/").or_fatal("go to /")?;
            // Only for ps: without it the keeper is called like the suite.
            let _ = sys::set_title("[keeper]");
            Keeper::new(&args, program)?.keep(ready_w.into())
        }
    }
}

/// In the starting command: a byte means ready; end of file means that the first start failed,
/// and the keeper's exit code says how. What is said meanwhile is passed on.
fn wait_ready(ready: &io::PipeReader, said: io::PipeReader, keeper: Pid) -> Result<i32> {
    let mut said = Some(said);
    let mut over = false;
    while !over {
        let mut fds = vec![PollFd::new(ready.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            said.iter()
                .map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)),
        );
        let _ = nix::poll::poll(&mut fds, PollTimeout::NONE);
        let come: Vec<bool> = fds.iter().map(|f| f.any().unwrap_or(false)).collect();
        over = come[0];
        if come.get(1) == Some(&true) {
            pass_on(&mut said);
        }
    }
    let code = match (&mut &*ready).read(&mut [0]) {
        Ok(1) => EX_OK,
        _ => match waitpid(keeper, None) {
            Ok(WaitStatus::Exited(_, code)) if code != EX_OK => code,
            _ => EX_FAILURE,
        },
    };
    // The daemons may hold the other end for ever: only what is there.
    while said.as_ref().is_some_and(is_readable) {
        pass_on(&mut said);
    }
    Ok(code)
}

fn is_readable(pipe: &io::PipeReader) -> bool {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    matches!(nix::poll::poll(&mut fds, PollTimeout::ZERO), Ok(n) if n > 0)
}

/// Copies what is in the pipe to stderr; `None` at its end.
fn pass_on(said: &mut Option<io::PipeReader>) {
    let mut block = [0; 4096];
    match said.as_mut().map(|s| s.read(&mut block)) {
        Some(Ok(n)) if n > 0 => {
            // Nobody to tell: that is no reason not to start.
            let _ = io::stderr().write_all(&block[..n]);
        }
        _ => *said = None,
    }
}

/// stdin becomes /dev/null, stdout and stderr become `to`, or /dev/null too.
fn leave_terminal(to: Option<OwnedFd>) -> io::Result<()> {
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    let null = OwnedFd::from(null);
    sys::dup_to(null.as_fd(), 0)?;
    let to = to.as_ref().unwrap_or(&null);
    sys::dup_to(to.as_fd(), 1)?;
    sys::dup_to(to.as_fd(), 2)
}

struct Keeper {
    program: CString,
    args: Args,
    /// The suite holds the other end and notices when this one closes.
    _alive: OwnedFd,
    alive_suite: OwnedFd,
    signals: Signals,
    /// The end was asked for.
    ending: bool,
}

impl Keeper {
    fn new(args: &Args, program: CString) -> Result<Keeper> {
        let (r, w) = io::pipe().or_fatal("make a pipe")?;
        let signals = Signals::new(&[SIGTERM, SIGINT, SIGHUP, SIGCHLD]);
        Ok(Keeper {
            program,
            args: args.clone(),
            _alive: w.into(),
            alive_suite: r.into(),
            signals: signals.or_fatal("set up signals")?,
            ending: false,
        })
    }

    /// The loop. Never returns but to end this process.
    fn keep(mut self, ready: OwnedFd) -> Result<i32> {
        let mut ready = Some(ready);
        let mut quick_deaths = 0;
        let mut last_starts = LAST_STARTS;
        loop {
            let born = Instant::now();
            let code = match self.launch(ready.as_ref()) {
                Ok(suite) => self.wait(suite, &mut ready)?,
                Err(e) if ready.is_some() => return Err(e),
                // Processes come back: as after a suite that died at once.
                Err(_) => Some(EX_FAILURE),
            };
            if code == Some(EX_OK) {
                return Ok(EX_OK);
            }
            if code.is_none() && ready.is_some() {
                // Killed, perhaps just after it said ready: give the starting command time to leave.
                self.sleep(Some(Duration::from_secs(1)), &mut ready);
            }
            if ready.is_some() {
                // It never became ready: the starting command reports the failure.
                return Ok(code.unwrap_or(EX_FAILURE));
            }
            quick_deaths = match code {
                Some(EX_AGAIN) => 0,
                _ if born.elapsed() >= STABLE => 0,
                _ => quick_deaths + 1,
            };
            self.pause(backoff(quick_deaths));
            if self.ending {
                // The runs live on: only a suite can end them.
                if last_starts == 0 {
                    return Ok(EX_FAILURE);
                }
                last_starts -= 1;
            }
        }
    }

    fn launch(&self, ready: Option<&OwnedFd>) -> Result<Pid> {
        // What is passed on to the suite before it is one must not end in a handler of ours.
        let mask = sys::block_signals().or_fatal("block signals")?;
        match sys::fork() {
            Ok(Fork::Parent(pid)) => {
                sys::restore_signals(&mask).or_fatal("unblock signals")?;
                Ok(Pid::from_raw(pid))
            }
            Err(e) => {
                sys::restore_signals(&mask).or_fatal("unblock signals")?;
                Err(e).or_fatal("fork")
            }
            Ok(Fork::Child) => {
                let e = match sys::default_signals() {
                    Ok(()) => self.exec(ready),
                    Err(e) => e,
                };
                eprintln!("colibrid: cannot start the suite: {e}");
                sys::exit_now(EX_FAILURE)
            }
        }
    }

    fn exec(&self, ready: Option<&OwnedFd>) -> io::Error {
        let step = || -> io::Result<()> {
            // Copies above both places first: either may sit on the other's.
            let keeper = above(self.alive_suite.as_fd())?;
            let ready = match ready {
                Some(r) => above(r.as_fd())?,
                // Nobody waits any more.
                None => above(File::options().write(true).open("/dev/null")?.as_fd())?,
            };
            sys::dup_to(keeper.as_fd(), KEEPER_FD)?;
            sys::dup_to(ready.as_fd(), READY_FD)?;
            sys::cloexec_from(READY_FD + 1)
        };
        if let Err(e) = step() {
            return e;
        }
        let mut argv = vec![self.program.clone()];
        argv.extend(self.args.for_suite(self.ending));
        sys::exec_path(&self.program, &argv, &[])
    }

    /// Waits for the suite's end, passing signals on. The exit code; `None` when a signal killed
    /// it. `ready` is taken when the suite has said that it is ready.
    fn wait(&mut self, suite: Pid, ready: &mut Option<OwnedFd>) -> Result<Option<i32>> {
        loop {
            for signal in self.signals.take() {
                match signal {
                    SIGCHLD => {}
                    SIGHUP => {
                        let _ = kill(suite, Signal::SIGHUP);
                    }
                    _ => {
                        self.ending = true;
                        let _ = kill(suite, Signal::SIGTERM);
                    }
                }
            }
            match waitpid(suite, Some(WaitPidFlag::WNOHANG)).or_fatal("wait for the suite")? {
                WaitStatus::Exited(_, code) => return Ok(Some(code)),
                WaitStatus::Signaled(..) => return Ok(None),
                _ => {}
            }
            self.sleep(None, ready);
        }
    }

    /// Waits that long, less when the end is asked for meanwhile.
    fn pause(&mut self, how_long: Duration) {
        let until = Instant::now() + how_long;
        loop {
            let asked = self.signals.take();
            let end = asked.iter().any(|s| matches!(*s, SIGTERM | SIGINT));
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || (end && !self.ending) {
                self.ending |= end;
                return;
            }
            self.sleep(Some(left), &mut None);
        }
    }

    /// Waits for a signal, for the time to pass, or for the suite to close its end of `ready`
    /// after it has said that it is ready.
    fn sleep(&mut self, how_long: Option<Duration>, ready: &mut Option<OwnedFd>) {
        let timeout = how_long.map_or(PollTimeout::NONE, |d| {
            PollTimeout::try_from(d + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if let Some(r) = ready.as_ref() {
            // The write end of a pipe reports an error once the reader, the starting command,
            // has gone: it leaves when it has read the byte.
            fds.push(PollFd::new(r.as_fd(), PollFlags::empty()));
        }
        let _ = nix::poll::poll(&mut fds, timeout);
        let told = fds
            .get(1)
            .and_then(PollFd::revents)
            .is_some_and(|r| !r.is_empty());
        if told {
            *ready = None;
            // Nobody passes on any more what is said.
            let _ = leave_terminal(None);
        }
    }
}

/// A copy of the descriptor at a number above those that the suite expects.
fn above(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    sys::inherit(fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(READY_FD + 1))?)
}

/// How long to wait before the next start, after so many deaths in a row that each came within
/// [`STABLE`]: not at all for the first, then twice as long each time.
fn backoff(quick_deaths: u32) -> Duration {
    match quick_deaths {
        0 | 1 => Duration::ZERO,
        n => BACKOFF_FIRST
            .saturating_mul(1 << (n - 2).min(16))
            .min(BACKOFF_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_the_wait_grows_to_its_limit() {
        assert_eq!(backoff(0), Duration::ZERO);
        assert_eq!(backoff(1), Duration::ZERO);
        assert_eq!(backoff(2), BACKOFF_FIRST);
        assert_eq!(backoff(3), 2 * BACKOFF_FIRST);
        assert_eq!(backoff(40), BACKOFF_MAX);
    }
}
