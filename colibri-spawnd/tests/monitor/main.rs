//! The monitor as a process: started as its launcher starts it, with scripts and recordings for
//! agents. Each case is colibrid.

mod channel;
#[path = "../../../libcolibri/tests/harness/mod.rs"]
mod harness;
#[cfg(target_os = "linux")]
mod linux;
mod recorded;
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
            let mut cases = CASES.to_vec();
            cases.extend_from_slice(SYSTEM);
            harness::main(&cases);
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
    let program = harness::program::program("colibri-spawnd");
    std::fs::copy(program, dir.join("colibri-spawnd")).expect("copy the program");
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("started by cargo, or as if");
    let fixtures = Path::new(&package).join("../tests/fixtures/pi");
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

const CASES: &[Case] = &[
    case("a JSON run: prompt, end of input, stream, end", json_run),
    case("JSON mode takes one prompt and nothing else", json_refusals),
    case("an RPC run ends when its work has settled", rpc_run),
    case("an agent that stays takes more, and is stopped", stays),
    case("a dialog is answered, once and sensibly", dialog),
    case("an abort cancels an open dialog first", abort_in_dialog),
    case("colibrid may die at any record", channel::any_record),
    case("there is one connection at a time", channel::one_connection),
    case("others may not connect", channel::wrong_user).as_root(),
    case("garbage ends its connection only", channel::garbage),
    case(
        "a stray descriptor ends its connection only",
        channel::stray_descriptors,
    ),
    case(
        "nothing is said before resume, and resume comes first",
        channel::resume_first,
    ),
    case("a line of 100 MB costs no memory", huge_line),
    case("a flood on stderr leaves its end", stderr_flood),
    case("an agent that does not read is not waited for", deaf_agent),
    case("a grandchild that holds the pipe is waited for", grandchild),
    case("an init reports its agent's end", init_reports),
    case("a killed init is the end of all", init_killed),
    case("a launch that failed is told", not_started),
    case("silence after the start is told", silence),
    case("SIGTERM to the monitor is a stop", terminated),
    case("a full journal ends the run", journal_full),
    case("recorded streams give their states", recorded::all),
];

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

fn json_refusals() {
    let mut rig = Rig::start(&Spec {
        mode: JSON,
        script: "cat >/dev/null; read x </dev/null; while :; do sleep 100; done",
        ..SPEC
    });
    rig.resume(0);
    rig.prompt(1, "once");
    assert_eq!(rig.did(1), "");
    rig.prompt(2, "twice");
    assert!(rig.did(2).contains("JSON mode"));
    rig.send(&ToMonitor::Abort { token: 3 });
    assert!(rig.did(3).contains("JSON mode"));
    let text = "left".to_owned();
    rig.send(&ToMonitor::Steer { token: 4, text });
    assert!(rig.did(4).contains("JSON mode"));
    rig.send(&ToMonitor::Stop);
    rig.until(|r| *r == Record::Stopping);
    rig.send(&ToMonitor::Abort { token: 5 });
    assert!(rig.did(5).contains("stopping"));
    kill_tree(&rig);
    let ended = rig.ended();
    assert!(ended.asked);
    assert_eq!((ended.state, ended.exit), (State::Idle, Exit::Signal(9)));
    rig.gone();
}

/// What spawnd does when colibrid asks for it.
fn kill_tree(rig: &Rig) {
    sys::signal_tree(rig.monitor, sys::Signal::SIGKILL, false).expect("kill");
}

/// An RPC agent in the shell: replies to the probe, and defines what the tests need.
const AGENT: &str = r#"
ok() { echo "{\"id\":\"$1\",\"type\":\"response\",\"command\":\"$2\",\"success\":true}"; }
no() { echo "{\"id\":\"$1\",\"type\":\"response\",\"command\":\"$2\",\"success\":false,\"error\":\"$3\"}"; }
say() { echo "{\"type\":\"$1\"$2}"; }
want() { read -r line || exit 90; case "$line" in *"$1"*) ;; *) echo "wanted $1, got $line" >&2; exit 91;; esac; }
answer() { say message_end ',"message":{"role":"assistant","stopReason":"stop","content":[{"type":"text","text":"'"$1"'"}]}'; }
work() { say agent_start; say turn_start; }
done_() { answer "$1"; say agent_end ',"willRetry":false'; say agent_settled ',"aborted":false'; }
want get_state; ok probe get_state
"#;

