//! What schedules cost: memory and idle CPU with very many of them, and how late those are that are due
//! in the same second.
//!
//! The schedules are put into the database of a suite that is stopped. Their tasks find no agent: what
//! is measured is the way from the planned time to the task that is stored. Processes are looked at
//! through /proc.
//!
//! Usage: bench-schedules [SCHEDULES [AT_ONCE [IDLE_SECONDS]]]

use colibri_tests::client::Client;
use colibri_tests::daemon::Parts;
use colibri_tests::measure::{conditions, row, table, Values};
use colibri_tests::suite::{Setup, Suite};
use serde_json::{json, Value};
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse().ok());
    let mut number = |default: u64| args.next().flatten().unwrap_or(default);
    let (schedules, at_once, idle) = (number(100_000), number(1000), number(60));
    println!("{}", conditions());
    let mut suite = Suite::start(Setup {
        limits: "schedules = 1000000\ntasks = 1000000".into(),
        ..Setup::default()
    });
    let empty = Look::at(&suite);
    suite.stop();
    let size = fs::metadata(database(&suite)).map_or(0, |m| m.len());
    // Minutes and hours differ, all on a day that does not come soon.
    insert(
        &suite,
        schedules,
        "json_object('title', 't', 'zone', 'Europe/Berlin', 'cron',
           (n % 60) || ' ' || (n / 60 % 24) || ' 29 2 *')",
    );
    let grown = fs::metadata(database(&suite)).map_or(0, |m| m.len()) - size;
    let begin = Instant::now();
    suite.launch();
    let open = begin.elapsed();
    loaded(&suite);
    let told = begin.elapsed();
    let full = Look::at(&suite);
    println!(
        "\n{schedules} schedules, start to open {:.2} s, to rest {:.2} s",
        open.as_secs_f64(),
        told.as_secs_f64()
    );
    memory(&empty, &full, schedules, grown);
    idling(&suite, idle);
    drift(&mut suite, at_once);
}

fn database(suite: &Suite) -> std::path::PathBuf {
    suite.dir().join("state/db/colibri.sqlite")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    u64::try_from(since.as_millis()).expect("fits")
}

fn insert(suite: &Suite, many: u64, spec: &str) {
    let db = rusqlite::Connection::open(database(suite)).expect("the database");
    let sql = format!(
        "INSERT INTO schedules (name, declared, spec, by_uid, created_ms, anchor_ms, high_ms)
         WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < {many})
         SELECT 's' || lower(hex(randomblob(8))), 0, {spec}, 0, {now}, {now}, {now} FROM s;
         PRAGMA wal_checkpoint(TRUNCATE);",
        now = now_ms()
    );
    db.execute_batch(&sql).expect("inserted");
}

/// Waits until the suite rests: schedd has heard of all schedules.
fn loaded(suite: &Suite) {
    let mut last = Look::at(suite).ticks;
    loop {
        pause(1000);
        let now = Look::at(suite).ticks;
        if now == last {
            return;
        }
        last = now;
    }
}

/// A measurement has to last: nothing is waited for.
fn pause(ms: u64) {
    let ms = i32::try_from(ms).expect("not that long");
    let wait = nix::poll::PollTimeout::try_from(ms).expect("a timeout");
    let _ = nix::poll::poll(&mut [], wait);
}

/// What the three processes take up and have used.
struct Look {
    rss: [u64; 2],
    ticks: [u64; 3],
    wakes: [u64; 3],
}

impl Look {
    fn at(suite: &Suite) -> Look {
        let parts = Parts::below(suite.pid()).expect("three daemons");
        let all = [parts.colibrid, parts.schedd, parts.spawnd];
        Look {
            rss: [parts.colibrid, parts.schedd].map(|pid| field(pid, "VmRSS:") * 1024),
            ticks: all.map(ticks),
            wakes: all.map(|pid| field(pid, "voluntary_ctxt_switches:")),
        }
    }
}

fn field(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status
        .lines()
        .find(|l| l.starts_with(name))
        .expect("a field");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

/// CPU time in ticks of a hundredth of a second.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    [11, 12]
        .map(|n: usize| fields[n].parse::<u64>().expect("ticks"))
        .iter()
        .sum()
}

fn memory(empty: &Look, full: &Look, schedules: u64, grown: u64) {
    let mut rows = vec![row(["", "empty", "loaded", "bytes a schedule"])];
    for (n, name) in ["colibrid", "colibri-schedd"].iter().enumerate() {
        let more = full.rss[n].saturating_sub(empty.rss[n]);
        rows.push(row([
            (*name).to_owned(),
            format!("{} KiB", empty.rss[n] / 1024),
            format!("{} KiB", full.rss[n] / 1024),
            (more / schedules).to_string(),
        ]));
    }
    let disk = (grown / schedules).to_string();
    rows.push(row([
        "database".to_owned(),
        String::new(),
        String::new(),
        disk,
    ]));
    println!("{}", table(&rows));
}

fn idling(suite: &Suite, seconds: u64) {
    let before = Look::at(suite);
    pause(seconds * 1000);
    let after = Look::at(suite);
    let mut rows = vec![row(["idle", "CPU ms", "wake-ups"])];
    for (n, name) in ["colibrid", "colibri-schedd", "colibri-spawnd"]
        .iter()
        .enumerate()
    {
        rows.push(row([
            (*name).to_owned(),
            ((after.ticks[n] - before.ticks[n]) * 10).to_string(),
            (after.wakes[n] - before.wakes[n]).to_string(),
        ]));
    }
    println!("{seconds} seconds in which nothing is due");
    println!("{}", table(&rows));
}

fn drift(suite: &mut Suite, at_once: u64) {
    suite.stop();
    let at_ms = (now_ms() / 1000 + 20) * 1000;
    let at = colibrid::time::rfc3339(at_ms);
    insert(
        suite,
        at_once,
        &format!("json_object('title', 't', 'at', '{at}')"),
    );
    suite.launch();
    let mut client: Client = suite.client();
    client.subscribe(None);
    let (mut made, mut told) = <(Values, Values)>::default();
    let mut tasks = std::collections::BTreeSet::new();
    while tasks.len() < usize::try_from(at_once).expect("fits") {
        let mut line = client.event(Duration::from_secs(60)).expect("an event");
        let event: Value = line["event"].take();
        if event["kind"] == "occurrence" {
            assert_eq!(
                (&event["status"], &event["planned"]),
                (&json!("fired"), &json!(at))
            );
            assert!(tasks.insert(event["task"].as_u64()), "twice: {event}");
            let entered = event["at"].as_str().expect("a time");
            let entered: jiff::Timestamp = entered.parse().expect("a time");
            let entered = u64::try_from(entered.as_millisecond()).expect("fits");
            made.push((entered - at_ms) as f64);
            told.push((now_ms() - at_ms) as f64);
        }
    }
    println!(
        "{at_once} due in the same millisecond, each once; milliseconds after the planned time"
    );
    let head = ["", "n", "p50", "p99", "max"];
    let line = |name: &str, v: &Values| {
        let q = |q| format!("{:.0}", v.quantile(q));
        row([
            name.to_owned(),
            v.count().to_string(),
            q(0.5),
            q(0.99),
            q(1.0),
        ])
    };
    println!(
        "{}",
        table(&[
            row(head),
            line("entered with its task", &made),
            line("durable and told to a subscriber", &told)
        ])
    );
}
