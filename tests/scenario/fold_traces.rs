//! Runs `colibri-ctl fold` over recordings of the real Pi and compares final state, reason and
//! every transition with what the recordings' own reference says.
//!
//! The fixtures in the tree are a selection; with COLIBRI_PI_TRACES naming a directory of the same
//! layout (`<version>/<scenario>.jsonl[.gz]`, `expected.tsv`, `index.tsv`) all of that is run too.

use colibri_tests::pi::fixtures;
use colibri_tests::suite::program;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A recording and what is known about it.
struct Row {
    name: String,
    file: PathBuf,
    /// Negative: killed by that signal.
    exit: i32,
    /// The recorder ended it: a signal or the end of its input.
    asked: bool,
    state: String,
    reason: String,
    transitions: String,
}

fn table(file: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(file)
        .unwrap_or_else(|e| panic!("cannot read {}: {e}", file.display()));
    let rows = text.lines().skip(1);
    rows.map(|l| l.split('\t').map(str::to_owned).collect())
        .collect()
}

/// Whether the recorder's log says that it ended the agent. Stopping and continuing it, or closing
/// the other pipe, is no request to end.
fn asked(actions: &str) -> bool {
    let ends = ["SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "close stdin"];
    ends.iter().any(|act| actions.contains(act))
}

fn rows(dir: &Path) -> Vec<Row> {
    let index: HashMap<(String, String), (i32, String)> = table(&dir.join("index.tsv"))
        .into_iter()
        .map(|r| {
            let exit = r[2].parse().expect("exit status");
            ((r[0].clone(), r[1].clone()), (exit, r[10].clone()))
        })
        .collect();
    let expected = table(&dir.join("expected.tsv")).into_iter();
    expected
        .map(|r| {
            let (version, scenario) = (r[0].clone(), r[1].clone());
            let name = format!("{version}/{scenario}");
            let plain = dir.join(format!("{name}.jsonl"));
            let packed = dir.join(format!("{name}.jsonl.gz"));
            let (exit, actions) = &index[&(version, scenario)];
            Row {
                name,
                file: if packed.exists() { packed } else { plain },
                exit: *exit,
                asked: asked(actions),
                state: words(&r[2]),
                reason: r[3].clone(),
                transitions: r[4].clone(),
            }
        })
        .filter(|row| row.file.exists())
        .collect()
}

/// The reference's words in ours.
fn words(state: &str) -> String {
    match state {
        "failed" => "error",
        "blocked/user" => "blocked",
        "blocked/retry" => "working/retrying",
        other => other,
    }
    .to_owned()
}

/// What the fold printed: `state[/phase]` of each transition, final state, final reason.
fn fold(row: &Row) -> (Vec<String>, String, String) {
    let mut command = Command::new(program("colibri-ctl"));
    command.args(["-j", "fold"]);
    if row.exit < 0 {
        command.args(["--signal", &(-row.exit).to_string()]);
    } else {
        command.args(["--exit", &row.exit.to_string()]);
    }
    if row.asked {
        command.arg("--asked");
    }
    let output = command.arg(&row.file).output().expect("colibri-ctl runs");
    assert!(output.status.success(), "{}: {output:?}", row.name);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON line"))
        .collect();
    let last = lines.pop().expect("a final line");
    let string = |v: &Value| v.as_str().expect("a string").to_owned();
    let mut seen = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], i + 1, "{}", row.name);
        seen.push(match string(&line["phase"]).as_str() {
            "none" => string(&line["state"]),
            phase => format!("{}/{phase}", string(&line["state"])),
        });
    }
    let end = &last["final"];
    (seen, string(&end["state"]), string(&end["reason"]))
}

/// What differs, in words; empty = nothing.
fn compare(row: &Row) -> Vec<String> {
    let (seen, state, reason) = fold(row);
    let mut differences = Vec::new();
    if state != row.state {
        differences.push(format!("{}: final {state}, not {}", row.name, row.state));
    }
    // The reference cuts reasons at 40 characters.
    let start: String = reason.chars().take(40).collect();
    if start.trim_end() != row.reason.trim_end() {
        differences.push(format!(
            "{}: reason {start:?}, not {:?}",
            row.name, row.reason
        ));
    }
    let expected: Vec<String> = row
        .transitions
        .split(' ')
        .filter_map(|t| Some(words(t.split_once('@')?.0)))
        .collect();
    match row.transitions.strip_suffix(" transitions)") {
        Some(count) => {
            let count: usize = count[1..].parse().expect("a count");
            if seen.len() != count {
                differences.push(format!(
                    "{}: {} transitions, not {count}",
                    row.name,
                    seen.len()
                ));
            }
        }
        None if seen != expected => {
            differences.push(format!("{}: {seen:?}, not {expected:?}", row.name));
        }
        None => {}
    }
    differences
}

fn run(dir: &Path, at_least: usize) {
    let rows = rows(dir);
    assert!(rows.len() >= at_least, "only {} recordings", rows.len());
    let differences: Vec<String> = rows.iter().flat_map(compare).collect();
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
    eprintln!("{} recordings folded in {}", rows.len(), dir.display());
}

#[test]
fn the_recordings_in_the_tree_fold_as_expected() {
    run(&fixtures().join("pi"), 40);
}

#[test]
fn the_whole_set_folds_as_expected() {
    match std::env::var_os("COLIBRI_PI_TRACES") {
        Some(dir) => run(Path::new(&dir), 100),
        // Written to the terminal even when the test harness captures output.
        None => {
            use std::io::Write;
            let note =
                b"note: COLIBRI_PI_TRACES is not set, the whole set of recordings was not run\n";
            let _ = std::io::stderr().write_all(note);
        }
    }
}
