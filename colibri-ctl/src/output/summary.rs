//! The first line of `status`: does any agent need me?

use std::fmt::Write;

use super::text::row_reason;
use super::Style;
use crate::model::Pane;
use crate::text::{clean, count, fit, width, COLUMNS};

/// Least columns for one agent; more agents than fit are counted.
const NEED_LEAST: usize = 24;

/// The first line of `status`.
#[must_use]
pub fn needs(panes: &[Pane], attention: u64, style: &Style) -> String {
    let needy: Vec<&Pane> = panes.iter().filter(|p| p.attention).collect();
    let all = attention.max(needy.len() as u64);
    if all == 0 {
        return format!("No agent needs you: {}.\n", states(panes));
    }
    let head = count(all, "agent needs you: ", "agents need you: ");
    let texts: Vec<String> = needy.iter().map(|p| need(p, style)).collect();
    let free = COLUMNS - width(&head);
    let whole = texts.join("; ");
    if texts.len() as u64 == all && width(&whole) <= free {
        return format!("{head}{whole}\n");
    }
    // As many as get room enough to say something; the rest are counted.
    let more = |shown: usize| match all - shown as u64 {
        0 => String::new(),
        _ if shown == 0 => format!("see {} runs", style.command),
        rest => format!(", and {rest} more"),
    };
    let room = |shown: usize| free.saturating_sub(width(&more(shown)));
    let enough = |shown: &usize| room(*shown) + 2 >= shown * (NEED_LEAST + 2);
    let shown = (1..=texts.len())
        .rev()
        .find(enough)
        .unwrap_or(texts.len().min(1));
    let mut left = room(shown);
    let mut out = head;
    for (at, text) in texts.iter().take(shown).enumerate() {
        let later = shown - at - 1;
        let part = fit(text, left.saturating_sub(2 * later) / (later + 1));
        left = left.saturating_sub(width(&part) + 2);
        let _ = write!(out, "{}{part}", if at > 0 { "; " } else { "" });
    }
    out.push_str(&more(shown));
    format!("{}\n", fit(&out, COLUMNS))
}

/// What an agent needs: an answer, a look at its error, or at its silence.
fn need(p: &Pane, style: &Style) -> String {
    let why = row_reason(p, style);
    if p.state == "error" {
        let colon = if why.is_empty() { "" } else { ": " };
        return format!("run {} error{colon}{why}", p.run);
    }
    let why = if why.is_empty() { clean(&p.state) } else { why };
    format!("run {} {why}", p.run)
}

/// `3 working, 1 idle`.
fn states(panes: &[Pane]) -> String {
    if panes.is_empty() {
        return "none is running".into();
    }
    let words = ["working", "idle", "done", "blocked", "error", "unknown"];
    let of = |word: &str| panes.iter().filter(|p| p.state == word).count();
    let counted = words.iter().map(|w| (*w, of(w)));
    let mut parts: Vec<String> = counted
        .filter(|(_, n)| *n > 0)
        .map(|(w, n)| format!("{n} {w}"))
        .collect();
    let other = panes.iter().filter(|p| !p.known_state()).count();
    if other > 0 {
        parts.push(format!("{other} in an unheard-of state"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style() -> Style {
        Style {
            colour: false,
            now: 0,
            command: "colibri-ctl".into(),
        }
    }

    fn needy(run: u64, reason: &str) -> Pane {
        Pane {
            run,
            state: "error".into(),
            reason: Some(reason.into()),
            attention: true,
            ..Pane::default()
        }
    }

    #[test]
    fn the_first_line_names_as_many_as_fit() {
        let first = |panes: &[Pane], attention| needs(panes, attention, &style());
        let two = [needy(7, "401"), needy(9, "429")];
        assert_eq!(
            first(&two, 2),
            "2 agents need you: run 7 error: 401; run 9 error: 429\n"
        );
        assert_eq!(first(&two[..1], 1), "1 agent needs you: run 7 error: 401\n");
        let long = [needy(7, "short"), needy(9, &"long ".repeat(20))];
        assert_eq!(
            first(&long, 2),
            "2 agents need you: run 7 error: short; run 9 error: long long long long long lo…\n"
        );
        // Counted, but not among the living.
        assert_eq!(
            first(&two[..1], 3),
            "3 agents need you: run 7 error: 401, and 2 more\n"
        );
        assert_eq!(first(&[], 2), "2 agents need you: see colibri-ctl runs\n");
    }
}
