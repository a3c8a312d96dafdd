//! A daemon of the suite that has been taken over and says what it must not: its peer ends, with a
//! word in the log, and nothing that it asked for is done.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use colibri_tests::daemon::{end_of, run};
use colibri_tests::suite::{is_root, program, SCHEDD};
use colibri_tests::wait::LONG;
use libcolibri::chan;
use libcolibri::msg::{FromSchedd, FromSpawnd, Proven, RunKey, ToSchedd};
use libcolibri::state::{Accounting, Container};
use libcolibri::wire::WireError;

use crate::stage::{frame, garbage, out_of_turn, suite_that_says};

/// Starts a suite with that liar in it; it must not come up, and must say why.
#[track_caller]
fn is_not_believed(name: &str, what: &str, bytes: &[u8], why: &str) {
    let daemon = suite_that_says(name, bytes);
    let ran = run(&mut daemon.command(&["-d"]));
    assert_eq!(ran.code, Some(1), "{name}, {what}: {}", ran.said);
    let line = format!("\ncolibrid: error: {why}\n");
    assert!(ran.said.contains(&line), "{name}, {what}: {}", ran.said);
}

const KEY: RunKey = RunKey { run: 1, attempt: 1 };

#[test]
fn colibrid_does_not_believe_a_false_schedd() {
    let name = "colibri-schedd";
    for (what, bytes, why) in garbage(&FromSchedd::Ready) {
        is_not_believed(name, what, &bytes, &format!("lost {name}: {why}"));
    }
    let ready = frame(&FromSchedd::Ready);
    let pong = |token| frame(&FromSchedd::Pong { token });
    for (what, bytes) in [
        ("an answer to nothing", pong(1)),
        ("ready twice", ready.repeat(2)),
        ("another answer", [ready, pong(7)].concat()),
    ] {
        is_not_believed(name, what, &bytes, &out_of_turn(name));
    }
}

#[test]
fn colibrid_does_not_believe_a_false_spawnd() {
    let name = "colibri-spawnd";
    let ready = FromSpawnd::Ready {
        generation: 0,
        profiles: 0,
        container: Container::Reaper,
        accounting: Accounting::Absent,
    };
    for (what, bytes, why) in garbage(&ready) {
        is_not_believed(name, what, &bytes, &format!("lost {name}: {why}"));
    }
    let why = "the config changed while starting: colibri-spawnd read another one";
    is_not_believed(name, "another config", &frame(&ready), why);
    let started = frame(&FromSpawnd::Started {
        key: KEY,
        monitor: 1,
    });
    let why = format!("lost {name}: {}", WireError::Flags(0));
    is_not_believed(name, "a monitor without its channel", &started, &why);
    for (what, unasked) in [
        ("no watchdog", FromSpawnd::NoWatchdog { errno: 2 }),
        ("a word on hostd", FromSpawnd::Hostd { errno: 0 }),
        ("the end of a survey", FromSpawnd::Surveyed { token: 1 }),
    ] {
        is_not_believed(name, what, &frame(&unasked), &out_of_turn(name));
    }
}

/// A suite goes on when spawnd speaks of runs that there are not: the attempt is a fence.
#[test]
fn what_is_said_of_no_run_changes_nothing() {
    let released = frame(&FromSpawnd::Released {
        key: KEY,
        proven: Proven::Empty,
    });
    // It never says Ready, so the suite does not come up; what it said before is no reason.
    let daemon = suite_that_says("colibri-spawnd", &released);
    let mut child = daemon
        .command(&["-d"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("colibrid");
    let mut said = String::new();
    let mut errors = child.stderr.take().expect("piped");
    let mut block = [0; 4096];
    while !said.contains("ignored word of stale attempt 1-1") {
        let n = errors.read(&mut block).expect("read");
        assert_ne!(n, 0, "it ended: {said}");
        said.push_str(&String::from_utf8_lossy(&block[..n]));
    }
    assert_eq!(child.try_wait().expect("state"), None, "{said}");
    child.kill().expect("killed");
    let _ = end_of(&mut child);
}

/// The real schedd with our end of its channel.
fn schedd() -> (UnixStream, Child) {
    let (ours, theirs) = chan::pair().expect("pair");
    let ours = UnixStream::from(ours);
    ours.set_nonblocking(false).expect("blocking");
    ours.set_read_timeout(Some(LONG)).expect("a deadline");
    // What cargo leaves open is nobody's there, and schedd would say so.
    libcolibri::sys::cloexec_from(3).expect("close on exec");
    let mut command = Command::new("/bin/sh");
    // The shell puts the descriptors where colibrid would.
    let ids = format!("{}:{}", SCHEDD.0, SCHEDD.1);
    let user = if is_root() {
        format!("-u {ids}")
    } else {
        String::new()
    };
    command
        .arg("-c")
        .arg(format!("exec 3<&0 0</dev/null; exec \"$0\" -d {user}"))
        .arg(program("colibri-schedd"))
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("colibri-schedd");
    // It holds a copy of the other end.
    drop(command);
    let mut stream = ours;
    let mut ready = vec![0; frame(&FromSchedd::Ready).len()];
    stream.read_exact(&mut ready).expect("Ready");
    assert_eq!(ready, frame(&FromSchedd::Ready));
    (stream, child)
}

/// The code with which it ends, and what it has said.
fn ending(mut child: Child) -> (Option<i32>, String) {
    let code = end_of(&mut child);
    let mut said = String::new();
    let errors = child.stderr.as_mut().expect("piped");
    errors.read_to_string(&mut said).expect("text");
    (code, said)
}

#[track_caller]
fn ends_for(child: Child, what: &str, why: &str) {
    let (code, said) = ending(child);
    assert_eq!(code, Some(1), "{what}: {said}");
    let line = format!("colibri-schedd: error: lost colibrid: {why}\n");
    assert!(said.ends_with(&line), "{what}: {said}");
}

#[test]
fn schedd_ends_when_colibrid_sends_garbage() {
    let ping = ToSchedd::Ping { token: 9 };
    for (what, bytes, why) in garbage(&ping) {
        let (mut stream, child) = schedd();
        // It answers while it is asked properly.
        stream.write_all(&frame(&ping)).expect("asked");
        let mut pong = vec![0; frame(&FromSchedd::Pong { token: 9 }).len()];
        stream.read_exact(&mut pong).expect("Pong");
        stream.write_all(&bytes).expect("said");
        ends_for(child, what, &why.to_string());
    }
}

#[test]
fn half_a_message_and_then_nothing_is_the_end_of_colibrid() {
    let ping = frame(&ToSchedd::Ping { token: 9 });
    let (mut stream, child) = schedd();
    stream.write_all(&ping[..ping.len() - 1]).expect("said");
    drop(stream);
    let (code, said) = ending(child);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("error"), "{said}");
}

#[test]
fn schedd_takes_no_descriptor() {
    use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};
    use std::os::fd::AsRawFd;
    for count in [1, 3] {
        let (stream, child) = schedd();
        let ping = frame(&ToSchedd::Ping { token: 9 });
        let fds = vec![stream.as_raw_fd(); count];
        sendmsg::<()>(
            stream.as_raw_fd(),
            &[std::io::IoSlice::new(&ping)],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .expect("sent");
        ends_for(child, "a descriptor", "unexpected descriptor");
    }
}
