//! Writing: everything since the last commit is also kept in memory, so that a disk that is full or
//! does not work can be waited for and nothing that was concluded is lost meanwhile.
//!
//! While the store is stuck, writes are only kept; the next commit makes all of them at once.

use rusqlite::types::{ToSqlOutput, Value};
use rusqlite::{params_from_iter, ErrorCode, ToSql};

use super::{DbResult, Store};

/// What a write is for, so that some of them can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A conclusion: it stays.
    Conclusion,
    /// New work and the moves of the board, which were decided on what is stored: refused by name
    /// or decided again when they cannot be stored, never kept.
    Decision,
    /// An event, which gets another number when others are taken back.
    Event,
}

/// One statement and its values.
pub(super) struct Write {
    sort: Sort,
    sql: &'static str,
    values: Vec<Value>,
}

/// Whether waiting can help: the disk is full or fails, or there is no memory; or it was only the
/// decisions of the turn that could not be made, without which the rest can be stored.
#[must_use]
pub fn can_wait(e: &rusqlite::Error) -> bool {
    matches!(
        e.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::OutOfMemory
                | ErrorCode::CannotOpen
                | ErrorCode::OperationAborted
        )
    )
}

/// The error of what is not even tried.
fn aborted(why: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT);
    rusqlite::Error::SqliteFailure(code, Some(why.to_owned()))
}

fn owned(value: &&dyn ToSql) -> DbResult<Value> {
    Ok(match value.to_sql()? {
        ToSqlOutput::Owned(v) => v,
        ToSqlOutput::Borrowed(v) => {
            Value::try_from(v).map_err(|_| rusqlite::Error::InvalidQuery)?
        }
        _ => return Err(rusqlite::Error::InvalidQuery), // what no caller here has
    })
}

impl Store {
    /// Executes a statement in the transaction of this turn, and keeps it until the commit.
    ///
    /// # Errors
    /// When the database refuses; the commit will fail, too.
    pub(super) fn write(
        &self,
        sort: Sort,
        sql: &'static str,
        values: &[&dyn ToSql],
    ) -> DbResult<()> {
        let kept_only = !self.takes_decisions();
        if kept_only && sort == Sort::Decision {
            return Err(aborted("what it follows from is not stored yet"));
        }
        let values = values.iter().map(owned).collect::<DbResult<Vec<_>>>()?;
        let write = Write { sort, sql, values };
        let done = match kept_only {
            true => Ok(()),
            false => self.begin().and_then(|()| self.execute(&write)),
        };
        self.kept.set(self.kept.get() + write.size());
        self.pending.borrow_mut().push(write);
        if let Err(e) = done {
            let code = e.sqlite_error().map_or(1, |e| e.extended_code);
            let code = rusqlite::ffi::Error::new(code);
            let again = match sort {
                // It will not be tried again.
                Sort::Decision if !can_wait(&e) => aborted(&e.to_string()),
                _ => rusqlite::Error::SqliteFailure(code, Some(e.to_string())),
            };
            self.failed.replace(Some(again));
            return Err(e);
        }
        Ok(())
    }

    /// Whether the database shows all that was concluded, so that something can be decided on it.
    #[must_use]
    pub fn takes_decisions(&self) -> bool {
        !self.stuck.get() && self.failed.borrow().is_none()
    }

    /// Of the decisions of this turn, one was made by half: none of them is stored.
    pub fn spoil(&self) {
        if self.open.get() {
            let half = || aborted("a decision was made by half");
            self.failed.borrow_mut().get_or_insert_with(half);
        }
    }

    fn execute(&self, w: &Write) -> DbResult<()> {
        self.db
            .prepare_cached(w.sql)?
            .execute(params_from_iter(&w.values))
            .map(drop)
    }

    /// Makes what was written since the last commit durable. Without a write it costs nothing.
    ///
    /// # Errors
    /// When the disk refuses. Nothing of it is in the database then, all of it is kept, and the
    /// store is stuck: later writes are kept, too, until a commit succeeds.
    pub fn commit(&self) -> DbResult<()> {
        let failed = self.failed.take();
        let done = match (failed, self.stuck.get(), self.open.get()) {
            (Some(e), _, _) => Err(e),
            (None, true, _) => self.replay(),
            (None, false, true) => self.db.execute_batch("COMMIT"),
            (None, false, false) => return Ok(()),
        };
        self.open.set(false);
        match done {
            Ok(()) => {
                self.stuck.set(false);
                self.forget(|_| false);
            }
            Err(_) => {
                self.stuck.set(true);
                // After some errors the database has done so already.
                let _ = self.db.execute_batch("ROLLBACK");
                // What failed at its sync is whole in the WAL: whoever opens the database after the
                // death of this process would take it for committed. Something else takes its place.
                let _ = self.prime();
            }
        }
        done
    }

    /// All that is kept in one transaction, and a write of our own, so that success means that
    /// the disk takes writes.
    fn replay(&self) -> DbResult<()> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        for w in self.pending.borrow().iter() {
            self.execute(w)?;
        }
        self.db.execute_batch(super::PRIME)?;
        self.db.execute_batch("COMMIT")
    }

    /// Gives up what was decided, after a commit that failed. Everything that was concluded in the
    /// same turn stays, but for its events, which get new numbers.
    pub fn give_up_decisions(&self) {
        self.forget(|sort| sort == Sort::Conclusion);
    }

    /// Gives up everything: nothing but decisions was to be written. The store is as it was.
    pub fn give_up(&self) {
        self.forget(|_| false);
        self.stuck.set(false);
    }

    fn forget(&self, keep: impl Fn(Sort) -> bool) {
        let mut pending = self.pending.borrow_mut();
        pending.retain(|w| keep(w.sort));
        pending.shrink_to(64);
        self.kept.set(pending.iter().map(Write::size).sum());
    }

    /// Whether the last commit failed.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.stuck.get()
    }

    /// Bytes that are kept until the next commit.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.get()
    }
}

impl Write {
    fn size(&self) -> usize {
        let text = |v: &Value| match v {
            Value::Text(t) => t.len(),
            Value::Blob(b) => b.len(),
            _ => 0,
        };
        size_of::<Write>()
            + self
                .values
                .iter()
                .map(|v| size_of::<Value>() + text(v))
                .sum::<usize>()
    }
}
