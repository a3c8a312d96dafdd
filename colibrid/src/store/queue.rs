//! What waits: queues, times, dependencies, and what is forgotten.

use rusqlite::{params, OptionalExtension, Row};

use super::pending::Sort;
use super::tasks::{strange, task_row, COLUMNS};
use super::{DbResult, Store, TaskRow};
use crate::board::fit::Head;

/// Tasks that are forgotten at once; each end of a task forgets more than it adds.
const EXPIRE_LOT: u32 = 8;

impl Store {
    /// The first queued task of each set of agents. The index is named, here and below: without
    /// statistics SQLite takes the one by status, and sorts all that is queued.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn queue_heads(&self) -> DbResult<Vec<Head>> {
        let mut next = self.db.prepare_cached(
            "SELECT fits, priority, task FROM tasks INDEXED BY tasks_queue
             WHERE status = 'queued' AND fits > ?1
             ORDER BY fits, priority DESC, task LIMIT 1",
        )?;
        let mut heads: Vec<Head> = Vec::new();
        loop {
            // The empty set fits nobody and comes first of all.
            let after = heads.last().map_or("", |h| h.fits.as_str());
            match next.query_row([after], head).optional()? {
                Some(h) => heads.push(h),
                None => return Ok(heads),
            }
        }
    }

    /// The first queued task for this set of agents.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn queue_head(&self, fits: &str) -> DbResult<Option<Head>> {
        self.db
            .prepare_cached(
                "SELECT fits, priority, task FROM tasks INDEXED BY tasks_queue
                 WHERE status = 'queued' AND fits = ?1
                 ORDER BY priority DESC, task LIMIT 1",
            )?
            .query_row([fits], head)
            .optional()
    }

    /// Queued tasks for this set of agents, those that go first.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn queued_for(&self, fits: &str, limit: u32) -> DbResult<Vec<TaskRow>> {
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} INDEXED BY tasks_queue WHERE status = 'queued' AND fits = ?1
             ORDER BY priority DESC, task LIMIT ?2"
        ))?;
        let rows = stmt.query_map(params![fits, limit], task_row)?;
        rows.collect()
    }

    /// Tasks that wait for the host, in the order of their age.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn tasks_for_host(&self) -> DbResult<Vec<TaskRow>> {
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} INDEXED BY tasks_for_host WHERE for_host <> 0 ORDER BY task"
        ))?;
        let rows = stmt.query_map([], task_row)?;
        rows.collect()
    }

    /// Whether there are such.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn any_for_host(&self) -> DbResult<bool> {
        self.db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_for_host WHERE for_host <> 0)",
            )?
            .query_row([], |r| r.get(0))
    }

    /// How many of them there are for this set of agents.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn held_for(&self, fits: &str) -> DbResult<u32> {
        self.db
            .prepare_cached(
                "SELECT count(*) FROM tasks INDEXED BY tasks_for_host
                 WHERE for_host <> 0 AND fits = ?1",
            )?
            .query_row([fits], |r| r.get(0))
    }

    /// Since when the oldest queued task waits for an agent.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn oldest_queued(&self) -> DbResult<Option<u64>> {
        let oldest = "SELECT since_ms FROM tasks WHERE status = 'queued' ORDER BY task LIMIT 1";
        self.db
            .prepare_cached(oldest)?
            .query_row([], |r| r.get(0))
            .optional()
    }

    /// When time next matters for any task.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn next_due(&self) -> DbResult<Option<u64>> {
        self.db
            .prepare_cached("SELECT min(due_ms) FROM tasks WHERE due_ms IS NOT NULL")?
            .query_row([], |r| r.get(0))
    }

    /// Tasks for which time matters by `now_ms`, the most urgent first.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn tasks_due(&self, now_ms: u64, limit: u32) -> DbResult<Vec<TaskRow>> {
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} WHERE due_ms <= ?1 ORDER BY due_ms LIMIT ?2"
        ))?;
        let rows = stmt.query_map(params![now_ms, limit], task_row)?;
        rows.collect()
    }

    /// Tasks that are held by a run that has ended, or that has its prompt while the task does not
    /// say so: their moves were given up with a commit that failed.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn tasks_behind(&self) -> DbResult<Vec<TaskRow>> {
        let mut stmt = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} WHERE status IN ('claimed', 'started') AND EXISTS
               (SELECT 1 FROM runs r JOIN attempts a ON a.run = r.run
                WHERE r.run = tasks.run AND (r.ended_ms IS NOT NULL
                  OR (a.prompted <> 0 AND tasks.status = 'claimed')))
             ORDER BY task"
        ))?;
        let rows = stmt.query_map([], task_row)?;
        rows.collect()
    }

    /// `task` waits for the end of `needs`.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn add_need(&self, task: u64, needs: u64) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "INSERT INTO task_needs (task, needs) VALUES (?1, ?2)",
            params![task, needs],
        )?;
        Ok(())
    }

    /// What `task` still waits for, with where that stands.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn needs(&self, task: u64) -> DbResult<Vec<(u64, String)>> {
        let mut stmt = self.db.prepare_cached(
            "SELECT n.needs, t.status FROM task_needs n JOIN tasks t ON t.task = n.needs
             WHERE n.task = ?1 ORDER BY n.needs",
        )?;
        let rows = stmt.query_map([task], |r| Ok((r.get(0)?, r.get(1)?)))?;
        rows.collect()
    }

    /// A task has ended: those that wait for it are to be told, in lots.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn meet_needs(&self, needs: u64, done: bool) -> DbResult<()> {
        self.write(
            Sort::Decision,
            "UPDATE task_needs SET met = ?2 WHERE needs = ?1",
            params![needs, if done { 1 } else { 2 }],
        )?;
        Ok(())
    }

    /// Forgets a lot of met needs and returns them: the task, the other one, whether that is done.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn take_met_needs(&self, limit: u32) -> DbResult<Vec<(u64, u64, bool)>> {
        let mut stmt = self.db.prepare_cached(
            "SELECT task, needs, met = 1 FROM task_needs INDEXED BY task_needs_met
             WHERE met <> 0 ORDER BY task LIMIT ?1",
        )?;
        let rows = stmt.query_map([limit], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        let met = rows.collect::<DbResult<Vec<(u64, u64, bool)>>>()?;
        for (task, needs, _) in &met {
            self.write(
                Sort::Decision,
                "DELETE FROM task_needs WHERE task = ?1 AND needs = ?2",
                params![task, needs],
            )?;
        }
        Ok(met)
    }

    /// Forgets the oldest ended tasks beyond the newest `keep`, a lot at a time, except those
    /// whose end somebody has not been told of yet.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn expire_tasks(&self, keep: u64) -> DbResult<()> {
        let mut stmt = self.db.prepare_cached(
            "SELECT task FROM tasks INDEXED BY tasks_ended
             WHERE ended_ms IS NOT NULL AND task <= (SELECT max(task) FROM tasks) - ?1
               AND NOT EXISTS (SELECT 1 FROM task_needs n WHERE n.needs = tasks.task)
             ORDER BY task LIMIT ?2",
        )?;
        let rows = stmt.query_map(params![keep, EXPIRE_LOT], |r| r.get(0))?;
        let gone = rows.collect::<DbResult<Vec<u64>>>()?;
        for task in gone {
            for sql in [
                "DELETE FROM task_log WHERE task = ?1",
                "DELETE FROM claims WHERE task = ?1",
                "DELETE FROM task_needs WHERE task = ?1",
                "DELETE FROM tasks WHERE task = ?1",
            ] {
                self.write(Sort::Decision, sql, params![task])?;
            }
        }
        Ok(())
    }

    /// Computes anew which agents the open tasks fit, after these have changed; whether that differs for
    /// any. Tasks that require the same are dealt with together.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn refit(&self, fits: impl Fn(&[String], Option<&str>) -> String) -> DbResult<bool> {
        let mut all = self.db.prepare_cached(
            "SELECT DISTINCT capabilities, only_agent, fits FROM tasks WHERE ended_ms IS NULL",
        )?;
        let mut rows = all.query([])?;
        let mut changed: Vec<(String, Option<String>, String)> = Vec::new();
        while let Some(r) = rows.next()? {
            let text: String = r.get(0)?;
            let capabilities: Vec<String> = serde_json::from_str(&text).map_err(|_| strange(5))?;
            let only: Option<String> = r.get(1)?;
            let now = fits(&capabilities, only.as_deref());
            if now != r.get::<_, String>(2)? {
                changed.push((text, only, now));
            }
        }
        drop(rows);
        for (capabilities, only, fits) in &changed {
            self.write(
                Sort::Decision,
                "UPDATE tasks SET fits = ?3
                 WHERE ended_ms IS NULL AND capabilities = ?1 AND only_agent IS ?2",
                params![capabilities, only, fits],
            )?;
        }
        Ok(!changed.is_empty())
    }
}

