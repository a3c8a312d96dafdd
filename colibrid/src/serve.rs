//! Requests of clients: what each command does.

use libcolibri::config::{OnSettled, Role};
use libcolibri::msg::{RunKey, ToMonitor};
use libcolibri::state::{Accounting, Container};
use libcolibri::{debug, sys, warn};
use mio::Token;
use serde_json::{json, Value};

use crate::answers::Promise;
use crate::board::failure::StopWhy;
use crate::board::Actor;
use crate::clients::{Line, OUT_LOW};
use crate::engine::{Engine, LISTENER, SCHEDD};
use crate::event::Event;
use crate::glasspane::{snapshot, Pane};
use crate::request::{open, ListRuns, Refusal, Request, SpawnAgent, Target};
use crate::roles::allows;
use crate::runs::Live;
use crate::store::{DbResult, NewRun, RunFilter, RunRow};
use crate::time::rfc3339;
use crate::views;

/// Requests of one client in a turn of the loop.
const TURN_LINES: usize = 32;
/// Panes of ended agents in a snapshot.
const LAST_PANES: u32 = 256;
/// Version of the public protocol.
const PROTOCOL: u32 = 1;

impl Engine {
    /// Something happened on a client's connection.
    pub(crate) fn client_event(&mut self, token: Token, hung_up: bool) {
        if hung_up {
            self.clients.hung_up(token);
        }
        self.again.push(token);
    }

    /// Goes on with everybody who has something to read.
    ///
    /// # Errors
    /// Only when this process cannot go on.
    pub(crate) fn serve_again(&mut self) -> libcolibri::error::Result<()> {
        let mut tokens = std::mem::take(&mut self.again);
        tokens.sort_unstable();
        tokens.dedup();
        for token in tokens {
            if token == SCHEDD {
                self.hear_schedd()?;
            } else if token == LISTENER {
                self.accept_clients();
            } else if self.monitors.contains_key(&token) {
                self.hear_monitor(token)?;
            } else if self.serve_client(token) {
                self.again.push(token);
            }
        }
        Ok(())
    }

    /// A turn's worth of one client's requests. `true`: there is more.
    fn serve_client(&mut self, token: Token) -> bool {
        self.clients.read(token);
        for _ in 0..TURN_LINES {
            if self.answered(token) > OUT_LOW {
                break;
            }
            match self.clients.next_line(token) {
                None => break,
                Some(Line::Request(line)) => self.request(token, &line),
                Some(Line::TooMany) => {
                    let message =
                        "limits.requests_per_second is exceeded; the request was not read";
                    self.refuse(token, None, Refusal::new("too-many", message));
                }
                Some(Line::TooLong) => {
                    let message = "the request is longer than 1 MiB; the connection ends";
                    self.refuse(token, None, Refusal::new("too-long", message));
                }
            }
        }
        self.clients.get(token).is_some_and(|c| c.wants_turn())
    }

    fn request(&mut self, token: Token, line: &[u8]) {
        self.take_request(token, line, true);
    }

    /// A request that has waited for the watchdog.
    pub(crate) fn request_now(&mut self, token: Token, line: &[u8]) {
        self.take_request(token, line, false);
    }

    fn take_request(&mut self, token: Token, line: &[u8], may_wait: bool) {
        let Some((uid, role)) = self.clients.get(token).map(|c| (c.uid, c.role)) else {
            return;
        };
        let envelope = match open(line) {
            Ok(e) => e,
            Err(why) => return self.refuse(token, None, why),
        };
        let id = envelope.id.clone();
        if let Ok(row) = &envelope.row {
            if !allows(role, row.role) {
                warn!("refused {} to uid {uid}, {}", row.word, role.as_str());
                let message = format!("{} is for the role {}", row.word, row.role.as_str());
                return self.refuse(token, id, Refusal::new("denied", message));
            }
            if may_wait && row.needs_host() {
                match self.park(token, line) {
                    Ok(false) => {}
                    Ok(true) => return,
                    Err(why) => return self.refuse(token, id, why),
                }
            }
            debug!("{} by uid {uid}", row.word);
        }
        let actor = Actor {
            role: role.as_str(),
            uid: Some(uid),
        };
        let row = envelope.row.as_ref().ok().copied();
        let audited = row.filter(|r| r.is_audited());
        let audited = audited.map(|r| (r.word, envelope.object()));
        let before = std::mem::take(&mut self.concluded);
        let outcome = match envelope.request() {
            Ok(r) => self.perform(token, actor, &id, r),
            Err(why) => Err(why),
        };
        // Something that cannot be taken back was done to a living run.
        let done = self.concluded;
        self.concluded |= before;
        if let (Ok(data), Some((word, object))) = (&outcome, audited) {
            self.remember(actor, word, object, data.as_ref(), done);
        }
        let promise = match row {
            Some(_) if done => Promise::Stored,
            Some(r) if r.role != Role::Observer => Promise::Accepted,
            _ => Promise::Nothing,
        };
        match outcome {
            Ok(Some(data)) => self.answer(token, id, Ok(data), promise),
            Ok(None) => {}
            Err(why) => self.refuse(token, id, why),
        }
    }

