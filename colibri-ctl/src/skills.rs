//! Skills and artifacts on the disk: found, read and checked before this program confines itself.
//!
//! Symbolic links are not followed, and everything has a limit: what is read here goes to colibrid
//! and to agents.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use libcolibri::error::{cannot, Fatal, Result};
use libcolibri::skill::{
    self, check, is_path, is_read, is_sum, Checked, FILES_MAX, MANIFEST_FILE, MANIFEST_MAX,
    SKILL_FILE, SUMS_FILE,
};
use nix::libc;

/// Deepest directories that are looked at.
const DEPTH_MAX: usize = 16;
/// Most directories that are looked at.
const DIRECTORIES_MAX: usize = 10_000;
/// Largest file that is summed, in bytes.
const FILE_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Longest list of sums, in bytes.
const SUMS_MAX: u64 = 1024 * 1024;

/// A directory with a skill or an artifact, and what came of reading it.
#[derive(Debug)]
pub struct Bundle {
    /// The directory.
    pub source: PathBuf,
    /// Its files, in order.
    pub read: std::result::Result<(Vec<skill::File>, Checked), String>,
}

/// Finds and reads all that there is below some directories, in the order of their paths.
///
/// # Errors
/// A directory that cannot be read, or nothing there. A skill that is not in order is no error.
pub fn find(directories: &[PathBuf]) -> Result<Vec<Bundle>> {
    let mut sources = Vec::new();
    let mut seen = 0;
    for dir in directories {
        search(dir, 0, &mut seen, &mut sources)?;
    }
    sources.sort();
    sources.dedup();
    if sources.is_empty() {
        let what = format!("there is no {SKILL_FILE}, and no {MANIFEST_FILE} with {SUMS_FILE}");
        return Err(Fatal::new(what));
    }
    let read = |source: PathBuf| Bundle {
        read: read(&source).map_err(|f| f.message),
        source,
    };
    Ok(sources.into_iter().map(read).collect())
}

