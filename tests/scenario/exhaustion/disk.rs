//! A full file system, under the database and under the journals.

use colibri_tests::client::Client;
use colibri_tests::procs::{alive, users_of};
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{is_root, program, Profile, Scratch, Setup, Suite};
use colibri_tests::tail::{log_until, log_until_ended, of, once};
use colibri_tests::wait::{must, wait_for, LONG};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A small file system under a suite's state, with a file that takes all that is left of it. Mounted by the
/// system's own tool, which only root may do.
struct SmallDisk {
    dir: PathBuf,
    ballast: PathBuf,
}

impl SmallDisk {
    fn mount(scratch: &Scratch, at: &str) -> Self {
        let dir = scratch.path().join(at);
        fs::create_dir_all(&dir).expect("a directory");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8388608,mode=0755", "tmpfs"])
            .arg(&dir)
            .status()
            .expect("mount");
        assert!(done.success(), "cannot mount a tmpfs");
        Self {
            ballast: dir.join("ballast"),
            dir,
        }
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&self.ballast)
            .expect("the ballast");
        for size in [65_536, 4096, 1] {
            let block = vec![b'x'; size];
            while file.write_all(&block).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(&self.ballast).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The suite's own end may have been unclean; nothing must hold the file system.
        for pid in users_of(&self.dir) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = wait_for(LONG, || users_of(&self.dir).is_empty().then_some(()));
        // Lazily on one system, by force on the other; each knows only its own word.
        for how in ["-l", "-f"] {
            let mut umount = Command::new("umount");
            let done = umount
                .arg(how)
                .arg(&self.dir)
                .stderr(Stdio::null())
                .status();
            if done.is_ok_and(|s| s.success()) {
                return;
            }
        }
    }
}

/// A suite on a small disk, and its agent; the disk goes last.
fn small() -> (Suite, Steps, SmallDisk) {
    small_at("state")
}

/// The same with the small disk in one of its directories.
fn small_at(at: &str) -> (Suite, Steps, SmallDisk) {
    let scratch = Scratch::new();
    let disk = SmallDisk::mount(&scratch, at);
    let (profile, steps) = Steps::new(&scratch, "steps");
    let agent = scratch.copy(&program("colibri-scripted"));
    let setup = Setup {
        profiles: vec![
            profile,
            Profile::new("short", "rpc", vec![agent.display().to_string()]),
        ],
        limits: "runs = 100".into(),
        more: "[agent.steps]\ncapabilities = [\"rust\"]\n".into(),
        ..Setup::default()
    };
    (Suite::start_in(scratch, setup), steps, disk)
}

fn spawn() -> Value {
    json!({"cmd": "spawn-agent", "profile": "short", "prompt": "settle exit 0"})
}

/// Waits until new work is refused because it cannot be stored.
#[track_caller]
fn refused(client: &mut Client) {
    must("a refusal", LONG, || {
        let reply = client.request(spawn()).expect("an answer");
        if reply["ok"] == true {
            return None;
        }
        assert_eq!(reply["error"]["code"], "unavailable", "{reply}");
        Some(())
    });
}

