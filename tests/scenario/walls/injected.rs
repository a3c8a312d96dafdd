//! A daemon that is taken over when the suite has long been ready: the real one, and beside it
//! somebody who says on its channel what it never would.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Stdio};

use colibri_tests::client::Client;
use colibri_tests::daemon::{end_of, Daemon};
use colibri_tests::procs::signal;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{program, Scratch, Setup};
use colibri_tests::wait::{must, LONG};
use libcolibri::msg::{FromSchedd, FromSpawnd, Proven, Refusal, RunKey};
use libcolibri::state::{Accounting, Container};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::{json, Value};

use crate::stage::{frame, garbage, out_of_turn, put_script};

const SPAWND: &str = "colibri-spawnd";
const SCHEDD: &str = "colibri-schedd";

struct Suite {
    child: Child,
    // Before the suite: its end is the end of who says it.
    orders: File,
    daemon: Daemon,
    steps: Steps,
    said: usize,
}

impl Suite {
    /// A suite in which somebody speaks for the daemon `name`.
    fn start(name: &str) -> Suite {
        let scratch = Scratch::new();
        for other in ["colibri-inject", SPAWND, SCHEDD] {
            let _ = scratch.copy(&program(other));
        }
        let bin = scratch.path().join("bin");
        fs::create_dir(bin.join("real")).expect("a directory");
        fs::rename(bin.join(name), bin.join("real").join(name)).expect("moved");
        let orders = scratch.path().join("orders");
        nix::unistd::mkfifo(&orders, Mode::from_bits_truncate(0o600)).expect("a pipe");
        let open = File::options().read(true).write(true).open(&orders);
        // Not a child of the daemon, and without the lock.
        let inject = "(\"$bin/colibri-inject\" <\"$bin/../orders\" 4<&- &)";
        let script = format!("bin=${{0%/*}}\n{inject}\nexec \"$bin/real/{name}\" \"$@\"");
        put_script(&scratch, name, &script);
        let (profile, steps) = Steps::new(&scratch, "steps");
        let setup = Setup {
            profiles: vec![profile],
            ..Setup::default()
        };
        let colibrid = scratch.copy(&program("colibrid"));
        let mut daemon = Daemon::prepare(scratch, &setup);
        daemon.program = colibrid;
        let log = File::create(daemon.dir().join("log")).expect("a log");
        let child = daemon
            .command(&["-d", "-v"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("colibrid");
        // Behind the first audit, which begins by itself, nobody asks spawnd anything.
        daemon.client().call(json!({"cmd": "audit"}));
        Suite {
            child,
            orders: open.expect("its end"),
            daemon,
            steps,
            said: 0,
        }
    }

    /// Has these bytes said, with so many descriptors.
    fn say(&mut self, bytes: &[u8], fds: usize) {
        self.said += 1;
        let path = self.daemon.dir().join(format!("said-{}", self.said));
        fs::write(&path, bytes).expect("what it says");
        writeln!(self.orders, "send {fds} {}", path.display()).expect("told");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.daemon.dir().join("log")).expect("the log")
    }

    /// The suite ends, and this is why.
    #[track_caller]
    fn ends_for(&mut self, what: &str, why: &str) {
        assert_eq!(end_of(&mut self.child), Some(1), "{what}: {}", self.log());
        let line = format!("\ncolibrid: error: {why}\n");
        assert!(self.log().contains(&line), "{what}: {}", self.log());
    }

    fn client(&self) -> Client {
        self.daemon.client()
    }

    /// Starts a run; its key, its monitor's process, and a client that is told of it.
    fn run(&self) -> (RunKey, i32, Client) {
        let mut client = self.client();
        client.subscribe(None);
        let run = client.spawn_agent("steps", "go");
        let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
        client.wait_state(run, "working");
        let number = |name: &str| started[name].as_i64().expect("a number");
        let attempt = u64::try_from(number("attempt")).expect("fits");
        let monitor = i32::try_from(number("monitor")).expect("fits");
        (RunKey { run, attempt }, monitor, client)
    }

    fn row(&self, key: RunKey) -> Value {
        self.client()
            .call(json!({"cmd": "get-run", "run": key.run}))
    }
}

/// A frame of which the last byte is missing, and then the end.
#[track_caller]
fn half_and_end(name: &str, frame: &[u8]) {
    let mut suite = Suite::start(name);
    suite.say(&frame[..frame.len() - 1], 0);
    writeln!(suite.orders, "end").expect("told");
    suite.ends_for("half a frame", &format!("lost {name}: the peer is gone"));
}

#[track_caller]
fn strays(name: &str, frame: &[u8]) {
    for count in [1, 2, 3, 100] {
        let mut suite = Suite::start(name);
        suite.say(frame, count);
        let why = format!("lost {name}: unexpected descriptor");
        suite.ends_for(&format!("{count} descriptors"), &why);
    }
}

#[test]
fn garbage_of_schedd_ends_the_suite() {
    for (what, bytes, why) in garbage(&FromSchedd::NoZone { id: 99 }) {
        let mut suite = Suite::start(SCHEDD);
        suite.say(&bytes, 0);
        suite.ends_for(what, &format!("lost {SCHEDD}: {why}"));
    }
    let word = frame(&FromSchedd::NoZone { id: 99 });
    half_and_end(SCHEDD, &word);
    strays(SCHEDD, &word);
}

#[test]
fn what_schedd_says_out_of_turn_ends_the_suite() {
    for (what, word) in [
        ("ready again", FromSchedd::Ready),
        ("an answer to nothing", FromSchedd::Pong { token: 77 }),
    ] {
        let mut suite = Suite::start(SCHEDD);
        suite.say(&frame(&word), 0);
        suite.ends_for(what, &out_of_turn(SCHEDD));
    }
}

#[test]
fn garbage_of_spawnd_ends_the_suite() {
    let key = RunKey { run: 9, attempt: 9 };
    let word = FromSpawnd::Signalled { key, count: 1 };
    for (what, bytes, why) in garbage(&word) {
        let mut suite = Suite::start(SPAWND);
        suite.say(&bytes, 0);
        suite.ends_for(what, &format!("lost {SPAWND}: {why}"));
    }
    half_and_end(SPAWND, &frame(&word));
    strays(SPAWND, &frame(&word));
}

/// As the real one says it, but for what colibrid compares with its own config.
fn ready() -> FromSpawnd {
    FromSpawnd::Ready {
        generation: 0,
        profiles: 1,
        container: Container::Reaper,
        accounting: Accounting::Absent,
    }
}

#[test]
fn what_spawnd_says_out_of_turn_ends_the_suite() {
    let key = RunKey { run: 9, attempt: 9 };
    let found = FromSpawnd::Found {
        key,
        monitor: 1,
        processes: 1,
    };
    for (what, word, fds) in [
        ("ready again", ready(), 0),
        ("a log that nobody wanted", FromSpawnd::Log, 1),
        ("a watchdog that nobody wanted", FromSpawnd::Watchdog, 1),
        ("no watchdog", FromSpawnd::NoWatchdog { errno: 2 }, 0),
        ("a word on hostd", FromSpawnd::Hostd { errno: 0 }, 0),
        ("a run that nobody looked for", found, 0),
        ("the end of a survey", FromSpawnd::Surveyed { token: 1 }, 0),
    ] {
        let mut suite = Suite::start(SPAWND);
        suite.say(&frame(&word), fds);
        suite.ends_for(what, &out_of_turn(SPAWND));
    }
    let mut suite = Suite::start(SPAWND);
    suite.say(&frame(&FromSpawnd::Started { key, monitor: 1 }), 0);
    let why = format!("lost {SPAWND}: wrong message flags 0x00");
    suite.ends_for("a monitor without its channel", &why);
}

#[test]
fn a_run_that_lives_cannot_be_started_or_refused_again() {
    for refused in [None, Some(Refusal::System), Some(Refusal::Again)] {
        let mut suite = Suite::start(SPAWND);
        let (key, monitor, _client) = suite.run();
        let errno = 12;
        match refused {
            None => suite.say(&frame(&FromSpawnd::Started { key, monitor: 1 }), 1),
            Some(why) => suite.say(&frame(&FromSpawnd::Refused { key, why, errno }), 0),
        }
        suite.ends_for(&format!("{refused:?}"), &out_of_turn(SPAWND));
        // Nobody else would end the run now.
        signal(monitor, Signal::SIGKILL);
    }
}

#[test]
fn what_spawnd_says_of_a_run_unasked_changes_nothing() {
    let mut suite = Suite::start(SPAWND);
    let (key, _, mut client) = suite.run();
    let other = RunKey { attempt: 99, ..key };
    let pid = client.call(json!({"cmd": "status"}))["pid"].clone();
    for word in [
        FromSpawnd::Released {
            key,
            proven: Proven::Empty,
        },
        FromSpawnd::Released {
            key,
            proven: Proven::Alive,
        },
        FromSpawnd::MonitorExited { key, status: 9 },
        FromSpawnd::Signalled { key, count: 3 },
        FromSpawnd::Refused {
            key: other,
            why: Refusal::System,
            errno: 12,
        },
    ] {
        suite.say(&frame(&word), 0);
    }
    // An end of another channel for an attempt that is not there: it is closed, and that is all.
    let started = FromSpawnd::Started {
        key: other,
        monitor: 1,
    };
    suite.say(&frame(&started), 1);
    let stale = format!("started {}, which nobody wanted", other.stem());
    must("the last word", LONG, || {
        suite.log().contains(&stale).then_some(())
    });
    let row = suite.row(key);
    assert_eq!(row["ended"], false, "{row}");
    assert_eq!(row["pane"]["state"], "working", "{row}");
    // It is still heard and ends as it should.
    suite.steps.settle();
    suite.steps.exit(0);
    assert_eq!(client.wait_ended(key.run)["state"], "done");
    assert_eq!(client.call(json!({"cmd": "status"}))["pid"], pid);
}
