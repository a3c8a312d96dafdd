use crate::stage::{import, put, skill, with_steps};
use colibri_tests::client::Client;
use serde_json::{json, Value};

fn found(client: &mut Client, query: &str) -> Vec<String> {
    let data = client.call(json!({"cmd": "search-skills", "query": query}));
    let skills = data["skills"].as_array().expect("a list");
    let name = |s: &Value| s["skill"].as_str().expect("a name").to_owned();
    skills.iter().map(name).collect()
}

#[test]
fn all_words_are_looked_for_in_the_versions_that_count() {
    let (suite, mut client, _steps) = with_steps("");
    let pdf = skill(&suite, "pdf-tools", "Read the pages of a document.");
    skill(&suite, "rust", "Borrow well, and document it.");
    import(&suite);
    assert_eq!(found(&mut client, "PAGES"), ["pdf-tools"]);
    assert_eq!(found(&mut client, "document borrow"), ["rust"]);
    assert_eq!(found(&mut client, "print").len(), 2, "references, too");
    assert_eq!(found(&mut client, "pdf-tools"), ["pdf-tools"]);
    assert!(found(&mut client, "nowhere").is_empty());
    // Nothing in a word is an operator.
    for odd in [
        "pages OR borrow",
        "pages* ^x",
        "skill_text:pages",
        "NEAR(a b)",
    ] {
        assert!(found(&mut client, odd).is_empty(), "{odd}");
    }
    assert_eq!(
        found(&mut client, "\"pages"),
        ["pdf-tools"],
        "a quote is no letter"
    );
    for wrong in ["", " * ", &"x ".repeat(20), &"x".repeat(300)] {
        let request = json!({"cmd": "search-skills", "query": wrong});
        assert_eq!(client.refused(request), "bad-request", "{wrong}");
    }
    let head = "---\nname: pdf-tools\ndescription: d\n---\n";
    put(&pdf, "SKILL.md", &format!("{head}Only tables."));
    import(&suite);
    assert!(found(&mut client, "pages").is_empty());
    let shown = suite.ctl_ok(&["skill", "search", "tables"]);
    assert!(shown.contains("Only tables."), "{shown}");
}
