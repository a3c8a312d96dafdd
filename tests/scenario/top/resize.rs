//! The screen follows the terminal's size.

use crate::stage::Stage;

#[test]
fn another_size_is_another_picture() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    stage.client.spawn_agent("asks", "Ask");
    stage.top();
    stage.screen.see("Which colour?");
    let last = |s: &str| s.lines().last().unwrap_or("").to_owned();
    for (columns, rows) in [(120, 40), (60, 16), (80, 24)] {
        stage.screen.resize(columns, rows);
        let shown = stage.screen.until("a picture of that size", |s| {
            s.lines().count() == usize::from(rows)
                && s.starts_with("1 agent needs you")
                && last(s).starts_with("Enter open")
        });
        assert!(shown.contains("blocked"), "{shown}");
        let wide = shown.lines().map(|l| l.chars().count()).max();
        assert!(wide <= Some(columns.into()), "{shown}");
        // Whole keys where there is room for them.
        assert_eq!(last(&shown).contains("q quit"), columns >= 80, "{shown}");
    }
    stage.screen.resize(30, 8);
    stage.screen.see("Too small: 40 by 12 at least");
    stage.screen.resize(80, 24);
    stage.screen.see("Which colour?");
}
