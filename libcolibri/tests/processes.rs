//! Forking, exec, privileges, process trees and containers, with real processes.

mod harness;

use std::ffi::CString;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use libcolibri::state::Container;
use libcolibri::sys::cell::{Cell, Within};
use libcolibri::sys::{self, Fork, Ids, ProcessHandle, Signal};
use nix::sys::signal::{kill, SigSet};
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{self, Pid};

use harness::{case, wait, wait_closed, Case, End, TempDir, NOBODY};

fn main() {
    let mut cases = CASES.to_vec();
    cases.extend_from_slice(SYSTEM);
    harness::main(&cases);
}

const CASES: &[Case] = &[
    case("exec from a descriptor", exec_from_descriptor).ends(End::Code(7)),
    case("exec by path keeps the environment empty", exec_by_path).ends(End::Code(3)),
    case("a failed exec says why", exec_fails),
    case("descriptors are moved, kept and closed by number", numbers),
    case("privileges are dropped for good", dropped_for_good).as_root(),
    case("root is no user to drop to", never_to_root),
    case("dropping needs privileges", dropping_needs_root),
    case("a peer's groups are known", peer_groups).as_root(),
    case("a handle tells the end of a process", handle_tells_end),
    case("a child dies with its parent", dies_with_parent),
    case("limits only go down", limits_go_down),
    case("a tree that hides is killed", kills_hidden_tree),
    case("a gentle signal reaches the whole tree", gentle_signal),
    case("an empty tree is no error", empty_tree),
    case("a tree that grows while it is killed", growing_tree),
    case(
        "what a dead child left is killed, and nothing else",
        kills_strangers,
    ),
    case("what nobody inherits is found", finds_strays),
    case("the title follows the program's name", title),
    case("a container can be found", container_found),
    case("the best container kills what is in it", best_container),
];

/// Lives until it is killed; being sent anything but SIGKILL changes nothing.
fn live_on() -> ! {
    ignore_term();
    loop {
        unistd::pause();
    }
}

fn ignore_term() {
    // Blocked, which is as good here and needs no handler.
    let term: SigSet = [Signal::SIGTERM].into_iter().collect();
    term.thread_block().unwrap();
}

fn child(run: impl FnOnce()) -> i32 {
    match sys::fork().expect("fork") {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            run();
            sys::exit_now(0)
        }
    }
}

fn exec_from_descriptor() {
    let shell = std::fs::File::open("/bin/sh").unwrap();
    let argv = ["sh", "-c", "test \"$A$HOME\" = 1 && exit 7"].map(|a| CString::new(a).unwrap());
    let env = [CString::new("A=1").unwrap()];
    panic!("{}", sys::exec_fd(shell.as_fd(), &argv, &env));
}

fn exec_by_path() {
    let argv = ["sh", "-c", "test -z \"$HOME\" && exit 3"].map(|a| CString::new(a).unwrap());
    panic!("{}", sys::exec_path(c"/bin/sh", &argv, &[]));
}

fn exec_fails() {
    let error = sys::exec_path(c"/nonexistent/colibri", &[c"x".into()], &[]);
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let error = sys::exec_path(c"/", &[c"x".into()], &[]);
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

fn numbers() {
    let (mut reader, writer) = io::pipe().unwrap();
    sys::dup_to(writer.as_fd(), 40).unwrap();
    sys::dup_to(writer.as_fd(), 50).unwrap();
    drop(writer);
    let kept = sys::inherit(40).expect("inherit");
    assert_eq!(sys::open_descriptors().unwrap().last(), Some(&50));
    sys::close_from(41).unwrap();
    assert_eq!(sys::open_descriptors().unwrap().last(), Some(&40));
    PipeWriter::from(kept).write_all(b"x").unwrap();
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
    // Moving onto itself is how a descriptor is kept through exec.
    let fd = sys::borrow(&reader);
    let flags = || nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags(), libc_cloexec());
    sys::dup_to(fd, fd.as_raw_fd()).unwrap();
    assert_eq!(flags(), 0);
    sys::cloexec_from(3).unwrap();
    assert_eq!(flags(), libc_cloexec());
}

