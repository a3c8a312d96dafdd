//! Living runs: what is known of each, what its records mean, what is due when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libcolibri::config::Config;
use libcolibri::msg::{Proven, RunKey, ToMonitor, ToSpawnd};
use libcolibri::record::{Command, Ended, Entry, Record};
use libcolibri::state::{Exit, State};
use libcolibri::{info, sys};
use mio::Token;
use serde_json::{json, Value};

use crate::answers::Promise;
use crate::attempt::{step, Effect, Happened, Stage};
use crate::board::failure::StopWhy;
use crate::board::TaskTag;
use crate::engine::{Engine, Out};
use crate::event::{exit_value, of_record, proof, Event};
use crate::glasspane::Pane;
use crate::request::Refusal;
use crate::store::{AttemptRow, EndRow};

/// The token of a run's first prompt: always the same, so that a monitor that has taken it knows
/// it again after a restart. All other tokens are larger.
const PROMPT_TOKEN: u64 = 1;

/// How long a command may wait for the agent before its client is told so.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);

/// Signals that a monitor may ask for at once; one more each second.
const ASKS_MAX: f64 = 4.0;

/// A profile index that no table has, for runs whose profile the config lost.
pub(crate) const NO_PROFILE: u32 = u32::MAX;

/// A client that waits for what becomes of its command.
pub struct Waiting {
    client: Token,
    id: Option<Value>,
    until: Instant,
}

/// A run that has not ended.
pub struct Live {
    /// Run and attempt.
    pub key: RunKey,
    /// What is shown.
    pub pane: Pane,
    /// The last journal record that counts.
    pub journal_seq: u64,
    /// The connection to its monitor.
    pub monitor: Option<Token>,
    /// Its task on the board, if it has one.
    pub task: Option<TaskTag>,
    /// Where its attempt stands.
    pub(crate) stage: Stage,
    /// When the attempt comes to its next step by itself.
    pub(crate) deadline: Option<Instant>,
    /// spawnd was asked for the proof of its end and had none.
    pub(crate) unproven: bool,
    stop_wanted: bool,
    profile: u32,
    grace: Duration,
    stall_after: Duration,
    /// When its monitor last said something.
    pub(crate) last_activity: Instant,
    /// The task, until the agent has taken it.
    pub(crate) prompt: Option<String>,
    prompt_sent: bool,
    result: Option<Ended>,
    commands: BTreeMap<u64, Waiting>,
    /// Signals that its monitor may ask for now, and when that was counted.
    asks: f64,
    asked_at: Instant,
}

impl Live {
    /// A run that was just accepted.
    #[must_use]
    pub fn new(config: &Config, key: RunKey, pane: Pane, prompt: String) -> Live {
        let found = config.profile(&pane.profile);
        let seconds = |n: Option<u32>, default| Duration::from_secs(n.unwrap_or(default).into());
        Live {
            key,
            pane,
            journal_seq: 0,
            monitor: None,
            task: None,
            stage: Stage::Starting,
            deadline: None,
            unproven: false,
            stop_wanted: false,
            profile: found.map_or(NO_PROFILE, |(at, _)| at),
            grace: seconds(found.map(|(_, p)| p.stop_grace), 5),
            stall_after: seconds(found.map(|(_, p)| p.stall_after), 900),
            last_activity: Instant::now(),
            prompt: Some(prompt),
            prompt_sent: false,
            result: None,
            commands: BTreeMap::new(),
            asks: ASKS_MAX,
            asked_at: Instant::now(),
        }
    }

    /// A run of an earlier suite.
    #[must_use]
    pub fn of_row(config: &Config, row: &AttemptRow) -> Live {
        let key = RunKey {
            run: row.run,
            attempt: row.attempt,
        };
        let pane = serde_json::from_str(&row.pane)
            .unwrap_or_else(|_| Pane::new(key, &row.profile, &row.profile, sys::wall_ms()));
        let mut live = Live::new(config, key, pane, row.prompt.clone());
        live.journal_seq = row.journal_seq;
        live.stop_wanted = row.stop_wanted;
        // It was told with the wish, before any record of it.
        live.pane.stopping |= row.stop_wanted;
        if row.prompted {
            live.prompt = None;
        }
        live
    }

