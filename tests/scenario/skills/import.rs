use crate::stage::{import, not_imported, put, skill, with_steps};
use serde_json::json;
use std::os::unix::fs::symlink;

#[test]
fn importing_is_one_way_and_the_same_twice_changes_nothing() {
    let (mut suite, _client, _steps) = with_steps("");
    let dir = skill(&suite, "pdf-tools", "Read the pages.");
    skill(&suite, "rust", "Borrow well.");
    let expect = [
        "added     skill pdf-tools, version 1",
        "added     skill rust, version 2",
    ];
    assert_eq!(import(&suite), expect);
    let again = [
        "unchanged skill pdf-tools, version 1",
        "unchanged skill rust, version 2",
    ];
    assert_eq!(import(&suite), again);

    // Another text is another version, and the old text the old one.
    let old = std::fs::read_to_string(dir.join("SKILL.md")).expect("read");
    put(&dir, "SKILL.md", &old.replace("pages", "tables"));
    assert_eq!(import(&suite)[0], "updated   skill pdf-tools, version 3");
    put(&dir, "SKILL.md", &old);
    assert_eq!(import(&suite)[0], "restored  skill pdf-tools, version 1");

    // What is gone from the directory stays in the catalogue, over a restart too.
    std::fs::remove_dir_all(&dir).expect("removed");
    import(&suite);
    suite.stop();
    suite.launch();
    let shown = suite.ctl_ok(&["skill", "show", "pdf-tools", "-x"]);
    assert!(shown.starts_with("skill pdf-tools, version 1\n"), "{shown}");
    for part in [
        "Knows about pdf-tools.",
        "versions    3, 1",
        "scripts/run.sh",
        "== references/more.md\nthe small print",
        "Read the pages.",
    ] {
        assert!(shown.contains(part), "{part:?}: {shown}");
    }
    let list = suite.ctl_ok(&["skill", "list"]);
    assert!(list.lines().count() == 3 && list.contains("rust"), "{list}");

    // Who did it is remembered, and what changed nothing is not.
    let mut client = suite.client();
    let log = client.call(json!({"cmd": "list-audit", "command": "import-skill"}));
    let entries = log["entries"].as_array().expect("entries");
    let object = &entries[0]["object"];
    let expect = (&json!("pdf-tools"), &json!(1));
    assert_eq!((&object["skill"], &object["id"]), expect);
    assert_eq!(entries.len(), 4, "two added, one updated, one restored");
}

#[test]
fn what_is_not_in_order_is_named_and_keeps_nothing_else_out() {
    let (suite, _client, _steps) = with_steps("");
    let good = skill(&suite, "good", "x");
    let library = good.parent().expect("the library").to_owned();
    let bad = put(&library, "bad/SKILL.md", "# No head\n");
    let said = not_imported(&suite, &library);
    assert!(
        said.contains("bad: SKILL.md:1: must begin with front matter"),
        "{said}"
    );
    assert!(said.contains("1 directory was not imported"), "{said}");
    assert!(suite.ctl_ok(&["skill", "list"]).contains("good"));

    std::fs::remove_file(&bad).expect("removed");
    let empty = library.join("bad");
    assert!(not_imported(&suite, &empty).contains("there is no SKILL.md"));

    let head = "---\nname: bad\ndescription: d\n---\n";
    put(
        &library,
        "bad/SKILL.md",
        &format!("{head}{}", "x".repeat(70_000)),
    );
    assert!(not_imported(&suite, &empty).contains("longer than 64 KiB together"));
    put(&library, "bad/SKILL.md", &format!("{head}</skill>"));
    assert!(not_imported(&suite, &empty).contains("it holds a NUL or </skill>"));
    put(&library, "bad/SKILL.md", head);
    symlink("/etc/passwd", empty.join("secret")).expect("a link");
    assert!(not_imported(&suite, &empty).contains("secret: is a link"));
}
