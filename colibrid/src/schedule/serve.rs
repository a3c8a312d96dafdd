//! Requests about schedules: what each command does. What needs the calendar is answered when
//! schedd has answered.

use libcolibri::error::{Fatal, Result as Fate};
use libcolibri::msg::{Planned, ToSchedd, When};
use libcolibri::record::clip;
use libcolibri::schedule::{Rule, Schedule};
use libcolibri::{info, sys};
use mio::Token;
use serde_json::{json, Value};

use super::ask::{refusal, Ask, List, Occurrences, Preview};
use super::{ledger, views};
use crate::answers::Promise;
use crate::board::ask::time;
use crate::board::Actor;
use crate::engine::Engine;
use crate::request::Refusal;
use crate::serve::unavailable;
use crate::store::{DbResult, ScheduleRow};

/// How many times are told of a schedule that is added or looked at.
const NEXT: u32 = 5;
/// Questions that wait for schedd, all clients together.
const QUESTIONS_MAX: usize = 1000;
/// Parts of questions that schedd has and has not answered: it has other things to do.
const ASKED_MAX: u64 = 64;

type Reply = Result<Value, Refusal>;

/// What a client waits for until schedd has answered.
pub(crate) struct Question {
    client: Token,
    id: Option<Value>,
    what: What,
    /// What schedd is asked, in this order; so many of them it was.
    asks: Vec<ToSchedd>,
    asked: usize,
    plans: Vec<Option<Vec<Planned>>>,
}

impl Question {
    /// Most times that the part which is answered next may have.
    fn most(&self) -> usize {
        match self.asks.get(self.plans.len()) {
            Some(ToSchedd::Ask { most, .. }) => *most as usize,
            _ => 0,
        }
    }
}

enum What {
    /// To add this schedule; its zone has to exist.
    Add(Box<ScheduleRow>),
    /// One, with its next times.
    Get(Box<ScheduleRow>),
    /// Several, by their numbers, with the next time of each.
    List(Vec<u64>),
    /// Times.
    Preview(u32),
}

/// When a schedule is planned, as far as schedd is asked about it.
fn when_of(s: &ScheduleRow) -> Option<When> {
    Some(match s.spec.rule().ok()? {
        Rule::Cron(cron) => When::Cron(cron),
        Rule::Every(every_ms) => When::Every {
            anchor_ms: s.anchor_ms,
            every_ms,
        },
        Rule::FromEnd(_) => When::Once { at_ms: s.next_ms? },
        Rule::Once(at_ms) => When::Once { at_ms },
    })
}

/// One question about a schedule's times within its own span.
fn times(s: &ScheduleRow, from: u64, to: u64, most: u32) -> ToSchedd {
    let (start, end) = s.spec.span().unwrap_or_default();
    let when = when_of(s).filter(|_| s.retired_ms.is_none());
    ToSchedd::Ask {
        token: 0,
        after_ms: from.max(start.map_or(0, |s| s.saturating_sub(1))),
        until_ms: to.min(end.unwrap_or(u64::MAX)),
        most,
        zone: s.spec.zone.clone(),
        when: when.unwrap_or(When::Once { at_ms: 0 }),
    }
}

impl Engine {
    /// Does what was asked about schedules. `None`: the answer comes when schedd has answered.
    pub(crate) fn schedules(
        &mut self,
        client: Token,
        id: &Option<Value>,
        actor: Actor,
        ask: Ask,
    ) -> Result<Option<Value>, Refusal> {
        let looks = matches!(
            ask,
            Ask::List(_) | Ask::Get(_) | Ask::Preview(_) | Ask::Occurrences(_)
        );
        if let (false, Some(s)) = (looks, &self.stuck) {
            return Err(s.refusal());
        }
        let reply = match ask {
            Ask::Add(name, spec) => return self.add(client, id, actor, &name, &spec),
            Ask::List(l) => return self.list(client, id, &l),
            Ask::Get(name) => {
                let s = self.named(&name)?;
                let ask = times(&s, sys::wall_ms(), u64::MAX, NEXT);
                let what = What::Get(Box::new(s));
                return self.ask_schedd(client, id, what, vec![ask]);
            }
            Ask::Preview(p) => return self.preview(client, id, &p),
            Ask::Occurrences(o) => self.ledger_of(&o),
            Ask::Pause(name, reason) => self.pause(actor, &name, &reason),
            Ask::Resume(name) => self.resume(&name),
            Ask::Run(name) => self.run_schedule(actor, &name),
            Ask::Remove(name) => self.remove(&name),
        };
        self.unless_half(reply).map(Some)
    }

