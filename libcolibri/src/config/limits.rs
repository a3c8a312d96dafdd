//! The table of limits.

use super::raw::{number, RawLimits, Where};
use super::Limits;

/// Checks the table of limits.
pub(super) fn limits(w: &Where<'_>, raw: RawLimits) -> Result<Limits, String> {
    Ok(Limits {
        runs: number(w, raw.runs, "limits.runs", 1..=10_000, 64)?,
        runs_kept: number(
            w,
            raw.runs_kept,
            "limits.runs_kept",
            1..=100_000_000,
            10_000,
        )?,
        clients: number(w, raw.clients, "limits.clients", 1..=4096, 128)?,
        clients_per_user: number(
            w,
            raw.clients_per_user,
            "limits.clients_per_user",
            1..=4096,
            32,
        )?,
        client_memory: number(
            w,
            raw.client_memory,
            "limits.client_memory",
            16 * 1024 * 1024..=1 << 40,
            64 * 1024 * 1024,
        )?,
        requests_per_second: number(
            w,
            raw.requests_per_second,
            "limits.requests_per_second",
            1..=100_000,
            200,
        )?,
        events: number(w, raw.events, "limits.events", 1000..=100_000_000, 100_000)?,
        journal_bytes: number(
            w,
            raw.journal_bytes,
            "limits.journal_bytes",
            2 * 1024 * 1024..=1 << 40,
            16 * 1024 * 1024,
        )?,
        tasks: number(w, raw.tasks, "limits.tasks", 1..=10_000_000, 100_000)?,
        tasks_kept: number(
            w,
            raw.tasks_kept,
            "limits.tasks_kept",
            1..=100_000_000,
            100_000,
        )?,
        audit: number(w, raw.audit, "limits.audit", 1000..=100_000_000, 100_000)?,
        schedules: number(w, raw.schedules, "limits.schedules", 1..=1_000_000, 10_000)?,
        occurrences_kept: number(
            w,
            raw.occurrences_kept,
            "limits.occurrences_kept",
            10..=100_000,
            1000,
        )?,
    })
}
