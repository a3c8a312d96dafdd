//! What an operator installs on FreeBSD: files, users, the rc.d script.

mod install;
mod package;
mod rc;
mod setup;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The source tree.
fn top() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the tests are");
    let top = Path::new(&package).parent().expect("a tree around it");
    top.to_owned()
}

/// A text file of the tree.
fn text(name: &str) -> String {
    let path = top().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

/// Writes an executable script.
fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path.parent().expect("below something")).expect("a directory");
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

/// Programs to install, in place of the real ones, which are large.
fn programs(dir: &Path) -> PathBuf {
    let bin = dir.join("programs");
    for name in [
        "colibrid",
        "colibri-spawnd",
        "colibri-schedd",
        "colibri-ctl",
    ] {
        script(&bin.join(name), &format!("#!/bin/sh\necho {name} 0.0.0\n"));
    }
    bin
}

/// `make install` for FreeBSD into `dest`.
fn make(target: &str, dest: &Path, bin: &Path) -> Command {
    let mut command = Command::new("make");
    // A make that runs these tests must not pass its own variables on.
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS");
    command.current_dir(top()).arg(target).arg("SYSTEM=FreeBSD");
    command.arg(format!("DESTDIR={}", dest.display()));
    command.arg(format!("BIN_DIR={}", bin.display()));
    command
}

/// Every file below a directory, by its name from there, sorted, with its mode.
fn files(dir: &Path) -> Vec<(String, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        for entry in std::fs::read_dir(&at).expect("a directory").flatten() {
            let meta = entry.metadata().expect("metadata");
            if meta.is_dir() {
                dirs.push(entry.path());
                continue;
            }
            let path = entry.path();
            let name = path.strip_prefix(dir).expect("below").to_str();
            let mode = meta.permissions().mode() & 0o7777;
            found.push((name.expect("UTF-8").to_owned(), mode));
        }
    }
    found.sort();
    found
}
