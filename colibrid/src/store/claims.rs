//! Claims: who has or had a task, and the record of each agent that comes of it.

use rusqlite::{params, OptionalExtension, Row};

use super::pending::Sort;
use super::{DbResult, Store};

/// Tables of claims and of what is known of agents beyond the config. How many claims an agent holds
/// is counted by triggers: it is asked with each claim.
pub(super) const TABLES: &str = "
CREATE TABLE claims (
    claim INTEGER PRIMARY KEY AUTOINCREMENT,
    task INTEGER NOT NULL REFERENCES tasks (task),
    agent TEXT NOT NULL,
    run INTEGER,
    by_uid INTEGER,
    at_ms INTEGER NOT NULL,
    started_ms INTEGER,
    lease_ms INTEGER,
    until_ms INTEGER,
    stop TEXT,
    ended_ms INTEGER,
    outcome TEXT
) STRICT;
CREATE INDEX claims_task ON claims (task);
CREATE INDEX claims_done ON claims (agent, claim) WHERE outcome = 'done';
CREATE TABLE agents (
    agent TEXT PRIMARY KEY,
    paused INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cost_nano INTEGER NOT NULL DEFAULT 0,
    seen_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE held (agent TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER claims_made AFTER INSERT ON claims BEGIN
    INSERT INTO held VALUES (new.agent, 1) ON CONFLICT (agent) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER claims_ended AFTER UPDATE OF ended_ms ON claims
WHEN old.ended_ms IS NULL AND new.ended_ms IS NOT NULL BEGIN
    UPDATE held SET n = n - 1 WHERE agent = old.agent;
END;
";

/// One attempt at a task.
#[derive(Debug, Clone)]
pub struct ClaimRow {
    /// Its number: what a report has to name.
    pub claim: u64,
    /// Which task.
    pub task: u64,
    /// Whose.
    pub agent: String,
    /// The run, of a local agent.
    pub run: Option<u64>,
    /// The claiming client, of an external agent.
    pub by_uid: Option<u32>,
    /// When it was claimed.
    pub at_ms: u64,
    /// When work began.
    pub started_ms: Option<u64>,
    /// How long it holds without a heartbeat, of an external agent.
    pub lease_ms: Option<u64>,
    /// Until when it holds.
    pub until_ms: Option<u64>,
    /// Why its end was wanted.
    pub stop: Option<String>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// How: a status, or `returned`, or the class of a failure.
    pub outcome: Option<String>,
}

/// A claim to be made.
pub struct NewClaim<'a> {
    /// Which task.
    pub task: u64,
    /// Whose.
    pub agent: &'a str,
    /// The run, of a local agent.
    pub run: Option<u64>,
    /// The claiming client, of an external agent.
    pub by_uid: Option<u32>,
    /// When.
    pub at_ms: u64,
    /// How long it holds without a heartbeat, of an external agent.
    pub lease_ms: Option<u64>,
}

/// What is known of an agent beyond the config.
#[derive(Debug, Clone, Default)]
pub struct AgentRecord {
    /// Gets no tasks.
    pub paused: bool,
    /// Tasks done.
    pub done: u64,
    /// Attempts failed.
    pub failed: u64,
    /// Spent, in billionths of a US dollar.
    pub cost_nano: u64,
    /// When an external agent was last heard of.
    pub seen_ms: Option<u64>,
}

const COLUMNS: &str = "claim, task, agent, run, by_uid, at_ms, started_ms, lease_ms, until_ms,
    stop, ended_ms, outcome FROM claims";

fn claim_row(r: &Row<'_>) -> DbResult<ClaimRow> {
    Ok(ClaimRow {
        claim: r.get(0)?,
        task: r.get(1)?,
        agent: r.get(2)?,
        run: r.get(3)?,
        by_uid: r.get(4)?,
        at_ms: r.get(5)?,
        started_ms: r.get(6)?,
        lease_ms: r.get(7)?,
        until_ms: r.get(8)?,
        stop: r.get(9)?,
        ended_ms: r.get(10)?,
        outcome: r.get(11)?,
    })
}

impl Store {
    /// Makes a claim and returns its number.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn add_claim(&self, c: &NewClaim<'_>) -> DbResult<u64> {
        self.write(
            Sort::Decision,
            "INSERT INTO claims (task, agent, run, by_uid, at_ms, lease_ms, until_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                c.task,
                c.agent,
                c.run,
                c.by_uid,
                c.at_ms,
                c.lease_ms,
                c.lease_ms.map(|l| c.at_ms.saturating_add(l)),
            ],
        )?;
        Ok(self.db.last_insert_rowid() as u64)
    }

    /// Stores what changes in a claim's life.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn save_claim(&self, c: &ClaimRow) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "UPDATE claims SET started_ms = ?2, until_ms = ?3, stop = ?4, ended_ms = ?5,
                 outcome = ?6 WHERE claim = ?1",
            params![
                c.claim,
                c.started_ms,
                c.until_ms,
                c.stop,
                c.ended_ms,
                c.outcome
            ],
        )?;
        Ok(())
    }

    /// Stores why the end of a claim's run is wanted: the first reason counts, but a cancellation
    /// outweighs the others. It reads nothing, so that it can be kept and made later: the run is
    /// being stopped already.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn want_end(&self, claim: u64, why: &str) -> DbResult<()> {
        self.write(
            Sort::Conclusion,
            "UPDATE claims SET stop = ?2
             WHERE claim = ?1 AND ended_ms IS NULL AND (stop IS NULL OR ?2 = 'cancel')",
            params![claim, why],
        )
    }

    /// One claim.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn claim(&self, claim: u64) -> DbResult<Option<ClaimRow>> {
        if i64::try_from(claim).is_err() {
            return Ok(None); // no number is that large
        }
        self.db
            .prepare_cached(&format!("SELECT {COLUMNS} WHERE claim = ?1"))?
            .query_row([claim], claim_row)
            .optional()
    }

    /// The newest claims of a task, oldest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn claims(&self, task: u64, limit: u32) -> DbResult<Vec<ClaimRow>> {
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} WHERE task = ?1 ORDER BY claim DESC LIMIT ?2"
        ))?;
        let rows = stmt.query_map(params![task, limit], claim_row)?;
        let mut claims = rows.collect::<DbResult<Vec<_>>>()?;
        claims.reverse();
        Ok(claims)
    }

    /// How many tasks an agent has.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn held_by(&self, agent: &str) -> DbResult<u64> {
        let n = self
            .db
            .prepare_cached("SELECT n FROM held WHERE agent = ?1")?
            .query_row([agent], |r| r.get(0))
            .optional()?;
        Ok(n.unwrap_or(0))
    }

    /// What is known of an agent.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn agent(&self, agent: &str) -> DbResult<AgentRecord> {
        let found = self
            .db
            .prepare_cached(
                "SELECT paused, done, failed, cost_nano, seen_ms FROM agents WHERE agent = ?1",
            )?
            .query_row([agent], |r| {
                Ok(AgentRecord {
                    paused: r.get(0)?,
                    done: r.get(1)?,
                    failed: r.get(2)?,
                    cost_nano: r.get(3)?,
                    seen_ms: r.get(4)?,
                })
            })
            .optional()?;
        Ok(found.unwrap_or_default())
    }

    /// Agents that get no tasks.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn paused_agents(&self) -> DbResult<Vec<String>> {
        let mut stmt = self
            .db
            .prepare_cached("SELECT agent FROM agents WHERE paused <> 0")?;
        let rows = stmt.query_map([], |r| r.get(0))?;
        rows.collect()
    }

    /// Stores what is known of an agent.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn save_agent(&self, agent: &str, a: &AgentRecord) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "INSERT INTO agents (agent, paused, done, failed, cost_nano, seen_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (agent)
                 DO UPDATE SET paused = ?2, done = ?3, failed = ?4, cost_nano = ?5, seen_ms = ?6",
            params![agent, a.paused, a.done, a.failed, a.cost_nano, a.seen_ms],
        )?;
        Ok(())
    }

    /// Stores what an agent is that was added by a command, or that it is none any more.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn set_agent(&self, agent: &str, spec: Option<&str>) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "INSERT INTO agents (agent, spec) VALUES (?1, ?2)
                 ON CONFLICT (agent) DO UPDATE SET spec = ?2, paused = 0",
            params![agent, spec],
        )
    }

    /// The agents that were added by a command: names, and what they are.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn added_agents(&self) -> DbResult<Vec<(String, String)>> {
        let sql = "SELECT agent, spec FROM agents WHERE spec IS NOT NULL ORDER BY agent";
        let mut stmt = self.db.prepare_cached(sql)?;
        let rows = stmt.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
        rows.collect()
    }

    /// Milliseconds from claim to end of the newest `limit` tasks that an agent has done.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn durations(&self, agent: &str, limit: u32) -> DbResult<Vec<u64>> {
        let mut stmt = self.db.prepare_cached(
            "SELECT max(ended_ms - at_ms, 0) FROM claims INDEXED BY claims_done
             WHERE agent = ?1 AND outcome = 'done' ORDER BY claim DESC LIMIT ?2",
        )?;
        let rows = stmt.query_map(params![agent, limit], |r| r.get(0))?;
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    #[test]
    fn what_an_agent_holds_is_counted() {
        let store = Store::open(&scratch("held")).unwrap();
        store.db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        let claim = |task, agent| {
            let new = NewClaim {
                task,
                agent,
                run: None,
                by_uid: None,
                at_ms: 5,
                lease_ms: Some(10),
            };
            store.add_claim(&new).unwrap()
        };
        let first = claim(1, "a");
        claim(2, "a");
        claim(3, "b");
        assert_eq!(store.held_by("a").unwrap(), 2);
        let mut c = store.claim(first).unwrap().unwrap();
        assert_eq!(c.until_ms, Some(15));
        (c.ended_ms, c.outcome) = (Some(9), Some("done".into()));
        // Saving it once more changes nothing.
        store.save_claim(&c).unwrap();
        store.save_claim(&c).unwrap();
        let held = ["a", "b", "c"].map(|agent| store.held_by(agent).unwrap());
        assert_eq!(held, [1, 1, 0]);
        assert_eq!(store.durations("a", 9).unwrap(), [4]);
    }
}
