use crate::stage::with_steps;
use libcolibri::skill::{sha256, File};
use serde_json::{json, Value};

fn file(path: &str, text: &str) -> File {
    File {
        path: path.into(),
        sha256: sha256(text.as_bytes()),
        bytes: text.len() as u64,
        text: Some(text.into()),
    }
}

/// What colibri-ctl would not send is refused all the same.
#[test]
fn what_is_wrong_is_refused_at_the_door() {
    let (_suite, mut client, _steps) = with_steps("");
    let task = |skills: Value| json!({"cmd": "create-task", "title": "t", "skills": skills});
    assert_eq!(client.refused(task(json!(["nobody"]))), "not-found");
    assert_eq!(client.refused(task(json!(["../x"]))), "bad-request");
    assert_eq!(client.refused(task(json!("x"))), "bad-request");
    assert_eq!(
        client.refused(task(json!(["a", "b", "c", "d", "e"]))),
        "bad-request"
    );

    let head = "---\nname: a\ndescription: b\n---\n";
    let import = |files: &[File]| json!({"cmd": "import-skill", "files": files, "source": "x"});
    let mut false_sum = file("SKILL.md", head);
    false_sum.sha256 = sha256(b"other");
    let odd = file("references/../../x", "x");
    for files in [
        vec![],
        vec![false_sum],
        vec![file("SKILL.md", "no head")],
        vec![file("SKILL.md", head), odd],
        vec![file("references/a", "x"), file("SKILL.md", head)],
        vec![
            file("SKILL.md", head),
            file("scripts/x", "a text that is not wanted"),
        ],
        vec![file("run_manifest.json", &"[".repeat(10_000))],
    ] {
        assert_eq!(client.refused(import(&files)), "bad-request", "{files:?}");
    }
    let mut unknown = import(&[file("SKILL.md", head)]);
    unknown["name"] = json!("mine");
    assert_eq!(client.refused(unknown), "bad-request");
    let get = json!({"cmd": "get-skill", "skill": "a"});
    assert_eq!(client.refused(get.clone()), "not-found");

    let added = client.call(import(&[file("SKILL.md", head)]));
    assert_eq!(
        (&added["skill"], &added["result"]),
        (&json!("a"), &json!("added"))
    );
    let mut missing = get;
    missing["version"] = json!(9);
    assert_eq!(client.refused(missing), "not-found");
    // A name is of one kind.
    let manifest = r#"{"skill_id":"a"}"#;
    let other = import(&[file("run_manifest.json", manifest)]);
    assert_eq!(client.refused(other), "conflict");
}
