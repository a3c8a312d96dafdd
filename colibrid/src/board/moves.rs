//! A task moves: the step, what is stored of it, who is told, and what follows for others.

use libcolibri::budget::{Spent, SPENT_MAX};
use libcolibri::state::{Exit, State, Usage};
use libcolibri::sys;
use serde_json::{json, Value};

use super::failure::{of_run, RunEnd, StopWhy};
use super::lifecycle::{delay_ms, step, Class, Happened, Policy, Status};
use super::tag::TaskTag;
use crate::engine::Engine;
use crate::event::{exit_of, exit_value, or_null, usage, Event, TASK};
use crate::glasspane::Pane;
use crate::runs::Live;
use crate::store::{ClaimRow, DbResult, LogRow, TaskRow};
use crate::views::stored_pane;

/// Who moves a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// `operator`, `intake`, `agent` or `observer` of a client; `run`; `suite`.
    pub role: &'static str,
    /// Of a client.
    pub uid: Option<u32>,
}

impl Actor {
    /// Colibri itself: time, dispatch, what follows from the end of other tasks.
    pub const SUITE: Actor = Actor {
        role: "suite",
        uid: None,
    };
    /// The run of the task.
    pub const RUN: Actor = Actor {
        role: "run",
        uid: None,
    };
}

/// What a task's attempt left, for its result.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub summary: Option<String>,
    pub exit: Option<String>,
    pub usage: Option<Usage>,
}

/// What the end of an attempt is when nothing of the budget is left for another.
const OVER_BUDGET: Happened = Happened::Failed(Class::Budget);

impl Engine {
    /// Moves a task. `Ok(false)`: that cannot happen to it where it stands.
    pub(super) fn advance(
        &mut self,
        t: &mut TaskRow,
        happened: Happened,
        actor: Actor,
        reason: &str,
    ) -> DbResult<bool> {
        let policy = Policy {
            tries: t.tries,
            attempts: t.attempts,
            on: t.retry_on,
        };
        let Some(next) = step(t.status, happened, policy) else {
            return Ok(false);
        };
        let now = sys::wall_ms();
        let before = t.status;
        t.status = next;
        t.since_ms = now;
        t.reason = reason.to_owned();
        t.for_host = happened == Happened::Held;
        match happened {
            Happened::Failed(class) => {
                t.class = Some(class.as_str().to_owned());
                t.tries += u32::from(before.is_held());
            }
            // A person who wants it again grants it all of its budget again.
            Happened::Retried => (t.tries, t.class, t.spent) = (0, None, Spent::default()),
            _ => {}
        }
        t.wait_until_ms = (next == Status::Waiting && !t.for_host).then(|| {
            let b = &self.config.board;
            now + delay_ms(t.task, t.tries, b.retry_delay, b.retry_delay_max)
        });
        t.ended_ms = next.is_final().then_some(now);
        let claim = t.claim;
        if before.is_held() && !next.is_held() {
            self.end_claim(t, happened)?;
        }
        let held = t.claim.map(|c| self.store.claim(c)).transpose()?.flatten();
        t.due_ms = due(t, held.and_then(|c| c.until_ms));
        self.store.save_task(t)?;
        self.note(t, (Some(before), Some(next)), claim, actor, reason)?;
        self.tell_task(t, Some(before), claim)?;
        self.occurrence_moved(t)?;
        if next.is_final() {
            self.store.meet_needs(t.task, next == Status::Done)?;
            self.store.expire_tasks(self.config.limits.tasks_kept)?;
        }
        self.desk.touched = true;
        Ok(true)
    }

    /// The claim is over: whoever names it from now on is refused.
    fn end_claim(&mut self, t: &mut TaskRow, happened: Happened) -> DbResult<()> {
        let Some(mut c) = t
            .claim
            .take()
            .map(|c| self.store.claim(c))
            .transpose()?
            .flatten()
        else {
            return Ok(());
        };
        c.ended_ms = Some(t.since_ms);
        c.outcome = Some(
            match happened {
                Happened::Failed(class) => class.as_str(),
                Happened::Returned => "returned",
                _ => t.status.as_str(),
            }
            .to_owned(),
        );
        self.store.save_claim(&c)?;
        let mut record = self.store.agent(&c.agent)?;
        match happened {
            Happened::Succeeded => record.done += 1,
            Happened::Failed(_) => record.failed += 1,
            _ => {}
        }
        self.store.save_agent(&c.agent, &record)
    }