    fn named(&self, name: &str) -> Result<ScheduleRow, Refusal> {
        let missing = || {
            let message = format!("there is no schedule {:?}", clip(name, 64));
            Refusal::new("not-found", message)
        };
        db(self.store.schedule_named(name))?.ok_or_else(missing)
    }

    /// One that is not retired.
    fn living(&self, name: &str) -> Result<ScheduleRow, Refusal> {
        let s = self.named(name)?;
        if s.retired_ms.is_some() {
            return conflict(format!("schedule {name} is retired"));
        }
        Ok(s)
    }

    fn add(
        &mut self,
        client: Token,
        id: &Option<Value>,
        actor: Actor,
        name: &str,
        spec: &Schedule,
    ) -> Result<Option<Value>, Refusal> {
        self.may_add(name)?;
        let now = sys::wall_ms();
        let s = ledger::new_row(name, spec, false, actor.uid.unwrap_or(0), now);
        if let Some(agent) = spec
            .agent
            .as_ref()
            .filter(|a| self.config.agent(a).is_none())
        {
            let message = format!("there is no agent {agent:?}");
            return Err(Refusal::new("not-found", message));
        }
        let ask = times(&s, now, u64::MAX, NEXT);
        self.ask_schedd(client, id, What::Add(Box::new(s)), vec![ask])
    }

    fn may_add(&self, name: &str) -> Result<(), Refusal> {
        if self.ending {
            return Err(Refusal::new("unavailable", "the suite is stopping"));
        }
        if db(self.store.schedule_named(name))?.is_some_and(|s| s.retired_ms.is_none()) {
            return conflict(format!("there is a schedule {name} already"));
        }
        let most = self.config.limits.schedules;
        if db(self.store.count_schedules())? >= most {
            let message = format!("limits.schedules is reached: there are {most}");
            return Err(Refusal::new("too-many", message));
        }
        Ok(())
    }

    fn list(
        &mut self,
        client: Token,
        id: &Option<Value>,
        l: &List,
    ) -> Result<Option<Value>, Refusal> {
        let rows = db(self.store.schedules(l.after, l.limit))?;
        if rows.is_empty() {
            return Ok(Some(json!({"schedules": []})));
        }
        let now = sys::wall_ms();
        let asks = rows.iter().map(|s| times(s, now, u64::MAX, 1)).collect();
        let numbers = rows.iter().map(|s| s.schedule).collect();
        self.ask_schedd(client, id, What::List(numbers), asks)
    }

    fn preview(
        &mut self,
        client: Token,
        id: &Option<Value>,
        p: &Preview,
    ) -> Result<Option<Value>, Refusal> {
        let now = sys::wall_ms();
        // That very instant counts.
        let from = time("from", p.from.as_deref())?.map_or(now, |f| f.saturating_sub(1));
        let to = time("to", p.to.as_deref())?.unwrap_or(u64::MAX);
        let s = match (&p.schedule, &p.cron) {
            (Some(name), _) => self.named(name)?,
            (None, cron) => {
                let zone = p.zone.as_deref().unwrap_or("UTC");
                let spec = json!({"title": "preview", "cron": cron, "zone": zone});
                let spec: Schedule = serde_json::from_value(spec)
                    .map_err(|e| Refusal::new("bad-request", e.to_string()))?;
                spec.check().map_err(refusal)?;
                ledger::new_row("preview", &spec, false, 0, now)
            }
        };
        let ask = times(&s, from, to, p.limit);
        self.ask_schedd(client, id, What::Preview(p.limit), vec![ask])
    }

