//! Waiting with a deadline, never by sleeping blindly.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A stop flag that can be waited on.
#[derive(Default)]
pub struct Stop {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Raises the flag and wakes everybody who waits.
    pub fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether the flag is up.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits up to `limit` for the flag; true when it is up.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        while !*set {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            set = self
                .changed
                .wait_timeout(set, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

/// Asks `what` again and again until it has a value or `limit` has passed.
///
/// For conditions that nothing announces, such as the end of a process that is not ours. Between
/// two questions lies a bounded wait of 10 ms, so a missed deadline is at most that late.
pub fn wait_for<T>(limit: Duration, mut what: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let never = Stop::default();
    loop {
        if let Some(found) = what() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        let _ = never.wait(Duration::from_millis(10));
    }
}

/// [`wait_for`] that panics with `what` when the time is over.
///
/// # Panics
/// When `limit` passes without a value.
pub fn must<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    wait_for(limit, probe).unwrap_or_else(|| panic!("waited {limit:?} in vain for {what}"))
}

/// A deadline long enough for a loaded two-core machine; reaching it is a failure, so its length
/// costs nothing when all is well.
#[cfg(not(target_os = "freebsd"))]
pub const LONG: Duration = Duration::from_secs(60);
/// The same for a loaded machine of two emulated cores, on which the tests must pass, too.
#[cfg(target_os = "freebsd")]
pub const LONG: Duration = Duration::from_secs(300);
