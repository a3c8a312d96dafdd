//! What is to be tried on FreeBSD only: jails, and trees that need a reaper.

use super::*;
use libcolibri::sys::jail::{self, Event, Jail, Spec, Watch};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

pub const SYSTEM: &[Case] = &[
    case("a jail dies with its descriptor", jail_dies).as_root(),
    case("a jail tells when it is empty", jail_empties).as_root(),
    case("nobody enters a jail with a directory open", no_directories).as_root(),
    case("a tree needs a reaper", tree_needs_reaper),
];

pub fn assert_shown(text: &str) {
    let me = unistd::getpid().to_string();
    let out = std::process::Command::new("/bin/ps")
        .args(["-o", "command=", "-p", &me])
        .output()
        .unwrap();
    let shown = String::from_utf8(out.stdout).unwrap();
    let (name, rest) = shown.trim().split_once(": ").expect("a name comes first");
    assert!(
        name.starts_with("processes-") && rest.starts_with(text),
        "{shown}"
    );
}

fn jail() -> Jail {
    let name = format!("colibri-test-{}", unistd::getpid());
    let jail = Jail::create(&Spec::host(&name)).expect("create");
    assert_eq!(jail::find(&name).unwrap(), Some(jail.jid()));
    assert_eq!(jail::path_of(jail.jid()).unwrap().to_str(), Some("/"));
    jail
}

fn jail_dies() {
    let (mut reader, writer) = io::pipe().unwrap();
    let (mut ready, told) = io::pipe().unwrap();
    let jail = jail();
    child(|| {
        jail::attach(jail.jid()).unwrap();
        // A copy in here would keep it alive.
        sys::dup_to(told.as_fd(), 3).unwrap();
        sys::dup_to(writer.as_fd(), 4).unwrap();
        sys::close_from(5).unwrap();
        child(|| {
            unistd::setsid().unwrap();
            nix::unistd::write(sys::borrow(&3), b"x").unwrap();
            live_on()
        });
        live_on()
    });
    drop(writer);
    ready.read_exact(&mut [0; 1]).unwrap();
    jail.let_it_end().unwrap();
    drop(jail.into_descriptor());
    wait_closed(&mut reader);
}

fn jail_empties() {
    let (mut ready, told) = io::pipe().unwrap();
    let (gate, go) = io::pipe().unwrap();
    let jail = jail();
    let mut watch = Watch::new(jail.descriptor()).unwrap();
    let own_copy = go.as_raw_fd();
    let pid = child(|| {
        let mut gate = gate;
        jail::attach(jail.jid()).unwrap();
        (&told).write_all(b"x").unwrap();
        unistd::close(own_copy).unwrap();
        wait_closed(&mut gate);
    });
    ready.read_exact(&mut [0; 1]).unwrap();
    jail.let_it_end().unwrap();
    let mut events = Vec::new();
    drop(go);
    while !events.contains(&Event::Removed) {
        let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(30_000u16)), Ok(1));
        events.extend(watch.take().unwrap());
    }
    wait(pid).unwrap();
}

fn no_directories() {
    let jail = jail();
    let jid = jail.jid();
    let refused = child(|| {
        // Close-on-exec does not help: it is not exec that enters.
        let _held = std::fs::File::open("/tmp").unwrap();
        let error = jail::attach(jid).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::EPERM));
    });
    assert_eq!(
        wait(refused).unwrap(),
        WaitStatus::Exited(Pid::from_raw(refused), 0)
    );
    let let_in = child(|| {
        let _held = std::fs::File::open("/etc/passwd").unwrap();
        jail::attach(jid).unwrap();
    });
    assert_eq!(
        wait(let_in).unwrap(),
        WaitStatus::Exited(Pid::from_raw(let_in), 0)
    );
}

fn tree_needs_reaper() {
    let pid = child(|| live_on());
    let error = sys::signal_tree(pid, Signal::SIGTERM, false).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    wait(pid).unwrap();
}
