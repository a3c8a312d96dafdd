//! Schedules: what is planned, what has become of it, and the conversation with schedd about it.
//!
//! The database is the truth: schedd is told from it and can say at any time again what it said
//! before. What an occurrence leads to is entered together with its task in one transaction, so
//! that there is no moment at which it is lost or can come twice.

pub mod ask;
mod ledger;
pub mod policy;
mod serve;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libcolibri::error::{Fatal, Result};
use libcolibri::msg::{Planned, ToSchedd, When};
use libcolibri::schedule::Rule;
use libcolibri::{error, info, sys};

use crate::engine::Engine;
use crate::store::{DbResult, ScheduleRow, Stands};

pub(crate) use serve::Question;

/// Schedules that are told to schedd in one turn of the loop.
const LOT: u32 = 500;
/// How long before schedd is told again of what could not be stored or was said too early.
const REST: Duration = Duration::from_secs(5);
/// So many words that an honest schedd does not say are borne in a suite's life: a clock that is
/// set back between schedd's look at it and ours makes an honest one say some.
const WRONG_MAX: u32 = 1000;

/// What the loop remembers of schedules: only what the database and schedd do not know of each
/// other yet.
#[derive(Default)]
pub struct Timetable {
    /// Told to schedd up to this number; `None`: all of them.
    fed: Option<u64>,
    /// schedd is to be told with the commit.
    changed: BTreeSet<u64>,
    /// Something of these was written in this turn.
    handled: BTreeSet<u64>,
    /// schedd is to be told again, but not at once.
    again: BTreeSet<u64>,
    again_at: Option<Instant>,
    /// Schedules whose zone is not in the database of zones.
    pub(crate) no_zone: BTreeSet<u64>,
    /// Words of schedd that no honest one says.
    wrong: u32,
    /// What schedd was asked for clients, by the first token.
    questions: BTreeMap<u64, Question>,
    last_token: u64,
}

