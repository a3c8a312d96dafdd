//! The rc.d script as service(8) runs it, with the system's rc.subr and a suite of its own. It needs
//! FreeBSD and root; elsewhere `COLIBRI_RC_SUBR` may name an rc.subr(8) that works there.

use super::{script, text};
use colibri_tests::daemon::{run, Daemon, Ran};
use colibri_tests::procs::{self, alive, gone};
use colibri_tests::skip::skip;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{config_text, is_root, program, Scratch, Setup};
use colibri_tests::wait::{must, LONG};
use nix::sys::signal::Signal;
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;

/// A service that is not started; it is stopped by whoever started it, or with the daemon.
struct Service {
    daemon: Daemon,
    setup: Setup,
    steps: Steps,
}

impl Service {
    /// The script with its prefix in a private directory, or `None` after a `SKIP:` line.
    fn new() -> Option<Self> {
        let subr = std::env::var("COLIBRI_RC_SUBR").unwrap_or("/etc/rc.subr".into());
        if !std::path::Path::new(&subr).exists() {
            skip("no rc.subr here: not FreeBSD");
            return None;
        }
        if !is_root() {
            skip("rc.d scripts are root's");
            return None;
        }
        let scratch = Scratch::new();
        let prefix = scratch.path().to_owned();
        for name in [
            "colibrid",
            "colibri-spawnd",
            "colibri-schedd",
            "colibri-ctl",
        ] {
            let to = prefix.join("sbin").join(name);
            std::fs::create_dir_all(prefix.join("sbin")).expect("made");
            std::fs::copy(program(name), to).expect("copied");
        }
        let own = prefix.display().to_string();
        let rc = text("rc.d/colibrid.in").replace("%%PREFIX%%", &own);
        let rc = rc.replace("/etc/rc.subr", &subr);
        script(&prefix.join("colibrid.rc"), &rc);
        let (mut profile, steps) = Steps::new(&scratch, "steps");
        profile.more = "stop_grace = 1".into();
        let setup = Setup {
            profiles: vec![profile],
            ..Setup::default()
        };
        Some(Self {
            daemon: Daemon::prepare(scratch, &setup),
            setup,
            steps,
        })
    }

    /// `service colibrid WORD`.
    fn rc(&self, word: &str) -> Ran {
        let dir = self.daemon.dir();
        run(Command::new(dir.join("colibrid.rc"))
            .arg(word)
            .env("colibrid_config", self.daemon.config_path())
            .env("colibrid_run_dir", dir.join("run")))
    }

    /// The same, with this exit status; what it says.
    #[track_caller]
    fn must(&self, word: &str, code: i32) -> String {
        let ran = self.rc(word);
        assert_eq!(ran.code, Some(code), "{word}: {}", ran.said);
        ran.said
    }

    /// An agent that works, and the number of its run.
    fn agent(&mut self) -> u64 {
        let mut client = self.daemon.client();
        client.subscribe(None);
        let run = client.spawn_agent("steps", "go");
        client.wait_state(run, "working");
        self.steps.tools(1);
        run
    }

    fn alive_runs(&self) -> u64 {
        let status = self.daemon.client().call(json!({"cmd": "status"}));
        status["runs"]["alive"].as_u64().expect("a number")
    }

    fn break_config(&self) {
        self.daemon.rewrite("[suite]\nnonsense = 1\n");
    }

    fn mend_config(&self) {
        self.daemon
            .rewrite(&config_text(self.daemon.dir(), &self.setup));
    }

    fn socket_of_runs(&self) -> PathBuf {
        self.daemon.dir().join("run/runs")
    }
}

#[test]
fn start_status_stop() {
    let Some(service) = Service::new() else {
        return;
    };
    assert!(service.must("onestatus", 1).contains("not running"));
    service.must("onestart", 0);
    // No waiting: started is ready.
    let keeper = service.daemon.pid().expect("a pid file");
    let said = service.must("onestatus", 0);
    assert!(said.contains(&format!("running as pid {keeper}")), "{said}");
    assert!(service.must("onecheck", 0).starts_with("healthy"));
    assert!(service.must("onestart", 1).contains("already running"));
    let parts = service.daemon.parts();
    service.must("onestop", 0);
    for pid in parts.all().into_iter().chain([keeper]) {
        assert!(gone(pid, LONG), "{pid} lives");
    }
    assert!(service.must("onestatus", 1).contains("not running"));
    assert!(service.must("onestop", 1).contains("not running"));
    assert!(service.must("onereload", 1).contains("not running"));
    service.must("onecheck", 1);
}

#[test]
fn not_enabled_does_nothing() {
    let Some(service) = Service::new() else {
        return;
    };
    assert!(service.must("start", 0).contains("colibrid_enable"));
    assert!(!service.daemon.socket().exists());
}

