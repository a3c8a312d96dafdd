//! A schedd that has been taken over and exits, or does not when it should. It has the least rights
//! of all; neither may decide whether there is a suite.
//!
//! It is played by a script that says at once all that colibrid waits for, and then does what the
//! test writes into a pipe; it never looks at its channel.

use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;

use colibri_tests::daemon::{end_of, run, Daemon};
use colibri_tests::procs::{alive, gone, signal, users_of};
use colibri_tests::wait::{must, LONG};
use libcolibri::msg::FromSchedd;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::json;

use crate::stage::{frame, suite_with};

/// A suite with that schedd, not started yet, and the pipe.
fn liar() -> (Daemon, File) {
    let said = [
        frame(&FromSchedd::Ready),
        // The answer to the one question that is always asked.
        frame(&FromSchedd::Pong { token: 1 }),
    ]
    .concat();
    let script = "read order <\"${0%/bin/*}/orders\"; eval \"$order\"";
    let daemon = suite_with("colibri-schedd", &said, script);
    let pipe = daemon.dir().join("orders");
    nix::unistd::mkfifo(&pipe, Mode::from_bits_truncate(0o600)).expect("a pipe");
    let pipe = File::options().read(true).write(true).open(pipe);
    (daemon, pipe.expect("its end"))
}

fn started() -> (Daemon, File) {
    let (daemon, pipe) = liar();
    let ran = daemon.launch();
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    (daemon, pipe)
}

/// Has the liar exit while its channel stays open, which another process holds: that it has exited
/// is then all that colibrid sees.
fn exit(pipe: &mut File, code: i32) {
    let holder = "sleep 1000 & echo $! >\"${0%/bin/*}/holder\"";
    writeln!(pipe, "{holder}; exit {code}").expect("told");
}

/// Ends that other process.
fn end_holder(daemon: &Daemon) {
    let text = fs::read_to_string(daemon.dir().join("holder")).expect("who holds it");
    signal(text.trim().parse().expect("a number"), Signal::SIGKILL);
}

/// All that an exit status can say to a keeper: done, again, the config.
const CODES: [i32; 4] = [0, 1, 75, 78];

#[test]
fn with_what_status_it_exits_does_not_matter() {
    let (daemon, mut pipe) = started();
    let keeper = daemon.pid().expect("the keeper");
    for code in CODES {
        let before = daemon.parts();
        exit(&mut pipe, code);
        for pid in before.all() {
            assert!(gone(pid, LONG), "{code}: {pid} of {before:?} lives");
        }
        end_holder(&daemon);
        let status = daemon.client().call(json!({"cmd": "status"}));
        assert_eq!(status["kept"], true, "{code}: {status}");
        assert_eq!(daemon.pid(), Some(keeper), "{code}");
    }
    assert!(alive(keeper));
}

/// What the keeper sees: no order, so it waits longer each time.
#[test]
fn its_status_is_not_that_of_the_suite() {
    for code in CODES {
        let (daemon, mut pipe) = liar();
        let mut child = daemon
            .command(&["-d"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("colibrid");
        let _ = daemon.client();
        exit(&mut pipe, code);
        assert_eq!(end_of(&mut child), Some(1), "{code}");
        end_holder(&daemon);
    }
}

#[test]
fn only_spawnd_can_refuse_the_config_and_only_at_the_start() {
    for (name, code, told) in [
        ("colibri-schedd", 78, 1),
        ("colibri-schedd", 0, 1),
        ("colibri-schedd", 75, 1),
        ("colibri-spawnd", 78, 78),
        ("colibri-spawnd", 0, 1),
        ("colibri-spawnd", 75, 1),
    ] {
        let daemon = suite_with(name, b"", &format!("exit {code}"));
        let ran = run(&mut daemon.command(&["-d"]));
        assert_eq!(ran.code, Some(told), "{name}, {code}: {}", ran.said);
        let word = format!("lost child: {name} exited with {code}\n");
        assert!(ran.said.contains(&word), "{name}, {code}: {}", ran.said);
    }
}

/// What the liar in a suite does of all this is nothing: it does not even see that colibrid goes.
#[test]
fn one_that_does_not_go_is_made_to_go() {
    let (daemon, _pipe) = started();
    // Killed, then asked to end: each time nothing is left of it, and the next suite starts.
    let before = daemon.parts();
    signal(before.colibrid, Signal::SIGKILL);
    for pid in before.all() {
        assert!(gone(pid, LONG), "{pid} of {before:?} lives");
    }
    for _ in 0..2 {
        let keeper = daemon.pid().expect("the keeper");
        let parts = daemon.parts();
        signal(keeper, Signal::SIGTERM);
        for pid in parts.all().into_iter().chain([keeper]) {
            assert!(gone(pid, LONG), "{pid} of {parts:?} lives");
        }
        // What a liar that is a script has started goes after it.
        must("nobody there", LONG, || {
            users_of(daemon.dir()).is_empty().then_some(())
        });
        assert!(!daemon.socket().exists() && !daemon.pid_file().exists());
        let ran = daemon.launch();
        assert_eq!(ran.code, Some(0), "{}", ran.said);
    }
}

/// With spawnd nobody is left who could kill it. It holds nothing that the next suite needs.
#[test]
fn one_that_is_left_is_in_nobodys_way() {
    let (daemon, _pipe) = started();
    let before = daemon.parts();
    signal(before.spawnd, Signal::SIGKILL);
    for pid in [before.spawnd, before.colibrid] {
        assert!(gone(pid, LONG), "{pid} of {before:?} lives");
    }
    assert_ne!(daemon.parts().schedd, before.schedd);
    assert!(alive(before.schedd), "the test needs one that stays");
    signal(before.schedd, Signal::SIGKILL);
}
