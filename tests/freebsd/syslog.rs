//! The log goes on when syslogd was started again, although nobody confined can connect.

use std::process::Command;

use super::agent::{root, said, script};
use colibri_tests::daemon::Daemon;
use colibri_tests::suite::{Scratch, Setup};
use colibri_tests::wait::{must, LONG};

#[test]
fn a_restarted_syslogd_is_found_again() {
    if !root() {
        return;
    }
    let setup = Setup {
        profiles: vec![script("quick", "echo")],
        ..Setup::default()
    };
    let daemon = Daemon::start(Scratch::new(), &setup);
    let parts = daemon.parts();
    let mut client = daemon.client();
    client.subscribe(None);
    let run = client.spawn_agent("quick", "go");
    client.wait_ended(run);
    must("a line before", LONG, || {
        said("colibrid", parts.colibrid, "run 1 ended").then_some(())
    });
    let status = Command::new("/usr/sbin/service")
        .args(["syslogd", "onerestart"])
        .status()
        .expect("service");
    assert!(status.success());
    // The first lines find out; the ones after the new connection arrive.
    let mut last = run;
    must("lines after", LONG, || {
        last = client.spawn_agent("quick", "go");
        client.wait_ended(last);
        let ended = said("colibrid", parts.colibrid, &format!("run {last} ended"));
        let started = said(
            "colibri-spawnd",
            parts.spawnd,
            &format!("run {last}-{last}: started"),
        );
        (ended && started).then_some(())
    });
    assert_eq!(daemon.parts(), parts, "nobody was started again for it");
}
