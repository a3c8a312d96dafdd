//! What is known of colibrid: a status, the tasks that were listed, and every event after them. Pure.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Event, Pane, Status};
use crate::model_board::Task;

/// Events kept for the tails of runs.
pub const LOG_MAX: usize = 2000;
/// Tasks kept that have not ended, and that have.
const TASKS_MAX: (usize, usize) = (1000, 100);
/// Statuses of tasks that have not ended, in the order in which they are shown.
pub const OPEN: [&str; 4] = ["started", "claimed", "queued", "waiting"];

/// See the module.
#[derive(Debug, Default)]
pub struct Facts {
    /// The status that all began with; its panes are in `panes`.
    pub status: Status,
    /// By run: the living, and the newest of each agent.
    pub panes: BTreeMap<u64, Pane>,
    /// By number: the open ones that were listed or have moved, and the last that ended.
    pub tasks: BTreeMap<u64, Task>,
    /// Tasks for each status.
    pub counts: BTreeMap<String, u64>,
    /// The last events, oldest first.
    pub log: VecDeque<Event>,
}

impl Facts {
    /// Begins with a status; what is known of tasks stays.
    pub fn begin(&mut self, mut status: Status) {
        self.panes = std::mem::take(&mut status.panes)
            .into_iter()
            .map(|p| (p.run, p))
            .collect();
        self.counts = std::mem::take(&mut status.tasks);
        self.status = status;
    }

    /// Remembers an event that is already in everything else.
    pub fn remember(&mut self, event: Event) {
        if self.log.len() >= LOG_MAX {
            self.log.pop_front();
        }
        self.log.push_back(event);
    }

    /// Takes in the last events of a run, as far as they are not there.
    pub fn remember_older(&mut self, events: Vec<Event>) {
        for event in events.into_iter().rev() {
            let at = self.log.partition_point(|e| e.seq < event.seq);
            if self.log.get(at).is_none_or(|e| e.seq != event.seq) && self.log.len() < LOG_MAX {
                self.log.insert(at, event);
            }
        }
    }

    /// The events of a run, oldest first.
    pub fn tail(&self, run: u64) -> impl DoubleEndedIterator<Item = &Event> {
        self.log.iter().filter(move |e| e.run == run)
    }

    /// Takes in the next event: panes, tasks, counts.
    pub fn apply(&mut self, e: &Event) {
        if e.kind == "task" {
            self.count(e);
            self.place(e);
        }
        if e.run == 0 {
            return;
        }
        if e.kind == "run-created" {
            self.panes.insert(e.run, created(e));
        }
        if let Some(pane) = self.panes.get_mut(&e.run) {
            change(pane, e);
        }
        if matches!(e.kind.as_str(), "run-created" | "ended") {
            self.forget_older(e.run);
        }
    }

    fn count(&mut self, e: &Event) {
        if let Some(n) = e.before.as_ref().and_then(|b| self.counts.get_mut(b)) {
            *n = n.saturating_sub(1);
        }
        *self.counts.entry(e.status.clone()).or_default() += 1;
    }

    /// Puts a task where its event says that it stands.
    pub fn place(&mut self, e: &Event) {
        let Some(id) = e.task else { return };
        let task = self.tasks.entry(id).or_default();
        task.id = id;
        if task.status != e.status {
            task.since.clone_from(&e.at);
        }
        task.status.clone_from(&e.status);
        task.title.clone_from(&e.dialog.title);
        task.reason.clone_from(&e.reason);
        if e.run != 0 {
            task.run = Some(e.run);
        }
        if !e.agent.is_empty() {
            task.agent = Some(e.agent.clone());
        }
        self.limit_tasks();
    }

    /// Takes in tasks of a list; `over` says whether it is newer than what is known of them.
    pub fn list(&mut self, tasks: Vec<Task>, over: bool) {
        for task in tasks {
            if over || !self.tasks.contains_key(&task.id) {
                self.tasks.insert(task.id, task);
            }
        }
        self.limit_tasks();
    }

    /// Keeps the newest of the ended, and the first of the open ones.
    fn limit_tasks(&mut self) {
        let over = |open: bool, most: usize| {
            let mut all = self.ordered(|t| is_open(t) == open);
            all.drain(..all.len().min(most));
            all.into_iter().map(|t| t.id).collect::<Vec<u64>>()
        };
        // Not at each task: the others are sorted for it.
        if self.tasks.len() <= TASKS_MAX.0 + 2 * TASKS_MAX.1 {
            return;
        }
        let mut gone = over(true, TASKS_MAX.0);
        gone.extend(over(false, TASKS_MAX.1));
        for id in gone {
            self.tasks.remove(&id);
        }
    }