#[test]
fn a_full_disk_refuses_new_work_and_the_rest_goes_on() {
    if !is_root() {
        return skip("only root may mount");
    }
    let (mut suite, mut steps, disk) = small();
    let pid = suite.pid();
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    disk.fill();
    // Enough that it fits neither into what the WAL has already nor into the journal.
    let mut other = suite.client();
    steps.tools(400);
    must("status to say it", LONG, || {
        let status = other.call(json!({"cmd": "status"}));
        let warnings = status["warnings"].to_string();
        warnings.contains("cannot be written").then_some(())
    });
    let message = other.request(spawn()).expect("an answer");
    assert_eq!(message["error"]["code"], "unavailable", "{message}");
    assert!(
        message["error"]["message"].to_string().contains("full"),
        "{message}"
    );
    // It is the same suite, its run lives, and what looks is answered.
    assert!(alive(pid) && suite.pid() == pid);
    assert_eq!(other.call(json!({"cmd": "ping"})), json!({}));
    let row = other.call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(row["state"], "working", "{row}");
    disk.free();
    steps.tools(1);
    steps.settle();
    steps.exit(4);
    client.wait_event(run, "the end", |e| e["kind"] == "ended");
    let row = must("the end on the board", LONG, || {
        let row = other.call(json!({"cmd": "get-run", "run": run}));
        (row["ended"] == true).then_some(row)
    });
    assert_eq!(row["exit"], json!({"how": "code", "value": 4}));
    let status = other.call(json!({"cmd": "status"}));
    assert!(!status["warnings"].to_string().contains("cannot be written"));
    // Nothing of it was lost but what the journal itself said that it left out.
    let log = log_until_ended(&mut suite.client(), run);
    let dropped: u64 = of(&log, run, "dropped")
        .iter()
        .filter_map(|e| e["records"].as_u64())
        .sum();
    let told = of(&log, run, "tool-start").len() + of(&log, run, "tool-end").len();
    assert!(
        told as u64 + dropped >= 2 * steps.used() as u64,
        "{told} told, {dropped} said to be dropped, {} used",
        steps.used()
    );
    assert_eq!(steps.started(), 1);
    let after = other.spawn_agent("steps", "again");
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut suite.client(), after);
    once(&log, after, 0);
    assert_eq!(suite.stop().code(), Some(0), "{}", suite.log());
}

#[test]
fn new_work_alone_is_refused_and_accepted_again() {
    if !is_root() {
        return skip("only root may mount");
    }
    let (suite, _, disk) = small();
    let mut client = suite.client();
    // It listens before it has opened its database.
    client.call(json!({"cmd": "ping"}));
    disk.fill();
    let accepted: u64 = must("a refusal", LONG, || {
        let reply = client.request(spawn()).expect("an answer");
        match reply["ok"] == true {
            // What the WAL has room for is taken; the journal may not be.
            true => None,
            false if reply["error"]["code"] == "unavailable" => {
                let status = client.call(json!({"cmd": "status"}));
                status["runs"]["total"].as_u64()
            }
            false => {
                assert_eq!(reply["error"]["code"], "too-many", "{reply}");
                None
            }
        }
    });
    refused(&mut client);
    disk.free();
    must("new work to be taken", LONG, || {
        let reply = client.request(spawn()).expect("an answer");
        (reply["ok"] == true).then_some(())
    });
    // What was refused is not there: the next number was not used up.
    let last = client.call(json!({"cmd": "list-runs", "limit": 1}));
    let run = last["runs"][0]["run"].as_u64().expect("a run");
    assert!(run > accepted, "{last}");
    let over = |e: &Value| e["kind"] == "ended" && e["run"] == json!(run);
    let log = log_until(&mut suite.client(), over);
    assert_eq!(of(&log, run, "run-created").len(), 1);
}

#[test]
fn a_suite_that_is_killed_on_a_full_disk_comes_back_and_supervises() {
    if !is_root() {
        return skip("only root may mount");
    }
    let (mut suite, mut steps, disk) = small();
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    disk.fill();
    steps.tools(400);
    let mut other = suite.client();
    refused(&mut other);
    colibri_tests::procs::signal(suite.pid(), Signal::SIGKILL);
    suite.wait_end();
    suite.launch();
    let mut client = suite.client();
    let row = client.call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(row["ended"], false, "{row}");
    refused(&mut client);
    // The operator's way out: end what fills the disk.
    let reply = client
        .request(json!({"cmd": "stop-agent", "run": run}))
        .expect("an answer");
    let stored = reply["ok"] == true || reply["error"]["code"] == "unavailable";
    assert!(stored, "{reply}");
    must("the agent to be gone", LONG, || {
        let audit = client.call(json!({"cmd": "audit"}));
        (audit["processes"] == 0).then_some(())
    });
    disk.free();
    let log = log_until_ended(&mut suite.client(), run);
    assert_eq!(of(&log, run, "launched").len(), 1);
    assert_eq!(of(&log, run, "ended").len(), 1);
    assert_eq!(steps.started(), 1);
}

