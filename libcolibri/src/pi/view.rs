//! A state with what is said beside it.

use crate::state::{Phase, State};

/// A state as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// State.
    pub state: State,
    /// Phase.
    pub phase: Phase,
    /// Why; empty when there is nothing to say.
    pub reason: String,
    /// When it ends by itself, on the caller's clock; 0 = unknown.
    pub until_ms: u64,
}

impl View {
    /// Without a known end.
    #[must_use]
    pub fn new(state: State, phase: Phase, reason: &str) -> View {
        View {
            state,
            phase,
            reason: reason.to_owned(),
            until_ms: 0,
        }
    }
}
