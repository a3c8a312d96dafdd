//! The board under load: tasks added one by one with durable replies, drained by agents, claimed
//! by many at once, and the status asked meanwhile.
//!
//! The floor of what is durable is a bare SQLite loop in the same mode (WAL, synchronous=FULL):
//! one row and one commit for each.
//!
//! Usage: bench-board [TASKS [RUNS [STATUS]]]

use colibri_tests::client::Client;
use colibri_tests::measure::{conditions, monotonic_ns, row, table, Values};
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use colibri_tests::wait::LONG;
use rusqlite::Connection;
use serde_json::{json, Value};
use std::collections::BTreeSet;
use std::path::Path;

/// Clients that race for claims.
const RACERS: usize = 64;
/// Agents of the status measurement.
const AGENTS: usize = 100;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|a| a.parse().ok());
    let mut number = |default: usize| numbers.next().flatten().unwrap_or(default);
    let (tasks, runs, asked) = (number(10_000), number(500), number(1000));
    println!("{}", conditions());
    let suite = board();
    submit(&suite, tasks);
    at_once(&suite, tasks / 10);
    status(&suite, asked);
    race(&suite, tasks);
    drop(suite);
    drain(runs);
}

fn seconds(from_ns: u64) -> f64 {
    monotonic_ns().saturating_sub(from_ns) as f64 / 1e9
}

/// A suite with one external agent that may have everything, and many others.
fn board() -> Suite {
    let mut more = String::from("[agent.racer]\nusers = [\"uid:0\"]\nruns = 10000\n");
    for n in 1..AGENTS {
        more.push_str(&format!(
            "[agent.a{n}]\nusers = [\"uid:0\"]\ncapabilities = [\"c{n}\"]\n"
        ));
    }
    Suite::start(Setup {
        limits: "requests_per_second = 100000\nclients_per_user = 128\n".into(),
        more,
        ..Setup::default()
    })
}

fn create(client: &mut Client, n: usize) {
    let request = json!({"cmd": "create-task", "title": format!("task {n}"), "agent_id": "racer"});
    client.call(request);
}

/// A database in colibrid's mode.
fn bare(path: &Path) -> Connection {
    let db = Connection::open(path).expect("a database");
    db.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE tasks (task INTEGER PRIMARY KEY, title TEXT, status TEXT);
         CREATE INDEX queue ON tasks (task) WHERE status = 'queued';",
    )
    .expect("a table");
    db
}

/// Adds the tasks one by one, in blocks.
fn submit(suite: &Suite, tasks: usize) {
    let db = bare(&suite.dir().join("bare.sqlite"));
    let block = (tasks / 10).max(1);
    let mut client = suite.client();
    let (mut ours, mut floor, mut each) = (Vec::new(), Vec::new(), Values::default());
    for at in 0..10 {
        let start = monotonic_ns();
        for n in 0..block {
            let sql = "INSERT INTO tasks (title, status) VALUES (?1, 'queued')";
            let mut insert = db.prepare_cached(sql).expect("a statement");
            insert.execute([format!("task {n}")]).expect("a row");
        }
        floor.push(seconds(start));
        let start = monotonic_ns();
        for n in 0..block {
            let one = monotonic_ns();
            create(&mut client, at * block + n);
            each.since(one);
        }
        ours.push(seconds(start));
    }
    println!(
        "\nadd     {} tasks one by one, blocks of {block}",
        block * 10
    );
    let rate = |blocks: &[f64]| (block * 10) as f64 / blocks.iter().sum::<f64>();
    let line = |name: &str, blocks: &[f64]| {
        row([
            name.to_owned(),
            format!("{:.0}/s", rate(blocks)),
            format!("{:.2} s", blocks[0]),
            format!("{:.2} s", blocks[9]),
            format!("{:.2}", blocks[9] / blocks[0]),
        ])
    };
    let rows = [
        row([
            "durable, each alone",
            "rate",
            "first block",
            "last block",
            "growth",
        ]),
        line("SQLite loop (floor)", &floor),
        line("create-task", &ours),
    ];
    print!("{}", table(&rows));
    println!(
        "each    {:.3} ms median, {:.3} ms p99",
        each.median(),
        each.quantile(0.99)
    );
}