fn libc_cloexec() -> i32 {
    nix::fcntl::FdFlag::FD_CLOEXEC.bits()
}

fn dropped_for_good() {
    let ids = Ids {
        uid: NOBODY,
        gid: NOBODY - 1,
        groups: vec![NOBODY - 2, NOBODY - 3],
    };
    sys::drop_to(&ids).expect("drop");
    assert_eq!(unistd::getuid().as_raw(), NOBODY);
    assert_eq!(unistd::getegid().as_raw(), NOBODY - 1);
    unistd::setuid(unistd::Uid::from_raw(0)).expect_err("no way back");
    unistd::setgroups(&[]).expect_err("no other groups");
    // Not even to another ordinary user.
    let other = Ids {
        uid: NOBODY - 1,
        ..ids
    };
    sys::drop_to(&other).expect_err("only once");
}

fn never_to_root() {
    for (uid, gid) in [(0, 1), (1, 0), (u32::MAX, 1), (1, u32::MAX)] {
        let ids = Ids {
            uid,
            gid,
            groups: vec![],
        };
        let error = sys::drop_to(&ids).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

fn dropping_needs_root() {
    let root = unistd::geteuid().is_root();
    let ids = Ids {
        uid: NOBODY,
        gid: NOBODY,
        groups: vec![NOBODY],
    };
    assert_eq!(sys::drop_to(&ids).is_ok(), root);
}

fn peer_groups() {
    let dir = TempDir::new();
    let path = dir.0.join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let groups: Vec<u32> = (2000..2012).collect();
    let list: Vec<_> = groups.iter().map(|g| unistd::Gid::from_raw(*g)).collect();
    unistd::setgroups(&list).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    unistd::setgroups(&[]).unwrap();
    let (server, _) = listener.accept().unwrap();
    let cred = sys::peer_cred(server.as_fd()).unwrap();
    assert_eq!((cred.uid, cred.gid), (0, 0));
    // As they were at connect.
    assert_eq!(cred.groups, groups);
    assert_eq!(cred.pid, Some(unistd::getpid().as_raw()));
    drop(client);
}

fn handle_tells_end() {
    let pid = child(|| live_on());
    let start = sys::process_start(pid).unwrap();
    let mut handle = ProcessHandle::open(pid).unwrap();
    let mut poll = mio::Poll::new().unwrap();
    poll.registry()
        .register(
            &mut mio::unix::SourceFd(&handle.as_raw_fd()),
            mio::Token(1),
            mio::Interest::READABLE,
        )
        .unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let mut events = mio::Events::with_capacity(4);
    let limit = std::time::Duration::from_secs(30);
    poll.poll(&mut events, Some(limit)).unwrap();
    assert_eq!(events.iter().count(), 1, "no event in time");
    assert!(handle.has_exited().unwrap() && handle.has_exited().unwrap());
    // A zombie still has its identity.
    assert_eq!(sys::process_start(pid).unwrap(), start);
    waitpid(Pid::from_raw(pid), None).unwrap();
    assert!(ProcessHandle::open(pid).is_err() && sys::process_start(pid).is_err());
}

fn dies_with_parent() {
    let (mut reader, writer) = io::pipe().unwrap();
    let parent = child(|| {
        let me = unistd::getpid().as_raw();
        let (mut ready, told) = io::pipe().unwrap();
        child(|| {
            sys::die_with_parent(Signal::SIGKILL).unwrap();
            assert!(sys::parent_is(me) && !sys::parent_is(1));
            (&told).write_all(b"x").unwrap();
            live_on()
        });
        ready.read_exact(&mut [0; 1]).unwrap();
    });
    drop(writer);
    wait(parent).unwrap();
    wait_closed(&mut reader);
}

fn limits_go_down() {
    use nix::sys::resource::{getrlimit, Resource};
    let limit = Resource::RLIMIT_NOFILE;
    sys::set_limits(&[(limit, 100)]).unwrap();
    sys::set_limits(&[(limit, 200)]).unwrap();
    assert_eq!(getrlimit(limit).unwrap(), (100, 100));
}

/// Starts a reaper with five descendants: a child, one in a new session, one whose parent has ended,
/// and that one's children. All ignore SIGTERM and hold `writer`. Returns the reaper.
fn hidden_tree(writer: PipeWriter) -> i32 {
    let (mut ready, told) = io::pipe().unwrap();
    let reaper = child(|| {
        sys::become_reaper().unwrap();
        // For all of them, and before any says that it is there.
        sys::ignore_signals(&[Signal::SIGTERM]).unwrap();
        let lives = || {
            (&told).write_all(b"x").unwrap();
            live_on()
        };
        child(lives);
        child(|| {
            unistd::setsid().unwrap();
            lives()
        });
        let between = child(|| {
            child(|| {
                unistd::setsid().unwrap();
                child(lives);
                child(lives);
                lives()
            });
        });
        waitpid(Pid::from_raw(between), None).unwrap();
        lives()
    });
    drop(writer);
    ready.read_exact(&mut [0; 6]).unwrap();
    reaper
}

fn kills_hidden_tree() {
    let (mut reader, writer) = io::pipe().unwrap();
    let reaper = hidden_tree(writer);
    assert_eq!(sys::count_tree(reaper).unwrap(), 5);
    assert_eq!(sys::signal_tree(reaper, Signal::SIGKILL, true).unwrap(), 6);
    wait_closed(&mut reader);
    assert_eq!(sys::count_tree(reaper).unwrap_or(0), 0);
    let status = wait(reaper).unwrap();
    assert!(matches!(
        status,
        WaitStatus::Signaled(_, Signal::SIGKILL, _)
    ));
}

fn gentle_signal() {
    let (mut reader, writer) = io::pipe().unwrap();
    let reaper = hidden_tree(writer);
    assert_eq!(sys::signal_tree(reaper, Signal::SIGTERM, false).unwrap(), 5);
    assert_eq!(sys::count_tree(reaper).unwrap(), 5, "they ignore it");
    assert_eq!(sys::signal_tree(reaper, Signal::SIGKILL, false).unwrap(), 5);
    let mut handle = ProcessHandle::open(reaper).unwrap();
    assert!(
        !handle.has_exited().unwrap(),
        "the reaper itself was not meant"
    );
    kill(Pid::from_raw(reaper), Signal::SIGKILL).unwrap();
    wait(reaper).unwrap();
    wait_closed(&mut reader);
}

fn empty_tree() {
    sys::become_reaper().unwrap();
    sys::become_reaper().expect("twice is fine");
    let me = unistd::getpid().as_raw();
    assert_eq!(sys::count_tree(me).unwrap(), 0);
    assert_eq!(sys::signal_tree(me, Signal::SIGKILL, false).unwrap(), 0);
    let gone = child(|| ());
    waitpid(Pid::from_raw(gone), None).unwrap();
    for pid in [gone, 0, -1] {
        let error = sys::signal_tree(pid, Signal::SIGKILL, true).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ESRCH as i32));
    }
}

