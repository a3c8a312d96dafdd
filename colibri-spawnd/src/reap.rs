//! Children: hearing of their end, and what dead monitors leave behind.

use std::collections::HashMap;
use std::io;

use libcolibri::msg::RunKey;
use libcolibri::signals::Signals;
use libcolibri::sys;
use libcolibri::warn;
use nix::libc::SIGCHLD;

/// SIGCHLD as bytes that the loop can wait for.
pub struct Children {
    signals: Signals,
    known: HashMap<i32, Child>,
    /// Whether orphans of dead monitors come to us (without a container that kills them).
    adopts: bool,
}

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// The launcher and later the monitor of a run.
    Monitor(RunKey),
    /// Empties the TMPDIR of a run.
    Remover(RunKey),
}

impl Children {
    /// Starts listening for SIGCHLD.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn new(adopts: bool) -> io::Result<Children> {
        let signals = Signals::new(&[SIGCHLD])?;
        if adopts {
            sys::become_reaper()?;
        }
        Ok(Children {
            signals,
            known: HashMap::new(),
            adopts,
        })
    }

    /// What tells of their end.
    #[must_use]
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Remembers a child.
    pub fn add(&mut self, pid: i32, child: Child) {
        self.known.insert(pid, child);
    }

    /// The next child that has ended, with its wait status. Call it until it says `None`.
    pub fn next(&mut self) -> Option<(Child, i32)> {
        // It only says that there is something to wait for.
        self.signals.take();
        while let Ok(Some((pid, status))) = sys::wait_any(false) {
            match self.known.remove(&pid) {
                Some(child) => return Some((child, status)),
                // An orphan that came to us.
                None => continue,
            }
        }
        None
    }

    /// Kills the orphans of dead monitors; whether there were none.
    pub fn sweep(&self) -> bool {
        if !self.adopts {
            return true;
        }
        let known = |pid| self.known.contains_key(&pid);
        match sys::cell::kill_strangers(&known) {
            Ok(count) => count == 0,
            Err(e) => {
                warn!("cannot look for orphans: {}", libcolibri::error::reason(&e));
                false
            }
        }
    }
}