    /// Whether its monitor may have the tree signalled once more: an honest one asks a few times
    /// in a run's end, and each time costs spawnd a look at all processes.
    fn may_ask(&mut self) -> bool {
        let earned = self.asked_at.elapsed().as_secs_f64();
        self.asks = (self.asks + earned).min(ASKS_MAX);
        self.asked_at = Instant::now();
        let may = self.asks >= 1.0;
        if may {
            self.asks -= 1.0;
        }
        may
    }

    /// When it counts as stalled: only work can stall, and a start that shows no life.
    pub(crate) fn stalls_at(&self) -> Option<Instant> {
        let can = matches!(self.pane.state, State::Working | State::Unknown);
        (can && !self.pane.stalled && self.monitor.is_some())
            .then(|| self.last_activity + self.stall_after)
    }
}

impl Engine {
    /// A run was accepted and is durable: it begins.
    pub(crate) fn begin(&mut self, live: Live) {
        let run = live.key.run;
        self.runs.insert(run, live);
        self.start(run);
    }

    /// Asks spawnd to start the run's attempt.
    pub(crate) fn start(&mut self, run: u64) {
        if let Some(l) = self.runs.get(&run) {
            let (key, profile) = (l.key, l.profile);
            self.out
                .push_back(Out::Spawnd(ToSpawnd::Start { key, profile }));
        }
    }

    /// Tells spawnd of a run that an earlier one started.
    pub(crate) fn adopt_in_spawnd(&mut self, run: u64) {
        if let Some(l) = self.runs.get(&run) {
            let key = l.key;
            self.out.push_back(Out::Spawnd(ToSpawnd::Adopt { key }));
        }
    }

    /// Emits an event about a living run, now.
    pub(crate) fn tell(&mut self, run: u64, kind: &'static str, fields: Value) {
        self.tell_at(run, sys::wall_ms(), kind, fields);
    }

    /// The same of a moment that is in the pane, too.
    fn tell_at(&mut self, run: u64, at_ms: u64, kind: &'static str, fields: Value) {
        if let Some(l) = self.runs.get(&run) {
            let event = Event::new(run, l.key.attempt, at_ms, kind, fields);
            self.emit(&event.of_task(l.task.as_ref()));
        }
    }

    /// Takes in one journal record.
    pub(crate) fn record(&mut self, run: u64, entry: &Entry) {
        let Some(l) = self.runs.get_mut(&run) else {
            return;
        };
        self.concluded = true;
        l.journal_seq = entry.seq;
        l.last_activity = Instant::now();
        let was_stalled = l.pane.stalled;
        let changed = l.pane.apply(entry);
        let attempt = l.key.attempt;
        let task = l.task.clone();
        let mut events = Vec::new();
        let mut event = |kind, fields| {
            let event = Event::new(run, attempt, entry.at_ms, kind, fields);
            events.push(event.of_task(task.as_ref()));
        };
        if was_stalled {
            event("unstalled", json!({}));
        }
        if let Some((kind, fields)) = of_record(&entry.record) {
            event(kind, fields);
        }
        if changed {
            event("state", l.pane.state_fields());
        }
        let mut begun = false;
        if let Record::Did {
            command: Command::Prompt,
            token: PROMPT_TOKEN,
            error,
        } = &entry.record
        {
            l.prompt = None;
            begun = error.is_empty();
        }
        self.unsaved.insert(run);
        for e in &events {
            self.emit(e);
        }
        let stored = self.store_details(run, attempt, &entry.record);
        self.note_db(stored);
        if let (true, Some(tag)) = (begun, &task) {
            self.task_started(tag);
        }
        match &entry.record {
            Record::Did { token, error, .. } => self.command_done(run, *token, error),
            Record::Ended(e) => self.ended(run, e),
            Record::Usage(_) => self.meter(run),
            _ => {}
        }
    }