    /// Does what was asked. `None`: the answer comes another way.
    fn perform(
        &mut self,
        token: Token,
        actor: Actor,
        id: &Option<Value>,
        request: Request,
    ) -> Result<Option<Value>, Refusal> {
        let uid = actor.uid.unwrap_or(0);
        match request {
            Request::Ping => Ok(Some(json!({}))),
            Request::Status
            | Request::Snapshot
            | Request::ExplainRun(_)
            | Request::Subscribe(_) => {
                self.at_end_of_turn(token, id, request);
                Ok(None)
            }
            Request::Audit => {
                self.audit(token, id.clone());
                Ok(None)
            }
            Request::ListRuns(l) => Ok(Some(self.list_runs(&l)?)),
            Request::GetRun(r) => {
                let row = self.row(r.run)?;
                let pane = self.pane_of(&row);
                Ok(Some(views::run_in_full(&row, &pane)))
            }
            Request::SpawnAgent(s) => Ok(Some(self.spawn_agent(uid, s)?)),
            Request::StopAgent(t) => {
                let run = self.target(t)?;
                Ok(Some(self.stop_agent(run, uid)?))
            }
            Request::Steer(s) => self.wait_for(token, id, s.target(), |t| ToMonitor::Steer {
                token: t,
                text: s.message,
            }),
            Request::Abort(r) => self.wait_for(token, id, r, |t| ToMonitor::Abort { token: t }),
            Request::Answer(target, request, reply) => {
                self.wait_for(token, id, target, |t| ToMonitor::Answer {
                    token: t,
                    request,
                    reply,
                })
            }
            Request::ListAudit(l) => Ok(Some(self.list_audit(&l)?)),
            Request::Intake(i) => {
                let taken = self.intake(token, actor, id, *i);
                self.unless_half(taken)
            }
            Request::Board(ask) => Ok(Some(self.board(actor, ask)?)),
            Request::Schedule(ask) => self.schedules(token, id, actor, ask),
            Request::Skill(ask) => Ok(Some(self.skills(actor, ask)?)),
        }
    }

    /// What shows the state is answered when everything of this turn is durable and numbered, so
    /// that a snapshot is exact at its sequence number.
    fn at_end_of_turn(&mut self, token: Token, id: &Option<Value>, request: Request) {
        if let Some(c) = self.clients.get(token) {
            c.busy = true;
        }
        self.late.push((token, id.clone(), request));
    }

    /// Answers what waited for the end of the turn.
    pub(crate) fn serve_late(&mut self) {
        for (token, id, request) in std::mem::take(&mut self.late) {
            let outcome = match &request {
                Request::Snapshot => self.snapshot(),
                Request::Subscribe(s) => self.subscribe(token, s),
                Request::ExplainRun(r) => self.explain(r.run),
                _ => self.status(),
            };
            self.answer_waiting(token, id, outcome, Promise::Nothing);
        }
    }

    pub(crate) fn wait_for(
        &mut self,
        token: Token,
        id: &Option<Value>,
        target: Target,
        make: impl FnOnce(u64) -> ToMonitor,
    ) -> Result<Option<Value>, Refusal> {
        let run = self.target(target)?;
        self.command(run, token, id.clone(), make)?;
        self.concluded = true;
        if let Some(c) = self.clients.get(token) {
            c.busy = true;
        }
        Ok(None)
    }

