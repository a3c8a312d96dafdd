//! A private suite for one test: its own directory, config and processes.

use crate::client::Client;
use crate::procs;
pub use crate::program::program;
use crate::wait::{must, wait_for, LONG};
use nix::sys::signal::{kill, Signal};
use nix::unistd::{self, Pid};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// User and group of colibrid in a suite started by root; numeric, so nothing must be in passwd.
pub const COLIBRID: (u32, u32) = (64201, 64201);
/// The monitors' user and group.
pub const MONITOR: (u32, u32) = (64202, 64202);
/// The schedule daemon's user and group.
pub const SCHEDD: (u32, u32) = (64203, 64203);
/// The agents' user and group.
pub const AGENT: (u32, u32) = (64210, 64210);

/// Places of a real installation that no test may touch.
const REAL: [&str; 3] = ["/var/run/colibri", "/var/db/colibri", "/var/lib/colibri"];

/// A profile of the config.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its name in the config.
    pub name: String,
    /// `rpc` or `json`.
    pub mode: String,
    /// Program, absolute, and arguments.
    pub command: Vec<String>,
    /// Environment, added to what every agent gets.
    pub env: Vec<(String, String)>,
    /// More lines of TOML inside the profile's table.
    pub more: String,
}

impl Profile {
    /// A profile without extras.
    #[must_use]
    pub fn new(name: &str, mode: &str, command: Vec<String>) -> Self {
        Self {
            name: name.into(),
            mode: mode.into(),
            command,
            env: Vec::new(),
            more: String::new(),
        }
    }
}

/// What a test wants of its suite.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Profiles in the order of their numbers.
    pub profiles: Vec<Profile>,
    /// Lines of TOML for `[limits]`.
    pub limits: String,
    /// Lines of TOML for `[roles]`; the default makes the caller an operator.
    pub roles: Option<String>,
    /// More tables at the end of the config.
    pub more: String,
    /// Arguments of colibrid besides `-d -f FILE`.
    pub args: Vec<String>,
    /// Words before the program, which it is executed by.
    pub under: Vec<String>,
    /// The shell's `ulimit` with these arguments before colibrid is started, such as `-n 64`.
    pub ulimit: Option<String>,
}

/// A private directory; removed when the test passes, kept and named when it panics.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    /// Makes a directory that others may enter but not list.
    ///
    /// # Panics
    /// When it cannot be made, or would lie in a real installation's place.
    #[must_use]
    pub fn new() -> Self {
        let template = std::env::temp_dir().join("colibri-test-XXXXXX");
        let dir = unistd::mkdtemp(&template)
            .unwrap_or_else(|e| panic!("cannot make {}: {e}", template.display()));
        // Symlinks in the name would hide where it really is.
        let dir = fs::canonicalize(&dir).unwrap_or(dir);
        for real in REAL {
            assert!(!dir.starts_with(real), "{} is not private", dir.display());
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711))
            .unwrap_or_else(|e| panic!("cannot open {}: {e}", dir.display()));
        Self { dir }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Makes a directory in it that belongs to the agent's user (to the caller without root).
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn for_agent(&self, name: &str) -> PathBuf {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
        if is_root() {
            std::os::unix::fs::chown(&dir, Some(AGENT.0), Some(AGENT.1))
                .unwrap_or_else(|e| panic!("cannot give {} away: {e}", dir.display()));
        }
        dir
    }

    /// Copies a file to where the agent's user can read and execute it; the source tree and the
    /// build directory may be closed to that user. A file of that name that is there already stays.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn copy(&self, from: &Path) -> PathBuf {
        let name = from.file_name().expect("a file has a name");
        let bin = self.dir.join("bin");
        let to = bin.join(name);
        if to.exists() {
            return to;
        }
        fs::create_dir_all(&bin)
            .and_then(|()| copy_by_another(from, &to))
            .and_then(|()| {
                let mode = fs::metadata(from)?.permissions().mode();
                fs::set_permissions(&to, fs::Permissions::from_mode(mode | 0o555))
            })
            .unwrap_or_else(|e| panic!("cannot copy {}: {e}", from.display()));
        to
    }
}

/// Copies a file in another process. A program that was written by this one cannot be executed as
/// long as somebody else whom another test has just forked still has it open: "text file busy".
fn copy_by_another(from: &Path, to: &Path) -> io::Result<()> {
    let done = Command::new("cp").arg(from).arg(to).status()?;
    match done.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("cp: {done}"))),
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept: {}", self.dir.display());
        } else if let Err(e) = fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {e}", self.dir.display());
        }
    }
}

/// Whether the tests run as root, and with them a suite with separate users.
#[must_use]
pub fn is_root() -> bool {
    unistd::geteuid().is_root()
}

