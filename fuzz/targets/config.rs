//! The config file: an error names the file and one of its lines; what is accepted keeps the rules
//! that root relies on.
#![no_main]

use libcolibri::config::{hash, Config, Place, Profile, NAME_MAX, PROFILES_MAX};
use libcolibri::error::EX_CONFIG;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

const FILE: &str = "/etc/fuzz.conf";

fuzz_target!(|data: &[u8]| match Config::parse(Path::new(FILE), data) {
    Ok(config) => accepted(&config, data),
    Err(fatal) => {
        assert_eq!(fatal.code, EX_CONFIG);
        refused(&fatal.message, data);
    }
});

fn refused(message: &str, data: &[u8]) {
    let rest = message
        .strip_prefix(FILE)
        .and_then(|m| m.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no file: {message:?}"));
    let (line, what) = rest.split_once(": ").unwrap_or_default();
    let line: usize = line
        .parse()
        .unwrap_or_else(|_| panic!("no line: {message:?}"));
    let lines = 1 + data.iter().filter(|b| **b == b'\n').count();
    assert!((1..=lines).contains(&line), "{message:?} of {lines} lines");
    assert!(!what.trim().is_empty(), "says nothing: {message:?}");
    assert!(!message.contains('\n'), "more than one line: {message:?}");
}

fn accepted(config: &Config, data: &[u8]) {
    assert_eq!(config.generation, hash(data));
    assert_eq!(config.file, Path::new(FILE));
    let paths = &config.paths;
    for dir in [&paths.run_dir, &paths.state_dir, &paths.tmp_dir] {
        safe(dir);
    }
    assert!(config.profiles.len() <= PROFILES_MAX);
    for (at, profile) in config.profiles.iter().enumerate() {
        let found = config.profile(&profile.name).map(|(n, _)| n as usize);
        assert_eq!(found, Some(at), "two profiles of one name");
        check(profile);
    }
}

/// What root will do with a profile needs no further look at it.
fn check(profile: &Profile) {
    for name in [&profile.name, &profile.agent] {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        assert!(!name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(plain));
    }
    assert!(profile.command[0].starts_with('/'));
    assert!(profile.command.iter().all(|word| !word.contains('\0')));
    assert!(profile.command.iter().any(|word| word == "--mode"));
    assert!((10..=19).contains(&profile.nice));
    for (name, value) in &profile.env {
        assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'));
    }
    safe(&profile.cwd);
    if let Place::Root(root) = &profile.place {
        safe(root);
    }
}

fn safe(path: &Path) {
    let bytes = path.as_os_str().as_encoded_bytes();
    assert!(path.is_absolute() && !bytes.contains(&0));
    assert!(!path.components().any(|c| c.as_os_str() == ".."));
}