    fn spawn_agent(&mut self, uid: u32, s: SpawnAgent) -> Result<Value, Refusal> {
        if self.ending {
            return Err(Refusal::new("unavailable", "the suite is stopping"));
        }
        if let Some(s) = &self.stuck {
            return Err(s.refusal());
        }
        let Some((at, profile)) = self.config.profile(&s.profile) else {
            let message = format!(
                "there is no profile {:?}",
                libcolibri::record::clip(&s.profile, 64)
            );
            return Err(Refusal::new("not-found", message));
        };
        let limit = self.config.limits.runs as usize;
        if self.runs.len() + self.accepted.len() >= limit {
            let message = format!("limits.runs is reached: {limit} runs are alive");
            return Err(Refusal::new("too-many", message));
        }
        self.need_descriptor()?;
        self.host_allows_one()?;
        let agent = profile.agent.clone();
        let accepted = self.accept_run(at, &agent, s.prompt, uid, None);
        let (key, seq) = accepted.map_err(|e| unavailable(&e))?;
        Ok(json!({"run": key.run, "attempt": key.attempt, "seq": seq}))
    }

    /// Accepts a run by the profile of this index; it begins with the commit. Returns its key and
    /// the number of its first event.
    pub(crate) fn accept_run(
        &mut self,
        profile: u32,
        agent: &str,
        prompt: String,
        by_uid: u32,
        of_task: Option<u64>,
    ) -> DbResult<(RunKey, u64)> {
        let profile = &self.config.profiles[profile as usize];
        let now = sys::wall_ms();
        let nobody = RunKey { run: 0, attempt: 0 };
        let mut pane = Pane::new(nobody, agent, &profile.name, now);
        pane.stays = profile.on_settled == OnSettled::Stay;
        pane.cwd = Some(profile.cwd.display().to_string());
        let (run, attempt) = self.store.accept(&NewRun {
            profile: &pane.profile,
            agent: &pane.agent,
            prompt: &prompt,
            by_uid,
            at_ms: now,
            pane: &pane.stored(),
            of_task,
        })?;
        (pane.run, pane.attempt) = (run, attempt);
        self.store.save_pane(run, &pane.stored())?;
        let mut fields = json!({
            "profile": pane.profile, "agent": pane.agent, "cwd": pane.cwd, "by_uid": by_uid,
        });
        if let (Some(o), Some(task)) = (fields.as_object_mut(), of_task) {
            o.insert("task".into(), task.into());
        }
        let seq = self.emit(&Event::new(run, attempt, now, "run-created", fields));
        let key = RunKey { run, attempt };
        self.accepted
            .push(Live::new(&self.config, key, pane, prompt));
        Ok((key, seq))
    }

    /// The run that a command is for: of a task, the one that is alive.
    pub(crate) fn target(&self, t: Target) -> Result<u64, Refusal> {
        let Some(task) = t.task_id else {
            return Ok(t.run.unwrap_or(0));
        };
        let of_task = |l: &&Live| l.task.as_ref().is_some_and(|tag| tag.task == task);
        if let Some(l) = self.runs.values().find(of_task) {
            return Ok(l.key.run);
        }
        match self.store.task(task) {
            Ok(Some(t)) => {
                let message = format!("task {task} is {}: no run is alive", t.status.as_str());
                Err(Refusal::new("conflict", message))
            }
            Ok(None) => Err(Refusal::new(
                "not-found",
                format!("there is no task {task}"),
            )),
            Err(e) => Err(unavailable(&e)),
        }
    }

    fn stop_agent(&mut self, run: u64, uid: u32) -> Result<Value, Refusal> {
        if self.runs.contains_key(&run) {
            // Also when it was wanted before: that may not be stored yet.
            self.concluded = true;
            self.want_stop(run, StopWhy::Run, json!({ "by_uid": uid }));
            return Ok(json!({"run": run, "state": "stopping"}));
        }
        if self.accepted.iter().any(|l| l.key.run == run) {
            return Err(Refusal::new("conflict", "the run is just being accepted"));
        }
        self.row(run)?;
        Ok(json!({"run": run, "state": "ended"}))
    }

    /// The row of a run.
    pub(crate) fn row(&self, run: u64) -> Result<RunRow, Refusal> {
        match self.store.run(run) {
            Ok(Some(row)) => Ok(row),
            Ok(None) => Err(self.no_such_run(run)),
            Err(e) => Err(unavailable(&e)),
        }
    }

    /// The refusal of a run that is not alive.
    pub(crate) fn no_such_run(&self, run: u64) -> Refusal {
        match self.store.run(run) {
            Ok(Some(_)) => Refusal::new("conflict", format!("run {run} has ended")),
            _ => Refusal::new("not-found", format!("there is no run {run}")),
        }
    }