/// Adds as many tasks at a time as there are clients: what arrives together shares a commit. The floor
/// is a bare SQLite loop with as many rows in each commit.
fn at_once(suite: &Suite, tasks: usize) {
    let rounds = (tasks / RACERS).max(1);
    let db = bare(&suite.dir().join("groups.sqlite"));
    let start = monotonic_ns();
    for _ in 0..rounds {
        db.execute_batch("BEGIN").expect("a transaction");
        for n in 0..RACERS {
            let sql = "INSERT INTO tasks (title, status) VALUES (?1, 'queued')";
            let mut insert = db.prepare_cached(sql).expect("a statement");
            insert.execute([format!("task {n}")]).expect("a row");
        }
        db.execute_batch("COMMIT").expect("a commit");
    }
    let floor = seconds(start);
    let mut clients: Vec<Client> = (0..RACERS).map(|_| suite.client()).collect();
    let mut added = Vec::new();
    let request = b"{\"cmd\":\"create-task\",\"title\":\"task\",\"agent_id\":\"racer\"}\n";
    let start = monotonic_ns();
    for _ in 0..rounds {
        for c in &mut clients {
            c.send_raw(request).expect("sent");
        }
        for c in &mut clients {
            let reply: Value = c.value(LONG).expect("a reply");
            added.push(reply["data"]["id"].as_u64().expect("a number"));
        }
    }
    let ours = seconds(start);
    let all = (rounds * RACERS) as f64;
    let mut client = suite.client();
    for task in added {
        client.call(json!({"cmd": "cancel-task", "task_id": task}));
    }
    println!("\nadd     {all} tasks, {RACERS} at a time");
    let rows = [
        row(["durable", "rate"]),
        row([
            format!("SQLite loop, {RACERS} rows a commit"),
            format!("{:.0}/s", all / floor),
        ]),
        row([
            format!("{RACERS} clients at once"),
            format!("{:.0}/s", all / ours),
        ]),
    ];
    print!("{}", table(&rows));
}

/// Asks for the status and the counts while all tasks are queued.
fn status(suite: &Suite, asked: usize) {
    let mut client = suite.client();
    let mut rows = vec![row(["reply, connection held", "median", "p99", "count"])];
    for command in ["status", "stats", "list-agents"] {
        let mut values = Values::default();
        for _ in 0..asked {
            let start = monotonic_ns();
            client.call(json!({ "cmd": command }));
            values.since(start);
        }
        let mut cells = vec![command.to_owned()];
        cells.extend(values.cells("ms"));
        rows.push(cells);
    }
    println!("\nlook    {AGENTS} agents, all tasks queued");
    print!("{}", table(&rows));
}

/// All clients claim at once, again and again, until nothing is left.
fn race(suite: &Suite, tasks: usize) {
    let db = Connection::open(suite.dir().join("bare.sqlite")).expect("the database");
    db.execute_batch("PRAGMA synchronous = FULL")
        .expect("a mode");
    let start = monotonic_ns();
    let mut bare = 0;
    let sql = "UPDATE tasks SET status = 'claimed' WHERE task =
               (SELECT min(task) FROM tasks WHERE status = 'queued')";
    while db.execute(sql, []).expect("a claim") == 1 {
        bare += 1;
    }
    let floor = f64::from(bare) / seconds(start);
    let mut clients: Vec<Client> = (0..RACERS).map(|_| suite.client()).collect();
    let mut claimed = BTreeSet::new();
    let start = monotonic_ns();
    let request = "{\"cmd\":\"claim-task\",\"agent_id\":\"racer\"}\n";
    let mut left = true;
    while left {
        for c in &mut clients {
            c.send_raw(request.as_bytes()).expect("sent");
        }
        for c in &mut clients {
            let reply: Value = c.value(LONG).expect("a reply");
            match reply["data"]["id"].as_u64() {
                Some(task) => assert!(claimed.insert(task), "task {task} twice"),
                None => left = false,
            }
        }
    }
    let rate = claimed.len() as f64 / seconds(start);
    assert_eq!(claimed.len(), tasks / 10 * 10, "every task once");
    println!("\nclaim   {} tasks, each once", claimed.len());
    let rows = [
        row(["durable claims", "rate"]),
        row([
            "SQLite loop, one at a time".to_owned(),
            format!("{floor:.0}/s"),
        ]),
        row([format!("{RACERS} clients at once"), format!("{rate:.0}/s")]),
    ];
    print!("{}", table(&rows));
}

/// Real runs of an agent that does nothing, some at a time; every task is done once.
fn drain(runs: usize) {
    let mut rows = vec![row(["runs from the board", "rate", "tasks"])];
    for wide in [2, 16] {
        let scratch = Scratch::new();
        let agent = scratch.copy(&program("colibri-stamp"));
        let words = ["--beat", "1000", "0"].map(str::to_owned);
        let command = [vec![agent.display().to_string()], words.to_vec()].concat();
        let suite = Suite::start_in(
            scratch,
            Setup {
                profiles: vec![Profile::new("noop", "json", command)],
                limits: "requests_per_second = 100000\n".into(),
                more: format!("[agent.noop]\nruns = {wide}\n"),
                ..Setup::default()
            },
        );
        let mut client = suite.client();
        client.call(json!({"cmd": "pause-agent", "agent_id": "noop"}));
        for n in 0..runs {
            client.call(json!({"cmd": "create-task", "title": format!("{n}")}));
        }
        client.subscribe(None);
        let start = monotonic_ns();
        client.call(json!({"cmd": "resume-agent", "agent_id": "noop"}));
        let mut done = BTreeSet::new();
        while done.len() < runs {
            let line = client.event(LONG).expect("an event");
            let event = &line["event"];
            if event["kind"] == "task" && event["status"] == "done" {
                let task = event["task"].as_u64().expect("a task");
                assert!(done.insert(task), "task {task} twice");
            }
            assert_ne!(event["status"], "failed", "{line}");
        }
        let rate = runs as f64 / seconds(start);
        let name = format!("{wide} at a time");
        rows.push(row([name, format!("{rate:.0}/s"), runs.to_string()]));
    }
    print!("\n{}", table(&rows));
}
