//! spawnd's notes: one small file per run, so that a spawnd that was started later can signal the
//! run and prove it dead. Written by the launcher as root, readable by root only.
//!
//! One line each: `boot ID`, `monitor PID START`, `owner UID GID`, `profile INDEX`,
//! `container CODE`, and, once the container stands, `cell JID INIT START` and, for a jail, its
//! name and, if it is not the host's, its root: `jail NAME`, `root PATH`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use libcolibri::state::Container;
use libcolibri::sys;
use libcolibri::sys::cell::Trace;

use crate::release::Monitor;

/// Longer than any note.
const NOTE_MAX: u64 = 4096;

/// What is known about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The boot in which it was started: after another boot nothing of it lives.
    pub boot: String,
    /// Process id of the monitor.
    pub monitor: i32,
    /// When that process started.
    pub start: u64,
    /// User and group that own its TMPDIR.
    pub owner: (u32, u32),
    /// Index of its profile.
    pub profile: u32,
    /// Its kind of container.
    pub container: Container,
    /// How to find the container; empty when the launcher did not come that far.
    pub trace: Trace,
}

impl Note {
    /// The note of this process, which is a launcher.
    ///
    /// # Errors
    /// When the system does not say who we are.
    pub fn own(owner: (u32, u32), profile: u32, container: Container) -> io::Result<Note> {
        let monitor = nix::unistd::getpid().as_raw();
        Ok(Note {
            boot: sys::boot_id()?,
            monitor,
            start: sys::process_start(monitor)?,
            owner,
            profile,
            container,
            trace: Trace::default(),
        })
    }

    /// Whether the machine has not been started anew since: otherwise nothing of the run lives, and
    /// the same numbers are somebody else. When the system does not say, it is of this boot.
    #[must_use]
    pub fn is_of_this_boot(&self) -> bool {
        sys::boot_id().map_or(true, |now| now == self.boot)
    }

    /// The run's monitor, as a spawnd that did not start it knows it.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        Monitor {
            pid: self.monitor,
            start: Some(self.start),
            reaped: !self.is_of_this_boot(),
        }
    }

    /// Processes of a run without a container that nobody inherited, because the spawnd that had
    /// started it died, too: found by their TMPDIR.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn strays(&self, tmpdir: &Path) -> io::Result<Vec<i32>> {
        match self.container {
            Container::Reaper => {
                let entry = format!("TMPDIR={}", tmpdir.display());
                sys::find_by_environment(self.owner.0, &entry)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn head(&self) -> String {
        let (uid, gid) = self.owner;
        format!(
            "boot {}\nmonitor {} {}\nowner {uid} {gid}\nprofile {}\ncontainer {}\n",
            self.boot,
            self.monitor,
            self.start,
            self.profile,
            self.container.code()
        )
    }

    /// Reads the text of a note; `None` when it is not one, torn ones included. A torn last line
    /// counts as absent: what it tells of had not begun.
    fn parse(text: &str) -> Option<Note> {
        let mut lines = text[..text.rfind('\n')?].lines();
        let mut next = |name: &str| -> Option<Vec<&str>> {
            let rest = lines.next()?.strip_prefix(name)?.strip_prefix(' ')?;
            Some(rest.split(' ').collect())
        };
        let boot = next("boot")?.first()?.to_string();
        let monitor = next("monitor")?;
        let owner = next("owner")?;
        let profile = next("profile")?;
        let container = next("container")?;
        let mut trace = Trace::default();
        if let Some(cell) = next("cell") {
            trace.jid = cell.first()?.parse().ok()?;
            trace.init = cell.get(1)?.parse().ok()?;
            trace.init_start = cell.get(2)?.parse().ok()?;
            trace.jail = next("jail").map_or(String::new(), |words| words.join(" "));
            trace.root = next("root").map_or(PathBuf::new(), |words| words.join(" ").into());
        }
        Some(Note {
            boot,
            monitor: monitor.first()?.parse().ok()?,
            start: monitor.get(1)?.parse().ok()?,
            owner: (owner.first()?.parse().ok()?, owner.get(1)?.parse().ok()?),
            profile: profile.first()?.parse().ok()?,
            container: Container::from_code(container.first()?.parse().ok()?)?,
            trace,
        })
    }

    /// Reads the note of a run; `None` when there is none.
    ///
    /// # Errors
    /// `InvalidData` for a file that is not a whole note, and whatever the system says.
    pub fn load(dir: &Path, stem: &str) -> io::Result<Option<Note>> {
        let file = match File::open(dir.join(stem)) {
            Ok(f) => f,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut text = String::new();
        file.take(NOTE_MAX).read_to_string(&mut text)?;
        match Note::parse(&text) {
            Some(note) => Ok(Some(note)),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// A note that is being written.
pub struct Writer {
    file: File,
    path: PathBuf,
}

impl Writer {
    /// Writes what is known before the container exists: should this process be killed now,
    /// a later spawnd knows whom to look for.
    ///
    /// # Errors
    /// When there is a note already, or no room. Nothing is left then.
    pub fn create(dir: &Path, stem: &str, note: &Note) -> io::Result<Writer> {
        let path = dir.join(stem);
        let file = File::options()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let mut writer = Writer { file, path };
        if let Err(e) = writer.file.write_all(note.head().as_bytes()) {
            // A torn note would say nothing.
            let _ = fs::remove_file(&writer.path);
            return Err(e);
        }
        Ok(writer)
    }

    /// Adds the container.
    ///
    /// # Errors
    /// When there is no room: the run must not be started.
    pub fn add(&mut self, trace: &Trace) -> io::Result<()> {
        let mut line = String::new();
        let Trace {
            jid,
            jail,
            root,
            init,
            init_start,
        } = trace;
        let root = root.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        // Writing to a string cannot fail.
        let _ = writeln!(line, "cell {jid} {init} {init_start}");
        for (word, value) in [("jail", jail.as_str()), ("root", root)] {
            if value.contains('\n') {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            if !value.is_empty() {
                let _ = writeln!(line, "{word} {value}");
            }
        }
        self.file.write_all(line.as_bytes())
    }
}

/// Removes the note of a run; none is fine.
///
/// # Errors
/// Whatever the system says.
pub fn remove(dir: &Path, stem: &str) -> io::Result<()> {
    match fs::remove_file(dir.join(stem)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        Note {
            boot: "0a-1b".into(),
            monitor: 12,
            start: 34,
            owner: (5, 6),
            profile: 7,
            container: Container::PidNamespace,
            trace: Trace::default(),
        }
    }

    #[test]
    fn a_note_is_read_back_with_and_without_its_container() {
        let n = note();
        assert_eq!(Note::parse(&n.head()), Some(n.clone()));
        let mut trace = Trace {
            jid: 1,
            init: 2,
            init_start: 3,
            ..Trace::default()
        };
        let text = format!("{}cell 1 2 3\n", n.head());
        let with = |trace: &Trace| Note {
            trace: trace.clone(),
            ..n.clone()
        };
        assert_eq!(Note::parse(&text), Some(with(&trace)));
        trace.jail = "agents.colibri-1-1".into();
        trace.root = "/jails/with a space".into();
        let text = format!("{text}jail agents.colibri-1-1\nroot /jails/with a space\n");
        assert_eq!(Note::parse(&text), Some(with(&trace)));
    }

    #[test]
    fn a_torn_note_is_none() {
        let text = note().head();
        for cut in 0..text.len() {
            assert_eq!(Note::parse(&text[..cut]), None, "{cut}");
        }
    }
}
