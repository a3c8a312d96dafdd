//! What the keeper holds, seen from outside: it has root and must be able to do nothing with it.

use colibri_tests::daemon::Daemon;
use colibri_tests::procs::descriptors_of;
use colibri_tests::suite::{Scratch, Setup};
use colibri_tests::wait::{must, LONG};

#[test]
fn the_keeper_holds_a_pipe_and_its_signals() {
    let daemon = Daemon::start(Scratch::new(), &Setup::default());
    let keeper = daemon.pid().expect("the keeper");
    // The starting command may be told before the keeper has left its terminal.
    let held = must("a keeper without a terminal", LONG, || {
        let held = descriptors_of(keeper);
        let left =
            |(fd, target): &(i32, std::path::PathBuf)| *fd > 2 || target.as_os_str() == "/dev/null";
        held.iter().all(left).then_some(held)
    });
    assert!(held.len() > 3, "{held:?}");
    for (fd, target) in held {
        let text = target.to_string_lossy().into_owned();
        let known = match fd {
            0..=2 => text == "/dev/null",
            _ => text.starts_with("pipe:") || text.starts_with("socket:"),
        };
        assert!(known, "the keeper holds {fd} -> {text}");
    }
}
