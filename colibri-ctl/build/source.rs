//! Which source is being built. Used by the build script, and by its test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What is known about the source.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The commit; `None` where nobody says.
    pub commit: Option<String>,
    /// Whether the tree differed from the commit; `None` without one.
    pub dirty: Option<bool>,
}

/// What builds and packages say by `COLIBRI_COMMIT` (a commit, with `-dirty` behind it if the tree
/// differs), else what git says about `top`, else nothing.
#[must_use]
pub fn source(given: Option<&str>, top: &Path) -> Source {
    let said = given.map(str::trim).filter(|s| !s.is_empty());
    let (commit, dirty) = match said {
        Some(s) => match s.strip_suffix("-dirty") {
            Some(commit) => (commit.to_owned(), true),
            None => (s.to_owned(), false),
        },
        None => match from_git(top) {
            Some(found) => found,
            None => {
                return Source {
                    commit: None,
                    dirty: None,
                }
            }
        },
    };
    // It goes into JSON and onto terminals.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    assert!(commit.chars().all(plain), "COLIBRI_COMMIT: not a commit");
    Source {
        commit: Some(commit),
        dirty: Some(dirty),
    }
}

/// The file that changes whenever another commit is checked out.
#[must_use]
pub fn head_log(top: &Path) -> Option<PathBuf> {
    is_top(top)
        .then(|| git(top, &["rev-parse", "--git-path", "logs/HEAD"]))
        .flatten()
        .map(|path| top.join(path))
}

fn from_git(top: &Path) -> Option<(String, bool)> {
    if !is_top(top) {
        return None;
    }
    let commit = git(top, &["rev-parse", "--verify", "HEAD"])?;
    let changes = git(top, &["status", "--porcelain"])?;
    Some((commit, !changes.is_empty()))
}

/// Whether `top` is the top of a work tree: sources that were unpacked inside of somebody else's
/// repository have no commit there.
fn is_top(top: &Path) -> bool {
    let real = |p: &Path| p.canonicalize().ok();
    git(top, &["rev-parse", "--show-toplevel"])
        .is_some_and(|found| real(Path::new(&found)) == real(top))
}

fn git(top: &Path, args: &[&str]) -> Option<String> {
    let out = Command::new("git")
        .arg("--no-optional-locks")
        .args(args)
        .current_dir(top)
        .output()
        .ok()
        .filter(|out| out.status.success())?;
    Some(String::from_utf8(out.stdout).ok()?.trim().to_owned())
}
