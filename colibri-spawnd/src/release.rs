//! Releasing a run: its monitor ends or is killed, its tree is proven dead, and its socket,
//! TMPDIR and note are removed, in this order.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use libcolibri::config::Place;
use libcolibri::error::reason;
use libcolibri::msg::{Proven, RunKey};
use libcolibri::sys::{self, cell, Signal};
use libcolibri::{debug, info, warn};
use nix::sys::signal::kill;
use nix::unistd::{geteuid, Pid};

use crate::notes::{self, Note};
use crate::reap::{Child, Children};
use crate::remove::{self, Whose};
use crate::table::{tmpdir_inside, Row, Table};

/// How long a monitor may take to leave by itself, in milliseconds.
const LEAVE_MS: u64 = 2000;

/// How long until `Alive` is answered, in milliseconds from the request.
const GIVE_UP_MS: u64 = 10_000;

/// Between two looks at what cannot tell us by itself, in milliseconds.
const LOOK_MS: u64 = 20;

/// A run's monitor, as far as spawnd knows it.
#[derive(Debug, Clone, Copy)]
pub struct Monitor {
    /// Its process id.
    pub pid: i32,
    /// When it started; `None` for our own child, whose id is not reused until we reap it.
    pub start: Option<u64>,
    /// We have reaped it.
    pub reaped: bool,
}

impl Monitor {
    /// Whether it lives. When the system does not say, it does.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.start {
            _ if self.reaped => false,
            None => true,
            Some(start) => cell::is_alive(self.pid, start).unwrap_or(true),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The monitor is about to leave.
    Leaving,
    /// It has left or was killed: emptiness is to be proven.
    Proving,
    /// A child empties the TMPDIR.
    Removing,
}

/// A run's TMPDIR, which is there or may be.
struct Tmpdir {
    /// The root below which the agent made it; `None`: it is one of ours, on the host.
    root: Option<PathBuf>,
    /// User and group that own it.
    owner: (u32, u32),
}

/// One release under way.
pub struct Release {
    key: RunKey,
    profile: u32,
    note: Option<Note>,
    stage: Stage,
    kill_at: u64,
    answer_at: u64,
    answered: bool,
    /// The TMPDIR is below a root of its own.
    inside: bool,
    /// Somebody who is not of this run has the TMPDIR.
    lived_in: bool,
    /// The wait status of the child that emptied the TMPDIR.
    removed: Option<i32>,
}

/// What a step of a release came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to say; look again at this time, in milliseconds.
    Wait(u64),
    /// The answer is due; the rest goes on behind it.
    Answer(Proven),
    /// Nothing is left to do; the answer is due unless it was given.
    Over(Option<Proven>),
}

impl Release {
    /// Begins; `note` is what the launcher wrote, if it came that far and no boot has removed it
    /// since; then `profile` says where the TMPDIR is.
    #[must_use]
    pub fn new(key: RunKey, profile: u32, note: Option<Note>, now: u64) -> Release {
        Release {
            key,
            profile,
            note,
            stage: Stage::Leaving,
            kill_at: now + LEAVE_MS,
            answer_at: now + GIVE_UP_MS,
            answered: false,
            inside: false,
            lived_in: false,
            removed: None,
        }
    }

    /// The child that empties the TMPDIR has ended.
    pub fn removed(&mut self, status: i32) {
        self.removed = Some(status);
    }

    /// Goes as far as it can.
    pub fn step(
        &mut self,
        monitor: Option<Monitor>,
        table: &Table,
        children: &mut Children,
        now: u64,
    ) -> Progress {
        let alive = monitor.filter(Monitor::is_alive);
        if self.stage == Stage::Leaving {
            if alive.is_some() && now < self.kill_at {
                return Progress::Wait(self.kill_at.min(look_again(alive, now)));
            }
            self.stage = Stage::Proving;
            // A launcher that was still at work has written more of it meanwhile.
            if let Ok(Some(note)) = Note::load(&table.paths.notes(), &self.key.stem()) {
                self.note = Some(note);
            }
        }
        if self.stage == Stage::Proving {
            if alive.is_some() || !self.is_empty(table, children) {
                if now >= self.answer_at {
                    return Progress::Over(Some(Proven::Alive));
                }
                self.kill(alive);
                return Progress::Wait(now + LOOK_MS);
            }
            if !self.start_removing(table, children) {
                return self.finish(table);
            }
            self.stage = Stage::Removing;
        }
        if self.removed.is_some() {
            return self.finish(table);
        }
        if self.answered {
            return Progress::Wait(u64::MAX);
        }
        if now < self.answer_at {
            return Progress::Wait(self.answer_at);
        }
        // What is proven is proven; a huge directory must not hold up the run's end.
        self.answered = true;
        Progress::Answer(Proven::Empty)
    }

    /// Whether nothing of the run is left, its monitor being dead.
    fn is_empty(&self, table: &Table, children: &Children) -> bool {
        let Some(note) = &self.note else {
            // Nothing was started before the note was written.
            return children.sweep();
        };
        if !note.is_of_this_boot() {
            return true;
        }
        // When the system does not say, it is not proven.
        cell::is_empty(&note.trace).unwrap_or(false)
            && children.sweep()
            && self.sweep(note, table).unwrap_or(false)
    }

