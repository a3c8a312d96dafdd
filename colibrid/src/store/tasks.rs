//! Tasks, what they wait for, and what has happened to them.

use libcolibri::budget::{Budget, Spent};
use rusqlite::{params, OptionalExtension, Row};
use serde_json::Value;

use super::pending::Sort;
use super::{DbResult, Store};
use crate::board::lifecycle::Status;

/// The board's tables. A task's number of open dependencies is the number of its rows in
/// `task_needs`; `met` says that the other task has ended (1 done, 2 not), which is acted upon in
/// lots. The counts are kept by triggers, so that no way of changing a task can forget them.
pub(super) const TABLES: &str = "
ALTER TABLE runs ADD COLUMN task INTEGER;
CREATE TABLE tasks (
    task INTEGER PRIMARY KEY AUTOINCREMENT,
    status TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    only_agent TEXT,
    fits TEXT NOT NULL,
    priority INTEGER NOT NULL,
    by_uid INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    wait_until_ms INTEGER,
    deadline_ms INTEGER,
    due_ms INTEGER,
    tries INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL,
    retry_on INTEGER NOT NULL,
    key TEXT,
    source TEXT,
    agent TEXT,
    claim INTEGER,
    run INTEGER,
    reason TEXT NOT NULL DEFAULT '',
    class TEXT,
    summary TEXT,
    exit TEXT,
    usage TEXT,
    ended_ms INTEGER
) STRICT;
CREATE INDEX tasks_status ON tasks (status, task);
CREATE INDEX tasks_queue ON tasks (fits, priority DESC, task) WHERE status = 'queued';
CREATE INDEX tasks_due ON tasks (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX tasks_ended ON tasks (task) WHERE ended_ms IS NOT NULL;
CREATE UNIQUE INDEX tasks_key ON tasks (by_uid, key) WHERE key IS NOT NULL;
CREATE TABLE task_needs (
    task INTEGER NOT NULL REFERENCES tasks (task),
    needs INTEGER NOT NULL REFERENCES tasks (task),
    met INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task, needs)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_needs_needs ON task_needs (needs);
CREATE INDEX task_needs_met ON task_needs (task) WHERE met <> 0;
CREATE TABLE task_log (
    entry INTEGER PRIMARY KEY,
    task INTEGER NOT NULL REFERENCES tasks (task),
    at_ms INTEGER NOT NULL,
    before TEXT,
    after TEXT,
    by TEXT NOT NULL,
    by_uid INTEGER,
    agent TEXT,
    claim INTEGER,
    run INTEGER,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX task_log_task ON task_log (task);
CREATE TABLE task_counts (status TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER tasks_added AFTER INSERT ON tasks BEGIN
    INSERT INTO task_counts VALUES (new.status, 1)
        ON CONFLICT (status) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER tasks_moved AFTER UPDATE OF status ON tasks WHEN old.status <> new.status BEGIN
    UPDATE task_counts SET n = n - 1 WHERE status = old.status;
    INSERT INTO task_counts VALUES (new.status, 1)
        ON CONFLICT (status) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER tasks_removed AFTER DELETE ON tasks BEGIN
    UPDATE task_counts SET n = n - 1 WHERE status = old.status;
END;
";

/// What tasks may cost and have cost, which of them wait for the host, and agents that were added.
pub(super) const BUDGETS: &str = "
ALTER TABLE tasks ADD COLUMN budget TEXT;
ALTER TABLE tasks ADD COLUMN spent_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN spent_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN for_host INTEGER NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN spec TEXT;
CREATE INDEX tasks_for_host ON tasks (fits) WHERE for_host <> 0;
";

/// A task to be added.
pub struct NewTask<'a> {
    /// `waiting` or `queued`.
    pub status: Status,
    /// What it is called.
    pub title: &'a str,
    /// What is to be done; may be empty.
    pub description: &'a str,
    /// Required capabilities, sorted.
    pub capabilities: &'a [String],
    /// The one agent that may do it.
    pub only_agent: Option<&'a str>,
    /// The agents that it fits, joined.
    pub fits: &'a str,
    /// Higher goes first.
    pub priority: i32,
    /// Who added it.
    pub by_uid: u32,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Not before this time.
    pub wait_until_ms: Option<u64>,
    /// To be finished by this time.
    pub deadline_ms: Option<u64>,
    /// How often it is tried.
    pub attempts: u32,
    /// After which classes of failure, as bits.
    pub retry_on: u32,
    /// The adder's own name for it.
    pub key: Option<&'a str>,
    /// Where it came from and answers go, as JSON.
    pub source: Option<&'a str>,
    /// Skills that its agent is given.
    pub skills: &'a [String],
    /// What it may cost.
    pub budget: Option<Budget>,
}

/// A task.
#[derive(Debug, Clone)]
pub struct TaskRow {
    /// Its number.
    pub task: u64,
    /// Where it stands.
    pub status: Status,
    /// Since when.
    pub since_ms: u64,
    /// What it is called.
    pub title: String,
    /// What is to be done; may be empty.
    pub description: String,
    /// Required capabilities, sorted.
    pub capabilities: Vec<String>,
    /// The one agent that may do it.
    pub only_agent: Option<String>,
    /// The agents that it fits, joined.
    pub fits: String,
    /// Higher goes first.
    pub priority: i32,
    /// Who added it.
    pub by_uid: u32,
    /// When it was added.
    pub created_ms: u64,
    /// Not before this time.
    pub wait_until_ms: Option<u64>,
    /// To be finished by this time.
    pub deadline_ms: Option<u64>,
    /// When time next matters for it.
    pub due_ms: Option<u64>,
    /// Attempts that failed.
    pub tries: u32,
    /// How many may.
    pub attempts: u32,
    /// After which classes of failure it is tried again, as bits.
    pub retry_on: u32,
    /// The adder's own name for it.
    pub key: Option<String>,
    /// Where it came from and answers go.
    pub source: Option<Value>,
    /// The agent that has it or had it last.
    pub agent: Option<String>,
    /// The claim by which it is held.
    pub claim: Option<u64>,
    /// Its latest run.
    pub run: Option<u64>,
    /// Why it stands where it stands; may be empty.
    pub reason: String,
    /// Class of the last failure.
    pub class: Option<String>,
    /// The agent's last answer.
    pub summary: Option<String>,
    /// Exit status of the last run, as JSON.
    pub exit: Option<String>,
    /// Usage of the last attempt, as JSON.
    pub usage: Option<String>,
    /// When it came to its end.
    pub ended_ms: Option<u64>,
    /// Skills that its agent is given.
    pub skills: Vec<String>,
    /// What it may cost.
    pub budget: Option<Budget>,
    /// What the attempts that ended have cost.
    pub spent: Spent,
    /// It waits for the host.
    pub for_host: bool,
}

/// What [`task_row`] reads.
pub(super) const COLUMNS: &str =
    "task, status, since_ms, title, description, capabilities, only_agent, fits,
    priority, by_uid, created_ms, wait_until_ms, deadline_ms, due_ms, tries, attempts, retry_on,
    key, source, agent, claim, run, reason, class, summary, exit, usage, ended_ms, skills,
    budget, spent_nano, spent_tokens, for_host FROM tasks";

/// A value of ours that the database does not have in its proper form: it was not written by us.
pub(super) fn strange(column: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, "tasks".into(), rusqlite::types::Type::Text)
}

/// A task as selected by [`COLUMNS`].
pub(super) fn task_row(r: &Row<'_>) -> DbResult<TaskRow> {
    let status: String = r.get(1)?;
    let capabilities: String = r.get(5)?;
    let source: Option<String> = r.get(18)?;
    let skills: String = r.get(28)?;
    let budget: Option<String> = r.get(29)?;
    let budget = budget.map(|b| serde_json::from_str(&b)).transpose();
    Ok(TaskRow {
        task: r.get(0)?,
        status: status.parse().map_err(|()| strange(1))?,
        since_ms: r.get(2)?,
        title: r.get(3)?,
        description: r.get(4)?,
        capabilities: serde_json::from_str(&capabilities).map_err(|_| strange(5))?,
        only_agent: r.get(6)?,
        fits: r.get(7)?,
        priority: r.get(8)?,
        by_uid: r.get(9)?,
        created_ms: r.get(10)?,
        wait_until_ms: r.get(11)?,
        deadline_ms: r.get(12)?,
        due_ms: r.get(13)?,
        tries: r.get(14)?,
        attempts: r.get(15)?,
        retry_on: r.get(16)?,
        key: r.get(17)?,
        source: source.and_then(|s| serde_json::from_str(&s).ok()),
        agent: r.get(19)?,
        claim: r.get(20)?,
        run: r.get(21)?,
        reason: r.get(22)?,
        class: r.get(23)?,
        summary: r.get(24)?,
        exit: r.get(25)?,
        usage: r.get(26)?,
        ended_ms: r.get(27)?,
        skills: serde_json::from_str(&skills).map_err(|_| strange(28))?,
        budget: budget.map_err(|_| strange(29))?,
        spent: Spent {
            nano_usd: r.get(30)?,
            tokens: r.get(31)?,
        },
        for_host: r.get(32)?,
    })
}

/// Which tasks to list.
pub struct TaskFilter<'a> {
    /// Only numbers below this.
    pub before: u64,
    /// Only those that stand here.
    pub status: Option<Status>,
    /// Only those that this agent has or had last.
    pub agent: Option<&'a str>,
    /// Only those that require this.
    pub capability: Option<&'a str>,
    /// At most so many.
    pub limit: u32,
}