fn kills_strangers() {
    sys::become_reaper().unwrap();
    let known = child(|| live_on());
    let (mut reader, writer) = io::pipe().unwrap();
    let reaper = hidden_tree(writer);
    let is_known = |pid| pid == known || pid == reaper;
    assert_eq!(sys::cell::kill_strangers(&is_known).unwrap(), 0);
    kill(Pid::from_raw(reaper), Signal::SIGKILL).unwrap();
    wait(reaper).unwrap();
    let is_known = |pid| pid == known;
    while sys::cell::kill_strangers(&is_known).unwrap() > 0 {
        while matches!(sys::wait_any(false), Ok(Some(_))) {}
    }
    wait_closed(&mut reader);
    let mut handle = ProcessHandle::open(known).unwrap();
    assert!(!handle.has_exited().unwrap(), "this one was not meant");
    kill(Pid::from_raw(known), Signal::SIGKILL).unwrap();
}

fn finds_strays() {
    let me = unistd::getpid();
    let find = |word: &str| {
        let entry = format!("COLIBRI_TEST={me}-{word}");
        sys::find_by_environment(unistd::geteuid().as_raw(), &entry).unwrap()
    };
    let env = ["A=1".to_owned(), format!("COLIBRI_TEST={me}-here")];
    let sleep = child(|| {
        let argv = ["sleep", "1000"].map(|a| CString::new(a).unwrap());
        let env = env.each_ref().map(|e| CString::new(e.as_str()).unwrap());
        panic!("{}", sys::exec_path(c"/bin/sleep", &argv, &env));
    });
    while find("here").is_empty() {}
    assert_eq!((find("here"), find("her")), (vec![sleep], vec![]));
    kill(Pid::from_raw(sleep), Signal::SIGKILL).unwrap();
    wait(sleep).unwrap();
    assert_eq!(find("here"), [0; 0]);
}

