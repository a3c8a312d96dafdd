//! runit: one runsv for each child, runsvdir above them.

use super::{child, command, find, said, Made, Peer};
use crate::procs::users_of;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

struct Runit {
    dir: PathBuf,
    services: PathBuf,
    runsvdir: PathBuf,
    sv: PathBuf,
    children: usize,
    top: Option<Child>,
}

/// Prepares the service directories.
///
/// # Errors
/// When it is not installed.
pub fn make(dir: &Path, children: usize) -> Made {
    let missing = || ("runit", "missing".to_owned());
    let runsvdir = find("runsvdir").ok_or_else(missing)?;
    let sv = find("sv").ok_or_else(missing)?;
    let child = child(dir, children);
    let services = dir.join("services");
    for n in 0..children {
        let service = services.join(n.to_string());
        fs::create_dir_all(&service).expect("a service");
        // A service that is written down to be down is started once, by hand.
        let scripts = [
            ("run", format!("#!/bin/sh\nexec {} {n}\n", child.display())),
            ("finish", "#!/bin/sh\necho $1 >code\n".to_owned()),
            ("down", String::new()),
        ];
        for (name, text) in scripts {
            let path = service.join(name);
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        }
    }
    Ok(Box::new(Runit {
        dir: dir.to_owned(),
        services,
        runsvdir,
        sv,
        children,
        top: None,
    }))
}

impl Runit {
    fn sv(&self, word: &str, n: usize) -> String {
        said(
            command(&self.sv)
                .arg(word)
                .arg(self.services.join(n.to_string())),
        )
    }
}

impl Peer for Runit {
    fn name(&self) -> String {
        "runit (runsvdir)".into()
    }

    fn start(&mut self) {
        let first = !self.services.join("0/supervise").exists();
        let started = command(&self.runsvdir)
            .arg(&self.services)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.top = Some(started.expect("runsvdir"));
        if first {
            for n in 0..self.children {
                let path = self.services.join(n.to_string()).join("supervise/ok");
                crate::wait::must("runsv", crate::wait::LONG, || path.exists().then_some(()));
                // It prints nothing when all is well.
                let _ = self.sv("once", n);
            }
        }
    }

    fn kill(&mut self) {
        if let Some(mut top) = self.top.take() {
            let _ = top.kill();
            let _ = top.wait();
        }
    }

    fn managed(&mut self) -> BTreeMap<usize, i32> {
        let of = |n| {
            let said = self.sv("status", n);
            let pid = said.split("(pid ").nth(1)?.split(')').next()?;
            Some((n, pid.parse().ok()?))
        };
        (0..self.children).filter_map(of).collect()
    }

    fn answers(&mut self, children: usize) -> bool {
        (0..children).all(|n| {
            let said = self.sv("status", n);
            said.starts_with("run:") || said.starts_with("down:")
        })
    }

    /// As its finish script wrote it down.
    fn exit_status(&mut self, child: usize) -> Option<i32> {
        let path = self.services.join(child.to_string()).join("code");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    fn end(&mut self) {
        self.kill();
        for pid in users_of(&self.dir) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
