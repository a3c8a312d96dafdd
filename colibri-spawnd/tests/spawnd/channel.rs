//! What ends colibri-spawnd when it comes over its channel.

use super::*;
use libcolibri::wire::{Wire, WireError};

/// Bytes of spawnd's first message.
const READY: usize = wire::HEADER + 14;

pub fn wrong_phase() {
    let s = Suite::prepare(&profile("a", "\"/bin/true\"", &agent_user()));
    let (ours, theirs) = chan::pair().unwrap();
    let mut frame = Vec::new();
    wire::encode(
        &ToSpawnd::Start {
            key: KEY,
            profile: 0,
        },
        &mut frame,
    );
    UnixStream::from(ours.try_clone().unwrap())
        .write_all(&frame)
        .unwrap();
    let pid = s.spawn(&theirs);
    assert_eq!(code(harness::wait(pid).unwrap()), 1);
    assert!(
        s.log().contains("asks for Start in phase Setup"),
        "{}",
        s.log()
    );
    assert!(fs::read_dir(s.path("state/runs")).unwrap().next().is_none());
}

fn frame_of(msg: ToSpawnd) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::encode(&msg, &mut frame);
    frame
}

/// A spawnd that has said Ready, and our end of its channel.
fn ready() -> (Suite, i32, UnixStream) {
    let s = Suite::prepare("");
    let (ours, theirs) = chan::pair().unwrap();
    let pid = s.spawn(&theirs);
    drop(theirs);
    let ours = UnixStream::from(ours);
    ours.set_nonblocking(false).unwrap();
    (&ours).read_exact(&mut [0; READY]).unwrap();
    (s, pid, ours)
}

fn ends_for(s: &Suite, pid: i32, what: &str, why: &str) {
    assert_eq!(code(harness::wait(pid).unwrap()), 1, "{what}: {}", s.log());
    let line = format!("colibri-spawnd: error: colibrid: {why}\n");
    assert!(s.log().ends_with(&line), "{what}: {}", s.log());
}

pub fn garbage() {
    let good = frame_of(ToSpawnd::Adopt { key: KEY });
    let change = |at: usize, to: u8| {
        let mut bad = good.clone();
        bad[at] = to;
        bad
    };
    let trailing = {
        let mut bad = change(0, good[0] + 1);
        bad.push(0);
        bad
    };
    let short = change(0, good[0] - 1)[..good.len() - 1].to_vec();
    for (what, bytes, why) in [
        (
            "text",
            b"GET / HTTP/1.0\r\n\r\n".to_vec(),
            WireError::Version(b'H'),
        ),
        (
            "oversize",
            change(3, 1),
            WireError::TooLong {
                len: 16 + (1 << 24),
                max: ToSpawnd::MAX,
            },
        ),
        ("kind", change(4, 99), WireError::Kind(99)),
        ("version", change(6, 99), WireError::Version(99)),
        ("flags", change(7, 1), WireError::Flags(1)),
        ("trailing", trailing, WireError::Trailing(1)),
        ("short", short, WireError::Short),
    ] {
        let (s, pid, mut ours) = ready();
        ours.write_all(&bytes).unwrap();
        ends_for(&s, pid, what, &why.to_string());
    }
}

/// Nothing is done of half a request, and its end is colibrid's end, not an error.
pub fn half_a_request() {
    let (s, pid, mut ours) = ready();
    let frame = frame_of(ToSpawnd::Start {
        key: KEY,
        profile: 0,
    });
    ours.write_all(&frame[..frame.len() - 1]).unwrap();
    drop(ours);
    assert_eq!(code(harness::wait(pid).unwrap()), 0, "{}", s.log());
    assert!(!s.log().contains("error"), "{}", s.log());
    assert!(fs::read_dir(s.path("state/runs")).unwrap().next().is_none());
}

