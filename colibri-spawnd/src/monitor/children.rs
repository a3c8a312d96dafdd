//! The agent's end and its tree's: reaping, and the proof that nothing is left.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libcolibri::record::Proof;
use libcolibri::state::{Container, Exit};
use libcolibri::sys::{self, Ended};

use super::pipes::{Got, Source};
use super::watch::JailWatch;

/// Bytes of the init's report: how (0 code, 1 signal) and value, both i32 in the machine's order.
const REPORT: usize = 8;

/// All processes below this one.
pub struct Children {
    container: Container,
    /// Our own child: the agent, or in a namespace its init.
    child: i32,
    /// The agent's own exit, told once.
    exit: Option<Exit>,
    told: bool,
    /// The namespace's init, when it has been reaped.
    init: Option<Exit>,
    /// wait4 says that there is no child.
    childless: bool,
    /// The init's report of the agent's exit comes here.
    report: Option<Source>,
    jail: Option<OwnedFd>,
    watch: Option<JailWatch>,
    removed: bool,
}

impl Children {
    /// The children of a launched run, `child` first. `report` is the init's pipe (namespaces), `jail` the owning
    /// descriptor and its watch; neither exists for a plain reaper.
    pub fn new(
        container: Container,
        child: i32,
        report: Option<Source>,
        jail: Option<OwnedFd>,
        watch: Option<JailWatch>,
    ) -> Children {
        Children {
            container,
            child,
            exit: None,
            told: false,
            init: None,
            childless: false,
            report,
            jail,
            watch,
            removed: false,
        }
    }

    /// The jail's owning descriptor, for confinement.
    pub fn jail(&self) -> Option<BorrowedFd<'_>> {
        self.jail.as_ref().map(AsFd::as_fd)
    }

    /// The jail watch's queue, for confinement.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(JailWatch::as_fd)
    }

    /// The init's pipe, for confinement.
    pub fn report(&self) -> Option<BorrowedFd<'_>> {
        self.report.as_ref().and_then(Source::fd)
    }

    /// Kills whatever is in the jail by giving it up. What the kernel says of the jail afterwards
    /// proves nothing any more.
    pub fn close_container(&mut self) {
        self.watch = None;
        self.jail = None;
    }

    /// Collects whatever has ended.
    pub fn collect(&mut self) {
        self.read_report();
        while let Some((pid, exit)) = self.reap() {
            // Anybody else is an orphan of the tree that came to us.
            if pid == self.child {
                match self.container {
                    Container::PidNamespace | Container::UserNamespace => self.init = Some(exit),
                    Container::Jail | Container::Reaper => self.exit = Some(exit),
                }
            }
        }
        // An init reports before it ends, so what it had to say is there by now.
        if self.childless {
            self.read_report();
            let last = self.init.map_or(Exit::Unseen, of_init);
            self.exit.get_or_insert(last);
        }
        if let Some(watch) = &mut self.watch {
            self.removed |= watch.removed();
        }
    }

    /// The agent's own exit, the first time it is known.
    pub fn new_exit(&mut self) -> Option<Exit> {
        let exit = self.exit.filter(|_| !self.told)?;
        self.told = true;
        Some(exit)
    }

    /// The proof that nothing is left, if there is one.
    pub fn proof(&self) -> Option<Proof> {
        match self.container {
            Container::PidNamespace | Container::UserNamespace if self.childless => {
                Some(Proof::Kernel)
            }
            Container::Reaper if self.childless => Some(Proof::Reaped),
            Container::Jail if self.removed && self.exit.is_some() => Some(Proof::Kernel),
            Container::Jail if self.jail.is_none() && self.childless => Some(Proof::Reaped),
            _ => None,
        }
    }

    fn reap(&mut self) -> Option<(i32, Exit)> {
        match sys::wait_any(false) {
            Ok(reaped) => reaped.map(|(pid, status)| match Ended::from_status(status) {
                Ended::Code(code) => (pid, Exit::Code(code)),
                Ended::Signal(signal) => (pid, Exit::Signal(signal)),
            }),
            Err(e) => {
                self.childless |= e.raw_os_error() == Some(nix::libc::ECHILD);
                None
            }
        }
    }

    fn read_report(&mut self) {
        let Some(source) = &mut self.report else {
            return;
        };
        let mut buf = [0; REPORT];
        match source.read(&mut buf) {
            Got::Bytes(REPORT) => {
                let [a, b, c, d, e, f, g, h] = buf;
                let value = i32::from_ne_bytes([e, f, g, h]);
                self.exit = Some(match i32::from_ne_bytes([a, b, c, d]) {
                    0 => Exit::Code(value),
                    1 => Exit::Signal(value),
                    _ => Exit::Unseen,
                });
            }
            // Fewer bytes are not written by anybody: such a pipe tells nothing more.
            Got::Bytes(_) | Got::End => self.report = None,
            Got::Dry => {}
        }
    }
}

/// What an init's own end says about an agent of which it has not reported: a killed init takes
/// the whole namespace with it, by SIGKILL.
fn of_init(init: Exit) -> Exit {
    match init {
        Exit::Signal(_) => Exit::Signal(nix::libc::SIGKILL),
        _ => Exit::Unseen,
    }
}
