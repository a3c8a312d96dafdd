//! How many descriptors are left: each client and each monitor takes one, and a monitor's channel
//! that arrives when there is none is lost. So both are refused by name before that.

use libcolibri::sandbox::policy;
use nix::sys::resource::{getrlimit, Resource};

use crate::attempt::Stage;
use crate::engine::Engine;
use crate::request::Refusal;

/// Held back for what comes and goes: a connection that is being refused, a journal that is read,
/// the watchdog's connection.
const SPARE: usize = 5;

/// Left free by runs, so that an operator can always come in and stop some.
const FOR_CLIENTS: usize = 8;

/// What this process may have open, and what it always has.
#[derive(Debug, Clone, Copy)]
pub struct Descriptors {
    limit: usize,
    base: usize,
}

impl Descriptors {
    /// Of a process that is about to be confined and holds `base` besides clients and monitors.
    #[must_use]
    pub fn new(base: usize) -> Descriptors {
        // The system's type has a sign on FreeBSD and none on Linux.
        let hard = getrlimit(Resource::RLIMIT_NOFILE)
            .ok()
            .and_then(|(_, hard)| usize::try_from(hard).ok());
        let own = policy::COLIBRID
            .limits
            .iter()
            .find(|l| l.resource == Resource::RLIMIT_NOFILE)
            .and_then(|l| usize::try_from(l.value).ok());
        let limit = hard.into_iter().chain(own).min().unwrap_or(usize::MAX);
        Descriptors { limit, base }
    }
}

impl Engine {
    /// Clients and runs that there are still descriptors for.
    pub(crate) fn descriptors_left(&self) -> usize {
        let starting = |l: &&crate::runs::Live| l.monitor.is_none() && l.stage == Stage::Starting;
        let coming = self.accepted.len() + self.runs.values().filter(starting).count();
        let used = self.clients.len() + self.monitors.len() + coming;
        let Descriptors { limit, base } = self.descriptors;
        limit.saturating_sub(base + SPARE + used)
    }

    /// Refuses a run that there would be no descriptor for.
    ///
    /// # Errors
    /// By name.
    pub(crate) fn need_descriptor(&self) -> Result<(), Refusal> {
        if self.descriptors_left() > FOR_CLIENTS {
            return Ok(());
        }
        let message = format!(
            "no descriptors left: {} clients and {} runs share {}",
            self.clients.len(),
            self.runs.len(),
            self.descriptors.limit
        );
        Err(Refusal::new("unavailable", message))
    }
}
