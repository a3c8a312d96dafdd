//! The sandbox bites, and lets live: what each process's table forbids fails by the expected error,
//! what it allows works, and a panic inside ends in an abort.

mod harness;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};

use libcolibri::sandbox::{
    confine, policy, selftest, ConfineError, Confined, Confinement, Expect, Mechanism, Probe,
};
use libcolibri::sys::{self, Fork};
use nix::fcntl::{open, openat, AtFlags, OFlag};
use nix::sys::resource::getrlimit;
use nix::sys::signal::kill;
use nix::sys::socket::{recvmsg, sendmsg, ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr};
use nix::sys::stat::Mode;
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{self, Pid, UnlinkatFlags};

use harness::{case, Case, End, TempDir};

/// The error for a descriptor that lacks a right: ENOTCAPABLE, or the filter's only answer.
#[cfg(target_os = "freebsd")]
const NO_RIGHT: i32 = 93;
#[cfg(target_os = "linux")]
const NO_RIGHT: i32 = 94;

/// What std says when its sleep is refused: the call's answer instead of the one it can stand.
#[cfg(target_os = "freebsd")]
const SLEEPLESS: &str = "left: -1";
#[cfg(target_os = "linux")]
const SLEEPLESS: &str = "left: 94";

/// The lowest limit of processes that the kernel sets; the one there is makes no more with either.
#[cfg(target_os = "freebsd")]
const FEWEST: nix::sys::resource::rlim_t = 1;
#[cfg(target_os = "linux")]
const FEWEST: nix::sys::resource::rlim_t = 0;

fn main() {
    harness::main(CASES);
}

const CASES: &[Case] = &[
    case("the public daemon is refused everything malicious", || {
        malicious(&policy::COLIBRID)
    }),
    case("the scheduler is refused everything malicious", || {
        malicious(&policy::SCHEDD)
    }),
    case("the monitor is refused everything malicious", || {
        malicious(&policy::MONITOR)
    }),
    case(
        "every table lets memory, clocks and hashes work",
        ordinary_life,
    ),
    case("colibrid serves clients", serves_clients),
    case("colibrid receives descriptors", receives_descriptors),
    case(
        "colibrid reads and removes journals, and creates none",
        journals,
    ),
    case("the monitor writes its journal", writes_journal),
    case("the monitor sees its agent's exit status", waits_for_child),
    case("the loop gets its events", loop_events),
    case("a panic inside ends in an abort", || {
        let _confined = confined(&policy::MONITOR, &[]);
        panic!("on purpose");
    })
    .ends(End::Abort("on purpose")),
    case("std's sleep inside is a panic", std_sleeps).ends(End::Abort(SLEEPLESS)),
    case("exit inside gives its code", || {
        let _confined = confined(&policy::SCHEDD, &[]);
        std::process::exit(7);
    })
    .ends(End::Code(7)),
    case("a descriptor without a role is refused", unknown_descriptor),
    case("a role that the table lacks is refused", unknown_role),
    case("a descriptor named twice is refused", named_twice),
    case("limits are set", limits_are_set),
    case("a log file on stderr can still be written", log_file),
    case("spawnd stays outside, and says so", spawnd_is_outside),
    case("a surprise in the self-test is an error", surprise),
];

fn stdio() -> Vec<(BorrowedFd<'static>, &'static str)> {
    vec![
        (sys::borrow(&0), "stdio"),
        (sys::borrow(&1), "stdio"),
        (sys::borrow(&2), "stdio"),
    ]
}

fn confined(table: &Confinement, more: &[(BorrowedFd<'_>, &'static str)]) -> Confined {
    let mut held = stdio();
    held.extend_from_slice(more);
    match confine(table, &held) {
        Ok(confined) => confined,
        Err(e) => panic!("{e}"),
    }
}