    fn store_details(&self, run: u64, attempt: u64, record: &Record) -> crate::store::DbResult<()> {
        match record {
            Record::Opened {
                container, monitor, ..
            } => self.store.opened(attempt, container.as_str(), *monitor),
            Record::Answer { text } => self.store.answer(run, text),
            Record::Ended(e) => self.store.result(
                run,
                &EndRow {
                    exit: &exit_value(e.exit).to_string(),
                    proof: proof(e.proof),
                    stderr: &e.stderr,
                    stream: (e.lines, e.bytes, e.malformed),
                },
            ),
            _ => Ok(()),
        }
    }

    /// The stream moved without a record.
    pub(crate) fn activity(&mut self, run: u64, at_ms: u64) {
        let Some(l) = self.runs.get_mut(&run) else {
            return;
        };
        l.last_activity = Instant::now();
        l.pane.last_event_ms = l.pane.last_event_ms.max(at_ms.min(sys::wall_ms()));
        if std::mem::take(&mut l.pane.stalled) {
            self.stalled_changed(run, "unstalled", json!({}));
        }
    }

    fn stalled_changed(&mut self, run: u64, kind: &'static str, fields: Value) {
        self.concluded = true;
        self.unsaved.insert(run);
        self.tell(run, kind, fields);
    }

    /// Its monitor has said its last word.
    pub(crate) fn ended(&mut self, run: u64, e: &Ended) {
        if let Some(l) = self.runs.get_mut(&run) {
            l.result = Some(e.clone());
        }
        self.happened(run, Happened::Ended);
    }

    /// The agent gets its task when all that its monitor said before has been heard, and only
    /// when none of it was that the task had arrived.
    pub(crate) fn prompt_if_due(&mut self, run: u64) {
        let Some(l) = self.runs.get_mut(&run) else {
            return;
        };
        let Some(token) = l.monitor else {
            return;
        };
        let caught_up = self
            .monitors
            .get(&token)
            .and_then(|m| m.hello)
            .is_some_and(|last| l.journal_seq >= last);
        if !caught_up || l.prompt_sent || l.stop_wanted {
            return;
        }
        if let Some(text) = l.prompt.clone() {
            l.prompt_sent = true;
            let m = ToMonitor::Prompt {
                token: PROMPT_TOKEN,
                text,
            };
            self.out.push_back(Out::Monitor(token, m));
        }
    }

    /// One step of the attempt's state machine.
    pub(crate) fn happened(&mut self, run: u64, what: Happened) {
        let Some(l) = self.runs.get_mut(&run) else {
            return;
        };
        if let Happened::Straggling(kill) = what {
            if l.stage != Stage::Releasing && l.may_ask() {
                let signal = ToSpawnd::Signal { key: l.key, kill };
                self.out.push_back(Out::Spawnd(signal));
            }
            return;
        }
        l.unproven |= what == Happened::Released(Proven::Alive);
        if what == Happened::Deadline {
            l.deadline = None;
            // Where nothing can be stored a monitor may not get its word into its journal either.
            if let (true, Stage::Killed(n)) = (self.stuck.is_some(), &mut l.stage) {
                *n = 1;
            }
        }
        let Some((stage, effects, deadline)) = step(l.stage, what, l.stop_wanted, l.grace) else {
            return;
        };
        l.stage = stage;
        l.deadline = deadline.map(|d| Instant::now() + d);
        for effect in effects {
            self.effect(run, *effect);
        }
    }

