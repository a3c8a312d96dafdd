//! Runs and their attempts.

use libcolibri::msg::RunKey;
use rusqlite::{params, OptionalExtension, Row};

use super::pending::Sort;
use super::{DbResult, Store};

/// Runs that are forgotten at once; each end of a run forgets more than it adds.
const EXPIRE_LOT: u32 = 8;

/// A run to be accepted.
pub struct NewRun<'a> {
    /// Profile name.
    pub profile: &'a str,
    /// Agent name.
    pub agent: &'a str,
    /// The task.
    pub prompt: &'a str,
    /// Who asked.
    pub by_uid: u32,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The pane as JSON.
    pub pane: &'a str,
    /// The task that it is an attempt at.
    pub of_task: Option<u64>,
}

/// An attempt that has not ended, with what is needed to go on with its run.
pub struct AttemptRow {
    /// Run id.
    pub run: u64,
    /// Attempt id.
    pub attempt: u64,
    /// Last journal record that was stored.
    pub journal_seq: u64,
    /// Whether the agent has taken its prompt.
    pub prompted: bool,
    /// Profile name.
    pub profile: String,
    /// The task.
    pub prompt: String,
    /// Whether its end is wanted.
    pub stop_wanted: bool,
    /// The pane as JSON.
    pub pane: String,
    /// The task on the board that it is an attempt at.
    pub of_task: Option<u64>,
}

/// A run for display.
pub struct RunRow {
    /// Run id.
    pub run: u64,
    /// Its latest attempt.
    pub attempt: u64,
    /// Profile name.
    pub profile: String,
    /// Agent name.
    pub agent: String,
    /// The task.
    pub prompt: String,
    /// Who asked.
    pub by_uid: u32,
    /// When, milliseconds since 1970.
    pub created_ms: u64,
    /// `run` or `stop`.
    pub wanted: String,
    /// When it was proven dead.
    pub ended_ms: Option<u64>,
    /// The pane as JSON.
    pub pane: String,
    /// The agent's last answer.
    pub answer: Option<String>,
    /// The end of its stderr.
    pub stderr: Option<String>,
    /// Exit status as JSON.
    pub exit: Option<String>,
    /// How its end is known.
    pub proof: Option<String>,
    /// Lines, bytes and malformed lines of its stream.
    pub stream: (u64, u64, u64),
    /// Last journal record that was stored.
    pub journal_seq: u64,
    /// The task on the board that it is an attempt at.
    pub of_task: Option<u64>,
}

/// The result of a run.
pub struct EndRow<'a> {
    /// Exit status as JSON.
    pub exit: &'a str,
    /// How its end is known.
    pub proof: &'a str,
    /// The end of its stderr.
    pub stderr: &'a str,
    /// Lines, bytes and malformed lines of its stream.
    pub stream: (u64, u64, u64),
}

/// Which runs to list.
pub struct RunFilter {
    /// Only ids below this.
    pub before: u64,
    /// Only runs that have not ended.
    pub alive: bool,
    /// At most so many.
    pub limit: u32,
}

const COLUMNS: &str = "r.run, a.attempt, r.profile, r.agent, r.prompt, r.by_uid, r.created_ms,
    r.wanted, r.ended_ms, r.pane, r.answer, r.stderr, r.exit, r.proof, r.lines, r.bytes,
    r.malformed, a.journal_seq, r.task
    FROM runs r JOIN attempts a
      ON a.attempt = (SELECT max(attempt) FROM attempts WHERE run = r.run)";

fn run_row(r: &Row<'_>) -> DbResult<RunRow> {
    Ok(RunRow {
        run: r.get(0)?,
        attempt: r.get(1)?,
        profile: r.get(2)?,
        agent: r.get(3)?,
        prompt: r.get(4)?,
        by_uid: r.get(5)?,
        created_ms: r.get(6)?,
        wanted: r.get(7)?,
        ended_ms: r.get(8)?,
        pane: r.get(9)?,
        answer: r.get(10)?,
        stderr: r.get(11)?,
        exit: r.get(12)?,
        proof: r.get(13)?,
        stream: (r.get(14)?, r.get(15)?, r.get(16)?),
        journal_seq: r.get(17)?,
        of_task: r.get(18)?,
    })
}