/// Something that happened to a task.
pub struct LogRow {
    /// When.
    pub at_ms: u64,
    /// Where it stood, and where then; both `None` for a remark.
    pub moved: (Option<String>, Option<String>),
    /// `operator`, `intake`, `agent`, `run` or `suite`.
    pub by: String,
    /// Of a client.
    pub by_uid: Option<u32>,
    /// Which agent it concerned.
    pub agent: Option<String>,
    /// Which claim.
    pub claim: Option<u64>,
    /// Which run.
    pub run: Option<u64>,
    /// Why; may be empty.
    pub reason: String,
}

impl Store {
    /// Adds a task and returns its number.
    ///
    /// # Errors
    /// When the database refuses; then nothing is added.
    pub fn add_task(&self, t: &NewTask<'_>) -> DbResult<u64> {
        let due = [t.wait_until_ms, t.deadline_ms].into_iter().flatten().min();
        self.write(Sort::Decision, "INSERT INTO tasks (status, since_ms, title, description, capabilities, only_agent,
                 fits, priority, by_uid, created_ms, wait_until_ms, deadline_ms, due_ms, attempts,
                 retry_on, key, source, skills, budget)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?2, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18)", params![
                t.status.as_str(),
                t.at_ms,
                t.title,
                t.description,
                Value::from(t.capabilities).to_string(),
                t.only_agent,
                t.fits,
                t.priority,
                t.by_uid,
                t.wait_until_ms,
                t.deadline_ms,
                due,
                t.attempts,
                t.retry_on,
                t.key,
                t.source,
                Value::from(t.skills).to_string(),
                t.budget.map(|b| serde_json::to_string(&b).unwrap_or_default()),
            ])?;
        Ok(self.db.last_insert_rowid() as u64)
    }

    /// Stores what changes in a task's life.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn save_task(&self, t: &TaskRow) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "UPDATE tasks SET status = ?2, since_ms = ?3, wait_until_ms = ?4, due_ms = ?5,
                 tries = ?6, agent = ?7, claim = ?8, run = ?9, reason = ?10, class = ?11,
                 summary = ?12, exit = ?13, usage = ?14, ended_ms = ?15, spent_nano = ?16,
                 spent_tokens = ?17, for_host = ?18 WHERE task = ?1",
            params![
                t.task,
                t.status.as_str(),
                t.since_ms,
                t.wait_until_ms,
                t.due_ms,
                t.tries,
                t.agent,
                t.claim,
                t.run,
                t.reason,
                t.class,
                t.summary,
                t.exit,
                t.usage,
                t.ended_ms,
                t.spent.nano_usd,
                t.spent.tokens,
                t.for_host,
            ],
        )?;
        Ok(())
    }

    /// Stores why a task is being cancelled whose run is being stopped already.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn give_reason(&self, task: u64, reason: &str) -> DbResult<()> {
        self.write(
            Sort::Conclusion,
            "UPDATE tasks SET reason = ?2 WHERE task = ?1",
            params![task, reason],
        )
    }

    /// One task.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn task(&self, task: u64) -> DbResult<Option<TaskRow>> {
        if i64::try_from(task).is_err() {
            return Ok(None); // no number is that large
        }
        self.db
            .prepare_cached(&format!("SELECT {COLUMNS} WHERE task = ?1"))?
            .query_row([task], task_row)
            .optional()
    }

    /// The task to which a user gave this key.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn task_of_key(&self, uid: u32, key: &str) -> DbResult<Option<u64>> {
        self.db
            .prepare_cached("SELECT task FROM tasks WHERE by_uid = ?1 AND key = ?2")?
            .query_row(params![uid, key], |r| r.get(0))
            .optional()
    }

    /// What is to be shown of tasks, newest first. The texts of only one are in memory at a time.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn tasks<T>(&self, f: &TaskFilter<'_>, view: impl Fn(&TaskRow) -> T) -> DbResult<Vec<T>> {
        let before = i64::try_from(f.before).unwrap_or(i64::MAX);
        // With a status its index is used; the others are looked at one by one.
        let by_status = if f.status.is_some() {
            "status = ?2"
        } else {
            "?2 IS NULL"
        };
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} WHERE task < ?1 AND {by_status} AND (?3 IS NULL OR agent = ?3)
               AND (?4 IS NULL OR EXISTS
                    (SELECT 1 FROM json_each(capabilities) WHERE value = ?4))
             ORDER BY task DESC LIMIT ?5"
        ))?;
        let status = f.status.map(Status::as_str);
        let values = params![before, status, f.agent, f.capability, f.limit];
        let rows = stmt.query_map(values, |r| Ok(view(&task_row(r)?)))?;
        rows.collect()
    }

    /// How many tasks stand where.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn task_counts(&self) -> DbResult<Vec<(String, u64)>> {
        let mut stmt = self
            .db
            .prepare_cached("SELECT status, n FROM task_counts")?;
        let rows = stmt.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
        rows.collect()
    }

    /// Adds to what has happened to a task.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn log_task(&self, task: u64, l: &LogRow) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "INSERT INTO task_log
                 (task, at_ms, before, after, by, by_uid, agent, claim, run, reason)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                task, l.at_ms, l.moved.0, l.moved.1, l.by, l.by_uid, l.agent, l.claim, l.run,
                l.reason
            ],
        )?;
        Ok(())
    }

    /// The newest of what has happened to a task, oldest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn task_log(&self, task: u64, limit: u32) -> DbResult<Vec<LogRow>> {
        let mut stmt = self.db.prepare_cached(
            "SELECT at_ms, before, after, by, by_uid, agent, claim, run, reason
             FROM task_log WHERE task = ?1 ORDER BY entry DESC LIMIT ?2",
        )?;
        let rows = stmt.query_map(params![task, limit], |r| {
            Ok(LogRow {
                at_ms: r.get(0)?,
                moved: (r.get(1)?, r.get(2)?),
                by: r.get(3)?,
                by_uid: r.get(4)?,
                agent: r.get(5)?,
                claim: r.get(6)?,
                run: r.get(7)?,
                reason: r.get(8)?,
            })
        })?;
        let mut log = rows.collect::<DbResult<Vec<_>>>()?;
        log.reverse();
        Ok(log)
    }
}
