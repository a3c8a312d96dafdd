//! colibri-ctl top, by what is on the screen of a real terminal. Without tmux the tests say `SKIP:`; with
//! `CI=true` they fail.

mod away;
mod lists;
mod questions;
mod refused;
mod resize;
mod runs;
mod stage;
mod tasks;
mod terminal;
