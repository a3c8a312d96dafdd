//! Agents that are shell scripts, and roots for them to live in.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use colibri_tests::skip::skip;
use colibri_tests::suite::{is_root, Profile, Scratch, Suite};

/// Whether this is root, without whom there are no jails; says so where not.
pub fn root() -> bool {
    if !is_root() {
        skip("only root can make jails");
    }
    is_root()
}

/// An agent in JSON mode whose answer is what `script` writes, as one line without quotes.
pub fn script(name: &str, script: &str) -> Profile {
    let text = format!(
        r#"read -r prompt
echo '{{"type":"session","version":3,"id":"s","timestamp":"2026-01-01T00:00:00.000Z","cwd":"/"}}'
echo '{{"type":"agent_start"}}'
said=$({script})
echo '{{"type":"message_end","message":{{"role":"assistant","content":[{{"type":"text","text":"'"$said"'"}}],"stopReason":"stop"}}}}'
echo '{{"type":"agent_end","messages":[],"willRetry":false}}'
echo '{{"type":"agent_settled","aborted":false}}'
"#
    );
    let command = ["/bin/sh", "-c", &text, "agent"];
    Profile::new(name, "json", command.map(str::to_owned).to_vec())
}

/// A directory that is a root for agents: a shell, a few programs and what they are linked with.
pub struct Root(pub PathBuf);

impl Root {
    pub fn new(scratch: &Scratch) -> Self {
        let root = Root(scratch.path().join("root"));
        for dir in ["tmp", "libexec", "var/run"] {
            fs::create_dir_all(root.0.join(dir)).expect("a directory");
        }
        // The config says the same working directory for all profiles.
        let work = scratch.path().join("work");
        let inside = work.strip_prefix("/").expect("absolute");
        fs::create_dir_all(root.0.join(inside)).expect("a directory");
        fs::set_permissions(root.0.join("tmp"), Permissions::from_mode(0o1777)).expect("mode");
        root.add(Path::new("/libexec/ld-elf.so.1"));
        for program in [
            "/bin/sh",
            "/bin/ls",
            "/bin/sleep",
            "/bin/ps",
            "/sbin/sysctl",
        ] {
            root.add_program(Path::new(program));
        }
        root
    }

    /// Copies a file to the same place below the root.
    pub fn add(&self, file: &Path) {
        let to = self.0.join(file.strip_prefix("/").expect("absolute"));
        fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
        fs::copy(file, &to).unwrap_or_else(|e| panic!("cannot copy {}: {e}", file.display()));
    }

    /// Copies a program and the libraries that it is linked with.
    pub fn add_program(&self, program: &Path) {
        self.add(program);
        let out = Command::new("/usr/bin/ldd")
            .args(["-f", "%p\\n"])
            .arg(program)
            .output()
            .expect("ldd");
        for line in String::from_utf8_lossy(&out.stdout).lines() {
            // The kernel's own object has no file.
            if line.starts_with('/') {
                self.add(Path::new(line));
            }
        }
    }

    /// The line of a profile that lives there.
    pub fn line(&self) -> String {
        format!("root = \"{}\"", self.0.display())
    }
}

/// What the name of every jail of a suite begins with.
pub fn prefix(suite: &Suite) -> String {
    let run_dir = suite.dir().join("run");
    let hash = libcolibri::config::hash(run_dir.as_os_str().as_encoded_bytes());
    format!("colibri-{:08x}-", hash as u32)
}

/// The number of a jail that there is.
#[track_caller]
pub fn jid(name: &str) -> i32 {
    let out = Command::new("/usr/sbin/jls")
        .args(["-j", name, "jid"])
        .output()
        .expect("jls");
    let text = String::from_utf8_lossy(&out.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|e| panic!("no jail {name}: {e}: {out:?}"))
}

/// Names of the jails that there are, dying ones left out.
pub fn jails() -> Vec<String> {
    let out = Command::new("/usr/sbin/jls")
        .arg("name")
        .output()
        .expect("jls");
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(|l| l.trim().to_owned())
        .collect()
}

/// Whether a line of the log says so of this suite, whose daemons are known by their numbers.
pub fn said(by: &str, pid: i32, what: &str) -> bool {
    let log = std::fs::read("/var/log/daemon.log").expect("the log");
    let tag = format!("{by}[{pid}]");
    String::from_utf8_lossy(&log)
        .lines()
        .any(|l| l.contains(&tag) && l.contains(what))
}