/// Writes the config of a private suite: the one place that knows the file's keys.
#[must_use]
pub fn config_text(dir: &Path, setup: &Setup) -> String {
    let mut text = format!(
        "[suite]\nrun_dir = {}\nstate_dir = {}\ntmp_dir = {}\nseparate = {}\n\n",
        quoted(&dir.join("run").display().to_string()),
        quoted(&dir.join("state").display().to_string()),
        quoted(&dir.join("tmp").display().to_string()),
        is_root(),
    );
    if is_root() {
        let pair = |(uid, gid): (u32, u32)| quoted(&format!("{uid}:{gid}"));
        let _ = write!(
            text,
            "[users]\ncolibrid = {}\nmonitor = {}\nschedd = {}\n\n",
            pair(COLIBRID),
            pair(MONITOR),
            pair(SCHEDD),
        );
    }
    let mine = format!("operator = [\"uid:{}\"]", unistd::geteuid());
    let roles = setup.roles.as_deref().unwrap_or(&mine);
    let _ = write!(text, "[roles]\n{roles}\n\n[limits]\n{}\n", setup.limits);
    for p in &setup.profiles {
        let command: Vec<_> = p.command.iter().map(|w| quoted(w)).collect();
        let _ = write!(
            text,
            "\n[profile.{}]\nmode = {}\ncommand = [{}]\ncwd = {}\n",
            p.name,
            quoted(&p.mode),
            command.join(", "),
            quoted(&dir.join("work").display().to_string()),
        );
        if is_root() {
            let _ = writeln!(text, "user = \"{}:{}\"", AGENT.0, AGENT.1);
        }
        let env: Vec<_> = p
            .env
            .iter()
            .map(|(k, v)| format!("{} = {}", quoted(k), quoted(v)))
            .collect();
        let _ = writeln!(text, "env = {{ {} }}\n{}", env.join(", "), p.more);
    }
    text.push_str(&setup.more);
    text
}

/// A TOML basic string; its escapes are those of JSON but for DEL, which no test uses.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A running suite. Dropping it stops everything it started.
#[derive(Debug)]
pub struct Suite {
    // Before `scratch`, so that nothing uses the directory any more when it goes.
    colibrid: Option<Child>,
    scratch: Scratch,
    setup: Setup,
}

impl Suite {
    /// Starts a suite and waits until its socket answers.
    ///
    /// # Panics
    /// When it does not start within a minute; what it wrote to stderr is printed.
    #[track_caller]
    #[must_use]
    pub fn start(setup: Setup) -> Self {
        Self::start_in(Scratch::new(), setup)
    }

    /// The same in a directory that was prepared (copied programs, settings).
    ///
    /// # Panics
    /// As [`Suite::start`].
    #[track_caller]
    #[must_use]
    pub fn start_in(scratch: Scratch, setup: Setup) -> Self {
        let _ = scratch.for_agent("work");
        fs::write(
            scratch.path().join("colibri.conf"),
            config_text(scratch.path(), &setup),
        )
        .unwrap_or_else(|e| panic!("cannot write the config: {e}"));
        let mut suite = Self {
            colibrid: None,
            scratch,
            setup,
        };
        suite.launch();
        suite
    }

    /// Starts colibrid again after it was stopped or killed, with the same config and state.
    ///
    /// # Panics
    /// As [`Suite::start`].
    #[track_caller]
    pub fn launch(&mut self) {
        let child = self.begin();
        let child = self.colibrid.insert(child);
        let socket = self.scratch.path().join("run/colibri.sock");
        let ready = wait_for(LONG, || match child.try_wait() {
            Ok(Some(status)) => Some(Err(format!("colibrid ended: {status}"))),
            _ => answers(&socket).then_some(Ok(())),
        });
        if let Some(Ok(())) = ready {
            return;
        }
        panic!(
            "the suite does not start: {}\n{}",
            ready.map_or("nobody listens".to_owned(), |r| r.unwrap_err()),
            self.log()
        );
    }

    /// From the next start on, colibrid is executed by these words.
    pub fn set_under(&mut self, words: Vec<String>) {
        self.setup.under = words;
    }

