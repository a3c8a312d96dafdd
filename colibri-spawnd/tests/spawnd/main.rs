//! The real colibri-spawnd, its launchers, inits and monitors, with shell scripts for agents.

mod channel;
#[path = "../../../libcolibri/tests/harness/mod.rs"]
mod harness;
mod suite;
#[cfg_attr(target_os = "freebsd", path = "freebsd.rs")]
#[cfg_attr(not(target_os = "freebsd"), path = "linux.rs")]
mod system;

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use libcolibri::chan;
use libcolibri::msg::{FromMonitor, FromSpawnd, Kill, Proven, Refusal, RunKey, ToSpawnd};
use libcolibri::record::Record;
use libcolibri::state::{Container, Exit};
use libcolibri::wire;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{geteuid, mkfifo, Pid};

use harness::{case, Case};
use suite::{agent_uid, agent_user, profile, Suite, COLIBRID, KEY, MONITOR};

fn main() {
    // The build directory may be closed to others.
    let dir = harness::TempDir::new();
    let program = dir.0.join("colibri-spawnd");
    fs::copy(harness::program::program("colibri-spawnd"), &program).expect("copy the program");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("chmod");
    std::env::set_var("SPAWND_TEST_PROGRAM", &program);
    // harness::main exits: the copy outlives it only in this process.
    let code = match libcolibri::sys::fork().expect("fork") {
        libcolibri::sys::Fork::Child => {
            harness::main(CASES);
            0
        }
        libcolibri::sys::Fork::Parent(pid) => match waitpid(Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, code)) => code,
            _ => 1,
        },
    };
    drop(dir);
    std::process::exit(code);
}

const CASES: &[Case] = &[
    case(
        "ready, and the end of the channel is the end",
        ready_and_end,
    ),
    case("a request before Ready ends it", channel::wrong_phase),
    case("garbage ends it", channel::garbage),
    case(
        "half a request is the end of colibrid",
        channel::half_a_request,
    ),
    case("a stray descriptor ends it", channel::stray_descriptor),
    case("a flood keeps it from nothing", channel::flood),
    case("strangers are nobody", channel::strangers),
    case("more runs than may be are refused", channel::too_many),
    case("an unknown profile is refused", unknown_profile),
    case("an attempt starts once", starts_once),
    case("the agent is somebody with nothing of ours", agent_identity),
    case("the agent's environment and limits", agent_environment),
    #[cfg(target_os = "freebsd")]
    case("the agent sees its container only", system::agent_view).as_root(),
    #[cfg(not(target_os = "freebsd"))]
    case("the agent sees its container only", system::agent_view),
    case(
        "the monitor has its own user, socket and journal",
        monitor_side,
    )
    .as_root(),
    case("what fails before exec is named", launch_failures),
    case("a hostile TMPDIR is removed", hostile_tmpdir),
    case("signals reach a hidden tree", hidden_tree),
    case("an exit code comes through", exit_code),
    case("the monitor's death is the tree's", monitor_killed),
    case(
        "the death of both is the tree's at the next start",
        both_killed,
    ),
    case("a release ends a run that lives", release_kills),
    case("a later spawnd adopts", adopted),
    case("a release of something unknown", unknown_release),
    case("a TMPDIR outlives its note", without_note),
    case("what was no TMPDIR is left alone", no_tmpdir),
    case("many runs leave no descriptor behind", no_leaks),
    case("profiles that must not be", refused_configs),
];

