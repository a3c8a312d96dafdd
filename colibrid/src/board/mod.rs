//! The board: work that was accepted, who fits it, who has it, what came of it.
//!
//! The board is the database: nothing of it is kept in memory, so what could not be committed has
//! not happened. What is decided is pure and has files of its own: the life of a task, what the
//! end of a run means, who gets what. Decisions are made at the end of a turn of the loop in which
//! something changed, in the transaction of what changed it.
//!
//! When a commit fails, what was concluded of runs is kept and written later, but no move of the
//! board is: a move reads before it writes, so it holds only where it was read. All moves are made
//! again from what is stored by then. That loses none and makes none twice: what the end of a run
//! means for its task follows from the rows of the run and of the claim alone; a task that is held
//! by a run that has ended is found by a query, at the start and after each failed commit; and it
//! is let go in the transaction of its move. The one thing that follows from nothing else, why the
//! end of a run was wanted, is a conclusion and kept. Meanwhile requests that move tasks are
//! refused by name.

pub mod ask;
mod chat;
pub mod dispatch;
pub mod failure;
pub mod fit;
pub mod intake;
pub mod lifecycle;
mod moves;
mod serve;
mod staff;
mod tag;
pub mod telegram;
mod views;
mod why;

pub use moves::Actor;
pub use tag::TaskTag;

use std::time::{Duration, Instant};

use libcolibri::{error, sys};

use crate::engine::Engine;
use crate::store::DbResult;

/// How long the board rests after what it decided could not be stored.
const REST: Duration = Duration::from_secs(5);
/// As long as something is due at a time, the clock is looked at so often.
const LOOK: Duration = Duration::from_secs(60);
/// Tasks in one turn that time or the end of others moves on; the rest have the next turn.
const LOT: u32 = 64;

/// What the loop remembers of the board: only when to look again.
#[derive(Debug, Default)]
pub struct Desk {
    /// Something changed that a decision may follow from.
    pub touched: bool,
    /// When time next matters, milliseconds since 1970.
    due_ms: Option<u64>,
    /// Not before then: the disk refused, or there is no descriptor for a run.
    rest_until: Option<Instant>,
    /// The stored tasks agree with the config and with their stored runs: true until a commit
    /// fails.
    agrees: bool,
}

impl Engine {
    /// The board's part of a turn, before the commit.
    pub(crate) fn board_turn(&mut self) {
        let now = sys::wall_ms();
        let resting = self.desk.rest_until.is_some_and(|t| Instant::now() < t);
        let due = self.desk.touched || self.desk.due_ms.is_some_and(|t| now >= t);
        if !self.ready || self.ending || resting || !due || !self.store.takes_decisions() {
            return;
        }
        let agrees = std::mem::take(&mut self.desk).agrees;
        if let Err(e) = self.board_moves(now, agrees) {
            self.store.spoil();
            self.board_rests();
            error!("cannot go on with the board: {e}");
        }
    }

    fn board_moves(&mut self, now: u64, agrees: bool) -> DbResult<()> {
        if !agrees {
            self.load_agents()?;
            self.refit_tasks()?;
            self.catch_up()?;
        }
        self.desk.agrees = true;
        self.tell_dependents(LOT)?;
        self.on_time(now, LOT)?;
        self.release_tasks()?;
        self.assign_tasks(now)?;
        self.hold_tasks()?;
        let due = self.store.next_due()?;
        let waits = self.store.oldest_queued()?.is_some();
        let opens = waits.then(|| self.next_opening(now)).flatten();
        self.desk.due_ms = due.into_iter().chain(opens).min();
        Ok(())
    }

    /// What the board decided in this turn was not stored: once more, but not at once.
    pub(crate) fn board_rests(&mut self) {
        self.board_wakes();
        self.desk.rest_until = Some(Instant::now() + REST);
    }

    /// The disk takes writes again: everything is looked at anew.
    pub(crate) fn board_wakes(&mut self) {
        self.desk = Desk {
            touched: true,
            ..Desk::default()
        };
    }

    /// Time until the board has something to do.
    pub(crate) fn board_wait(&self) -> Option<Duration> {
        if !self.ready || self.ending || self.stuck.is_some() {
            return None;
        }
        if let Some(until) = self.desk.rest_until {
            return Some(until.saturating_duration_since(Instant::now()));
        }
        if self.desk.touched {
            return Some(Duration::ZERO);
        }
        let ms = self.desk.due_ms?.saturating_sub(sys::wall_ms());
        // It is a time of the wall clock, which may be set or go on while the host sleeps.
        Some(Duration::from_millis(ms).min(LOOK))
    }
}
