//! What ends colibri-spawnd when it comes over its channel.

use super::*;

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

pub fn garbage() {
    let good = frame_of(ToSpawnd::Release { key: KEY });
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
    for (what, bytes) in [
        ("text", b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        ("oversize", change(3, 0xff)),
        ("kind", change(4, 99)),
        ("version", change(6, 99)),
        ("flags", change(7, 1)),
        ("trailing", trailing),
        ("short", change(0, good[0] - 1)[..good.len() - 1].to_vec()),
    ] {
        let s = Suite::prepare("");
        let (ours, theirs) = chan::pair().unwrap();
        let pid = s.spawn(&theirs);
        drop(theirs);
        let mut ours = UnixStream::from(ours);
        ours.set_nonblocking(false).unwrap();
        let mut ready = [0; READY];
        ours.read_exact(&mut ready).unwrap();
        ours.write_all(&bytes).unwrap();
        assert_eq!(code(harness::wait(pid).unwrap()), 1, "{what}: {}", s.log());
    }
}

pub fn stray_descriptor() {
    let s = Suite::prepare("");
    let (ours, theirs) = chan::pair().unwrap();
    let pid = s.spawn(&theirs);
    drop(theirs);
    let raw = [ours.as_raw_fd()];
    let frame = frame_of(ToSpawnd::Release { key: KEY });
    let ours = UnixStream::from(ours);
    ours.set_nonblocking(false).unwrap();
    (&ours).read_exact(&mut [0; READY]).unwrap();
    nix::sys::socket::sendmsg::<()>(
        ours.as_raw_fd(),
        &[IoSlice::new(&frame)],
        &[nix::sys::socket::ControlMessage::ScmRights(&raw)],
        nix::sys::socket::MsgFlags::empty(),
        None,
    )
    .unwrap();
    assert_eq!(code(harness::wait(pid).unwrap()), 1);
    assert!(s.log().contains("unexpected descriptor"), "{}", s.log());
}
