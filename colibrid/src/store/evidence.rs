//! What `explain-run` reads beyond the run's row.

use rusqlite::{params, OptionalExtension};

use super::{DbResult, Store};

/// What is stored of an attempt besides what a list shows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Process id of its monitor, from the first record.
    pub monitor: Option<u32>,
    /// Whether the agent has taken its task.
    pub prompted: bool,
}

impl Store {
    /// An attempt; empty for one that is not known.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn attempt(&self, attempt: u64) -> DbResult<Attempt> {
        let row = self
            .db
            .prepare_cached("SELECT monitor, prompted FROM attempts WHERE attempt = ?1")?
            .query_row([attempt], |r| {
                Ok(Attempt {
                    monitor: r.get(0)?,
                    prompted: r.get(1)?,
                })
            })
            .optional()?;
        Ok(row.unwrap_or_default())
    }

    /// The lines of the last `limit` events of a run, oldest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn last_events(&self, run: u64, limit: usize) -> DbResult<Vec<String>> {
        let mut stmt = self
            .db
            .prepare_cached("SELECT line FROM events WHERE run = ?1 ORDER BY seq DESC LIMIT ?2")?;
        let rows = stmt.query_map(params![run, limit as i64], |r| r.get(0))?;
        let mut lines = rows.collect::<DbResult<Vec<String>>>()?;
        lines.reverse();
        Ok(lines)
    }
}