/// However much colibrid says at once, what else is due is done in between.
pub fn flood() {
    let mut s = Suite::script("exit 0");
    let (run, attempt) = (1, 1);
    let key = RunKey { run, attempt };
    let release = frame_of(ToSpawnd::Release { key, profile: 0 });
    let survey = frame_of(ToSpawnd::Survey { token: 5 });
    let all = [release.repeat(200), survey].concat();
    // In one piece, which every system's socket holds.
    s.chan().source().write_all(&all).unwrap();
    // The answer comes with the end of a turn, and the survey is not of the first.
    let proven = Proven::Empty;
    assert_eq!(s.recv(), FromSpawnd::Released { key, proven });
    while s.recv() != (FromSpawnd::Surveyed { token: 5 }) {}
}

/// Whole messages in their turn about runs that are none, and about one that lives.
pub fn strangers() {
    let mut s = Suite::script("cat > /dev/null; sleep 1000");
    let run = s.run(KEY, 0);
    s.send(ToSpawnd::Start {
        key: KEY,
        profile: 0,
    });
    let refused = |key, why| FromSpawnd::Refused { key, why, errno: 0 };
    assert_eq!(s.recv(), refused(KEY, Refusal::Again));
    // Numbers of processes are numbers of no runs.
    let (pid, parent) = (std::process::id(), std::os::unix::process::parent_id());
    for n in [0, 1, u64::from(pid), u64::from(parent), u64::MAX] {
        let key = RunKey { run: n, attempt: n };
        s.send(ToSpawnd::Adopt { key });
        for how in [Kill::Term, Kill::Kill] {
            s.send(ToSpawnd::Signal { key, kill: how });
            assert_eq!(s.recv(), FromSpawnd::Signalled { key, count: 0 });
        }
    }
    assert!(libcolibri::sys::process_start(run.monitor).is_ok());
    drop(run);
    s.release(KEY);
}

/// As many runs as may be known at once: here of dead monitors, so that they cost nothing.
pub fn too_many() {
    const RUNS_MAX: u64 = 10_000;
    let mut s = Suite::script("exit 0");
    let note = "boot 0-0\nmonitor 1 1\nowner 1 1\nprofile 0\ncontainer 0\n";
    for n in 1..=RUNS_MAX {
        let key = RunKey { run: n, attempt: n };
        fs::write(s.path("run/spawnd").join(key.stem()), note).unwrap();
        s.send(ToSpawnd::Adopt { key });
        // So that the channel does not hold much more than its socket does.
        s.send(ToSpawnd::Signal {
            key,
            kill: Kill::Term,
        });
        assert_eq!(s.recv(), FromSpawnd::Signalled { key, count: 0 });
    }
    let key = RunKey { run: 0, attempt: 0 };
    s.send(ToSpawnd::Start { key, profile: 0 });
    let why = Refusal::Full;
    assert_eq!(s.recv(), FromSpawnd::Refused { key, why, errno: 0 });
    assert!(!s.path("state/runs/0-0.journal").exists());
    // One less, and there is room.
    let first = RunKey { run: 1, attempt: 1 };
    s.send(ToSpawnd::Release {
        key: first,
        profile: 0,
    });
    let proven = Proven::Empty;
    assert_eq!(s.recv(), FromSpawnd::Released { key: first, proven });
    s.run(key, 0).ended();
}

pub fn stray_descriptor() {
    for count in [1, 2, 3, 253] {
        let (s, pid, ours) = ready();
        let raw = vec![ours.as_raw_fd(); count];
        let frame = frame_of(ToSpawnd::Adopt { key: KEY });
        nix::sys::socket::sendmsg::<()>(
            ours.as_raw_fd(),
            &[IoSlice::new(&frame)],
            &[nix::sys::socket::ControlMessage::ScmRights(&raw)],
            nix::sys::socket::MsgFlags::empty(),
            None,
        )
        .unwrap();
        ends_for(&s, pid, &format!("{count}"), "unexpected descriptor");
    }
}