/// Two processes that keep forking while the tree is being killed: a hundred children each that stay,
/// then ever new ones that end at once.
fn growing_tree() {
    let (mut reader, writer) = io::pipe().unwrap();
    let (mut ready, told) = io::pipe().unwrap();
    let reaper = child(|| {
        sys::become_reaper().unwrap();
        for _ in 0..2 {
            child(|| {
                for n in 0..100_000 {
                    if n == 20 {
                        (&told).write_all(b"x").unwrap();
                    }
                    match sys::fork() {
                        Ok(Fork::Child) if n < 100 => live_on(),
                        Ok(Fork::Child) => sys::exit_now(0),
                        Ok(Fork::Parent(_)) if n < 100 => {}
                        Ok(Fork::Parent(pid)) => drop(waitpid(Pid::from_raw(pid), None)),
                        Err(_) => {}
                    }
                }
                live_on()
            });
        }
        live_on()
    });
    drop(writer);
    ready.read_exact(&mut [0; 2]).unwrap();
    assert!(sys::signal_tree(reaper, Signal::SIGKILL, true).unwrap() > 40);
    wait(reaper).unwrap();
    wait_closed(&mut reader);
}

fn title() {
    sys::set_title("[a test]").unwrap();
    sys::set_title("[b]").unwrap();
    assert!(sys::set_title("a\0b").is_err());
    assert_shown("[b]");
}

/// The portable face with whatever there is here; the jail's or the namespace's end, or the reaper's
/// tree, takes everything along.
fn best_container() {
    let kind = sys::available_container(unistd::geteuid().is_root());
    let (mut reader, writer) = io::pipe().unwrap();
    let (mut ready, told) = io::pipe().unwrap();
    let name = format!("colibri-test-{}", unistd::getpid());
    sys::become_reaper().unwrap();
    let cell = Cell::create(kind, &name, Within::Host).expect("create");
    let has_init = cell.has_init();
    let first = child(|| {
        cell.enter().expect("enter");
        // Only these: a copy of a jail's descriptor would keep it alive.
        sys::dup_to(told.as_fd(), 40).unwrap();
        sys::dup_to(writer.as_fd(), 41).unwrap();
        for fd in sys::open_descriptors().unwrap() {
            if (3..40).contains(&fd) {
                unistd::close(fd).unwrap();
            }
        }
        child(|| {
            unistd::setsid().unwrap();
            unistd::write(sys::borrow(&40), b"x").unwrap();
            live_on()
        });
        live_on()
    });
    drop(writer);
    ready.read_exact(&mut [0; 1]).unwrap();
    cell.settle().expect("settle");
    let owner = cell.into_descriptor();
    assert_eq!(owner.is_some(), kind == Container::Jail);
    drop(owner);
    if kind == Container::Reaper {
        sys::signal_tree(unistd::getpid().as_raw(), Signal::SIGKILL, false).unwrap();
    } else if has_init {
        kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    }
    wait_closed(&mut reader);
    wait(first).unwrap();
}