fn agent(script: &str) -> String {
    format!("{AGENT}\n{script}")
}

fn is_state(r: &Record, wanted: State) -> bool {
    matches!(r, Record::State { state, .. } if *state == wanted)
}

fn rpc_run() {
    let script = agent("want '\"message\":\"hi\"'; ok c9 prompt; work; done_ yes; cat; exit 0");
    let mut rig = Rig::start(&Spec {
        on_settled: END,
        script: &script,
        ..SPEC
    });
    rig.resume(0);
    rig.until(|r| is_state(r, State::Idle));
    rig.prompt(9, "hi");
    assert_eq!(rig.did(9), "");
    let answer = rig.until(|r| matches!(r, Record::Answer { .. }));
    assert!(matches!(answer, Record::Answer { text } if text == "yes"));
    let ended = rig.ended();
    assert_eq!((ended.state, ended.exit), (State::Done, Exit::Code(0)));
    assert!(!ended.asked);
    rig.gone();
}

fn stays() {
    let script = agent(
        "want '\"type\":\"prompt\"'; ok c1 prompt; work; want '\"type\":\"steer\"'; ok c2 steer
         done_ one; want '\"type\":\"prompt\"'; no c3 prompt 'not now'
         want '\"type\":\"prompt\"'; ok c4 prompt; work; done_ two; cat; exit 0",
    );
    let mut rig = Rig::start(&Spec {
        script: &script,
        ..SPEC
    });
    rig.resume(0);
    rig.prompt(1, "a");
    rig.until(|r| is_state(r, State::Working));
    let text = "b".to_owned();
    rig.send(&ToMonitor::Steer { token: 2, text });
    assert_eq!(rig.did(2), "");
    rig.until(|r| is_state(r, State::Done));
    rig.prompt(3, "c");
    assert_eq!(rig.did(3), "not now");
    // At rest a steering message is a prompt.
    let text = "d".to_owned();
    rig.send(&ToMonitor::Steer { token: 4, text });
    rig.until(|r| is_state(r, State::Done));
    rig.send(&ToMonitor::Abort { token: 5 });
    assert_eq!(rig.did(5), "there is nothing to abort");
    rig.send(&ToMonitor::Stop);
    let stopping = rig.until(|r| matches!(r, Record::State { .. }));
    assert!(matches!(
        stopping,
        Record::State {
            phase: Phase::Stopping,
            ..
        }
    ));
    let ended = rig.ended();
    assert!(ended.asked);
    assert_eq!((ended.state, ended.exit), (State::Done, Exit::Code(0)));
    rig.gone();
}

/// A dialog of a tool that asks for permission.
const ASKS: &str = r#"
want '"type":"prompt"'; ok c1 prompt; work
say tool_execution_start ',"toolCallId":"t","toolName":"bash","args":{}'
say extension_ui_request ',"id":"q","method":"select","title":"Colour?","options":["red","green"]'
"#;

fn dialog() {
    let script = agent(&format!(
        "{ASKS} want '\"value\":\"green\"'
         say tool_execution_end ',\"toolCallId\":\"t\",\"toolName\":\"bash\",\"isError\":false'
         done_ ok; cat"
    ));
    let mut rig = Rig::start(&Spec {
        script: &script,
        ..SPEC
    });
    rig.resume(0);
    rig.prompt(1, "a");
    let asked = rig.until(|r| matches!(r, Record::Asked(_)));
    assert!(matches!(asked, Record::Asked(d) if d.request == "q" && d.options.len() == 2));
    rig.until(|r| is_state(r, State::Blocked));
    let answer = |token, request: &str, value: &str| ToMonitor::Answer {
        token,
        request: request.to_owned(),
        reply: Reply::Value(value.to_owned()),
    };
    rig.send(&answer(2, "other", "green"));
    assert_eq!(rig.did(2), "no such question");
    rig.send(&answer(3, "q", "blue"));
    assert!(rig.did(3).contains("red, green"));
    rig.send(&answer(4, "q", "green"));
    assert_eq!(rig.did(4), "");
    rig.until(|r| is_state(r, State::Done));
    rig.send(&answer(5, "q", "red"));
    assert_eq!(rig.did(5), "no such question");
    rig.send(&ToMonitor::Stop);
    assert_eq!(rig.ended().state, State::Done);
    rig.gone();
}

