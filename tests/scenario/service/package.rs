//! The package for hosts without ports: packed twice, installed, upgraded, uninstalled.

use super::{files, programs, top};
use colibri_tests::daemon::{run, Ran};
use colibri_tests::skip::skip;
use colibri_tests::suite::Scratch;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packs the stand-ins for the programs; the unpacked package.
fn pack(scratch: &Scratch, into: &str) -> PathBuf {
    let target = scratch.path().join(into);
    let mut command = Command::new("sh");
    command.current_dir(top()).arg("tools/package.sh");
    command.arg("--bin").arg(programs(scratch.path()));
    command.env("CARGO_TARGET_DIR", &target);
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS");
    let ran = run(&mut command);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let tarball = target.join("package").read_dir().expect("a package");
    let tarball = tarball.flatten().map(|e| e.path());
    let tarball = tarball
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "xz"));
    let mut tar = Command::new("tar");
    tar.current_dir(scratch.path())
        .arg("-xf")
        .arg(tarball.as_ref().expect("a tarball"));
    let ran = run(&mut tar);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let name = tarball.expect("a tarball");
    let name = name.file_name().and_then(|n| n.to_str()).expect("a name");
    scratch.path().join(name.trim_end_matches(".tar.xz"))
}

fn install(package: &Path, args: &[&str]) -> Ran {
    run(Command::new("sh")
        .arg(package.join("install.sh"))
        .args(args))
}

#[test]
fn the_same_tree_gives_the_same_tarball() {
    let scratch = Scratch::new();
    let sums = ["one", "two"].map(|into| {
        let _ = pack(&scratch, into);
        let dir = scratch.path().join(into).join("package");
        let all = files(&dir).into_iter().map(|f| f.0);
        let tarball: Vec<String> = all.filter(|f| f.ends_with(".tar.xz")).collect();
        assert_eq!(tarball.len(), 1, "{tarball:?}");
        fs::read(dir.join(&tarball[0])).expect("a tarball")
    });
    assert!(sums[0] == sums[1], "two tarballs differ");
    let listing = run(Command::new("sh").arg("-c").arg(format!(
        "tar -tvf {}/one/package/*.tar.xz",
        scratch.path().display()
    )));
    for line in listing.said.lines() {
        assert!(line.contains(" root") && line.contains("wheel"), "{line}");
    }
}

#[test]
fn installs_upgrades_and_uninstalls_without_touching_what_is_yours() {
    let scratch = Scratch::new();
    let package = pack(&scratch, "target");
    let dest = scratch.path().join("dest");
    let d = ["-d", dest.to_str().expect("UTF-8")];
    let ran = install(&package, &d);
    assert_eq!(ran.code, Some(0), "{}", ran.said);

    // What was packed, with the same modes, and a live copy of each sample.
    let packed = files(&package.join("root"));
    let first = files(&dest);
    let live = |name: &str| name.strip_suffix(".sample").map(str::to_owned);
    let mut expected = packed.clone();
    expected.extend(packed.iter().filter_map(|(n, m)| Some((live(n)?, *m))));
    expected.sort();
    assert_eq!(first, expected);

    let config = dest.join("usr/local/etc/colibri/colibri.conf");
    let state = dest.join("var/db/colibri/db");
    fs::write(&config, "mine").expect("written");
    fs::create_dir_all(&state).expect("made");
    fs::write(dest.join("usr/local/sbin/colibrid"), "an older one").expect("written");
    let ran = install(&package, &d);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(!ran.said.contains("made "), "{}", ran.said);
    assert_eq!(files(&dest), first);
    assert_eq!(fs::read_to_string(&config).expect("kept"), "mine");
    let new = fs::read(dest.join("usr/local/sbin/colibrid")).expect("replaced");
    assert_eq!(
        new,
        fs::read(package.join("root/usr/local/sbin/colibrid")).expect("packed")
    );

    for _ in 0..2 {
        let ran = install(&package, &[d[0], d[1], "-u"]);
        assert_eq!(ran.code, Some(0), "{}", ran.said);
        let left: Vec<String> = files(&dest).into_iter().map(|f| f.0).collect();
        assert_eq!(
            left,
            ["colibri", "newsyslog.conf.d", "syslog.d"]
                .map(|dir| format!("usr/local/etc/{dir}/colibri.conf"))
        );
        assert!(state.is_dir());
    }
}

#[test]
fn a_damaged_package_installs_nothing() {
    let scratch = Scratch::new();
    let package = pack(&scratch, "target");
    let dest = scratch.path().join("dest");
    let d = ["-d", dest.to_str().expect("UTF-8")];
    let ctl = package.join("root/usr/local/sbin/colibri-ctl");
    fs::write(&ctl, "changed").expect("written");
    let ran = install(&package, &d);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert!(ran.said.contains("is not what was packed"), "{}", ran.said);
    fs::remove_file(&ctl).expect("removed");
    let ran = install(&package, &d);
    assert!(ran.said.contains("not complete"), "{}", ran.said);
    assert!(!dest.exists());
    for wrong in [&["-x"][..], &["word"], &["-d", ""]] {
        assert_eq!(install(&package, wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn another_system_is_refused() {
    if std::env::consts::OS == "freebsd" {
        return skip("this is the right system");
    }
    let scratch = Scratch::new();
    let ran = install(&pack(&scratch, "target"), &[]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("for FreeBSD"), "{}", ran.said);
}