    fn ledger_of(&self, o: &Occurrences) -> Reply {
        let s = self.named(&o.schedule)?;
        let before = time("before", o.before.as_deref())?.unwrap_or(u64::MAX);
        let rows = db(self.store.ledger(s.schedule, before, o.limit))?;
        let rows: Vec<Value> = rows.iter().map(views::occurrence).collect();
        Ok(json!({"schedule": s.name, "occurrences": rows}))
    }

    fn pause(&mut self, actor: Actor, name: &str, reason: &str) -> Reply {
        let mut s = self.living(name)?;
        let why = match reason {
            "" => format!("by uid {}", actor.uid.unwrap_or(0)),
            reason => reason.to_owned(),
        };
        s.paused = Some(why);
        db(self.store.save_progress(&s))?;
        Ok(json!({"schedule": s.name, "state": "paused"}))
    }

    fn resume(&mut self, name: &str) -> Reply {
        let mut s = self.living(name)?;
        (s.paused, s.failures) = (None, 0);
        // After a clock that was ahead it would wait for long.
        if let (Ok(Rule::FromEnd(ms)), Some(next)) = (s.spec.rule(), s.next_ms) {
            s.next_ms = Some(next.min(sys::wall_ms() + ms));
            self.timetable.changed.insert(s.schedule);
        }
        db(self.store.save_progress(&s))?;
        db(self.next_waiting(&mut s))?;
        Ok(json!({"schedule": s.name, "state": "active"}))
    }

    fn run_schedule(&mut self, actor: Actor, name: &str) -> Reply {
        let mut s = self.living(name)?;
        let task = db(self.run_now(&mut s, actor.uid))??;
        Ok(json!({"schedule": s.name, "task": task}))
    }

    fn remove(&mut self, name: &str) -> Reply {
        let mut s = self.living(name)?;
        if s.declared {
            let file = self.config.file.display();
            return conflict(format!("schedule {name} stands in {file}: remove it there"));
        }
        db(self.retire(&mut s, "the schedule was removed"))?;
        info!("schedule {name} was removed");
        Ok(json!({"schedule": s.name, "state": "retired"}))
    }

    fn ask_schedd(
        &mut self,
        client: Token,
        id: &Option<Value>,
        what: What,
        asks: Vec<ToSchedd>,
    ) -> Result<Option<Value>, Refusal> {
        if self.timetable.questions.len() >= QUESTIONS_MAX {
            let message = "too many questions wait for colibri-schedd";
            return Err(Refusal::new("too-many", message));
        }
        let first = self.timetable.last_token + 1;
        let mut asks = asks;
        for (ask, n) in asks.iter_mut().zip(first..) {
            if let ToSchedd::Ask { token, .. } = ask {
                *token = n;
            }
            self.timetable.last_token = n;
        }
        let question = Question {
            client,
            id: id.clone(),
            what,
            asks,
            asked: 0,
            plans: Vec::new(),
        };
        self.timetable.questions.insert(first, question);
        if let Some(c) = self.clients.get(client) {
            c.busy = true;
        }
        Ok(None)
    }

    /// Asks schedd what is still to be asked, a little at a time.
    ///
    /// # Errors
    /// When schedd is gone.
    pub(super) fn ask_on(&mut self) -> Fate<()> {
        let t = &mut self.timetable;
        for q in t.questions.values_mut() {
            while q.asked < q.asks.len() {
                if t.asked == ASKED_MAX || self.schedd.chan.is_pending() {
                    return Ok(());
                }
                self.schedd.send(&q.asks[q.asked])?;
                (q.asked, t.asked) = (q.asked + 1, t.asked + 1);
            }
        }
        Ok(())
    }

    /// schedd has answered a part of a question.
    ///
    /// # Errors
    /// An answer to nothing, or with more than was asked for.
    pub(crate) fn hear_plan(&mut self, token: u64, times: Option<Vec<Planned>>) -> Fate<()> {
        let asked = self.timetable.questions.range_mut(..=token).next_back();
        let Some((first, q)) = asked.filter(|(first, q)| {
            let due = q.plans.len() < q.asked && **first + q.plans.len() as u64 == token;
            due && times.as_ref().is_none_or(|t| t.len() <= q.most())
        }) else {
            return Err(Fatal::new(
                "colibri-schedd answered what it was not asked: it is not to be trusted",
            ));
        };
        q.plans.push(times);
        self.timetable.asked -= 1;
        if q.plans.len() < q.asks.len() {
            return Ok(());
        }
        let first = *first;
        if let Some(q) = self.timetable.questions.remove(&first) {
            self.conclude_question(q);
        }
        Ok(())
    }

