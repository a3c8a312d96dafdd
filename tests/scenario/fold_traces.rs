//! Runs `colibri-ctl fold` over recordings of the real Pi and compares final state, reason and
//! every transition with what the recordings' own reference says.
//!
//! The fixtures in the tree are a selection; with COLIBRI_PI_TRACES naming a directory of the same
//! layout (`<version>/<scenario>.jsonl[.gz]`, `expected.tsv`, `index.tsv`) all of that is run too.

use colibri_tests::pi::fixtures;
use colibri_tests::procs::status_field;
use colibri_tests::skip::skip;
use colibri_tests::suite::{program, Scratch};
use colibri_tests::wait::{must, LONG};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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
        None => skip("COLIBRI_PI_TRACES is not set: the whole set of recordings was not run"),
    }
}

fn ctl(words: &[&str], file: &Path) -> Output {
    let mut command = Command::new(program("colibri-ctl"));
    command.args(words).arg(file);
    command.output().expect("run")
}

#[test]
fn a_packed_recording_that_was_cut_is_folded_as_far_as_it_goes() {
    let scratch = Scratch::new();
    let mut packed = std::fs::read(fixtures().join("pi/1.5.2/demo.jsonl.gz")).expect("a recording");
    let file = scratch.path().join("cut.gz");
    packed.truncate(packed.len() * 9 / 10);
    std::fs::write(&file, &packed).expect("written");
    let out = ctl(&["-j", "fold"], &file);
    assert_eq!(out.status.code(), Some(0));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("cut.gz ends too early"), "{said}");
    let text = String::from_utf8_lossy(&out.stdout);
    let last: Value = serde_json::from_str(text.lines().last().expect("lines")).expect("JSON");
    assert!(last["final"]["state"].is_string(), "{last}");
    assert!(text.lines().count() > 2, "{text}");
    // What is damaged is told apart.
    let middle = packed.len() / 2;
    packed[middle..].fill(0xff);
    std::fs::write(&file, &packed).expect("written");
    assert_eq!(ctl(&["fold"], &file).status.code(), Some(1));
    for wrong in [["--exit", "256"], ["--signal", "0"]] {
        let words = ["fold", wrong[0], wrong[1]];
        assert_eq!(ctl(&words, &file).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn the_tool_is_confined_before_it_reads() {
    if !Path::new("/proc/self/status").exists() {
        return skip("whether a process is confined is looked up in Linux's /proc");
    }
    let mut ctl = Command::new(program("colibri-ctl"));
    ctl.args(["fold", "-"]).stdin(Stdio::piped());
    let mut ctl = ctl.stdout(Stdio::null()).spawn().expect("run");
    let pid = i32::try_from(ctl.id()).expect("fits");
    // It has been given nothing so far.
    must("the confinement", LONG, || {
        (status_field(pid, "Seccomp").as_deref() == Some("2")).then_some(())
    });
    drop(ctl.stdin.take());
    assert!(ctl.wait().expect("an end").success());
}
