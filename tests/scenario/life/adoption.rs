//! Killing daemons at any moment of a run: nothing is lost, nothing runs twice, the end is known.

use colibri_tests::agents::{hostile, recorded};
use colibri_tests::daemon::{Daemon, Parts};
use colibri_tests::pi::fixtures;
use colibri_tests::procs::{self, alive, gone, held};
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::tail::{log_until, log_until_ended, of, once};
use colibri_tests::wait::{must, wait_for, LONG};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::path::PathBuf;

/// A recorded stream of the real Pi.
fn trace(name: &str) -> PathBuf {
    fixtures().join("pi/1.5.2").join(name)
}

fn with_steps() -> (Scratch, Setup, Steps) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    (scratch, setup, steps)
}

/// Kills the daemons that `which` chooses and waits until none of the three is left.
#[track_caller]
fn kill_parts(suite: &mut Suite, which: &[usize]) {
    let parts = Parts::below(suite.pid()).expect("three daemons");
    for n in which {
        let _ = kill(Pid::from_raw(parts.all()[*n]), Signal::SIGKILL);
    }
    suite.wait_end();
    for pid in parts.all() {
        assert!(gone(pid, LONG), "{pid} of {parts:?} lives");
    }
}

/// Each alone, any two at once, and all.
const WHICH: [&[usize]; 7] = [&[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];

#[test]
fn killed_just_after_accepting() {
    let (scratch, setup, mut steps) = with_steps();
    let mut suite = Suite::start_in(scratch, setup);
    let mut runs = Vec::new();
    for which in WHICH {
        let mut client = suite.client();
        let run = client.spawn_agent("steps", "go");
        kill_parts(&mut suite, which);
        suite.launch();
        let mut client = suite.client();
        let fits = |e: &Value| e["run"] == json!(run) && e["state"] == "working";
        log_until(&mut client, fits);
        steps.settle();
        steps.exit(0);
        client.wait_ended(run);
        runs.push(run);
        assert_eq!(steps.started(), runs.len());
        assert_eq!(steps.prompts(), runs.len());
    }
    let log = log_until_ended(&mut suite.client(), runs[runs.len() - 1]);
    for run in runs {
        once(&log, run, 0);
        assert_eq!(of(&log, run, "ended")[0]["state"], "done");
    }
}

#[test]
fn killed_while_streaming() {
    let (scratch, setup, mut steps) = with_steps();
    let mut suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    client.wait_state(run, "working");
    for which in WHICH {
        steps.tools(20);
        kill_parts(&mut suite, which);
        steps.tools(20);
        suite.launch();
    }
    steps.tools(1);
    steps.settle();
    steps.exit(3);
    let log = log_until_ended(&mut suite.client(), run);
    once(&log, run, steps.used());
    assert_eq!((steps.started(), steps.prompts()), (1, 1));
    assert_eq!(
        of(&log, run, "ended")[0]["exit"],
        json!({"how": "code", "value": 3})
    );
}

#[test]
fn killed_while_blocked() {
    let scratch = Scratch::new();
    let trace = trace("rpc_ask_answer.jsonl");
    let setup = Setup {
        profiles: vec![recorded(&scratch, "asks", "rpc", &trace, &["--speed", "0"])],
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("asks", "go");
    client.wait_state(run, "blocked");
    for which in WHICH {
        kill_parts(&mut suite, which);
        suite.launch();
        let mut client = suite.client();
        let shown = must("the run", LONG, || {
            let row = client.call(json!({"cmd": "get-run", "run": run}));
            (row["state"] == "blocked").then_some(row)
        });
        assert_eq!(shown["attention"], true);
        assert_eq!(shown["pane"]["dialogs"].as_array().map(Vec::len), Some(1));
    }
    let mut client = suite.client();
    let row = client.call(json!({"cmd": "get-run", "run": run}));
    let request = row["pane"]["dialogs"][0]["request"].clone();
    let options = &row["pane"]["dialogs"][0]["options"];
    let value = options[0].as_str().unwrap_or("yes").to_owned();
    let answer = json!({"cmd": "answer", "run": run, "request": request, "value": value});
    // The monitor may not have said hello yet.
    must("the answer to be taken", LONG, || {
        let reply = client.request(answer.clone()).expect("a reply");
        (reply["ok"] == true).then_some(())
    });
    let log = log_until_ended(&mut suite.client(), run);
    assert_eq!(of(&log, run, "launched").len(), 1);
    assert_eq!(of(&log, run, "asked").len(), 1);
    assert_eq!(of(&log, run, "settled").len(), 1);
    assert_eq!(of(&log, run, "ended")[0]["state"], "done");
}

#[test]
fn an_agent_exits_while_nobody_is_there() {
    let (scratch, setup, mut steps) = with_steps();
    let mut suite = Suite::start_in(scratch, setup);
    for (n, which) in WHICH.iter().enumerate() {
        let mut client = suite.client();
        client.subscribe(None);
        let run = client.spawn_agent("steps", "go");
        let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
        let monitor = i32::try_from(started["monitor"].as_i64().expect("pid")).expect("fits");
        client.wait_state(run, "working");
        kill_parts(&mut suite, which);
        steps.settle();
        steps.exit(9);
        assert!(gone(monitor, LONG), "the monitor stays");
        suite.launch();
        let log = log_until_ended(&mut suite.client(), run);
        once(&log, run, 0);
        let ended = of(&log, run, "ended")[0];
        assert_eq!(ended["exit"], json!({"how": "code", "value": 9}));
        assert_eq!(steps.started(), n + 1);
    }
}

#[test]
fn killed_between_the_last_word_and_the_proof() {
    let (scratch, setup, mut steps) = with_steps();
    let mut suite = Suite::start_in(scratch, setup);
    for which in WHICH {
        let mut client = suite.client();
        client.subscribe(None);
        let run = client.spawn_agent("steps", "go");
        client.wait_state(run, "working");
        // Without spawnd nothing is proven.
        let spawnd = Parts::below(suite.pid()).expect("three daemons").spawnd;
        procs::signal(spawnd, Signal::SIGSTOP);
        steps.settle();
        steps.exit(0);
        must("the last word to be stored", LONG, || {
            let row = client.call(json!({"cmd": "get-run", "run": run}));
            assert_eq!(row["ended"], false, "{row}");
            row["proof"].is_string().then_some(())
        });
        // A stopped process does not see the end of its channel.
        kill_parts(&mut suite, &[which, &[1]].concat());
        suite.launch();
        let log = log_until_ended(&mut suite.client(), run);
        once(&log, run, 0);
        let ended = of(&log, run, "ended")[0];
        assert_eq!(
            (&ended["state"], &ended["reason"]),
            (&json!("done"), &json!(null))
        );
        assert_eq!(ended["exit"], json!({"how": "code", "value": 0}));
        assert!(ended["proof"].is_string(), "{ended}");
    }
}

#[test]
fn killed_while_stopping() {
    let scratch = Scratch::new();
    let (mut profile, traces) = hostile(&scratch, "deaf", "rpc", &["ignore-term"]);
    profile.more = "stop_grace = 1".into();
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    for which in WHICH {
        let mut client = suite.client();
        client.subscribe(None);
        let run = client.spawn_agent("deaf", "go");
        client.wait_state(run, "working");
        must("the agent", LONG, || held(&traces.lock).then_some(()));
        client.call(json!({"cmd": "stop-agent", "run": run}));
        kill_parts(&mut suite, which);
        suite.launch();
        let log = log_until_ended(&mut suite.client(), run);
        assert!(!held(&traces.lock), "ended was said of a living tree");
        let ended = of(&log, run, "ended");
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0]["asked"], true, "{}", ended[0]);
        assert_eq!(of(&log, run, "launched").len(), 1);
    }
}

