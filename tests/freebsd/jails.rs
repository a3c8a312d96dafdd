//! A jail for each run: on the host's root, on a root of its own, below a jail that exists.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::agent::{jails, jid, prefix, root, script, Root};
use colibri_tests::agents::recorded;
use colibri_tests::procs;
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::Signal;
use serde_json::{json, Value};

fn suite(scratch: Scratch, profiles: Vec<Profile>) -> Suite {
    let setup = Setup {
        profiles,
        ..Setup::default()
    };
    Suite::start_in(scratch, setup)
}

/// Runs a profile to its end and returns what is known of the run.
#[track_caller]
fn answer(suite: &Suite, profile: &str) -> Value {
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent(profile, "go");
    client.wait_ended(run);
    let row = client.call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(row["state"], "done", "{row}\n{}", suite.log());
    assert_eq!(row["proof"], "kernel", "{row}");
    row
}

/// Starts a profile and waits until its jail is there; the run, its monitor and the jail's name.
#[track_caller]
fn begin(suite: &Suite, profile: &str, parent: &str) -> (u64, i32, String) {
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent(profile, "go");
    let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
    let monitor = i32::try_from(started["monitor"].as_i64().expect("pid")).expect("fits");
    client.wait_state(run, "working");
    let name = format!("{parent}{}{run}-{run}", prefix(suite));
    assert!(jails().contains(&name), "{name} is not in {:?}", jails());
    (run, monitor, name)
}

#[track_caller]
fn is_gone(name: &str) {
    must("the jail's end", LONG, || {
        (!jails().iter().any(|j| j == name)).then_some(())
    });
}

/// How many runs have their TMPDIR in that root. The working directory lies there, too.
fn tmpdirs(root: &Path) -> usize {
    let names = std::fs::read_dir(root.join("tmp")).expect("tmp").flatten();
    names
        .filter(|e| !e.file_name().to_string_lossy().contains("test"))
        .count()
}

const LOOK: &str = "echo level $(sysctl -n kern.securelevel) procs $(ps -ax -o comm= | sort -u | tr '\\n' ' ')tmp $TMPDIR";

#[test]
fn a_run_on_the_host_is_in_a_jail_and_sees_nobody_else() {
    if !root() {
        return;
    }
    let suite = suite(Scratch::new(), vec![script("look", LOOK)]);
    let row = answer(&suite, "look");
    let text = row["answer"].as_str().expect("an answer");
    assert!(text.starts_with("level 3 "), "{text}");
    assert!(!text.contains("colibrid"), "it sees the suite: {text}");
    assert!(
        text.contains(&suite.dir().join("tmp").display().to_string()),
        "{text}"
    );
    assert_eq!(row["pane"]["container"], "jail");
}

#[test]
fn a_killed_monitor_takes_its_jail_with_it() {
    if !root() {
        return;
    }
    let suite = suite(Scratch::new(), vec![script("sleep", "sleep 1000")]);
    let (run, monitor, name) = begin(&suite, "sleep", "");
    procs::signal(monitor, Signal::SIGKILL);
    let mut client = suite.client();
    client.subscribe(Some(0));
    let ended = client.wait_ended(run);
    assert_eq!(ended["reason"], "monitor lost");
    is_gone(&name);
    assert!(!procs::table().iter().any(|p| p.title == "sleep 1000"));
}

#[test]
fn a_root_of_its_own_is_all_that_the_agent_sees() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let root = Root::new(&scratch);
    let mut look = script(
        "look",
        "echo $(ls / /var/run) tmp $TMPDIR $(ls -ld $TMPDIR)",
    );
    look.more = root.line();
    let mut sleep = script("sleep", "sleep 1001");
    sleep.more = format!("{}\nstop_grace = 1", root.line());
    let suite = suite(scratch, vec![look, sleep]);
    let row = answer(&suite, "look");
    let text = row["answer"].as_str().expect("an answer");
    assert!(text.contains("tmp /tmp/colibri-1-1 drwx------"), "{text}");
    assert!(
        !text.contains("etc") && !text.contains("colibri.sock"),
        "{text}"
    );
    let left = || tmpdirs(&root.0);
    assert_eq!(left(), 0, "its TMPDIR is left");
    // The same when it is stopped.
    let (run, _, name) = begin(&suite, "sleep", "");
    assert_eq!(left(), 1);
    let mut client = suite.client();
    client.subscribe(Some(0));
    client.call(json!({"cmd": "stop-agent", "run": run}));
    let ended = client.wait_ended(run);
    assert_eq!(ended["asked"], true, "{ended}");
    is_gone(&name);
    must("its TMPDIR's end", LONG, || (left() == 0).then_some(()));
}

#[test]
fn a_root_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.path().join("open");
    std::fs::create_dir(&root).expect("a directory");
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).expect("mode");
    let mut profile = script("look", "echo");
    profile.more = format!("root = \"{}\"", root.display());
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let daemon = colibri_tests::daemon::Daemon::prepare(scratch, &setup);
    let ran = daemon.launch();
    assert_eq!(ran.code, Some(78), "{}", ran.said);
    assert!(ran.said.contains("profile.look.root"), "{}", ran.said);
}

/// A jail that somebody else manages.
struct Named;

impl Named {
    fn new(root: &Path) -> Named {
        let status = Command::new("/usr/sbin/jail")
            .args([
                "-c",
                "name=colibritest",
                "persist",
                "ip4=inherit",
                "ip6=inherit",
            ])
            .arg(format!("path={}", root.display()))
            .status()
            .expect("jail");
        assert!(status.success());
        Named
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Command::new("/usr/sbin/jail")
            .args(["-r", "colibritest"])
            .status();
    }
}

