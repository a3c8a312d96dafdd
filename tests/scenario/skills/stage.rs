//! What the tests of the catalogue share.

use colibri_tests::client::Client;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::wait::LONG;
use serde_json::{json, Value};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A suite whose agent `steps` does what the test says; `more` is the end of its agent's table.
pub fn with_steps(more: &str) -> (Suite, Client, Steps) {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        more: format!("[agent.steps]\n{more}"),
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    (suite, client, steps)
}

/// Writes a file and the directories above it.
pub fn put(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
    fs::write(&path, text).expect("written");
    path
}

/// A skill with a reference and a script.
pub fn skill(suite: &Suite, name: &str, body: &str) -> PathBuf {
    let dir = suite.dir().join("library").join(name);
    let head = format!("---\nname: {name}\ndescription: Knows about {name}.\n---\n\n");
    put(&dir, "SKILL.md", &format!("{head}{body}\n"));
    put(&dir, "references/more.md", "the small print\n");
    put(&dir, "scripts/run.sh", "echo hello\n");
    dir
}

/// Runs `skill import` of the library, which must succeed; its lines.
#[track_caller]
pub fn import(suite: &Suite) -> Vec<String> {
    let library = suite.dir().join("library").display().to_string();
    let out = suite.ctl_ok(&["skill", "import", &library]);
    out.lines().map(str::to_owned).collect()
}

/// Runs `skill import` of a directory, which must fail; what it says.
#[track_caller]
pub fn not_imported(suite: &Suite, dir: &Path) -> String {
    let out = suite.ctl(&["skill", "import", &dir.display().to_string()]);
    assert_eq!(out.status.code(), Some(1), "{}", dir.display());
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// Adds a task and returns its number.
#[track_caller]
pub fn create(client: &mut Client, mut fields: Value) -> u64 {
    fields["cmd"] = json!("create-task");
    fields["title"] = json!("Fix it");
    client.call(fields)["id"].as_u64().expect("a number")
}

/// Everything about a task.
#[track_caller]
pub fn get(client: &mut Client, task: u64) -> Value {
    client.call(json!({"cmd": "get-task", "task_id": task}))
}

/// Reads events until the task stands there.
#[track_caller]
pub fn wait_task(client: &mut Client, task: u64, status: &str) {
    let end = Instant::now() + LONG;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let line = client.event(left);
        let line = line.unwrap_or_else(|e| panic!("waited for task {task} to be {status}: {e}"));
        let e = &line["event"];
        if e["kind"] == "task" && e["task"] == json!(task) && e["status"] == status {
            return;
        }
    }
}

/// What the agent got for its task, once its run has begun.
#[track_caller]
pub fn prompt(client: &mut Client, task: u64) -> String {
    let run = get(client, task)["run"].clone();
    let run = client.call(json!({"cmd": "get-run", "run": run}));
    run["prompt"].as_str().expect("a prompt").to_owned()
}