/// What is below a skill belongs to it.
fn search(dir: &Path, depth: usize, seen: &mut usize, found: &mut Vec<PathBuf>) -> Result<()> {
    *seen += 1;
    if *seen > DIRECTORIES_MAX || depth > DEPTH_MAX {
        let what = format!("more than {DIRECTORIES_MAX} directories, or deeper than {DEPTH_MAX}");
        return Err(Fatal::new(format!("{}: {what}", dir.display())));
    }
    let is_file = |name| fs::symlink_metadata(dir.join(name)).is_ok_and(|m| m.is_file());
    if is_file(SKILL_FILE) || (is_file(MANIFEST_FILE) && is_file(SUMS_FILE)) {
        found.push(dir.to_owned());
        return Ok(());
    }
    for (path, kind) in entries(dir)? {
        let hidden = path
            .file_name()
            .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if kind.is_dir() && !hidden {
            search(&path, depth + 1, seen, found)?;
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<(PathBuf, fs::FileType)>> {
    let failed = |e: io::Error| cannot("read", dir, &e);
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        all.push((entry.path(), entry.file_type().map_err(failed)?));
        if all.len() > DIRECTORIES_MAX {
            let what = format!("{}: more than {DIRECTORIES_MAX} entries", dir.display());
            return Err(Fatal::new(what));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

fn read(source: &Path) -> Result<(Vec<skill::File>, Checked)> {
    let is_skill = source.join(SKILL_FILE).is_file();
    let listed = match fs::symlink_metadata(source.join(SUMS_FILE)) {
        Ok(m) if m.is_file() => Some(sums(&source.join(SUMS_FILE))?),
        _ => None,
    };
    let mut files = Vec::new();
    if is_skill {
        collect(source, source, 0, &mut files)?;
    } else {
        for (path, _) in listed.iter().flatten() {
            files.push(file(source, path, path == MANIFEST_FILE)?);
        }
        if !files.iter().any(|f| f.path == MANIFEST_FILE) {
            files.push(file(source, MANIFEST_FILE, true)?);
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    for (path, sum) in listed.iter().flatten() {
        match files.iter().find(|f| f.path == *path) {
            Some(f) if f.sha256 == *sum => {}
            Some(_) => return Err(Fatal::new(format!("{path}: its sum is not the listed one"))),
            None => return Err(Fatal::new(format!("{path}: is listed, but not there"))),
        }
    }
    let checked = check(&files).map_err(Fatal::new)?;
    Ok((files, checked))
}

/// Every file of a skill, but hidden ones.
fn collect(root: &Path, dir: &Path, depth: usize, files: &mut Vec<skill::File>) -> Result<()> {
    for (path, kind) in entries(dir)? {
        let below = path.strip_prefix(root).unwrap_or(&path);
        let Some(name) = below.to_str() else {
            return Err(Fatal::new(format!("{}: not UTF-8", below.display())));
        };
        let hidden = path
            .file_name()
            .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if hidden || name == SUMS_FILE {
            continue;
        }
        if kind.is_dir() && depth < DEPTH_MAX {
            collect(root, &path, depth + 1, files)?;
        } else if kind.is_file() && files.len() < FILES_MAX {
            files.push(file(root, name, is_read(name))?);
        } else {
            let what = "is a link or something odd, or one too many or too deep";
            return Err(Fatal::new(format!("{name}: {what}")));
        }
    }
    Ok(())
}

/// One file, summed; with its text if that is wanted.
fn file(root: &Path, name: &str, with_text: bool) -> Result<skill::File> {
    if !is_path(name) {
        return Err(Fatal::new(format!(
            "{}: not a path that is taken",
            name.escape_debug()
        )));
    }
    let path = root.join(name);
    let mut input = open(&path)?;
    if !with_text {
        let sum = skill::sha256_of(&mut input, FILE_MAX);
        let (sha256, bytes) = sum.map_err(|e| cannot("read", &path, &e))?;
        return Ok(skill::File {
            path: name.into(),
            sha256,
            bytes,
            text: None,
        });
    }
    let text = text(&path, input, MANIFEST_MAX as u64)?;
    Ok(skill::File {
        path: name.into(),
        sha256: skill::sha256(text.as_bytes()),
        bytes: text.len() as u64,
        text: Some(text),
    })
}

/// Opens a file that is one: not the target of a link, and nothing that blocks.
fn open(path: &Path) -> Result<File> {
    let failed = |e: io::Error| cannot("open", path, &e);
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path);
    let file = file.map_err(failed)?;
    match file.metadata().map_err(failed)?.is_file() {
        true => Ok(file),
        false => Err(Fatal::new(format!("{}: not a file", path.display()))),
    }
}

fn text(path: &Path, input: File, most: u64) -> Result<String> {
    let mut bytes = Vec::new();
    let read = input.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|e| cannot("read", path, &e))?;
    if bytes.len() as u64 > most {
        let what = format!("{}: longer than {most} bytes", path.display());
        return Err(Fatal::new(what));
    }
    String::from_utf8(bytes).map_err(|_| Fatal::new(format!("{}: not UTF-8", path.display())))
}

/// The lines of a list of sums: path and sum.
fn sums(path: &Path) -> Result<Vec<(String, String)>> {
    let text = text(path, open(path)?, SUMS_MAX)?;
    let mut all = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let bad = |what: &str| Err(Fatal::new(format!("{SUMS_FILE}:{}: {what}", n + 1)));
        // Two blanks, or a blank and the star of a binary file.
        let parts = line.split_once("  ").or_else(|| line.split_once(" *"));
        let Some((sum, name)) = parts else {
            return bad("must be a sum, two blanks and a path");
        };
        let name = name.strip_prefix("./").unwrap_or(name);
        let sum = sum.to_ascii_lowercase();
        if !is_sum(&sum) || !is_path(name) || name == SUMS_FILE {
            return bad("the sum or the path is none");
        }
        if all.len() == FILES_MAX || all.iter().any(|(known, _)| known == name) {
            return bad("the path stands there twice, or there are too many");
        }
        all.push((name.to_owned(), sum));
    }
    Ok(all)
}
