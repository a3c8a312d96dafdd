use crate::stage::Ground;
use colibri_tests::suite::{Setup, Suite};
use colibri_tests::watchdog::{says, Watchdog};
use serde_json::{json, Value};
use std::os::unix::net::UnixListener;

#[test]
fn status_shows_the_word_its_age_and_hostd() {
    let ground = Ground::new();
    let _hostd = UnixListener::bind(&ground.hostd).expect("hostd's socket");
    let dog = Watchdog::start(&ground.watchdog, says("held"));
    let (suite, _client, _steps) = ground.start("");
    let shown = suite.ctl_ok(&["status"]);
    let line = shown.lines().find(|l| l.starts_with("host: "));
    let line = line.unwrap_or_else(|| panic!("{shown}"));
    assert!(line.starts_with("host: held: low memory ("), "{line}");
    drop(dog);
}

#[test]
fn without_an_authority_nothing_is_shown() {
    let suite = Suite::start(Setup::default());
    let status: Value = suite.client().call(json!({"cmd": "status"}));
    assert_eq!(
        (&status["watchdog"], &status["hostd"]),
        (&json!(null), &json!(null))
    );
    assert!(!suite.ctl_ok(&["status"]).contains("host: "));
}