impl Store {
    /// Accepts a run with its first attempt. Returns both ids.
    ///
    /// # Errors
    /// When the database refuses; then nothing is accepted.
    pub fn accept(&self, new: &NewRun<'_>) -> DbResult<(u64, u64)> {
        self.write(
            Sort::Decision,
            "INSERT INTO runs (profile, agent, prompt, by_uid, created_ms, pane, task)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                new.profile,
                new.agent,
                new.prompt,
                new.by_uid,
                new.at_ms,
                new.pane,
                new.of_task
            ],
        )?;
        let run = self.db.last_insert_rowid() as u64;
        self.write(
            Sort::Decision,
            "INSERT INTO attempts (run, phase, started_ms) VALUES (?1, 'starting', ?2)",
            params![run, new.at_ms],
        )?;
        Ok((run, self.db.last_insert_rowid() as u64))
    }

    /// Stores what was concluded from journal records up to `journal_seq`, in the same
    /// transaction as the conclusions: each record counts once.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn progress(
        &self,
        run: u64,
        attempt: u64,
        journal_seq: u64,
        prompted: bool,
        pane: &str,
    ) -> DbResult<()> {
        self.write(
            Sort::Conclusion,
            "UPDATE attempts SET journal_seq = ?2, prompted = ?3, phase = 'running'
                 WHERE attempt = ?1 AND phase <> 'ended'",
            params![attempt, journal_seq, prompted],
        )?;
        self.save_pane(run, pane)
    }

    /// Stores the pane alone.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn save_pane(&self, run: u64, pane: &str) -> DbResult<()> {
        self.write(
            Sort::Conclusion,
            "UPDATE runs SET pane = ?2 WHERE run = ?1",
            params![run, pane],
        )?;
        Ok(())
    }

    /// Stores who watches the attempt, and in what container.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn opened(&self, attempt: u64, container: &str, monitor: u32) -> DbResult<()> {
        self.write(
            Sort::Conclusion,
            "UPDATE attempts SET container = ?2, monitor = ?3 WHERE attempt = ?1",
            params![attempt, container, monitor],
        )?;
        Ok(())
    }

    /// Stores the agent's last answer.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn answer(&self, run: u64, text: &str) -> DbResult<()> {
        self.write(
            Sort::Conclusion,
            "UPDATE runs SET answer = ?2 WHERE run = ?1",
            params![run, text],
        )?;
        Ok(())
    }

    /// Stores that somebody wants the end of a run.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn want_stop(&self, run: u64) -> DbResult<()> {
        self.write(
            Sort::Conclusion,
            "UPDATE runs SET wanted = 'stop' WHERE run = ?1",
            params![run],
        )?;
        Ok(())
    }

    /// Stores the result; the run is not over before [`Store::end`].
    ///
    /// # Errors
    /// When the database refuses.
    pub fn result(&self, run: u64, end: &EndRow<'_>) -> DbResult<()> {
        // What a monitor says of itself: a number that the database cannot hold must not stop it.
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let (lines, bytes, malformed) = end.stream;
        let (lines, bytes, malformed) = (count(lines), count(bytes), count(malformed));
        self.write(
            Sort::Conclusion,
            "UPDATE runs SET exit = ?2, proof = ?3, stderr = ?4, lines = ?5, bytes = ?6,
                 malformed = ?7 WHERE run = ?1",
            params![run, end.exit, end.proof, end.stderr, lines, bytes, malformed],
        )?;
        Ok(())
    }

    /// The run is proven dead.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn end(&self, run: u64, attempt: u64, at_ms: u64, pane: &str) -> DbResult<()> {
        self.write(
            Sort::Conclusion,
            "UPDATE attempts SET phase = 'ended', ended_ms = ?2 WHERE attempt = ?1",
            params![attempt, at_ms],
        )?;
        self.write(
            Sort::Conclusion,
            "UPDATE runs SET ended_ms = ?2, pane = ?3 WHERE run = ?1",
            params![run, at_ms, pane],
        )?;
        Ok(())
    }

    /// Forgets the oldest ended runs beyond the newest `keep`, a lot at a time, except those whose
    /// tasks have yet to be moved by their end; returns what was forgotten, so that the journals
    /// can follow.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn expire(&self, keep: u64) -> DbResult<Vec<RunKey>> {
        if !self.takes_decisions() {
            // What is kept has not happened yet there.
            return Ok(Vec::new());
        }
        let mut oldest = self.db.prepare_cached(
            "SELECT a.run, a.attempt FROM attempts a JOIN runs r ON r.run = a.run
             WHERE r.ended_ms IS NOT NULL AND r.run <= (SELECT max(run) FROM runs) - ?1
               AND NOT EXISTS (SELECT 1 FROM tasks t
                    WHERE t.task = r.task AND t.run = r.run AND t.claim IS NOT NULL)
             ORDER BY a.run LIMIT ?2",
        )?;
        let rows = oldest.query_map(params![keep, EXPIRE_LOT], |r| {
            Ok(RunKey {
                run: r.get(0)?,
                attempt: r.get(1)?,
            })
        })?;
        let gone = rows.collect::<DbResult<Vec<_>>>()?;
        for key in &gone {
            self.write(
                Sort::Decision,
                "DELETE FROM attempts WHERE attempt = ?1",
                params![key.attempt],
            )?;
            self.write(Sort::Decision, "DELETE FROM runs WHERE run = ?1 AND NOT EXISTS (SELECT 1 FROM attempts WHERE run = ?1)", params![key.run])?;
        }
        Ok(gone)
    }

    /// Whether a run was there and was forgotten. One that is newer than all that are known was not:
    /// the database may be an old copy.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn is_forgotten(&self, key: RunKey) -> DbResult<bool> {
        if i64::try_from(key.run).is_err() || i64::try_from(key.attempt).is_err() {
            return Ok(false); // no id is that large
        }
        let mut look = self.db.prepare_cached(
            "SELECT ?1 <= (SELECT max(run) FROM runs)
               AND NOT EXISTS (SELECT 1 FROM attempts WHERE run = ?1 AND attempt = ?2)",
        )?;
        let forgotten = look.query_row(params![key.run, key.attempt], |r| {
            r.get::<_, Option<bool>>(0)
        })?;
        Ok(forgotten.unwrap_or(false))
    }

    /// All attempts that have not ended.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn alive(&self) -> DbResult<Vec<AttemptRow>> {
        let mut stmt = self.db.prepare(
            "SELECT a.run, a.attempt, a.journal_seq, a.prompted, r.profile, r.prompt,
                    r.wanted = 'stop', r.pane, r.task
             FROM attempts a JOIN runs r ON r.run = a.run
             WHERE a.phase <> 'ended' ORDER BY a.attempt",
        )?;
        let rows = stmt.query_map([], |r| {
            Ok(AttemptRow {
                run: r.get(0)?,
                attempt: r.get(1)?,
                journal_seq: r.get(2)?,
                prompted: r.get(3)?,
                profile: r.get(4)?,
                prompt: r.get(5)?,
                stop_wanted: r.get(6)?,
                pane: r.get(7)?,
                of_task: r.get(8)?,
            })
        })?;
        rows.collect()
    }

    /// One run.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn run(&self, run: u64) -> DbResult<Option<RunRow>> {
        if i64::try_from(run).is_err() {
            return Ok(None); // no id is that large
        }
        self.db
            .prepare_cached(&format!("SELECT {COLUMNS} WHERE r.run = ?1"))?
            .query_row([run], run_row)
            .optional()
    }

    /// What is to be shown of runs, newest first. The texts of only one are in memory at a time.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn runs<T>(&self, filter: &RunFilter, view: impl Fn(&RunRow) -> T) -> DbResult<Vec<T>> {
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} WHERE r.run < ?1 AND (?2 = 0 OR r.ended_ms IS NULL)
             ORDER BY r.run DESC LIMIT ?3"
        ))?;
        let before = i64::try_from(filter.before).unwrap_or(i64::MAX);
        let values = params![before, filter.alive, filter.limit];
        let rows = stmt.query_map(values, |r| Ok(view(&run_row(r)?)))?;
        rows.collect()
    }

    /// The panes of the last ended run of each agent.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn last_panes(&self, limit: u32) -> DbResult<Vec<(u64, String)>> {
        let mut stmt = self.db.prepare_cached(
            "SELECT run, pane FROM runs
             WHERE run IN (SELECT max(run) FROM runs GROUP BY agent) AND ended_ms IS NOT NULL
             ORDER BY run DESC LIMIT ?1",
        )?;
        let rows = stmt.query_map([limit], |r| Ok((r.get(0)?, r.get(1)?)))?;
        rows.collect()
    }

    /// The number of a run's latest attempt; 0 when there is no such run.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn attempt_of(&self, run: u64) -> DbResult<u64> {
        self.db
            .prepare_cached("SELECT coalesce(max(attempt), 0) FROM attempts WHERE run = ?1")?
            .query_row([run], |r| r.get(0))
    }

    /// How many runs there ever were.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn count_runs(&self) -> DbResult<u64> {
        self.db
            .query_row("SELECT coalesce(max(run), 0) FROM runs", [], |r| r.get(0))
    }
}