fn code(status: WaitStatus) -> i32 {
    match status {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}

fn ready_and_end() {
    let mut s = Suite::prepare(&profile("a", "\"/bin/true\"", &agent_user()));
    s.start();
    let (profiles, container) = s.ready();
    assert_eq!(profiles, 1);
    assert!(system::is_best(container), "{container:?}");
    assert_eq!(code(s.end()), 0);
}

fn refused(s: &mut Suite, key: RunKey, profile: u32) -> (Refusal, i32) {
    s.send(ToSpawnd::Start { key, profile });
    match s.recv() {
        FromSpawnd::Refused { key: k, why, errno } if k == key => (why, errno),
        other => panic!("{other:?} instead of Refused"),
    }
}

fn unknown_profile() {
    let mut s = Suite::script("exit 0");
    for n in [1, u32::MAX] {
        assert_eq!(refused(&mut s, KEY, n), (Refusal::Profile, 0));
    }
    assert!(!s.path("state/runs/7-8.journal").exists());
}

fn starts_once() {
    let mut s = Suite::script("exit 0");
    s.run_through();
    assert_eq!(refused(&mut s, KEY, 0), (Refusal::Again, 0));
    // Without the directory nothing can be started, and the next time everything is new.
    fs::rename(s.path("state/runs"), s.path("state/x")).unwrap();
    let other = RunKey { run: 7, attempt: 9 };
    assert_eq!(
        refused(&mut s, other, 0),
        (Refusal::Journal, nix::libc::ENOENT)
    );
    fs::rename(s.path("state/x"), s.path("state/runs")).unwrap();
    let mut run = s.run(other, 0);
    run.ended();
}

fn agent_identity() {
    let script = format!(
        "id -u > $OUT/uid; id -g > $OUT/gid; id -G > $OUT/groups; pwd > $OUT/cwd; \
         umask > $OUT/umask; {}; echo to the log > /dev/stderr",
        system::IDENTITY
    );
    let mut s = Suite::script(&script);
    let ended = s.run_through();
    assert_eq!(ended.stderr.trim(), "to the log");
    let uid = agent_uid().to_string();
    assert_eq!(s.out("uid").trim(), uid);
    if geteuid().is_root() {
        assert_eq!(s.out("gid").trim(), uid);
        // One system lists the user's own group among them, the other does not.
        let groups = s.out("groups");
        assert!(groups.split_whitespace().all(|g| g == uid), "{groups}");
    }
    assert_eq!(s.out("cwd").trim(), "/");
    assert_eq!(s.out("umask").trim(), "0022");
    system::assert_nothing_of_ours(&s);
    // Leader of its own session and group.
    let ids = s.out("ids");
    let ids: HashSet<&str> = ids.split_whitespace().collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

fn agent_environment() {
    let more = "cwd = \"/usr\"\nopen_files = 77\nfile_bytes = 1048576\ncpu_seconds = 55\n\
                nice = 13\nenv.SECRET = \"x y\"\nenv.LANG = \"C\"";
    let script = "env > $OUT/env; ulimit -n > $OUT/files; ulimit -c > $OUT/core; \
                  ulimit -t > $OUT/cpu; ulimit -f > $OUT/size; ps -o nice= -p $$ > $OUT/nice; pwd > $OUT/cwd; \
                  touch $TMPDIR/x && ls -ld $TMPDIR > $OUT/tmpdir";
    let mut s = Suite::scripts(&[("a", script, more)]);
    s.run_through();
    let env = s.out("env");
    let mut names: Vec<&str> = env
        .lines()
        .filter_map(|l| l.split('=').next())
        .filter(|n| !matches!(*n, "PWD" | "OLDPWD" | "SHLVL" | "_"))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "COLIBRI_RUN",
            "HOME",
            "LANG",
            "LOGNAME",
            "OUT",
            "PATH",
            "PI_OFFLINE",
            "PI_SKIP_VERSION_CHECK",
            "PI_TELEMETRY",
            "SECRET",
            "SHELL",
            "TERM",
            "TMPDIR",
            "USER"
        ]
    );
    for line in ["COLIBRI_RUN=7", "LANG=C", "SECRET=x y", "TERM=dumb"] {
        assert!(env.lines().any(|l| l == line), "{line} in {env}");
    }
    let tmpdir = format!("TMPDIR={}", s.path("tmp/7-8").display());
    assert!(env.lines().any(|l| l == tmpdir), "{env}");
    assert!(
        s.out("tmpdir").starts_with("drwx------"),
        "{}",
        s.out("tmpdir")
    );
    assert_eq!(s.out("files").trim(), "77");
    assert_eq!(s.out("core").trim(), "0");
    assert_eq!(s.out("cpu").trim(), "55");
    // In blocks of 512 bytes.
    assert_eq!(s.out("size").trim(), "2048");
    assert_eq!(s.out("nice").trim(), "13");
    assert_eq!(s.out("cwd").trim(), "/usr");
}

