//! The init of a run's namespace (Linux): first process inside, parent of the agent, heir of its
//! orphans. When it exits, the kernel kills everything else in the namespace; when the monitor
//! dies, it dies. It outlives the launcher's exec, so it drops, forgets and closes what it can.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use libcolibri::sys::cell::{Cell, ChildEvents};
use libcolibri::sys::{self, Ended, Fork, Signal};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::unistd::{pipe2, read, write};

use crate::agent;
use crate::launch::{drop_rights, At, Failure, Order};
use crate::steps::Step;
use crate::table::hidden;

/// The launcher's side of a forked init.
pub struct Init {
    /// Its process id outside the namespace.
    pub pid: i32,
    /// Says go.
    go: OwnedFd,
    /// Will say how the agent ended.
    status: OwnedFd,
}

/// What the init holds.
struct Ends {
    go: OwnedFd,
    status: OwnedFd,
    report: OwnedFd,
}

impl Init {
    /// Forks the init, which furnishes the container and then waits for [`Init::go`].
    ///
    /// # Errors
    /// When there are no more processes or descriptors. Later failures come through `report`.
    pub fn start(
        order: &mut Order<'_>,
        cell: &Cell,
        stdio: &[OwnedFd; 3],
        report: OwnedFd,
    ) -> Result<Init, Failure> {
        let (go_end, go) = pipe2(OFlag::O_CLOEXEC).at(Step::Pipes)?;
        let (status, status_end) = pipe2(OFlag::O_CLOEXEC).at(Step::Pipes)?;
        match sys::fork().at(Step::Fork)? {
            Fork::Parent(pid) => Ok(Init { pid, go, status }),
            Fork::Child => {
                // Our copies would keep the launcher and the monitor alive in our own eyes.
                drop(go);
                drop(status);
                let ends = Ends {
                    go: go_end,
                    status: status_end,
                    report,
                };
                live(order, cell, stdio, ends)
            }
        }
    }

    /// Lets it start the agent.
    ///
    /// # Errors
    /// When it is dead already.
    pub fn go(&self) -> Result<(), Failure> {
        // Its death is to be told, not to be shared.
        sys::ignore_signals(&[Signal::SIGPIPE]).at(Step::Container)?;
        write(&self.go, &[1]).at(Step::Container).map(drop)
    }

    /// The pipe for the monitor, whose closing is the end of the namespace.
    #[must_use]
    pub fn into_status(self) -> OwnedFd {
        self.status
    }
}

/// The init's whole life.
fn live(order: &mut Order<'_>, cell: &Cell, stdio: &[OwnedFd; 3], ends: Ends) -> ! {
    let agent = match begin(order, cell, stdio, &ends) {
        Ok(agent) => agent,
        Err(failure) => fail(&ends.report, failure),
    };
    order.table.wipe();
    let [status, report] = match keep(&ends).at(Step::Descriptors) {
        Ok(kept) => kept,
        Err(failure) => fail(&ends.report, failure),
    };
    let events = match settle(order) {
        Ok(events) => events,
        Err(failure) => fail(&report, failure),
    };
    // The launcher takes this for our readiness.
    drop(report);
    reap(agent, &status, events)
}

/// The agent, if there is one already, dies with us.
fn fail(report: &OwnedFd, failure: Failure) -> ! {
    agent::tell(report, failure);
    sys::exit_now(1)
}

/// Up to the agent's fork, with the launcher's rights.
fn begin(
    order: &Order<'_>,
    cell: &Cell,
    stdio: &[OwnedFd; 3],
    ends: &Ends,
) -> Result<i32, Failure> {
    sys::die_with_parent(Signal::SIGKILL).at(Step::Tie)?;
    let paths = &order.table.paths;
    cell.furnish(&hidden(paths), &paths.tmp_dir, &order.key.stem())
        .at(Step::Furnish)?;
    // The launcher has written down who we are; without that there must be no agent.
    if !matches!(read(&ends.go, &mut [0]), Ok(1)) {
        sys::exit_now(1);
    }
    match sys::fork().at(Step::Fork)? {
        Fork::Parent(pid) => Ok(pid),
        // Its parent is the init, number 1 in here; it needs no tie.
        Fork::Child => agent::become_agent(order, cell, stdio, &ends.report, 1),
    }
}

/// After the agent's fork: drops, and makes sure to die with the monitor.
fn settle(order: &Order<'_>) -> Result<ChildEvents, Failure> {
    drop_rights(order.table).at(Step::User)?;
    sys::no_new_privs().at(Step::Privileges)?;
    sys::not_traceable().at(Step::Privileges)?;
    // Changing the user has undone the first call. This is the second line only: Landlock keeps a
    // confined monitor's death signal from us. The first one is the status pipe, see reap.
    sys::die_with_parent(Signal::SIGKILL).at(Step::Tie)?;
    ChildEvents::new().at(Step::Tie)
}

/// Closes everything but two pipes.
fn keep(ends: &Ends) -> io::Result<[OwnedFd; 2]> {
    // 3 to 5 are the launcher's channel, journal and program: the ends lie above.
    sys::dup_to(ends.status.as_fd(), 3)?;
    sys::dup_to(ends.report.as_fd(), 4)?;
    sys::dup_to(io::stdin().as_fd(), 2)?;
    sys::close_from(5)?;
    Ok([sys::inherit(3)?, sys::inherit(4)?])
}

/// Reaps until the agent has ended, says how, and ends the namespace; or ends it at once when the
/// monitor, which alone reads the status pipe, is dead. Signals are without effect on the first
/// process of a namespace, SIGKILL from outside excepted.
fn reap(agent: i32, status: &OwnedFd, mut events: ChildEvents) -> ! {
    loop {
        events.clear();
        while let Ok(Some((pid, raw))) = sys::wait_any(false) {
            if pid == agent {
                // If nobody reads it, we would not live much longer either.
                let _ = write(status, &encode(Ended::from_status(raw)));
                sys::exit_now(0);
            }
        }
        let mut fds = [
            // Nothing is asked for: an error shows all the same.
            PollFd::new(status.as_fd(), PollFlags::empty()),
            PollFd::new(events.as_fd(), PollFlags::POLLIN),
        ];
        let polled = poll(&mut fds, PollTimeout::NONE);
        let unread = fds[0].revents().is_some_and(|r| !r.is_empty());
        if unread || !matches!(polled, Ok(_) | Err(Errno::EINTR)) {
            sys::exit_now(1);
        }
    }
}

/// As the monitor reads it.
fn encode(ended: Ended) -> [u8; 8] {
    let (how, value) = match ended {
        Ended::Code(code) => (0i32, code),
        Ended::Signal(signal) => (1, signal),
    };
    let mut said = [0; 8];
    said[..4].copy_from_slice(&how.to_ne_bytes());
    said[4..].copy_from_slice(&value.to_ne_bytes());
    said
}
