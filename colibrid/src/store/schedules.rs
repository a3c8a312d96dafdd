//! Schedules and their ledger: one row for each planned occurrence.

use libcolibri::schedule::Schedule;
use rusqlite::{params, OptionalExtension, Row};

use super::pending::Sort;
use super::{DbResult, Store};

/// `high_ms` is the latest planned time that has a row: nothing before it is asked for again.
/// `next_ms` is the planned time of a schedule that counts from the end of its last occurrence.
/// `floor_ms` is the latest that was forgotten: what lies at or before it had its turn.
/// A row with `until_ms` stands for all that was planned from its own time to there.
pub(super) const TABLES: &str = "
CREATE TABLE schedules (
    schedule INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    declared INTEGER NOT NULL,
    spec TEXT NOT NULL,
    by_uid INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    anchor_ms INTEGER NOT NULL,
    high_ms INTEGER NOT NULL,
    floor_ms INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER,
    paused TEXT,
    failures INTEGER NOT NULL DEFAULT 0,
    retired_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX schedules_name ON schedules (name) WHERE retired_ms IS NULL;
CREATE INDEX schedules_retired ON schedules (name, schedule) WHERE retired_ms IS NOT NULL;
CREATE TABLE occurrences (
    schedule INTEGER NOT NULL REFERENCES schedules (schedule),
    planned_ms INTEGER NOT NULL,
    manual INTEGER NOT NULL DEFAULT 0,
    offset_s INTEGER NOT NULL,
    status TEXT NOT NULL,
    why TEXT,
    reason TEXT NOT NULL DEFAULT '',
    until_ms INTEGER,
    seen_ms INTEGER NOT NULL,
    fired_ms INTEGER,
    started_ms INTEGER,
    ended_ms INTEGER,
    task INTEGER,
    PRIMARY KEY (schedule, planned_ms, manual)
) STRICT, WITHOUT ROWID;
CREATE INDEX occurrences_task ON occurrences (task) WHERE task IS NOT NULL;
CREATE INDEX occurrences_open ON occurrences (schedule, status, planned_ms)
    WHERE status IN ('missed', 'waiting', 'fired');
";

/// A schedule.
#[derive(Debug, Clone)]
pub struct ScheduleRow {
    /// Its number: what schedd knows it by. Never used again.
    pub schedule: u64,
    /// Its name.
    pub name: String,
    /// Whether it stands in the config.
    pub declared: bool,
    /// What it is.
    pub spec: Schedule,
    /// Who added it; 0 for the config.
    pub by_uid: u32,
    /// When, milliseconds since 1970.
    pub created_ms: u64,
    /// From when on intervals are counted.
    pub anchor_ms: u64,
    /// The latest planned time that has a row.
    pub high_ms: u64,
    /// What was planned up to here and has no row had its turn and was forgotten.
    pub floor_ms: u64,
    /// Of one that counts from the end of the last: when it is planned.
    pub next_ms: Option<u64>,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    /// Failures in a row.
    pub failures: u32,
    /// When it was removed.
    pub retired_ms: Option<u64>,
}

/// Where an occurrence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// It was missed; what becomes of it is decided when all that was missed is known.
    Missed,
    /// For the end of the one before.
    Waiting,
    /// It has a task.
    Fired,
    /// The task is done.
    Done,
    /// The task failed.
    Failed,
    /// The task was cancelled.
    Cancelled,
    /// Nothing came of it.
    Skipped,
    /// A later one stands for it.
    Merged,
}

impl Stands {
    const ALL: [Stands; 8] = [
        Stands::Missed,
        Stands::Waiting,
        Stands::Fired,
        Stands::Done,
        Stands::Failed,
        Stands::Cancelled,
        Stands::Skipped,
        Stands::Merged,
    ];

