//! colibrid as a service starts it: in the background, with a keeper; or with other programs
//! beside it. [`crate::suite`] is the plainer way for everything else.

use crate::client::Client;
use crate::procs;
use crate::suite::{config_text, program, Scratch, Setup};
use crate::wait::{must, wait_for, LONG};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What a command that was run to its end left.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it and whoever kept its stdout and stderr wrote there.
    pub said: String,
}

/// Runs a command until it and everybody who holds its stdout or stderr is done with them: a
/// starting command whose daemons keep its terminal would hang every script that reads it.
///
/// # Panics
/// When that takes more than a minute.
#[track_caller]
#[must_use]
pub fn run(command: &mut Command) -> Ran {
    let (mut read, write) = std::io::pipe().expect("pipe");
    let twin = write.try_clone().expect("twin");
    command.stdin(Stdio::null()).stdout(twin).stderr(write);
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    // The command holds the writing ends; they must not be held here, too.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let code = must("the end of a command", LONG, || {
        child.try_wait().ok().flatten()
    })
    .code();
    let mut said = Vec::new();
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(flags)).expect("non-blocking");
    let mut block = [0; 4096];
    let over = wait_for(LONG, || loop {
        match read.read(&mut block) {
            Ok(0) => return Some(()),
            Ok(n) => said.extend_from_slice(&block[..n]),
            Err(_) => return None,
        }
    });
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        over.is_some(),
        "{command:?} is over ({code:?}), but somebody keeps its output open: {said}"
    );
    Ran { code, said }
}

/// A suite in the background, or what is needed to try to start one. Dropping it stops it.
#[derive(Debug)]
pub struct Daemon {
    scratch: Scratch,
    /// colibrid; its daemons are looked for beside it.
    pub program: PathBuf,
}

impl Daemon {
    /// Writes the config; nothing is started.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn prepare(scratch: Scratch, setup: &Setup) -> Self {
        let _ = scratch.for_agent("work");
        let daemon = Self {
            program: program("colibrid"),
            scratch,
        };
        daemon.rewrite(&config_text(daemon.dir(), setup));
        daemon
    }

    /// Prepares and starts.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    #[must_use]
    pub fn start(scratch: Scratch, setup: &Setup) -> Self {
        let daemon = Self::prepare(scratch, setup);
        let ran = daemon.launch();
        assert_eq!(ran.code, Some(0), "{}", ran.said);
        daemon
    }

    /// Runs the starting command.
    ///
    /// # Panics
    /// When it does not come to an end.
    #[track_caller]
    #[must_use]
    pub fn launch(&self) -> Ran {
        run(self.command(&[]).env("TMPDIR", "/nonexistent"))
    }

    /// colibrid with this config and `more` arguments.
    #[must_use]
    pub fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-f").arg(self.config_path()).args(more);
        command
    }

    /// Replaces the config.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn rewrite(&self, text: &str) {
        fs::write(self.config_path(), text).unwrap_or_else(|e| panic!("cannot write: {e}"));
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The config file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.dir().join("colibri.conf")
    }

    /// The public socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir().join("run/colibri.sock")
    }

    /// The pid file.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.dir().join("run/colibrid.pid")
    }

    /// What the pid file says.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        text.trim().parse().ok()
    }

    /// A connection that has answered a ping, tried for a minute.
    ///
    /// # Panics
    /// When nobody answers.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> Client {
        must("an answer", LONG, || {
            let mut client = Client::connect(&self.socket()).ok()?;
            // It may be the socket of a suite that is on its way out.
            let reply = client.request(json!({"cmd": "ping"})).ok()?;
            (reply["ok"] == true).then_some(client)
        })
    }

    /// The processes of the suite as they are now.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    #[must_use]
    pub fn parts(&self) -> Parts {
        must("a whole suite", LONG, || {
            let mut client = Client::connect(&self.socket()).ok()?;
            let reply = client.request(json!({"cmd": "status"})).ok()?;
            Parts::below(i32::try_from(reply["data"]["pid"].as_i64()?).ok()?)
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let parts = Client::connect(&self.socket())
            .ok()
            .and_then(|mut c| c.request(json!({"cmd": "status"})).ok())
            .and_then(|r| i32::try_from(r["data"]["pid"].as_i64()?).ok());
        // The keeper passes it on; without one, the suite itself is asked.
        for pid in self.pid().into_iter().chain(parts) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = wait_for(LONG / 4, || {
            procs::users_of(self.dir()).is_empty().then_some(())
        });
        for pid in procs::users_of(self.dir()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The three daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// colibrid itself.
    pub colibrid: i32,
    /// colibri-spawnd.
    pub spawnd: i32,
    /// colibri-schedd.
    pub schedd: i32,
}

impl Parts {
    /// Finds the other two below colibrid.
    #[must_use]
    pub fn below(colibrid: i32) -> Option<Self> {
        let children = procs::children_of(colibrid);
        let find = |name: &str| {
            let found = children
                .iter()
                .find(|p| p.state != 'Z' && p.title.contains(name))?;
            Some(found.pid)
        };
        Some(Self {
            colibrid,
            spawnd: find("colibri-spawnd")?,
            schedd: find("colibri-schedd")?,
        })
    }

    /// All three.
    #[must_use]
    pub fn all(self) -> [i32; 3] {
        [self.colibrid, self.spawnd, self.schedd]
    }
}

/// Waits for the end of a child of the test.
///
/// # Panics
/// When a minute passes.
#[track_caller]
#[must_use]
pub fn end_of(child: &mut Child) -> Option<i32> {
    must("the end of a child", LONG, || {
        child.try_wait().ok().flatten()
    })
    .code()
}
