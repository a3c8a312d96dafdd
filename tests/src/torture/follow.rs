//! A subscriber that comes back from its cursor, again and again, and compares what it folds with
//! snapshots: what it has seen must be the truth, without a hole.

use crate::client::Client;
use crate::procs::held;
use crate::tail::Fold;
use crate::torture::plan::Rng;
use crate::wait::{must, Stop, LONG};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What has been seen.
#[derive(Default)]
pub struct Seen {
    /// Every event, from number 1 on.
    pub log: Vec<Value>,
    /// Ended runs, with the event.
    pub ended: BTreeMap<u64, Value>,
    /// Process ids of the monitors that started.
    pub monitors: BTreeMap<u64, i32>,
    /// Connections made.
    pub connections: u64,
    /// Snapshots compared.
    pub compared: u64,
}

/// The subscriber.
pub struct Follower {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Begins to follow.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // a client beside the driver, not in a daemon
    pub fn start(dir: &Path, seed: u64) -> Self {
        let (seen, stop) = <(Arc<Mutex<Seen>>, Arc<Stop>)>::default();
        let mut state = State {
            socket: dir.join("run/colibri.sock"),
            locks: dir.join("locks"),
            seen: Arc::clone(&seen),
            stop: Arc::clone(&stop),
            fold: Fold::new(&json!({"seq": 0, "panes": []})),
            rng: Rng::new(seed),
        };
        let thread = std::thread::spawn(move || {
            while !state.stop.is_set() {
                state.connect();
            }
        });
        Self {
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// What it has seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has seen the event `seq`, and ends it.
    ///
    /// # Panics
    /// When that takes more than a minute.
    pub fn finish(mut self, seq: u64) -> Seen {
        must("the last events", LONG, || {
            (self.seen().log.len() as u64 >= seq).then_some(())
        });
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the follower is well");
        }
        std::mem::take(&mut self.seen())
    }
}

struct State {
    socket: PathBuf,
    locks: PathBuf,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<Stop>,
    fold: Fold,
    rng: Rng,
}

impl State {
    /// One connection, until it breaks or has brought enough.
    fn connect(&mut self) {
        let Ok(mut client) = Client::connect(&self.socket) else {
            let _ = self.stop.wait(Duration::from_millis(5));
            return;
        };
        let Some(snapshot) = ask(&mut client, json!({"cmd": "snapshot"})) else {
            return;
        };
        let subscribe = json!({"cmd": "subscribe", "from": self.fold.seq});
        if ask(&mut client, subscribe).is_none() {
            return;
        }
        self.seen().connections += 1;
        let mut compare = Some(snapshot);
        let enough = 1 + self.rng.below(400);
        for _ in 0..enough {
            if compare.as_ref().is_some_and(|s| s["seq"] == self.fold.seq) {
                self.compare(&compare.take().unwrap_or_default());
            }
            // The snapshot's own events come at once; only then may a pause mean an end.
            match client.event(Duration::from_millis(200)) {
                Ok(line) => self.take(line),
                Err(e) if e.kind() == std::io::ErrorKind::TimedOut && !self.stop.is_set() => {}
                Err(_) => return,
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&mut self, mut line: Value) {
        assert!(line.get("gap").is_none(), "a gap that nobody made: {line}");
        let event = line["event"].take();
        self.fold.apply(&event);
        let run = event["run"].as_u64().unwrap_or(0);
        let mut seen = self.seen();
        match event["kind"].as_str() {
            Some("started") => {
                let pid = event["monitor"]
                    .as_i64()
                    .and_then(|p| i32::try_from(p).ok());
                seen.monitors.extend(pid.map(|pid| (run, pid)));
            }
            Some("ended") => {
                seen.ended.insert(run, event.clone());
                let lock = self.locks.join(run.to_string());
                assert!(
                    !lock.exists() || !held(&lock),
                    "run {run} is said to have ended, but something of it lives"
                );
            }
            _ => {}
        }
        seen.log.push(event);
    }

    /// The folded events against a snapshot at the same number.
    fn compare(&self, snapshot: &Value) {
        let panes = snapshot["panes"].as_array().expect("panes");
        for pane in panes {
            let run = pane["run"].as_u64().expect("a run");
            let folded = self.fold.pane(run).unwrap_or(&Value::Null);
            let (a, b) = (comparable(pane), comparable(folded));
            assert_eq!(a, b, "run {run} at event {}", self.fold.seq);
        }
        assert_eq!(panes.len(), self.fold.len(), "at event {}", self.fold.seq);
        self.seen().compared += 1;
    }
}

/// A pane without what no event tells: when the stream last moved.
fn comparable(pane: &Value) -> Value {
    let mut pane = pane.clone();
    if let Some(fields) = pane.as_object_mut() {
        fields.remove("last_event_at");
        // From the profile, not from events.
        fields.remove("stays");
    }
    pane
}

fn ask(client: &mut Client, request: Value) -> Option<Value> {
    let mut reply = client.request(request).ok()?;
    (reply["ok"] == true).then(|| reply["data"].take())
}