fn abort_in_dialog() {
    let script = agent(&format!(
        "{ASKS} want '\"cancelled\":true'; want '\"type\":\"abort\"'
         say agent_end ',\"willRetry\":false'; say agent_settled ',\"aborted\":true'; ok c2 abort; cat"
    ));
    let mut rig = Rig::start(&Spec {
        script: &script,
        ..SPEC
    });
    rig.resume(0);
    rig.prompt(1, "a");
    rig.until(|r| is_state(r, State::Blocked));
    rig.send(&ToMonitor::Abort { token: 2 });
    assert_eq!(rig.did(2), "");
    rig.send(&ToMonitor::Stop);
    let ended = rig.ended();
    assert_eq!(
        (ended.state, ended.reason.as_str()),
        (State::Idle, "aborted")
    );
    rig.gone();
}

/// Resident memory, KiB.
fn resident(pid: i32) -> u64 {
    let out = std::process::Command::new("ps")
        .args(["-o", "rss=", "-p", &pid.to_string()])
        .output()
        .expect("ps");
    let text = String::from_utf8_lossy(&out.stdout);
    text.trim().parse().expect("a number")
}

fn huge_line() {
    let script = agent(
        "want prompt; ok c1 prompt; work; done_ first; want prompt; ok c2 prompt
         printf '{\"type\":\"message_end\",\"message\":{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"'
         head -c 100000000 /dev/zero | tr '\\0' x; echo '\"}],\"stopReason\":\"stop\"}}'
         work; done_ second; cat",
    );
    let mut rig = Rig::start(&Spec {
        script: &script,
        ..SPEC
    });
    rig.resume(0);
    rig.prompt(1, "a");
    rig.until(|r| is_state(r, State::Done));
    let before = resident(rig.monitor);
    rig.prompt(2, "b");
    rig.until(|r| matches!(r, Record::Answer { text } if text == "second"));
    let after = resident(rig.monitor);
    assert!(after < before + 1024, "{before} KiB, then {after} KiB");
    rig.send(&ToMonitor::Stop);
    let ended = rig.ended();
    assert!(ended.bytes > 100_000_000 && ended.malformed == 0);
    rig.gone();
}

fn stderr_flood() {
    let mut rig = Rig::start(&Spec {
        script: "head -c 50000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 3",
        ..SPEC
    });
    rig.resume(0);
    let ended = rig.ended();
    assert_eq!(ended.exit, Exit::Code(3));
    assert_eq!(ended.stderr.len(), 4096);
    assert!(ended.stderr.ends_with("xthe end\n"));
    rig.gone();
}

fn deaf_agent() {
    let mut rig = Rig::start(&Spec {
        script: "exec sleep 1000",
        ..SPEC
    });
    rig.resume(0);
    for token in 1..=6 {
        rig.prompt(token, &"x".repeat(200_000));
    }
    // 64 KiB are in the pipe; three and a bit are queued.
    assert_eq!(rig.did(6), "the agent does not read its input");
    rig.send(&ToMonitor::Stop);
    rig.until(|r| *r == Record::Stopping);
    kill_tree(&rig);
    let journal_has = |rig: &Rig, wanted: &str| {
        let has = |e: &libcolibri::record::Entry| matches!(&e.record, Record::Did { token: 1, error, .. } if error == wanted);
        rig.read_journal().iter().any(has)
    };
    rig.ended();
    assert!(journal_has(&rig, "the agent has exited"));
    rig.gone();
}

fn grandchild() {
    let mut rig = Rig::start(&Spec {
        script: "sleep 1000 & echo '{\"type\":\"agent_start\"}'; exit 3",
        ..SPEC
    });
    rig.resume(0);
    let exited = rig.until(|r| matches!(r, Record::Exited(_)));
    assert_eq!(exited, Record::Exited(Exit::Code(3)));
    loop {
        if let FromMonitor::Straggling { kill } = rig.next().expect("straggling") {
            assert_eq!(kill, Kill::Kill);
            break;
        }
    }
    kill_tree(&rig);
    let ended = rig.ended();
    assert_eq!((ended.exit, ended.proof), (Exit::Code(3), Proof::Reaped));
    assert_eq!((ended.state, ended.lines), (State::Error, 1));
    rig.gone();
}

