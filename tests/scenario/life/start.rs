//! Starting: the command that starts a suite returns when the suite is ready, or says why not.

use colibri_tests::client::Client;
use colibri_tests::daemon::{run, Daemon};
use colibri_tests::procs;
use colibri_tests::skip::skip;
use colibri_tests::suite::{config_text, is_root, program, Profile, Scratch, Setup, Suite};
use libcolibri::log;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

fn plain() -> Setup {
    Setup {
        profiles: vec![Profile::new("nothing", "rpc", vec!["/bin/true".into()])],
        ..Setup::default()
    }
}

/// Nothing of a suite that did not start is left.
#[track_caller]
fn nothing_left(daemon: &Daemon) {
    assert_eq!(procs::users_of(daemon.dir()), Vec::<i32>::new());
    assert!(Client::connect(&daemon.socket()).is_err());
}

#[test]
fn the_starting_command_returns_when_the_suite_is_ready() {
    let daemon = Daemon::prepare(Scratch::new(), &plain());
    // This also waits until nobody holds the command's stdout and stderr.
    let ran = daemon.launch();
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    // No waiting: ready is ready.
    let mut client = Client::connect(&daemon.socket()).expect("it listens");
    let status = client.call(json!({"cmd": "status"}));
    assert_eq!(status["kept"], true);
    assert_eq!(status["separate"], is_root());
    assert_eq!(status["profiles"], json!(["nothing"]));
    let keeper = daemon.pid().expect("a pid file");
    let suite = procs::children_of(keeper);
    assert_eq!(suite.len(), 1, "{suite:?}");
    assert_eq!(status["pid"], suite[0].pid);
    let keeper = procs::table().into_iter().find(|p| p.pid == keeper);
    let title = keeper.expect("the keeper").title;
    assert!(title.contains("[keeper]"), "{title}");
}

#[test]
fn a_log_that_nobody_reads_is_no_secret() {
    const TOLD: &str = "there was no syslogd: the log is lost until the suite is started again";
    let told = |mut client: Client| {
        let status = client.call(json!({"cmd": "status"}));
        let warnings = status["warnings"].as_array().expect("warnings").clone();
        warnings.contains(&json!(TOLD))
    };
    let daemon = Daemon::start(Scratch::new(), &plain());
    assert_eq!(told(daemon.client()), log::connection().is_err());
    // In the foreground it is read, or nobody wanted it.
    assert!(!told(Suite::start(plain()).client()));
}

#[test]
fn every_program_says_its_version_alike() {
    for name in [
        "colibrid",
        "colibri-spawnd",
        "colibri-schedd",
        "colibri-ctl",
    ] {
        for option in ["-V", "--version"] {
            let ran = run(Command::new(program(name)).arg(option));
            let line = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
            assert_eq!((ran.code, ran.said), (Some(0), line));
        }
    }
}

#[test]
fn a_check_starts_nothing() {
    let daemon = Daemon::prepare(Scratch::new(), &plain());
    let ran = run(&mut daemon.command(&["-n"]));
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(ran.said.contains("configuration OK"), "{}", ran.said);
    for name in ["run", "state", "tmp"] {
        assert!(!daemon.dir().join(name).exists(), "{name} was made");
    }
}

/// What is wrong, the text to put into a good config in place of another, and the place that the
/// message must name.
const BAD: [(&str, &str, &str, &str); 9] = [
    ("syntax", "[limits]", "[limits", "colibri.conf:"),
    (
        "unknown key",
        "[limits]",
        "[limits]\nrun = 1",
        ": limits.run",
    ),
    ("unknown table", "[limits]", "[limit]\n[limits]", ": limit"),
    (
        "wrong type",
        "[limits]",
        "[limits]\nruns = \"1\"",
        ": limits.runs",
    ),
    (
        "out of range",
        "[limits]",
        "[limits]\nevents = 999",
        ": limits.events: must be from 1000",
    ),
    (
        "relative program",
        "/bin/true",
        "bin/true",
        ": profile.nothing.command: ",
    ),
    (
        "unknown mode",
        "mode = \"rpc\"",
        "mode = \"tty\"",
        ": profile.nothing.mode",
    ),
    ("no mode", "mode = \"rpc\"", "", ": profile.nothing"),
    (
        "relative directory",
        "run_dir = \"/",
        "run_dir = \"",
        ": suite.run_dir: must be an absolute path",
    ),
];

