//! What a round does to the board, to schedules and to the catalogue of skills.

use crate::torture::book::ScheduleEntry;
use crate::torture::plan::{Kind, Task, Victims, SCHEDULES};
use crate::torture::round::Round;
use crate::wait::{must, LONG};
use jiff::Timestamp;
use libcolibri::skill::{sha256, File};
use serde_json::{json, Value};
use std::time::{SystemTime, UNIX_EPOCH};

/// The skill that tasks name.
pub const SKILL: &str = "craft";

/// The schedule of which each occurrence comes to pass, and whose tasks are given the skill.
pub const ALL: &str = "all";
/// The schedule whose occurrences end each other's tasks.
pub const REPLACE: &str = "replace";

/// What the schedules of a round are, and what their tasks do.
fn schedules() -> [Value; SCHEDULES] {
    [
        // Whatever was missed, and whatever still runs.
        json!({"name": ALL, "every": 2, "overlap": "allow", "catch_up": "all",
            "catch_up_max": 1000, "skills": [SKILL], "prompt": "nonce 0 tool 2 settle rest"}),
        // They wait for each other; of those that were missed one comes.
        json!({"name": "queue", "every": 1, "overlap": "queue", "catch_up": "latest",
            "prompt": "nonce 0 tool 2 wait 700 settle rest"}),
        // What was missed is let go.
        json!({"name": REPLACE, "every": 1, "overlap": "replace", "catch_up": "skip",
            "prompt": "nonce 0 tool 2 wait 1500 settle rest"}),
    ]
}

/// The title of the task of an occurrence.
#[must_use]
pub fn tick(schedule: &str, planned: &str) -> String {
    format!("tick {schedule} {planned}")
}

/// Milliseconds of a time in RFC 3339.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn ms(text: &Value) -> u64 {
    let time: Timestamp = text.as_str().expect("a time").parse().expect("a time");
    u64::try_from(time.as_millisecond()).expect("after 1970")
}

impl Round {
    /// What every round begins with: the skill's first edition, and the schedules.
    pub(super) fn begin(&mut self) {
        self.import();
        for mut fields in schedules() {
            fields["cmd"] = json!("add-schedule");
            fields["title"] = json!(tick("{schedule}", "{planned_utc}"));
            let reply = self.ok(fields.clone());
            self.book.schedules.push(ScheduleEntry {
                name: fields["name"].as_str().expect("a name").to_owned(),
                first_ms: ms(&reply["next"][0]["at"]),
                every_ms: fields["every"].as_u64().expect("seconds") * 1000,
                manual: Vec::new(),
            });
        }
    }

    /// Another edition of the skill; what was half done before is finished by this.
    pub(super) fn import(&mut self) {
        let reply = self.ok(import_request(self.book.editions.len()));
        self.book
            .editions
            .push(reply["id"].as_u64().expect("a version"));
    }

    pub(super) fn run_now(&mut self, n: usize) {
        let name = self.book.schedules[n].name.clone();
        let reply = self.ok(json!({"cmd": "run-schedule", "schedule": name}));
        let task = reply["task"].as_u64().expect("a task");
        self.book.schedules[n].manual.push(task);
    }

    pub(super) fn add_task(&mut self, task: &Task) {
        let request = self.task_request(task);
        let reply = self.call(request);
        let id = reply["data"]["id"].as_u64().filter(|_| reply["ok"] == true);
        // What waits for a task that is over without being done is not taken.
        let refused = task.after.is_some() && reply["error"]["code"] == "conflict";
        assert!(id.is_some() || refused, "task {task}: {reply}");
        self.book.added(task, id, self.book.editions.len());
    }

    /// Nobody knows how much of it was done: all of it is asked for again, and nothing is there
    /// twice.
    pub(super) fn tasks_and_kill(&mut self, tasks: &[Task], victims: Victims) {
        let import = import_request(self.book.editions.len());
        let mut lines = format!("{import}\n");
        for task in tasks {
            lines.push_str(&format!("{}\n", self.task_request(task)));
        }
        self.client().send_raw(lines.as_bytes()).expect("sent");
        self.fault(victims);
        let before = self.book.editions.len();
        self.import();
        for task in tasks {
            self.add_task(task);
            // It may be there since before the edition was.
            if let Some(entry) = self.book.task(task.script.nonce) {
                entry.editions = before;
            }
        }
    }

