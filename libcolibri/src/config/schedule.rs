//! The schedules that the config declares.

use std::collections::BTreeMap;

use toml::Spanned;

use super::raw::Where;
use super::{is_name, NAME};
use crate::schedule::Schedule;

/// Most schedules in the config.
const DECLARED_MAX: usize = 10_000;

/// Checks the schedules; an error names the line of the table and the field.
pub(super) fn schedules(
    w: &Where<'_>,
    raw: BTreeMap<Spanned<String>, Schedule>,
) -> Result<Vec<(String, Schedule)>, String> {
    if raw.len() > DECLARED_MAX {
        return Err(w.at(
            0,
            "schedule",
            &format!("more than {DECLARED_MAX} schedules"),
        ));
    }
    let mut all = Vec::with_capacity(raw.len());
    for (name, schedule) in raw {
        if !is_name(name.get_ref()) {
            return Err(w.err(&name, "schedule", NAME));
        }
        if let Err((field, what)) = schedule.check() {
            let field_name = format!("schedule.{}.{field}", name.get_ref());
            return Err(w.at(w.key_after(name.span().start, field), &field_name, &what));
        }
        all.push((name.into_inner(), schedule));
    }
    Ok(all)
}
