//! The walls between the processes: what each may hold, and what happens when one of them says
//! something that it must not.

mod ends;
#[cfg(target_os = "linux")]
mod false_time;
mod forged;
#[cfg(target_os = "linux")]
mod holdings;
mod injected;
mod keeper;
mod liars;
mod signals;
mod stage;