    fn conclude_question(&mut self, q: Question) {
        let promise = match q.what {
            What::Add(_) => Promise::Accepted,
            _ => Promise::Nothing,
        };
        let outcome = match q.what {
            What::Add(s) => {
                let added = self.added(*s, q.plans);
                self.unless_half(added)
            }
            What::Get(s) => self.shown(&s, q.plans),
            What::List(numbers) => self.listed(&numbers, q.plans),
            What::Preview(limit) => previewed(limit, q.plans),
        };
        self.answer_waiting(q.client, q.id, outcome, promise);
    }

    fn added(&mut self, mut s: ScheduleRow, plans: Vec<Option<Vec<Planned>>>) -> Reply {
        let next = one_plan(plans).ok_or_else(|| no_zone(&s.spec.zone))?;
        if next.is_empty() {
            let message = "it would never come: its time or its end has passed";
            return Err(Refusal::new("bad-request", message));
        }
        if let Some(s) = &self.stuck {
            return Err(s.refusal());
        }
        // Somebody may have been faster.
        self.may_add(&s.name)?;
        db(self.store.add_schedule(&mut s))?;
        self.timetable.changed.insert(s.schedule);
        let mut object = serde_json::Map::new();
        object.insert("name".into(), s.name.clone().into());
        object.insert("id".into(), s.schedule.into());
        let actor = Actor {
            role: "operator",
            uid: Some(s.by_uid),
        };
        self.remember(actor, "add-schedule", object, None, false);
        let next: Vec<Value> = next.iter().map(views::planned).collect();
        Ok(json!({
            "schedule": s.name, "id": s.schedule, "says": s.spec.describe(), "next": next,
        }))
    }

    fn view(&self, s: &ScheduleRow) -> Reply {
        let last = db(self.store.ledger(s.schedule, u64::MAX, 1))?;
        let no_zone = self.timetable.no_zone.contains(&s.schedule);
        Ok(views::schedule(s, no_zone, last.first()))
    }

    fn shown(&self, s: &ScheduleRow, plans: Vec<Option<Vec<Planned>>>) -> Reply {
        let mut v = self.view(s)?;
        let next = one_plan(plans).unwrap_or_default();
        v["next"] = next.iter().map(views::planned).collect();
        Ok(v)
    }

    fn listed(&self, numbers: &[u64], plans: Vec<Option<Vec<Planned>>>) -> Reply {
        let mut all = Vec::with_capacity(numbers.len());
        for (number, plan) in numbers.iter().zip(plans) {
            let Some(s) = db(self.store.schedule(*number))? else {
                continue;
            };
            let mut v = self.view(&s)?;
            // A thousand of them would be more than a client may have wait for it.
            if let Some(spec) = v["spec"].as_object_mut() {
                spec.remove("prompt");
            }
            v["next"] = plan.iter().flatten().map(views::planned).collect();
            all.push(v);
        }
        Ok(json!({ "schedules": all }))
    }
}

fn previewed(limit: u32, plans: Vec<Option<Vec<Planned>>>) -> Reply {
    let times = one_plan(plans)
        .ok_or_else(|| Refusal::new("bad-request", "zone: there is no such time zone"))?;
    let more = times.len() == limit as usize;
    let times: Vec<Value> = times.iter().map(views::planned).collect();
    Ok(json!({"times": times, "more": more}))
}

fn one_plan(plans: Vec<Option<Vec<Planned>>>) -> Option<Vec<Planned>> {
    plans.into_iter().next().flatten()
}

fn no_zone(zone: &str) -> Refusal {
    let message = format!("zone: there is no time zone {:?}", clip(zone, 64));
    Refusal::new("bad-request", message)
}

fn conflict<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal::new("conflict", message))
}

fn db<T>(result: DbResult<T>) -> Result<T, Refusal> {
    result.map_err(|e| unavailable(&e))
}