#[test]
fn a_killed_monitor_is_the_end_of_its_run_only() {
    let scratch = Scratch::new();
    let (forks, traces) = hostile(&scratch, "forks", "rpc", &["double-fork"]);
    let (profile, mut steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![forks, profile],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let other = client.spawn_agent("steps", "go");
    client.wait_state(other, "working");
    let run = client.spawn_agent("forks", "go");
    let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
    must("the tree", LONG, || (traces.started() == 1).then_some(()));
    let monitor = i32::try_from(started["monitor"].as_i64().expect("pid")).expect("fits");
    procs::signal(monitor, Signal::SIGKILL);
    let ended = client.wait_ended(run);
    assert!(!held(&traces.lock), "ended was said of a living tree");
    assert_eq!(ended["state"], "error");
    assert_eq!(ended["reason"], "monitor lost");
    let row = client.call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(
        (&row["state"], &row["ended"]),
        (&json!("error"), &json!(true))
    );
    assert_eq!(row["attention"], true);
    steps.tools(1);
    client.wait_event(other, "a tool", |e| e["kind"] == "tool-end");
    steps.settle();
    steps.exit(0);
    assert_eq!(client.wait_ended(other)["state"], "done");
}

#[test]
fn a_monitor_is_killed_while_nobody_is_there() {
    let scratch = Scratch::new();
    let (forks, traces) = hostile(&scratch, "forks", "rpc", &["double-fork"]);
    let setup = Setup {
        profiles: vec![forks],
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("forks", "go");
    let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
    must("the tree", LONG, || (traces.started() == 1).then_some(()));
    let monitor = i32::try_from(started["monitor"].as_i64().expect("pid")).expect("fits");
    kill_parts(&mut suite, &[0, 1, 2]);
    assert!(alive(monitor), "a run must outlive its suite");
    assert!(held(&traces.lock));
    procs::signal(monitor, Signal::SIGKILL);
    assert!(gone(monitor, LONG));
    suite.launch();
    let log = log_until_ended(&mut suite.client(), run);
    assert!(!held(&traces.lock), "ended was said of a living tree");
    assert_eq!(of(&log, run, "ended")[0]["reason"], "monitor lost");
    assert_eq!(of(&log, run, "launched").len(), 1);
}

#[test]
fn a_storm_of_kills_changes_nothing() {
    let scratch = Scratch::new();
    let mut agents = Vec::new();
    let mut setup = Setup::default();
    for n in 0..4 {
        let (profile, steps) = Steps::new(&scratch, &format!("s{n}"));
        setup.profiles.push(profile);
        agents.push((steps, 0));
    }
    let daemon = Daemon::start(scratch, &setup);
    for (n, (steps, run)) in agents.iter_mut().enumerate() {
        *run = daemon.client().spawn_agent(&format!("s{n}"), "go");
        steps.tools(3);
        // Wherever it is by now: starting, being prompted, streaming.
        let parts = daemon.parts();
        procs::signal(parts.all()[n % 3], Signal::SIGKILL);
        steps.tools(3);
        for pid in parts.all() {
            assert!(gone(pid, LONG));
        }
    }
    for (n, (steps, _)) in agents.iter_mut().enumerate() {
        steps.tools(3);
        steps.settle();
        steps.exit(10 + u8::try_from(n).expect("fits"));
    }
    let mut client = daemon.client();
    let all_over = || {
        let status = client.request(json!({"cmd": "status"})).ok()?;
        (status["data"]["runs"]["alive"] == 0).then_some(())
    };
    assert!(wait_for(LONG, all_over).is_some(), "runs do not end");
    let ended = std::cell::Cell::new(0);
    let log = log_until(&mut daemon.client(), |e| {
        ended.set(ended.get() + usize::from(e["kind"] == "ended"));
        ended.get() == agents.len()
    });
    for (n, (steps, run)) in agents.iter().enumerate() {
        once(&log, *run, steps.used());
        assert_eq!((steps.started(), steps.prompts()), (1, 1), "agent {n}");
        assert_eq!(
            of(&log, *run, "ended")[0]["exit"],
            json!({"how": "code", "value": 10 + n})
        );
    }
}
