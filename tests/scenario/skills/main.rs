//! The catalogue of skills: in from directories, one way; what an agent is given, and which version.

mod agents;
mod artifacts;
mod door;
mod import;
mod pi;
mod search;
mod stage;
mod tasks;
