//! One round: a suite, a plan, and the checks after each step and at the end.

use crate::client::Client;
use crate::measure::Values;
use crate::procs;
use crate::suite::Scratch;
use crate::torture::book::Book;
use crate::torture::follow::Follower;
use crate::torture::plan::{Plan, Script, Step, Victims};
use crate::torture::verdict::{self, Board};
use crate::torture::world::{setup, World};
use crate::torture::{occurrences, tasks};
use crate::wait::{must, wait_for, Stop, LONG};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What a round came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Runs that were accepted.
    pub runs: usize,
    /// Tasks that were accepted or made by schedules.
    pub tasks: usize,
    /// Planned occurrences of schedules.
    pub occurrences: usize,
    /// Times that daemons were killed or restarted.
    pub faults: usize,
    /// Monitors that were killed.
    pub monitors: usize,
    /// Stops.
    pub stops: usize,
    /// Events seen.
    pub events: usize,
    /// Connections of the subscriber.
    pub connections: u64,
    /// Snapshots that were compared with the folded events.
    pub compared: u64,
    /// Milliseconds until the suite answered again.
    pub back: Values,
}

/// Plays a plan; `tell` is given each step before it is done.
///
/// # Panics
/// When anything is not as it has to be.
#[must_use]
pub fn play(plan: &Plan, mut tell: impl FnMut(usize, &str)) -> Tally {
    let scratch = Scratch::new();
    let setup = setup(&scratch);
    tell(0, &format!("directory {}", scratch.path().display()));
    let world = World::start(scratch, setup, plan.kept);
    let mut round = Round {
        follower: Follower::start(world.dir(), plan.seed),
        world,
        book: Book::default(),
        client: None,
        stalled: Vec::new(),
        tally: Tally::default(),
    };
    round.begin();
    for (n, step) in plan.steps.iter().enumerate() {
        tell(n + 1, &step.to_string());
        round.step(step);
    }
    tell(
        plan.steps.len() + 1,
        "the end: everything is stopped and compared",
    );
    round.finish()
}

/// A round that is being played; what it does to the board is in [`super::board`].
pub(super) struct Round {
    world: World,
    follower: Follower,
    pub(super) book: Book,
    client: Option<Client>,
    stalled: Vec<UnixStream>,
    pub(super) tally: Tally,
}