fn monitor_side() {
    let mut s = Suite::script("cat > /dev/null; sleep 1000");
    let mut run = s.run(KEY, 0);
    // It answers, so it has become what it is.
    run.recv();
    system::assert_monitor(run.monitor);
    let socket = s.path("run/runs/7-8.sock").metadata().unwrap();
    assert_eq!(
        (socket.uid(), socket.gid(), socket.mode() & 0o777),
        (MONITOR, COLIBRID, 0o660)
    );
    let client = UnixStream::connect(s.path("run/runs/7-8.sock")).unwrap();
    let peer = libcolibri::sys::peer_cred(std::os::fd::AsFd::as_fd(&client)).unwrap();
    assert_eq!((peer.uid, peer.pid), (MONITOR, Some(run.monitor)));
    let journal = s.path("state/runs/7-8.journal").metadata().unwrap();
    assert_eq!(
        (journal.uid(), journal.gid(), journal.mode() & 0o777),
        (0, COLIBRID, 0o640)
    );
    let note = s.path("run/spawnd/7-8").metadata().unwrap();
    assert_eq!((note.uid(), note.mode() & 0o777), (0, 0o600));
    drop((client, run));
    s.release(KEY);
}

fn launch_failures() {
    let user = agent_user();
    let more = |line: &str| format!("{user}{line}");
    for (command, lines, expect) in [
        (
            "\"/nonexistent\"",
            more(""),
            "cannot execute the program: no such file or directory",
        ),
        (
            "\"/etc/passwd\"",
            more(""),
            "cannot execute the program: permission denied",
        ),
        (
            "\"/bin/true\"",
            more("cwd = \"/nonexistent\"\n"),
            "cannot enter the working directory: no such file or directory",
        ),
    ] {
        let mut s = Suite::prepare(&profile("a", command, &lines));
        s.start();
        s.ready();
        let ended = s.run_through();
        assert_eq!(ended.reason, expect);
    }
    // Before there is a container.
    let mut s = Suite::script("exit 0");
    fs::rename(s.path("tmp"), s.path("x")).unwrap();
    let ended = s.run(KEY, 0).ended();
    let expect = "cannot make the temporary directory: no such file or directory";
    assert_eq!(ended.reason, expect);
    fs::rename(s.path("x"), s.path("tmp")).unwrap();
    s.release(KEY);
}

fn hostile_tmpdir() {
    let mut s = Suite::script(
        "cd $TMPDIR; ln -s /etc etc; ln -s $OUT out; mkdir -p a/b/c; touch a/b/c/x; \
         chmod 0 a/b/c a/b a; touch -- '-rf *' \"$(printf 'a\\nb')\"; mkfifo f; \
         n=0; while [ $n -lt 200 ]; do mkdir d; cd d; n=$((n+1)); done; \
         touch $OUT/keep; chmod 0 $TMPDIR; exit 0",
    );
    s.run_through();
    assert!(s.path("out/keep").exists());
    assert!(fs::read_dir("/etc").unwrap().next().is_some());
}

/// A tree that hides: every process of it holds the fifo open for writing.
fn hiding() -> String {
    let script = "trap '' TERM; exec 9> $OUT/fifo; \
        SETSID sh -c 'trap \"\" TERM; SETSID sleep 1000 & sleep 1001 & wait' & \
        (sleep 1002 & ) ; (SETSID sh -c 'sleep 1003 & sleep 1004 &' & ) ; \
        echo up >&9; wait; sleep 1005";
    script.replace("SETSID", system::SETSID)
}

/// Starts [`hiding`] and waits until it stands.
fn hide(s: &mut Suite) -> (suite::Run, std::io::PipeReader) {
    let path = s.path("out/fifo");
    mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    // Held open on both sides so that opening waits for nobody.
    let reader = fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let run = s.run(KEY, 0);
    let mut byte = [0; 3];
    (&reader).read_exact(&mut byte).unwrap();
    let only = fs::File::open(&path).unwrap();
    drop(reader);
    (run, OwnedFd::from(only).into())
}

fn signalled(s: &mut Suite, how: Kill) -> u32 {
    s.send(ToSpawnd::Signal {
        key: KEY,
        kill: how,
    });
    loop {
        match s.recv() {
            FromSpawnd::Signalled { key, count } if key == KEY => return count,
            FromSpawnd::MonitorExited { .. } => {}
            other => panic!("{other:?} instead of Signalled"),
        }
    }
}