#[test]
fn a_bad_config_is_named_by_file_line_and_field() {
    let daemon = Daemon::prepare(Scratch::new(), &plain());
    let good = fs::read_to_string(daemon.config_path()).expect("the config");
    for (what, old, new, place) in BAD {
        assert!(good.contains(old), "{what}");
        daemon.rewrite(&good.replacen(old, new, 1));
        for arg in [&["-n"][..], &[], &["-d"]] {
            let ran = run(&mut daemon.command(arg));
            assert_eq!(ran.code, Some(78), "{what} {arg:?}: {}", ran.said);
            let file = format!("{}:", daemon.config_path().display());
            let at = ran
                .said
                .find(&file)
                .unwrap_or_else(|| panic!("{what}: {}", ran.said));
            let rest = &ran.said[at + file.len()..];
            let line = rest.split(':').next().unwrap_or("");
            assert!(
                line.parse::<u32>().is_ok_and(|n| n > 0),
                "{what}: {}",
                ran.said
            );
            assert!(ran.said.contains(place), "{what}: {}", ran.said);
        }
        nothing_left(&daemon);
    }
    fs::remove_file(daemon.config_path()).expect("removed");
    let ran = daemon.launch();
    assert_eq!(ran.code, Some(78), "{}", ran.said);
    assert!(ran.said.contains("cannot open"), "{}", ran.said);
}

#[test]
fn a_config_that_others_may_write_is_refused_by_root() {
    if !is_root() {
        return skip("needs root");
    }
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::prepare(Scratch::new(), &plain());
    fs::set_permissions(daemon.config_path(), fs::Permissions::from_mode(0o666)).expect("mode");
    let ran = daemon.launch();
    assert_eq!(ran.code, Some(78), "{}", ran.said);
    assert!(ran.said.contains("writable by nobody else"), "{}", ran.said);
    nothing_left(&daemon);
}

#[test]
fn users_that_do_not_exist_are_named() {
    let daemon = Daemon::prepare(Scratch::new(), &plain());
    let good = fs::read_to_string(daemon.config_path()).expect("the config");
    let roles = format!("operator = [\"uid:{}\"]", nix::unistd::geteuid());
    let mut bad = vec![
        good.replace(&roles, "operator = [\"no-such-user\"]"),
        good.replace(&roles, "observer = [\"@no-such-user\"]"),
    ];
    if is_root() {
        bad.push(good.replace("schedd = \"64203:64203\"", "schedd = \"no-such-user\""));
        bad.push(good.replace("user = \"64210:64210\"", "user = \"no-such-user\""));
    } else {
        skip("users of daemons and agents are looked up by root only");
    }
    for text in bad {
        assert_ne!(text, good);
        daemon.rewrite(&text);
        let ran = daemon.launch();
        assert_eq!(ran.code, Some(78), "{}\n{text}", ran.said);
        assert!(ran.said.contains("no-such-user"), "{}", ran.said);
        nothing_left(&daemon);
    }
}

#[test]
fn agents_and_daemons_must_not_be_root_nor_each_other() {
    if !is_root() {
        return skip("needs root");
    }
    let daemon = Daemon::prepare(Scratch::new(), &plain());
    let good = fs::read_to_string(daemon.config_path()).expect("the config");
    let agent = "user = \"64210:64210\"";
    let cases = [
        (agent, "user = \"0:0\"", "must not run as root"),
        (agent, "user = \"root\"", "must not run as root"),
        (agent, "user = \"64201:64210\"", "Colibri's own users"),
        (agent, "user = \"64202:64210\"", "Colibri's own users"),
        (agent, "user = \"64203:64210\"", "Colibri's own users"),
        (agent, "", "must say as whom"),
        (
            "colibrid = \"64201:64201\"",
            "colibrid = \"0:0\"",
            "none of them may be root",
        ),
        (
            "monitor = \"64202:64202\"",
            "monitor = \"root\"",
            "none of them may be root",
        ),
    ];
    for (old, new, says) in cases {
        assert!(good.contains(old), "{old}");
        daemon.rewrite(&good.replace(old, new));
        for arg in [&["-n"][..], &[]] {
            let ran = run(&mut daemon.command(arg));
            assert_eq!(ran.code, Some(78), "{new} {arg:?}: {}", ran.said);
            assert!(ran.said.contains(says), "{new}: {}", ran.said);
        }
        nothing_left(&daemon);
    }
    // The groups open doors as well as the users do.
    for (old, new) in [
        (agent, "user = \"64210:0\""),
        (agent, "user = \"64210:64201\""),
        (agent, "user = \"64210:64202\""),
        (agent, "user = \"64210:64210\"\ngroups = [\"0\"]"),
        (agent, "user = \"64210:64210\"\ngroups = [\"64201\"]"),
    ] {
        daemon.rewrite(&good.replace(old, new));
        let ran = daemon.launch();
        assert_ne!(ran.code, Some(0), "{new} was taken");
        nothing_left(&daemon);
    }
}

