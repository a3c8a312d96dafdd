//! The real Pi for the tests: where it is, and the settings that point it at the scripted model.
//!
//! `tools/get-pi.sh` fetches two versions and writes their paths into a file named `env`. In CI a
//! missing Pi is a failure; elsewhere the tests that need it say `SKIP:` and pass.
//!
//! What the two versions were seen to do with the scripts of [`crate::model::script`], beyond what
//! the recorded streams show:
//!
//! - `retry429sdk` (no `x-should-retry: false`): 0.73.1 hides both failures for 1.6 s, without any
//!   event; 1.5.2 shows both. `retry429` shows both in both versions.
//! - `disconnect` (a reset): both take it for an early end of the body (`terminated`), since the
//!   answer announced `connection: close`; the same as `disconnectfin`. Both retry.
//! - `abort` while the model is silent, before or after the response headers, works at once:
//!   `stopReason` is `aborted`, and only 1.5.2 adds `agent_settled` with `aborted: true`.
//! - A dialog that is refused and one that is cancelled look the same in the stream; so does one
//!   whose `timeout` has passed, 1.5 s later.
//! - `steer` during a tool: the tool ends first, then the message is the next user message.
//! - SIGTERM while streaming, in a tool, or while the model is silent: exit 143, no further line.

use crate::model::script;
use crate::skip::skip;
use serde_json::json;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The versions that are tested: one for each dialect of the event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// Deltas, `agent_settled`.
    V1_5_2,
    /// Cumulative messages, nothing after `agent_end`.
    V0_73_1,
}

impl Version {
    /// Both.
    pub const ALL: [Version; 2] = [Version::V1_5_2, Version::V0_73_1];

    /// As `pi --version` prints it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V1_5_2 => "1.5.2",
            Version::V0_73_1 => "0.73.1",
        }
    }

    /// Whether it writes `agent_settled`; otherwise `agent_end` is the last word of a run.
    #[must_use]
    pub fn settles(self) -> bool {
        self == Version::V1_5_2
    }
}

/// An installed Pi: a node and two versions' entry scripts, by absolute path.
#[derive(Debug, Clone)]
pub struct Installation {
    node: PathBuf,
    new: PathBuf,
    old: PathBuf,
}

impl Installation {
    /// Reads the file that `tools/get-pi.sh` writes: `COLIBRI_PI_ENV` if set, else
    /// `colibri-pi/env` in the caller's cache directory.
    ///
    /// # Errors
    /// A sentence that says which file or program is missing.
    pub fn find() -> Result<Self, String> {
        let file = env_file();
        let text = std::fs::read_to_string(&file)
            .map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        let found = Self::parse(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        for path in [&found.node, &found.new, &found.old] {
            std::fs::metadata(path).map_err(|e| format!("cannot use {}: {e}", path.display()))?;
        }
        Ok(found)
    }

    /// The lines `KEY=/absolute/path`; other keys are ignored.
    fn parse(text: &str) -> Result<Self, String> {
        let values: HashMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim().trim_matches(['"', '\''])))
            .collect();
        let path = |key: &str| {
            let value = values.get(key).ok_or(format!("{key} is missing"))?;
            if value.starts_with('/') {
                Ok(PathBuf::from(value))
            } else {
                Err(format!("{key} is not an absolute path: {value}"))
            }
        };
        Ok(Self {
            node: path("NODE")?,
            new: path("PI_1_5_2")?,
            old: path("PI_0_73_1")?,
        })
    }

    /// The entry script of a version.
    #[must_use]
    pub fn script(&self, version: Version) -> &Path {
        match version {
            Version::V1_5_2 => &self.new,
            Version::V0_73_1 => &self.old,
        }
    }

    /// The node binary.
    #[must_use]
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// A command line, program first: Pi of this version in `mode` (`rpc` or `json`) with the
    /// scripted model `model` and the permission extension at `extension` (see [`extension`]).
    #[must_use]
    pub fn command(
        &self,
        version: Version,
        mode: &str,
        model: &str,
        extension: &Path,
    ) -> Vec<String> {
        let mut words = vec![
            self.node.display().to_string(),
            self.script(version).display().to_string(),
        ];
        let model = format!("fake/{model}");
        let extension = extension.display().to_string();
        for word in ["--mode", mode, "--model", &model, "-e", &extension] {
            words.push(word.to_owned());
        }
        words
    }

    /// Environment that keeps Pi off the network and out of the caller's home.
    #[must_use]
    pub fn environment(&self, agent_dir: &Path) -> Vec<(String, String)> {
        let dir = agent_dir.display().to_string();
        let mut all = vec![
            ("PI_CODING_AGENT_DIR", dir.clone()),
            ("HOME", dir),
            ("PI_OFFLINE", "1".into()),
            ("PI_TELEMETRY", "0".into()),
            ("PI_SKIP_VERSION_CHECK", "1".into()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".into()),
            ("LANG", "C.UTF-8".into()),
        ];
        // Pi 1.5.2 without its dependencies lacks jiti, through which it loads every extension,
        // plain JavaScript too. The same release of it is among those of 0.73.1.
        if let Some(modules) = self.modules() {
            all.push(("NODE_PATH", modules.display().to_string()));
        }
        all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }

    /// The directory of 0.73.1's dependencies: inside the package or around it.
    fn modules(&self) -> Option<PathBuf> {
        self.old
            .ancestors()
            .map(|dir| dir.join("node_modules"))
            .find(|dir| dir.join("jiti/package.json").exists())
    }

    /// Whether a user who is neither root nor the owner can run it, and if not, what is closed.
    ///
    /// # Errors
    /// A sentence that names the closed file or directory.
    pub fn open_to_others(&self) -> Result<(), String> {
        for path in [&self.node, &self.new, &self.old] {
            for part in path.ancestors() {
                let mode = std::fs::metadata(part)
                    .map_err(|e| format!("cannot look at {}: {e}", part.display()))?
                    .permissions()
                    .mode();
                // Directories and node need to be executable, scripts readable.
                let wanted = if part == self.new || part == self.old {
                    0o004
                } else {
                    0o001
                };
                if mode & wanted == 0 {
                    return Err(format!("{} is closed to other users", part.display()));
                }
            }
        }
        Ok(())
    }
}