/// The database has room, the journals have none.
#[test]
fn a_run_whose_journal_has_no_room_is_not_started_and_says_why() {
    if !is_root() {
        return skip("only root may mount");
    }
    let (mut suite, mut steps, disk) = small_at("state/runs");
    let mut client = suite.client();
    client.subscribe(None);
    let living = client.spawn_agent("steps", "go");
    client.wait_state(living, "working");
    disk.fill();
    let run = client.spawn_agent("short", "settle exit 0");
    let ended = client.wait_ended(run);
    assert_eq!(ended["state"], "error", "{ended}");
    let why = "not started: cannot write the journal: no space left on device";
    assert_eq!(ended["reason"], why, "{ended}");
    disk.free();
    let run = client.spawn_agent("short", "settle exit 0");
    assert_eq!(client.wait_ended(run)["state"], "done");
    // Whoever had room before goes on.
    steps.tools(3);
    steps.settle();
    steps.exit(0);
    let log = log_until_ended(&mut suite.client(), living);
    once(&log, living, steps.used());
    assert_eq!(suite.stop().code(), Some(0), "{}", suite.log());
}

fn task(client: &mut Client, task: &Value) -> Value {
    client.call(json!({"cmd": "get-task", "task_id": task}))
}

/// Waits until the task stands there.
#[track_caller]
fn wait_task(client: &mut Client, number: &Value, status: &str) -> Value {
    must(status, LONG, || {
        let t = task(client, number);
        (t["status"] == status).then_some(t)
    })
}

/// A task that is worked on while the database's disk has become full; the journals have theirs.
#[track_caller]
fn task_on_full_disk() -> (Suite, Steps, SmallDisk, Client, Value) {
    let (suite, mut steps, disk) = small_at("state/db");
    let mut client = suite.client();
    let made = client.call(json!({"cmd": "create-task", "title": "t", "capabilities": ["rust"]}));
    let number = made["id"].clone();
    wait_task(&mut client, &number, "started");
    disk.fill();
    steps.tools(400);
    must("status to say it", LONG, || {
        let status = client.call(json!({"cmd": "status"}));
        let warnings = status["warnings"].to_string();
        warnings.contains("cannot be written").then_some(())
    });
    for request in [
        json!({"cmd": "create-task", "title": "no"}),
        json!({"cmd": "cancel-task", "task_id": number}),
        json!({"cmd": "pause-agent", "agent_id": "steps"}),
    ] {
        let reply = client.request(request).expect("an answer");
        assert_eq!(reply["error"]["code"], "unavailable", "{reply}");
    }
    assert_eq!(task(&mut client, &number)["status"], "started");
    (suite, steps, disk, client, number)
}

/// It has one end, one claim and one run, and was told once.
#[track_caller]
fn ended_once(suite: &Suite, client: &mut Client, number: &Value, status: &str) {
    let t = wait_task(client, number, status);
    let history = t["history"].as_array().expect("a history");
    let path: Vec<&str> = history.iter().filter_map(|h| h["after"].as_str()).collect();
    assert_eq!(path, ["queued", "claimed", "started", status], "{t}");
    assert_eq!(t["claims"].as_array().map(Vec::len), Some(1), "{t}");
    let run = t["run"].as_u64().expect("a run");
    let is_end = |e: &Value| e["kind"] == "task" && e["status"] == status;
    let log = log_until(&mut suite.client(), is_end);
    assert_eq!(of(&log, run, "ended").len(), 1);
    let agent = client.call(json!({"cmd": "list-agents"}))["agents"][0].clone();
    let done = u64::from(status == "done");
    assert_eq!((&agent["done"], &agent["holds"]), (&json!(done), &json!(0)));
    // What was refused is not there.
    let stats = client.call(json!({"cmd": "stats"}));
    assert_eq!(
        (&stats["tasks"][status], &stats["tasks"]["queued"]),
        (&json!(1), &json!(0))
    );
}

#[test]
fn a_task_whose_run_ends_on_a_full_disk_ends_once_when_there_is_room() {
    if !is_root() {
        return skip("only root may mount");
    }
    let (mut suite, mut steps, disk, mut client, number) = task_on_full_disk();
    steps.settle();
    steps.exit(0);
    must("the run to be over", LONG, || {
        let status = client.call(json!({"cmd": "status"}));
        (status["runs"]["alive"] == 0).then_some(())
    });
    assert_eq!(task(&mut client, &number)["status"], "started");
    disk.free();
    ended_once(&suite, &mut client, &number, "done");
    assert_eq!(suite.stop().code(), Some(0), "{}", suite.log());
}

