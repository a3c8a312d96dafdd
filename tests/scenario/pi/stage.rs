//! One suite, one scripted model, one run of the real Pi, and everything that was said about it.

use colibri_tests::agents::real;
use colibri_tests::client::Client;
use colibri_tests::model::ModelServer;
use colibri_tests::pi::{require_pi, Version};
use colibri_tests::procs;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::wait::{wait_for, LONG};
use serde_json::{json, Value};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

/// Longest wait for one event. Pi 0.73.1 needs most of a minute for a long answer when it has a
/// loaded core to itself; a failure costs this much, a success nothing.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// See the module. Fields are dropped in this order: the suite before its model.
pub struct Stage {
    client: Client,
    suite: Suite,
    /// The model.
    pub server: ModelServer,
    profile: String,
    stem: String,
    /// The number of the run; 0 before it was started.
    pub run: u64,
    events: Vec<Value>,
    seen: usize,
}

impl Stage {
    /// A suite with one profile, or `None` after a `SKIP:` line where there is no Pi.
    pub fn new(version: Version, mode: &str, model: &str) -> Option<Self> {
        Self::with(version, mode, model, "")
    }

    /// The same with more lines of TOML in the profile.
    pub fn with(version: Version, mode: &str, model: &str, more: &str) -> Option<Self> {
        Self::configured(version, mode, model, more, |_| String::new())
    }

    /// The same with more tables at the end of the config, for a profile of that name.
    pub fn configured(
        version: Version,
        mode: &str,
        model: &str,
        more: &str,
        tables: impl Fn(&str) -> String,
    ) -> Option<Self> {
        let found = require_pi()?;
        let server = ModelServer::start().expect("a loopback port");
        let scratch = Scratch::new();
        let mut profile = real(&scratch, &found, &server, version, mode, model);
        profile.more = more.to_owned();
        let name = profile.name.clone();
        let setup = Setup {
            profiles: vec![profile],
            more: tables(&name),
            ..Setup::default()
        };
        let suite = Suite::start_in(scratch, setup);
        let mut client = suite.client();
        client.subscribe(None);
        Some(Self {
            client,
            suite,
            server,
            profile: name,
            stem: String::new(),
            run: 0,
            events: Vec::new(),
            seen: 0,
        })
    }

    /// Gives the agent its task.
    #[track_caller]
    pub fn spawn(&mut self, prompt: &str) {
        self.run = self.client.spawn_agent(&self.profile, prompt);
    }

    /// A request that must succeed.
    #[track_caller]
    pub fn call(&mut self, request: Value) -> Value {
        self.client.call(request)
    }

    /// The error code of a request that must be refused.
    #[track_caller]
    pub fn refused(&mut self, request: Value) -> String {
        self.client.refused(request)
    }

    /// The run as `get-run` tells it.
    #[track_caller]
    pub fn show(&mut self) -> Value {
        let run = self.run;
        self.call(json!({"cmd": "get-run", "run": run}))
    }

    /// The run's pane in `status`.
    #[track_caller]
    pub fn pane(&mut self) -> Value {
        let status = self.call(json!({"cmd": "status"}));
        let panes = status["panes"].as_array().expect("a list");
        let mine = panes.iter().find(|p| p["run"] == json!(self.run));
        mine.unwrap_or_else(|| panic!("no pane of the run in {status}"))
            .clone()
    }

