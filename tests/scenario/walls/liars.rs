//! A daemon of the suite that has been taken over and says what it must not: its peer ends, with a
//! word in the log, and nothing that it asked for is done.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use colibri_tests::daemon::{end_of, run};
use colibri_tests::suite::{is_root, program, SCHEDD};
use colibri_tests::wait::LONG;
use libcolibri::chan;
use libcolibri::msg::{FromSchedd, FromSpawnd, Proven, RunKey, ToSchedd};
use libcolibri::state::{Accounting, Container};

use crate::stage::{bent, frame, garbage, suite_that_says};

/// Starts a suite with that liar in it; it must not come up, and must say why.
#[track_caller]
fn is_not_believed(name: &str, what: &str, bytes: &[u8]) {
    let daemon = suite_that_says(name, bytes);
    let ran = run(&mut daemon.command(&["-d"]));
    assert_eq!(ran.code, Some(1), "{name}, {what}: {}", ran.said);
    let told = ran.said.contains(&format!("lost {name}"))
        || ran
            .said
            .contains(&format!("{name} said something out of turn"))
        || ran.said.contains("read another one");
    assert!(told, "{name}, {what}: {}", ran.said);
    assert!(
        !ran.said.contains("panicked"),
        "{name}, {what}: {}",
        ran.said
    );
}

const KEY: RunKey = RunKey { run: 1, attempt: 1 };

#[test]
fn colibrid_does_not_believe_a_false_schedd() {
    let ready = frame(&FromSchedd::Ready);
    for (what, bytes) in garbage(&ready) {
        is_not_believed("colibri-schedd", what, &bytes);
    }
    let pong = frame(&FromSchedd::Pong { token: 1 });
    is_not_believed("colibri-schedd", "an answer to nothing", &pong);
    let twice = [ready.clone(), ready.clone()].concat();
    is_not_believed("colibri-schedd", "ready twice", &twice);
    let wrong = frame(&FromSchedd::Pong { token: 7 });
    is_not_believed("colibri-schedd", "another answer", &[ready, wrong].concat());
}

#[test]
fn colibrid_does_not_believe_a_false_spawnd() {
    let ready = frame(&FromSpawnd::Ready {
        generation: 0,
        profiles: 0,
        container: Container::Reaper,
        accounting: Accounting::Absent,
    });
    for (what, bytes) in garbage(&ready) {
        is_not_believed("colibri-spawnd", what, &bytes);
    }
    is_not_believed("colibri-spawnd", "another config", &ready);
    let started = frame(&FromSpawnd::Started {
        key: KEY,
        monitor: 1,
    });
    is_not_believed("colibri-spawnd", "a monitor without its channel", &started);
    let unasked = frame(&FromSpawnd::NoWatchdog { errno: 2 });
    is_not_believed("colibri-spawnd", "a watchdog that nobody wanted", &unasked);
    let unasked = frame(&FromSpawnd::Hostd { errno: 0 });
    is_not_believed("colibri-spawnd", "a word on hostd to nobody", &unasked);
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

#[test]
fn schedd_ends_when_colibrid_sends_garbage() {
    let ping = frame(&ToSchedd::Ping { token: 9 });
    let cut = ping[..ping.len() - 1].to_vec();
    let mut wrong = garbage(&ping);
    let long = [&bent(&ping, 0, ping[0] + 1)[..], &[0]].concat();
    wrong.push(("a byte too many", long));
    for (what, bytes) in wrong {
        let (mut stream, mut child) = schedd();
        // It answers while it is asked properly.
        stream.write_all(&ping).expect("asked");
        let mut pong = vec![0; frame(&FromSchedd::Pong { token: 9 }).len()];
        stream.read_exact(&mut pong).expect("Pong");
        stream.write_all(&bytes).expect("said");
        assert_eq!(end_of(&mut child), Some(1), "{what}");
    }
    // Half a message and then nothing is the end of colibrid, not an error of schedd's.
    let (mut stream, mut child) = schedd();
    stream.write_all(&cut).expect("said");
    drop(stream);
    let code = end_of(&mut child);
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
}

#[test]
fn schedd_takes_no_descriptor() {
    use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};
    use std::os::fd::AsRawFd;
    let (stream, mut child) = schedd();
    let ping = frame(&ToSchedd::Ping { token: 9 });
    let fds = [stream.as_fd().as_raw_fd()];
    sendmsg::<()>(
        stream.as_raw_fd(),
        &[std::io::IoSlice::new(&ping)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )
    .expect("sent");
    assert_eq!(end_of(&mut child), Some(1));
}