    /// The word in the protocol and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stands::Missed => "missed",
            Stands::Waiting => "waiting",
            Stands::Fired => "fired",
            Stands::Done => "done",
            Stands::Failed => "failed",
            Stands::Cancelled => "cancelled",
            Stands::Skipped => "skipped",
            Stands::Merged => "merged",
        }
    }

    fn from_word(word: &str) -> Option<Stands> {
        Stands::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

/// A planned occurrence.
#[derive(Debug, Clone)]
pub struct OccurrenceRow {
    /// Of which schedule.
    pub schedule: u64,
    /// When it was planned, milliseconds since 1970.
    pub planned_ms: u64,
    /// A person asked for it, outside of the calendar.
    pub manual: bool,
    /// Distance of its zone from UTC then, in seconds.
    pub offset_s: i32,
    /// Where it stands.
    pub status: Stands,
    /// Why nothing came of it, as a word.
    pub why: Option<String>,
    /// The same as a sentence; may be empty.
    pub reason: String,
    /// It stands for all that were planned up to here.
    pub until_ms: Option<u64>,
    /// When it was entered.
    pub seen_ms: u64,
    /// When its task was made.
    pub fired_ms: Option<u64>,
    /// When work began.
    pub started_ms: Option<u64>,
    /// When its task ended.
    pub ended_ms: Option<u64>,
    /// Its task.
    pub task: Option<u64>,
}

const COLUMNS: &str = "schedule, name, declared, spec, by_uid, created_ms, anchor_ms, high_ms,
    next_ms, paused, failures, retired_ms, floor_ms FROM schedules";

fn schedule_row(r: &Row<'_>) -> DbResult<ScheduleRow> {
    let spec: String = r.get(3)?;
    Ok(ScheduleRow {
        schedule: r.get(0)?,
        name: r.get(1)?,
        declared: r.get(2)?,
        spec: serde_json::from_str(&spec).map_err(|_| super::tasks::strange(3))?,
        by_uid: r.get(4)?,
        created_ms: r.get(5)?,
        anchor_ms: r.get(6)?,
        high_ms: r.get(7)?,
        next_ms: r.get(8)?,
        paused: r.get(9)?,
        failures: r.get(10)?,
        retired_ms: r.get(11)?,
        floor_ms: r.get(12)?,
    })
}

const ROWS: &str = "schedule, planned_ms, manual, offset_s, status, why, reason, until_ms, seen_ms,
    fired_ms, started_ms, ended_ms, task FROM occurrences";

fn occurrence_row(r: &Row<'_>) -> DbResult<OccurrenceRow> {
    let status: String = r.get(4)?;
    Ok(OccurrenceRow {
        schedule: r.get(0)?,
        planned_ms: r.get(1)?,
        manual: r.get(2)?,
        offset_s: r.get(3)?,
        status: Stands::from_word(&status).ok_or_else(|| super::tasks::strange(4))?,
        why: r.get(5)?,
        reason: r.get(6)?,
        until_ms: r.get(7)?,
        seen_ms: r.get(8)?,
        fired_ms: r.get(9)?,
        started_ms: r.get(10)?,
        ended_ms: r.get(11)?,
        task: r.get(12)?,
    })
}

impl Store {
    /// Adds a schedule and gives it its number.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn add_schedule(&self, s: &mut ScheduleRow) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "INSERT INTO schedules (name, declared, spec, by_uid, created_ms, anchor_ms,
                 high_ms, next_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                s.name,
                s.declared,
                spec_text(&s.spec),
                s.by_uid,
                s.created_ms,
                s.anchor_ms,
                s.high_ms,
                s.next_ms
            ],
        )?;
        s.schedule = self.db.last_insert_rowid() as u64;
        Ok(())
    }

    /// Stores what its occurrences and its users change of a schedule: not what it is, which may be
    /// long.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn save_progress(&self, s: &ScheduleRow) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "UPDATE schedules SET high_ms = ?2, next_ms = ?3, paused = ?4, failures = ?5,
                 retired_ms = ?6 WHERE schedule = ?1",
            params![
                s.schedule,
                s.high_ms,
                s.next_ms,
                s.paused,
                s.failures,
                s.retired_ms
            ],
        )?;
        Ok(())
    }

    /// Stores a schedule that is declared anew.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn save_schedule(&self, s: &ScheduleRow) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "UPDATE schedules SET declared = ?2, spec = ?3, anchor_ms = ?4, high_ms = ?5,
                 next_ms = ?6, paused = ?7, failures = ?8, retired_ms = ?9 WHERE schedule = ?1",
            params![
                s.schedule,
                s.declared,
                spec_text(&s.spec),
                s.anchor_ms,
                s.high_ms,
                s.next_ms,
                s.paused,
                s.failures,
                s.retired_ms
            ],
        )?;
        Ok(())
    }

    /// One schedule, also a retired one.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn schedule(&self, id: u64) -> DbResult<Option<ScheduleRow>> {
        if i64::try_from(id).is_err() {
            return Ok(None); // no number is that large
        }
        self.db
            .prepare_cached(&format!("SELECT {COLUMNS} WHERE schedule = ?1"))?
            .query_row([id], schedule_row)
            .optional()
    }

    /// The schedule of a name; a retired one only if there is no other.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn schedule_named(&self, name: &str) -> DbResult<Option<ScheduleRow>> {
        // Two questions, since each has an index of its own.
        let one = |which: &str| {
            self.db
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} WHERE name = ?1 AND {which} ORDER BY schedule DESC LIMIT 1"
                ))?
                .query_row([name], schedule_row)
                .optional()
        };
        match one("retired_ms IS NULL")? {
            None => one("retired_ms IS NOT NULL"),
            living => Ok(living),
        }
    }

    /// Schedules that are not retired, by number.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn schedules(&self, after: u64, limit: u32) -> DbResult<Vec<ScheduleRow>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} WHERE schedule > ?1 AND retired_ms IS NULL
             ORDER BY schedule LIMIT ?2"
        ))?;
        let rows = stmt.query_map(params![after, limit], schedule_row)?;
        rows.collect()
    }

    /// How many are not retired.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn count_schedules(&self) -> DbResult<u64> {
        self.db
            .prepare_cached("SELECT count(*) FROM schedules WHERE retired_ms IS NULL")?
            .query_row([], |r| r.get(0))
    }

    /// Enters an occurrence, or what has become of it.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn save_occurrence(&self, o: &OccurrenceRow) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "INSERT INTO occurrences VALUES
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
                 ON CONFLICT (schedule, planned_ms, manual) DO UPDATE SET
                 status = ?5, why = ?6, reason = ?7, until_ms = ?8, fired_ms = ?10,
                 started_ms = ?11, ended_ms = ?12, task = ?13",
            params![
                o.schedule,
                o.planned_ms,
                o.manual,
                o.offset_s,
                o.status.as_str(),
                o.why,
                o.reason,
                o.until_ms,
                o.seen_ms,
                o.fired_ms,
                o.started_ms,
                o.ended_ms,
                o.task
            ],
        )?;
        Ok(())
    }

    /// One planned occurrence.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn occurrence(&self, schedule: u64, planned_ms: u64) -> DbResult<Option<OccurrenceRow>> {
        let sql = format!("SELECT {ROWS} WHERE schedule = ?1 AND planned_ms = ?2 AND manual = 0");
        self.db
            .prepare_cached(&sql)?
            .query_row(params![schedule, planned_ms], occurrence_row)
            .optional()
    }

    /// Whether a person asked for one at that very moment.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn has_manual(&self, schedule: u64, at_ms: u64) -> DbResult<bool> {
        self.db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM occurrences
                 WHERE schedule = ?1 AND planned_ms = ?2 AND manual = 1)",
            )?
            .query_row(params![schedule, at_ms], |r| r.get(0))
    }

    /// How many were planned after `from_ms` and before `to_ms`.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn planned_between(&self, schedule: u64, from_ms: u64, to_ms: u64) -> DbResult<u64> {
        self.db
            .prepare_cached(
                "SELECT count(*) FROM occurrences WHERE schedule = ?1 AND manual = 0
                 AND planned_ms > ?2 AND planned_ms < ?3",
            )?
            .query_row(params![schedule, from_ms, to_ms], |r| r.get(0))
    }

    /// The occurrence that a task was made for.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn occurrence_of_task(&self, task: u64) -> DbResult<Option<OccurrenceRow>> {
        self.db
            .prepare_cached(&format!("SELECT {ROWS} WHERE task = ?1"))?
            .query_row([task], occurrence_row)
            .optional()
    }

    /// The earliest occurrences of a schedule that stand there, at most `most`.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn standing(
        &self,
        schedule: u64,
        status: Stands,
        most: u32,
    ) -> DbResult<Vec<OccurrenceRow>> {
        // The list of words is what the index was made with.
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {ROWS} INDEXED BY occurrences_open WHERE schedule = ?1 AND status = ?2
               AND status IN ('missed', 'waiting', 'fired') ORDER BY planned_ms LIMIT ?3"
        ))?;
        let rows = stmt.query_map(params![schedule, status.as_str(), most], occurrence_row)?;
        rows.collect()
    }

    /// The newest occurrences of a schedule, newest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn ledger(
        &self,
        schedule: u64,
        before_ms: u64,
        limit: u32,
    ) -> DbResult<Vec<OccurrenceRow>> {
        let before = i64::try_from(before_ms).unwrap_or(i64::MAX);
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {ROWS} WHERE schedule = ?1 AND planned_ms < ?2
             ORDER BY planned_ms DESC, manual DESC LIMIT ?3"
        ))?;
        let rows = stmt.query_map(params![schedule, before, limit], occurrence_row)?;
        rows.collect()
    }

    /// Forgets all but the newest `keep` occurrences of a schedule; open ones never.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn expire_occurrences(&self, schedule: u64, keep: u64) -> DbResult<()> {
        let first: Option<u64> = self
            .db
            .prepare_cached(
                "SELECT planned_ms FROM occurrences WHERE schedule = ?1
                 ORDER BY planned_ms DESC LIMIT 1 OFFSET ?2",
            )?
            .query_row(params![schedule, keep], |r| r.get(0))
            .optional()?;
        let Some(first) = first else { return Ok(()) };
        self.write(
            Sort::Decision,
            "UPDATE schedules SET floor_ms = max(floor_ms, ?2 - 1) WHERE schedule = ?1",
            params![schedule, first],
        )?;
        self.write(
            Sort::Decision,
            "DELETE FROM occurrences WHERE schedule = ?1 AND planned_ms < ?2
                 AND status NOT IN ('missed', 'waiting', 'fired')",
            params![schedule, first],
        )?;
        Ok(())
    }
}

fn spec_text(spec: &Schedule) -> String {
    // Of strings, numbers and words only.
    serde_json::to_string(spec).unwrap_or_default()
}
