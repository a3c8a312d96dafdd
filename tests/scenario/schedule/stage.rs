//! What the tests of schedules share: a suite whose only agent is the test itself.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use colibri_tests::client::Client;
use colibri_tests::suite::{Setup, Suite};
use colibri_tests::wait::LONG;
use jiff::Timestamp;
use nix::unistd::geteuid;
use serde_json::{json, Value};

/// An agent that nobody but the test speaks for; `more` is the end of the config.
pub fn suite(more: &str) -> (Suite, Client) {
    suite_that_keeps(1000, more)
}

/// The same, with so many occurrences of each schedule that are remembered.
pub fn suite_that_keeps(kept: u32, more: &str) -> (Suite, Client) {
    let me = geteuid();
    let agent = format!("[agent.hand]\nusers = [\"uid:{me}\"]\nruns = 1000\n");
    let suite = Suite::start(Setup {
        limits: format!("occurrences_kept = {kept}"),
        more: format!("{agent}{more}"),
        ..Setup::default()
    });
    let client = watcher(&suite);
    (suite, client)
}

/// A client that has seen everything.
pub fn watcher(suite: &Suite) -> Client {
    let mut client = suite.client();
    client.subscribe(Some(0));
    client
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    u64::try_from(since.as_millis()).expect("fits")
}

/// Milliseconds of a time in RFC 3339.
pub fn ms(text: &Value) -> u64 {
    let time: Timestamp = text.as_str().expect("a time").parse().expect("a time");
    u64::try_from(time.as_millisecond()).expect("after 1970")
}

/// RFC 3339 of milliseconds since 1970.
pub fn rfc3339(ms: u64) -> String {
    let at = Timestamp::from_millisecond(i64::try_from(ms).expect("fits")).expect("a time");
    format!("{at:.3}")
}

/// Adds a schedule with the title `t`.
#[track_caller]
pub fn add(client: &mut Client, name: &str, mut fields: Value) -> Value {
    fields["cmd"] = json!("add-schedule");
    fields["name"] = json!(name);
    if fields.get("title").is_none() {
        fields["title"] = json!("t");
    }
    client.call(fields)
}

/// Reads events until an occurrence of the schedule stands there; the event.
#[track_caller]
pub fn wait_occurrence(client: &mut Client, name: &str, status: &str) -> Value {
    let end = Instant::now() + LONG;
    let mut last = Value::Null;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut line = client.event(left).unwrap_or_else(|e| {
            panic!("waited for {name} to be {status}: {e}; the last event was {last}")
        });
        assert!(line.get("gap").is_none(), "{line}");
        let event = line["event"].take();
        let of = event["kind"] == "occurrence" && event["schedule"] == name;
        if of && event["status"] == status {
            return event;
        }
        last = event;
    }
}

/// What the ledger has, newest first.
#[track_caller]
pub fn ledger(client: &mut Client, name: &str) -> Vec<Value> {
    let request = json!({"cmd": "list-occurrences", "schedule": name, "limit": 1000});
    let mut reply = client.call(request);
    match reply["occurrences"].take() {
        Value::Array(rows) => rows,
        other => panic!("{other}"),
    }
}

/// The statuses in the ledger, oldest first.
#[track_caller]
pub fn statuses(client: &mut Client, name: &str) -> Vec<String> {
    let rows = ledger(client, name);
    let words = rows.iter().rev().map(|r| r["status"].as_str());
    words.map(|w| w.expect("a status").to_owned()).collect()
}

/// Takes a task.
#[track_caller]
pub fn claim(client: &mut Client, task: &Value) -> Value {
    client.call(json!({"cmd": "claim-task", "agent_id": "hand", "task_id": task}))["claim"].take()
}

/// Takes a task and ends it.
#[track_caller]
pub fn finish(client: &mut Client, task: &Value, status: &str) {
    let claim = claim(client, task);
    report(client, task, &claim, status);
}

/// Reports the end of a task.
#[track_caller]
pub fn report(client: &mut Client, task: &Value, claim: &Value, status: &str) {
    let mut fields = json!({"cmd": "transition-task", "task_id": task, "claim": claim});
    for step in ["started", status] {
        fields["status"] = json!(step);
        client.call(fields.clone());
    }
}

/// Changes the database of a suite that is stopped.
pub fn sql(suite: &Suite, sql: &str) {
    let db = database(suite);
    db.execute_batch(sql).expect("changed");
}

/// How many occurrences a suite that is stopped has, of which this is true.
pub fn occurrences(suite: &Suite, what: &str) -> u64 {
    let query = format!("SELECT count(*) FROM occurrences WHERE {what}");
    let count = database(suite).query_row(&query, [], |r| r.get(0));
    count.expect("a number")
}

fn database(suite: &Suite) -> rusqlite::Connection {
    let path = suite.dir().join("state/db/colibri.sqlite");
    rusqlite::Connection::open(path).expect("the database")
}