    /// colibri-ctl with `RUN` among `args` replaced by the number of the run.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> Output {
        let run = self.run.to_string();
        let args: Vec<_> = args
            .iter()
            .map(|a| if *a == "RUN" { run.as_str() } else { a })
            .collect();
        self.suite.ctl(&args)
    }

    /// [`Stage::ctl`] that must succeed; its output.
    #[track_caller]
    pub fn ctl_ok(&self, args: &[&str]) -> String {
        let out = self.ctl(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
        text(&out.stdout)
    }

    /// colibri-ctl `run --wait`: the task given and followed to its end by the operator's tool.
    #[track_caller]
    pub fn ctl_run(&mut self, prompt: &str) -> Output {
        let out = self.suite.ctl(&["run", &self.profile, "--wait", prompt]);
        // The only run of its suite.
        self.run = 1;
        out
    }

    /// The next event of the run that fits; those before it stay in [`Stage::events`].
    #[track_caller]
    pub fn until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            while self.seen < self.events.len() {
                self.seen += 1;
                let event = &self.events[self.seen - 1];
                if fits(event) {
                    return event.clone();
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            let mut line = match self.client.event(left) {
                Ok(line) => line,
                Err(e) => panic!("waited for {what}: {e}; until now: {:#?}", self.events),
            };
            assert!(line.get("gap").is_none(), "waited for {what}, got {line}");
            let event = line["event"].take();
            let last = self.events.last().map_or(0, |e| e["seq"].as_u64().unwrap());
            assert!(event["seq"].as_u64() > Some(last), "{event} after {last}");
            if event["run"] == json!(self.run) {
                self.events.push(event);
            }
        }
    }

    /// Waits until the run is in this state and phase, written `working/tool`, or `blocked`
    /// without a phase.
    #[track_caller]
    pub fn until_state(&mut self, state: &str) -> Value {
        self.until(state, |e| e["kind"] == "state" && state_of(e) == state)
    }

    /// Waits for the next event of this kind.
    #[track_caller]
    pub fn until_kind(&mut self, kind: &str) -> Value {
        self.until(kind, |e| e["kind"] == kind)
    }

    /// Everything said about the run so far.
    pub fn events(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|e| e["kind"] == kind).collect()
    }

    /// States and phases so far, in order.
    pub fn states(&self) -> Vec<String> {
        let states = self.events("state");
        states.into_iter().map(state_of).collect()
    }

    /// Fails unless these states were shown in this order, whatever was between them.
    #[track_caller]
    pub fn assert_states(&self, wanted: &[&str]) {
        let all = self.states();
        let mut rest = all.iter();
        for state in wanted {
            assert!(
                rest.any(|s| s == state),
                "{state} is missing or too early: wanted {wanted:?}, seen {all:?}"
            );
        }
    }

    /// Fails if the run was ever in one of these states (without phase).
    #[track_caller]
    pub fn assert_never(&self, states: &[&str]) {
        for event in self.events("state") {
            let state = event["state"].as_str().expect("a word");
            assert!(!states.contains(&state), "{event}");
        }
    }

    /// Waits for the end, checks that nothing of the run is left the moment it is announced, that
    /// the stored run says the same, and returns that run.
    #[track_caller]
    pub fn end(&mut self) -> Value {
        let ended = self.until_kind("ended");
        self.nothing_of_the_run();
        let run = self.show();
        assert_eq!(run["ended"], json!(true), "{run}");
        for field in ["state", "reason", "exit", "proof"] {
            assert_eq!(run[field], ended[field], "{field}: {run}");
        }
        // What holds the tree decides which proof there is.
        let status = self.call(json!({"cmd": "status"}));
        let proof = match status["container_proof"].as_bool() {
            Some(true) => "kernel",
            _ => "reaped",
        };
        assert_eq!(run["proof"], proof, "{run}");
        assert_eq!(status["runs"]["alive"], 0, "{status}");
        // The agent's last run stays on its pane.
        assert_eq!(status["panes"], json!([run["pane"]]), "{status}");
        assert_eq!(run["malformed"], 0, "{run}");
        assert_eq!(self.events("dropped"), Vec::<&Value>::new());
        let wants = run["state"] == "error";
        assert_eq!(run["attention"], json!(wants), "{run}");
        assert_eq!(status["attention"], json!(u64::from(wants)), "{status}");
        // Open tools and dialogs are things of the living.
        assert_eq!(run["pane"]["tools"], json!([]), "{run}");
        assert_eq!(run["pane"]["dialogs"], json!([]), "{run}");
        run
    }

    /// [`Stage::end`] of a run that has done its work: done, with exit code 0 and this answer.
    #[track_caller]
    pub fn end_done(&mut self, answer: &str) -> Value {
        let run = self.end();
        assert_eq!(run["state"], "done", "{run}");
        assert_eq!(run["exit"], json!({"how": "code", "value": 0}), "{run}");
        assert_eq!(run["answer"], answer, "{run}");
        let told = self.events("answer");
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["text"], answer);
        self.assert_never(&["error"]);
        run
    }

    /// No process of the agent, no socket, no note, no temporary directory.
    #[track_caller]
    fn nothing_of_the_run(&mut self) {
        let run = self.show();
        self.stem = format!("{}-{}", run["run"], run["attempt"]);
        let dir = self.suite.dir();
        for left in [
            dir.join("run/runs").join(format!("{}.sock", self.stem)),
            dir.join("run/spawnd").join(&self.stem),
            dir.join("tmp").join(&self.stem),
        ] {
            let there = fs::symlink_metadata(&left).is_ok();
            assert!(!there, "{} is left", left.display());
        }
        // Everything that Pi starts works in its directory, unless it goes elsewhere.
        let mut alive = self.agents_processes();
        // Between fork and exec, a program that another test starts looks like this process: it
        // shows the descriptors of all tests. It is our child, which an agent never is.
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        let table = procs::table();
        alive.retain(|pid| table.iter().any(|p| p.pid == *pid && p.parent != me));
        assert!(alive.is_empty(), "left: {:?}", described(&alive));
    }

    /// Ends the suite: it must succeed, and leave neither process nor socket nor lock.
    #[track_caller]
    pub fn close(mut self) {
        let mut pids: Vec<i32> = self.suite.processes().iter().map(|p| p.pid).collect();
        let number = |e: &Value, field: &str| e[field].as_i64().and_then(|n| i32::try_from(n).ok());
        pids.extend(
            self.events("started")
                .iter()
                .filter_map(|e| number(e, "monitor")),
        );
        assert!(pids.len() > 2, "a suite is more than {pids:?}");
        let status = self.suite.stop();
        assert!(status.success(), "{status}: {}", self.suite.log());
        for pid in pids {
            assert!(procs::gone(pid, LONG), "{:?}", described(&[pid]));
        }
        let left = wait_for(LONG, || {
            procs::users_of(self.suite.dir()).is_empty().then_some(())
        });
        let users = procs::users_of(self.suite.dir());
        assert!(left.is_some(), "left: {:?}", described(&users));
        let sockets = files(&self.suite.dir().join("run"), &|path| {
            use std::os::unix::fs::FileTypeExt;
            fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
        });
        assert_eq!(sockets, Vec::<PathBuf>::new());
        let temporary = files(&self.suite.dir().join("tmp"), &|_| true);
        assert_eq!(temporary, Vec::<PathBuf>::new());
    }

    /// Processes that work in the agent's directory.
    pub fn agents_processes(&self) -> Vec<i32> {
        procs::users_of(&self.suite.work())
    }

    /// Process id of Pi itself.
    #[track_caller]
    pub fn pi(&self) -> i32 {
        let exe = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let all = self.agents_processes();
        let node: Vec<_> = all.iter().filter(|p| exe(p).ends_with("node")).collect();
        assert_eq!(node.len(), 1, "{:?}", described(&all));
        *node[0]
    }

    /// The agent's directory.
    pub fn work(&self) -> PathBuf {
        self.suite.work()
    }

    /// Bytes in the run's journal.
    #[track_caller]
    pub fn journal_len(&mut self) -> u64 {
        let name = self.show()["journal"].as_str().expect("a name").to_owned();
        let path = self.suite.dir().join("state/runs").join(name);
        fs::metadata(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .len()
    }
}

fn state_of(event: &Value) -> String {
    let state = event["state"].as_str().expect("a word");
    match event["phase"].as_str() {
        Some(phase) => format!("{state}/{phase}"),
        None => state.to_owned(),
    }
}

fn described(pids: &[i32]) -> Vec<procs::Process> {
    let mut all = procs::table();
    all.retain(|p| pids.contains(&p.pid));
    all
}

/// All files below `dir` that fit.
fn files(dir: &Path, fits: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path, fits));
        } else if fits(&path) {
            found.push(path);
        }
    }
    found
}
