//! The time zones that schedules name: each is read once, below a directory that was opened before
//! confinement, and kept until the suite starts again.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::tz::TimeZone;
use libcolibri::error::cannot;
use libcolibri::msg::ZONE_MAX;
use libcolibri::warn;
use nix::fcntl::{openat, OFlag};
use nix::sys::stat::Mode;

/// Largest file of a zone, in bytes; the largest that there is has less than 4 KiB.
const FILE_MAX: u64 = 64 * 1024;
/// Most zones; the database has about 600 names.
const ZONES_MAX: usize = 4096;

/// Where a zone's file comes from.
pub type Source = Box<dyn Fn(&str) -> Option<Vec<u8>>>;

/// The zones that were asked for so far, by number.
pub struct Zones {
    source: Source,
    known: Vec<(String, TimeZone)>,
}

impl Zones {
    /// Zones whose files come from here. UTC needs none and has the number 0.
    #[must_use]
    pub fn new(source: Source) -> Zones {
        let known = vec![("UTC".to_owned(), TimeZone::UTC)];
        Zones { source, known }
    }

    /// The number of a zone; an empty name is UTC. `None` if the database does not have it.
    pub fn find(&mut self, name: &str) -> Option<u16> {
        let name = if name.is_empty() { "UTC" } else { name };
        if let Some(n) = self.known.iter().position(|(known, _)| known == name) {
            return u16::try_from(n).ok();
        }
        if !is_zone(name) || self.known.len() == ZONES_MAX {
            return None;
        }
        let zone = TimeZone::tzif(name, &(self.source)(name)?).ok()?;
        self.known.push((name.to_owned(), zone));
        u16::try_from(self.known.len() - 1).ok()
    }

    /// The zone of a number that [`Zones::find`] gave.
    #[must_use]
    pub fn get(&self, number: u16) -> &TimeZone {
        &self.known[usize::from(number)].1
    }
}

/// Whether a text can be the name of a zone: it is going to be looked up below a directory.
fn is_zone(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+');
    let part = |p: &str| !p.is_empty() && p.bytes().all(plain);
    name.len() <= ZONE_MAX && name.split('/').all(part)
}

/// The directory of the time zones. Without it there is UTC, and who needs more is told.
#[must_use]
pub fn open(path: &Path) -> Option<OwnedFd> {
    let opened = File::options()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY)
        .open(path);
    match opened {
        Ok(file) => Some(file.into()),
        Err(e) => {
            warn!("{}: UTC is the only time zone", cannot("open", path, &e));
            None
        }
    }
}

/// Files below a directory; none without one.
#[must_use]
pub fn below(dir: Option<OwnedFd>) -> Source {
    Box::new(move |name| {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = File::from(openat(dir.as_ref()?, name, flags, Mode::empty()).ok()?);
        let mut data = Vec::new();
        let read = file.take(FILE_MAX).read_to_end(&mut data);
        read.is_ok().then_some(data)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_the_directory_are_looked_up() {
        for name in ["Europe/Berlin", "Etc/GMT+5", "America/Port-au-Prince"] {
            assert!(is_zone(name), "{name}");
        }
        let long = "x".repeat(ZONE_MAX + 1);
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            ".",
            "a.b",
            &long,
            "a b",
        ] {
            assert!(!is_zone(name), "{name}");
        }
    }

    #[test]
    fn a_zone_is_read_once_and_kept() {
        let asked = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = std::rc::Rc::clone(&asked);
        let utc = include_bytes!("../tests/zones/Asia/Kathmandu");
        let mut zones = Zones::new(Box::new(move |name| {
            count.set(count.get() + 1);
            (name == "Asia/Kathmandu").then(|| utc.to_vec())
        }));
        assert_eq!((zones.find(""), zones.find("UTC")), (Some(0), Some(0)));
        assert_eq!(zones.find("Asia/Kathmandu"), Some(1));
        assert_eq!(zones.find("Asia/Kathmandu"), Some(1));
        assert_eq!(asked.get(), 1);
        assert_eq!(zones.find("Asia/Nowhere"), None);
    }
}
