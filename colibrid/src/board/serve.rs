//! Requests to the board: what each command does.

use libcolibri::config::{Agent, Holder};
use libcolibri::record::clip;
use libcolibri::state::Usage;
use libcolibri::sys;
use serde_json::{json, Value};

use super::ask::{Ask, CancelTask, ClaimTask, CreateTask, Held, ListTasks, OneTask, Report};
use super::failure::StopWhy;
use super::fit::holds;
use super::lifecycle::{Class, Happened, Status};
use super::moves::{Actor, Outcome};
use super::views::{self, More};
use crate::engine::Engine;
use crate::request::Refusal;
use crate::serve::unavailable;
use crate::store::{ClaimRow, DbResult, NewClaim, NewTask, TaskFilter, TaskRow};
use crate::time::rfc3339;

/// Most moves and claims that are shown of one task: the newest.
const HISTORY_MAX: u32 = 200;
/// Tasks from which an agent's median time is taken: the newest.
const DURATIONS: u32 = 101;

type Reply = Result<Value, Refusal>;

impl Engine {
    /// Does what was asked of the board.
    pub(crate) fn board(&mut self, actor: Actor, ask: Ask) -> Reply {
        let reply = self.answer_board(actor, ask);
        self.unless_half(reply)
    }

    /// What the database refused half-way is not committed.
    pub(crate) fn unless_half<T>(&self, done: Result<T, Refusal>) -> Result<T, Refusal> {
        if matches!(&done, Err(r) if r.code == "unavailable") && !self.ending {
            self.store.spoil();
        }
        done
    }

    fn answer_board(&mut self, actor: Actor, ask: Ask) -> Reply {
        let looks = matches!(ask, Ask::List(_) | Ask::Get(_) | Ask::Stats | Ask::Agents);
        if let (false, Some(s)) = (looks, &self.stuck) {
            return Err(s.refusal());
        }
        match ask {
            Ask::Create(c) => self.create_task(actor, &c, None),
            Ask::List(l) => self.list_tasks(&l),
            Ask::Get(o) => self.get_task(o.task_id),
            Ask::Cancel(c) => self.cancel_task(actor, &c),
            Ask::Retry(o) => self.retry_task(actor, o),
            Ask::Claim(c) => self.claim_task(actor, &c),
            Ask::Heartbeat(h) => self.heartbeat(actor, h),
            Ask::Transition(r) => self.transition_task(actor, r),
            Ask::Stats => self.stats(),
            Ask::Agents => self.list_agents(),
            Ask::Pause(a, paused) => self.pause_agent(&a.agent_id, paused),
            Ask::AddAgent(a) => self.add_agent(&a),
            Ask::RemoveAgent(a) => self.remove_agent(&a.agent_id),
        }
    }

