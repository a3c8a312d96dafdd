//! Profiles for the three kinds of agents that tests run: the real Pi, a recorded one, a bad one.

use crate::model::ModelServer;
use crate::pi::{self, Installation, Version};
use crate::suite::{is_root, program, Profile, Scratch, AGENT};
use std::path::{Path, PathBuf};

/// The real Pi with a scripted model. Its settings and sessions lie in `agent-NAME` in `scratch`.
///
/// # Panics
/// When the settings cannot be written.
#[must_use]
pub fn real(
    scratch: &Scratch,
    found: &Installation,
    server: &ModelServer,
    version: Version,
    mode: &str,
    model: &str,
) -> Profile {
    let name = format!("{model}-{mode}-{}", version.as_str().replace('.', "-"));
    let dir = scratch.for_agent(&format!("agent-{name}"));
    pi::write_agent_dir(&dir, &server.base_url(), is_root().then_some(AGENT))
        .unwrap_or_else(|e| panic!("cannot write {}: {e}", dir.display()));
    let extension = scratch.copy(&pi::extension());
    let mut profile = Profile::new(&name, mode, found.command(version, mode, model, &extension));
    profile.env = found.environment(&dir);
    profile
}

/// A recorded Pi; `more` are further arguments of the player, such as `--speed 0`.
#[must_use]
pub fn recorded(scratch: &Scratch, name: &str, mode: &str, trace: &Path, more: &[&str]) -> Profile {
    let player = scratch.copy(&program("colibri-pi-player"));
    let mut command = vec![player.display().to_string()];
    command.extend(["--mode", mode, "--trace"].map(str::to_owned));
    command.push(scratch.copy(trace).display().to_string());
    command.extend(more.iter().map(|w| (*w).to_owned()));
    Profile::new(name, mode, command)
}

/// Where a hostile agent's processes show that they live.
#[derive(Debug, Clone)]
pub struct Traces {
    /// Locked as long as any of them lives; for [`crate::procs::held`].
    pub lock: PathBuf,
    /// One line per process that they started.
    pub pids: PathBuf,
    /// What `env` writes.
    pub report: PathBuf,
}

impl Traces {
    /// How many processes have been started so far.
    #[must_use]
    pub fn started(&self) -> usize {
        std::fs::read_to_string(&self.pids).map_or(0, |text| text.lines().count())
    }
}

/// A misbehaving agent; `words` are the arguments of `colibri-hostile`.
///
/// # Panics
/// When the files of [`Traces`] cannot be prepared.
#[must_use]
pub fn hostile(scratch: &Scratch, name: &str, mode: &str, words: &[&str]) -> (Profile, Traces) {
    let dir = scratch.for_agent(&format!("hostile-{name}"));
    let traces = Traces {
        lock: dir.join("lock"),
        pids: dir.join("pids"),
        report: dir.join("report"),
    };
    // The lock is asked about before the agent has made it, too.
    std::fs::File::create(&traces.lock)
        .and_then(|_| {
            if is_root() {
                std::os::unix::fs::chown(&traces.lock, Some(AGENT.0), Some(AGENT.1))?;
            }
            Ok(())
        })
        .unwrap_or_else(|e| panic!("cannot prepare {}: {e}", dir.display()));
    let program = scratch.copy(&program("colibri-hostile"));
    let mut command = vec![program.display().to_string()];
    command.extend(["--mode", mode].map(str::to_owned));
    command.extend(words.iter().map(|w| (*w).to_owned()));
    let mut profile = Profile::new(name, mode, command);
    profile.env = [
        ("COLIBRI_HOSTILE_LOCK", &traces.lock),
        ("COLIBRI_HOSTILE_PIDS", &traces.pids),
        ("COLIBRI_HOSTILE_OUT", &traces.report),
    ]
    .map(|(k, v)| (k.to_owned(), v.display().to_string()))
    .to_vec();
    (profile, traces)
}
