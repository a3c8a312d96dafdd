//! Daemons are killed around a task: it has one end, and one run for each attempt.

use crate::stage::{create, get, kill_all, path, wait_task, with_steps};
use colibri_tests::agents::hostile;
use colibri_tests::client::Client;
use colibri_tests::daemon::Parts;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};

/// Exactly one end, one claim and one run.
#[track_caller]
fn once(client: &mut Client, task: u64) -> Value {
    let t = get(client, task);
    assert_eq!(path(&t), ["queued", "claimed", "started", "done"], "{t}");
    assert_eq!(t["claims"].as_array().map(Vec::len), Some(1));
    t
}

#[test]
fn just_after_it_was_accepted() {
    let (mut suite, mut client, mut steps) = with_steps("");
    let task = create(&mut client, json!({"title": "t"}));
    let mut client = kill_all(&mut suite);
    wait_task(&mut client, task, "started");
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, task, "done");
    once(&mut client, task);
    assert_eq!((steps.started(), steps.prompts()), (1, 1));
}

#[test]
fn while_it_is_worked_on_and_when_the_work_ends_meanwhile() {
    let (mut suite, mut client, mut steps) = with_steps("");
    let task = create(&mut client, json!({"title": "t"}));
    wait_task(&mut client, task, "started");
    let mut client = kill_all(&mut suite);
    assert_eq!(get(&mut client, task)["status"], "started");
    steps.tools(3);
    steps.settle();
    // It ends while nobody is there to see it.
    let parts = Parts::below(suite.pid()).expect("three daemons");
    for pid in parts.all() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    suite.wait_end();
    steps.exit(0);
    suite.launch();
    let mut client = suite.client();
    client.subscribe(Some(0));
    wait_task(&mut client, task, "done");
    assert_eq!(once(&mut client, task)["summary"], "done");
    assert_eq!((steps.started(), steps.prompts()), (1, 1));
}

#[test]
fn when_the_suite_is_stopped_the_task_goes_back_and_is_done_later() {
    let (mut suite, mut client, mut steps) = with_steps("");
    let task = create(&mut client, json!({"title": "t"}));
    wait_task(&mut client, task, "started");
    suite.stop();
    suite.launch();
    let mut client = suite.client();
    client.subscribe(Some(0));
    wait_task(&mut client, task, "queued");
    wait_task(&mut client, task, "queued");
    wait_task(&mut client, task, "started");
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, task, "done");
    let t = get(&mut client, task);
    let twice = [
        "queued", "claimed", "started", "queued", "claimed", "started", "done",
    ];
    assert_eq!(path(&t), twice);
    assert_eq!(t["tries"], 0, "that was no failure of its own");
    assert_eq!(t["claims"][0]["outcome"], "returned");
}

/// The living run of an agent that never ends by itself, or `None` when no task is open.
#[track_caller]
fn stuck(client: &mut Client, agent: &str) -> Option<u64> {
    must("a run that is stuck", LONG, || {
        let status = client.call(json!({"cmd": "status"}));
        let panes = status["panes"].as_array().expect("panes");
        let found = panes
            .iter()
            .find(|p| p["agent"] == agent && p["ended"] == false);
        if let Some(pane) = found {
            return Some(pane["run"].as_u64());
        }
        let counts = client.call(json!({"cmd": "stats"}));
        let open = ["waiting", "queued", "claimed", "started"];
        let none = open.iter().all(|s| counts["tasks"][s] == 0);
        none.then_some(None)
    })
}

/// Kills the monitor of a run, and waits until the run has ended.
#[track_caller]
fn kill_monitor(suite: &Suite, run: u64) {
    let mut client = suite.client();
    client.subscribe(Some(0));
    let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
    let monitor = i32::try_from(started["monitor"].as_i64().expect("a pid")).expect("fits");
    assert!(monitor > 1, "{started}");
    let _ = kill(Pid::from_raw(monitor), Signal::SIGKILL);
    assert_eq!(client.wait_ended(run)["reason"], "monitor lost");
}

#[test]
fn fifty_tasks_over_four_agents_with_kills_in_between_end_once_each() {
    let scratch = Scratch::new();
    let profiles: Vec<_> = [
        ("good", &["flood", "50"][..]),
        ("well", &["flood", "5"][..]),
        ("stuck", &["sleep"][..]),
        ("bad", &["exit", "3"][..]),
    ]
    .into_iter()
    .map(|(name, words)| hostile(&scratch, name, "json", words).0)
    .collect();
    let more = "[agent.good]\nruns = 2\n[agent.well]\nruns = 2\n[agent.stuck]\n\
                [agent.bad]\ncapabilities = [\"luck\"]\nruns = 2\n[board]\nretry_delay = 0\nattempts = 50\n";
    let setup = Setup {
        profiles,
        more: more.into(),
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    let mut tasks = Vec::new();
    for n in 0..50 {
        let mut fields = json!({"title": format!("task {n}"), "key": format!("key {n}")});
        if n % 5 == 0 {
            fields["capabilities"] = json!(["luck"]);
        }
        if let (0, Some(after)) = (n % 7, tasks.last()) {
            fields["after"] = json!([after]);
        }
        tasks.push(create(&mut client, fields));
        if n % 10 == 9 {
            client = kill_all(&mut suite);
        }
    }
    // Monitors die too: those of the agent that would never end.
    let mut killed = 0;
    for _ in 0..5 {
        if let Some(run) = stuck(&mut client, "stuck") {
            kill_monitor(&suite, run);
            killed += 1;
        }
        client = kill_all(&mut suite);
    }
    assert!(killed > 0);
    client.call(json!({"cmd": "pause-agent", "agent_id": "stuck"}));
    if let Some(run) = stuck(&mut client, "stuck") {
        kill_monitor(&suite, run);
    }
    for task in &tasks {
        let t = must("the end", LONG * 2, || {
            let t = get(&mut client, *task);
            t["ended_at"].is_string().then_some(t)
        });
        let last = ["done", "failed", "cancelled"];
        let ends = path(&t).iter().filter(|s| last.contains(s)).count();
        assert_eq!(ends, 1, "{t}");
        for c in t["claims"].as_array().expect("claims") {
            assert!(c["outcome"].is_string() && c["ended_at"].is_string(), "{t}");
            let run = c["run"].as_u64().expect("a run");
            let shown = client.call(json!({"cmd": "get-run", "run": run}));
            assert_eq!(
                (&shown["task"], &shown["ended"]),
                (&json!(task), &json!(true))
            );
            let journal = shown["journal"].as_str().expect("a journal");
            assert!(
                suite.dir().join("state/runs").join(journal).exists(),
                "{shown}"
            );
        }
    }
    let runs = client.call(json!({"cmd": "list-runs", "limit": 1000}));
    let runs = runs["runs"].as_array().expect("runs");
    let claims: usize = tasks
        .iter()
        .map(|t| {
            get(&mut client, *t)["claims"]
                .as_array()
                .map_or(0, Vec::len)
        })
        .sum();
    assert_eq!(runs.len(), claims, "a run for each attempt and no other");
    let counts = client.call(json!({"cmd": "stats"}));
    assert_eq!(counts["tasks"]["started"], 0);
    assert_eq!(counts["tasks"]["claimed"], 0);
}