#[test]
fn a_task_whose_run_is_stopped_on_a_full_disk_is_cancelled_when_there_is_room() {
    if !is_root() {
        return skip("only root may mount");
    }
    let (mut suite, _steps, disk, mut client, number) = task_on_full_disk();
    let stop = json!({"cmd": "stop-agent", "task_id": number});
    let reply = client.request(stop).expect("an answer");
    assert_eq!(reply["error"]["code"], "unavailable", "{reply}");
    must("the run to be over", LONG, || {
        let status = client.call(json!({"cmd": "status"}));
        (status["runs"]["alive"] == 0).then_some(())
    });
    disk.free();
    ended_once(&suite, &mut client, &number, "cancelled");
    // Who did it was not lost either, and the refused ones did nothing.
    let log = client.call(json!({"cmd": "list-audit", "limit": 9}));
    let words = log["entries"].as_array().expect("entries");
    let words: Vec<&str> = words.iter().filter_map(|e| e["command"].as_str()).collect();
    assert_eq!(words, ["stop-agent", "create-task"], "{log}");
    assert_eq!(suite.stop().code(), Some(0), "{}", suite.log());
}

#[test]
fn what_was_planned_on_a_full_disk_comes_to_pass_once_when_there_is_room() {
    if !is_root() {
        return skip("only root may mount");
    }
    let (mut suite, disk) = {
        let scratch = Scratch::new();
        let disk = SmallDisk::mount(&scratch, "state/db");
        let setup = Setup {
            more: "[agent.hand]\nusers = [\"uid:0\"]\ncapabilities = [\"hand\"]\n".into(),
            ..Setup::default()
        };
        (Suite::start_in(scratch, setup), disk)
    };
    let mut client = suite.client();
    let mut request = json!({
        "cmd": "add-schedule", "name": "s", "title": "t", "capabilities": ["hand"], "every": 1,
        "overlap": "allow", "catch_up": "all", "catch_up_max": 1000,
    });
    client.call(request.clone());
    let rows = |client: &mut Client| {
        let all = json!({"cmd": "list-occurrences", "schedule": "s", "limit": 1000});
        let mut reply = client.call(all);
        match reply["occurrences"].take() {
            Value::Array(rows) => rows,
            other => panic!("{other}"),
        }
    };
    must("the first", LONG, || {
        (!rows(&mut client).is_empty()).then_some(())
    });
    disk.fill();
    // What the WAL has room for is taken.
    let mut n = 0;
    must("a refusal", LONG, || {
        n += 1;
        request["name"] = json!(format!("no-{n}"));
        request["every"] = json!(86_400);
        let reply = client.request(request.clone()).expect("an answer");
        if reply["ok"] == true {
            return None;
        }
        assert_eq!(reply["error"]["code"], "unavailable", "{reply}");
        Some(())
    });
    let before = rows(&mut client).len();
    let refused = |suite: &Suite| suite.log().matches("cannot store").count();
    let told = refused(&suite);
    must("an occurrence that cannot be stored", LONG, || {
        (refused(&suite) > told).then_some(())
    });
    disk.free();
    must("all of them", LONG, || {
        (rows(&mut client).len() > before + 2).then_some(())
    });
    client.call(json!({"cmd": "pause-schedule", "schedule": "s"}));
    let rows = rows(&mut client);
    let fired: Vec<&Value> = rows.iter().filter(|r| r["status"] == "fired").collect();
    // One second apart, each with a task of its own, and no other task is there.
    let ms = |r: &Value| {
        let at: jiff::Timestamp = r["planned"]
            .as_str()
            .expect("a time")
            .parse()
            .expect("a time");
        at.as_millisecond()
    };
    for pair in rows.windows(2) {
        assert_eq!(ms(&pair[0]) - ms(&pair[1]), 1000, "{rows:?}");
    }
    let mut tasks: Vec<u64> = fired.iter().filter_map(|r| r["task"].as_u64()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    assert_eq!(tasks.len(), fired.len());
    let stats = client.call(json!({"cmd": "stats"}));
    assert_eq!(stats["tasks"]["queued"], json!(tasks.len()), "{rows:?}");
    assert_eq!(suite.stop().code(), Some(0), "{}", suite.log());
}