    fn effect(&mut self, run: u64, effect: Effect) {
        let Some(l) = self.runs.get_mut(&run) else {
            return;
        };
        let key = l.key;
        match effect {
            Effect::TellStop => {
                if let Some(token) = l.monitor {
                    self.out.push_back(Out::Monitor(token, ToMonitor::Stop));
                }
            }
            Effect::Signal(kill) => {
                let signal = ToSpawnd::Signal { key, kill };
                self.out.push_back(Out::Spawnd(signal));
            }
            Effect::Release => {
                let profile = l.profile;
                let release = ToSpawnd::Release { key, profile };
                self.out.push_back(Out::Spawnd(release));
            }
            // Noted by a suite that died before the proof.
            Effect::NoteLost if l.pane.is_lost() => {}
            Effect::NoteLost => {
                let now = sys::wall_ms();
                l.pane.lost(now);
                let fields = l.pane.state_fields();
                info!("run {run}: its monitor is lost");
                self.concluded = true;
                self.unsaved.insert(run);
                self.tell_at(run, now, "state", fields);
            }
            Effect::Finish => self.finish(run),
        }
    }

    /// spawnd could not start it: nothing was ever there.
    pub(crate) fn not_started(&mut self, key: RunKey, why: &str) {
        self.if_current(key, |e| {
            if let Some(l) = e.runs.get_mut(&key.run) {
                let now = sys::wall_ms();
                l.pane.not_started(why, now);
                let fields = l.pane.state_fields();
                info!("run {}: {why}", key.run);
                e.tell_at(key.run, now, "state", fields);
            }
            e.happened(key.run, Happened::Refused);
        });
    }

    /// It is proven dead: the last word, and nothing of it stays in memory.
    fn finish(&mut self, run: u64) {
        self.save_runs();
        let Some(mut l) = self.runs.remove(&run) else {
            return;
        };
        self.concluded = true;
        l.pane.end();
        let at_ms = sys::wall_ms();
        let end = l.result.as_ref();
        let fields = json!({
            "state": l.pane.state.as_str(),
            "reason": crate::event::or_null(&l.pane.reason),
            "exit": exit_value(end.map_or(Exit::Unseen, |e| e.exit)),
            "proof": end.map(|e| proof(e.proof)),
            "asked": end.map_or(l.stop_wanted, |e| e.asked),
        });
        info!("run {run} ended: {}", l.pane.state.as_str());
        let stored = self.store.end(run, l.key.attempt, at_ms, &l.pane.stored());
        self.note_db(stored);
        self.task_run_ended(&l, end.map(|e| e.exit));
        let ended = Event::new(run, l.key.attempt, at_ms, "ended", fields);
        self.emit(&ended.of_task(l.task.as_ref()));
        self.desk.touched = true;
        match self.store.expire(self.config.limits.runs_kept) {
            Ok(gone) => self.expired.extend(gone),
            Err(e) => self.note_db(Err(e)),
        }
        for (_, w) in std::mem::take(&mut l.commands) {
            self.release_client(w, Err(gone()));
        }
        if let Some(token) = l.monitor {
            // A monitor that still talks after its end is not listened to.
            if let Some(mut m) = self.monitors.remove(&token) {
                let _ = self.poll.registry().deregister(m.chan.source());
            }
        }
    }

    /// Somebody wants the end of a run. `false` when it was wanted before.
    pub(crate) fn want_stop(&mut self, run: u64, why: StopWhy, by: Value) -> bool {
        let Some(l) = self.runs.get_mut(&run) else {
            return false;
        };
        if std::mem::replace(&mut l.stop_wanted, true) {
            return false;
        }
        l.pane.stopping = true;
        let task = l.task.clone();
        self.concluded = true;
        if let Some(tag) = &task {
            self.note_stop(tag, why);
        }
        let stored = self.store.want_stop(run);
        self.note_db(stored);
        self.tell(run, "stop-wanted", by);
        self.happened(run, Happened::StopWanted);
        true
    }

    /// The suite is to end, and the runs with it.
    pub(crate) fn stop_all(&mut self) {
        let all: Vec<u64> = self.runs.keys().copied().collect();
        for run in all {
            self.want_stop(run, StopWhy::Suite, json!({"by": "suite"}));
        }
        // Those that were accepted in this very turn begin with the wish for their end.
        let now = sys::wall_ms();
        let mut accepted = std::mem::take(&mut self.accepted);
        for l in accepted.iter_mut().filter(|l| !l.stop_wanted) {
            (l.stop_wanted, l.pane.stopping) = (true, true);
            let stored = self.store.want_stop(l.key.run);
            self.note_db(stored);
            let by = json!({"by": "suite"});
            self.emit(&Event::new(
                l.key.run,
                l.key.attempt,
                now,
                "stop-wanted",
                by,
            ));
        }
        self.accepted = accepted;
    }

