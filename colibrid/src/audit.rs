//! The board against the monitors and the kernel: `audit`.
//!
//! spawnd tells what the kernel has of every run that left a trace. What differs is looked at a
//! second time before it is reported, since a run that is just moving differs for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libcolibri::info;
use libcolibri::msg::{RunKey, ToSpawnd};
use libcolibri::state::State;
use mio::Token;
use serde_json::{json, Value};

use crate::answers::Promise;
use crate::attempt::Stage;
use crate::engine::{Engine, Out};
use crate::runs::NO_PROFILE;

/// What spawnd found of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Its living monitor; 0 for none.
    pub monitor: u32,
    /// Living processes besides the monitor.
    pub processes: u32,
}

/// What a monitor has announced may take so long to come after it has connected.
const REPLAY: Duration = Duration::from_secs(5);

/// What the board believes of a run that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Belief {
    /// Which.
    pub key: RunKey,
    /// Where its attempt stands.
    pub stage: Stage,
    /// Its state.
    pub state: State,
    /// Its monitor is connected.
    pub connected: bool,
    /// It has been for a while and has not said who it is.
    pub silent: bool,
    /// spawnd was asked for the proof of its end and had none.
    pub unproven: bool,
    /// Records that its monitor announced and that are not stored.
    pub behind: u64,
}

/// One thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The run and attempt it is about.
    pub key: RunKey,
    /// One of the codes of colibri-protocol(7).
    pub code: &'static str,
    /// In words; not compared between two looks.
    pub message: String,
}

/// An audit under way.
#[derive(Default)]
pub struct Audit {
    /// It is the first one: what is left over goes.
    cleans: bool,
    /// Who waits for it.
    waiting: Vec<(Token, Option<Value>)>,
    found: BTreeMap<RunKey, Sight>,
    /// What did not fit at the first look.
    before: Option<BTreeSet<(RunKey, &'static str)>>,
}

/// All that does not fit between the board and what was found.
#[must_use]
pub fn compare(board: &[Belief], found: &BTreeMap<RunKey, Sight>) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut say = |key, code, message| out.push(Finding { key, code, message });
    let known: BTreeSet<RunKey> = board.iter().map(|b| b.key).collect();
    for (key, sight) in found.iter().filter(|(key, _)| !known.contains(key)) {
        let Sight { monitor, processes } = *sight;
        if monitor != 0 || processes != 0 {
            let message = match monitor {
                0 => "the board says that it has ended, but its container is not empty".into(),
                _ => format!(
                    "the board says that it has ended, but its monitor {monitor} lives, and \
                     {processes} processes below it"
                ),
            };
            say(*key, "alive", message);
        } else {
            let message = "it has ended, but its note, its socket or its TMPDIR was left".into();
            say(*key, "left-over", message);
        }
    }
    for b in board {
        let sight = found.get(&b.key).copied();
        let Sight { monitor, processes } = sight.unwrap_or(Sight {
            monitor: 0,
            processes: 0,
        });
        if b.unproven {
            let message = format!("it is over, but {processes} processes of it are left");
            say(b.key, "not-dead", message);
        }
        // Before it is started and after it is lost or over, all may be true for a while.
        if !matches!(
            b.stage,
            Stage::Running | Stage::Asked | Stage::Termed | Stage::Killed(_)
        ) {
            continue;
        }
        let works = matches!(b.state, State::Idle | State::Working | State::Blocked);
        if monitor == 0 {
            let message = format!(
                "the board says {}, but it has no living monitor",
                b.state.as_str()
            );
            say(b.key, "no-monitor", message);
        } else if !b.connected {
            let message = format!("its monitor {monitor} lives but is not connected");
            say(b.key, "not-connected", message);
        } else if b.silent {
            let message = format!("its monitor {monitor} is connected and says nothing");
            say(b.key, "silent", message);
        } else if b.behind > 0 {
            let message = format!("{} records of its journal are not on the board", b.behind);
            say(b.key, "behind", message);
        } else if works && processes == 0 {
            let message = format!(
                "the board says {}, but no process of it is left below monitor {monitor}",
                b.state.as_str()
            );
            say(b.key, "no-agent", message);
        }
    }
    out
}

impl Engine {
    /// Somebody asks for an audit: it begins, or the one under way answers for both.
    pub(crate) fn audit(&mut self, client: Token, id: Option<Value>) {
        if let Some(c) = self.clients.get(client) {
            c.busy = true;
        }
        let begins = self.audit.is_none();
        let audit = self.audit.get_or_insert_with(Audit::default);
        audit.waiting.push((client, id));
        if begins {
            self.survey();
        }
    }

    /// Looks for what a suite that was killed has left of runs that are over, and has it removed:
    /// nobody else would ask for that again.
    pub(crate) fn clean_up(&mut self) {
        self.audit = Some(Audit {
            cleans: true,
            ..Audit::default()
        });
        self.survey();
    }

    fn survey(&mut self) {
        let token = self.last_command;
        self.out.push_back(Out::Spawnd(ToSpawnd::Survey { token }));
    }

    /// spawnd has found something. `false`: nobody asked.
    pub(crate) fn found(&mut self, key: RunKey, sight: Sight) -> bool {
        let Some(audit) = &mut self.audit else {
            return false;
        };
        audit.found.insert(key, sight);
        true
    }

