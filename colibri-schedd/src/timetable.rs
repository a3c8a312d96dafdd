//! What is due: a state machine over schedules and a clock. It does not know what a schedule is
//! for, reads no clock and tells what it has to tell by return values.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::tz::TimeZone;
use libcolibri::msg::{FromSchedd, ToSchedd, When};

use crate::calendar::{next, planned};
use crate::zones::Zones;

/// Missed occurrences of one schedule that are told of one by one: the newest.
pub const MISSED_MAX: usize = 1000;
/// A clock that is set back by more than this, in milliseconds, starts the calendar anew from
/// there; by less it is waited for.
pub const BACK_MS: u64 = 60_000;
/// As long as something is planned the clock is looked at so often, in milliseconds: it may have
/// been set, and no system tells of it alike.
pub const LOOK_MS: u64 = 60_000;

struct Entry {
    when: When,
    /// Nothing up to here counts.
    after_ms: u64,
    until_ms: u64,
    /// When it is due next; `None` if it is over.
    next_ms: Option<u64>,
    zone: u16,
    /// What was missed has been counted and is being told of.
    counted: bool,
}

impl Entry {
    fn next(&self, zones: &Zones, after_ms: u64) -> Option<u64> {
        next(&self.when, zones.get(self.zone), after_ms).filter(|t| *t <= self.until_ms)
    }
}

/// All schedules, by their numbers.
pub struct Timetable {
    zones: Zones,
    entries: BTreeMap<u64, Entry>,
    /// Time and number of what is due next of each schedule.
    due: BTreeSet<(u64, u64)>,
    /// The clock when it was looked at last.
    seen_ms: u64,
}

impl Timetable {
    /// An empty one.
    #[must_use]
    pub fn new(zones: Zones) -> Timetable {
        Timetable {
            zones,
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            seen_ms: 0,
        }
    }

    /// Takes in what colibrid says; the reply, if there is one to be made at once.
    pub fn hear(&mut self, said: ToSchedd) -> Option<FromSchedd> {
        match said {
            ToSchedd::Ping { token } => return Some(FromSchedd::Pong { token }),
            ToSchedd::Set {
                id,
                after_ms,
                until_ms,
                when,
                zone,
            } => {
                self.forget(id);
                let Some(zone) = self.zones.find(&zone) else {
                    return Some(FromSchedd::NoZone { id });
                };
                let mut entry = Entry {
                    when,
                    after_ms,
                    until_ms,
                    next_ms: None,
                    zone,
                    counted: false,
                };
                entry.next_ms = entry.next(&self.zones, after_ms);
                self.due.extend(entry.next_ms.map(|t| (t, id)));
                self.entries.insert(id, entry);
            }
            ToSchedd::Drop { id } => self.forget(id),
            ToSchedd::Ask {
                token,
                after_ms,
                until_ms,
                most,
                when,
                zone,
            } => {
                let zone = self.zones.find(&zone);
                let times = zone.map(|zone| {
                    let zone = self.zones.get(zone);
                    let first = next(&when, zone, after_ms);
                    let all = std::iter::successors(first, |t| next(&when, zone, *t));
                    let wanted = all.take_while(|t| *t <= until_ms).take(most as usize);
                    wanted.map(|t| planned(zone, t)).collect()
                });
                return Some(FromSchedd::Plan { token, times });
            }
        }
        None
    }

    fn forget(&mut self, id: u64) {
        if let Some(next) = self.entries.remove(&id).and_then(|e| e.next_ms) {
            self.due.remove(&(next, id));
        }
    }

    /// What is due at `now_ms`, the earliest first, at most `most` messages.
    pub fn due(&mut self, now_ms: u64, most: usize) -> Vec<FromSchedd> {
        if now_ms.saturating_add(BACK_MS) < self.seen_ms {
            self.anew(now_ms);
        }
        self.seen_ms = now_ms;
        let mut told = Vec::new();
        while told.len() < most {
            let Some((at, id)) = self.due.first().copied().filter(|(t, _)| *t <= now_ms) else {
                break;
            };
            self.due.pop_first();
            told.extend(self.tell(id, at, now_ms));
        }
        told
    }

    /// One occurrence, or those before the newest ones, and what is due after it.
    fn tell(&mut self, id: u64, at: u64, now_ms: u64) -> Option<FromSchedd> {
        let entry = self.entries.get_mut(&id)?;
        let zone = self.zones.get(entry.zone);
        let planned = planned(zone, at);
        let until_ms = match entry.counted {
            true => None,
            false => passed(&entry.when, zone, at, now_ms.min(entry.until_ms)),
        };
        entry.next_ms = entry.next(&self.zones, until_ms.unwrap_or(at));
        entry.counted = entry.next_ms.is_some_and(|t| t <= now_ms);
        self.due.extend(entry.next_ms.map(|t| (t, id)));
        Some(match until_ms {
            Some(until_ms) => FromSchedd::Passed {
                id,
                planned,
                until_ms,
            },
            None => FromSchedd::Due {
                id,
                planned,
                more: entry.counted,
            },
        })
    }

    /// The clock was set back: what is planned from now on counts, but for what had not begun to
    /// count before. What was told of before is told of again; colibrid knows that it had its turn.
    fn anew(&mut self, now_ms: u64) {
        self.due.clear();
        for (id, entry) in &mut self.entries {
            let begun = entry.after_ms <= self.seen_ms;
            let from_ms = if begun { now_ms } else { entry.after_ms };
            entry.next_ms = entry.next(&self.zones, from_ms);
            entry.counted = false;
            self.due.extend(entry.next_ms.map(|t| (t, *id)));
        }
    }

    /// Milliseconds from `now_ms` until the clock has to be looked at; `None` if nothing is planned.
    #[must_use]
    pub fn wait_ms(&self, now_ms: u64) -> Option<u64> {
        let (at, _) = self.due.first()?;
        Some(at.saturating_sub(now_ms).min(LOOK_MS))
    }

    /// How many schedules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// If more than [`MISSED_MAX`] occurrences from `first` on are over at `now_ms`: the end of those
/// that are older than the newest.
fn passed(when: &When, zone: &TimeZone, first: u64, now_ms: u64) -> Option<u64> {
    // No kind is planned more often: cron once a minute.
    let shortest = match when {
        When::Cron(_) => 60_000,
        When::Every { every_ms, .. } => *every_ms,
        When::Once { .. } => return None,
    };
    let whole = now_ms.saturating_sub(first) + 1;
    let mut window = shortest.saturating_mul(MISSED_MAX as u64);
    // At first as many as there can be at most; four times as many at most each time after, so that
    // what is counted here does not grow with what was missed.
    while whole > window {
        window = window.saturating_mul(4).min(whole);
        let from = now_ms - window;
        let all = std::iter::successors(next(when, zone, from), |t| next(when, zone, *t));
        let mut newest = VecDeque::with_capacity(MISSED_MAX);
        for t in all.take_while(|t| *t <= now_ms) {
            if newest.len() == MISSED_MAX {
                newest.pop_front();
            }
            newest.push_back(t);
        }
        if newest.len() == MISSED_MAX {
            // The first one may be among them.
            return newest.front().map(|t| t - 1).filter(|t| *t >= first);
        }
    }
    None
}