    /// The pane of a run, the living one where there is one.
    pub(crate) fn pane_of(&self, row: &RunRow) -> Pane {
        let key = RunKey {
            run: row.run,
            attempt: row.attempt,
        };
        let alive = self.runs.get(&row.run).map(|l| l.pane.clone());
        alive
            .or_else(|| views::stored_pane(row))
            .unwrap_or_else(|| Pane::new(key, &row.agent, &row.profile, row.created_ms))
    }

    fn list_runs(&self, l: &ListRuns) -> Result<Value, Refusal> {
        let filter = RunFilter {
            before: l.before.unwrap_or(u64::MAX),
            alive: l.alive,
            limit: l.limit,
        };
        let view = |r: &RunRow| views::run(r, &self.pane_of(r));
        let runs = self.store.runs(&filter, view);
        Ok(json!({ "runs": runs.map_err(|e| unavailable(&e))? }))
    }

    /// The living agents, and the last run of every other: one pane per agent at least.
    fn panes(&self) -> Result<Vec<Pane>, Refusal> {
        let last = self
            .store
            .last_panes(LAST_PANES)
            .map_err(|e| unavailable(&e))?;
        let ended = last
            .iter()
            .filter(|(run, _)| !self.runs.contains_key(run))
            .filter_map(|(_, text)| serde_json::from_str(text).ok());
        let alive = self.runs.values().map(|l| l.pane.clone());
        Ok(alive.chain(ended).collect())
    }

    pub(crate) fn snapshot(&self) -> Result<Value, Refusal> {
        if let Some(s) = &self.stuck {
            // What is in memory is ahead of the events that were told.
            return Err(s.refusal());
        }
        let panes = self.panes()?.iter().map(Pane::value).collect();
        let seq = self.ring.published();
        Ok(snapshot(&self.names.host, sys::wall_ms(), seq, panes))
    }

    fn status(&self) -> Result<Value, Refusal> {
        let total = self.store.count_runs().map_err(|e| unavailable(&e))?;
        let panes = self.panes()?;
        let container = self.spawnd.container;
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "protocol": PROTOCOL,
            "host": self.names.host,
            "pid": std::process::id(),
            "started_at": rfc3339(self.started_ms),
            "kept": self.kept,
            "separate": self.names.separate,
            "confined": {"colibrid": self.mechanism},
            "container": container.map(Container::as_str),
            "container_proof": container.is_some_and(Container::is_proof),
            "run_limits": self.spawnd.accounting.map(Accounting::as_str),
            "warnings": self.all_warnings(),
            "watchdog": self.watchdog_view(),
            "hostd": self.hostd_view(),
            "seq": self.ring.published(),
            "runs": {"alive": self.runs.len(), "limit": self.config.limits.runs, "total": total},
            "tasks": self.columns()?,
            "attention": panes.iter().filter(|p| p.needs_attention()).count(),
            "stopping": self.ending,
            "profiles": self.config.profiles.iter().map(|p| &p.name).collect::<Vec<_>>(),
            "panes": panes.iter().map(Pane::value).collect::<Vec<_>>(),
        }))
    }

    /// What is weaker here than it could be, in sentences for operators.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        let mut out = Vec::new();
        if !self.kept {
            out.push("no keeper: if the suite dies, nothing starts it again");
        }
        if self.unheard {
            out.push("there was no syslogd: the log is lost until the suite is started again");
        }
        if !self.names.separate {
            out.push("users are not separated: daemons and agents run as one user");
        }
        if !self.spawnd.container.is_some_and(Container::is_proof) {
            out.push(
                "runs are held by a reaper only: a stop is shown by search, not by the kernel",
            );
        }
        let limited = self
            .config
            .profiles
            .iter()
            .any(|p| !p.run_limits.is_empty());
        if limited && self.spawnd.accounting != Some(Accounting::On) {
            out.push("limits of whole runs (run_memory, run_processes, run_cpu) are not in force");
        }
        if self.mechanism == "seccomp" {
            out.push(
                "confined by seccomp without Landlock: held directories are guarded by modes only",
            );
        }
        out
    }
}

/// The refusal when the database does not do its work.
pub(crate) fn unavailable(e: &rusqlite::Error) -> Refusal {
    Refusal::new("unavailable", format!("the database refuses: {e}"))
}
