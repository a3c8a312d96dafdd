//! The life of a suite and of its runs: starting, stopping, being killed, going on.

mod adoption;
mod journal;
mod start;
mod stop;
mod suite;
