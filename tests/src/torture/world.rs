//! The suite under torture: with a keeper or started again by hand, and how to hit it.

use crate::client::Client;
use crate::daemon::{Daemon, Parts};
use crate::measure::{monotonic_ns, Values};
use crate::procs::{self, gone};
use crate::suite::{program, Profile, Scratch, Setup, Suite};
use crate::torture::plan::Victims;
use crate::wait::{must, Stop, LONG};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

enum Kind {
    Bare(Box<Suite>),
    Kept(Daemon),
}

/// A running suite.
pub struct World {
    kind: Kind,
    /// colibrid's process id as of the last look: it must not change by itself.
    pid: i64,
    /// Milliseconds from a kill (kept) or from the next start (bare) to the first right answer.
    pub back: Values,
}

/// The agents of the board, all by the one profile.
const AGENTS: &str = "
[board]
retry_delay = 0
attempts = 100
[agent.north]
profile = \"scripted\"
runs = 4
[agent.east]
profile = \"scripted\"
capabilities = [\"right\"]
runs = 4
[agent.south]
profile = \"scripted\"
capabilities = [\"left\", \"right\"]
runs = 4
[agent.west]
profile = \"scripted\"
capabilities = [\"left\"]
runs = 4
";

/// The one profile: `colibri-scripted`, with its ledger and locks in the directory.
#[must_use]
pub fn setup(scratch: &Scratch) -> Setup {
    let dir = scratch.for_agent("book");
    let locks = scratch.for_agent("locks");
    let ledger = dir.join("ledger");
    std::fs::File::create(&ledger)
        .and_then(|_| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&ledger, std::fs::Permissions::from_mode(0o666))
        })
        .unwrap_or_else(|e| panic!("cannot make {}: {e}", ledger.display()));
    let agent = scratch.copy(&program("colibri-scripted"));
    let mut profile = Profile::new("scripted", "rpc", vec![agent.display().to_string()]);
    profile.env = [("COLIBRI_LEDGER", &ledger), ("COLIBRI_LOCKS", &locks)]
        .map(|(k, v)| (k.to_owned(), v.display().to_string()))
        .to_vec();
    profile.more = "stop_grace = 1".into();
    Setup {
        profiles: vec![profile],
        limits: "runs = 500\nevents = 1000000\nrequests_per_second = 100000\n\
                 clients = 512\nclients_per_user = 512"
            .into(),
        more: AGENTS.into(),
        ..Setup::default()
    }
}

impl World {
    /// Starts one.
    #[must_use]
    pub fn start(scratch: Scratch, setup: Setup, kept: bool) -> Self {
        let kind = match kept {
            true => Kind::Kept(Daemon::start(scratch, &setup)),
            false => Kind::Bare(Box::new(Suite::start_in(scratch, setup))),
        };
        let mut world = Self {
            kind,
            pid: 0,
            back: Values::default(),
        };
        world.pid = world.status()["pid"].as_i64().unwrap_or(0);
        world
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        match &self.kind {
            Kind::Bare(s) => s.dir(),
            Kind::Kept(d) => d.dir(),
        }
    }

    /// The public socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir().join("run/colibri.sock")
    }

    /// A connection to a suite that must be there.
    #[must_use]
    pub fn client(&self) -> Client {
        must("an answer", LONG, || {
            let mut client = Client::connect(&self.socket()).ok()?;
            let reply = client.request(json!({"cmd": "ping"})).ok()?;
            (reply["ok"] == true).then_some(client)
        })
    }

    fn status(&self) -> Value {
        self.client().call(json!({"cmd": "status"}))
    }

    /// The suite must be the one that it was: it never goes by itself.
    ///
    /// # Panics
    /// When it is another.
    pub fn same(&mut self) {
        let now = self.status()["pid"].as_i64();
        assert_eq!(now, Some(self.pid), "the suite went by itself");
    }

    fn parts(&self) -> Parts {
        must("a whole suite", LONG, || {
            Parts::below(i32::try_from(self.pid).ok()?)
        })
    }

    /// kill -9, and nothing else.
    pub fn hit(&mut self, victims: Victims) {
        let parts = self.parts();
        let mut pids: Vec<i32> = Vec::new();
        if let (Kind::Kept(d), true) = (&self.kind, victims.keeper) {
            pids.extend(d.pid());
        }
        let hit = parts.all().into_iter().zip(victims.parts);
        pids.extend(hit.filter_map(|(pid, hit)| hit.then_some(pid)));
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Waits until the suite is back after a hit, or brings it back where that is our task.
    pub fn recover(&mut self, keeper: bool) {
        let old = self.pid;
        let from = match &mut self.kind {
            Kind::Bare(s) => {
                if s.is_started() {
                    s.wait_end();
                }
                let from = monotonic_ns();
                s.launch();
                from
            }
            Kind::Kept(d) if keeper => {
                let pid = i32::try_from(old).unwrap_or(0);
                assert!(gone(pid, LONG), "colibrid lives on");
                let from = monotonic_ns();
                let ran = d.launch();
                assert_eq!(ran.code, Some(0), "{}", ran.said);
                from
            }
            Kind::Kept(_) => monotonic_ns(),
        };
        self.pid = must("the suite to be back", LONG, || {
            let mut client = Client::connect(&self.socket()).ok()?;
            let reply = client.request(json!({"cmd": "status"})).ok()?;
            let pid = reply["data"]["pid"].as_i64()?;
            (pid != old).then_some(pid)
        });
        self.back.since(from);
    }

    /// Lets the next suite start for a while and kills it, ready or not. Without a keeper
    /// another one has to be started by [`World::recover`] afterwards.
    pub fn false_start(&mut self, after: Duration) {
        match &mut self.kind {
            Kind::Bare(s) => s.false_start(after),
            Kind::Kept(d) => {
                let Some(keeper) = d.pid() else {
                    return;
                };
                let _ = Stop::default().wait(after);
                for p in procs::children_of(keeper) {
                    let _ = kill(Pid::from_raw(p.pid), Signal::SIGKILL);
                }
            }
        }
    }

    /// SIGHUP to the top.
    pub fn restart(&mut self) {
        let top = match &self.kind {
            Kind::Bare(s) => s.pid(),
            Kind::Kept(d) => d.pid().expect("a keeper"),
        };
        procs::signal(top, Signal::SIGHUP);
        self.recover(false);
    }

    /// SIGTERM to the top, until nothing is left.
    pub fn stop(&mut self) {
        match &mut self.kind {
            Kind::Bare(s) => {
                let status = s.stop();
                assert_eq!(status.code(), Some(0), "{}", s.log());
            }
            Kind::Kept(d) => {
                let keeper = d.pid().expect("a keeper");
                procs::signal(keeper, Signal::SIGTERM);
                assert!(gone(keeper, LONG), "the keeper lives on");
            }
        }
    }

    /// Starts it anew after [`World::stop`].
    pub fn launch(&mut self) {
        match &mut self.kind {
            Kind::Bare(s) => s.launch(),
            Kind::Kept(d) => {
                let ran = d.launch();
                assert_eq!(ran.code, Some(0), "{}", ran.said);
            }
        }
        self.pid = self.status()["pid"].as_i64().unwrap_or(0);
    }

    /// What the daemons logged; of a kept suite nothing, it goes to the system's log.
    #[must_use]
    pub fn log(&self) -> String {
        match &self.kind {
            Kind::Bare(s) => s.log(),
            Kind::Kept(_) => String::new(),
        }
    }
}