    /// Waits for the end of a suite that was hit, starts another, and kills its colibrid after
    /// a while, however far it has come.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn false_start(&mut self, after: Duration) {
        self.wait_end();
        let mut child = self.begin();
        let _ = crate::wait::Stop::default().wait(after);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Whether it was started and its end was not waited for.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.colibrid.is_some()
    }

    /// Starts colibrid.
    #[track_caller]
    fn begin(&self) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap_or_else(|e| panic!("cannot write the log: {e}"));
        let colibrid = program("colibrid");
        let mut words = self.setup.under.clone();
        if let Some(limit) = &self.setup.ulimit {
            let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
            words.extend(["/bin/sh".into(), "-c".into(), script]);
        }
        words.push(colibrid.display().to_string());
        Command::new(&words[0])
            .args(&words[1..])
            .arg("-d")
            .arg("-f")
            .arg(self.config_path())
            .args(&self.setup.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start colibrid: {e}"))
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The directory that the agents work in.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.dir().join("work")
    }

    /// The public socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir().join("run/colibri.sock")
    }

    /// The config file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.dir().join("colibri.conf")
    }

    fn log_path(&self) -> PathBuf {
        self.dir().join("stderr")
    }

    /// What the daemons wrote to stderr so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A new connection.
    ///
    /// # Panics
    /// When nobody listens.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(&self.socket())
            .unwrap_or_else(|e| panic!("cannot connect to {}: {e}", self.socket().display()))
    }

    /// A new connection, tried again for a minute: for the time after something was killed.
    ///
    /// # Panics
    /// When nobody listens within a minute.
    #[track_caller]
    #[must_use]
    pub fn client_soon(&self) -> Client {
        must("the socket", LONG, || Client::connect(&self.socket()).ok())
    }

    /// Runs colibri-ctl against this suite.
    ///
    /// # Panics
    /// When it cannot be run.
    #[track_caller]
    #[must_use]
    pub fn ctl(&self, args: &[&str]) -> Output {
        Command::new(program("colibri-ctl"))
            .arg("-s")
            .arg(self.socket())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("cannot run colibri-ctl: {e}"))
    }

    /// [`Suite::ctl`] that must succeed; returns its stdout.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    #[must_use]
    pub fn ctl_ok(&self, args: &[&str]) -> String {
        let out = self.ctl(args);
        assert!(
            out.status.success(),
            "colibri-ctl {args:?}: {}\n{}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Process id of the process that was started, the top of the suite.
    ///
    /// # Panics
    /// When it was stopped.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let child = self.colibrid.as_ref().expect("the suite was started");
        i32::try_from(child.id()).expect("process ids fit")
    }

    /// Every process below the top, as far as they still hang together.
    #[must_use]
    pub fn processes(&self) -> Vec<procs::Process> {
        procs::descendants_of(self.pid())
    }

    /// Ends the suite politely and returns colibrid's status.
    ///
    /// # Panics
    /// When it does not end within a minute.
    #[track_caller]
    pub fn stop(&mut self) -> std::process::ExitStatus {
        procs::signal(self.pid(), Signal::SIGTERM);
        self.wait_end()
    }

    /// Waits for the end of the top process.
    ///
    /// # Panics
    /// When a minute passes.
    #[track_caller]
    pub fn wait_end(&mut self) -> std::process::ExitStatus {
        let mut child = self.colibrid.take().expect("the suite was started");
        let ended = wait_for(LONG, || child.try_wait().ok().flatten());
        if ended.is_none() {
            self.colibrid = Some(child);
        }
        ended.unwrap_or_else(|| panic!("colibrid does not end\n{}", self.log()))
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        if let Some(mut child) = self.colibrid.take() {
            let top = i32::try_from(child.id()).unwrap_or(0);
            let below = procs::descendants_of(top);
            let politely = polite_end(&mut child, top);
            if !politely.unwrap_or(false) {
                let _ = child.kill();
                let _ = child.wait();
                // Without its top the rest would live on; these were found as its descendants.
                for p in below {
                    let _ = kill(Pid::from_raw(p.pid), Signal::SIGKILL);
                }
            }
        }
        // Runs outlive a suite that was killed; nothing outlives its test.
        for pid in procs::users_of(self.dir()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if std::thread::panicking() {
            eprintln!("--- log of the suite ---\n{}", self.log());
        }
    }
}

/// Whether a suite answers, be it with a refusal: it listens before its daemons are started.
fn answers(socket: &Path) -> bool {
    let ask = || {
        let mut client = Client::connect(socket).ok()?;
        client.send_raw(b"{\"cmd\":\"ping\"}\n").ok()?;
        client.value(LONG).ok()
    };
    ask().is_some()
}

/// SIGTERM and half a minute; true when that was enough.
fn polite_end(child: &mut Child, pid: i32) -> io::Result<bool> {
    if child.try_wait()?.is_some() {
        return Ok(true);
    }
    kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    let ended = wait_for(Duration::from_secs(30), || child.try_wait().ok().flatten());
    Ok(ended.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_toml_with_every_profile() {
        let mut odd = Profile::new("odd", "rpc", vec!["/bin/a b".into(), "q\"\\".into()]);
        odd.env.push(("K".into(), "v\n".into()));
        let setup = Setup {
            profiles: vec![odd, Profile::new("two", "json", vec!["/bin/true".into()])],
            ..Setup::default()
        };
        let text = config_text(Path::new("/x"), &setup);
        assert!(
            text.contains("command = [\"/bin/a b\", \"q\\\"\\\\\"]"),
            "{text}"
        );
        assert!(text.contains("env = { \"K\" = \"v\\n\" }"), "{text}");
        assert!(
            text.find("[profile.odd]") < text.find("[profile.two]"),
            "{text}"
        );
        assert!(text.contains("run_dir = \"/x/run\""), "{text}");
    }

    #[test]
    fn a_scratch_directory_goes_away() {
        let scratch = Scratch::new();
        let dir = scratch.path().to_path_buf();
        let copy = scratch.copy(Path::new("/bin/sh"));
        let mode = fs::metadata(copy).expect("copied").permissions().mode();
        assert_eq!(mode & 0o555, 0o555);
        drop(scratch);
        assert!(!dir.exists());
    }
}