    /// Adds a task. `source` is where it came from and answers go.
    pub(crate) fn create_task(
        &mut self,
        actor: Actor,
        c: &CreateTask,
        source: Option<&Value>,
    ) -> Reply {
        let uid = actor.uid.unwrap_or(0);
        if let Some(key) = &c.key {
            if let Some(task) = db(self.store.task_of_key(uid, key))? {
                let t = self.task(task)?;
                let status = t.status.as_str();
                return Ok(json!({"id": task, "status": status, "existing": true}));
            }
        }
        self.admit(c)?;
        let (not_before, deadline_ms) = c.times()?;
        let now = sys::wall_ms();
        if deadline_ms.is_some_and(|d| d <= now) {
            return Err(Refusal::new("bad-request", "the deadline has passed"));
        }
        let wait_until_ms = not_before.filter(|n| *n > now);
        let mut open = Vec::new();
        for needs in &c.after {
            match self.task(*needs)?.status {
                Status::Done => {}
                Status::Failed | Status::Cancelled => {
                    let message = format!("task {needs} was not done and will not be");
                    return Err(Refusal::new("conflict", message));
                }
                _ => open.push(*needs),
            }
        }
        let waits = wait_until_ms.is_some() || !open.is_empty();
        let source = source.map(Value::to_string);
        let task = db(self.store.add_task(&NewTask {
            status: if waits {
                Status::Waiting
            } else {
                Status::Queued
            },
            title: &c.title,
            description: &c.description,
            capabilities: &c.capabilities,
            only_agent: c.agent_id.as_deref(),
            fits: &self.fits(&c.capabilities, c.agent_id.as_deref()),
            priority: c.priority,
            by_uid: uid,
            at_ms: now,
            wait_until_ms,
            deadline_ms,
            attempts: c.attempts.unwrap_or(self.config.board.attempts),
            retry_on: c.retries()?,
            key: c.key.as_deref(),
            source: source.as_deref(),
            skills: &c.skills,
            budget: c.budget,
        }))?;
        for needs in open {
            db(self.store.add_need(task, needs))?;
        }
        let t = self.task(task)?;
        db(self.note(&t, (None, Some(t.status)), None, actor, ""))?;
        db(self.tell_task(&t, None, None))?;
        self.desk.touched = true;
        Ok(json!({"id": task, "status": t.status.as_str(), "existing": false}))
    }

    /// Whether there is room for one more task, and whether its agent exists.
    fn admit(&self, c: &CreateTask) -> Result<(), Refusal> {
        if self.ending {
            return Err(Refusal::new("unavailable", "the suite is stopping"));
        }
        if let Some(name) = &c.agent_id {
            self.agent(name)?;
        }
        self.need_skills(&c.skills)?;
        let counts = db(self.store.task_counts())?;
        let is_open = |s: &str| s.parse().is_ok_and(|s: Status| !s.is_final());
        let open = counts.iter().filter(|(s, _)| is_open(s));
        let most = self.config.limits.tasks;
        if open.map(|(_, n)| n).sum::<u64>() >= most {
            let message = format!("limits.tasks is reached: {most} tasks are open");
            return Err(Refusal::new("too-many", message));
        }
        Ok(())
    }

    pub(super) fn task(&self, task: u64) -> Result<TaskRow, Refusal> {
        let missing = || Refusal::new("not-found", format!("there is no task {task}"));
        db(self.store.task(task))?.ok_or_else(missing)
    }

    pub(super) fn agent(&self, name: &str) -> Result<&Agent, Refusal> {
        let missing = || {
            let message = format!("there is no agent {:?}", clip(name, 64));
            Refusal::new("not-found", message)
        };
        self.config.agent(name).ok_or_else(missing)
    }

    fn list_tasks(&self, l: &ListTasks) -> Reply {
        let filter = TaskFilter {
            before: l.before.unwrap_or(u64::MAX),
            status: l.status.as_deref().and_then(|s| s.parse().ok()),
            agent: l.agent_id.as_deref(),
            capability: l.capability.as_deref(),
            limit: l.limit,
        };
        let tasks = db(self.store.tasks(&filter, views::task))?;
        Ok(json!({ "tasks": tasks }))
    }

    fn get_task(&self, task: u64) -> Reply {
        let t = self.task(task)?;
        let (needs, why) = (db(self.store.needs(task))?, db(self.why(&t))?);
        let claims = db(self.store.claims(task, HISTORY_MAX))?;
        let log = db(self.store.task_log(task, HISTORY_MAX))?;
        let given = claims.iter().map(|c| self.skills_view(c.claim));
        let given = db(given.collect::<DbResult<Vec<_>>>())?;
        let more = More {
            needs: &needs,
            why: &why,
            claims: &claims,
            given: &given,
            log: &log,
        };
        Ok(views::task_in_full(&t, &more))
    }

