//! The lists follow what happens, and who needs a person comes first.

use crate::stage::Stage;

#[test]
fn what_happens_is_on_the_screen_without_a_key() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    let shown = stage.top();
    assert!(
        shown.starts_with("No agent needs you: none is running."),
        "{shown}"
    );
    assert!(shown.contains("No agent is running."), "{shown}");
    assert!(shown.contains("Board: nothing to do"), "{shown}");
    let quiet = stage.client.spawn_agent("steps", "Work quietly");
    stage.screen.see("working");
    let task = stage.task("Ask for a colour", "asks");
    let shown = stage
        .screen
        .see("1 agent needs you: run 2 asks (select): Which colour?");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 24, "{shown}");
    assert!(lines.iter().all(|l| l.chars().count() <= 80), "{shown}");
    // The newer one asks, so it comes before the older one, with a mark.
    assert!(lines[4].contains("!  2  asks   blocked"), "{shown}");
    assert!(
        lines[5].contains(&format!("{quiet}  steps  working")),
        "{shown}"
    );
    assert!(shown.contains("Board: 1 started"), "{shown}");
    let row = format!("{task}  started");
    assert!(
        lines
            .iter()
            .any(|l| l.contains(&row) && l.contains("Ask for a colour")),
        "{shown}"
    );
    assert!(
        lines[23].contains("a answer") && lines[23].contains("? help"),
        "{shown}"
    );
    stage.steps.tools(1);
    stage.steps.settle();
    stage.steps.exit(0);
    let followed = stage.screen.until("the end of the quiet one", |s| {
        s.lines().any(|l| l.contains("steps  done     ended"))
    });
    // What the events have made of it is what a view sees that begins now.
    stage.screen.keys(&["q"]);
    stage.screen.see("status 0");
    assert_eq!(ageless(&followed), ageless(&stage.top()));
}

/// The words of a screen that do not change with time.
fn ageless(shown: &str) -> Vec<&str> {
    let age = |w: &&str| {
        w.starts_with(|c: char| c.is_ascii_digit()) && w.trim_end_matches(',').ends_with('s')
    };
    shown.split_whitespace().filter(|w| !age(w)).collect()
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    stage.client.spawn_agent("asks", "Ask");
    stage.top();
    stage.screen.see("blocked");
    // Yellow, as tmux repeats it.
    let coloured = stage.screen.coloured();
    assert!(coloured.contains("38;5;3m"), "{coloured:?}");
    stage.screen.keys(&["q"]);
    stage.screen.see("status 0");
    stage.start("env NO_COLOR=1");
    stage.screen.see("Board: ");
    stage.screen.see("blocked");
    let coloured = stage.screen.coloured();
    assert!(!coloured.contains("38;5;"), "{coloured:?}");
}