/// What an intruder would try beyond the daemon's own self-test; all of it must be refused by name.
const MALICIOUS: &[Probe] = &[
    Probe::refused("create a file", || File::create("/tmp/colibri-x").map(drop)),
    Probe::refused("open relative to the working directory", || {
        Ok(open("etc/passwd", OFlag::O_RDONLY, Mode::empty()).map(drop)?)
    }),
    Probe::refused("list a directory", || std::fs::read_dir("/").map(drop)),
    Probe::refused("make a directory", || std::fs::create_dir("/tmp/colibri-x")),
    Probe::refused("remove a directory", || {
        std::fs::remove_dir("/tmp/colibri-x")
    }),
    Probe::refused("rename", || std::fs::rename("/tmp/a", "/tmp/b")),
    Probe::refused("make a hard link", || {
        std::fs::hard_link("/etc/passwd", "/tmp/b")
    }),
    Probe::refused("make a symbolic link", || {
        std::os::unix::fs::symlink("/etc", "/tmp/b")
    }),
    Probe::refused("change a mode", || {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions("/tmp", PermissionsExt::from_mode(0o777))
    }),
    Probe::refused("change an owner", || {
        std::os::unix::fs::chown("/tmp", Some(0), Some(0))
    }),
    Probe::refused("change the root", || Ok(unistd::chroot("/")?)),
    Probe::refused("become member of a group", || {
        Ok(unistd::setgroups(&[unistd::Gid::from_raw(0)])?)
    }),
    Probe::refused("signal init", || Ok(kill(Pid::from_raw(1), None)?)),
    Probe::refused("signal its process group", || {
        Ok(kill(Pid::from_raw(0), None)?)
    }),
    Probe::refused("signal everybody", || Ok(kill(Pid::from_raw(-1), None)?)),
    Probe::refused("execute a shell", || {
        Err(sys::exec_path(c"/bin/sh", &[c"sh".into()], &[]))
    }),
    Probe::refused("leave its process group", || {
        Ok(unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?)
    }),
    Probe::refused("bind an internet address", || {
        std::net::UdpSocket::bind("127.0.0.1:0").map(drop)
    }),
    Probe::refused("mount over something", hide_something),
];

#[cfg(target_os = "linux")]
fn hide_something() -> io::Result<()> {
    sys::namespace::cover(std::path::Path::new("/mnt"))
}
#[cfg(target_os = "freebsd")]
fn hide_something() -> io::Result<()> {
    sys::jail::attach(0)
}

/// What only the Linux filter refuses, being stricter.
#[cfg(target_os = "linux")]
const STRICTER: &[Probe] = &[
    Probe::refused("enter new namespaces", || {
        sys::namespace::unshare(sys::namespace::Kind::User)
    }),
    Probe::refused("make a pipe", || io::pipe().map(drop)),
    Probe::refused("make a socket pair", || UnixStream::pair().map(drop)),
    Probe::refused("be traceable again", sys::not_traceable),
    Probe::refused("change a limit", || {
        sys::set_limits(&[(sys::Resource::RLIMIT_NOFILE, 16)])
    }),
    Probe::refused("hold on to a process", || {
        sys::ProcessHandle::open(1).map(drop)
    }),
    Probe::refused("leave its session", || Ok(unistd::setsid().map(drop)?)),
];
#[cfg(target_os = "freebsd")]
const STRICTER: &[Probe] = &[];

fn malicious(table: &Confinement) {
    let confined = confined(table, &[]);
    let report = confined.report();
    assert_ne!(report.mechanism, Mechanism::None);
    assert!(report.tried.len() >= 12, "{report}");
    for list in [MALICIOUS, STRICTER] {
        let tried = selftest(table.process, list).unwrap_or_else(|e| panic!("{e}"));
        assert!(tried.iter().all(|t| t.errno == Some(94)));
    }
}

fn ordinary_life() {
    // With the smallest of all lists of calls.
    let table = Confinement {
        calls: &policy::SCHEDD.calls[..1],
        ..policy::SCHEDD
    };
    let _confined = confined(&table, &[]);
    // Large enough for maps of its own, grown step by step, moved and given back.
    let mut big = Vec::new();
    for n in 0..8_000_000u64 {
        big.push(n);
    }
    assert_eq!(big.iter().sum::<u64>(), 31_999_996_000_000);
    drop(big);
    let names: HashMap<String, usize> = (0..1000).map(|n| (n.to_string(), n)).collect();
    assert_eq!(names["999"], 999);
    assert!(sys::wall_ms() > 1_600_000_000_000);
    assert!(sys::mono_ms() <= sys::mono_ms());
    assert!(!io::Error::from_raw_os_error(94).to_string().is_empty());
    kill(unistd::getpid(), None).expect("signal itself");
    writeln!(io::stderr(), "still writing").expect("write");
}

fn serves_clients() {
    let dir = TempDir::new();
    let path = dir.0.join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    drop(dir);
    let held = [(listener.as_fd(), "listener"), (client.as_fd(), "client")];
    let _confined = confined(&policy::COLIBRID, &held);
    let (mut server, _) = listener.accept().expect("accept");
    let cred = sys::peer_cred(server.as_fd()).expect("credentials");
    assert_eq!(cred.uid, unistd::geteuid().as_raw());
    assert_eq!(cred.gid, unistd::getegid().as_raw());
    assert_eq!(cred.pid, Some(unistd::getpid().as_raw()));
    client.write_all(b"ping").expect("write");
    let mut buffer = [0; 4];
    server.read_exact(&mut buffer).expect("read");
    assert_eq!(&buffer, b"ping");
    server.shutdown(std::net::Shutdown::Both).expect("shutdown");
    assert_eq!(client.read(&mut buffer).expect("end"), 0);
}

