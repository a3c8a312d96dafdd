//! The end of a turn of the loop: one commit, then what waited for it.
//!
//! When the disk takes no writes, new work is refused by name and everything else goes on: what was
//! concluded is kept and tried again until it is stored, and only then told to subscribers. What was
//! decided on the board is not kept: it is decided again from what is stored then, and schedd is told
//! again of the schedules it was about.

use std::time::{Duration, Instant};

use libcolibri::error::{Fatal, Result};
use libcolibri::{error, info};
use mio::Token;

use crate::engine::Engine;
use crate::event::Event;
use crate::request::Refusal;
use crate::store::can_wait;

/// Between two attempts to write what could not be written.
const AGAIN: Duration = Duration::from_secs(1);

/// Bytes of conclusions that may wait for the disk, or for the end of the turn; then the monitors,
/// which have them in their journals, are not heard.
pub const KEPT_MAX: usize = 4 * 1024 * 1024;

/// The database takes no writes.
pub struct Stuck {
    /// Why.
    pub why: String,
    /// When it is tried again.
    pub again_at: Instant,
    /// Monitors that are not heard meanwhile.
    pub deaf_to: Vec<Token>,
}

impl Stuck {
    /// From now on.
    #[must_use]
    pub fn new(why: String) -> Stuck {
        Stuck {
            why,
            again_at: Instant::now() + AGAIN,
            deaf_to: Vec::new(),
        }
    }

    /// Why something is refused meanwhile.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let message = format!("the database cannot be written: {}", self.why);
        Refusal::new("unavailable", message)
    }
}

impl Engine {
    /// Gives an event its number, which it returns, and puts it into this turn's transaction.
    pub(crate) fn emit(&mut self, event: &Event) -> u64 {
        let seq = self.ring.next();
        let line = event.line(seq);
        let stored = self
            .store
            .add_event(seq, event.run, &line, self.config.limits.events);
        if let Err(e) = stored {
            // The commit at the end of the turn fails too and deals with it.
            error!("cannot store event {seq}: {e}");
        }
        self.ring
            .push(seq, event.run, line, self.config.limits.events);
        if !self.store.is_stuck() {
            self.unstored.push(event.clone());
        }
        seq
    }

    /// Stores panes and places in journals, once a turn however many records came.
    pub(crate) fn save_runs(&mut self) {
        for run in std::mem::take(&mut self.unsaved) {
            if let Some(l) = self.runs.get(&run) {
                let (key, prompted) = (l.key, l.prompt.is_none());
                let pane = l.pane.stored();
                let stored = self
                    .store
                    .progress(run, key.attempt, l.journal_seq, prompted, &pane);
                self.note_db(stored);
            }
        }
    }

    /// What belongs together: if a part could not be stored, the commit at the end of the turn fails
    /// and deals with that.
    pub(crate) fn note_db(&self, result: crate::store::DbResult<()>) {
        if let Err(e) = result {
            self.store.spoil();
            error!("cannot store a record: {e}");
        }
    }

    /// Commits, then lets out what waited for it.
    pub(crate) fn end_turn(&mut self) -> Result<()> {
        self.save_runs();
        self.schedules_turn();
        self.board_turn();
        if self.store_turn()? {
            for live in std::mem::take(&mut self.accepted) {
                self.begin(live);
            }
            self.ring.publish();
            self.remove_expired();
        }
        self.serve_late();
        self.mend_log();
        self.feed_schedd()?;
        self.flush_out()?;
        self.flush_answers();
        self.feed_subscribers();
        let (over, go_on) = self.clients.flush(self.poll.registry());
        for token in over {
            self.forget_client(token);
        }
        self.again.extend(go_on);
        Ok(())
    }

    /// Stores what was concluded so far, before there is a loop whose turn could end.
    pub(crate) fn store_early(&mut self) -> Result<()> {
        self.save_runs();
        if self.store_turn()? {
            self.ring.publish();
        }
        Ok(())
    }

    /// `false` when what was concluded in this turn is not stored yet.
    fn store_turn(&mut self) -> Result<bool> {
        // An event of a run that is not just being accepted is a conclusion, too.
        let new = |run| self.accepted.iter().any(|l| l.key.run == run);
        let concludes = |e: &Event| !e.is_of_board() && !new(e.run);
        let concluded = self.concluded || self.unstored.iter().any(concludes);
        self.concluded = false;
        if self
            .stuck
            .as_ref()
            .is_some_and(|s| Instant::now() < s.again_at)
        {
            return Ok(false);
        }
        match (self.store.commit(), self.stuck.take()) {
            (Ok(()), None) => {
                self.unstored.clear();
                Ok(true)
            }
            (Ok(()), Some(s)) => {
                info!("the database can be written again; nothing was lost");
                self.unstored.clear();
                self.board_wakes();
                self.again.extend(s.deaf_to);
                Ok(true)
            }
            (Err(e), Some(s)) if can_wait(&e) => {
                let deaf_to = s.deaf_to;
                self.stuck = Some(Stuck {
                    deaf_to,
                    ..Stuck::new(e.to_string())
                });
                Ok(false)
            }
            (Err(e), None) if !concluded => {
                error!("cannot store new work: {e}");
                self.refuse_decided(&e);
                self.store.give_up();
                Ok(true)
            }
            (Err(e), None) if can_wait(&e) => {
                error!("cannot store what happened: {e}; it is kept and tried again");
                self.refuse_decided(&e);
                self.stuck = Some(Stuck::new(e.to_string()));
                Ok(false)
            }
            (Err(e), _) => Err(Fatal::new(format!("cannot store what happened: {e}"))),
        }
    }

    /// New work is refused by name and the board's moves are undone; the other events of this turn
    /// move up to their numbers.
    fn refuse_decided(&mut self, e: &rusqlite::Error) {
        let mut events = std::mem::take(&mut self.unstored);
        let accepted = std::mem::take(&mut self.accepted);
        let new = |run| accepted.iter().any(|l| l.key.run == run);
        events.retain(|e| !e.is_of_board() && !new(e.run));
        self.expired.clear();
        self.board_rests();
        self.schedules_rest();
        self.store.give_up_decisions();
        if let Err(e) = self.load_agents() {
            // The board does it again before it goes on.
            libcolibri::error!("cannot read the agents that were added: {e}");
        }
        self.ring.forget_unpublished();
        for event in &events {
            self.emit(event);
        }
        let why = Stuck::new(e.to_string()).refusal();
        self.refuse_accepted(&why);
    }

    /// What is weaker here than it could be, the database first.
    pub(crate) fn all_warnings(&self) -> Vec<String> {
        let stuck = self.stuck.as_ref().map(|s| {
            let why = &s.why;
            format!("the database cannot be written: {why}; new work is refused, the rest is kept")
        });
        let others = self.warnings().into_iter().map(str::to_owned);
        let host = self.host_warnings();
        stuck.into_iter().chain(host).chain(others).collect()
    }

    /// A monitor that is not to be heard now: it is heard when there is room again.
    pub(crate) fn is_deaf_to(&mut self, monitor: Token) -> bool {
        let full = self.store.kept() > KEPT_MAX;
        match &mut self.stuck {
            Some(s) if full => {
                s.deaf_to.push(monitor);
                true
            }
            _ => false,
        }
    }
}
