//! Why a run is in its state: `explain-run`.

use std::time::Instant;

use libcolibri::state::{Container, State};
use serde_json::{json, Value};

use crate::attempt::Stage;
use crate::engine::Engine;
use crate::event::{or_null, phase};
use crate::request::Refusal;
use crate::runs::Live;
use crate::store::DbResult;
use crate::time::rfc3339;

/// Events that are shown as evidence.
const EVIDENCE: usize = 8;

/// Where an attempt stands, in the protocol's words.
fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Starting => "starting",
        Stage::Running => "running",
        Stage::Asked => "asked to end",
        Stage::Termed => "sent SIGTERM",
        Stage::Killed(_) => "sent SIGKILL",
        Stage::Releasing => "proving",
        Stage::Over => "over",
    }
}

/// For whom a run waits, and for what: both for people and both stable enough for programs that
/// look at the first only.
type Wait = (&'static str, String);

impl Engine {
    /// Everything that says why a run is shown as it is.
    pub(crate) fn explain(&self, run: u64) -> Result<Value, Refusal> {
        let row = self.row(run)?;
        let pane = self.pane_of(&row);
        let live = self.runs.get(&run);
        let refused = |e| crate::serve::unavailable(&e);
        let attempt = self.store.attempt(row.attempt).map_err(refused)?;
        let evidence = self.evidence(run).map_err(refused)?;
        let (whom, what) = match live {
            Some(l) => self.waits_for(l),
            None => ("nobody", "it has ended, and nothing of it is left".into()),
        };
        let monitor = live.and_then(|l| l.monitor.and_then(|t| self.monitors.get(&t)));
        Ok(json!({
            "run": run,
            "attempt": row.attempt,
            "profile": row.profile,
            "state": pane.state.as_str(),
            "phase": phase(pane.shown_phase()),
            "reason": or_null(&pane.reason),
            "since": rfc3339(pane.since_ms),
            "stage": stage_word(live.map_or(Stage::Over, |l| l.stage)),
            "ended": row.ended_ms.is_some(),
            "wanted": row.wanted,
            "waits_for": whom,
            "because": what,
            "next": live.and_then(next),
            "prompted": attempt.prompted,
            "quiet_seconds": live.map(|l| l.last_activity.elapsed().as_secs()),
            "monitor": {
                "pid": attempt.monitor,
                "connected": monitor.is_some(),
                "announced_seq": monitor.and_then(|m| m.hello),
            },
            "journal": format!("{run}-{}.journal", row.attempt),
            "journal_seq": live.map_or(row.journal_seq, |l| l.journal_seq),
            "container": pane.container.map(Container::as_str),
            "container_proof": pane.container.is_some_and(Container::is_proof),
            "proof": row.proof,
            "evidence": evidence,
        }))
    }

    /// The last events of a run, oldest first.
    fn evidence(&self, run: u64) -> DbResult<Vec<Value>> {
        let lines = self.store.last_events(run, EVIDENCE)?;
        let event = |line: &String| {
            let mut v: Value = serde_json::from_str(line).ok()?;
            Some(v.get_mut("event")?.take())
        };
        Ok(lines.iter().filter_map(event).collect())
    }

    fn waits_for(&self, l: &Live) -> Wait {
        let hello = l
            .monitor
            .and_then(|t| self.monitors.get(&t))
            .map(|m| m.hello);
        match l.stage {
            Stage::Starting => ("colibri-spawnd", "it is being started".into()),
            Stage::Releasing => {
                let what = "proof that nothing of it is left, and its clean-up";
                ("colibri-spawnd", what.into())
            }
            Stage::Asked | Stage::Termed | Stage::Killed(_) => (
                "agent",
                "its end was asked for, and it has not ended yet".into(),
            ),
            Stage::Running | Stage::Over => match hello {
                None => ("monitor", "nothing is connected to it".into()),
                Some(None) => ("monitor", "its monitor has not said hello".into()),
                Some(Some(last)) if last > l.journal_seq => {
                    let behind = last - l.journal_seq;
                    (
                        "monitor",
                        format!("{behind} records of its journal are to be read"),
                    )
                }
                _ => waits_for_agent(l),
            },
        }
    }
}

fn waits_for_agent(l: &Live) -> Wait {
    let pane = &l.pane;
    if l.prompt.is_some() {
        return ("agent", "it has not taken its task yet".into());
    }
    match pane.state {
        State::Blocked => {
            let names: Vec<&str> = pane.dialogs.iter().map(|d| d.request()).collect();
            ("operator", format!("an answer to {}", names.join(", ")))
        }
        State::Idle | State::Done | State::Error if pane.stays => (
            "operator",
            "its work is over, and its profile lets it stay".into(),
        ),
        State::Done | State::Error => {
            ("agent", "its work is over, and it has not ended yet".into())
        }
        State::Unknown => ("agent", "it has given no sign of what it does".into()),
        State::Idle => ("agent", "it is at rest".into()),
        State::Working if !pane.tools.is_empty() => {
            let names: Vec<&str> = pane.tools.iter().map(|(_, name)| name.as_str()).collect();
            ("agent", format!("it uses {}", names.join(", ")))
        }
        State::Working => ("agent", "it works".into()),
    }
}

/// What colibrid does by itself if nothing happens, and in how many seconds.
fn next(l: &Live) -> Option<Value> {
    let what = match l.stage {
        Stage::Asked => "SIGTERM",
        Stage::Termed | Stage::Killed(_) => "SIGKILL",
        Stage::Releasing => "the proof is asked for again",
        _ => "it counts as stalled",
    };
    let at = l.deadline.or_else(|| l.stalls_at())?;
    let left = at.saturating_duration_since(Instant::now());
    Some(json!({"what": what, "in_seconds": left.as_secs_f64().ceil() as u64}))
}