impl Round {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Spawn(script) => self.spawn(script),
            Step::Burst(scripts) => self.burst(scripts),
            Step::SpawnAndKill(scripts, victims) => {
                for script in scripts {
                    self.send_only(script);
                }
                self.fault(*victims);
            }
            Step::FalseStart(victims, ms) => {
                self.tally.faults += 2;
                self.world.hit(*victims);
                self.lost();
                self.world.false_start(Duration::from_millis(*ms));
                self.world.recover(victims.keeper);
            }
            Step::Task(task) => self.add_task(task),
            Step::TasksAndKill(tasks, victims) => self.tasks_and_kill(tasks, *victims),
            Step::Import => self.import(),
            Step::RunNow(n) => self.run_now(*n),
            Step::Answer(nonce) => self.answer(*nonce),
            Step::Stop(nonce) => self.stop(*nonce),
            Step::KillMonitor(nonce) => self.kill_monitor(*nonce),
            Step::Kill(victims) => self.fault(*victims),
            Step::KillTwice(first, second) => {
                self.fault(*first);
                self.fault(*second);
            }
            Step::Restart => {
                self.tally.faults += 1;
                self.world.same();
                self.world.restart();
                self.lost();
            }
            Step::StopSuite => {
                self.book.suite_stopped();
                self.world.stop();
                self.lost();
                self.world.launch();
            }
            Step::HastyClient => {
                if let Ok(mut conn) = UnixStream::connect(self.world.socket()) {
                    // What becomes of it is nobody's business.
                    let _ = conn.write_all(b"{\"cmd\":\"status\"}\n{\"cmd\":\"spawn-agent\",\"pro");
                }
            }
            Step::StalledClient => {
                if let Ok(mut conn) = UnixStream::connect(self.world.socket()) {
                    let _ = conn.write_all(b"{\"cmd\":\"subscribe\",\"from\":0}\n");
                    self.stalled.push(conn);
                }
            }
            Step::Audit => self.audit(),
            Step::Pause(ms) => drop(Stop::default().wait(Duration::from_millis(*ms))),
        }
    }

    /// The driver's connection; a suite that was hit is back before anything else is done.
    pub(super) fn client(&mut self) -> &mut Client {
        let world = &self.world;
        self.client.get_or_insert_with(|| world.client())
    }

    fn lost(&mut self) {
        self.client = None;
        self.stalled.clear();
    }

    /// A request to a suite that nothing was done to: it must be answered.
    pub(super) fn call(&mut self, request: Value) -> Value {
        let shown = request.to_string();
        self.client()
            .request(request)
            .unwrap_or_else(|e| panic!("{shown} was not answered: {e}"))
    }

    fn spawn(&mut self, script: &Script) {
        let reply = self.call(spawn_request(script));
        self.book.asked(script, accepted(&reply));
    }

    fn burst(&mut self, scripts: &[Script]) {
        let lines: String = scripts
            .iter()
            .map(|s| {
                let mut request = spawn_request(s);
                request["id"] = json!(s.nonce);
                format!("{request}\n")
            })
            .collect();
        let client = self.client();
        client.send_raw(lines.as_bytes()).expect("sent");
        let replies: Vec<Value> = scripts
            .iter()
            .map(|_| client.value(LONG).expect("an answer"))
            .collect();
        for (script, reply) in scripts.iter().zip(replies) {
            assert_eq!(reply["id"], json!(script.nonce), "answers out of order");
            self.book.asked(script, accepted(&reply));
        }
    }

    /// Sends a request and does not look for the answer: it may have been accepted or not.
    fn send_only(&mut self, script: &Script) {
        let line = format!("{}\n", spawn_request(script));
        self.client().send_raw(line.as_bytes()).expect("sent");
        self.book.asked(script, None);
    }

    pub(super) fn fault(&mut self, victims: Victims) {
        self.tally.faults += 1;
        self.world.hit(victims);
        self.lost();
        self.world.recover(victims.keeper);
    }

    fn answer(&mut self, nonce: u64) {
        if let Some(run) = self.run(nonce) {
            self.answer_run(run);
        }
    }

    /// The run of a planned run, or of a planned task.
    fn run(&mut self, nonce: u64) -> Option<u64> {
        match self.book.get(nonce) {
            Some(entry) => entry.run,
            None => self.run_of(nonce),
        }
    }

    /// Answers whatever a run asks; not asking any more is no fault.
    pub(super) fn answer_run(&mut self, run: u64) {
        let row = self.call(json!({"cmd": "get-run", "run": run}));
        assert_eq!(
            row["ok"], true,
            "run {run} was accepted and is not there: {row}"
        );
        let dialogs = row["data"]["pane"]["dialogs"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for d in dialogs {
            let request = d["request"].clone();
            let answer = json!({"cmd": "answer", "run": run, "request": request, "value": "yes"});
            let reply = self.call(answer);
            let code = reply["error"]["code"].as_str().unwrap_or("none").to_owned();
            assert!(
                reply["ok"] == true || code == "conflict" || code == "unavailable",
                "answer to run {run}: {reply}"
            );
        }
    }

    fn stop(&mut self, nonce: u64) {
        let Some(entry) = self.book.get(nonce) else {
            self.cancel(nonce);
            return;
        };
        entry.stop = true;
        let Some(run) = entry.run else {
            return;
        };
        self.tally.stops += 1;
        let reply = self.call(json!({"cmd": "stop-agent", "run": run}));
        assert_eq!(reply["ok"], true, "stop of run {run}: {reply}");
        if let Some(entry) = self.book.get(nonce) {
            entry.stopped = true;
        }
    }

    fn kill_monitor(&mut self, nonce: u64) {
        let Some(run) = self.run(nonce) else {
            return;
        };
        let pid = match self.follower.seen() {
            seen if seen.ended.contains_key(&run) => None,
            seen => seen.monitors.get(&run).copied(),
        };
        let Some(pid) = pid else {
            return;
        };
        // It may have left since; then the number could be somebody else's.
        let title = procs::table()
            .into_iter()
            .find(|p| p.pid == pid)
            .map(|p| p.title);
        if !title.is_some_and(|t| t.contains("colibri-spawnd")) {
            return;
        }
        if let Some(entry) = self.book.get(nonce) {
            entry.monitor_killed = true;
        }
        if let Some(entry) = self.book.task(nonce) {
            entry.monitor_killed = true;
        }
        self.tally.monitors += 1;
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }

    /// What moves may differ for a moment; what stays different is a fault.
    fn audit(&mut self) {
        let mut last = Value::Null;
        let agrees = wait_for(LONG, || {
            last = self.call(json!({"cmd": "audit"}));
            let found = last["data"]["disagreements"].as_array();
            found.is_some_and(Vec::is_empty).then_some(())
        });
        assert!(agrees.is_some(), "board and kernel do not agree: {last}");
    }

    /// Brings every run and every task to its end, stops the suite, and compares everything.
    fn finish(mut self) -> Tally {
        self.world.same();
        self.audit();
        let runs: Vec<(u64, u64)> = self
            .book
            .all()
            .filter(|e| !e.script.ends_alone() && !e.stopped)
            .filter_map(|e| Some((e.script.nonce, e.run?)))
            .collect();
        for (nonce, run) in runs {
            let asks = matches!(
                self.book.get(nonce).map(|e| e.script.kind),
                Some(crate::torture::plan::Kind::Asks)
            );
            if !asks {
                self.stop(nonce);
                continue;
            }
            must(
                "a question to be answered and its run to go on",
                LONG * 2,
                || {
                    self.answer_run(run);
                    let row = self.call(json!({"cmd": "get-run", "run": run}));
                    let state = row["data"]["state"].as_str().unwrap_or_default();
                    (row["data"]["ended"] == true || matches!(state, "done" | "error"))
                        .then_some(())
                },
            );
        }
        self.end_schedules();
        self.end_tasks();
        self.stop_unknown();
        must("the last run to end", LONG * 2, || {
            let status = self.call(json!({"cmd": "status"}));
            (status["data"]["runs"]["alive"] == 0).then_some(())
        });
        self.audit();
        let schedules = self.book.schedules.clone();
        let board = Board {
            runs: verdict::runs(self.client()),
            tasks: tasks::all(self.client()),
            occurrences: occurrences::all(self.client(), &schedules),
        };
        let seq = self.call(json!({"cmd": "status"}))["data"]["seq"]
            .as_u64()
            .unwrap_or(0);
        self.lost();
        let seen = self.follower.finish(seq);
        assert!(seen.compared > 0, "no snapshot was compared");
        self.tally.events = seen.log.len();
        self.tally.connections = seen.connections;
        self.tally.compared = seen.compared;
        self.tally.runs = self.book.accepted();
        self.tally.tasks = board.tasks.len();
        self.tally.occurrences = board.occurrences.iter().map(Vec::len).sum();
        self.world.stop();
        verdict::nothing_left(self.world.dir());
        verdict::compare(&self.book, &board, &seen, self.world.dir());
        self.tally.back = self.world.back.clone();
        self.tally
    }

    /// Runs whose answers were lost with a kill are known by what they say they are; those that do
    /// not end by themselves are stopped.
    fn stop_unknown(&mut self) {
        let runs = verdict::runs(self.client());
        let unknown: Vec<u64> = self
            .book
            .all()
            .filter(|e| e.run.is_none())
            .map(|e| e.script.nonce)
            .collect();
        for nonce in unknown {
            let run = runs
                .iter()
                .find(|(_, row)| verdict::nonce(row) == Some(nonce));
            if let Some((run, _)) = run {
                if let Some(entry) = self.book.get(nonce) {
                    entry.stop = true;
                }
                let _ = self.call(json!({"cmd": "stop-agent", "run": run}));
            }
        }
    }
}

fn spawn_request(script: &Script) -> Value {
    json!({"cmd": "spawn-agent", "profile": "scripted", "prompt": script.prompt()})
}

/// The run's number; a refusal is none, and must have a reason.
fn accepted(reply: &Value) -> Option<u64> {
    if reply["ok"] == true {
        return reply["data"]["run"].as_u64();
    }
    assert_eq!(reply["error"]["code"], "too-many", "{reply}");
    None
}