fn init_reports() {
    let mut rig = Rig::start(&Spec {
        container: Container::PidNamespace,
        script: "kill -TERM $$",
        ..SPEC
    });
    rig.resume(0);
    let ended = rig.ended();
    assert_eq!((ended.exit, ended.proof), (Exit::Signal(15), Proof::Kernel));
    rig.gone();
}

fn init_killed() {
    let mut rig = Rig::start(&Spec {
        container: Container::UserNamespace,
        // The stand-in takes nobody with it, so the agent goes by itself.
        script: "kill -9 $PPID; exit 5",
        ..SPEC
    });
    rig.resume(0);
    let ended = rig.ended();
    assert_eq!((ended.exit, ended.proof), (Exit::Signal(9), Proof::Kernel));
    rig.gone();
}

fn not_started() {
    let mut rig = Rig::start(&Spec {
        failed: (19, 2),
        ..SPEC
    });
    rig.resume(0);
    let ended = rig.ended();
    assert_eq!(ended.exit, Exit::NotStarted(2));
    assert_eq!(ended.proof, Proof::NothingStarted);
    assert_eq!(ended.state, State::Error);
    assert_eq!(
        ended.reason,
        "cannot execute the program: no such file or directory"
    );
    rig.gone();
}

fn silence() {
    let mut rig = Rig::start(&Spec {
        start_timeout: 1,
        script: "exec sleep 1000",
        ..SPEC
    });
    rig.resume(0);
    let silent = rig.until(|r| matches!(r, Record::State { .. }));
    assert!(
        matches!(&silent, Record::State { state: State::Unknown, phase: Phase::Starting, reason, .. }
            if reason == "silent since start")
    );
    kill_tree(&rig);
    let ended = rig.ended();
    assert_eq!((ended.state, ended.asked), (State::Error, false));
    rig.gone();
}

fn terminated() {
    let mut rig = Rig::start(&Spec {
        script: "cat",
        ..SPEC
    });
    rig.resume(0);
    let pid = nix::unistd::Pid::from_raw(rig.monitor);
    nix::sys::signal::kill(pid, sys::Signal::SIGTERM).expect("signal");
    rig.until(|r| *r == Record::Stopping);
    assert_eq!(rig.ended().exit, Exit::Code(0));
    rig.gone();
}

fn journal_full() {
    // Flips between states for ever; ends, as Pi does, with its input.
    let script = "
        exec 3<&0; (cat <&3 >/dev/null; kill -9 $$) &
        flip='{\"type\":\"agent_start\"}
{\"type\":\"agent_end\"}
{\"type\":\"agent_settled\"}'
        while :; do echo \"$flip\"; done";
    let mut rig = Rig::start(&Spec {
        journal_limit: 8192,
        script,
        ..SPEC
    });
    rig.resume(0);
    rig.until(|r| matches!(r, Record::State { reason, .. } if reason == "journal limit"));
    let ended = rig.ended();
    assert_eq!(
        (ended.state, ended.reason.as_str()),
        (State::Error, "journal limit")
    );
    assert!(!ended.asked);
    rig.gone();
    let size = std::fs::metadata(&rig.journal).expect("journal").len();
    assert!(size < 16_384, "{size} bytes");
    let journal = rig.read_journal();
    let dropped = |r: &Record| matches!(r, Record::Dropped { records } if *records > 0);
    assert!(journal.iter().any(|e| dropped(&e.record)));
}

/// A disk that can be filled without harm, and what a process does between two looks, are there
/// to be had on Linux only.
#[cfg(not(target_os = "linux"))]
const SYSTEM: &[Case] = &[];
#[cfg(target_os = "linux")]
const SYSTEM: &[Case] = &[
    case(
        "a full disk delays records and loses none of weight",
        linux::disk_full,
    )
    .as_root(),
    case(
        "a colibrid that dies while the disk is full has a successor",
        linux::full_and_left,
    )
    .as_root(),
    case("a run at rest wakes nobody", linux::at_rest),
    case(
        "an agent that a signal without a name has killed is dead",
        linux::nameless_signal,
    ),
    case(
        "a question whose agent is gone wakes nobody",
        linux::question_left_behind,
    ),
];
