//! The machine has crashed: nothing lives, names are left, files are cut. Each run becomes a
//! recorded outcome, and nothing is left over.

use colibri_tests::procs::{alive, gone, signal, users_of};
use colibri_tests::steps::Steps;
use colibri_tests::suite::{is_root, Scratch, Setup, Suite, AGENT};
use colibri_tests::tail::{log_until_ended, of};
use colibri_tests::wait::{must, LONG};
use libcolibri::sys::process_start;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// A suite with a run that works, of which nothing but files is left.
fn crashed() -> (Suite, u64) {
    let scratch = Scratch::new();
    let (profile, mut steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    let started = client.wait_event(run, "its monitor", |e| e["kind"] == "started");
    steps.tools(20);
    client.wait_event(run, "the last tool", |e| {
        e["kind"] == "tool-end" && e["id"] == "call-19"
    });
    // All at once is not possible from here; the top first, so that nobody cleans up.
    let all = suite.processes();
    signal(suite.pid(), Signal::SIGKILL);
    let monitor = started["monitor"]
        .as_i64()
        .and_then(|p| i32::try_from(p).ok());
    let all: Vec<i32> = all.iter().map(|p| p.pid).chain(monitor).collect();
    for pid in &all {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    suite.wait_end();
    // What a process holds that has given up its rights, not even its own user may see.
    for pid in all {
        assert!(gone(pid, LONG), "{pid} lives");
    }
    must("the last process to go", LONG, || {
        users_of(suite.dir()).is_empty().then_some(())
    });
    (suite, run)
}

fn only(dir: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .flatten()
        .map(|e| e.path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// A process that has the number of the dead monitor, so the note says, and nothing to do with us.
struct Innocent {
    child: Child,
    pid: i32,
    start: u64,
}

impl Innocent {
    fn new() -> Innocent {
        let child = Command::new("sleep").arg("300").spawn().expect("sleep");
        let pid = i32::try_from(child.id()).expect("fits");
        let start = process_start(pid).expect("its start");
        Innocent { child, pid, start }
    }

    /// Writes into the note that the run's monitor is this one, which started then; of another
    /// boot when one is given.
    fn is_noted(&self, suite: &Suite, start: u64, boot: Option<&str>) {
        let note = only(&suite.dir().join("run/spawnd"));
        let text = fs::read_to_string(&note).expect("the note");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if let Some(boot) = boot {
            lines[0] = format!("boot {boot}");
        }
        lines[1] = format!("monitor {} {start}", self.pid);
        fs::write(&note, lines.join("\n") + "\n").expect("written");
    }

    #[track_caller]
    fn spared(mut self) {
        assert!(alive(self.pid), "an innocent process was killed");
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }
}

/// The next suite records an outcome and leaves nothing.
#[track_caller]
fn recorded(suite: &mut Suite, run: u64) {
    suite.launch();
    let log = log_until_ended(&mut suite.client(), run);
    let ended = of(&log, run, "ended");
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["state"], "error", "{}", ended[0]);
    assert_eq!(ended[0]["reason"], "monitor lost", "{}", ended[0]);
    assert_eq!(of(&log, run, "launched").len(), 1);
    let mut client = suite.client();
    let audit = client.call(json!({"cmd": "audit"}));
    assert_eq!(audit["disagreements"], json!([]), "{audit}");
    assert_eq!(audit["runs"], 0);
    for name in ["run/runs", "run/spawnd", "tmp"] {
        let left = fs::read_dir(suite.dir().join(name))
            .expect("a directory")
            .count();
        assert_eq!(left, 0, "in {name}");
    }
}

#[test]
fn runs_of_an_earlier_boot_are_over_and_their_numbers_are_somebody_else() {
    let (mut suite, run) = crashed();
    let innocent = Innocent::new();
    // Started as long after the boot as the monitor was: only the boot tells them apart.
    let boot = "00000000-0000-0000-0000-000000000000";
    innocent.is_noted(&suite, innocent.start, Some(boot));
    recorded(&mut suite, run);
    innocent.spared();
}

#[test]
fn a_number_of_a_dead_monitor_that_is_somebody_else_s_now_is_not_killed() {
    let (mut suite, run) = crashed();
    let innocent = Innocent::new();
    innocent.is_noted(&suite, innocent.start - 1, None);
    recorded(&mut suite, run);
    innocent.spared();
}

#[test]
fn a_run_directory_that_the_boot_emptied_is_made_again() {
    let (mut suite, run) = crashed();
    fs::remove_dir_all(suite.dir().join("run")).expect("removed");
    fs::remove_dir_all(suite.dir().join("tmp")).expect("removed");
    recorded(&mut suite, run);
}

/// As with the default paths: /var/run is emptied at boot, /var/tmp is kept.
#[test]
fn temporary_directories_that_the_boot_kept_are_removed() {
    let (mut suite, run) = crashed();
    fs::remove_dir_all(suite.dir().join("run")).expect("removed");
    let tmpdir = only(&suite.dir().join("tmp"));
    fs::create_dir_all(tmpdir.join("a/b")).expect("a directory");
    fs::write(tmpdir.join("a/b/file"), "x").expect("a file");
    if is_root() {
        for name in ["a", "a/b", "a/b/file"] {
            chown(tmpdir.join(name), Some(AGENT.0), Some(AGENT.1)).expect("given away");
        }
    }
    recorded(&mut suite, run);
}

#[test]
fn sockets_and_pid_file_of_the_dead_are_replaced() {
    let (mut suite, run) = crashed();
    for name in ["run/colibri.sock", "run/colibrid.pid"] {
        assert!(suite.dir().join(name).exists(), "{name} is not left");
    }
    assert!(only(&suite.dir().join("run/runs")).exists());
    recorded(&mut suite, run);
}

/// What a crash makes of a journal, as a change of its bytes.
type Cut = (&'static str, fn(&mut Vec<u8>));

const CUTS: [Cut; 5] = [
    ("half a record", |b| b.truncate(b.len() - 5)),
    ("nothing", Vec::clear),
    ("half a magic", |b| b.truncate(3)),
    ("zeroes at the end", |b| b.extend([0; 4096])),
    ("garbage", |b| b.iter_mut().for_each(|x| *x = !*x)),
];

#[test]
fn half_written_journals_are_read_as_far_as_they_go() {
    for (what, cut) in CUTS {
        let (mut suite, run) = crashed();
        let journal = only(&suite.dir().join("state/runs"));
        let mut bytes = fs::read(&journal).expect("the journal");
        cut(&mut bytes);
        fs::write(&journal, bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
        println!("{what}");
        recorded(&mut suite, run);
    }
    let (mut suite, run) = crashed();
    fs::remove_file(only(&suite.dir().join("state/runs"))).expect("removed");
    recorded(&mut suite, run);
}

/// A socket in the place of a run's, with somebody else listening: not believed, and the run is
/// lost, since its monitor is.
#[test]
fn a_forged_socket_of_a_dead_run_is_not_spoken_to() {
    let (mut suite, run) = crashed();
    let path = only(&suite.dir().join("run/runs"));
    fs::remove_file(&path).expect("removed");
    let forged = UnixListener::bind(&path).expect("bound");
    forged.set_nonblocking(true).expect("non-blocking");
    // Even with the journal's lock held, as a living monitor would.
    let journal = File::open(only(&suite.dir().join("state/runs"))).expect("the journal");
    let lock = nix::fcntl::Flock::lock(journal, nix::fcntl::FlockArg::LockExclusiveNonblock);
    let lock = lock.map_err(|(_, e)| e).expect("locked");
    suite.launch();
    if is_root() {
        // Not the monitors' user: colibrid hangs up and takes nothing.
        let row = must("the run to be given up", LONG, || {
            let row = suite.client().call(json!({"cmd": "get-run", "run": run}));
            (row["state"] == "error").then_some(row)
        });
        assert_eq!(row["reason"], "monitor lost", "{row}");
    }
    drop((lock, forged));
    suite.stop();
}