fn hidden_tree() {
    let mut s = Suite::script(&hiding());
    let (mut run, mut fifo) = hide(&mut s);
    // The shells ignore it, so most of the tree lives on.
    assert!(signalled(&mut s, Kill::Term) >= 3);
    assert!(signalled(&mut s, Kill::Kill) >= 1);
    harness::wait_closed(&mut fifo);
    let ended = run.ended();
    assert_eq!(ended.exit, Exit::Signal(9), "{ended:?}");
    drop(run);
    s.monitor_exited(KEY);
    assert_eq!(signalled(&mut s, Kill::Kill), 0);
    s.release(KEY);
}

fn exit_code() {
    let mut s = Suite::script("(sleep 1000 &); exit 42");
    let mut run = s.run(KEY, 0);
    let ended = loop {
        match run.recv() {
            // No container ends with the agent: colibrid is asked to see to the rest.
            FromMonitor::Straggling { kill } => drop(signalled(&mut s, kill)),
            FromMonitor::Entry(entry) => {
                if let Record::Ended(e) = entry.record {
                    break e;
                }
            }
            _ => {}
        }
    };
    assert_eq!(ended.exit, Exit::Code(42));
    let mut s = Suite::script("kill -USR1 $$");
    let expect = Exit::Signal(Signal::SIGUSR1 as i32);
    assert_eq!(s.run_through().exit, expect);
}

fn monitor_killed() {
    let mut s = Suite::script(&hiding());
    let (run, mut fifo) = hide(&mut s);
    kill(Pid::from_raw(run.monitor), Signal::SIGKILL).unwrap();
    assert_eq!(s.monitor_exited(KEY), 9);
    if !system::is_best(Container::Reaper) {
        // Without anybody's help.
        harness::wait_closed(&mut fifo);
    }
    s.release(KEY);
    harness::wait_closed(&mut fifo);
}

fn both_killed() {
    let mut s = Suite::script(&hiding());
    let (run, mut fifo) = hide(&mut s);
    // In this order: without a container nobody inherits the tree.
    kill(Pid::from_raw(s.pid), Signal::SIGKILL).unwrap();
    s.wait();
    kill(Pid::from_raw(run.monitor), Signal::SIGKILL).unwrap();
    s.start();
    s.ready();
    s.release(KEY);
    harness::wait_closed(&mut fifo);
}

fn release_kills() {
    let mut s = Suite::script(&hiding());
    let (run, mut fifo) = hide(&mut s);
    s.release(KEY);
    harness::wait_closed(&mut fifo);
    drop(run);
}

fn adopted() {
    let mut s = Suite::script(&hiding());
    let (run, mut fifo) = hide(&mut s);
    kill(Pid::from_raw(s.pid), Signal::SIGKILL).unwrap();
    s.wait();
    assert!(matches!(
        libcolibri::sys::cell::is_alive(
            run.monitor,
            libcolibri::sys::process_start(run.monitor).unwrap()
        ),
        Ok(true)
    ));
    s.start();
    s.ready();
    s.send(ToSpawnd::Adopt { key: KEY });
    assert!(signalled(&mut s, Kill::Kill) >= 1);
    harness::wait_closed(&mut fifo);
    drop(run);
    s.release(KEY);
    assert!(s.log().contains("run 7-8: adopted"), "{}", s.log());
    // An attempt that was once started is never started again.
    assert_eq!(refused(&mut s, KEY, 0), (Refusal::Again, 0));
}

fn unknown_release() {
    let mut s = Suite::script("exit 0");
    s.release(RunKey { run: 1, attempt: 1 });
    // A journal that somebody writes, without a note: nothing is proven.
    let path = s.path("state/runs/1-2.journal");
    let journal = fs::File::create(&path).unwrap();
    let fd = std::os::fd::AsFd::as_fd(&journal);
    assert!(libcolibri::sys::flock_exclusive_nb(fd).unwrap());
    let key = RunKey { run: 1, attempt: 2 };
    s.send(ToSpawnd::Release { key, profile: 0 });
    let alive = FromSpawnd::Released {
        key,
        proven: Proven::Alive,
    };
    assert_eq!(s.recv(), alive);
    drop(journal);
    s.release(key);
}

