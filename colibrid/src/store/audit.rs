//! The audit log: who changed what.

use rusqlite::params;

use super::pending::Sort;
use super::{DbResult, Store};

/// Entries are removed in lots, so that not every one pays for a removal.
const PRUNE_LOT: u64 = 1000;

/// The table of the log.
pub(super) const TABLES: &str = "
CREATE TABLE audit (
    entry INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    role TEXT NOT NULL,
    command TEXT NOT NULL,
    object TEXT NOT NULL
) STRICT;
";

/// An entry to be made.
pub struct NewAudit<'a> {
    /// When.
    pub at_ms: u64,
    /// Who.
    pub uid: u32,
    /// In which role.
    pub role: &'a str,
    /// Which command.
    pub command: &'a str,
    /// On what, as JSON.
    pub object: &'a str,
}

/// An entry of the log.
pub struct AuditRow {
    /// Its number.
    pub entry: u64,
    /// When.
    pub at_ms: u64,
    /// Who.
    pub uid: u32,
    /// In which role.
    pub role: String,
    /// Which command.
    pub command: String,
    /// On what, as JSON.
    pub object: String,
}

/// Which entries to list.
pub struct AuditFilter<'a> {
    /// Only numbers below this.
    pub before: u64,
    /// Only of this user.
    pub uid: Option<u32>,
    /// Only of this command.
    pub command: Option<&'a str>,
    /// At most so many.
    pub limit: u32,
}

impl Store {
    /// Adds an entry and forgets what is older than the newest `keep`. `done`: what it tells of
    /// was done to a living run, which cannot be taken back.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn audit(&self, row: &NewAudit<'_>, keep: u64, done: bool) -> DbResult<()> {
        let sort = if done {
            Sort::Conclusion
        } else {
            Sort::Decision
        };
        self.write(
            sort,
            "INSERT INTO audit (at_ms, uid, role, command, object) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![row.at_ms, row.uid, row.role, row.command, row.object],
        )?;
        self.write(
            sort,
            "DELETE FROM audit WHERE entry <= (SELECT max(entry) FROM audit) / ?1 * ?1 - ?2",
            params![PRUNE_LOT, keep],
        )
    }

    /// Entries, newest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn audit_log(&self, f: &AuditFilter<'_>) -> DbResult<Vec<AuditRow>> {
        let before = i64::try_from(f.before).unwrap_or(i64::MAX);
        let mut stmt = self.db.prepare_cached(
            "SELECT entry, at_ms, uid, role, command, object FROM audit
             WHERE entry < ?1 AND (?2 IS NULL OR uid = ?2) AND (?3 IS NULL OR command = ?3)
             ORDER BY entry DESC LIMIT ?4",
        )?;
        let rows = stmt.query_map(params![before, f.uid, f.command, f.limit], |r| {
            Ok(AuditRow {
                entry: r.get(0)?,
                at_ms: r.get(1)?,
                uid: r.get(2)?,
                role: r.get(3)?,
                command: r.get(4)?,
                object: r.get(5)?,
            })
        })?;
        rows.collect()
    }
}
