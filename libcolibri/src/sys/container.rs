//! One face for the containers of both systems.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::system;
use crate::state::Container;

/// A container in the making: in the launcher [`Prepared::new`], fork, in the child
/// [`Prepared::enter`], then, once the child is in, in the launcher [`Prepared::seal`].
#[derive(Debug)]
pub struct Prepared(system::Prepared);

impl Prepared {
    /// Makes a container of that kind; `name` (letters, digits, dashes) is a jail's name.
    ///
    /// Also makes this process a reaper. A kind that the other system has is `Unsupported`.
    /// [`Container::Reaper`] needs nothing more and promises little.
    pub fn new(kind: Container, name: &str) -> io::Result<Self> {
        super::become_reaper()?;
        system::Prepared::new(kind, name).map(Self)
    }

    /// Whether the first process inside is an init: it must fork the agent, reap, report the agent's
    /// status and end last. Otherwise it is the agent itself.
    #[must_use]
    pub fn needs_init(kind: Container) -> bool {
        matches!(kind, Container::PidNamespace | Container::UserNamespace)
    }

    /// Moves the forked child in, still with the launcher's user and without any directory open.
    ///
    /// Namespaces also get their own `/proc` (where permitted) and hide `hidden`, existing
    /// directories; elsewhere those are guarded by their modes only.
    pub fn enter(&self, hidden: &[&Path]) -> io::Result<()> {
        self.0.enter(hidden)
    }

    /// Makes the container end with its processes. A jail gives the descriptor that owns it, which
    /// only the monitor may keep; the others have none.
    pub fn seal(self) -> io::Result<Option<OwnedFd>> {
        self.0.seal()
    }
}
