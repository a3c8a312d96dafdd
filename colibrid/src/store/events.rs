//! The event log: every line that a subscriber can be sent, by its sequence number.

use rusqlite::params;

use super::pending::Sort;
use super::{DbResult, Store};

/// Events are removed in lots, so that not every insert pays for a removal.
const PRUNE_LOT: u64 = 1000;

impl Store {
    /// The first and the last number in the log; (1, 0) when it is empty and always was.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn event_range(&self) -> DbResult<(u64, u64)> {
        self.db.query_row(
            "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) FROM events",
            [],
            |r| {
                let (first, last): (u64, u64) = (r.get(0)?, r.get(1)?);
                Ok((first.max(1), last))
            },
        )
    }

    /// Adds an event and forgets what is older than the newest `keep`.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn add_event(&self, seq: u64, run: u64, line: &str, keep: u64) -> DbResult<()> {
        self.write(
            Sort::Event,
            "INSERT INTO events VALUES (?1, ?2, ?3)",
            params![seq, run, line],
        )?;
        if seq.is_multiple_of(PRUNE_LOT) {
            self.write(
                Sort::Event,
                "DELETE FROM events WHERE seq <= ?1",
                params![seq.saturating_sub(keep)],
            )?;
        }
        Ok(())
    }

    /// Gives events after `from` up to `to`, oldest first, with their numbers, until `take` has
    /// enough.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn events_after(
        &self,
        from: u64,
        run: Option<u64>,
        to: u64,
        mut take: impl FnMut(u64, &str) -> bool,
    ) -> DbResult<()> {
        let run = run.map(|r| i64::try_from(r).unwrap_or(i64::MAX));
        let mut stmt = self.db.prepare_cached(
            "SELECT seq, line FROM events
             WHERE seq > ?1 AND seq <= ?3 AND (?2 IS NULL OR run = ?2) ORDER BY seq",
        )?;
        let mut rows = stmt.query(params![from, run, to])?;
        while let Some(row) = rows.next()? {
            if !take(row.get(0)?, row.get_ref(1)?.as_str()?) {
                break;
            }
        }
        Ok(())
    }
}
