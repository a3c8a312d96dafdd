//! The ledger: what becomes of each planned occurrence, entered once.

use libcolibri::config::hash;
use libcolibri::msg::Planned;
use libcolibri::schedule::{CatchUp, Overlap, Rule, Schedule};
use libcolibri::{info, sys};
use serde_json::json;

use super::policy::{
    self, jitter_ms, look, made_up_for, most_in_window, Step, Verdict, GRACE_MS, WINDOW_MS,
};
use super::views::local;
use crate::board::ask::{CancelTask, CreateTask};
use crate::board::lifecycle::Status;
use crate::board::Actor;
use crate::engine::Engine;
use crate::event::{or_null, Event, OCCURRENCE};
use crate::request::Refusal;
use crate::store::{DbResult, OccurrenceRow, ScheduleRow, Stands, TaskRow};
use crate::time::rfc3339;

/// Open occurrences that are looked at: more than one only where `overlap` was changed.
const OPEN_MAX: u32 = 100;
/// Of those that come more often in a day nobody counts.
const HOURLY: u64 = 25;
/// Waiting ones: no more are let in.
const WAITING_MAX: u32 = policy::QUEUE_MAX as u32;

/// What schedd can have said that is not done.
pub(super) const EARLY: &str = "it is not due yet";
const UNKNOWN: &str = "there is no such schedule";
const NEVER: &str = "it is not planned for then";

/// A schedule as it begins.
pub(super) fn new_row(
    name: &str,
    spec: &Schedule,
    declared: bool,
    by_uid: u32,
    now: u64,
) -> ScheduleRow {
    let (start, _) = spec.span().unwrap_or_default();
    let begin = start.unwrap_or(now).max(now);
    let (anchor_ms, next_ms) = match spec.rule() {
        // The first one is at the start if there is one.
        Ok(Rule::Every(ms)) => (start.map_or(now, |s| s.saturating_sub(ms)), None),
        Ok(Rule::FromEnd(ms)) if start.is_none() => (now, Some(now + ms)),
        Ok(Rule::FromEnd(_)) => (now, Some(begin)),
        _ => (now, None),
    };
    ScheduleRow {
        schedule: 0,
        name: name.to_owned(),
        declared,
        spec: spec.clone(),
        by_uid,
        created_ms: now,
        anchor_ms,
        high_ms: now,
        floor_ms: 0,
        next_ms,
        paused: None,
        failures: 0,
        retired_ms: None,
    }
}

