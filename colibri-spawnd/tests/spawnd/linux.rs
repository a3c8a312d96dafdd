//! What Linux shows of processes: by /proc, inside of a container, too.

use super::*;

/// Starts a program in a new session.
pub const SETSID: &str = "setsid";

/// The best container there is, with and without root.
pub fn is_best(container: Container) -> bool {
    matches!(
        container,
        Container::PidNamespace | Container::UserNamespace
    )
}

/// What the agent's script writes down of itself.
pub const IDENTITY: &str = "ls -l /proc/self/fd > $OUT/fds; cat /proc/self/status > $OUT/status; \
    cut -d' ' -f 1,5,6 /proc/$$/stat > $OUT/ids";

/// Its descriptors, signals and privileges as of [`IDENTITY`].
pub fn assert_nothing_of_ours(s: &Suite) {
    // 0 to 2 are ours, one is the shell's own redirection's or ls's directory.
    let fds = s.out("fds");
    let numbers: Vec<&str> = fds
        .lines()
        .filter_map(|l| l.split_once(" -> ")?.0.rsplit(' ').next())
        .collect();
    assert_eq!(numbers, ["0", "1", "2", "3"], "{fds}");
    for (n, line) in fds.lines().filter(|l| l.contains("->")).enumerate() {
        match n {
            0 | 2 => assert!(line.contains("pipe:"), "{line}"),
            1 => assert!(line.ends_with("/out/fds"), "{line}"),
            _ => assert!(line.contains("/proc/"), "{line}"),
        }
    }
    let status = s.out("status");
    for zero in ["SigBlk:", "CapPrm:", "CapEff:", "CapAmb:"] {
        let line = status.lines().find(|l| l.starts_with(zero)).unwrap();
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
    assert!(status.contains("NoNewPrivs:\t1"));
    // Ignored signals would be inherited by everything. 32 and 33 are the C library's own, which
    // nobody can change.
    let ignored = status.lines().find(|l| l.starts_with("SigIgn:")).unwrap();
    let set = u64::from_str_radix(ignored.rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(set & !(3 << 31), 0, "{ignored}");
}

pub fn agent_view() {
    let mut s = Suite::script(
        "cd $OUT/..; ls -A run > $OUT/run; ls -A state > $OUT/state; \
         ls -A $TMPDIR > $OUT/own; ls -d tmp/* > $OUT/tmp; ls -d /proc/[0-9]* > $OUT/procs; \
         touch run/x state/x tmp/x 2> $OUT/denied; umount run 2>> $OUT/denied; \
         kill -9 1; sleep 1000 & kill $!; echo done > $OUT/done",
    );
    fs::create_dir(s.path("tmp/1-1")).unwrap();
    let ended = s.run(KEY, 0).ended();
    assert_eq!(ended.exit, Exit::Code(0));
    assert_eq!(s.out("done").trim(), "done");
    for dir in ["run", "state", "own"] {
        assert_eq!(s.out(dir), "", "{dir}");
    }
    if geteuid().is_root() {
        // Its name is all that could be known; the parent cannot be listed.
        assert!(!s.out("tmp").contains("1-1"));
    }
    // The init, the shell, ls.
    assert!(s.out("procs").lines().count() <= 4, "{}", s.out("procs"));
    assert_eq!(s.out("denied").lines().count(), 4, "{}", s.out("denied"));
    fs::remove_dir(s.path("tmp/1-1")).unwrap();
}

/// The monitor's user and group, and that it has no environment.
pub fn assert_monitor(pid: i32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in ["Uid", "Gid"] {
        let expect = format!("{line}:\t{MONITOR}\t{MONITOR}\t{MONITOR}\t{MONITOR}");
        assert!(status.contains(&expect), "{status}");
    }
    assert!(status.contains("Groups:\t \n"), "{status}");
    // Whoever lists the processes of a run finds no secret in an init's memory map of spawnd.
    let env = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(env.is_empty());
}

/// How many descriptors a process has.
pub fn count_descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
