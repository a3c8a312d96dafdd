//! What more than one Colibri process needs: the words for an agent's state, the messages between
//! the processes and their channels, the sandbox, the config, Pi's event stream, the run journal.
//!
//! This is the only crate of the suite with `unsafe` code, and all of it is in [`sys`].

pub mod budget;
pub mod chan;
pub mod config;
pub mod cron;
pub mod error;
pub mod formats;
pub mod journal;
pub mod log;
pub mod msg;
pub mod pi;
pub mod record;
pub mod sandbox;
pub mod schedule;
pub mod signals;
pub mod skill;
pub mod state;
pub mod sys;
pub mod wire;
