//! Schedules: tasks that come by themselves, each planned time once.

mod kills;
mod lives;
mod missed;
mod overlap;
mod stage;
mod tool;