impl Engine {
    /// Decides about an occurrence that schedd says is due; `Some`: why it is not believed.
    pub(super) fn occurrence_due(
        &mut self,
        id: u64,
        planned: Planned,
        more: bool,
        until_ms: Option<u64>,
    ) -> DbResult<Option<&'static str>> {
        let now = sys::wall_ms();
        let Some(mut s) = self.store.schedule(id)? else {
            return Ok(Some(UNKNOWN));
        };
        if s.retired_ms.is_some() {
            return Ok(None); // it was on its way
        }
        if planned.at_ms > now || until_ms.is_some_and(|u| u > now) {
            return Ok(Some(EARLY));
        }
        let start = s.spec.span().ok().and_then(|(start, _)| start);
        // The clock was set back to before the start, which schedd knows only of one that had not
        // come yet.
        let before = |at_ms: u64| start.is_some_and(|start| at_ms < start);
        if before(until_ms.unwrap_or(planned.at_ms)) {
            return Ok(None);
        }
        let known = self.store.occurrence(id, planned.at_ms)?;
        // Its row was forgotten, so it was there: it had its turn.
        let forgotten =
            known.is_none() && planned.at_ms <= s.floor_ms && s.next_ms != Some(planned.at_ms);
        let new = known.is_none() && !forgotten && !before(planned.at_ms);
        if new && !(can_be_planned(&s, planned, now) && self.has_room(&s, planned)?) {
            return Ok(Some(NEVER));
        }
        let late_ms = now - planned.at_ms;
        let on_time = late_ms <= GRACE_MS && !more;
        let mut o = match known {
            Some(o) if o.status == Stands::Missed => o,
            // It was skipped by a clock that was ahead, which has been set right.
            Some(o) if on_time && matches!(o.why.as_deref(), Some("missed" | "late")) => o,
            None if new => entry(id, planned, now),
            // It had its turn, but what comes after it in the same span may have had none.
            _ if until_ms.is_some_and(|u| u > s.high_ms) => entry(
                id,
                Planned {
                    at_ms: s.high_ms.max(planned.at_ms) + 1,
                    ..planned
                },
                now,
            ),
            _ => return Ok(None), // it had its turn
        };
        let latest = planned.at_ms.max(until_ms.unwrap_or(0));
        // If it lies ahead of the clock, that was set back: from here on it goes with the clock
        // again.
        s.high_ms = match s.high_ms > now {
            true => latest,
            false => s.high_ms.max(latest),
        };
        self.store.save_progress(&s)?;
        (o.until_ms, o.why, o.reason) = (until_ms, None, String::new());
        if let Some(until) = until_ms {
            let all = format!("missed, with all others up to {}", rfc3339(until));
            self.skip(&mut s, &mut o, "missed", all)?;
        } else {
            match look(&s.spec, s.paused.as_deref(), late_ms, more) {
                Verdict::Fire => self.come(&mut s, &mut o)?,
                Verdict::Missed => self.enter(&s, &mut o, Stands::Missed)?,
                Verdict::Skip(why, reason) => self.skip(&mut s, &mut o, why, reason)?,
            }
        }
        if !more && until_ms.is_none() {
            self.settle(&mut s)?;
        }
        // Not each time: a look at how many there are costs more than an entry.
        if hash(&[id.to_le_bytes(), planned.at_ms.to_le_bytes()].concat()) >> 60 == 0 {
            let keep = self.config.limits.occurrences_kept;
            self.store.expire_occurrences(id, keep)?;
        }
        Ok(None)
    }

    /// Whether a day has room for one more of them.
    fn has_room(&self, s: &ScheduleRow, planned: Planned) -> DbResult<bool> {
        let Ok(Rule::Cron(cron)) = s.spec.rule() else {
            return Ok(true);
        };
        // Not what another rule has planned.
        let from = planned.at_ms.saturating_sub(WINDOW_MS).max(s.anchor_ms);
        let most = most_in_window(&cron);
        Ok(most > HOURLY
            || self
                .store
                .planned_between(s.schedule, from, planned.at_ms)?
                < most)
    }

    /// Enters where an occurrence stands, and tells subscribers.
    fn enter(&mut self, s: &ScheduleRow, o: &mut OccurrenceRow, status: Stands) -> DbResult<()> {
        o.status = status;
        self.store.save_occurrence(o)?;
        let fields = json!({
            "schedule": s.name,
            "planned": rfc3339(o.planned_ms),
            "manual": o.manual,
            "status": status.as_str(),
            "why": o.why,
            "reason": or_null(&o.reason),
            "task": o.task,
        });
        self.emit(&Event::new(0, 0, sys::wall_ms(), OCCURRENCE, fields));
        Ok(())
    }

    fn skip(
        &mut self,
        s: &mut ScheduleRow,
        o: &mut OccurrenceRow,
        why: &str,
        reason: String,
    ) -> DbResult<()> {
        (o.why, o.reason) = (Some(why.to_owned()), reason);
        self.enter(s, o, Stands::Skipped)?;
        self.plan_after_end(s, o)
    }

    /// It is to come to pass, if the one before lets it.
    fn come(&mut self, s: &mut ScheduleRow, o: &mut OccurrenceRow) -> DbResult<()> {
        if s.spec.overlap == Overlap::Allow {
            return self.fire(s, o).map(drop);
        }
        let open = self.store.standing(s.schedule, Stands::Fired, OPEN_MAX)?;
        let waiting = self
            .store
            .standing(s.schedule, Stands::Waiting, WAITING_MAX)?;
        match policy::overlap(&s.spec, open.len(), waiting.len()) {
            Step::Start => self.fire(s, o).map(drop),
            Step::Wait => {
                self.enter(s, o, Stands::Waiting)?;
                // Those before it may wait for nothing any more.
                self.next_waiting(s)
            }
            Step::Busy => {
                let task = open.first().and_then(|o| o.task).unwrap_or(0);
                self.skip(s, o, "overlap", format!("task {task} has not ended"))
            }
            Step::Full => {
                let reason = format!("{} wait already", policy::QUEUE_MAX);
                self.skip(s, o, "overlap", reason)
            }
            Step::Replace => {
                let by = rfc3339(o.planned_ms);
                for mut w in waiting {
                    (w.why, w.reason) = (Some("replaced".into()), format!("by the one of {by}"));
                    self.enter(s, &mut w, Stands::Merged)?;
                }
                self.enter(s, o, Stands::Waiting)?;
                for task in open.iter().filter_map(|o| o.task) {
                    let c = CancelTask {
                        task_id: task,
                        reason: format!("replaced by the occurrence of {by}"),
                    };
                    let cancelled = self.cancel_task(Actor::SUITE, &c);
                    if let Err(e) = self.unless_half(cancelled) {
                        info!("schedule {}: task {task} goes on: {}", s.name, e.message);
                    }
                }
                Ok(())
            }
        }
    }

    /// Makes its task: both are stored or neither. Returns why there is none, if there is none.
    fn fire(&mut self, s: &mut ScheduleRow, o: &mut OccurrenceRow) -> DbResult<Option<Refusal>> {
        let now = sys::wall_ms();
        let source = json!({"schedule": s.name, "planned": rfc3339(o.planned_ms)});
        let actor = Actor {
            role: Actor::SUITE.role,
            uid: Some(s.by_uid),
        };
        let made = task_of(s, o, now).check();
        let made = made.and_then(|c| self.create_task(actor, &c, Some(&source)));
        match self.unless_half(made) {
            Ok(task) => {
                o.task = task["id"].as_u64();
                o.fired_ms = Some(now);
                self.enter(s, o, Stands::Fired)?;
                Ok(None)
            }
            Err(e) => {
                self.skip(s, o, "refused", e.message.clone())?;
                Ok(Some(e))
            }
        }
    }

    /// All that was missed is known: the newest come to pass, the others are closed.
    fn settle(&mut self, s: &mut ScheduleRow) -> DbResult<()> {
        let mut missed = self.store.standing(s.schedule, Stands::Missed, u32::MAX)?;
        let Some(last) = missed.last().map(|o| rfc3339(o.planned_ms)) else {
            return Ok(());
        };
        let older = missed.len().saturating_sub(made_up_for(&s.spec));
        for o in missed.iter_mut().take(older) {
            o.why = Some("missed".into());
            if s.spec.catch_up == CatchUp::Latest {
                o.reason = format!("missed; the one of {last} stands for it");
                self.enter(s, o, Stands::Merged)?;
            } else {
                o.reason = "missed, and more than catch_up_max were".into();
                self.enter(s, o, Stands::Skipped)?;
            }
        }
        for o in &mut missed[older..] {
            match s.paused.clone() {
                Some(why) => self.skip(s, o, "paused", format!("paused: {why}"))?,
                None => self.come(s, o)?,
            }
        }
        Ok(())
    }

    /// A person wants one now; its task, or why there is none.
    pub(super) fn run_now(
        &mut self,
        s: &mut ScheduleRow,
        uid: Option<u32>,
    ) -> DbResult<Result<u64, Refusal>> {
        let mut now = sys::wall_ms();
        while self.store.has_manual(s.schedule, now)? {
            now += 1;
        }
        // Without a calendar its time is in UTC.
        let planned = Planned {
            at_ms: now,
            offset_s: 0,
        };
        let mut o = OccurrenceRow {
            manual: true,
            why: Some("manual".into()),
            reason: format!("asked for by uid {}", uid.unwrap_or(0)),
            ..entry(s.schedule, planned, now)
        };
        let refused = self.fire(s, &mut o)?;
        Ok(refused.map_or(Ok(o.task.unwrap_or(0)), Err))
    }

    /// A task has moved: if it is one of a schedule, its occurrence moves with it.
    pub(crate) fn occurrence_moved(&mut self, t: &TaskRow) -> DbResult<()> {
        let Some(mut o) = self.store.occurrence_of_task(t.task)? else {
            return Ok(());
        };
        let Some(mut s) = self.store.schedule(o.schedule)? else {
            return Ok(());
        };
        let ended = match t.status {
            Status::Done => Some(Stands::Done),
            Status::Failed => Some(Stands::Failed),
            Status::Cancelled => Some(Stands::Cancelled),
            _ => None,
        };
        let Some(ended) = ended else {
            if t.status == Status::Started && o.started_ms.is_none() {
                o.started_ms = Some(t.since_ms);
                self.store.save_occurrence(&o)?;
            }
            if o.status == Stands::Fired {
                return Ok(());
            }
            // Somebody has brought the task back from its end.
            o.ended_ms = None;
            return self.enter(&s, &mut o, Stands::Fired);
        };
        o.ended_ms = Some(t.since_ms);
        o.reason.clone_from(&t.reason);
        self.enter(&s, &mut o, ended)?;
        self.count_failures(&mut s, ended)?;
        self.plan_after_end(&mut s, &o)?;
        self.next_waiting(&mut s)
    }

    fn count_failures(&mut self, s: &mut ScheduleRow, ended: Stands) -> DbResult<()> {
        match ended {
            Stands::Failed => s.failures += 1,
            Stands::Done if s.failures > 0 => s.failures = 0,
            _ => return Ok(()),
        }
        let limit = s.spec.pause_after;
        if limit > 0 && s.failures >= limit && s.paused.is_none() {
            s.paused = Some(format!("{} failures in a row", s.failures));
            info!(
                "schedule {}: paused after {} failures in a row",
                s.name, s.failures
            );
        }
        self.store.save_progress(s)
    }

    /// If none is open, the next that waits comes to pass; one that cannot is closed, and the one
    /// after it is next.
    pub(super) fn next_waiting(&mut self, s: &mut ScheduleRow) -> DbResult<()> {
        if s.paused.is_some() || s.retired_ms.is_some() || self.ending {
            return Ok(());
        }
        loop {
            let first = self.store.standing(s.schedule, Stands::Waiting, 1)?.pop();
            let Some(mut o) = first else { return Ok(()) };
            if !self
                .store
                .standing(s.schedule, Stands::Fired, 1)?
                .is_empty()
            {
                return Ok(());
            }
            self.fire(s, &mut o)?;
        }
    }

    /// Nothing comes of it any more. What has its task goes on, what still waits for one is closed.
    pub(super) fn retire(&mut self, s: &mut ScheduleRow, reason: &str) -> DbResult<()> {
        s.retired_ms = Some(sys::wall_ms());
        self.store.save_progress(s)?;
        self.timetable.changed.insert(s.schedule);
        self.close(s, &[Stands::Missed, Stands::Waiting], reason)
    }

    /// Closes what stands there: the rule that planned it is no more.
    pub(super) fn close(
        &mut self,
        s: &ScheduleRow,
        which: &[Stands],
        reason: &str,
    ) -> DbResult<()> {
        for stands in which.iter().copied() {
            for mut o in self.store.standing(s.schedule, stands, u32::MAX)? {
                (o.why, o.reason) = (Some("retired".into()), reason.to_owned());
                self.enter(s, &mut o, Stands::Skipped)?;
            }
        }
        Ok(())
    }

    /// Of a schedule that counts from the end of the last: that is now.
    fn plan_after_end(&mut self, s: &mut ScheduleRow, o: &OccurrenceRow) -> DbResult<()> {
        if let (Ok(Rule::FromEnd(ms)), false) = (s.spec.rule(), o.manual) {
            s.next_ms = Some(sys::wall_ms() + ms);
            self.store.save_progress(s)?;
            self.timetable.changed.insert(s.schedule);
        }
        Ok(())
    }
}