    /// The tasks as they are shown: those that are worked on, those that come next, those that ended last.
    #[must_use]
    pub fn board(&self) -> Vec<&Task> {
        self.ordered(|_| true)
    }

    fn ordered(&self, which: impl Fn(&Task) -> bool) -> Vec<&Task> {
        let mut all: Vec<&Task> = self.tasks.values().filter(|t| which(t)).collect();
        let place = |t: &Task| OPEN.iter().position(|s| *s == t.status);
        all.sort_by(|a, b| match (place(a), place(b)) {
            (Some(x), Some(y)) => (x, -a.priority, a.id).cmp(&(y, -b.priority, b.id)),
            (None, None) => (&b.since, b.id).cmp(&(&a.since, a.id)),
            (x, y) => y.is_some().cmp(&x.is_some()),
        });
        all
    }

    /// A status of which fewer tasks are known than there are, and fewer than fill a screen.
    #[must_use]
    pub fn lacking(&self) -> Option<&'static str> {
        const ENOUGH: u64 = 50;
        OPEN.into_iter().find(|status| {
            let known = self.tasks.values().filter(|t| t.status == *status).count() as u64;
            let there = self.counts.get(*status).copied().unwrap_or(0);
            known < there.min(ENOUGH)
        })
    }

    /// The panes as they are shown: who needs a person, the living, the ended; newest first.
    #[must_use]
    pub fn runs(&self) -> Vec<&Pane> {
        let mut all: Vec<&Pane> = self.panes.values().collect();
        all.sort_by_key(|p| (!p.attention, p.ended, std::cmp::Reverse(p.run)));
        all
    }

    /// A snapshot has the living runs, and the newest run of each agent if that has ended.
    fn forget_older(&mut self, run: u64) {
        let Some(agent) = self.panes.get(&run).map(|p| p.agent.clone()) else {
            return;
        };
        let of_agent = self.panes.values().filter(|p| p.agent == agent);
        let newest = of_agent.map(|p| p.run).max();
        self.panes
            .retain(|run, p| p.agent != agent || !p.ended || Some(*run) == newest);
    }
}

/// Whether a task has not ended.
#[must_use]
pub fn is_open(t: &Task) -> bool {
    OPEN.contains(&t.status.as_str())
}

fn created(e: &Event) -> Pane {
    Pane {
        run: e.run,
        agent: e.agent.clone(),
        state: "unknown".into(),
        phase: Some("starting".into()),
        since: e.at.clone(),
        ..Pane::default()
    }
}

/// What one event does to the pane of its run; as colibrid's own fold.
fn change(p: &mut Pane, e: &Event) {
    match e.kind.as_str() {
        "started" => p.container = Some(e.container.clone()),
        "state" => {
            state(p, e);
            p.phase.clone_from(&e.phase);
        }
        "session" => {
            p.pi_session_id = Some(e.id.clone());
            if !e.cwd.is_empty() {
                p.cwd = Some(e.cwd.clone());
            }
        }
        "usage" => p.usage = e.usage.clone(),
        "asked" => p.dialogs.push(e.dialog.clone()),
        "settled" => p.dialogs.retain(|d| d.request != e.dialog.request),
        "tool-start" => p.tools.push(e.name.clone()),
        "tool-end" => {
            if let Some(at) = p.tools.iter().position(|t| *t == e.name) {
                p.tools.remove(at);
            }
        }
        "stop-wanted" | "stopping" => p.phase = Some("stopping".into()),
        "stalled" => p.stalled = true,
        "unstalled" => p.stalled = false,
        "ended" => {
            state(p, e);
            p.phase = None;
            p.ended = true;
            p.stalled = false;
            p.dialogs.clear();
            p.tools.clear();
        }
        _ => {}
    }
    // What colibrid says by itself is no sign of life.
    if !matches!(
        e.kind.as_str(),
        "run-created" | "stop-wanted" | "stalled" | "did" | "task" | "ended"
    ) {
        p.last_event_at = Some(e.at.clone());
    }
    p.attention = match p.state.as_str() {
        "error" => true,
        "blocked" => !p.ended,
        _ => p.stalled,
    };
}

