//! Where the programs under test are: known when a test runs, not when it is compiled, since it
//! may run on another machine.

use std::path::{Path, PathBuf};

/// A program of the workspace: in `COLIBRI_BIN_DIR`, else beside the running test's directory.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let dir = std::env::var_os("COLIBRI_BIN_DIR").map_or_else(
        || {
            let test = std::env::current_exe().expect("my own path");
            let mut dir = test.parent().unwrap_or(Path::new("/")).to_path_buf();
            if dir.ends_with("deps") {
                dir.pop();
            }
            dir
        },
        PathBuf::from,
    );
    let path = dir.join(name);
    assert!(
        path.exists(),
        "{} is missing: build the workspace first",
        path.display()
    );
    path
}
