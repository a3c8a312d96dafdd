//! What can be tried on Linux only: a disk that fills without harm, and a process's waits.

use super::*;
use nix::mount::{mount, MsFlags};
use nix::sched::{unshare, CloneFlags};
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A small file system that only this process and its children see.
fn small_disk() -> PathBuf {
    unshare(CloneFlags::CLONE_NEWNS).expect("mount namespace");
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).expect("private");
    let dir = rig::shared().join("disk");
    std::fs::create_dir_all(&dir).expect("directory");
    let small = Some("size=1m");
    mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), small).expect("tmpfs");
    dir
}

/// Fills it; removing the file makes room again.
fn fill(dir: &Path) -> PathBuf {
    let filler = dir.join("filler");
    let mut file = File::create(&filler).expect("filler");
    while file.write_all(&[0; 4096]).is_ok() {}
    filler
}

pub fn disk_full() {
    let dir = small_disk();
    let script = agent(
        "want prompt; ok c1 prompt; work
         i=0; while [ $i -lt 3000 ]; do
             say tool_execution_start \",\\\"toolCallId\\\":\\\"$i\\\",\\\"toolName\\\":\\\"t\\\"\"
             i=$((i+1))
         done
         done_ late; cat",
    );
    let mut rig = Rig::start(&Spec {
        script: &script,
        dir: Some(dir.clone()),
        ..SPEC
    });
    rig.resume(0);
    rig.until(|r| is_state(r, State::Idle));
    let filler = fill(&dir);
    // Some of it still goes into the journal's last page.
    rig.prompt(1, "go");
    // The agent goes on although nothing can be recorded: the stream is read to its end.
    loop {
        match rig.next().expect("message") {
            FromMonitor::Activity { lines, .. } if lines >= 3006 => break,
            FromMonitor::Entry(e) => assert!(!is_state(&e.record, State::Done)),
            _ => {}
        }
    }
    std::fs::remove_file(&filler).expect("remove");
    rig.until(|r| is_state(r, State::Done));
    rig.send(&ToMonitor::Stop);
    let ended = rig.ended();
    assert_eq!(ended.state, State::Done);
    rig.gone();
    let (mut tools, mut dropped, mut last) = (0, 0, None);
    for entry in rig.read_journal() {
        match entry.record {
            Record::ToolStart { id, .. } => {
                let id = Some(id.parse::<u32>().expect("number"));
                assert!(last < id, "out of order");
                last = id;
                tools += 1;
            }
            // States inside the work are of lesser weight, too.
            Record::Dropped { records } => dropped += records,
            _ => {}
        }
    }
    assert!(dropped > 0 && tools + dropped >= 3000, "{tools}, {dropped}");
}

/// More commands than are taken in while nothing can be recorded, and more than in one turn.
const MANY: u64 = 2000;

pub fn full_and_left() {
    let dir = small_disk();
    let script = agent("cat");
    let mut rig = Rig::start(&Spec {
        script: &script,
        dir: Some(dir.clone()),
        ..SPEC
    });
    rig.resume(0);
    rig.until(|r| is_state(r, State::Idle));
    let filler = fill(&dir);
    let mut bytes = Vec::new();
    for token in 1..=MANY {
        libcolibri::wire::encode(&ToMonitor::Abort { token }, &mut bytes);
    }
    let chan = rig.chan.as_mut().expect("connected");
    // In one piece, so that the end of it is not with us any more.
    chan.source().write_all(&bytes).expect("sent");
    // Whether this colibrid is gone shows behind all that it has said: now that waits for the disk.
    let second = UnixStream::connect(&rig.socket).expect("connect");
    channel::assert_closed(&second);
    rig.chan = None;
    rig.reconnect();
    // The next one is let in and is told what the journal has.
    let seq = rig.resume(0);
    for n in 1..=seq {
        assert_eq!(rig.entry().seq, n);
    }
    std::fs::remove_file(&filler).expect("remove");
    assert_eq!(rig.did(MANY), "there is nothing to abort");
    rig.send(&ToMonitor::Stop);
    rig.ended();
    rig.gone();
    let did = |e: &libcolibri::record::Entry| matches!(e.record, Record::Did { .. });
    let count = rig.read_journal().into_iter().filter(did).count();
    assert_eq!(count as u64, MANY);
}

/// How often a process has given up the processor to wait.
fn waits(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("line").trim().parse().expect("number")
}

pub fn at_rest() {
    let script = agent("cat");
    let mut rig = Rig::start(&Spec {
        script: &script,
        start_timeout: 1,
        ..SPEC
    });
    rig.resume(0);
    // The last word about traffic is the activity message; after it there is silence.
    loop {
        if let FromMonitor::Activity { .. } = rig.next().expect("message") {
            break;
        }
    }
    use std::os::fd::AsFd;
    let quiet = |rig: &Rig, ms: u16| {
        let fd = rig.chan.as_ref().expect("connected").as_fd();
        let mut fds = [nix::poll::PollFd::new(fd, nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(ms)).expect("poll") == 0
    };
    assert!(quiet(&rig, 500));
    let before = waits(rig.monitor);
    assert!(quiet(&rig, 2500));
    assert_eq!(waits(rig.monitor), before);
    rig.send(&ToMonitor::Stop);
    rig.ended();
    rig.gone();
}

/// Milliseconds of processor time that a process has used.
fn used_ms(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split(' ')
        .collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    // utime and stime, in hundredths of a second on every Linux.
    (ticks(12) + ticks(13)) * 10
}

pub fn nameless_signal() {
    let mut rig = Rig::start(&Spec {
        script: "sleep 1000 & kill -63 $$",
        ..SPEC
    });
    rig.resume(0);
    let exited = rig.until(|r| matches!(r, Record::Exited(_)));
    assert_eq!(exited, Record::Exited(Exit::Signal(63)));
    kill_tree(&rig);
    let ended = rig.ended();
    assert_eq!((ended.exit, ended.proof), (Exit::Signal(63), Proof::Reaped));
    rig.gone();
}

pub fn question_left_behind() {
    let script = agent(
        "want '\"type\":\"prompt\"'; ok c1 prompt; work
         say extension_ui_request ',\"id\":\"q\",\"method\":\"confirm\",\"title\":\"Go?\",\"timeout\":500'
         sleep 1000 >/dev/null 2>&1 & exit 3",
    );
    let mut rig = Rig::start(&Spec {
        script: &script,
        ..SPEC
    });
    rig.resume(0);
    rig.until(|r| is_state(r, State::Idle));
    rig.prompt(1, "go");
    rig.until(|r| matches!(r, Record::Asked(d) if d.timeout_ms == 500));
    rig.until(|r| matches!(r, Record::Exited(_)));
    // The answer that the agent would have given itself is overdue after a while.
    let wait = |ms: u16| nix::poll::poll(&mut [], nix::poll::PollTimeout::from(ms)).expect("poll");
    wait(1000);
    let before = used_ms(rig.monitor);
    wait(2000);
    let used = used_ms(rig.monitor) - before;
    assert!(used < 500, "{used} ms of processor time for nothing");
    kill_tree(&rig);
    assert_eq!(rig.ended().exit, Exit::Code(3));
    rig.gone();
}