fn container_found() {
    let root = unistd::geteuid().is_root();
    let found = sys::available_container(root);
    let possible: &[Container] = match root {
        true => &[Container::Jail, Container::PidNamespace, Container::Reaper],
        false => &[Container::UserNamespace, Container::Reaper],
    };
    assert!(possible.contains(&found), "{found:?}");
    // Whatever was tried left nothing behind.
    assert!(waitpid(Pid::from_raw(-1), None).is_err());
}

#[cfg(target_os = "linux")]
use linux::{assert_shown, SYSTEM};

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use libcolibri::sys::namespace::{self, Kind};

    pub const SYSTEM: &[Case] = &[
        case("a namespace dies with its init", namespace_dies),
        case("a namespace is a world of its own", own_world),
        case("no new privileges, and no tracing", flags),
    ];

    pub fn assert_shown(text: &str) {
        let shown = std::fs::read("/proc/self/cmdline").unwrap();
        let shown: Vec<u8> = shown.into_iter().take_while(|b| *b != 0).collect();
        let shown = String::from_utf8(shown).unwrap();
        let (name, rest) = shown.split_once(": ").expect("a name comes first");
        assert!(name.starts_with("processes-") && rest == text, "{shown}");
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert!(comm.starts_with("processes-"), "{comm}");
    }

    fn kind() -> Kind {
        match unistd::geteuid().is_root() {
            true => Kind::Root,
            false => Kind::User,
        }
    }

    /// False (said aloud) where the system forbids it.
    fn permitted() -> bool {
        let permitted = namespace::permitted(kind());
        if !permitted {
            println!("skipped: {:?} namespaces are not permitted here", kind());
        }
        permitted
    }

    fn namespace_dies() {
        if !permitted() {
            return;
        }
        let (mut reader, writer) = io::pipe().unwrap();
        let (mut ready, told) = io::pipe().unwrap();
        namespace::unshare(kind()).unwrap();
        let init = child(|| {
            assert_eq!(unistd::getpid().as_raw(), 1);
            let lives = || {
                (&told).write_all(b"x").unwrap();
                live_on()
            };
            child(lives);
            child(|| {
                unistd::setsid().unwrap();
                child(lives);
            });
            live_on()
        });
        drop(writer);
        ready.read_exact(&mut [0; 2]).unwrap();
        kill(Pid::from_raw(init), Signal::SIGKILL).unwrap();
        waitpid(Pid::from_raw(init), None).unwrap();
        // Init's status comes last: by now nobody can hold the pipe any more.
        use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(1));
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    }

    fn own_world() {
        if !permitted() {
            return;
        }
        let dir = TempDir::new();
        std::fs::write(dir.0.join("secret"), "x").unwrap();
        let uid = unistd::geteuid();
        let launcher = child(|| {
            namespace::unshare(kind()).unwrap();
            let init = child(|| inside(&dir.0, uid));
            let status = waitpid(Pid::from_raw(init), None).unwrap();
            assert_eq!(status, WaitStatus::Exited(Pid::from_raw(init), 0));
        });
        let status = waitpid(Pid::from_raw(launcher), None).unwrap();
        assert_eq!(status, WaitStatus::Exited(Pid::from_raw(launcher), 0));
        // Out here nothing has changed.
        assert_eq!(std::fs::read(dir.0.join("secret")).unwrap(), b"x");
    }

    fn inside(dir: &std::path::Path, uid: unistd::Uid) {
        assert_eq!(unistd::geteuid(), uid, "the same user inside");
        namespace::cover(dir).expect("cover");
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
        std::fs::write(dir.join("new"), "x").expect_err("read-only");
        match namespace::mount_proc() {
            Ok(()) => assert!(std::fs::read_link("/proc/self").unwrap().ends_with("1")),
            // Where parts of /proc are masked; see there.
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::PermissionDenied),
        }
    }

    fn flags() {
        sys::no_new_privs().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.contains("NoNewPrivs:\t1"));
        sys::not_traceable().unwrap();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
    }
}

#[cfg(target_os = "freebsd")]
use freebsd::{assert_shown, SYSTEM};

#[cfg(target_os = "freebsd")]
#[path = "processes/freebsd.rs"]
mod freebsd;
