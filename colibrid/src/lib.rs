//! The state daemon of the Colibri suite, as a library that its program and the tests link.
//!
//! One file for each peer (spawnd, schedd, monitors, clients) and one for each subject (runs, the
//! glasspane, the store, events). See colibrid(8).

pub mod answers;
pub mod args;
pub mod attempt;
pub mod audit;
pub mod board;
pub mod changes;
pub mod clients;
pub mod descriptors;
pub mod engine;
pub mod event;
pub mod explain;
pub mod glasspane;
pub mod host;
pub mod keeper;
pub mod log_ring;
pub mod monitors;
pub mod request;
pub mod roles;
pub mod runs;
pub mod schedd;
pub mod schedule;
pub mod serve;
pub mod skills;
pub mod spawnd;
pub mod start;
pub mod store;
pub mod subscribers;
pub mod time;
pub mod turn;
pub mod views;
