//! The board: tasks come in, find an agent, run, and end once.

mod agents;
mod budget;
mod chat;
mod kills;
mod lives;
mod staff;
mod stage;
mod telegram;
mod tool;
mod waits;