impl Engine {
    /// Brings the declared schedules into the database: new ones, changed ones, and those that are
    /// declared no more.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) fn declare_schedules(&mut self) -> DbResult<()> {
        let now = sys::wall_ms();
        let declared = self.config.schedules.clone();
        let names: BTreeSet<&str> = declared.iter().map(|(n, _)| n.as_str()).collect();
        let mut after = 0;
        loop {
            let lot = self.store.schedules(after, LOT)?;
            let Some(last) = lot.last() else { break };
            after = last.schedule;
            for mut s in lot {
                if s.declared && !names.contains(s.name.as_str()) {
                    info!("schedule {} is declared no more: retired", s.name);
                    s.retired_ms = Some(now);
                    self.store.save_schedule(&s)?;
                }
            }
        }
        for (name, spec) in &declared {
            let known = self.store.schedule_named(name)?;
            match known.filter(|s| s.retired_ms.is_none()) {
                None => {
                    self.store
                        .add_schedule(&mut ledger::new_row(name, spec, true, 0, now))?;
                }
                Some(s) if s.declared && s.spec == *spec => {}
                Some(mut s) => {
                    if s.spec.rule() != spec.rule() || s.spec.start != spec.start {
                        let fresh = ledger::new_row(name, spec, true, 0, now);
                        // Nothing of the new rule was planned before it was there.
                        (s.high_ms, s.anchor_ms) = (s.high_ms.max(now), fresh.anchor_ms);
                        s.next_ms = fresh.next_ms;
                    }
                    (s.declared, s.spec) = (true, spec.clone());
                    self.store.save_schedule(&s)?;
                }
            }
        }
        self.timetable.fed = Some(0);
        self.store.commit()
    }

    /// What schedd is to know of a schedule. `None`: nothing.
    fn set_of(&self, s: &ScheduleRow) -> DbResult<Option<ToSchedd>> {
        let (Ok(rule), Ok((start, end)), None) = (s.spec.rule(), s.spec.span(), s.retired_ms)
        else {
            return Ok(None);
        };
        // After a clock that was set back, what lies between is told of again, and known.
        let mut after_ms = s.high_ms.min(sys::wall_ms());
        if let Some(open) = self.store.standing(s.schedule, Stands::Missed)?.first() {
            after_ms = after_ms.min(open.planned_ms.saturating_sub(1));
        }
        after_ms = after_ms.max(start.map_or(0, |s| s.saturating_sub(1)));
        let when = match rule {
            Rule::Cron(cron) => When::Cron(cron),
            Rule::Every(every_ms) => When::Every {
                anchor_ms: s.anchor_ms,
                every_ms,
            },
            Rule::Once(at_ms) => When::Once { at_ms },
            Rule::FromEnd(_) => {
                let Some(at_ms) = s.next_ms else {
                    return Ok(None);
                };
                after_ms = after_ms.min(at_ms.saturating_sub(1));
                When::Once { at_ms }
            }
        };
        Ok(Some(ToSchedd::Set {
            id: s.schedule,
            after_ms,
            until_ms: end.unwrap_or(u64::MAX),
            when,
            zone: zone_of(&s.spec.zone, when),
        }))
    }

    /// After the commit: tells schedd what it does not know yet, as fast as it takes it.
    ///
    /// # Errors
    /// When schedd is gone.
    pub(crate) fn feed_schedd(&mut self) -> Result<()> {
        self.timetable.handled.clear();
        if !self.ready {
            return Ok(());
        }
        for id in std::mem::take(&mut self.timetable.changed) {
            let told = self.store.schedule(id).and_then(|s| match s {
                Some(s) => self.set_of(&s),
                None => Ok(None),
            });
            match told {
                Ok(set) => {
                    self.timetable.no_zone.remove(&id);
                    self.schedd.send(&set.unwrap_or(ToSchedd::Drop { id }))?;
                }
                Err(e) => self.schedule_rests(id, &e),
            }
        }
        let Some(after) = self.timetable.fed else {
            return Ok(());
        };
        if self.schedd.chan.is_pending() {
            return Ok(()); // the socket says when it goes on
        }
        let sets = self.store.schedules(after, LOT).and_then(|lot| {
            let sets = lot.iter().map(|s| self.set_of(s));
            let sets = sets.collect::<DbResult<Vec<_>>>()?;
            Ok((lot.last().map(|s| s.schedule), sets))
        });
        let (last, sets) =
            sets.map_err(|e| Fatal::new(format!("cannot read the schedules: {e}")))?;
        for set in sets.iter().flatten() {
            self.schedd.send(set)?;
        }
        self.timetable.fed = last;
        if last.is_some() {
            self.again.push(crate::engine::SCHEDD);
        }
        Ok(())
    }

    /// What this turn wrote was not stored: schedd is to say it again.
    pub(crate) fn schedules_rest(&mut self) {
        let t = &mut self.timetable;
        let all = std::mem::take(&mut t.handled).into_iter();
        t.again.extend(all.chain(std::mem::take(&mut t.changed)));
        if !t.again.is_empty() {
            t.again_at.get_or_insert_with(|| Instant::now() + REST);
        }
    }

    fn schedule_rests(&mut self, id: u64, e: &rusqlite::Error) {
        error!("cannot read schedule {id}: {e}");
        self.timetable.again.insert(id);
        self.timetable
            .again_at
            .get_or_insert_with(|| Instant::now() + REST);
    }

    /// When schedd is to be told again of something.
    pub(crate) fn schedule_wait(&self) -> Option<Instant> {
        self.timetable.again_at
    }

    /// That time has come.
    pub(crate) fn schedules_again(&mut self, now: Instant) {
        let t = &mut self.timetable;
        if t.again_at.is_some_and(|at| now >= at) {
            t.again_at = None;
            t.changed.append(&mut t.again);
        }
    }

    /// schedd said what an honest one does not say, or hardly ever: it is not done.
    ///
    /// # Errors
    /// When it was too often.
    fn not_believed(&mut self, id: u64, planned: Planned, what: &str) -> Result<()> {
        self.timetable.wrong += 1;
        let n = self.timetable.wrong;
        if n.is_power_of_two() {
            let at = crate::time::rfc3339(planned.at_ms);
            error!(
                "ignored word of colibri-schedd about schedule {id} at {at}: {what} (number {n})"
            );
        }
        if n > WRONG_MAX {
            return Err(Fatal::new(
                "colibri-schedd says too much that is wrong: it is not to be trusted",
            ));
        }
        Ok(())
    }

    /// An occurrence is due, or with `until_ms` so many that they are told of as one.
    ///
    /// # Errors
    /// When schedd is not to be trusted.
    pub(crate) fn hear_due(
        &mut self,
        id: u64,
        planned: Planned,
        more: bool,
        until_ms: Option<u64>,
    ) -> Result<()> {
        if self.ending {
            return Ok(()); // it will be told of again
        }
        self.timetable.handled.insert(id);
        match self.occurrence_due(id, planned, more, until_ms) {
            Ok(None) => {}
            Ok(Some(wrong)) => {
                if wrong == ledger::EARLY {
                    self.timetable.again.insert(id);
                    let at = Instant::now() + REST;
                    self.timetable.again_at.get_or_insert(at);
                }
                return self.not_believed(id, planned, wrong);
            }
            Err(e) => {
                self.store.spoil();
                error!("cannot enter an occurrence of schedule {id}: {e}");
                // Also if nothing could be written at all.
                self.schedules_rest();
            }
        }
        Ok(())
    }

    /// schedd does not have the zone.
    pub(crate) fn hear_no_zone(&mut self, id: u64) {
        if let Ok(Some(s)) = self.store.schedule(id) {
            if self.timetable.no_zone.insert(id) {
                error!(
                    "schedule {}: there is no time zone {:?}",
                    s.name, s.spec.zone
                );
            }
        }
    }
}

/// The zone that schedd needs: only wall times have one.
fn zone_of(zone: &str, when: When) -> String {
    match when {
        When::Cron(_) => zone.to_owned(),
        _ => String::new(),
    }
}
