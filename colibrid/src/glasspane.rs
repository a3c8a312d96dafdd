//! The glasspane: one true state per agent, folded from its journal records.
//!
//! The fold is pure: the same records give the same pane, whenever they are read. The snapshot
//! is `clawdie.glasspane.snapshot.v1`: the original's fields and, optional for readers, ours.

use libcolibri::formats::SNAPSHOT as SCHEMA;
use libcolibri::msg::RunKey;
use libcolibri::pi::DIALOGS;
use libcolibri::record::{clip, Dialog, Entry, Record};
use libcolibri::state::{Container, Phase, State, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

use crate::event::{dialog, or_null, phase, usage};
use crate::time::rfc3339;

/// Open tools that are named in a pane.
const TOOLS_MAX: usize = 64;
/// Longest message of a dialog in a pane, in bytes; the `asked` event has all of it.
const DIALOG_TEXT: usize = 4096;
/// Most that all dialogs of a pane say, in bytes of JSON. Every pane is in one snapshot, and is stored
/// whole.
const DIALOGS_TEXT: usize = 16 * 1024;

/// Why a run is in error whose monitor is gone.
const LOST: &str = "monitor lost";

/// What is known about one agent. This is also how it is stored, so fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pane {
    /// Run id.
    pub run: u64,
    /// Attempt id.
    pub attempt: u64,
    /// Agent name.
    pub agent: String,
    /// Profile name.
    pub profile: String,
    /// State.
    pub state: State,
    /// Phase.
    pub phase: Phase,
    /// Why; empty when there is nothing to say.
    pub reason: String,
    /// Since when the state (not the phase) is what it is.
    pub since_ms: u64,
    /// When the phase ends by itself; 0 = unknown.
    pub until_ms: u64,
    /// The last event; 0 = none yet.
    pub last_event_ms: u64,
    /// Pi's session.
    pub session: Option<String>,
    /// Working directory: the profile's, or what Pi says it is.
    pub cwd: Option<String>,
    /// Quiet longer than the profile allows.
    pub stalled: bool,
    /// Its end was asked for and is not proven yet.
    pub stopping: bool,
    /// Proven dead.
    pub ended: bool,
    /// Its profile lets it stay when its work is done: it can be given more.
    #[serde(default)]
    pub stays: bool,
    /// What holds it.
    pub container: Option<Container>,
    /// Sums.
    pub usage: Usage,
    /// Dialogs that wait.
    pub dialogs: Vec<StoredDialog>,
    /// Open tools: call id and name.
    pub tools: Vec<(String, String)>,
}

/// A dialog in a pane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDialog {
    request: String,
    method: String,
    title: String,
    message: String,
    options: Vec<String>,
    timeout_ms: u64,
    /// There is more to it than is said here.
    #[serde(default)]
    cut: bool,
}

/// The beginning of a text that is no longer than `room` bytes as JSON, which becomes less by it.
fn fit<'a>(text: &'a str, room: &mut usize) -> &'a str {
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\x08' | '\x0c' => 2,
        c if c.is_ascii_control() => 6,
        c => c.len_utf8(),
    };
    for (at, c) in text.char_indices() {
        match room.checked_sub(escaped(c)) {
            Some(left) => *room = left,
            None => return &text[..at],
        }
    }
    text
}

impl StoredDialog {
    /// As much of a dialog as fits into `room` bytes.
    fn new(d: &Dialog, mut room: usize) -> Self {
        let title = fit(&d.title, &mut room);
        let message = fit(clip(&d.message, DIALOG_TEXT), &mut room);
        // Half an option is none: nobody could answer with it.
        let options: Vec<String> = d
            .options
            .iter()
            .take_while(|o| fit(o, &mut room).len() == o.len())
            .cloned()
            .collect();
        StoredDialog {
            cut: title.len() < d.title.len()
                || message.len() < d.message.len()
                || options.len() < d.options.len(),
            request: d.request.clone(),
            method: d.method.clone(),
            title: title.to_owned(),
            message: message.to_owned(),
            options,
            timeout_ms: d.timeout_ms,
        }
    }

    /// What it says, in bytes of JSON.
    fn size(&self) -> usize {
        let mut room = usize::MAX;
        for text in [&self.title, &self.message]
            .into_iter()
            .chain(&self.options)
        {
            fit(text, &mut room);
        }
        usize::MAX - room
    }

    /// How an answer names it.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }

    fn value(&self) -> Value {
        let mut value = dialog(&Dialog {
            request: self.request.clone(),
            method: self.method.clone(),
            title: self.title.clone(),
            message: self.message.clone(),
            options: self.options.clone(),
            timeout_ms: self.timeout_ms,
        });
        if let (true, Some(fields)) = (self.cut, value.as_object_mut()) {
            fields.insert("cut".into(), true.into());
        }
        value
    }
}