    /// Remembers a move, or with `(None, None)` a remark.
    pub(super) fn note(
        &self,
        t: &TaskRow,
        moved: (Option<Status>, Option<Status>),
        claim: Option<u64>,
        actor: Actor,
        reason: &str,
    ) -> DbResult<()> {
        let word = |s: Option<Status>| s.map(|s| s.as_str().to_owned());
        self.store.log_task(
            t.task,
            &LogRow {
                at_ms: sys::wall_ms(),
                moved: (word(moved.0), word(moved.1)),
                by: actor.role.to_owned(),
                by_uid: actor.uid,
                agent: t.agent.clone(),
                claim: claim.or(t.claim),
                run: t.run,
                reason: reason.to_owned(),
            },
        )
    }

    /// Tells subscribers where a task stands now. The end comes with the result.
    pub(super) fn tell_task(
        &mut self,
        t: &TaskRow,
        before: Option<Status>,
        claim: Option<u64>,
    ) -> DbResult<()> {
        let mut fields = json!({
            "task": t.task,
            "status": t.status.as_str(),
            "before": before.map(Status::as_str),
            "title": t.title,
            "claim": claim.or(t.claim),
            "reason": or_null(&t.reason),
        });
        if let Some(o) = fields.as_object_mut() {
            if let Some(agent) = &t.agent {
                o.insert("agent".into(), agent.as_str().into());
            }
            if t.status.is_final() {
                o.insert("summary".into(), t.summary.clone().into());
            }
            if let Some(source) = &t.source {
                o.insert("reply_to".into(), source.clone());
            }
        }
        let of_run = t.status.is_held() || before.is_some_and(Status::is_held);
        let run = t.run.filter(|_| of_run).unwrap_or(0);
        let attempt = self.store.attempt_of(run)?;
        self.emit(&Event::new(run, attempt, t.since_ms, TASK, fields));
        Ok(())
    }

    /// The agent has taken its prompt.
    pub(crate) fn task_started(&mut self, tag: &TaskTag) {
        if self.store.takes_decisions() {
            let stored = self.begin_work(tag);
            self.note_db(stored);
        }
    }

    fn begin_work(&mut self, tag: &TaskTag) -> DbResult<()> {
        let Some((mut t, mut c)) = self.held(tag)? else {
            return Ok(());
        };
        if self.advance(&mut t, Happened::Started, Actor::RUN, "")? {
            c.started_ms = Some(t.since_ms);
            self.store.save_claim(&c)?;
        }
        Ok(())
    }

    /// Makes the moves that runs have caused and that were given up with a commit that failed.
    pub(super) fn catch_up(&mut self) -> DbResult<()> {
        for t in self.store.tasks_behind()? {
            let (Some(run), Some(claim)) = (t.run, t.claim) else {
                continue;
            };
            let tag = TaskTag::new(&t, claim);
            if let Some(l) = self.runs.get(&run) {
                let works = matches!(l.pane.state, State::Idle | State::Working | State::Blocked);
                if works {
                    self.begin_work(&tag)?;
                }
            } else if let Some(row) = self.store.run(run)?.filter(|r| r.ended_ms.is_some()) {
                let key = libcolibri::msg::RunKey {
                    run,
                    attempt: row.attempt,
                };
                let pane = stored_pane(&row)
                    .unwrap_or_else(|| Pane::new(key, &row.agent, &row.profile, row.created_ms));
                let exit = exit_of(&stored(row.exit.as_deref()));
                self.conclude(&tag, run, &pane, exit)?;
            }
        }
        Ok(())
    }

    /// The task and the claim of a run, as long as the task is held by that claim.
    fn held(&self, tag: &TaskTag) -> DbResult<Option<(TaskRow, ClaimRow)>> {
        let task = self.store.task(tag.task)?;
        let claim = self.store.claim(tag.claim)?;
        Ok(task.zip(claim).filter(|(t, c)| t.claim == Some(c.claim)))
    }