fn head(r: &Row<'_>) -> DbResult<Head> {
    Ok(Head {
        fits: r.get(0)?,
        priority: r.get(1)?,
        task: r.get(2)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::lifecycle::Status;
    use crate::store::tests::scratch;
    use crate::store::NewTask;

    fn add(store: &Store, fits: &str, priority: i32) -> u64 {
        let new = NewTask {
            status: Status::Queued,
            title: "t",
            description: "",
            capabilities: &[],
            only_agent: None,
            fits,
            priority,
            by_uid: 1,
            at_ms: 5,
            wait_until_ms: None,
            deadline_ms: None,
            attempts: 3,
            retry_on: 0,
            key: None,
            source: None,
            skills: &[],
            budget: None,
        };
        store.add_task(&new).unwrap()
    }

    fn end(store: &Store, task: u64) {
        let mut t = store.task(task).unwrap().unwrap();
        t.status = Status::Done;
        t.ended_ms = Some(9);
        store.save_task(&t).unwrap();
    }

    fn count(store: &Store, status: Status) -> u64 {
        let counts = store.task_counts().unwrap();
        let found = counts.iter().find(|(s, _)| s == status.as_str());
        found.map_or(0, |(_, n)| *n)
    }

    #[test]
    fn each_set_of_agents_has_its_own_queue() {
        let store = Store::open(&scratch("heads")).unwrap();
        add(&store, "", 9);
        let (old, _) = (add(&store, "a", 0), add(&store, "a", 0));
        let high = add(&store, "a,b", 5);
        let heads: Vec<u64> = store
            .queue_heads()
            .unwrap()
            .iter()
            .map(|h| h.task)
            .collect();
        assert_eq!(heads, [old, high]);
        end(&store, old);
        assert_eq!(store.queue_head("a").unwrap().unwrap().task, old + 1);
        assert!(store.queue_head("b").unwrap().is_none());
        store.refit(|_, _| "b".to_owned()).unwrap();
        assert_eq!(store.queue_heads().unwrap().len(), 1);
    }

    #[test]
    fn a_move_that_was_given_up_is_found_by_the_end_of_its_run() {
        let store = Store::open(&scratch("behind")).unwrap();
        let task = add(&store, "a", 0);
        let accept = |of_task| {
            let new = crate::store::NewRun {
                profile: "p",
                agent: "a",
                prompt: "x",
                by_uid: 1,
                at_ms: 5,
                pane: "{}",
                of_task,
            };
            store.accept(&new).unwrap()
        };
        let (run, attempt) = accept(Some(task));
        let claim = crate::store::NewClaim {
            task,
            agent: "a",
            run: Some(run),
            by_uid: None,
            at_ms: 5,
            lease_ms: None,
        };
        let mut t = store.task(task).unwrap().unwrap();
        (t.status, t.run) = (Status::Claimed, Some(run));
        t.claim = Some(store.add_claim(&claim).unwrap());
        store.save_task(&t).unwrap();
        accept(None);
        store.commit().unwrap();
        assert!(store.tasks_behind().unwrap().is_empty());
        // The end of the run and the move that follows from it, in a commit that fails.
        store.want_end(t.claim.unwrap(), "run").unwrap();
        store.end(run, attempt, 9, "{}").unwrap();
        end(&store, task);
        store.spoil();
        store.commit().unwrap_err();
        store.give_up_decisions();
        store.commit().unwrap();
        let behind = store.tasks_behind().unwrap();
        assert_eq!((behind.len(), behind[0].task), (1, task));
        let c = store.claim(t.claim.unwrap()).unwrap().unwrap();
        assert_eq!((c.stop.as_deref(), c.ended_ms), (Some("run"), None));
        // Its run is not forgotten before.
        assert!(store.expire(1).unwrap().is_empty());
        t.claim = None;
        store.save_task(&t).unwrap();
        assert_eq!(store.expire(1).unwrap().len(), 1);
    }

    #[test]
    fn counts_follow_every_change() {
        let store = Store::open(&scratch("counts")).unwrap();
        let tasks: Vec<u64> = (0..20).map(|_| add(&store, "a", 0)).collect();
        for task in &tasks[..15] {
            end(&store, *task);
        }
        assert_eq!(
            (count(&store, Status::Queued), count(&store, Status::Done)),
            (5, 15)
        );
        store.add_need(tasks[19], tasks[0]).unwrap();
        store.expire_tasks(10).unwrap();
        assert_eq!(count(&store, Status::Done), 15 - 8);
        // Somebody still waits to hear of the first one.
        assert!(store.task(tasks[0]).unwrap().is_some());
        assert!(store.task(tasks[1]).unwrap().is_none());
        store.meet_needs(tasks[0], true).unwrap();
        let met = store.take_met_needs(9).unwrap();
        assert_eq!(met, [(tasks[19], tasks[0], true)]);
        store.expire_tasks(10).unwrap();
        assert!(store.task(tasks[0]).unwrap().is_none());
    }
}
