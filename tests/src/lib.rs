//! What the scenario tests need: a scripted model server, the real Pi, a private suite, its
//! clients, and a look at processes from outside.
//!
//! Nothing here is installed. Threads are used where a test has to serve and to look at the same
//! time; the daemons have none.

pub mod agents;
pub mod client;
pub mod daemon;
pub mod measure;
pub mod model;
pub mod peers;
pub mod pi;
pub mod player;
pub mod procs;
#[path = "../../libcolibri/tests/harness/program.rs"]
mod program;
pub mod quiet;
pub mod screen;
pub mod skip;
pub mod steps;
pub mod strace;
pub mod suite;
pub mod tail;
pub mod torture;
pub mod wait;
pub mod watchdog;
