use crate::stage::Ground;
use colibri_tests::client::Client;
use colibri_tests::wait::{must, LONG};
use colibri_tests::watchdog::Watchdog;
use serde_json::{json, Value};
use std::os::unix::net::UnixListener;

/// What `status` says of hostd, once it says this of its reach.
#[track_caller]
fn shown(client: &mut Client, reachable: bool) -> Value {
    must("hostd in the status", LONG, || {
        let status = client.call(json!({"cmd": "status"}));
        (status["hostd"]["reachable"] == json!(reachable)).then_some(status)
    })
}

#[test]
fn whether_hostd_takes_connections_is_shown_and_nothing_is_said_to_it() {
    let ground = Ground::new();
    let path = ground.hostd.clone();
    let _watchdog = Watchdog::saying(&ground.watchdog, "normal");
    let (_suite, mut client, _steps) = ground.start("");
    let status = shown(&mut client, false);
    assert_eq!(status["hostd"]["reason"], "no such file or directory");
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("hostd cannot be reached"), "{warnings}");

    let hostd = UnixListener::bind(&path).expect("hostd's socket");
    shown(&mut client, true);
    let (mut taken, _) = hostd.accept().expect("a connection");
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut taken, &mut said).expect("its end");
    assert!(said.is_empty());

    drop(hostd);
    let status = shown(&mut client, false);
    assert_eq!(status["hostd"]["reason"], "connection refused");
}