fn state(p: &mut Pane, e: &Event) {
    if p.state != e.state {
        p.since.clone_from(&e.at);
    }
    p.state.clone_from(&e.state);
    p.reason.clone_from(&e.reason);
    if !matches!(e.state.as_str(), "working" | "blocked") {
        p.tools.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> Event {
        serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"))
    }

    fn facts(events: &[&str]) -> Facts {
        let mut f = Facts::default();
        for json in events {
            f.apply(&event(json));
        }
        f
    }

    const CREATED: &str =
        r#"{"seq":1,"at":"2026-01-01T00:00:00Z","run":7,"kind":"run-created","agent":"coder"}"#;
    const BLOCKED: &str = r#"{"seq":2,"at":"2026-01-01T00:00:05Z","run":7,"kind":"state","state":"blocked","phase":null}"#;

    #[test]
    fn a_question_comes_and_goes() {
        let asked = r#"{"seq":3,"at":"x","run":7,"kind":"asked","request":"r1","method":"confirm","title":"Go?"}"#;
        let mut f = facts(&[CREATED, BLOCKED, asked]);
        let p = &f.panes[&7];
        assert_eq!((p.state.as_str(), p.attention), ("blocked", true));
        assert_eq!(p.dialogs[0].title, "Go?");
        assert_eq!(p.since, "2026-01-01T00:00:05Z");
        f.apply(&event(
            r#"{"seq":4,"at":"x","run":7,"kind":"settled","request":"r1","how":"answered"}"#,
        ));
        assert!(f.panes[&7].dialogs.is_empty());
    }

    #[test]
    fn an_end_is_an_end() {
        let ended =
            r#"{"seq":3,"at":"x","run":7,"kind":"ended","state":"idle","reason":"stopped"}"#;
        let mut f = facts(&[CREATED, BLOCKED, ended]);
        let p = &f.panes[&7];
        assert!(p.ended && !p.attention);
        // The next run of the agent takes its place.
        f.apply(&event(
            r#"{"seq":4,"at":"x","run":8,"kind":"run-created","agent":"coder"}"#,
        ));
        assert_eq!(f.panes.keys().copied().collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn who_needs_somebody_comes_first() {
        let f = facts(&[
            CREATED,
            BLOCKED,
            r#"{"seq":3,"run":8,"kind":"run-created","agent":"a"}"#,
            r#"{"seq":4,"run":9,"kind":"run-created","agent":"b"}"#,
            r#"{"seq":5,"run":8,"kind":"stalled","quiet_seconds":90}"#,
        ]);
        let order: Vec<u64> = f.runs().iter().map(|p| p.run).collect();
        assert_eq!(order, [8, 7, 9]);
    }

    #[test]
    fn tasks_move_through_the_columns() {
        let mut f = facts(&[
            r#"{"seq":1,"at":"1","kind":"task","task":1,"status":"queued","before":null,"title":"one"}"#,
            r#"{"seq":2,"at":"2","kind":"task","task":2,"status":"queued","before":null,"title":"two"}"#,
            r#"{"seq":3,"at":"3","kind":"task","task":2,"status":"claimed","before":"queued","title":"two","agent":"coder","run":7}"#,
        ]);
        let ids = |f: &Facts| f.board().iter().map(|t| t.id).collect::<Vec<_>>();
        assert_eq!(ids(&f), [2, 1]);
        assert_eq!((f.counts["queued"], f.counts["claimed"]), (1, 1));
        assert_eq!(f.tasks[&2].run, Some(7));
        f.apply(&event(
            r#"{"seq":4,"at":"4","kind":"task","task":2,"status":"done","before":"claimed","title":"two"}"#,
        ));
        assert_eq!(ids(&f), [1, 2]);
        assert_eq!(f.lacking(), None);
        f.counts.insert("waiting".into(), 3);
        assert_eq!(f.lacking(), Some("waiting"));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut f = Facts::default();
        for n in 1..3000 {
            let status = if n % 2 == 0 { "done" } else { "queued" };
            f.apply(&event(&format!(
                r#"{{"seq":{n},"at":"{n:05}","kind":"task","task":{n},"status":"{status}","before":null}}"#
            )));
            f.remember(Event::default());
        }
        assert!(f.tasks.len() <= 1200 && f.log.len() <= LOG_MAX);
        assert!(
            f.tasks.contains_key(&1),
            "the oldest in the queue comes first"
        );
        assert!(f.tasks.contains_key(&2998), "what ended last is shown");
    }
}
