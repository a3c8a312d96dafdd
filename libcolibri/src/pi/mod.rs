//! Pi, the agent: its event stream and what follows from it.
//!
//! [`stream`] cuts the bytes of Pi's stdout into lines and turns the few that matter into
//! [`event::Event`]s, with constant memory; [`fold`] is the state machine that says what the agent is
//! doing; [`command`] writes the lines that Pi's RPC mode reads.

pub mod command;
pub mod event;
mod fields;
pub mod fold;
mod json;
mod open;
pub mod stream;
mod text;
mod view;

pub use event::Event;
pub use fold::{Fold, Input, Options};
pub use open::DIALOGS;
pub use stream::Parser;
pub use view::View;