/// A row for an occurrence of which nothing is decided yet.
fn entry(schedule: u64, planned: Planned, now: u64) -> OccurrenceRow {
    OccurrenceRow {
        schedule,
        planned_ms: planned.at_ms,
        manual: false,
        offset_s: planned.offset_s,
        status: Stands::Missed,
        why: None,
        reason: String::new(),
        until_ms: None,
        seen_ms: now,
        fired_ms: None,
        started_ms: None,
        ended_ms: None,
        task: None,
    }
}

/// Whether an honest schedd can say this, as far as that is known without a calendar.
fn can_be_planned(s: &ScheduleRow, planned: Planned, now: u64) -> bool {
    let at_ms = planned.at_ms;
    let fits = match s.spec.rule() {
        Ok(Rule::Cron(cron)) => policy::is_wall_time(&cron, planned),
        Ok(Rule::Every(ms)) => at_ms > s.anchor_ms && (at_ms - s.anchor_ms).is_multiple_of(ms),
        Ok(Rule::Once(at)) => at == at_ms,
        Ok(Rule::FromEnd(_)) => s.next_ms == Some(at_ms),
        Err(_) => false,
    };
    // What lies before the latest is entered already, unless the clock was set back.
    let new = at_ms > s.high_ms || now < s.high_ms || s.next_ms == Some(at_ms);
    fits && new
}

/// The task that the template makes of an occurrence.
fn task_of(s: &ScheduleRow, o: &OccurrenceRow, now: u64) -> CreateTask {
    let fill = |text: &str| {
        text.replace("{planned}", &local(o.planned_ms, o.offset_s))
            .replace("{planned_utc}", &rfc3339(o.planned_ms))
            .replace("{schedule}", &s.name)
    };
    let mut c = CreateTask::new(fill(&s.spec.title), fill(&s.spec.prompt));
    c.capabilities.clone_from(&s.spec.capabilities);
    c.capabilities.sort_unstable();
    c.capabilities.dedup();
    c.agent_id.clone_from(&s.spec.agent);
    c.priority = s.spec.priority;
    c.skills.clone_from(&s.spec.skills);
    c.budget = s.spec.budget;
    let jitter = jitter_ms(&s.spec, s.schedule, o.planned_ms);
    let not_before = o.planned_ms.saturating_add(jitter);
    c.not_before = (!o.manual && not_before > now).then(|| rfc3339(not_before));
    c
}