    /// A task's run is proven dead: here a local attempt ends, unless it has to wait for the disk.
    pub(crate) fn task_run_ended(&mut self, l: &Live, exit: Option<Exit>) {
        if let (Some(tag), true) = (&l.task, self.store.takes_decisions()) {
            let stored = self.conclude(tag, l.key.run, &l.pane, exit);
            self.note_db(stored);
        }
    }

    fn conclude(
        &mut self,
        tag: &TaskTag,
        run: u64,
        pane: &Pane,
        exit: Option<Exit>,
    ) -> DbResult<()> {
        let Some((mut t, c)) = self.held(tag)? else {
            return Ok(());
        };
        let stop = c.stop.as_deref().and_then(StopWhy::from_word);
        let happened = of_run(&RunEnd {
            state: pane.state,
            reason: &pane.reason,
            exit,
            stop,
        });
        let run = self.store.run(run)?;
        let outcome = Outcome {
            summary: run.and_then(|r| r.answer),
            exit: exit.map(|e| exit_value(e).to_string()),
            usage: Some(pane.usage),
        };
        // What a wanted end was wanted for says more than how the agent took it.
        let reason = match stop.filter(|_| happened != Happened::Succeeded) {
            Some(StopWhy::Cancel) => t.reason.clone(),
            Some(why) => why.reason().to_owned(),
            None => pane.reason.clone(),
        };
        self.finish_attempt(&mut t, happened, outcome, Actor::RUN, &reason)
    }

    /// The end of an attempt with what it left. One that failed is not tried again when nothing of
    /// the budget is left.
    pub(super) fn finish_attempt(
        &mut self,
        t: &mut TaskRow,
        happened: Happened,
        outcome: Outcome,
        actor: Actor,
        reason: &str,
    ) -> DbResult<()> {
        (t.summary, t.exit) = (outcome.summary, outcome.exit);
        t.usage = outcome.usage.map(|u| usage(&u).to_string());
        let taken = outcome.usage.unwrap_or_default();
        t.spent = t.spent.and(&taken);
        let spent = t.budget.is_some_and(|b| b.is_spent(t.spent));
        let policy = Policy {
            tries: t.tries,
            attempts: t.attempts,
            on: t.retry_on,
        };
        let over = match happened {
            Happened::Failed(c) => spent && policy.again(c),
            Happened::Returned => spent,
            _ => false,
        };
        let (happened, reason) = match (over, reason) {
            (false, reason) => (happened, reason.to_owned()),
            (true, "") => (OVER_BUDGET, StopWhy::Budget.reason().to_owned()),
            (true, why) => (OVER_BUDGET, format!("{}: {why}", StopWhy::Budget.reason())),
        };
        let agent = t.agent.clone().unwrap_or_default();
        if self.advance(t, happened, actor, &reason)? && taken.cost_nano_usd > 0 {
            let mut record = self.store.agent(&agent)?;
            let cost = record.cost_nano.saturating_add(taken.cost_nano_usd);
            record.cost_nano = cost.min(SPENT_MAX);
            self.store.save_agent(&agent, &record)?;
        }
        Ok(())
    }

    /// What a task's run has taken so far is known: it is stopped when the budget is spent.
    pub(crate) fn meter(&mut self, run: u64) {
        let Some(l) = self.runs.get(&run) else {
            return;
        };
        let over = |t: &TaskTag| {
            t.budget
                .is_some_and(|b| b.is_spent(t.spent.and(&l.pane.usage)))
        };
        if l.task.as_ref().is_some_and(over) {
            self.want_stop(run, StopWhy::Budget, json!({"by": "budget"}));
        }
    }

    /// The end of a task's run is wanted, stored or not.
    pub(crate) fn note_stop(&mut self, tag: &TaskTag, why: StopWhy) {
        self.concluded = true;
        let stored = self.store.want_end(tag.claim, why.as_str());
        self.note_db(stored);
    }

