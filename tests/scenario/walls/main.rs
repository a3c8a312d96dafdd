//! The walls between the processes: what each may hold, and what happens when one of them says
//! something that it must not.

mod forged;
#[cfg(target_os = "linux")]
mod holdings;
mod liars;
mod signals;
