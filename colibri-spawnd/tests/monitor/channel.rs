//! colibrid's end of the run socket: who may use it, what is said on it, and what ends it.

use super::*;

pub fn any_record() {
    let script = format!("cat >/dev/null; cat {}; sleep 1000", plain());
    let mut rig = Rig::start(&Spec {
        mode: JSON,
        script: &script,
        ..SPEC
    });
    rig.resume(0);
    rig.prompt(1, "go");
    rig.until(|r| is_state(r, State::Done));
    let journal = rig.read_journal();
    let last = journal.len() as u64;
    for from in 0..=last {
        // Dies while the rest is on its way to it.
        rig.chan = None;
        rig.reconnect();
        assert_eq!(rig.resume(from), last);
        if from < last {
            assert_eq!(rig.entry(), journal[from as usize]);
        }
    }
    // And goes on live where it was, without a gap and without a repetition.
    rig.chan = None;
    rig.reconnect();
    rig.resume(last);
    kill_tree(&rig);
    let mut seq = last;
    loop {
        let entry = rig.entry();
        seq += 1;
        assert_eq!(entry.seq, seq);
        if matches!(entry.record, Record::Ended(_)) {
            break;
        }
    }
    rig.gone();
}

pub fn one_connection() {
    let mut rig = Rig::start(&Spec {
        script: "cat",
        ..SPEC
    });
    rig.resume(0);
    let second = std::os::unix::net::UnixStream::connect(&rig.socket).expect("connect");
    assert_closed(&second);
    // The first one did not notice.
    rig.send(&ToMonitor::Abort { token: 1 });
    assert_eq!(rig.did(1), "there is nothing to abort");
    rig.chan = None;
    rig.reconnect();
    rig.resume(0);
    rig.send(&ToMonitor::Stop);
    rig.ended();
    rig.gone();
}

/// The other end closes without a word.
pub fn assert_closed(mut stream: &std::os::unix::net::UnixStream) {
    use std::io::Read;
    use std::os::fd::AsFd;
    rig::readable(stream.as_fd());
    assert!(matches!(stream.read(&mut [0; 8]), Ok(0)), "not closed");
}

pub fn wrong_user() {
    use std::os::unix::fs::PermissionsExt;
    let mut rig = Rig::start(&Spec {
        script: "cat",
        colibrid: Some(12_345),
        ..SPEC
    });
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&rig.socket, open).expect("mode");
    let try_as = |uid: u32| match sys::fork().expect("fork") {
        Fork::Parent(pid) => harness::wait(pid).expect("try"),
        Fork::Child => {
            let groups = Vec::new();
            sys::drop_to(&sys::Ids {
                uid,
                gid: uid,
                groups,
            })
            .expect("drop");
            let stream = std::os::unix::net::UnixStream::connect(&rig.socket).expect("connect");
            use std::os::fd::AsFd;
            rig::readable(stream.as_fd());
            let said = std::io::Read::read(&mut &stream, &mut [0; 8]);
            sys::exit_now(said.expect("read") as i32)
        }
    };
    use nix::sys::wait::WaitStatus::Exited;
    rig.chan = None;
    assert!(matches!(try_as(12_346), Exited(_, 0)));
    // Hello begins with its length.
    assert!(matches!(try_as(12_345), Exited(_, 8)));
    rig.reconnect();
    rig.resume(0);
    rig.send(&ToMonitor::Stop);
    rig.ended();
    rig.gone();
}

pub fn garbage() {
    use std::io::Write;
    let mut rig = Rig::start(&Spec {
        script: "cat",
        ..SPEC
    });
    rig.chan = None;
    let version = libcolibri::wire::MONITOR_VERSION;
    let frame = |len: u8, kind: u8, version: u8| {
        let mut bytes = vec![len, 0, 0, 0, kind, 0, version, 0];
        bytes.resize(8 + usize::from(len), 0);
        bytes
    };
    let tries = [
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        vec![0xff, 0xff, 0xff, 0xff, 1, 0, version, 0],
        frame(8, 1, version + 1),
        frame(8, 9, version),
        frame(9, 1, version),
    ];
    for bytes in &tries {
        let stream = heard(&rig);
        (&stream).write_all(bytes).expect("write");
        wait_closed(&stream);
    }
    // Half of a Resume, and then nothing.
    let stream = heard(&rig);
    (&stream)
        .write_all(&frame(8, 1, version)[..15])
        .expect("write");
    stream.shutdown(std::net::Shutdown::Write).expect("shut");
    wait_closed(&stream);
    rig.reconnect();
    rig.resume(0);
    rig.send(&ToMonitor::Stop);
    rig.ended();
    rig.gone();
}

/// Descriptors that nobody announced end the connection, and are closed.
pub fn stray_descriptors() {
    use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};
    use std::os::fd::{AsFd, AsRawFd};
    let mut rig = Rig::start(&Spec {
        script: "cat",
        ..SPEC
    });
    rig.chan = None;
    let mut resume = Vec::new();
    libcolibri::wire::encode(&ToMonitor::Resume { from_seq: 0 }, &mut resume);
    for count in [1, 2, 3, 253] {
        let stream = heard(&rig);
        let (mut here, there) = std::io::pipe().expect("pipe");
        let fds = vec![there.as_raw_fd(); count];
        sendmsg::<()>(
            stream.as_raw_fd(),
            &[std::io::IoSlice::new(&resume)],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .expect("sent");
        drop(there);
        wait_closed(&stream);
        // Its end shows that nobody has the other end any more.
        rig::readable(here.as_fd());
        let got = std::io::Read::read(&mut here, &mut [0; 8]);
        assert!(matches!(got, Ok(0)), "{count}: {got:?}");
    }
    rig.reconnect();
    rig.resume(0);
    rig.send(&ToMonitor::Stop);
    rig.ended();
    rig.gone();
}

/// A connection on which the monitor has said Hello. Until it has seen the end of the one before, it
/// refuses another.
fn heard(rig: &Rig) -> std::os::unix::net::UnixStream {
    use std::io::Read;
    loop {
        let stream = std::os::unix::net::UnixStream::connect(&rig.socket).expect("connect");
        if (&stream).read_exact(&mut [0; 32]).is_ok() {
            return stream;
        }
    }
}

/// Reads to the end of what the monitor says.
fn wait_closed(mut stream: &std::os::unix::net::UnixStream) {
    use std::io::Read;
    use std::os::fd::AsFd;
    let mut said = 0;
    loop {
        rig::readable(stream.as_fd());
        match stream.read(&mut [0; 64]) {
            Ok(n) if n > 0 => said += n,
            Ok(_) => break,
            Err(e) => {
                assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
                break;
            }
        }
    }
    assert_eq!(said, 0, "bytes after Hello");
}

pub fn resume_first() {
    let mut rig = Rig::start(&Spec {
        script: "cat",
        ..SPEC
    });
    assert!(matches!(rig.next(), Ok(FromMonitor::Hello { .. })));
    rig.send(&ToMonitor::Stop);
    assert!(rig.next().is_err());
    rig.reconnect();
    // More than there is: not the colibrid of this run.
    assert!(rig.resume(1_000) < 1_000);
    assert!(rig.next().is_err());
    rig.reconnect();
    rig.resume(0);
    rig.send(&ToMonitor::Resume { from_seq: 0 });
    loop {
        match rig.next() {
            Ok(FromMonitor::Entry(e)) => assert!(!matches!(e.record, Record::Stopping)),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    rig.reconnect();
    rig.resume(0);
    rig.send(&ToMonitor::Stop);
    rig.ended();
    rig.gone();
}
