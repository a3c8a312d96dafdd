//! Updates of chats that were taken in: the same one may come again and is not done twice.

use rusqlite::{params, OptionalExtension};

use super::pending::Sort;
use super::{DbResult, Store};

/// Updates that are remembered, of all front ends.
const KEEP: u64 = 10_000;
/// They are removed in lots, so that not every one pays for a removal.
const PRUNE_LOT: u64 = 100;

/// The table of updates.
pub(super) const TABLES: &str = "
CREATE TABLE updates (
    entry INTEGER PRIMARY KEY AUTOINCREMENT,
    by_uid INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    reply TEXT NOT NULL,
    UNIQUE (by_uid, number)
) STRICT;
";

impl Store {
    /// The reply that a front end of this user got to an update; `None` for a new one.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn update_reply(&self, uid: u32, number: u64) -> DbResult<Option<String>> {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.db
            .prepare_cached("SELECT reply FROM updates WHERE by_uid = ?1 AND number = ?2")?
            .query_row(params![uid, number], |r| r.get(0))
            .optional()
    }

    /// Remembers an update and forgets old ones. `told`: an agent was told of it, which cannot be
    /// taken back.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn add_update(
        &self,
        uid: u32,
        number: u64,
        at_ms: u64,
        reply: &str,
        told: bool,
    ) -> DbResult<()> {
        let sort = if told {
            Sort::Conclusion
        } else {
            Sort::Decision
        };
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.write(
            sort,
            "INSERT INTO updates (by_uid, number, at_ms, reply) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
            params![uid, number, at_ms, reply],
        )?;
        self.write(
            sort,
            "DELETE FROM updates
             WHERE entry <= (SELECT max(entry) FROM updates) / ?1 * ?1 - ?2",
            params![PRUNE_LOT, KEEP],
        )
    }

    /// What is to be done has changed, before anybody began.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn rewrite_task(&self, task: u64, title: &str, description: &str) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "UPDATE tasks SET title = ?2, description = ?3 WHERE task = ?1",
            params![task, title, description],
        )?;
        Ok(())
    }
}
