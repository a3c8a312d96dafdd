//! Schedules: what is planned, what has become of it, and the conversation with schedd about it.
//!
//! The database is the truth: schedd is told from it and can say at any time again what it said
//! before. What an occurrence leads to is entered together with its task in one transaction, so
//! that there is no moment at which it is lost or can come twice. All of it is decided on what is
//! stored: when a commit fails it is given up whole, schedd is told again from what is stored, and
//! says again what is due. While the disk takes no writes, what schedd says is only noted.

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
    /// The database has the declared schedules as the config has them: true until a commit fails.
    agrees: bool,
    /// Told to schedd up to this number; `None`: all of them.
    fed: Option<u64>,
    /// schedd is to be told with the commit.
    changed: BTreeSet<u64>,
    /// Something of these was written in this turn.
    handled: BTreeSet<u64>,
    /// schedd is to be told again, but not at once. Until then nothing that it says of them is
    /// heard: a later occurrence that is entered would hide an earlier one that is not.
    again: BTreeSet<u64>,
    /// schedd is to forget these before it is told again: until it has, what it says of them may
    /// have been said before.
    crossing: BTreeSet<u64>,
    crossed: Crossed,
    again_at: Option<Instant>,
    /// Schedules whose zone is not in the database of zones.
    pub(crate) no_zone: BTreeSet<u64>,
    /// Words of schedd that no honest one says.
    wrong: u32,
    /// What schedd was asked for clients, by the first token.
    questions: BTreeMap<u64, Question>,
    last_token: u64,
}

/// Whether schedd has forgotten what it is to be told again.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Crossed {
    /// It does.
    #[default]
    Yes,
    /// It is to be told to, with the commit.
    Wanted,
    /// It was asked to say so.
    Asked,
}

/// Asks schedd to say that it has read what came before.
const AGAIN: u64 = 2;

impl Timetable {
    /// Before schedd was told of anything.
    pub(crate) fn new() -> Timetable {
        Timetable {
            fed: Some(0),
            ..Timetable::default()
        }
    }

    /// schedd is to be told again of some, but not at once.
    fn rest(&mut self, schedules: impl IntoIterator<Item = u64>) {
        self.again.extend(schedules);
        let at = Instant::now() + REST;
        self.again_at.get_or_insert(at);
    }

    /// What schedd says of it is not heard: it will be said again.
    fn is_deaf_to(&self, id: u64) -> bool {
        self.again.contains(&id) || self.crossing.contains(&id)
    }
}

impl Engine {
    /// The schedules' part of a turn, before the commit.
    pub(crate) fn schedules_turn(&mut self) {
        let t = &self.timetable;
        if t.agrees || t.again_at.is_some() || self.ending || !self.store.takes_decisions() {
            return;
        }
        self.timetable.agrees = true;
        if let Err(e) = self.declare_schedules() {
            self.store.spoil();
            self.schedules_rest();
            error!("cannot store the declared schedules: {e}");
        }
    }

    /// Brings the declared schedules into the database: new ones, changed ones, and those that are
    /// declared no more.
    fn declare_schedules(&mut self) -> DbResult<()> {
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
                    self.retire(&mut s, "the schedule is declared no more")?;
                }
            }
        }
        for (name, spec) in &declared {
            let known = self.store.schedule_named(name)?;
            match known.filter(|s| s.retired_ms.is_none()) {
                None => {
                    let mut s = ledger::new_row(name, spec, true, 0, now);
                    self.store.add_schedule(&mut s)?;
                    self.timetable.changed.insert(s.schedule);
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
                    self.timetable.changed.insert(s.schedule);
                }
            }
        }
        Ok(())
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
        if !self.ready || self.stuck.is_some() {
            return Ok(());
        }
        for id in std::mem::take(&mut self.timetable.changed) {
            if self.timetable.is_deaf_to(id) {
                continue; // it will be told again
            }
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
        if self.timetable.crossed == Crossed::Wanted {
            self.timetable.crossed = Crossed::Asked;
            for id in &self.timetable.crossing {
                self.schedd.send(&ToSchedd::Drop { id: *id })?;
            }
            self.schedd.send(&ToSchedd::Ping { token: AGAIN })?;
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
        t.agrees = false;
        if t.crossed == Crossed::Wanted {
            t.crossed = Crossed::Yes;
            t.again.append(&mut t.crossing);
        }
        let handled = std::mem::take(&mut t.handled);
        let changed = std::mem::take(&mut t.changed);
        t.rest(handled.into_iter().chain(changed));
    }

    fn schedule_rests(&mut self, id: u64, e: &rusqlite::Error) {
        error!("cannot read schedule {id}: {e}");
        self.timetable.rest([id]);
    }

    /// When schedd is to be told again of something.
    pub(crate) fn schedule_wait(&self) -> Option<Instant> {
        let t = &self.timetable;
        let can = self.stuck.is_none() && t.crossed == Crossed::Yes;
        t.again_at.filter(|_| can)
    }

    /// That time has come.
    pub(crate) fn schedules_again(&mut self, now: Instant) {
        if self.schedule_wait().is_some_and(|at| now >= at) {
            let t = &mut self.timetable;
            t.again_at = None;
            t.crossing = std::mem::take(&mut t.again);
            if !t.crossing.is_empty() {
                t.crossed = Crossed::Wanted;
            }
        }
    }

    /// schedd has forgotten what it was to forget, and is told again. `false`: it was not asked.
    pub(crate) fn crossed(&mut self, token: u64) -> bool {
        let t = &mut self.timetable;
        let asked = token == AGAIN && t.crossed == Crossed::Asked;
        if asked {
            t.crossed = Crossed::Yes;
            t.changed.append(&mut t.crossing);
        }
        asked
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
        let t = &mut self.timetable;
        if !self.store.takes_decisions() {
            t.rest([id]);
        }
        if t.is_deaf_to(id) {
            return Ok(()); // it will be told of again
        }
        self.timetable.handled.insert(id);
        match self.occurrence_due(id, planned, more, until_ms) {
            Ok(None) => {}
            Ok(Some(wrong)) => {
                if wrong == ledger::EARLY {
                    self.timetable.rest([id]);
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
