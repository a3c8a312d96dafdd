//! Versions of what colibrid keeps and publishes, known to those who only have to name them.

/// Schema of colibrid's database. A database of a newer build is refused before anything is touched.
///
/// History: 1 runs, attempts, events; 2 the board; 3 the audit log; 4 updates of chats; 5 schedules;
/// 6 skills; 7 budgets, tasks that wait for the host, agents that were added.
pub const DATABASE: i64 = 7;

/// Schema of a snapshot of the glasspane.
pub const SNAPSHOT: &str = "clawdie.glasspane.snapshot.v1";