    /// Tasks whose dependencies have ended: they go on, or fail with them.
    pub(super) fn tell_dependents(&mut self, lot: u32) -> DbResult<()> {
        let met = self.store.take_met_needs(lot)?;
        self.desk.touched |= met.len() == lot as usize;
        for (task, needs, done) in met {
            let Some(mut t) = self.store.task(task)? else {
                continue;
            };
            if !done {
                let why = format!("task {needs} was not done");
                let failed = Happened::Failed(Class::Dependency);
                self.advance(&mut t, failed, Actor::SUITE, &why)?;
            } else if t.wait_until_ms.is_none() && self.store.needs(task)?.is_empty() {
                self.advance(&mut t, Happened::Ready, Actor::SUITE, "")?;
            }
        }
        Ok(())
    }

    /// What time does to tasks.
    pub(super) fn on_time(&mut self, now: u64, lot: u32) -> DbResult<()> {
        let due = self.store.tasks_due(now, lot)?;
        self.desk.touched |= due.len() == lot as usize;
        for mut t in due {
            if t.deadline_ms.is_some_and(|d| d <= now) {
                self.too_late(&mut t)?;
            } else if t.wait_until_ms.is_some_and(|w| w <= now) {
                self.waited(&mut t)?;
            } else if t.status.is_held() {
                let why = "its holder fell silent: the lease ran out";
                let failed = Happened::Failed(Class::Lease);
                self.finish_attempt(&mut t, failed, Outcome::default(), Actor::SUITE, why)?;
            }
        }
        Ok(())
    }

    fn waited(&mut self, t: &mut TaskRow) -> DbResult<()> {
        t.wait_until_ms = None;
        if !self.store.needs(t.task)?.is_empty() {
            t.due_ms = due(t, None);
            return self.store.save_task(t);
        }
        self.advance(t, Happened::Ready, Actor::SUITE, "").map(drop)
    }

    /// A run is stopped first, and the task fails when it is dead; everything else fails at once.
    fn too_late(&mut self, t: &mut TaskRow) -> DbResult<()> {
        let local = t.status.is_held().then_some(t.run).flatten();
        let Some(run) = local.filter(|r| self.runs.contains_key(r)) else {
            let late = Happened::Failed(Class::Deadline);
            let why = StopWhy::Deadline.reason();
            return self.advance(t, late, Actor::SUITE, why).map(drop);
        };
        t.due_ms = None;
        self.store.save_task(t)?;
        self.want_stop(run, StopWhy::Deadline, json!({"by": "deadline"}));
        Ok(())
    }

    /// Stores a heartbeat: the claim holds on from now.
    pub(super) fn extend(&mut self, t: &mut TaskRow, c: &mut ClaimRow, now: u64) -> DbResult<()> {
        c.until_ms = c.lease_ms.map(|l| now.saturating_add(l));
        t.due_ms = due(t, c.until_ms);
        self.store.save_claim(c)?;
        self.store.save_task(t)?;
        self.seen(&c.agent, now)?;
        self.desk.touched = true;
        Ok(())
    }

    /// An external agent was heard of.
    pub(super) fn seen(&self, agent: &str, now: u64) -> DbResult<()> {
        let mut record = self.store.agent(agent)?;
        record.seen_ms = Some(now);
        self.store.save_agent(agent, &record)
    }

    /// Where a run's words belong: its task, and where answers go.
    pub(crate) fn tag_of(&self, run: u64, task: Option<u64>) -> Option<TaskTag> {
        let t = self.store.task(task?).ok().flatten()?;
        let claim = t.claim.filter(|_| t.run == Some(run))?;
        Some(TaskTag::new(&t, claim))
    }
}

/// When time next matters for a task; `lease` is until when an external holder's claim holds.
pub(super) fn due(t: &TaskRow, lease: Option<u64>) -> Option<u64> {
    if t.status.is_final() {
        return None;
    }
    let times = [t.wait_until_ms, t.deadline_ms, lease];
    times.into_iter().flatten().min()
}

/// JSON that is stored as text; null for what is not there.
pub(super) fn stored(text: Option<&str>) -> Value {
    let value = text.and_then(|t| serde_json::from_str(t).ok());
    value.unwrap_or(Value::Null)
}