fn without_note() {
    let mut s = Suite::script("cd $TMPDIR; mkdir -p a/b; touch a/b/c; chmod 0 a/b; exit 0");
    s.run(KEY, 0).ended();
    s.monitor_exited(KEY);
    fs::remove_file(s.path("run/spawnd/7-8")).unwrap();
    s.release(KEY);
}

fn no_tmpdir() {
    let mut s = Suite::script("exit 0");
    fs::write(s.path("out/keep"), "").unwrap();
    std::os::unix::fs::symlink(s.path("out"), s.path("tmp/1-1")).unwrap();
    fs::write(s.path("tmp/1-2"), "").unwrap();
    let mut kept = vec!["out/keep", "tmp/1-1", "tmp/1-2"];
    if geteuid().is_root() {
        // Root's, and no agent is root.
        fs::create_dir_all(s.path("tmp/1-3/sub")).unwrap();
        kept.push("tmp/1-3/sub");
    }
    for attempt in 1..=3 {
        let key = RunKey { run: 1, attempt };
        s.send(ToSpawnd::Release { key, profile: 0 });
        let proven = Proven::Empty;
        assert_eq!(s.recv(), FromSpawnd::Released { key, proven });
    }
    for name in kept {
        assert!(s.path(name).symlink_metadata().is_ok(), "{name}");
    }
}

fn no_leaks() {
    let mut s = Suite::script("exit 0");
    let open = |s: &Suite| system::count_descriptors(s.pid);
    let before = open(&s);
    let keys: Vec<RunKey> = (1..30).map(|n| RunKey { run: 1, attempt: n }).collect();
    let mut runs: Vec<_> = keys.iter().map(|key| s.run(*key, 0)).collect();
    for run in &mut runs {
        run.ended();
    }
    drop(runs);
    for key in &keys {
        s.send(ToSpawnd::Release {
            key: *key,
            profile: 0,
        });
    }
    let mut left = keys.len();
    while left > 0 {
        if let FromSpawnd::Released { proven, .. } = s.recv() {
            assert_eq!(proven, Proven::Empty);
            left -= 1;
        }
    }
    // It may be in the middle of something: what counts is what stays.
    let mut tries = 0;
    while open(&s) != before {
        tries += 1;
        assert!(tries < 1000, "{} descriptors instead of {before}", open(&s));
        let _ = nix::poll::poll(&mut [], nix::poll::PollTimeout::from(20u8));
    }
    assert_eq!(code(s.end()), 0);
}

fn refused_configs() {
    let root = geteuid().is_root();
    let yes = "\"/bin/true\"";
    let with = |more: &str| profile("a", yes, more);
    let jail = format!("{}jail = \"x\"\n", agent_user());
    let mut list = vec![
        (with("user = \"no-such-user\"\n"), "no such user"),
        ("[profile.a]\n".to_owned(), "missing field"),
    ];
    if !system::is_best(Container::Jail) {
        list.push((with(&jail), "needs root on FreeBSD"));
    }
    if root {
        list.extend([
            (with(""), "no agent runs as root"),
            (with("user = \"0:5\"\n"), "must not be root"),
            (with("user = \"61002:5\"\n"), "Colibri's own users"),
            (with("user = \"5:61001\"\n"), "Colibri's own"),
            (with("user = \"5:0\"\n"), "root's or"),
            (
                with("user = \"5:5\"\ngroups = [\"61001\"]\n"),
                "Colibri's own",
            ),
        ]);
    } else {
        list.extend([
            (with("user = \"1:1\"\n"), "only root can start agents"),
            (with("groups = [\"1\"]\n"), "need a user"),
        ]);
    }
    for (profiles, expect) in list {
        let s = Suite::prepare(&profiles);
        let (_ours, theirs) = chan::pair().unwrap();
        let pid = s.spawn(&theirs);
        assert_eq!(code(harness::wait(pid).unwrap()), 78, "{profiles}");
        assert!(s.log().contains(expect), "{}: {}", profiles, s.log());
    }
    let hidden = Suite::prepare("");
    let text = fs::read_to_string(hidden.path("conf")).unwrap();
    fs::write(hidden.path("conf"), text.replace("/tmp\"", "/run/tmp\"")).unwrap();
    let (_ours, theirs) = chan::pair().unwrap();
    let pid = hidden.spawn(&theirs);
    assert_eq!(code(harness::wait(pid).unwrap()), 78);
    let _ = Container::Reaper;
}