    fn task_request(&mut self, task: &Task) -> Value {
        let nonce = task.script.nonce;
        let mut request = json!({"cmd": "create-task", "title": format!("task {nonce}"),
            "description": task.script.prompt(), "key": nonce.to_string(),
            "skills": if task.skill { vec![SKILL] } else { vec![] }});
        if let Some(word) = task.capability {
            request["capabilities"] = json!([word]);
        }
        let before = task.after.and_then(|n| self.book.task(n)?.id);
        if let Some(before) = before {
            request["after"] = json!([before]);
        }
        request
    }

    /// Cancels a task, unless it is over or just being started.
    pub(super) fn cancel(&mut self, nonce: u64) {
        let Some(id) = self.book.task(nonce).and_then(|t| t.id) else {
            return;
        };
        let reply = self.call(json!({"cmd": "cancel-task", "task_id": id}));
        let done = reply["ok"] == true;
        assert!(done || reply["error"]["code"] == "conflict", "{reply}");
        if let (true, Some(entry)) = (done, self.book.task(nonce)) {
            entry.cancel = true;
            self.tally.stops += 1;
        }
    }

    /// The run that works on a task, or worked on it last.
    pub(super) fn run_of(&mut self, nonce: u64) -> Option<u64> {
        let id = self.book.task(nonce)?.id?;
        let task = self.ok(json!({"cmd": "get-task", "task_id": id}));
        task["run"].as_u64()
    }

    /// The schedules have survived it all: each still comes, and then no more.
    pub(super) fn end_schedules(&mut self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
        for n in 0..SCHEDULES {
            let name = self.book.schedules[n].name.clone();
            must("a schedule to go on", LONG, || {
                let newest = json!({"cmd": "list-occurrences", "schedule": name, "limit": 1});
                let reply = self.ok(newest);
                let planned = &reply["occurrences"][0]["planned"];
                (planned.is_string() && u128::from(ms(planned)) >= since.as_millis()).then_some(())
            });
            self.ok(json!({"cmd": "remove-schedule", "schedule": name}));
        }
    }

    /// Brings every task to its end: what lives is cancelled, what asks is answered.
    pub(super) fn end_tasks(&mut self) {
        let lives = |k| matches!(k, Kind::Lives | Kind::Deaf);
        let tasks = self.book.tasks();
        let living: Vec<u64> = tasks
            .map(|t| &t.task.script)
            .filter(|s| lives(s.kind))
            .map(|s| s.nonce)
            .collect();
        let mut last = Value::Null;
        must("the last task to end", LONG * 4, || {
            for nonce in &living {
                if self.book.task(*nonce).is_some_and(|t| !t.cancel) {
                    self.cancel(*nonce);
                }
            }
            let snapshot = self.ok(json!({"cmd": "snapshot"}));
            let asks = |p: &&Value| p["dialogs"].as_array().is_some_and(|d| !d.is_empty());
            for pane in snapshot["panes"].as_array()?.iter().filter(asks) {
                self.answer_run(pane["run"].as_u64()?);
            }
            last = self.ok(json!({"cmd": "stats"}));
            let open = ["waiting", "queued", "claimed", "started"];
            let over = open.iter().all(|s| last["tasks"][s] == 0);
            over.then_some(())
        });
    }

    /// The data of a request that is not refused.
    fn ok(&mut self, request: Value) -> Value {
        let shown = request.to_string();
        let mut reply = self.call(request);
        assert_eq!(reply["ok"], true, "{shown}: {reply}");
        reply["data"].take()
    }
}

/// An edition of the skill: what it says is its number.
fn import_request(edition: usize) -> Value {
    let text =
        format!("---\nname: {SKILL}\ndescription: How it is done.\n---\n\nedition {edition}\n");
    let file = File {
        path: "SKILL.md".into(),
        sha256: sha256(text.as_bytes()),
        bytes: text.len() as u64,
        text: Some(text),
    };
    json!({"cmd": "import-skill", "files": [file], "source": "the driver"})
}