fn receives_descriptors() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(b"through").unwrap();
    let fds = [reader.as_raw_fd()];
    sendmsg::<UnixAddr>(
        theirs.as_raw_fd(),
        &[IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )
    .expect("send");
    drop((reader, writer, theirs));
    let _confined = confined(&policy::COLIBRID, &[(ours.as_fd(), "spawnd")]);
    let mut byte = [0; 1];
    let mut pieces = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let message = recvmsg::<UnixAddr>(
        ours.as_raw_fd(),
        &mut pieces,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .expect("receive");
    let Some(ControlMessageOwned::ScmRights(fds)) = message.cmsgs().unwrap().next() else {
        panic!("no descriptor came");
    };
    let fd = sys::inherit(fds[0]).expect("take over");
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).expect("read");
    assert_eq!(text, "through");
}

fn journals() {
    let dir = TempDir::new();
    std::fs::write(dir.0.join("1-1.journal"), "record").unwrap();
    let fd = open(
        &dir.0,
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .unwrap();
    // The case's child can't remove the directory itself any more: somebody outside does.
    let outside = after_end(move || drop(dir));
    let _confined = confined(
        &policy::COLIBRID,
        &[(fd.as_fd(), "journals"), (outside.as_fd(), "keeper")],
    );
    let file = openat(&fd, "1-1.journal", OFlag::O_RDONLY, Mode::empty()).expect("open beneath");
    let mut text = String::new();
    let mut file = File::from(file);
    file.read_to_string(&mut text).expect("read");
    assert_eq!(text, "record");
    assert_eq!(file.metadata().expect("fstat").len(), 6);
    let create = openat(&fd, "x", OFlag::O_WRONLY | OFlag::O_CREAT, Mode::empty());
    assert_eq!(create.unwrap_err() as i32, NO_RIGHT);
    let write = openat(&fd, "1-1.journal", OFlag::O_RDWR, Mode::empty());
    assert_eq!(write.unwrap_err() as i32, NO_RIGHT);
    unistd::unlinkat(&fd, "1-1.journal", UnlinkatFlags::NoRemoveDir).expect("remove beneath");
    let here = nix::fcntl::AT_FDCWD;
    let outside = unistd::unlinkat(here, "x", UnlinkatFlags::NoRemoveDir);
    assert_eq!(outside.unwrap_err() as i32, 94);
    let status = nix::sys::stat::fstatat(here, "x", AtFlags::empty());
    assert_eq!(status.unwrap_err() as i32, 94);
}

/// Forks somebody who does `what` when this process has ended.
fn after_end(what: impl FnOnce()) -> io::PipeWriter {
    let (mut reader, writer) = io::pipe().unwrap();
    match sys::fork().unwrap() {
        Fork::Child => {
            drop(writer);
            // The case's end is told by its stderr being closed: don't hold it.
            sys::dup_to(reader.as_fd(), 2).unwrap();
            harness::wait_closed(&mut reader);
            what();
            sys::exit_now(0)
        }
        Fork::Parent(_) => {
            std::mem::forget(what);
            writer
        }
    }
}

fn writes_journal() {
    let dir = TempDir::new();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(dir.0.join("j"))
        .unwrap();
    drop(dir);
    assert!(sys::flock_exclusive_nb(file.as_fd()).unwrap());
    let _confined = confined(&policy::MONITOR, &[(file.as_fd(), "journal")]);
    file.write_all(b"record").expect("write");
    file.write_all_at(b"R", 0).expect("pwrite");
    file.sync_all().expect("fsync");
    file.sync_data().expect("fdatasync");
    assert_eq!(file.seek(SeekFrom::Start(0)).expect("seek"), 0);
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read");
    assert_eq!(text, "Record");
}

fn waits_for_child() {
    let Fork::Parent(child) = sys::fork().unwrap() else {
        sys::exit_now(5);
    };
    let _confined = confined(&policy::MONITOR, &[]);
    let status = waitpid(Pid::from_raw(child), None).expect("wait");
    assert_eq!(status, WaitStatus::Exited(Pid::from_raw(child), 5));
}

fn loop_events() {
    use mio::unix::SourceFd;
    let mut poll = mio::Poll::new().unwrap();
    let (reader, writer) = io::pipe().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut agent = SourceFd(&reader.as_raw_fd());
    poll.registry()
        .register(&mut agent, mio::Token(1), mio::Interest::READABLE)
        .unwrap();
    let _confined = confined(
        &policy::MONITOR,
        &[
            (sys::borrow(&poll), "poll"),
            (reader.as_fd(), "agent stdout"),
            (writer.as_fd(), "agent stdin"),
            (ours.as_fd(), "channel"),
            (theirs.as_fd(), "channel"),
        ],
    );
    // One that was registered before, one that comes only now.
    let mut channel = SourceFd(&ours.as_raw_fd());
    poll.registry()
        .register(&mut channel, mio::Token(2), mio::Interest::READABLE)
        .expect("register");
    (&writer).write_all(b"line").expect("write");
    (&theirs).write_all(b"order").expect("write");
    let mut seen = Vec::new();
    let mut events = mio::Events::with_capacity(8);
    while seen.len() < 2 {
        let limit = std::time::Duration::from_secs(30);
        poll.poll(&mut events, Some(limit)).expect("poll");
        assert!(!events.is_empty(), "no event in time");
        seen.extend(events.iter().map(|e| e.token().0));
        seen.sort_unstable();
        seen.dedup();
    }
    assert_eq!(seen, [1, 2]);
    poll.registry()
        .deregister(&mut channel)
        .expect("deregister");
}

/// Why the daemons never call it.
#[allow(
    clippy::disallowed_methods,
    reason = "this is what it is disallowed for"
)]
fn std_sleeps() {
    let _confined = confined(&policy::SCHEDD, &[]);
    std::thread::sleep(std::time::Duration::from_millis(1));
}