    /// Sends a command to a run's monitor; the client hears when it is done.
    pub(crate) fn command(
        &mut self,
        run: u64,
        client: Token,
        id: Option<Value>,
        make: impl FnOnce(u64) -> ToMonitor,
    ) -> Result<(), Refusal> {
        let Some(l) = self.runs.get_mut(&run) else {
            return Err(self.no_such_run(run));
        };
        let Some(monitor) = l.monitor else {
            let message = format!("run {run} is not ready for commands");
            return Err(Refusal::new("conflict", message));
        };
        self.last_command += 1;
        let token = self.last_command;
        let until = Instant::now() + COMMAND_PATIENCE;
        l.commands.insert(token, Waiting { client, id, until });
        self.out.push_back(Out::Monitor(monitor, make(token)));
        Ok(())
    }

    fn command_done(&mut self, run: u64, token: u64, error: &str) {
        let Some(l) = self.runs.get_mut(&run) else {
            return;
        };
        if let Some(w) = l.commands.remove(&token) {
            let outcome = if error.is_empty() {
                Ok(json!({"run": run, "done": true}))
            } else {
                Err(Refusal::new("conflict", error))
            };
            self.release_client(w, outcome);
        }
    }

    /// The monitor is gone: nobody will answer.
    pub(crate) fn commands_lost(&mut self, run: u64) {
        let Some(l) = self.runs.get_mut(&run) else {
            return;
        };
        for (_, w) in std::mem::take(&mut l.commands) {
            self.release_client(w, Err(gone()));
        }
    }

    fn release_client(&mut self, w: Waiting, outcome: Result<Value, Refusal>) {
        self.answer_waiting(w.client, w.id, outcome, Promise::Nothing);
    }

    /// The next moment at which a run needs something.
    pub(crate) fn next_run_deadline(&self) -> Option<Instant> {
        self.runs
            .values()
            .flat_map(|l| {
                let command = l.commands.values().map(|w| w.until).min();
                [l.deadline, l.stalls_at(), command]
            })
            .flatten()
            .min()
    }

    /// Does what is due.
    pub(crate) fn run_deadlines(&mut self, now: Instant) {
        let due = |t: Option<Instant>| t.is_some_and(|t| now >= t);
        if self.next_run_deadline().is_none_or(|t| now < t) {
            return;
        }
        let runs: Vec<u64> = self.runs.keys().copied().collect();
        for run in runs {
            let Some(l) = self.runs.get_mut(&run) else {
                continue;
            };
            if due(l.stalls_at()) {
                l.pane.stalled = true;
                let quiet = now.duration_since(l.last_activity).as_secs();
                self.stalled_changed(run, "stalled", json!({ "quiet_seconds": quiet }));
            }
            self.late_commands(run, now);
            if due(self.runs.get(&run).and_then(|l| l.deadline)) {
                self.happened(run, Happened::Deadline);
            }
        }
    }

    fn late_commands(&mut self, run: u64, now: Instant) {
        let Some(l) = self.runs.get_mut(&run) else {
            return;
        };
        let late: Vec<u64> = l
            .commands
            .iter()
            .filter(|(_, w)| now >= w.until)
            .map(|(t, _)| *t)
            .collect();
        for token in late {
            if let Some(w) = self
                .runs
                .get_mut(&run)
                .and_then(|l| l.commands.remove(&token))
            {
                let message = "the agent has not answered yet; it may still act on it";
                self.release_client(w, Err(Refusal::new("unavailable", message)));
            }
        }
    }
}

fn gone() -> Refusal {
    Refusal::new("conflict", "the run is over")
}
