//! A skill from a client: the head of a SKILL.md, and whole sets of files.
#![no_main]

use colibrid::skills::ask::{Ask, Verb};
use libcolibri::config::is_name;
use libcolibri::skill::{
    block, front_matter, sha256, without_blocks, File, Kind, DESCRIPTION_MAX, FILES_MAX, GIVEN_MAX,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{json, Value};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match front_matter(text) {
        Err(why) => assert!(!why.is_empty() && why.len() < 1024),
        Ok(front) => {
            assert!(is_name(&front.name) && text.is_char_boundary(front.body));
            let d = &front.description;
            assert!(!d.is_empty() && d.len() <= DESCRIPTION_MAX && !d.contains(char::is_control));
        }
    }
    // The same as the text of a file, whose sum is right, of a request.
    let (name, text) = text.split_once('\n').unwrap_or(("SKILL.md", text));
    let file = File {
        path: name.into(),
        sha256: sha256(text.as_bytes()),
        bytes: text.len() as u64,
        text: Some(text.into()),
    };
    let Value::Object(fields) = json!({"files": [file]}) else {
        return;
    };
    if let Ok(Ask::Import(i, checked)) = Verb::Import.ask(fields) {
        assert!(i.files.len() <= FILES_MAX && is_name(&checked.name));
        if checked.kind == Kind::Skill {
            let block = block(&checked.name, u64::MAX, &i.files);
            assert!(block.len() <= GIVEN_MAX);
            assert_eq!(without_blocks(&format!("{block}\n\nx")), "x");
        }
    }
});