#[test]
fn an_unusable_run_directory_fails_the_start() {
    let scratch = Scratch::new();
    fs::write(scratch.path().join("file"), "").expect("a file");
    let daemon = Daemon::prepare(scratch, &plain());
    let good = fs::read_to_string(daemon.config_path()).expect("the config");
    let inside = |name: &str| daemon.dir().join(name).display().to_string();
    let mut cases = vec![
        (inside("file/run"), "cannot make directory"),
        (inside("file"), "is not a directory"),
    ];
    std::os::unix::fs::symlink(daemon.dir(), daemon.dir().join("link")).expect("a link");
    cases.push((inside("link"), "is not a directory"));
    if is_root() {
        let foreign = daemon.dir().join("foreign");
        fs::create_dir(&foreign).expect("a directory");
        std::os::unix::fs::chown(&foreign, Some(64999), None).expect("given away");
        cases.push((inside("foreign"), "belongs to user 64999"));
    } else {
        cases.push(("/usr/colibri-test-run".into(), "cannot make directory"));
    }
    for (dir, says) in cases {
        daemon.rewrite(&good.replace(&inside("run"), &dir));
        let ran = daemon.launch();
        assert_eq!(ran.code, Some(1), "{dir}: {}", ran.said);
        assert!(
            ran.said.contains(says) && ran.said.contains(&dir),
            "{dir}: {}",
            ran.said
        );
        nothing_left(&daemon);
    }
}

/// Copies of some of the programs in a directory of their own.
fn private_bin(dir: &Path, names: &[&str]) {
    fs::create_dir_all(dir).expect("a directory");
    for name in names {
        fs::copy(program(name), dir.join(name)).expect("a copy");
    }
}

#[test]
fn a_missing_daemon_fails_the_start() {
    for missing in ["colibri-spawnd", "colibri-schedd"] {
        let mut daemon = Daemon::prepare(Scratch::new(), &plain());
        let bin = daemon.dir().join("private");
        let all = ["colibrid", "colibri-spawnd", "colibri-schedd"];
        private_bin(&bin, &all);
        fs::remove_file(bin.join(missing)).expect("removed");
        daemon.program = bin.join("colibrid");
        let ran = daemon.launch();
        assert_eq!(ran.code, Some(1), "{missing}: {}", ran.said);
        let path = bin.join(missing).display().to_string();
        assert!(ran.said.contains(&path), "{missing}: {}", ran.said);
        assert!(ran.said.contains("no such file"), "{missing}: {}", ran.said);
        nothing_left(&daemon);
        // What the failed start left is in nobody's way.
        private_bin(&bin, &[missing]);
        let ran = daemon.launch();
        assert_eq!(ran.code, Some(0), "{missing}: {}", ran.said);
    }
}

#[test]
fn a_changed_config_counts_from_the_next_start() {
    let daemon = Daemon::start(Scratch::new(), &plain());
    let before = daemon.parts();
    let mut setup = plain();
    setup
        .profiles
        .push(Profile::new("more", "rpc", vec!["/bin/true".into()]));
    daemon.rewrite(&config_text(daemon.dir(), &setup));
    procs::signal(
        daemon.pid().expect("the keeper"),
        nix::sys::signal::Signal::SIGHUP,
    );
    for pid in before.all() {
        assert!(procs::gone(pid, colibri_tests::wait::LONG));
    }
    let status = daemon.client().call(json!({"cmd": "status"}));
    assert_eq!(status["profiles"], json!(["more", "nothing"]));
}
