use crate::stage::{create, import, not_imported, put, with_steps};
use libcolibri::skill::sha256;
use serde_json::json;

#[test]
fn the_sums_of_an_artifact_are_checked() {
    let (suite, mut client, _steps) = with_steps("");
    let dir = suite.dir().join("library/whisper");
    let manifest = r#"{"skill_id":"whisper-v1","display_name":"Whisper","stages":["asr"]}"#;
    put(&dir, "run_manifest.json", manifest);
    put(&dir, "media/out.txt", "words\n");
    let sums = format!(
        "{}  media/out.txt\n{}  ./run_manifest.json\n",
        sha256(b"words\n"),
        sha256(manifest.as_bytes())
    );
    put(&dir, "artifacts.sha256", &sums);
    assert_eq!(import(&suite), ["added     artifact whisper-v1, version 1"]);
    assert_eq!(import(&suite), ["unchanged artifact whisper-v1, version 1"]);
    let shown = client.call(json!({"cmd": "get-skill", "skill": "whisper-v1"}));
    assert_eq!(shown["description"], "Whisper");
    let contents = shown["contents"].as_array().expect("files");
    assert_eq!(contents[0]["path"], "media/out.txt");
    assert!(contents[0].get("text").is_none() && contents[1]["text"] == manifest);

    // It is nothing that a task could be given.
    let task = json!({"cmd": "create-task", "title": "t", "skills": ["whisper-v1"]});
    assert_eq!(client.refused(task), "conflict");

    put(&dir, "media/out.txt", "other\n");
    let said = not_imported(&suite, &dir);
    assert!(
        said.contains("media/out.txt: its sum is not the listed one"),
        "{said}"
    );
    std::fs::remove_file(dir.join("media/out.txt")).expect("removed");
    let said = not_imported(&suite, &dir);
    assert!(
        said.contains("cannot open") && said.contains("media/out.txt"),
        "{said}"
    );
    put(
        &dir,
        "artifacts.sha256",
        &sums.replace("media/out.txt", "../out.txt"),
    );
    let said = not_imported(&suite, &dir);
    assert!(
        said.contains("artifacts.sha256:1: the sum or the path is none"),
        "{said}"
    );
    // The version that there is stays.
    let list = suite.ctl_ok(&["skill", "list", "-j"]);
    assert!(list.contains("\"version\":1"), "{list}");
    let without = create(&mut client, json!({}));
    assert!(without > 0);
}
