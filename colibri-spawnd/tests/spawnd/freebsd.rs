//! What FreeBSD shows of processes: by procstat(1), inside of a jail, too.

use std::process::Command;

use super::*;

/// Starts a program in a new session: there is no setsid(1).
pub const SETSID: &str = "daemon";

/// The best container there is, with and without root.
pub fn is_best(container: Container) -> bool {
    container
        == match geteuid().is_root() {
            true => Container::Jail,
            false => Container::Reaper,
        }
}

/// What the agent's script writes down of itself.
pub const IDENTITY: &str = "procstat -h -f $$ > $OUT/fds; procstat -h -i $$ > $OUT/signals; \
    proccontrol -m nonewprivs -q -p $$ > $OUT/privs; \
    ps -o pid= -o pgid= -o sid= -p $$ > $OUT/ids";

/// Its descriptors, signals and privileges as of [`IDENTITY`].
pub fn assert_nothing_of_ours(s: &Suite) {
    let fds = s.out("fds");
    let mut numbers = Vec::new();
    for line in fds.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Ok(n) = words[2].parse::<u32>() {
            assert_eq!(words[3], "p", "a pipe: {line}");
            numbers.push(n);
        }
    }
    assert_eq!(numbers, [0, 1, 2], "{fds}");
    assert_eq!(s.out("privs").trim(), "enabled");
    // Ignored signals would be inherited by everything. These do nothing by default.
    let harmless = ["URG", "CONT", "CHLD", "IO", "WINCH", "INFO"];
    let signals = s.out("signals");
    assert!(signals.lines().count() > 30, "{signals}");
    for line in signals.lines().filter(|l| l.ends_with("I-")) {
        let name = line.split_whitespace().nth(2).unwrap();
        assert!(harmless.contains(&name), "{line}");
    }
}

/// Nothing is hidden in a jail with the host's root, but closed; processes are hidden.
pub fn agent_view() {
    let mut s = Suite::script(
        "cd $OUT/..; ls run/runs run/spawnd state/runs > $OUT/closed 2> $OUT/refused; \
         ls -A $TMPDIR > $OUT/own; ls -d tmp/* > $OUT/tmp; ps -ax -o pid= > $OUT/procs; \
         touch run/x state/x tmp/x 2> $OUT/denied; umount run 2>> $OUT/denied; \
         kill -9 1; sleep 1000 & kill $!; echo done > $OUT/done",
    );
    fs::create_dir(s.path("tmp/1-1")).unwrap();
    let ended = s.run(KEY, 0).ended();
    assert_eq!(ended.exit, Exit::Code(0));
    assert_eq!(s.out("done").trim(), "done");
    assert_eq!(s.out("own"), "");
    // The directories themselves are named.
    let closed = s.out("closed");
    assert!(
        closed.lines().all(|l| l.is_empty() || l.ends_with(':')),
        "{closed}"
    );
    assert_eq!(s.out("refused").lines().count(), 3, "{}", s.out("refused"));
    assert!(!s.out("tmp").contains("1-1"), "{}", s.out("tmp"));
    // The shell, ps.
    assert!(s.out("procs").lines().count() <= 2, "{}", s.out("procs"));
    assert_eq!(s.out("denied").lines().count(), 4, "{}", s.out("denied"));
    fs::remove_dir(s.path("tmp/1-1")).unwrap();
}

fn procstat(args: &[&str], pid: i32) -> String {
    let out = Command::new("/usr/bin/procstat")
        .arg("-h")
        .args(args)
        .arg(pid.to_string())
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// The monitor's user and group, and that it has no environment.
pub fn assert_monitor(pid: i32) {
    let shown = procstat(&["-s"], pid);
    let ids = vec![MONITOR.to_string(); 6].join(" ");
    let words: Vec<&str> = shown.split_whitespace().skip(2).collect();
    assert_eq!(words[..6].join(" "), ids, "{shown}");
    let groups: HashSet<&str> = words.last().unwrap().split(',').collect();
    assert_eq!(groups, HashSet::from([MONITOR.to_string().as_str()]));
    let environment = procstat(&["-e"], pid);
    let words: Vec<&str> = environment.split_whitespace().skip(2).collect();
    assert!(words.is_empty() || words == ["-"], "{environment}");
}

/// How many descriptors a process has.
pub fn count_descriptors(pid: i32) -> usize {
    let shown = procstat(&["-f"], pid);
    let number = |line: &&str| {
        let fd = line.split_whitespace().nth(2);
        fd.is_some_and(|fd| fd.parse::<u32>().is_ok())
    };
    shown.lines().filter(number).count()
}