impl Pane {
    /// The pane of a run that was just accepted.
    #[must_use]
    pub fn new(key: RunKey, agent: &str, profile: &str, at_ms: u64) -> Pane {
        Pane {
            run: key.run,
            attempt: key.attempt,
            agent: agent.to_owned(),
            profile: profile.to_owned(),
            state: State::Unknown,
            phase: Phase::Starting,
            reason: String::new(),
            since_ms: at_ms,
            until_ms: 0,
            last_event_ms: 0,
            session: None,
            cwd: None,
            stalled: false,
            stopping: false,
            ended: false,
            stays: false,
            container: None,
            usage: Usage::default(),
            dialogs: Vec::new(),
            tools: Vec::new(),
        }
    }

    /// Takes in one record. Whether state, phase, reason or an attribute changed.
    pub fn apply(&mut self, entry: &Entry) -> bool {
        let told = |p: &Pane| (p.state, p.phase, p.reason.clone(), p.until_ms, p.stalled);
        let before = told(self);
        self.last_event_ms = entry.at_ms;
        self.stalled = false;
        match &entry.record {
            Record::Opened { container, .. } => self.container = Some(*container),
            Record::State {
                state,
                phase,
                reason,
                until_ms,
            } => self.set(*state, *phase, reason, *until_ms, entry.at_ms),
            Record::Session { id, cwd } => {
                self.session = Some(id.clone());
                if !cwd.is_empty() {
                    self.cwd = Some(cwd.clone());
                }
            }
            Record::Usage(u) => self.usage = *u,
            Record::Asked(d) if self.dialogs.len() < DIALOGS => {
                let said: usize = self.dialogs.iter().map(StoredDialog::size).sum();
                let room = DIALOGS_TEXT.saturating_sub(said);
                self.dialogs.push(StoredDialog::new(d, room));
            }
            Record::Settled { request, .. } => self.dialogs.retain(|d| d.request != *request),
            Record::ToolStart { id, name } if self.tools.len() < TOOLS_MAX => {
                self.tools.push((id.clone(), name.clone()));
            }
            Record::ToolEnd { id, .. } => self.tools.retain(|(open, _)| open != id),
            Record::Stopping => self.stopping = true,
            Record::Ended(e) => self.set(e.state, self.phase, &e.reason, 0, entry.at_ms),
            _ => {}
        }
        before != told(self)
    }

    fn set(&mut self, state: State, phase: Phase, reason: &str, until_ms: u64, at_ms: u64) {
        if self.state != state {
            self.since_ms = at_ms;
        }
        self.state = state;
        self.phase = phase;
        self.reason = reason.to_owned();
        self.until_ms = until_ms;
        // A tool that asks a person is still open.
        if !matches!(state, State::Working | State::Blocked) {
            self.tools.clear();
        }
    }

    /// Its monitor is gone without a last word.
    pub fn lost(&mut self, at_ms: u64) {
        self.set(State::Error, Phase::None, LOST, 0, at_ms);
    }