    /// A task that nobody works on is cancelled at once, and so is one whose holder is external:
    /// its claim is void. A run is stopped first.
    pub(crate) fn cancel_task(&mut self, actor: Actor, c: &CancelTask) -> Reply {
        let mut t = self.task(c.task_id)?;
        let run = t.status.is_held().then_some(t.run).flatten();
        if let Some(run) = run {
            let Some(tag) = self.runs.get(&run).and_then(|l| l.task.clone()) else {
                let message = format!("task {} is just being started", t.task);
                return Err(Refusal::new("conflict", message));
            };
            let why = format!("cancellation asked for: {}", c.reason);
            let why = why.trim_end_matches([':', ' ']);
            db(self.note(&t, (None, None), None, actor, why))?;
            // It is the reason of the end that is to come.
            db(self.store.give_reason(t.task, &c.reason))?;
            self.note_stop(&tag, StopWhy::Cancel);
            self.want_stop(run, StopWhy::Cancel, json!({ "by_uid": actor.uid }));
            return Ok(json!({"id": t.task, "status": t.status.as_str(), "stopping": true}));
        }
        if !db(self.advance(&mut t, Happened::Cancelled, actor, &c.reason))? {
            let message = format!("task {} is {}", t.task, t.status.as_str());
            return Err(Refusal::new("conflict", message));
        }
        Ok(json!({"id": t.task, "status": t.status.as_str(), "stopping": false}))
    }

    fn retry_task(&mut self, actor: Actor, o: OneTask) -> Reply {
        let mut t = self.task(o.task_id)?;
        let needs = db(self.store.needs(t.task))?;
        if let (Status::Waiting, Some((needs, _))) = (t.status, needs.first()) {
            let message = format!("task {} waits for task {needs}", t.task);
            return Err(Refusal::new("conflict", message));
        }
        if t.for_host {
            let message = format!("task {} waits for the host", t.task);
            return Err(Refusal::new("conflict", message));
        }
        if !db(self.advance(&mut t, Happened::Retried, actor, ""))? {
            let message = format!("task {} is {}", t.task, t.status.as_str());
            return Err(Refusal::new("conflict", message));
        }
        Ok(json!({"id": t.task, "status": t.status.as_str()}))
    }

    /// The external agent of a name, if this client may speak for it.
    fn external(&self, actor: Actor, name: &str) -> Result<&Agent, Refusal> {
        let agent = self.agent(name)?;
        let Holder::External(_) = agent.holder else {
            let message = format!("agent {name} is run by Colibri, which gives it its tasks");
            return Err(Refusal::new("conflict", message));
        };
        let mine = self.names.agents.get(name);
        let speaks = actor
            .uid
            .is_some_and(|u| mine.is_some_and(|m| m.contains(&u)));
        if actor.role != "operator" && !speaks {
            let message = format!("this user does not speak for agent {name}");
            return Err(Refusal::new("denied", message));
        }
        Ok(agent)
    }

