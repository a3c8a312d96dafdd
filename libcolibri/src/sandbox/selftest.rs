//! Trying what must fail. Each line is data, so that tests can read them and add their own.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::unistd;

use super::ConfineError;
use crate::sys::{self, Fork};

/// What must come of a [`Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The error that the sandbox gives for a call it does not allow: number 94 on both systems.
    Refused,
    /// This error.
    Errno(i32),
    /// Success: for lists of what a process must still be able to do.
    Success,
}

impl Expect {
    /// The error number; `None` for success.
    #[must_use]
    pub fn errno(self) -> Option<i32> {
        match self {
            Expect::Refused => Some(sys::confine::REFUSED),
            Expect::Errno(n) => Some(n),
            Expect::Success => None,
        }
    }
}

/// One line of the self-test.
#[derive(Clone, Copy)]
pub struct Probe {
    /// What is tried.
    pub name: &'static str,
    /// What must come of it.
    pub expect: Expect,
    /// The trial. It must do no harm if it succeeds.
    pub run: fn() -> io::Result<()>,
}

impl Probe {
    /// A line that the sandbox must refuse.
    #[must_use]
    pub const fn refused(name: &'static str, run: fn() -> io::Result<()>) -> Self {
        Self {
            name,
            expect: Expect::Refused,
            run,
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {:?}", self.name, self.expect)
    }
}

/// What came of a [`Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// What was tried.
    pub name: &'static str,
    /// Its error number; `None` for success, 0 for an error without one.
    pub errno: Option<i32>,
}

/// The lines for a process in capability mode, or under the filter.
#[must_use]
pub fn probes() -> Vec<Probe> {
    let mut list = COMMON.to_vec();
    list.extend(sys::confine::probes());
    list
}

const COMMON: &[Probe] = &[
    Probe::refused("open a file by its path", || {
        std::fs::File::open("/").map(drop)
    }),
    Probe::refused("open a name in the working directory", || {
        std::fs::File::open(".").map(drop)
    }),
    Probe::refused("ask for a file by its path", || {
        std::fs::metadata("/").map(drop)
    }),
    Probe::refused("remove a file by its path", || {
        std::fs::remove_file("/nonexistent/colibri")
    }),
    Probe::refused("change the working directory", || Ok(unistd::chdir("/")?)),
    Probe::refused("connect to an internet address", || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, 9)).map(drop)
    }),
    Probe::refused("connect to a local socket", || {
        UnixStream::connect("/nonexistent/colibri").map(drop)
    }),
    Probe::refused("bind a local socket", || {
        UnixListener::bind("/nonexistent/colibri").map(drop)
    }),
    Probe::refused("signal the parent", || {
        Ok(nix::sys::signal::kill(unistd::getppid(), None)?)
    }),
    Probe::refused("execute a program", || {
        Err(sys::exec_path(c"/nonexistent/colibri", &[], &[]))
    }),
    Probe::refused("sleep by the clock", sys::sleep_by_clock),
];

/// Forks; a child that should not exist ends at once.
pub(crate) fn try_fork() -> io::Result<()> {
    match sys::fork()? {
        Fork::Child => sys::exit_now(0),
        Fork::Parent(_) => Ok(()),
    }
}

/// Runs all lines; the first that does not end as it must is the error.
pub fn selftest(process: &'static str, probes: &[Probe]) -> Result<Vec<Tried>, ConfineError> {
    let mut tried = Vec::with_capacity(probes.len());
    for probe in probes {
        let errno = match (probe.run)() {
            Ok(()) => None,
            Err(e) => Some(e.raw_os_error().unwrap_or(0)),
        };
        if errno != probe.expect.errno() {
            return Err(ConfineError::SelfTest {
                process,
                line: probe.name,
                expected: describe(probe.expect.errno()),
                found: describe(errno),
            });
        }
        tried.push(Tried {
            name: probe.name,
            errno,
        });
    }
    Ok(tried)
}

fn describe(errno: Option<i32>) -> String {
    errno.map_or_else(|| "success".to_owned(), |n| format!("error {n}"))
}