#[test]
fn a_bad_config_starts_nothing_and_restarts_nothing() {
    let Some(service) = Service::new() else {
        return;
    };
    service.break_config();
    for word in ["oneconfigtest", "onestart"] {
        let said = service.must(word, 1);
        assert!(said.contains("nonsense"), "{word}: {said}");
    }
    assert!(!service.daemon.socket().exists());
    service.mend_config();
    assert!(service
        .must("oneconfigtest", 0)
        .contains("configuration OK"));
    service.must("onestart", 0);
    let (parts, keeper) = (service.daemon.parts(), service.daemon.pid());
    service.break_config();
    for word in ["onerestart", "onereload"] {
        let said = service.must(word, 1);
        assert!(said.contains("nonsense"), "{word}: {said}");
    }
    assert_eq!(
        (service.daemon.parts(), service.daemon.pid()),
        (parts, keeper)
    );
    // It can be stopped all the same.
    service.must("onestop", 0);
    std::fs::remove_file(service.daemon.config_path()).expect("removed");
    assert!(service.must("onestart", 1).contains("not readable"));
}

#[test]
fn a_start_that_fails_later_fails_too() {
    let Some(service) = Service::new() else {
        return;
    };
    std::fs::remove_file(service.daemon.dir().join("sbin/colibri-schedd")).expect("removed");
    service.must("onestart", 1);
    service.must("onestatus", 1);
}

#[test]
fn a_keeper_whose_suite_does_not_start_is_no_service() {
    let Some(service) = Service::new() else {
        return;
    };
    service.must("onestart", 0);
    let (there, away) = ["colibri-schedd", "away"]
        .map(|name| service.daemon.dir().join("sbin").join(name))
        .into();
    std::fs::rename(&there, &away).expect("moved");
    let keeper = service.daemon.pid().expect("a pid file");
    procs::signal(keeper, Signal::SIGHUP);
    let said = must("status to say it", LONG, || {
        let ran = service.rc("onestatus");
        (ran.code == Some(1)).then_some(ran.said)
    });
    assert!(
        said.contains("running as") && said.contains("not healthy"),
        "{said}"
    );
    std::fs::rename(&away, &there).expect("moved back");
    must("the suite", LONG, || {
        (service.rc("onestatus").code == Some(0)).then_some(())
    });
    assert_eq!(service.daemon.pid(), Some(keeper));
    service.must("onestop", 0);
}

#[test]
fn restart_and_reload_leave_runs_alone_and_stop_does_not() {
    let Some(mut service) = Service::new() else {
        return;
    };
    service.must("onestart", 0);
    let keeper = service.daemon.pid();
    let run = service.agent();
    for word in ["onerestart", "onereload"] {
        let before = service.daemon.parts();
        let said = service.must(word, 0);
        // No waiting: it is back.
        assert!(
            said.contains("healthy") && said.contains("1 run of"),
            "{said}"
        );
        let after = service.daemon.parts();
        assert!(before.all().iter().all(|pid| !after.all().contains(pid)));
        assert_eq!(service.daemon.pid(), keeper);
        service.steps.tools(1);
    }
    service.must("onestop", 0);
    // The proof was there before stop came back.
    let sockets = service.socket_of_runs().read_dir().expect("sockets");
    assert_eq!(sockets.count(), 0);
    let dir = service.daemon.dir().display().to_string();
    let left = || {
        procs::table()
            .into_iter()
            .filter(|p| p.title.contains(&dir))
    };
    assert_eq!(left().collect::<Vec<_>>(), []);
    service.must("onerestart", 0);
    assert_eq!(service.alive_runs(), 0);
    let row = service
        .daemon
        .client()
        .call(json!({"cmd": "get-run", "run": run}));
    assert_eq!(
        (&row["ended"], &row["wanted"]),
        (&json!(true), &json!("stop"))
    );
    service.must("onestop", 0);
}

#[test]
fn without_its_keeper_it_is_still_a_service() {
    let Some(mut service) = Service::new() else {
        return;
    };
    service.must("onestart", 0);
    let _ = service.agent();
    let keeper = service.daemon.pid().expect("a pid file");
    let suite = service.daemon.parts().colibrid;
    procs::signal(keeper, Signal::SIGKILL);
    must("its number in the pid file", LONG, || {
        (service.daemon.pid() == Some(suite)).then_some(())
    });
    let said = service.must("onestatus", 0);
    assert!(said.contains(&format!("running as pid {suite}")), "{said}");
    // A restart gives it a new keeper.
    service.must("onerestart", 0);
    let keeper = service.daemon.pid().expect("a pid file");
    assert!(alive(keeper) && keeper != suite);
    assert_eq!(service.alive_runs(), 1);
    service.must("onestop", 0);
    assert!(gone(keeper, LONG));
}

#[test]
fn runs_without_a_suite_are_named() {
    let Some(mut service) = Service::new() else {
        return;
    };
    service.must("onestart", 0);
    let _ = service.agent();
    let keeper = service.daemon.pid().expect("a pid file");
    let parts = service.daemon.parts();
    procs::signal(keeper, Signal::SIGKILL);
    procs::signal(parts.colibrid, Signal::SIGKILL);
    for pid in parts.all() {
        assert!(gone(pid, LONG), "{pid} lives");
    }
    let said = service.must("onestatus", 1);
    assert!(
        said.contains("not running") && said.contains("Runs are alive"),
        "{said}"
    );
    service.must("onestart", 0);
    assert_eq!(service.alive_runs(), 1);
    service.steps.tools(1);
    service.must("onestop", 0);
    assert!(!service.must("onestatus", 1).contains("alive"));
}