    fn claim_task(&mut self, actor: Actor, c: &ClaimTask) -> Reply {
        let agent = self.external(actor, &c.agent_id)?;
        let (name, most) = (agent.name.clone(), agent.runs);
        let now = sys::wall_ms();
        if let Some(hours) = agent.hours.filter(|h| !h.hold(now)) {
            let message = format!("agent {name} takes tasks from {hours}");
            return Err(Refusal::new("conflict", message));
        }
        if db(self.store.agent(&name))?.paused {
            return Err(Refusal::new("conflict", format!("agent {name} is paused")));
        }
        if let Some(skill) = db(self.lacking_skill(agent))? {
            let message = format!("agent {name} lacks its skill {skill}");
            return Err(Refusal::new("conflict", message));
        }
        if db(self.store.held_by(&name))? >= u64::from(most) {
            let message = format!("agent {name} is at its limit of {most}");
            return Err(Refusal::new("too-many", message));
        }
        let task = match c.task_id {
            Some(task) => task,
            None => db(self.next_for(&name))?.ok_or_else(|| {
                Refusal::new("not-found", format!("no queued task fits agent {name}"))
            })?,
        };
        let mut t = self.task(task)?;
        if t.status != Status::Queued {
            let message = format!("task {task} is {}", t.status.as_str());
            return Err(Refusal::new("conflict", message));
        }
        if !holds(&t.fits, &name) {
            let message = format!("task {task} does not fit agent {name}");
            return Err(Refusal::new("conflict", message));
        }
        let (lease_ms, until_ms) = self.lease_ms(c.lease);
        let claim = db(self.store.add_claim(&NewClaim {
            task,
            agent: &name,
            run: None,
            by_uid: actor.uid,
            at_ms: now,
            lease_ms: Some(lease_ms),
        }))?;
        let skills = db(self.skills_for(&t, &name))?;
        db(self.store.use_skills(claim, &skills))?;
        (t.agent, t.claim, t.run) = (Some(name.clone()), Some(claim), None);
        db(self.advance(&mut t, Happened::Claimed, actor, ""))?;
        db(self.seen(&name, now))?;
        Ok(json!({
            "id": task, "claim": claim, "expires_at": rfc3339(until_ms),
            "title": t.title, "description": t.description, "capabilities": t.capabilities,
            "deadline": t.deadline_ms.map(rfc3339), "attempt": t.tries + 1,
            "budget": t.budget, "spent": views::spent(&t),
            "skills": db(self.skills_view(claim))?,
        }))
    }

    /// The queued task that goes next for an agent.
    fn next_for(&self, name: &str) -> DbResult<Option<u64>> {
        let heads = self.store.queue_heads()?;
        let free = [super::fit::Free { name, load: 0 }];
        Ok(super::fit::choose(&heads, &free).map(|(at, _)| heads[at].task))
    }

    /// The task and the claim that a report is about. A claim that is over is refused, and the
    /// report is remembered with the task.
    fn claimed(
        &mut self,
        actor: Actor,
        held: Held,
        report: &str,
    ) -> Result<(TaskRow, ClaimRow), Refusal> {
        let t = self.task(held.task_id)?;
        let claim = db(self.store.claim(held.claim))?;
        let Some(c) = claim.filter(|c| c.task == t.task) else {
            let message = format!("task {} has no claim {}", t.task, held.claim);
            return Err(Refusal::new("not-found", message));
        };
        self.external(actor, &c.agent)?;
        if t.claim == Some(c.claim) {
            return Ok((t, c));
        }
        let why = format!("late {report} refused: claim {} is over", c.claim);
        db(self.note(&t, (None, None), Some(c.claim), actor, &why))?;
        let outcome = c.outcome.as_deref().unwrap_or("over");
        let message = format!(
            "claim {} is over ({outcome}); task {} is {}",
            c.claim,
            t.task,
            t.status.as_str()
        );
        Err(Refusal::new("conflict", message))
    }

    fn heartbeat(&mut self, actor: Actor, h: Held) -> Reply {
        let (mut t, mut c) = self.claimed(actor, h, "heartbeat")?;
        db(self.extend(&mut t, &mut c, sys::wall_ms()))?;
        let until = c.until_ms.map(rfc3339);
        Ok(json!({"id": t.task, "status": t.status.as_str(), "expires_at": until}))
    }

    fn transition_task(&mut self, actor: Actor, r: Report) -> Reply {
        let held = Held {
            task_id: r.task_id,
            claim: r.claim,
        };
        let (mut t, mut c) = self.claimed(actor, held, &r.status)?;
        let now = sys::wall_ms();
        db(self.seen(&c.agent, now))?;
        let happened = match r.status.as_str() {
            "started" => Happened::Started,
            "done" => Happened::Succeeded,
            "queued" => Happened::Returned,
            _ => {
                let class = r.class.as_deref().and_then(|c| c.parse().ok());
                Happened::Failed(class.unwrap_or(Class::Agent))
            }
        };
        if happened == Happened::Started {
            if !db(self.advance(&mut t, happened, actor, &r.reason))? {
                let message = format!("task {} is {}", t.task, t.status.as_str());
                return Err(Refusal::new("conflict", message));
            }
            c.started_ms = Some(now);
            db(self.extend(&mut t, &mut c, now))?;
        } else {
            let outcome = Outcome {
                summary: r.summary,
                exit: None,
                usage: r.usage.map(Usage::from),
            };
            db(self.finish_attempt(&mut t, happened, outcome, actor, &r.reason))?;
        }
        Ok(json!({"id": t.task, "status": t.status.as_str()}))
    }

