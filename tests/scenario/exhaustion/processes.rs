//! No processes left: what cannot be started ends with a reason, what runs goes on and is stopped, and
//! the next one starts when there is room.
//!
//! The limit is of the test's own, a control group or a jail with a rule of rctl(4), for which root is
//! needed: a limit by user would count other tests' processes and, on Linux, does not bind root.

use colibri_tests::client::Client;
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{is_root, program, Profile, Scratch, Setup, Suite};
use colibri_tests::tail::{log_until_ended, once};
use colibri_tests::wait::{must, LONG};
use serde_json::{json, Value};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Processes and threads of the suite and its runs together: enough for some runs.
const PROCESSES: u32 = 40;

/// A place for a number of processes; removed at the end.
enum Room {
    /// A control group; by its directory.
    Group(PathBuf),
    /// A jail that sees all of the host and may have jails below it, which count; by its name.
    Jail(String),
}

impl Room {
    fn new() -> Option<Room> {
        let name = format!("colibri-test-{}", std::process::id());
        Room::group(&name).or_else(|| Room::jail(&name))
    }

    fn group(name: &str) -> Option<Room> {
        // The first kind of control groups, then the second.
        let places = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        places.iter().find_map(|place| {
            let dir = PathBuf::from(place).join(name);
            fs::create_dir(&dir).ok()?;
            let limited = fs::write(dir.join("pids.max"), PROCESSES.to_string());
            let room = Room::Group(dir);
            limited.is_ok().then_some(room)
        })
    }

    fn jail(name: &str) -> Option<Room> {
        let rctl = Path::new("/usr/bin/rctl");
        // Without accounting there is nothing to list, which is an error.
        if !is_root() || !rctl.exists() || !Command::new(rctl).output().ok()?.status.success() {
            return None;
        }
        let made = Command::new("/usr/sbin/jail")
            .args(["-c", "persist", "path=/", "children.max=100"])
            .args(["ip4=inherit", "ip6=inherit", &format!("name={name}")])
            .status();
        assert!(made.expect("jail").success(), "no jail {name}");
        let room = Room::Jail(name.to_owned());
        let rule = format!("jail:{name}:maxproc:deny={PROCESSES}");
        let limited = Command::new(rctl).args(["-a", &rule]).status();
        assert!(limited.expect("rctl").success(), "no rule {rule}");
        Some(room)
    }

    /// Makes the suite start in it.
    fn enter(&self, setup: &mut Setup) {
        match self {
            // Goes on behind the limit that is asked for there.
            Room::Group(dir) => {
                let line = format!("-n 1024 && echo $$ >{}/cgroup.procs", dir.display());
                setup.ulimit = Some(line);
            }
            Room::Jail(name) => {
                setup.under = vec!["/usr/sbin/jexec".into(), name.clone()];
            }
        }
    }

    /// Whether there was no room: a control group counts refusals, a jail what is in it, where
    /// what was left behind by the failure may have gone.
    fn was_full(&self) -> bool {
        match self {
            Room::Group(dir) => {
                let text = fs::read_to_string(dir.join("pids.events")).unwrap_or_default();
                number(&text, "max ") > 0
            }
            Room::Jail(name) => {
                let used = Command::new("/usr/bin/rctl")
                    .args(["-u", &format!("jail:{name}")])
                    .output();
                let text = String::from_utf8(used.expect("rctl").stdout).expect("text");
                number(&text, "maxproc=") + 2 >= PROCESSES
            }
        }
    }
}

/// What stands behind that word at the beginning of a line; 0 where no line has it.
fn number(text: &str, word: &str) -> u32 {
    let found = text.lines().find_map(|l| l.strip_prefix(word));
    found.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

impl Drop for Room {
    fn drop(&mut self) {
        match self {
            Room::Group(dir) => drop(fs::remove_dir(dir)),
            Room::Jail(name) => {
                let rule = format!("jail:{name}");
                let _ = Command::new("/usr/bin/rctl").args(["-r", &rule]).status();
                let _ = Command::new("/usr/sbin/jail").args(["-r", name]).status();
            }
        }
    }
}

fn crowded(room: &Room) -> (Suite, Steps) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let agent = scratch.copy(&program("colibri-scripted"));
    let mut lives = Profile::new("lives", "rpc", vec![agent.display().to_string()]);
    lives.more = "stop_grace = 1".into();
    let mut setup = Setup {
        profiles: vec![profile, lives],
        limits: "runs = 100".into(),
        ..Setup::default()
    };
    room.enter(&mut setup);
    (Suite::start_in(scratch, setup), steps)
}

/// Waits until a run works or has ended; its row.
fn settled(client: &mut Client, run: u64) -> Value {
    must("a run to work or to end", LONG, || {
        let row = client.call(json!({"cmd": "get-run", "run": run}));
        (row["state"] == "working" || row["ended"] == true).then_some(row)
    })
}

#[test]
fn a_run_that_cannot_be_started_says_why_and_the_others_go_on() {
    let Some(room) = Room::new() else {
        return skip("nothing limits the number of processes: root, a control group or rctl");
    };
    let (mut suite, mut steps) = crowded(&room);
    let mut client = suite.client();
    let first = client.spawn_agent("steps", "go");
    client.subscribe(None);
    let mut lives = Vec::new();
    let failed = loop {
        assert!(lives.len() < 40, "processes do not run out");
        let run = client.spawn_agent("lives", "live");
        let row = settled(&mut client, run);
        if row["ended"] == true {
            break row;
        }
        lives.push(run);
    };
    assert_eq!(failed["state"], "error", "{failed}");
    let reason = failed["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("cannot fork"), "no reason: {failed}");
    assert!(room.was_full(), "no process was refused");
    // Nobody else has noticed, and board and kernel agree.
    for run in &lives {
        assert_eq!(settled(&mut client, *run)["state"], "working");
    }
    let audit = client.call(json!({"cmd": "audit"}));
    assert_eq!(audit["disagreements"], json!([]), "{audit}");
    steps.tools(5);
    client.wait_event(first, "the last tool", |e| {
        e["kind"] == "tool-end" && e["id"] == "call-4"
    });
    // A stop needs no process, and makes room.
    for run in &lives {
        client.call(json!({"cmd": "stop-agent", "run": run}));
    }
    must("their ends", LONG, || {
        let status = client.call(json!({"cmd": "status"}));
        (status["runs"]["alive"] == 1).then_some(())
    });
    let run = client.spawn_agent("lives", "live");
    assert_eq!(settled(&mut client, run)["state"], "working");
    client.call(json!({"cmd": "stop-agent", "run": run}));
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut suite.client(), first);
    once(&log, first, steps.used());
    suite.stop();
}
