//! A schedd that has been taken over and says that things are due: no task comes of what cannot be
//! true, and nobody has to wait for it.
//!
//! It is played by a program that passes on what the test writes into a pipe.

use std::fs::{self, File};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use colibri_tests::client::Client;
use colibri_tests::daemon::Daemon;
use colibri_tests::procs::gone;
use colibri_tests::suite::{program, Scratch, Setup};
use colibri_tests::wait::{must, LONG};
use libcolibri::msg::{FromSchedd, Planned};
use libcolibri::wire;
use nix::sys::stat::Mode;
use serde_json::{json, Value};

/// Three schedules that are told of by numbers: 1 comes every second since 2020, 2 each minute, 3 at
/// seven past midnight of one day in four years.
const DECLARED: &str = "[schedule.a]\nevery = 1\nstart = \"2020-01-01T00:00:00Z\"\ntitle = \"t\"\n\
    overlap = \"allow\"\n[schedule.b]\ncron = \"* * * * *\"\ntitle = \"t\"\noverlap = \"allow\"\n\
    [schedule.c]\ncron = \"7 0 29 2 *\"\ntitle = \"t\"\noverlap = \"allow\"\n[schedule.d]\n\
    cron = \"* * * * *\"\nstart = \"2100-01-01T00:00:00Z\"\ntitle = \"t\"\noverlap = \"allow\"\n";

struct Liar {
    daemon: Daemon,
    pipe: File,
    /// Nothing true can be said of times before this one.
    last: u64,
}

fn frames(messages: &[FromSchedd]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for m in messages {
        wire::encode(m, &mut bytes);
    }
    bytes
}

fn due(id: u64, at_ms: u64) -> FromSchedd {
    FromSchedd::Due {
        id,
        planned: Planned { at_ms, offset_s: 0 },
        more: false,
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    u64::try_from(since.as_millis()).expect("fits")
}

impl Liar {
    fn start() -> Liar {
        let scratch = Scratch::new();
        let colibrid = scratch.copy(&program("colibrid"));
        let _ = scratch.copy(&program("colibri-spawnd"));
        let pipe = scratch.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::from_bits_truncate(0o666)).expect("a pipe");
        let liar = scratch.path().join("bin/colibri-schedd");
        fs::copy(program("colibri-false-schedd"), liar).expect("the liar");
        let setup = Setup {
            more: DECLARED.into(),
            ..Setup::default()
        };
        let mut daemon = Daemon::prepare(scratch, &setup);
        daemon.program = colibrid;
        let ran = daemon.launch();
        assert_eq!(ran.code, Some(0), "{}", ran.said);
        let pipe = File::options().write(true).open(pipe).expect("its end");
        let last = now_ms();
        Liar { daemon, pipe, last }
    }

    fn say(&mut self, messages: &[FromSchedd]) {
        self.pipe.write_all(&frames(messages)).expect("said");
    }

    fn client(&self) -> Client {
        self.daemon.client()
    }
}

#[track_caller]
fn rows(client: &mut Client, name: &str) -> Vec<Value> {
    let mut reply =
        client.call(json!({"cmd": "list-occurrences", "schedule": name, "limit": 1000}));
    match reply["occurrences"].take() {
        Value::Array(rows) => rows,
        other => panic!("{other}"),
    }
}

#[track_caller]
fn tasks(client: &mut Client) -> usize {
    let listed = client.call(json!({"cmd": "list-tasks", "limit": 1000}));
    listed["tasks"].as_array().expect("tasks").len()
}

/// Waits until a true word has had its effect: all that was said before has been heard.
#[track_caller]
fn heard(liar: &mut Liar, client: &mut Client) -> u64 {
    let seen = rows(client, "a").len();
    let at = must("a new second", LONG, || {
        let at = now_ms() / 1000 * 1000;
        (at > liar.last).then_some(at)
    });
    liar.last = at;
    // An honest one says it again when it is told of the schedule again.
    must("a true word to be heard", LONG, || {
        liar.say(&[due(1, at)]);
        (rows(client, "a").len() > seen).then_some(())
    });
    at
}

#[test]
fn what_cannot_be_true_has_no_effect() {
    let mut liar = Liar::start();
    let mut client = liar.client();
    let at = heard(&mut liar, &mut client);
    let minute = now_ms() / 60_000 * 60_000;
    let lies = [
        ("early", due(1, at + 3_600_000)),
        ("long ago", due(1, at - 3_600_000)),
        ("not a multiple of the interval", due(1, at + 1)),
        ("before the schedule was there", due(2, minute - 600_000)),
        ("not a whole minute", due(2, minute + 1)),
        ("a minute that is not meant", due(3, minute)),
        ("before its start", due(4, minute)),
        ("of no schedule", due(99, at)),
        ("of a number that there cannot be", due(u64::MAX, at)),
        ("the beginning of time", due(1, 0)),
        ("the end of time", due(1, u64::MAX)),
        (
            "a zone that is missing, of no schedule",
            FromSchedd::NoZone { id: 99 },
        ),
        (
            "all of the future",
            FromSchedd::Passed {
                id: 2,
                planned: Planned {
                    at_ms: minute - 60_000,
                    offset_s: 0,
                },
                until_ms: u64::MAX,
            },
        ),
    ];
    for (what, lie) in lies {
        let (before, made) = (rows(&mut client, "b").len(), tasks(&mut client));
        let entered = rows(&mut client, "a").len();
        liar.say(&[lie]);
        heard(&mut liar, &mut client);
        assert_eq!(rows(&mut client, "b").len(), before, "{what}");
        assert_eq!(rows(&mut client, "a").len(), entered + 1, "{what}");
        assert_eq!(tasks(&mut client), made + 1, "{what}");
    }
}

#[test]
fn what_is_said_again_and_again_comes_once_and_nobody_waits() {
    let mut liar = Liar::start();
    let mut client = liar.client();
    let at = heard(&mut liar, &mut client);
    let many = vec![due(1, at); 1000];
    for _ in 0..50 {
        liar.say(&many);
        client.call(json!({"cmd": "ping"}));
    }
    heard(&mut liar, &mut client);
    assert_eq!(rows(&mut client, "a").len(), 2);
    assert_eq!(tasks(&mut client), 2);
}

#[test]
fn a_flood_of_lies_ends_it_and_the_suite_starts_again() {
    let mut liar = Liar::start();
    let mut client = liar.client();
    heard(&mut liar, &mut client);
    let parts = liar.daemon.parts();
    liar.say(&vec![due(99, 1); 2000]);
    for pid in parts.all() {
        assert!(gone(pid, LONG), "{pid} lives");
    }
    let again = liar.daemon.parts();
    assert_ne!(again.colibrid, parts.colibrid);
    assert_eq!(tasks(&mut liar.client()), 1);
}

#[test]
fn an_answer_that_was_not_asked_for_ends_it() {
    let mut liar = Liar::start();
    let parts = liar.daemon.parts();
    let times = Some(Vec::new());
    liar.say(&[FromSchedd::Plan { token: 7, times }]);
    for pid in parts.all() {
        assert!(gone(pid, LONG), "{pid} lives");
    }
    let _ = liar.daemon.parts();
}