fn env_file() -> PathBuf {
    if let Some(file) = std::env::var_os("COLIBRI_PI_ENV") {
        return file.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || {
            let home = std::env::var_os("HOME").unwrap_or_else(|| OsString::from("/root"));
            PathBuf::from(home).join(".cache")
        },
        PathBuf::from,
    );
    cache.join("colibri-pi/env")
}

/// The tests' fixtures: `COLIBRI_FIXTURES` if set, else those of the source tree.
#[must_use]
pub fn fixtures() -> PathBuf {
    std::env::var_os("COLIBRI_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"),
        PathBuf::from,
    )
}

/// The permission extension; copy it before another user has to read it.
#[must_use]
pub fn extension() -> PathBuf {
    fixtures().join("ext/ask.mjs")
}

/// The real Pi, or `None` after a visible `SKIP:` line.
///
/// # Panics
/// In CI (`CI=true`), where a missing Pi is a failure; and for root when the agent's user could
/// not run what was found.
#[must_use]
pub fn require_pi() -> Option<Installation> {
    match Installation::find() {
        Ok(found) => {
            if nix::unistd::geteuid().is_root() {
                if let Err(why) = found.open_to_others() {
                    panic!("the agent's user cannot run Pi: {why}");
                }
            }
            Some(found)
        }
        Err(why) => {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "no real Pi: {why}; run tools/get-pi.sh"
            );
            skip(&format!("no real Pi: {why}; run tools/get-pi.sh"));
            None
        }
    }
}

/// Writes a settings directory for Pi: the provider `fake` at `base_url` with every script as a
/// model, a literal key, and retries after 0.1, 0.2 and 0.4 s. `owner` gives the directory to that
/// user and group, who must be able to write sessions into it.
///
/// # Errors
/// When it cannot be written or given away.
pub fn write_agent_dir(dir: &Path, base_url: &str, owner: Option<(u32, u32)>) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let models: Vec<_> = script::MODELS
        .iter()
        .map(|id| {
            json!({
                "id": id, "name": id, "reasoning": false, "input": ["text"],
                "contextWindow": 1_000_000, "maxTokens": 65_536,
                "cost": {"input": 3.0, "output": 15.0, "cacheRead": 0.3, "cacheWrite": 3.75},
            })
        })
        .collect();
    let config = json!({"providers": {"fake": {
        "baseUrl": base_url, "api": "openai-completions", "apiKey": "sk-scripted",
        "compat": {"supportsDeveloperRole": false}, "models": models,
    }}});
    let settings = json!({
        "retry": {"enabled": true, "maxRetries": 3, "baseDelayMs": 100},
        "compaction": {"enabled": false},
    });
    std::fs::write(dir.join("models.json"), config.to_string())?;
    std::fs::write(dir.join("settings.json"), settings.to_string())?;
    if let Some((uid, gid)) = owner {
        for path in [
            dir.to_path_buf(),
            dir.join("models.json"),
            dir.join("settings.json"),
        ] {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_file_of_get_pi() {
        let found =
            Installation::parse("NODE=/a/node\nPI_1_5_2=\"/b/cli.js\"\nPI_0_73_1=/c/cli.js\nX=1\n")
                .expect("good file");
        assert_eq!(found.node(), Path::new("/a/node"));
        assert_eq!(found.script(Version::V1_5_2), Path::new("/b/cli.js"));
        assert_eq!(found.script(Version::V0_73_1), Path::new("/c/cli.js"));
    }

    #[test]
    fn names_what_is_missing_or_relative() {
        let missing = Installation::parse("NODE=/a\nPI_1_5_2=/b\n").expect_err("one is missing");
        assert!(missing.contains("PI_0_73_1"), "{missing}");
        let relative =
            Installation::parse("NODE=a\nPI_1_5_2=/b\nPI_0_73_1=/c\n").expect_err("relative");
        assert!(relative.contains("NODE"), "{relative}");
    }
}
