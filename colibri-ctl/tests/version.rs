//! What colibri-ctl says that it was built from.

#[path = "../../libcolibri/tests/harness/program.rs"]
mod harness;
#[path = "../build/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{json, Value};
use source::Source;

const PROFILE: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};

fn say(args: &[&str]) -> String {
    let out = Command::new(harness::program("colibri-ctl"))
        .args(args)
        .output()
        .expect("colibri-ctl runs");
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    String::from_utf8(out.stdout).expect("text")
}

#[test]
fn json_has_every_fact_of_the_build() {
    let line = say(&["version", "-j"]);
    assert_eq!(line.lines().count(), 1, "{line}");
    let said: Value = serde_json::from_str(&line).expect("JSON");
    let fields: Vec<&String> = said.as_object().expect("an object").keys().collect();
    assert_eq!(
        fields,
        [
            "version", "commit", "dirty", "target", "rustc", "profile", "features", "tls",
            "protocol", "messages", "journal", "database", "snapshot"
        ]
    );
    assert_eq!(said["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(said["profile"], PROFILE);
    let target = said["target"].as_str().expect("a target");
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    assert!(target.starts_with(arch) && target.contains(os), "{target}");
    assert!(
        said["rustc"].as_str().is_some_and(|v| v.starts_with("1.")),
        "{line}"
    );
    assert_eq!(
        (&said["features"], &said["tls"]),
        (&json!([]), &json!("none"))
    );
    assert_eq!(said["protocol"], 1);
    assert_eq!(said["messages"], libcolibri::wire::VERSION);
    assert_eq!(said["journal"], "COLIJ01");
    assert_eq!(said["database"], libcolibri::formats::DATABASE);
    assert_eq!(said["snapshot"], "clawdie.glasspane.snapshot.v1");
    // Nobody can say of an unknown source whether it was changed.
    let known = said["commit"] != "unknown";
    assert_eq!(said["dirty"].is_boolean(), known, "{line}");
}

#[test]
fn text_says_the_same() {
    let said: Value = serde_json::from_str(&say(&["version", "-j"])).expect("JSON");
    let text = say(&["version"]);
    for field in ["version", "commit", "target", "rustc", "profile", "journal"] {
        let value = said[field].as_str().expect(field);
        assert!(text.contains(value), "{field} {value} in {text}");
    }
    assert_eq!(
        text.contains("with changes"),
        said["dirty"] == true,
        "{text}"
    );
    assert!(text.contains("features  none; TLS none"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    assert_eq!(
        say(&["--version"]),
        format!("colibri-ctl {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn whoever_builds_may_say_which_commit_it_is() {
    let nowhere = Path::new("/nonexistent");
    let said = |given: &str| source::source(Some(given), nowhere);
    assert_eq!(said("abc123"), known("abc123", false));
    assert_eq!(said("abc123-dirty\n"), known("abc123", true));
    let unknown = Source {
        commit: None,
        dirty: None,
    };
    assert_eq!(said(""), unknown);
    assert_eq!(source::source(None, nowhere), unknown);
}

#[test]
#[should_panic(expected = "not a commit")]
fn what_is_no_commit_is_refused() {
    let _ = source::source(Some("a\"b"), Path::new("/nonexistent"));
}

#[test]
fn git_knows_commit_and_changes_and_only_of_its_own_tree() {
    let tree = Tree::new();
    if !tree.git(&["init", "-q"]) {
        return println!("SKIP: no git");
    }
    fs::write(tree.0.join("file"), "1").expect("written");
    assert!(tree.git(&["add", "file"]) && tree.git(&["commit", "-q", "-m", "one"]));
    let found = source::source(None, &tree.0);
    let commit = found.commit.clone().expect("a commit");
    assert!(commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(found, known(&commit, false));
    fs::write(tree.0.join("file"), "2").expect("written");
    assert_eq!(source::source(None, &tree.0), known(&commit, true));
    // A word from outside counts for more.
    assert_eq!(source::source(Some("abc"), &tree.0), known("abc", false));
    // Unpacked into somebody else's repository.
    let inner = tree.0.join("inner");
    fs::create_dir(&inner).expect("made");
    assert_eq!(source::source(None, &inner).commit, None);
    assert_eq!(source::head_log(&inner), None);
    let log = source::head_log(&tree.0).expect("a log");
    assert!(log.is_file(), "{}", log.display());
}

fn known(commit: &str, dirty: bool) -> Source {
    Source {
        commit: Some(commit.into()),
        dirty: Some(dirty),
    }
}

/// A private repository; removed at the end.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Tree {
        let name = format!("colibri-version-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).expect("made");
        Tree(dir)
    }

    fn git(&self, args: &[&str]) -> bool {
        let who = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        let ran = Command::new("git")
            .args(who)
            .args(args)
            .current_dir(&self.0)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .status();
        ran.is_ok_and(|s| s.success())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
