//! The monitor as a process: started as its launcher starts it, with scripts and recordings for
//! agents. Each case is colibrid.

#[path = "../../libcolibri/tests/harness/mod.rs"]
mod harness;
mod rig;

use std::path::Path;

use harness::{case, Case};
use libcolibri::msg::{FromMonitor, Kill, Reply, ToMonitor};
use libcolibri::record::{Proof, Record};
use libcolibri::state::{Container, Exit, Phase, State};
use libcolibri::sys::{self, Fork};
use rig::{Rig, Spec, END, JSON, RPC, SPEC, STAY};

/// The program and the fixtures where every user can reach them; then all cases.
fn main() {
    let dir = std::env::temp_dir().join(format!("colibri-monitor-{}", std::process::id()));
    match sys::fork().expect("fork") {
        Fork::Child => {
            prepare(&dir);
            std::env::set_var("MONITOR_TEST_DIR", &dir);
            harness::main(CASES);
        }
        Fork::Parent(pid) => {
            let pid = nix::unistd::Pid::from_raw(pid);
            let status = nix::sys::wait::waitpid(pid, None);
            let _ = std::fs::remove_dir_all(&dir);
            let well = matches!(status, Ok(nix::sys::wait::WaitStatus::Exited(_, 0)));
            std::process::exit(i32::from(!well));
        }
    }
}

fn prepare(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir(dir).expect("directory");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir, open).expect("mode");
    let program = Path::new(env!("CARGO_BIN_EXE_colibri-spawnd"));
    std::fs::copy(program, dir.join("colibri-spawnd")).expect("copy the program");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pi");
    copy_tree(&fixtures, &dir.join("pi"));
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("directory");
    for entry in std::fs::read_dir(from).expect("fixtures") {
        let entry = entry.expect("fixture");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("type").is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copy")),
        }
    }
}

const CASES: &[Case] = &[case(
    "a JSON run: prompt, end of input, stream, end",
    json_run,
)];

/// A plain run of the newest Pi, as JSON mode plays it.
fn plain() -> String {
    format!("{}/pi/1.5.2/plain.jsonl", rig::shared().display())
}

fn json_run() {
    let script = format!("test \"$(cat)\" = hello && cat {} && echo bye >&2", plain());
    let mut rig = Rig::start(&Spec {
        mode: JSON,
        script: &script,
        ..SPEC
    });
    rig.resume(0);
    rig.prompt(7, "hello");
    assert_eq!(rig.did(7), "");
    let ended = rig.ended();
    assert_eq!((ended.state, ended.exit), (State::Done, Exit::Code(0)));
    assert_eq!(ended.proof, Proof::Reaped);
    assert_eq!(ended.stderr, "bye\n");
    assert!(!ended.asked && ended.malformed == 0 && ended.lines > 10);
    rig.gone();
    let journal = rig.read_journal();
    assert!(matches!(
        journal[0].record,
        Record::Opened {
            run: 1,
            attempt: 2,
            ..
        }
    ));
    assert_eq!(
        journal.last().map(|e| &e.record),
        Some(&Record::Ended(ended))
    );
}