    /// What is in each column, and since when the oldest task waits for an agent.
    fn stats(&self) -> Reply {
        Ok(json!({
            "tasks": self.columns()?,
            "oldest_queued_at": db(self.store.oldest_queued())?.map(rfc3339),
            "limit": self.config.limits.tasks,
        }))
    }

    /// How many tasks stand where.
    pub(crate) fn columns(&self) -> Reply {
        let counts = db(self.store.task_counts())?;
        let of = |s: &Status| {
            let found = counts.iter().find(|(word, _)| word == s.as_str());
            found.map_or(0, |(_, n)| *n)
        };
        let columns = Status::ALL
            .iter()
            .map(|s| (s.as_str().to_owned(), of(s).into()));
        Ok(Value::Object(columns.collect()))
    }

    fn list_agents(&self) -> Reply {
        let mut agents = Vec::with_capacity(self.config.agents.len());
        for a in &self.config.agents {
            agents.push(db(self.agent_view(a))?);
        }
        Ok(json!({ "agents": agents }))
    }

    fn agent_view(&self, a: &Agent) -> DbResult<Value> {
        let record = self.store.agent(&a.name)?;
        let mut took = self.store.durations(&a.name, DURATIONS)?;
        took.sort_unstable();
        let median = took.get(took.len() / 2).map(|ms| *ms as f64 / 1000.0);
        let panes = self.runs.values().map(|l| &l.pane);
        let mine: Vec<_> = panes.filter(|p| p.agent == a.name).collect();
        let (kind, profile, holds) = match a.holder {
            Holder::Local(p) => {
                let profile = Some(self.config.profiles[p as usize].name.as_str());
                ("local", profile, mine.len() as u64)
            }
            Holder::External(_) => ("external", None, self.store.held_by(&a.name)?),
        };
        // Whoever needs a person speaks for the agent, otherwise the newest run.
        let shown = mine.iter().find(|p| p.needs_attention()).or(mine.last());
        Ok(json!({
            "name": a.name,
            "kind": kind,
            "source": if self.is_added(&a.name) { "command" } else { "config" },
            "profile": profile,
            "host": self.names.host,
            "capabilities": a.capabilities,
            "skills": a.skills,
            "limit": a.runs,
            "holds": holds,
            "paused": record.paused,
            "hours": a.hours.map(|h| h.to_string()),
            "state": shown.map(|p| p.state.as_str()),
            "attention": mine.iter().any(|p| p.needs_attention()),
            "runs": mine.iter().map(|p| p.run).collect::<Vec<_>>(),
            "done": record.done,
            "failed": record.failed,
            "median_seconds": median,
            "cost_usd": record.cost_nano as f64 / 1e9,
            "last_seen": record.seen_ms.map(rfc3339),
        }))
    }

    fn pause_agent(&mut self, name: &str, paused: bool) -> Reply {
        self.agent(name)?;
        let mut record = db(self.store.agent(name))?;
        record.paused = paused;
        db(self.store.save_agent(name, &record))?;
        self.desk.touched = true;
        Ok(json!({"name": name, "paused": paused}))
    }
}

pub(super) fn db<T>(result: DbResult<T>) -> Result<T, Refusal> {
    result.map_err(|e| unavailable(&e))
}