fn unknown_descriptor() {
    let (reader, _writer) = io::pipe().unwrap();
    let error = confine(&policy::MONITOR, &stdio()).expect_err("two are unknown");
    let fd = reader.as_raw_fd();
    assert!(matches!(error, ConfineError::UnknownDescriptor { fd: f, .. } if f == fd));
    let text =
        format!("cannot confine colibri-spawnd: run: descriptor {fd} is open but has no role");
    assert_eq!(error.to_string(), text);
    File::open("/").expect("nothing was given up");
}

fn unknown_role() {
    let (reader, _writer) = io::pipe().unwrap();
    let mut held = stdio();
    held.push((reader.as_fd(), "database"));
    let error = confine(&policy::MONITOR, &held).expect_err("a monitor has no database");
    assert!(
        matches!(
            error,
            ConfineError::UnknownRole {
                role: "database",
                ..
            }
        ),
        "{error}"
    );
}

fn named_twice() {
    let mut held = stdio();
    held.push((sys::borrow(&1), "syslog"));
    let error = confine(&policy::MONITOR, &held).expect_err("1 is stdio already");
    assert!(
        matches!(
            error,
            ConfineError::NamedTwice {
                fd: 1,
                role: "syslog",
                ..
            }
        ),
        "{error}"
    );
}

fn limits_are_set() {
    // Not to a file, wherever the output of the test goes: that would be the exception.
    for fd in [0, 1] {
        sys::dup_to(sys::borrow(&2), fd).unwrap();
    }
    let _confined = confined(&policy::SCHEDD, &[]);
    for limit in policy::SCHEDD.limits {
        let expected = match nix::sys::resource::rlim_t::try_from(limit.value).unwrap() {
            0 if limit.resource == sys::Resource::RLIMIT_NPROC => FEWEST,
            n => n,
        };
        let found = getrlimit(limit.resource).expect("getrlimit");
        assert_eq!(found, (expected, expected), "{}", limit.why);
    }
}

fn log_file() {
    let dir = TempDir::new();
    let log = File::create(dir.0.join("log")).unwrap();
    sys::dup_to(log.as_fd(), 2).unwrap();
    drop(log);
    drop(dir);
    let _confined = confined(&policy::SCHEDD, &[]);
    // With a limit of 0 on file sizes this would be a deadly signal.
    writeln!(io::stderr(), "a line").expect("log");
}

fn spawnd_is_outside() {
    let confined = confined(&policy::SPAWND, &[]);
    assert_eq!(confined.report().mechanism, Mechanism::None);
    assert!(confined.report().tried.is_empty());
    File::open("/").expect("spawnd may open");
}

fn surprise() {
    let lines = [Probe {
        name: "nothing",
        expect: Expect::Refused,
        run: || Ok(()),
    }];
    let error = selftest("test", &lines).expect_err("success is a surprise");
    let text = "cannot confine test: self-test \"nothing\": expected error 94, found success";
    assert_eq!(error.to_string(), text);
}