    /// spawnd has told everything. `false`: nobody asked.
    pub(crate) fn surveyed(&mut self) -> bool {
        let board = self.beliefs();
        let Some(audit) = &mut self.audit else {
            return false;
        };
        let found = std::mem::take(&mut audit.found);
        let mut findings = compare(&board, &found);
        match &audit.before {
            None if !findings.is_empty() => {
                audit.before = Some(findings.iter().map(|f| (f.key, f.code)).collect());
                self.survey();
                return true;
            }
            None => {}
            Some(before) => findings.retain(|f| before.contains(&(f.key, f.code))),
        }
        let waiting = std::mem::take(&mut audit.waiting);
        let left = |f: &&Finding| audit.cleans && f.code == "left-over";
        for f in findings.iter().filter(left) {
            info!("removing what was left of {}", f.key.stem());
            let (key, profile) = (f.key, NO_PROFILE);
            self.out
                .push_back(Out::Spawnd(ToSpawnd::Release { key, profile }));
        }
        self.audit = None;
        let report = report(&board, &found, &findings);
        for (client, id) in waiting {
            self.answer_waiting(client, id, Ok(report.clone()), Promise::Nothing);
        }
        true
    }

    fn beliefs(&self) -> Vec<Belief> {
        let alive = self.runs.values().map(|l| {
            let monitor = l.monitor.and_then(|t| self.monitors.get(&t));
            let settled = monitor.filter(|m| m.since.elapsed() > REPLAY);
            let announced = settled.and_then(|m| m.hello).unwrap_or(0);
            Belief {
                key: l.key,
                stage: l.stage,
                state: l.pane.state,
                connected: monitor.is_some(),
                silent: settled.is_some_and(|m| m.hello.is_none()),
                unproven: l.unproven,
                behind: announced.saturating_sub(l.journal_seq),
            }
        });
        alive.collect()
    }
}

fn report(board: &[Belief], found: &BTreeMap<RunKey, Sight>, findings: &[Finding]) -> Value {
    let monitors = found.values().filter(|s| s.monitor != 0).count();
    let processes: u64 = found.values().map(|s| u64::from(s.processes)).sum();
    let findings: Vec<Value> = findings
        .iter()
        .map(|f| {
            json!({
                "run": f.key.run, "attempt": f.key.attempt,
                "code": f.code, "message": f.message,
            })
        })
        .collect();
    json!({
        "runs": board.len(), "monitors": monitors, "processes": processes,
        "disagreements": findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RunKey = RunKey { run: 7, attempt: 9 };

    fn belief(stage: Stage, state: State) -> Belief {
        Belief {
            key: KEY,
            stage,
            state,
            connected: true,
            silent: false,
            unproven: false,
            behind: 0,
        }
    }

    fn codes(board: &[Belief], monitor: u32, processes: u32) -> Vec<&'static str> {
        let found = BTreeMap::from([(KEY, Sight { monitor, processes })]);
        compare(board, &found).iter().map(|f| f.code).collect()
    }

    #[test]
    fn what_fits_is_not_named() {
        let good = belief(Stage::Running, State::Working);
        assert!(codes(&[good], 5, 2).is_empty());
        assert!(compare(&[], &BTreeMap::new()).is_empty());
        // Starting and releasing: the kernel may say anything.
        for stage in [Stage::Starting, Stage::Releasing] {
            let moving = belief(stage, State::Working);
            for (monitor, processes) in [(0, 0), (5, 0), (5, 2)] {
                assert!(codes(&[moving], monitor, processes).is_empty());
            }
            assert!(compare(&[moving], &BTreeMap::new()).is_empty());
        }
        // An agent that is done may have exited already.
        assert!(codes(&[belief(Stage::Running, State::Done)], 5, 0).is_empty());
    }

    #[test]
    fn every_kind_of_difference_has_its_code() {
        let good = belief(Stage::Running, State::Working);
        assert_eq!(codes(&[], 5, 2), ["alive"]);
        assert_eq!(codes(&[], 0, 1), ["alive"]);
        assert_eq!(codes(&[], 0, 0), ["left-over"]);
        assert_eq!(codes(&[good], 0, 0), ["no-monitor"]);
        assert_eq!(codes(&[good], 5, 0), ["no-agent"]);
        let found = BTreeMap::new();
        assert_eq!(compare(&[good], &found)[0].code, "no-monitor");
        let apart = Belief {
            connected: false,
            ..good
        };
        assert_eq!(codes(&[apart], 5, 2), ["not-connected"]);
        let silent = Belief {
            silent: true,
            ..good
        };
        assert_eq!(codes(&[silent], 5, 2), ["silent"]);
        let unproven = Belief {
            unproven: true,
            ..belief(Stage::Releasing, State::Error)
        };
        assert_eq!(codes(&[unproven], 0, 1), ["not-dead"]);
        let behind = Belief { behind: 3, ..good };
        assert_eq!(codes(&[behind], 5, 2), ["behind"]);
        // The same run, another attempt: a stale one lives.
        let key = RunKey { run: 7, attempt: 8 };
        let newer = Belief { key, ..good };
        assert_eq!(codes(&[newer], 5, 2), ["alive", "no-monitor"]);
    }
}
