//! `make install` on FreeBSD's paths, and the port's list of what it installs.

use super::{files, make, programs, text, top};
use colibri_tests::daemon::run;
use colibri_tests::suite::Scratch;
use std::fs;
use std::process::Command;

/// Installed by one run of make, as names below the prefix.
fn installed(scratch: &Scratch) -> Vec<(String, u32)> {
    let dest = scratch.path().join("dest");
    let ran = run(&mut make("install", &dest, &programs(scratch.path())));
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    files(&dest.join("usr/local"))
}

#[test]
fn the_ports_list_names_what_is_installed_with_its_modes() {
    let scratch = Scratch::new();
    // USE_RC_SUBR adds the scripts to the list.
    let mut listed: Vec<(String, Option<u32>)> = ["colibrid", "colibri_firstboot"]
        .map(|name| (format!("etc/rc.d/{name}"), Some(0o755)))
        .into();
    let makefile = text("port/Makefile");
    assert!(makefile.contains("USE_RC_SUBR=\tcolibrid colibri_firstboot\n"));
    for line in text("port/pkg-plist").lines() {
        let (keyword, path) = line.rsplit_once(' ').unwrap_or(("", line));
        let mode = keyword
            .split_once("(root,wheel,")
            .map(|(_, mode)| u32::from_str_radix(&mode[..4], 8).expect("a mode"));
        assert_eq!(keyword.starts_with("@sample"), path.ends_with(".sample"));
        listed.push((path.trim_end_matches(".gz").to_owned(), mode));
    }
    listed.sort();
    let installed = installed(&scratch);
    let names =
        |all: &[(String, u32)]| -> Vec<String> { all.iter().map(|f| f.0.clone()).collect() };
    let in_list: Vec<String> = listed.iter().map(|f| f.0.clone()).collect();
    assert_eq!(in_list, names(&installed));
    for ((name, want), (_, have)) in listed.iter().zip(&installed) {
        // The framework's default for what has no mode in the list.
        assert_eq!(want.unwrap_or(0o644), *have, "{name}");
    }
}

#[test]
fn installed_scripts_are_whole_and_shell() {
    let scratch = Scratch::new();
    let mut scripts = 0;
    for (name, mode) in installed(&scratch) {
        let path = scratch.path().join("dest/usr/local").join(&name);
        let text = fs::read_to_string(&path).expect("text");
        assert!(!text.contains("%%"), "{name} has an unfilled place");
        if mode == 0o755 && !name.starts_with("sbin/") {
            let ran = run(Command::new("sh").arg("-n").arg(&path));
            assert_eq!((ran.code, ran.said.as_str()), (Some(0), ""), "{name}");
            scripts += 1;
        }
    }
    assert_eq!(scripts, 4, "rc.d, periodic and libexec");
}

#[test]
fn the_ports_rc_scripts_are_those_of_the_tree() {
    for name in ["colibrid.in", "colibri_firstboot.in"] {
        let port = fs::read(top().join("port/files").join(name)).expect("the port's");
        let own = fs::read(top().join("rc.d").join(name)).expect("the tree's");
        assert_eq!(port, own, "{name}");
    }
}

#[test]
fn uninstall_leaves_what_the_operator_wrote_and_nothing_else() {
    let scratch = Scratch::new();
    let _ = installed(&scratch);
    let dest = scratch.path().join("dest");
    let own = dest.join("usr/local/etc/colibri/colibri.conf");
    fs::write(&own, "mine").expect("written");
    let bin = programs(scratch.path());
    // Over it again: only samples are replaced.
    for target in ["install", "uninstall"] {
        let ran = run(&mut make(target, &dest, &bin));
        assert_eq!(ran.code, Some(0), "{}", ran.said);
    }
    let left: Vec<String> = files(&dest).into_iter().map(|f| f.0).collect();
    assert_eq!(left, ["usr/local/etc/colibri/colibri.conf"]);
    assert_eq!(fs::read_to_string(own).expect("still there"), "mine");
}