    /// Kills what nobody inherited; whether there was nothing.
    fn sweep(&self, note: &Note, table: &Table) -> io::Result<bool> {
        let strays = note.strays(&table.tmpdir(&self.key.stem()))?;
        for pid in &strays {
            debug!("run {}: killing stray {pid}", self.key.stem());
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        Ok(strays.is_empty())
    }

    /// Kills what still is there. The death of the monitor is enough where there is a container;
    /// going through the tree is for the others.
    fn kill(&self, monitor: Option<Monitor>) {
        if let Some(m) = monitor {
            debug!("run {}: killing monitor {}", self.key.stem(), m.pid);
            if let Err(e) = sys::signal_tree(m.pid, Signal::SIGKILL, true) {
                debug!("run {}: cannot kill: {}", self.key.stem(), reason(&e));
                // It is not a reaper yet, or already gone.
                let _ = kill(Pid::from_raw(m.pid), Signal::SIGKILL);
            }
        }
    }

    /// Starts emptying the TMPDIR; `false` when there is nothing to empty or no way to.
    fn start_removing(&mut self, table: &Table, children: &mut Children) -> bool {
        let stem = self.key.stem();
        let started = match self.find_tmpdir(table) {
            Ok(None) => return false,
            Ok(Some(found)) => self.start_remover(&found, table),
            Err(e) => Err(e),
        };
        match started {
            Ok(pid) => {
                children.add(pid, Child::Remover(self.key));
                true
            }
            Err(e) => {
                warn!("run {stem}: cannot remove its TMPDIR: {}", reason(&e));
                false
            }
        }
    }

    fn start_remover(&mut self, found: &Tmpdir, table: &Table) -> io::Result<i32> {
        let stem = self.key.stem();
        let (ours, theirs) = (table.tmpdir(&stem), tmpdir_inside(&stem));
        self.inside = found.root.is_some();
        let dir = match &found.root {
            None => Whose::Ours(&ours),
            Some(root) => Whose::Theirs { root, dir: &theirs },
        };
        let (uid, gid) = found.owner;
        let drops = geteuid().is_root() && uid != 0;
        let groups = Vec::new();
        let owner = drops.then_some(sys::Ids { uid, gid, groups });
        remove::start(dir, owner.as_ref())
    }

    /// Where its TMPDIR is and whose; `None` when none is left.
    fn find_tmpdir(&mut self, table: &Table) -> io::Result<Option<Tmpdir>> {
        let ours = table.tmpdir(&self.key.stem());
        let Some(note) = &self.note else {
            return self.find_without_note(table, &ours);
        };
        let root = &note.trace.root;
        let on_host = root.as_os_str().is_empty();
        if on_host && try_rmdir(&ours) {
            return Ok(None);
        }
        let root = (!on_host).then(|| root.clone());
        let owner = note.owner;
        Ok(Some(Tmpdir { root, owner }))
    }

    /// A boot may empty the directory of the notes and keep that of the TMPDIRs.
    fn find_without_note(&mut self, table: &Table, ours: &Path) -> io::Result<Option<Tmpdir>> {
        if let Ok(found) = fs::symlink_metadata(ours) {
            // A suite that shares the directory may have an agent of the same number there.
            let entry = format!("TMPDIR={}", ours.display());
            self.lived_in = !sys::find_by_environment(found.uid(), &entry)?.is_empty();
            if self.lived_in {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
        }
        if try_rmdir(ours) {
            let row = table.rows.get(self.profile as usize);
            let inside = |row: &Row| {
                let root = match &row.place {
                    Place::Host => return Ok(None),
                    Place::Root(path) => path.clone(),
                    Place::Jail(name) => cell::jail_root(name)?,
                };
                let (root, owner) = (Some(root), row.owner);
                Ok(Some(Tmpdir { root, owner }))
            };
            return row.map_or(Ok(None), inside);
        }
        // Its parent is ours: whoever it belongs to is whom we gave it to.
        let found = fs::symlink_metadata(ours)?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        // Where the suite has users no agent is root, so this was never an agent's.
        if found.uid() == 0 && table.monitor.is_some() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let owner = (found.uid(), found.gid());
        Ok(Some(Tmpdir { root: None, owner }))
    }

    /// Removes the names that are left; the note last, since without it nobody would know.
    fn finish(&self, table: &Table) -> Progress {
        let stem = self.key.stem();
        if let Some(note) = &self.note {
            self.finish_container(note);
        }
        let left = match self.inside {
            _ if self.lived_in => true,
            true => self.removed.is_some_and(|status| status != 0),
            false => !try_rmdir(&table.tmpdir(&stem)),
        };
        if left {
            warn!("run {stem}: cannot remove all of its TMPDIR: the rest is left there");
        }
        for result in [
            unlink(&table.socket(&stem)),
            notes::remove(&table.paths.notes(), &stem),
        ] {
            if let Err(e) = result {
                warn!("run {stem}: cannot clean up: {}", reason(&e));
            }
        }
        Progress::Over((!self.answered).then_some(Proven::Empty))
    }

    /// What the system may keep of a container that is proven empty.
    fn finish_container(&self, note: &Note) {
        let stem = self.key.stem();
        if let Err(e) = cell::forget_limits(&note.trace) {
            warn!("run {stem}: cannot remove its limits: {}", reason(&e));
        }
        if cell::is_dying(&note.trace).unwrap_or(false) {
            info!(
                "run {stem}: jail {} has no process left but is dying still: \
                 somebody outside holds a socket or file of it",
                note.trace.jid
            );
        }
    }
}

/// Our own child tells by SIGCHLD; another process has to be looked at.
fn look_again(monitor: Option<Monitor>, now: u64) -> u64 {
    match monitor {
        Some(Monitor { start: None, .. }) => u64::MAX,
        _ => now + LOOK_MS,
    }
}

/// Removes an empty directory; whether it is gone. A link in its place is not followed.
fn try_rmdir(dir: &Path) -> bool {
    match fs::remove_dir(dir) {
        Ok(()) => true,
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    }
}

fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