#[test]
fn a_named_jail_gets_a_child_for_each_run_and_outlives_it() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let root = Root::new(&scratch);
    let _named = Named::new(&root.0);
    let in_jail = |mut p: Profile| {
        p.more = "jail = \"colibritest\"\nstop_grace = 1".into();
        p
    };
    let look = in_jail(script("look", "echo $(ls /) tmp $TMPDIR"));
    let sleep = in_jail(script("sleep", "sleep 1002"));
    let suite = suite(scratch, vec![look, sleep]);
    let row = answer(&suite, "look");
    let text = row["answer"].as_str().expect("an answer");
    assert!(
        text.contains("tmp /tmp/colibri-1-1") && !text.contains("etc"),
        "{text}"
    );
    let (run, monitor, name) = begin(&suite, "sleep", "colibritest.");
    procs::signal(monitor, Signal::SIGKILL);
    let mut client = suite.client();
    client.subscribe(Some(0));
    assert_eq!(client.wait_ended(run)["reason"], "monitor lost");
    is_gone(&name);
    assert!(
        jails().contains(&"colibritest".to_owned()),
        "the parent is gone"
    );
    assert_eq!(tmpdirs(&root.0), 0, "a TMPDIR is left");
}

#[test]
fn a_jail_that_does_not_exist_fails_its_run_only() {
    if !root() {
        return;
    }
    let mut profile = script("look", "echo");
    profile.more = "jail = \"colibrinosuch\"".into();
    let suite = suite(Scratch::new(), vec![profile]);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("look", "go");
    let ended = client.wait_ended(run);
    assert_eq!(ended["state"], "error");
    let reason = ended["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("cannot create the container"), "{ended}");
}

/// A recorded stream of the real Pi.
fn stream(name: &str) -> PathBuf {
    colibri_tests::pi::fixtures().join("pi/1.5.2").join(name)
}

/// A recorded Pi that lives in a root of its own.
fn pi_in(
    root: &Root,
    scratch: &Scratch,
    name: &str,
    mode: &str,
    trace: (&Path, &[&str]),
) -> Profile {
    let (trace, how) = trace;
    let mut player = recorded(scratch, name, mode, trace, how);
    let files = player.command.iter().map(Path::new);
    for file in files.filter(|f| f.starts_with(scratch.path())) {
        root.add(file);
    }
    player.more = format!("{}\nstop_grace = 1", root.line());
    player
}

#[test]
fn a_recorded_pi_works_crashes_and_is_stopped_in_a_jail() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let root = Root::new(&scratch);
    // What it is linked with is the same wherever the copy lies.
    root.add_program(&program("colibri-pi-player"));
    let quick: &[&str] = &["--speed", "0"];
    let plain = stream("plain.jsonl");
    let works = pi_in(&root, &scratch, "works", "json", (&plain, quick));
    // In the middle of its work: one that is at its end is ended by us, however it does that.
    let half = scratch.path().join("half.jsonl");
    let text = fs::read_to_string(&plain).expect("the stream");
    let lines: Vec<&str> = text.lines().take(12).collect();
    fs::write(&half, lines.join("\n") + "\n").expect("half of it");
    let crash = (half.as_path(), &["--speed", "0", "--signal", "11"][..]);
    let crashes = pi_in(&root, &scratch, "crashes", "json", crash);
    let ask = stream("rpc_ask_answer.jsonl");
    let asks = pi_in(&root, &scratch, "asks", "rpc", (&ask, quick));
    let suite = suite(scratch, vec![works, crashes, asks]);
    let row = answer(&suite, "works");
    assert!(row["answer"].is_string(), "{row}");
    assert!(row["lines"].as_u64() > Some(10), "{row}");
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("crashes", "go");
    let ended = client.wait_ended(run);
    assert_eq!(ended["exit"], json!({"how": "signal", "value": 11}));
    assert_eq!(
        (&ended["state"], &ended["proof"]),
        (&json!("error"), &json!("kernel"))
    );
    let run = client.spawn_agent("asks", "go");
    client.wait_state(run, "blocked");
    client.call(json!({"cmd": "stop-agent", "run": run}));
    let ended = client.wait_ended(run);
    assert_eq!(
        (&ended["asked"], &ended["proof"]),
        (&json!(true), &json!("kernel"))
    );
    is_gone(&format!("{}{run}-{run}", prefix(&suite)));
    must("their TMPDIRs' end", LONG, || {
        (tmpdirs(&root.0) == 0).then_some(())
    });
}

#[test]
fn a_jail_that_stays_dying_is_named_and_holds_nothing_up() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let port = listener.local_addr().expect("its address").port();
    // What it sends is never read, so its end of the connection outlives it, and keeps the jail.
    let held = script("held", &format!("nc 127.0.0.1 {port} </dev/zero"));
    let suite = suite(scratch, vec![held]);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("held", "go");
    let (peer, _) = listener.accept().expect("it connects");
    let jid = jid(&format!("{}{run}-{run}", prefix(&suite)));
    client.call(json!({"cmd": "stop-agent", "run": run}));
    let ended = client.wait_ended(run);
    assert_eq!(ended["proof"], "kernel", "{ended}");
    let line = format!("run {run}-{run}: jail {jid} has no process left but is dying still");
    must("the log to name it", LONG, || {
        suite.log().contains(&line).then_some(())
    });
    drop(peer);
}
