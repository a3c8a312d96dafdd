//! What a run costs while nothing happens: memory of its monitor, alone and among 50, and after
//! lines of 1, 10 and 100 MB, which must not make it grow.
//!
//! Private memory is what would be free if this one process were gone (Private_Clean and
//! Private_Dirty of smaps_rollup); the parts are named after the mappings that they lie in. Linux
//! only, and root only where the processes forbid to be looked at.
//!
//! Usage: bench-monitor [RUNS]

use colibri_tests::client::Client;
use colibri_tests::measure::{conditions, row, table};
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::fs;

/// Lines that are fed, in megabytes.
const LINES: [u64; 3] = [1, 10, 100];

/// A run whose agent rests.
struct Idle {
    run: u64,
    monitor: u64,
}

/// Memory of a process in KiB.
#[derive(Clone, Copy)]
struct Memory {
    private: u64,
    dirty: u64,
    shared: u64,
    resident: u64,
}

fn main() {
    let runs = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(50);
    println!("{}", conditions());
    if memory(u64::from(std::process::id())).is_none() {
        println!("missing: /proc/PID/smaps_rollup, which only Linux has");
        return;
    }
    let scratch = Scratch::new();
    let agent = scratch.copy(&program("colibri-stamp"));
    let command = vec![agent.display().to_string(), "--serve".into()];
    let mut profile = Profile::new("idle", "rpc", command);
    profile.more = "on_settled = \"stay\"".into();
    let setup = Setup {
        profiles: vec![profile],
        limits: "runs = 1000\nrequests_per_second = 10000".into(),
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);

    let first = begin(&mut client);
    let Some(alone) = memory(first.monitor) else {
        println!("missing: the right to look at the monitor; run this as root");
        return;
    };
    let parts_before = parts(first.monitor);
    let mut rows = vec![row([
        "KiB", "private", "dirty", "shared", "resident", "growth",
    ])];
    rows.push(line("1 idle run", alone, alone));
    let mut all = vec![first];
    all.extend((1..runs).map(|_| begin(&mut client)));
    let mut among: Vec<Memory> = all.iter().filter_map(|i| memory(i.monitor)).collect();
    assert_eq!(among.len(), all.len(), "a monitor is gone");
    among.sort_by_key(|m| m.private);
    rows.push(line(
        &format!("{runs} runs: the median one"),
        among[among.len() / 2],
        alone,
    ));
    rows.push(line(
        &format!("{runs} runs: the largest"),
        among[among.len() - 1],
        alone,
    ));
    for megabytes in LINES {
        feed(&mut client, all[0].run, megabytes);
        let now = memory(all[0].monitor).expect("the monitor lives");
        rows.push(line(&format!("after a line of {megabytes} MB"), now, alone));
    }
    print!("\n{}", table(&rows));
    print!(
        "\n{}",
        table(&part_rows(&parts_before, &parts(all[0].monitor)))
    );
    let aim = if alone.private < 1024 {
        "kept"
    } else {
        "missed"
    };
    println!("\naim: less than 1024 KiB private, {aim}; growth after the longest line: none");
}

/// Starts a run and waits until its first piece of work is done.
fn begin(client: &mut Client) -> Idle {
    let run = client.spawn_agent("idle", "0");
    let started = client.wait_event(run, "the start", |e| e["kind"] == "started");
    rest(client, run);
    Idle {
        run,
        monitor: started["monitor"].as_u64().expect("a process id"),
    }
}

fn feed(client: &mut Client, run: u64, megabytes: u64) {
    let message = (megabytes * 1_000_000).to_string();
    client.call(json!({"cmd": "steer", "run": run, "message": message}));
    rest(client, run);
}

fn rest(client: &mut Client, run: u64) {
    let is = |e: &Value, state: &str| e["kind"] == "state" && e["state"] == state;
    client.wait_event(run, "work", |e| is(e, "working"));
    client.wait_event(run, "rest", |e| is(e, "idle") || is(e, "done"));
}

fn line(name: &str, m: Memory, before: Memory) -> Vec<String> {
    let growth = m.private as i64 - before.private as i64;
    let mut cells = vec![name.to_owned()];
    cells.extend([m.private, m.dirty, m.shared, m.resident].map(|n| n.to_string()));
    cells.push(format!("{growth:+}"));
    cells
}

/// `None` when the system does not say.
fn memory(pid: u64) -> Option<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let dirty = field(&text, "Private_Dirty:")?;
    Some(Memory {
        dirty,
        private: dirty + field(&text, "Private_Clean:")?,
        shared: field(&text, "Shared_Clean:")? + field(&text, "Shared_Dirty:")?,
        resident: field(&text, "Rss:")?,
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|l| l.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Private KiB by kind of mapping.
fn parts(pid: u64) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let mut parts: BTreeMap<String, u64> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["Private_Clean:" | "Private_Dirty:", n, _] => {
                *parts.entry(name.clone()).or_default() += n.parse().unwrap_or(0);
            }
            // A header: range, rights, offset, device, inode, and a name if there is one.
            [range, rights, _, _, _, ..] if range.contains('-') && !range.ends_with(':') => {
                let file = words
                    .get(5)
                    .map_or("no file", |p| p.rsplit('/').next().unwrap_or(p));
                name = format!("{file} {}", &rights[..3]);
            }
            _ => {}
        }
    }
    parts.retain(|_, n| *n > 0);
    parts
}

fn part_rows(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<Vec<String>> {
    let mut rows = vec![row(["private KiB in", "1 idle run", "after all lines"])];
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for name in names {
        let of = |map: &BTreeMap<String, u64>| map.get(name).copied().unwrap_or(0).to_string();
        rows.push(vec![name.clone(), of(before), of(after)]);
    }
    rows
}
