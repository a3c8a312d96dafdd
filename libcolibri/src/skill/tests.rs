use super::*;

fn head(lines: &str) -> Result<(String, String), String> {
    front_matter(&format!("---\n{lines}\n---\nbody")).map(|f| (f.name, f.description))
}

fn description(value: &str) -> Result<String, String> {
    head(&format!("name: x\ndescription: {value}")).map(|(_, d)| d)
}

fn file(path: &str, text: &str) -> File {
    File {
        path: path.into(),
        sha256: sha256(text.as_bytes()),
        bytes: text.len() as u64,
        text: Some(text.into()),
    }
}

const TEXT: &str = "---\nname: a\ndescription: b\n---\n\n# Do it\n";

#[test]
fn the_forms_that_people_write_are_read() {
    let text = "---\r\nname: pdf-tools\r\nlicense: MIT\r\nmetadata:\r\n  a: [1, {x: y}]\r\n- z\r\n\
                # remark\r\ndescription: Reads PDFs # often\r\n---\r\n\r\nHello\r\n";
    let f = front_matter(text).unwrap();
    assert_eq!(
        (f.name.as_str(), f.description.as_str()),
        ("pdf-tools", "Reads PDFs")
    );
    assert_eq!(text[f.body..].trim(), "Hello");
    for (value, expect) in [
        ("plain words", "plain words"),
        ("over\n  two lines", "over two lines"),
        (">-\n  folded\n  text\n\n  and more", "folded text and more"),
        ("|\n  literal", "literal"),
        (
            "\"with: a colon, \\\"quotes\\\" and # no comment\"  # one",
            "with: a colon, \"quotes\" and # no comment",
        ),
        ("'it''s'", "it's"),
        ("\"two\n  lines\"", "two lines"),
        ("http://x/y", "http://x/y"),
    ] {
        assert_eq!(description(value).as_deref(), Ok(expect), "{value}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, expect) in [
        ("", "SKILL.md:1: the front matter has no end"),
        ("# x\n", "SKILL.md:1: must begin with front matter"),
        ("---\nname: x\n", "SKILL.md:1: the front matter has no end"),
        (
            "---\nname: x\n---\n",
            "SKILL.md: the front matter has no description",
        ),
        ("---\nname x\n---\n", "SKILL.md:2: must be a key"),
        ("---\nname:x\n---\n", "SKILL.md:2: a blank must follow"),
        (
            "---\nname: x\nname: y\n---\n",
            "SKILL.md:3: the key stands there twice",
        ),
        (
            "---\nname: a/b\ndescription: d\n---\n",
            "SKILL.md:2: name: must be 1 to 64",
        ),
        (
            "---\nname: x\ndescription:\n---\n",
            "SKILL.md:3: description is empty",
        ),
        (
            "---\nname: x\ndescription: a: b\n---\n",
            "SKILL.md:3: description: with a colon",
        ),
        (
            "---\nname: x\ndescription: *all\n---\n",
            "SKILL.md:3: description: this form",
        ),
        (
            "---\nname: x\ndescription: \"a\n---\n",
            "SKILL.md:3: description: the closing",
        ),
        (
            "---\nname: x\ndescription: \"a\" b\n---\n",
            "SKILL.md:3: description: something",
        ),
        (
            "---\nname: x\ndescription: \"\\x41\"\n---\n",
            "SKILL.md:3: description: this escape",
        ),
        (
            "---\nname: x\ndescription: > a\n---\n",
            "SKILL.md:3: description: nothing may",
        ),
    ] {
        let got = front_matter(text).unwrap_err();
        assert!(got.starts_with(expect), "{text:?}: {got}");
    }
    let long = format!("---\n{}", "#\n".repeat(FRONT_MAX));
    assert!(front_matter(&long).unwrap_err().contains("16 KiB"));
    assert!(description(&"x".repeat(1025)).is_err());
}

#[test]
fn a_skill_is_checked_whole() {
    let files = [file("SKILL.md", TEXT), file("references/r.md", "more")];
    let checked = check(&files).unwrap();
    assert_eq!((checked.kind, checked.name.as_str()), (Kind::Skill, "a"));
    // What `sha256sum SKILL.md references/r.md | sha256sum` says.
    let sums = format!(
        "{}  SKILL.md\n{}  references/r.md\n",
        files[0].sha256, files[1].sha256
    );
    assert_eq!(checked.digest, sha256(sums.as_bytes()));
    let change = |f: &dyn Fn(&mut Vec<File>)| {
        let mut files = files.to_vec();
        f(&mut files);
        check(&files).unwrap_err()
    };
    let expect = [
        (change(&|f| f.reverse()), "its files are not in the order"),
        (
            change(&|f| f[0].bytes = 1),
            "SKILL.md: its text has another sum",
        ),
        (
            change(&|f| f[1].sha256 = "0".repeat(64)),
            "references/r.md: its text has another sum",
        ),
        (
            change(&|f| f[1].sha256 = "A".repeat(64)),
            "references/r.md: its sum is none",
        ),
        (
            change(&|f| f[1].path = "references/../x".into()),
            "a path is empty",
        ),
        (change(&|f| f[1].path = "x//y".into()), "a path is empty"),
        (
            change(&|f| f[1].path = "scripts/x".into()),
            "scripts/x: its text is missing, or not",
        ),
        (
            change(&|f| f[1].text = None),
            "references/r.md: its text is missing",
        ),
        (
            change(&|f| f[1] = file("references/r.md", "x</skill>")),
            "references/r.md: it holds",
        ),
        (change(&|f| drop(f.remove(0))), "it has neither"),
        (
            change(&|f| f[1] = file("references/r.md", &"x".repeat(GIVEN_MAX))),
            "SKILL.md and references",
        ),
    ];
    for (got, expect) in expect {
        assert!(got.starts_with(expect), "{got}");
    }
}

#[test]
fn an_artifact_has_a_manifest() {
    let manifest = r#"{"skill_id":"whisper-v1","display_name":"Whisper","stages":[1]}"#;
    let mut model = file("model.bin", "x");
    model.text = None;
    let checked = check(&[model.clone(), file(MANIFEST_FILE, manifest)]).unwrap();
    assert_eq!(checked.kind, Kind::Artifact);
    assert_eq!(
        (checked.name.as_str(), checked.description.as_str()),
        ("whisper-v1", "Whisper")
    );
    for wrong in ["", "[]", "{}", r#"{"skill_id":7}"#, r#"{"skill_id":"a b"}"#] {
        assert!(
            check(&[model.clone(), file(MANIFEST_FILE, wrong)]).is_err(),
            "{wrong}"
        );
    }
    let deep = "[".repeat(10_000);
    assert!(check(&[file(MANIFEST_FILE, &deep)])
        .unwrap_err()
        .contains("too deep"));
}

#[test]
fn a_block_is_found_again_and_left_out() {
    let files = [file("SKILL.md", TEXT), file("references/r.md", "more\n")];
    let block = block("a", 7, &files);
    assert_eq!(
        block,
        "<skill name=\"a\" location=\"colibri:a@7\">\n\
         Its references follow below, each under its path.\n\n\
         # Do it\n\n<file path=\"references/r.md\">\nmore\n</file>\n</skill>"
    );
    let prompt = format!("{block}\n\n{block}\n\nFix it");
    assert_eq!(without_blocks(&prompt), "Fix it");
    assert_eq!(without_blocks("<skill name=\"x"), "<skill name=\"x");
}
