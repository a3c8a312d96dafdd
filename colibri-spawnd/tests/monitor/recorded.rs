//! Every recorded stream of the real Pi in the fixtures, played to a live monitor.

use super::*;

/// One line of the fixtures' tables.
fn rows(name: &str) -> Vec<Vec<String>> {
    let path = rig::shared().join("pi").join(name);
    let text = std::fs::read_to_string(path).expect(name);
    let split = |l: &str| l.split('\t').map(str::to_owned).collect();
    text.lines().skip(1).map(split).collect()
}

/// The words of expected.tsv in ours.
fn ours(word: &str) -> String {
    match word.split('@').next().unwrap_or_default() {
        "failed" => "error".to_owned(),
        "blocked/retry" => "working/retrying".to_owned(),
        "blocked/user" => "blocked".to_owned(),
        other => other.to_owned(),
    }
}

pub fn all() {
    let index = rows("index.tsv");
    let mut played = 0;
    for row in rows("expected.tsv") {
        let (version, scenario) = (&row[0], &row[1]);
        let base = rig::shared().join("pi").join(version);
        let plain = base.join(format!("{scenario}.jsonl"));
        let packed = base.join(format!("{scenario}.jsonl.gz"));
        // Ends that were asked for are other tests' matter.
        if !(plain.exists() || packed.exists()) || row[3].starts_with("stopped") {
            continue;
        }
        let exit: i32 = index
            .iter()
            .find(|i| i[0] == *version && i[1] == *scenario)
            .map_or(0, |i| i[2].parse().expect("exit"));
        let show = match plain.exists() {
            true => format!("cat {}", plain.display()),
            false => format!("gzip -dc {}", packed.display()),
        };
        let end = match exit {
            0.. => format!("exit {exit}"),
            _ => format!("kill {exit} $$"),
        };
        let rpc = scenario.starts_with("rpc");
        let mut rig = Rig::start(&Spec {
            mode: if rpc { RPC } else { JSON },
            on_settled: STAY,
            script: &format!("{}{show}; {end}", if rpc { "" } else { "cat >/dev/null; " }),
            ..SPEC
        });
        rig.resume(0);
        if !rpc {
            rig.prompt(1, "go");
        }
        let ended = rig.ended();
        rig.gone();
        let what = format!("{version} {scenario}");
        assert_eq!(
            ended.state.as_str(),
            ours(&row[2]),
            "{what}: {}",
            ended.reason
        );
        let reason = row[3].trim_end();
        let start = &reason[..reason.len().min(20)];
        assert!(ended.reason.starts_with(start), "{what}: {}", ended.reason);
        if !row[4].starts_with('(') && !rpc {
            let wanted: Vec<String> = row[4].split(' ').map(ours).collect();
            assert_eq!(states(&rig), wanted, "{what}");
        }
        played += 1;
    }
    assert!(played > 30, "only {played} recordings");
}

/// The states in the journal, as the tables write them.
fn states(rig: &Rig) -> Vec<String> {
    let word = |r: &Record| match r {
        Record::State {
            state,
            phase: Phase::None,
            ..
        } => Some(state.as_str().to_owned()),
        Record::State { state, phase, .. } => {
            Some(format!("{}/{}", state.as_str(), phase.as_str()))
        }
        _ => None,
    };
    rig.read_journal()
        .iter()
        .filter_map(|e| word(&e.record))
        .collect()
}
