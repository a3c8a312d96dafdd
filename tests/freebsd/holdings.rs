//! The rights of every descriptor of every live process, seen from outside by procstat(1), are
//! those of a role in its table.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use colibri_tests::daemon::Daemon;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, COLIBRID, MONITOR, SCHEDD};
use libcolibri::sandbox::{policy, Confinement, Right};
use serde_json::Value;

/// procstat's abbreviation of a right.
fn short(right: Right) -> &'static str {
    match right {
        Right::Read => "rd",
        Right::Write => "wr",
        Right::Seek => "se",
        Right::Fstat => "fs",
        Right::Fsync => "fy",
        Right::Ftruncate => "ft",
        Right::Flock => "fl",
        Right::Event => "ev",
        Right::KqueueEvent => "ke",
        Right::KqueueChange => "kc",
        Right::Accept => "at",
        Right::GetSockOpt => "gs",
        Right::Shutdown => "sh",
        Right::Lookup => "lo",
        Right::UnlinkAt => "un",
        Right::Fexecve => "fe",
    }
}

/// Names for sets of rights that procstat shows beside the rights themselves.
const ALIASES: [&str; 13] = [
    "prd", "pwr", "mmr", "mmw", "mmx", "mrw", "mrx", "mwx", "mma", "re", "sd", "scl", "ssr",
];

fn procstat(what: &[&str], pid: i32) -> Value {
    let out = Command::new("/usr/bin/procstat")
        .args(["--libxo", "json"])
        .args(what)
        .arg(pid.to_string())
        .output()
        .expect("procstat");
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| {
        panic!(
            "procstat {what:?} {pid}: {e}: {}",
            String::from_utf8_lossy(&out.stdout)
        )
    })
}

/// Rights by descriptor number.
fn rights_of(pid: i32) -> BTreeMap<i64, BTreeSet<String>> {
    let all = procstat(&["fd", "-C"], pid);
    let files = all["procstat"]["files"][pid.to_string()]["files"].clone();
    let files = files
        .as_array()
        .unwrap_or_else(|| panic!("no files in {all}"));
    let mut found = BTreeMap::new();
    for f in files {
        // Names instead of numbers: text, cwd, root, jail.
        let number = f["fd"].as_i64().or_else(|| f["fd"].as_str()?.parse().ok());
        let Some(number) = number else { continue };
        let rights = f["capabilities"].as_array().cloned().unwrap_or_default();
        let rights = rights
            .iter()
            .filter_map(Value::as_str)
            .filter(|r| !ALIASES.contains(r))
            .map(str::to_owned)
            .collect();
        found.insert(number, rights);
    }
    assert!(found.len() > 3, "{all}");
    found
}

#[track_caller]
fn holds(pid: i32, table: &Confinement) {
    let allowed: Vec<(&str, BTreeSet<String>)> = table
        .roles
        .iter()
        .map(|r| {
            (
                r.name,
                r.rights.iter().map(|r| short(*r).to_owned()).collect(),
            )
        })
        .collect();
    for (fd, rights) in rights_of(pid) {
        assert!(
            allowed.iter().any(|(_, a)| *a == rights),
            "{} ({pid}): descriptor {fd} has {rights:?}, which no role of its table has",
            table.process
        );
    }
}

#[track_caller]
fn is(pid: i32, ids: (u32, u32), confined: bool) {
    let all = procstat(&["-s"], pid);
    let cred = &all["procstat"]["credentials"][pid.to_string()];
    let flags = cred["cr_flags"].as_str().unwrap_or_default();
    assert_eq!(flags.contains('C'), confined, "{all}");
    for (key, id) in [
        ("uid", ids.0),
        ("ruid", ids.0),
        ("svuid", ids.0),
        ("rgid", ids.1),
    ] {
        assert_eq!(cred[key], id, "{key} of {pid}: {all}");
    }
}

#[test]
fn every_descriptor_has_the_rights_of_a_role() {
    if !super::agent::root() {
        return;
    }
    let scratch = Scratch::new();
    let (profile, mut steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let daemon = Daemon::start(scratch, &setup);
    let mut client = daemon.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
    let monitor = i32::try_from(started["monitor"].as_i64().expect("pid")).expect("fits");
    client.wait_state(run, "working");
    let parts = daemon.parts();
    is(parts.colibrid, COLIBRID, true);
    is(parts.schedd, SCHEDD, true);
    is(monitor, MONITOR, true);
    is(parts.spawnd, (0, 0), false);
    holds(parts.colibrid, &policy::COLIBRID);
    holds(parts.schedd, &policy::SCHEDD);
    // Outside of capability mode it could open everything anew; so much the better to know what it has.
    holds(parts.spawnd, &policy::SPAWND);
    holds(monitor, &policy::MONITOR);
    steps.settle();
    steps.exit(0);
    client.wait_ended(run);
}
