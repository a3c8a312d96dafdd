//! What can be tried on Linux only: a disk that fills without harm, and a process's waits.

use super::*;
use nix::mount::{mount, MsFlags};
use nix::sched::{unshare, CloneFlags};
use std::io::Write;

pub fn disk_full() {
    unshare(CloneFlags::CLONE_NEWNS).expect("mount namespace");
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).expect("private");
    let dir = rig::shared().join("disk");
    std::fs::create_dir_all(&dir).expect("directory");
    let small = Some("size=1m");
    mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), small).expect("tmpfs");

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
    let filler = dir.join("filler");
    let mut file = std::fs::File::create(&filler).expect("filler");
    while file.write_all(&[0; 4096]).is_ok() {}
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
    drop(file);
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