    /// Whether that was noted.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.state == State::Error && self.reason == LOST
    }

    /// It could not be started.
    pub fn not_started(&mut self, why: &str, at_ms: u64) {
        self.set(State::Error, Phase::None, why, 0, at_ms);
    }

    /// Proven dead. What was open until now is so no more: subscribers learn that from the event
    /// `ended` and not before.
    pub fn end(&mut self) {
        self.dialogs.clear();
        self.tools.clear();
        self.phase = Phase::None;
        self.stopping = false;
        self.stalled = false;
        self.ended = true;
    }

    /// The phase to show: that the end was asked for outweighs the others.
    #[must_use]
    pub fn shown_phase(&self) -> Phase {
        if self.stopping && !self.ended {
            Phase::Stopping
        } else {
            self.phase
        }
    }

    /// The question that waits longest.
    #[must_use]
    pub fn first_dialog(&self) -> Option<String> {
        self.dialogs.first().map(|d| d.request.clone())
    }

    /// Whether a person should look.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        match self.state {
            State::Error => true,
            State::Blocked => !self.ended,
            _ => self.stalled,
        }
    }

    /// The pane in a snapshot.
    #[must_use]
    pub fn value(&self) -> Value {
        let time = |ms: u64| match ms {
            0 => Value::Null,
            ms => rfc3339(ms).into(),
        };
        json!({
            "id": self.run.to_string(),
            "agent": self.agent,
            "state": self.state.as_str(),
            "pi_session_id": self.session,
            "last_event_at": time(self.last_event_ms),
            "cwd": self.cwd,
            "stalled": self.stalled,
            "runtime": "Pi",
            "run": self.run,
            "attempt": self.attempt,
            "profile": self.profile,
            "phase": phase(self.shown_phase()),
            "reason": or_null(&self.reason),
            "since": rfc3339(self.since_ms),
            "until": time(self.until_ms),
            "attention": self.needs_attention(),
            "ended": self.ended,
            "stays": self.stays,
            "container": self.container.map(Container::as_str),
            "usage": usage(&self.usage),
            "dialogs": self.dialogs.iter().map(StoredDialog::value).collect::<Vec<_>>(),
            "tools": self.tools.iter().map(|(_, name)| name).collect::<Vec<_>>(),
        })
    }

    /// Fields of a `state` event.
    #[must_use]
    pub fn state_fields(&self) -> Value {
        json!({
            "state": self.state.as_str(),
            "phase": phase(self.shown_phase()),
            "reason": or_null(&self.reason),
            "until": if self.until_ms == 0 { Value::Null } else { rfc3339(self.until_ms).into() },
            "attention": self.needs_attention(),
        })
    }

    /// For the database.
    #[must_use]
    pub fn stored(&self) -> String {
        // A struct of strings and numbers always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A snapshot of panes, valid at event `seq`.
#[must_use]
pub fn snapshot(host: &str, now_ms: u64, seq: u64, panes: Vec<Value>) -> Value {
    json!({
        "schema": SCHEMA,
        "host": host,
        "generated_at": rfc3339(now_ms),
        "seq": seq,
        "panes": panes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, record: Record) -> Entry {
        Entry {
            seq,
            at_ms: 1000 * seq,
            record,
        }
    }

    fn state(state: State, phase: Phase) -> Record {
        Record::State {
            state,
            phase,
            reason: String::new(),
            until_ms: 0,
        }
    }

    fn pane() -> Pane {
        Pane::new(RunKey { run: 1, attempt: 2 }, "a", "p", 5)
    }

    #[test]
    fn since_is_of_the_state_not_the_phase() {
        let mut p = pane();
        assert!(p.apply(&entry(1, state(State::Working, Phase::Model))));
        assert!(p.apply(&entry(2, state(State::Working, Phase::Tool))));
        assert_eq!(p.since_ms, 1000);
        assert!(!p.apply(&entry(3, state(State::Working, Phase::Tool))));
    }

    fn asked() -> Record {
        Record::Asked(Dialog {
            request: "r".into(),
            method: "confirm".into(),
            title: "t".into(),
            message: String::new(),
            options: vec![],
            timeout_ms: 0,
        })
    }

    #[test]
    fn another_end_of_a_phase_is_told() {
        let mut p = pane();
        let until = |until_ms| Record::State {
            state: State::Blocked,
            phase: Phase::None,
            reason: String::new(),
            until_ms,
        };
        assert!(p.apply(&entry(1, until(9000))));
        assert!(p.apply(&entry(2, until(5000))));
        assert!(!p.apply(&entry(3, until(5000))));
    }

    #[test]
    fn a_dialog_stays_until_it_is_settled() {
        let mut p = pane();
        let (id, name) = ("i".into(), "bash".into());
        p.apply(&entry(1, Record::ToolStart { id, name }));
        p.apply(&entry(1, asked()));
        p.apply(&entry(2, state(State::Blocked, Phase::None)));
        assert!(p.needs_attention());
        assert_eq!(p.value()["tools"][0], "bash");
        assert_eq!(p.value()["dialogs"][0]["request"], "r");
        let how = libcolibri::record::Closed::Answered;
        p.apply(&entry(
            3,
            Record::Settled {
                request: "r".into(),
                how,
            },
        ));
        assert!(p.dialogs.is_empty());
    }

    #[test]
    fn a_dialog_that_is_not_settled_stays_until_the_end_is_proven() {
        let mut p = pane();
        p.apply(&entry(1, asked()));
        p.lost(2000);
        assert_eq!(p.value()["dialogs"][0]["request"], "r");
        p.end();
        assert!(p.dialogs.is_empty());
    }

    #[test]
    fn a_stored_pane_comes_back_whole() {
        let mut p = pane();
        p.apply(&entry(
            1,
            Record::ToolStart {
                id: "i".into(),
                name: "bash".into(),
            },
        ));
        p.apply(&entry(2, Record::Stopping));
        let back: Pane = serde_json::from_str(&p.stored()).unwrap();
        assert_eq!(back, p);
        assert_eq!(p.value()["phase"], "stopping");
    }

    #[test]
    fn the_snapshot_has_the_originals_fields() {
        let s = snapshot("h", 0, 9, vec![pane().value()]);
        assert_eq!(s["schema"], SCHEMA);
        for f in [
            "id",
            "agent",
            "state",
            "pi_session_id",
            "last_event_at",
            "cwd",
            "stalled",
            "runtime",
        ] {
            assert!(s["panes"][0].get(f).is_some(), "{f}");
        }
    }
}
