//! Bakes into colibri-ctl what it was built from and by what: `colibri-ctl version -j` prints it,
//! and a finished binary can be searched for it.

#[path = "build/source.rs"]
mod source;

use std::env;
use std::path::Path;
use std::process::Command;

/// What of the tree ends up in a program; a change there may make it differ from the commit.
const WATCHED: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "libcolibri",
    "colibrid",
    "colibri-spawnd",
    "colibri-schedd",
    "colibri-ctl",
];

fn main() {
    let var = |name: &str| env::var(name).unwrap_or_default();
    let here = var("CARGO_MANIFEST_DIR");
    let top = Path::new(&here).parent().unwrap_or(Path::new("/"));

    println!("cargo::rerun-if-env-changed=COLIBRI_COMMIT");
    for name in WATCHED {
        println!("cargo::rerun-if-changed={}", top.join(name).display());
    }
    if let Some(log) = source::head_log(top) {
        println!("cargo::rerun-if-changed={}", log.display());
    }

    let given = env::var("COLIBRI_COMMIT").ok();
    let source = source::source(given.as_deref(), top);
    let commit = source.commit.as_deref().unwrap_or("unknown");
    let dirty = source.dirty.map_or("null".into(), |d| d.to_string());
    let features: Vec<String> = env::vars()
        .filter_map(|(name, _)| name.strip_prefix("CARGO_FEATURE_").map(str::to_lowercase))
        .map(|name| format!("{name:?}"))
        .collect();
    println!(
        "cargo::rustc-env=COLIBRI_BUILD={{\"version\":\"{}\",\"commit\":\"{commit}\",\
         \"dirty\":{dirty},\"target\":\"{}\",\"rustc\":\"{}\",\"profile\":\"{}\",\
         \"features\":[{}],\"tls\":\"none\"}}",
        var("CARGO_PKG_VERSION"),
        var("TARGET"),
        compiler(&var("RUSTC")),
        var("PROFILE"),
        features.join(","),
    );
}

/// The compiler's version, without its name.
fn compiler(rustc: &str) -> String {
    let out = Command::new(rustc).arg("--version").output();
    let said = out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let version = said.unwrap_or_default();
    let version = version.trim().trim_start_matches("rustc ");
    assert!(
        !version.is_empty() && !version.contains(['"', '\\']),
        "cannot tell the version of {rustc}"
    );
    version.to_owned()
}
