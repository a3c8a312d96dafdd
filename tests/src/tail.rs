//! What a client knows that has a snapshot and the events after it.

use crate::client::Client;
use crate::wait::LONG;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::time::Instant;

/// Reads the whole event log from its beginning to the end of `run`, in order; the inner objects.
///
/// # Panics
/// When numbers are missing or repeat, or a minute passes.
#[track_caller]
pub fn log_until_ended(client: &mut Client, run: u64) -> Vec<Value> {
    log_until(client, |e| e["kind"] == "ended" && e["run"] == json!(run))
}

/// Reads the whole event log from its beginning to the first event that fits.
///
/// # Panics
/// As [`log_until_ended`].
#[track_caller]
pub fn log_until(client: &mut Client, last: impl Fn(&Value) -> bool) -> Vec<Value> {
    client.subscribe(Some(0));
    let mut log: Vec<Value> = Vec::new();
    let end = Instant::now() + LONG;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut line = client
            .event(left)
            .unwrap_or_else(|e| panic!("the log stops: {e}; so far {log:#?}"));
        let event = line["event"].take();
        assert_eq!(event["seq"], json!(log.len() + 1), "{line} {event}");
        let over = last(&event);
        log.push(event);
        if over {
            return log;
        }
    }
}

/// The events of a run of one kind.
#[must_use]
pub fn of<'a>(log: &'a [Value], run: u64, kind: &str) -> Vec<&'a Value> {
    let fits = |e: &&Value| e["run"] == json!(run) && e["kind"] == kind;
    log.iter().filter(fits).collect()
}

/// Asserts that a run was started once, worked once and ended once, however often the suite was
/// killed meanwhile, and that tools `call-0` to `call-N` were each told once and in order.
///
/// # Panics
/// When it is not so.
#[track_caller]
pub fn once(log: &[Value], run: u64, tools: usize) {
    for kind in ["run-created", "started", "launched", "ended"] {
        assert_eq!(of(log, run, kind).len(), 1, "{kind}: {log:#?}");
    }
    // Left out when the whole tree ends at once.
    assert!(of(log, run, "exited").len() <= 1, "exited: {log:#?}");
    for kind in ["tool-start", "tool-end"] {
        let told: Vec<_> = of(log, run, kind).iter().map(|e| e["id"].clone()).collect();
        let due: Vec<_> = (0..tools).map(|n| json!(format!("call-{n}"))).collect();
        assert_eq!(told, due, "{kind}");
    }
}

/// Panes by run, as a client folds them.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// The last event that is in it.
    pub seq: u64,
    panes: BTreeMap<u64, Value>,
}

impl Fold {
    /// Begins with a snapshot.
    ///
    /// # Panics
    /// When it is not one.
    #[must_use]
    pub fn new(snapshot: &Value) -> Self {
        let panes = snapshot["panes"].as_array().expect("panes");
        Self {
            seq: snapshot["seq"].as_u64().expect("seq"),
            panes: panes
                .iter()
                .map(|p| (p["run"].as_u64().expect("run"), p.clone()))
                .collect(),
        }
    }

    /// How many panes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.panes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }

    /// The pane of a run.
    #[must_use]
    pub fn pane(&self, run: u64) -> Option<&Value> {
        self.panes.get(&run)
    }

    /// Takes in the next event.
    ///
    /// # Panics
    /// When it is not the next one.
    pub fn apply(&mut self, event: &Value) {
        self.seq += 1;
        assert_eq!(event["seq"], json!(self.seq));
        let kind = event["kind"].as_str().expect("kind");
        // What concerns no run is in no pane.
        let Some(run) = event["run"].as_u64() else {
            return;
        };
        if kind == "run-created" {
            self.panes.insert(run, created(run, event));
        }
        if let Some(pane) = self.panes.get_mut(&run) {
            change(pane, kind, event);
        }
        if matches!(kind, "run-created" | "ended") {
            self.forget_older(run);
        }
    }

    /// A snapshot has the living runs, and the newest run of each agent if that has ended.
    fn forget_older(&mut self, run: u64) {
        let Some(agent) = self.panes.get(&run).map(|p| p["agent"].clone()) else {
            return;
        };
        let of_agent = self.panes.iter().filter(|(_, p)| p["agent"] == agent);
        let newest = of_agent.map(|(n, _)| *n).max();
        self.panes
            .retain(|n, p| p["agent"] != agent || p["ended"] == false || Some(*n) == newest);
    }
}

fn created(run: u64, event: &Value) -> Value {
    json!({
        "id": run.to_string(), "agent": event["agent"], "state": "unknown",
        "pi_session_id": null, "last_event_at": null, "cwd": event["cwd"], "stalled": false,
        "runtime": "Pi", "run": run, "attempt": event["attempt"], "profile": event["profile"],
        "phase": "starting", "reason": null, "since": event["at"], "until": null,
        "attention": false, "ended": false, "container": null,
        "usage": {"messages": 0, "input": 0, "output": 0, "cache_read": 0, "cache_write": 0, "cost_usd": 0.0},
        "dialogs": [], "tools": [],
    })
}

fn change(pane: &mut Value, kind: &str, event: &Value) {
    match kind {
        "started" => pane["container"] = event["container"].clone(),
        "state" => {
            if pane["state"] != event["state"] {
                pane["since"] = event["at"].clone();
            }
            for field in ["state", "phase", "reason", "until", "attention"] {
                pane[field] = event[field].clone();
            }
        }
        "session" => {
            pane["pi_session_id"] = event["id"].clone();
            if !event["cwd"].is_null() {
                pane["cwd"] = event["cwd"].clone();
            }
        }
        "usage" => {
            for (field, value) in pane["usage"].as_object_mut().expect("usage") {
                *value = event[field.as_str()].clone();
            }
        }
        "asked" => {
            let mut dialog = event.clone();
            for field in ["seq", "at", "run", "attempt", "task", "kind"] {
                dialog.as_object_mut().expect("object").remove(field);
            }
            pane["dialogs"]
                .as_array_mut()
                .expect("dialogs")
                .push(dialog);
        }
        "settled" => {
            let open = pane["dialogs"].as_array_mut().expect("dialogs");
            open.retain(|d| d["request"] != event["request"]);
        }
        "stop-wanted" | "stopping" => pane["phase"] = json!("stopping"),
        "stalled" => {
            pane["stalled"] = json!(true);
            pane["attention"] = json!(true);
        }
        "unstalled" => pane["stalled"] = json!(false),
        "ended" => {
            pane["ended"] = json!(true);
            pane["stalled"] = json!(false);
            pane["phase"] = Value::Null;
            pane["state"] = event["state"].clone();
            pane["reason"] = event["reason"].clone();
            pane["dialogs"] = json!([]);
            pane["tools"] = json!([]);
        }
        _ => {}
    }
    // Which tools are open is known by their calls, what a pane shows are their names.
    if kind == "tool-start" {
        let tools = pane["tools"].as_array_mut().expect("tools");
        tools.push(event["name"].clone());
    }
    if kind == "tool-end" {
        let tools = pane["tools"].as_array_mut().expect("tools");
        if let Some(at) = tools.iter().position(|t| *t == event["name"]) {
            tools.remove(at);
        }
    }
    // A tool that asks a person is still open.
    if kind == "state" && event["state"] != "working" && event["state"] != "blocked" {
        pane["tools"] = json!([]);
    }
}
