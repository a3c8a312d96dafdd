//! Skills and the host's authorities, against a canned colibrid: request, text, exit status.

mod canned;

use canned::replies::{status, while_ago, STATUS};
use canned::{alone, answer, ctl};

fn skill(more: &str) -> String {
    let at = while_ago();
    format!(
        r#"{{"skill":"pdf\u001b[2J","kind":"skill","version":3,"digest":"{}","description":"Reads\u202e PDFs","files":1,"bytes":9,"source":"/lib\u0007","by_uid":0,"at":"{at}"{more}}}"#,
        "ab".repeat(32)
    )
}

#[test]
fn what_colibrid_says_of_skills_is_shown_clean_and_narrow() {
    let list = format!(r#"{{"skills":[{}]}}"#, skill(""));
    let ask = r#"{"cmd":"list-skills","limit":500,"after":""}"#;
    let got = ctl(&["skill", "list"], answer(ask, &list));
    assert_eq!(got.code, 0, "{}", got.err);
    assert!(
        got.out.contains("SKILL") && got.out.contains("Reads"),
        "{}",
        got.out
    );

    let found = skill(r#","part":"the words""#);
    let found = format!(r#"{{"skills":[{found}]}}"#);
    let ask = r#"{"cmd":"search-skills","query":"two words","limit":20}"#;
    let shown = ctl(&["skill", "search", "two", "words"], answer(ask, &found));
    assert!(shown.out.contains("the words"), "{}", shown.out);

    let more = r#","counts":4,"tasks":[7],"versions":[{"version":4},{"version":3}],"contents":[{"path":"SKILL.md","sha256":"abcdef0123456789","bytes":9,"text":"one\u001b]0;x\u0007\ntwo\n"}]"#;
    let ask = r#"{"cmd":"get-skill","skill":"pdf","version":3}"#;
    let one = ctl(
        &["skill", "show", "pdf", "3", "-x"],
        answer(ask, &skill(more)),
    );
    for part in [
        "version 3 (version 4 counts)",
        "versions    4, 3",
        "tasks       7",
        "\ntwo\n",
    ] {
        assert!(one.out.contains(part), "{part}: {}", one.out);
    }
    for out in [got.out, shown.out, one.out] {
        let harmful = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!out.contains(harmful), "{out:?}");
        assert!(out.lines().all(|l| l.chars().count() <= 80), "{out}");
    }
}

#[test]
fn nothing_to_import_is_a_failure_before_anything_is_asked() {
    let dir = std::env::temp_dir().join(format!("colibri-ctl-skill-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let got = alone(&["skill", "import", &dir.display().to_string()]);
    assert_eq!(got.code, 1);
    assert!(got.err.contains("there is no SKILL.md"), "{}", got.err);
    let got = alone(&["skill", "import", "/nonexistent"]);
    assert!(got.err.contains("cannot read /nonexistent"), "{}", got.err);
    assert_eq!(alone(&["skill", "import"]).code, 2);
    std::fs::remove_dir(&dir).expect("removed");
}

#[test]
fn the_word_of_the_watchdog_is_one_line() {
    let long = "low memory ".repeat(20);
    let word = format!(
        r#""watchdog":{{"said":"held","obeys":"held","reason":"{long}","age_seconds":75}},"hostd":{{"reachable":false}},"#
    );
    let all = status(0, &[]);
    let (head, rest) = all.split_at(1);
    let status = format!("{head}{word}{rest}");
    let got = ctl(&["status"], answer(STATUS, &status));
    let line = got.out.lines().find(|l| l.starts_with("host: held: low"));
    let line = line.unwrap_or_else(|| panic!("{}", got.out));
    assert!(
        line.ends_with("(1m15s ago); hostd is out of reach"),
        "{line}"
    );
    assert!(line.chars().count() <= 80, "{line}");
}
