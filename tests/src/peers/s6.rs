//! s6: one s6-supervise for each child, s6-svscan above them.

use super::{child, command, find, said, Made, Peer};
use crate::procs::users_of;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

struct S6 {
    dir: PathBuf,
    scan: PathBuf,
    svscan: PathBuf,
    svstat: PathBuf,
    children: usize,
    top: Option<Child>,
}

/// Prepares the service directories.
///
/// # Errors
/// When it is not installed.
pub fn make(dir: &Path, children: usize) -> Made {
    let name = "s6";
    let missing = || (name, "missing".to_owned());
    let svscan = find("s6-svscan").ok_or_else(missing)?;
    let svstat = find("s6-svstat").ok_or_else(missing)?;
    let child = child(dir, children);
    let scan = dir.join("scan");
    for n in 0..children {
        let service = scan.join(n.to_string());
        fs::create_dir_all(&service).expect("a service");
        let run = service.join("run");
        fs::write(&run, format!("#!/bin/sh\nexec {} {n}\n", child.display())).expect("run");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).expect("executable");
        // 125 says: do not start it again.
        let finish = service.join("finish");
        fs::write(&finish, "#!/bin/sh\nexit 125\n").expect("finish");
        fs::set_permissions(&finish, fs::Permissions::from_mode(0o755)).expect("executable");
    }
    Ok(Box::new(S6 {
        dir: dir.to_owned(),
        scan,
        svscan,
        svstat,
        children,
        top: None,
    }))
}

impl S6 {
    fn field(&self, n: usize, field: &str) -> String {
        let service = self.scan.join(n.to_string());
        said(command(&self.svstat).args(["-o", field]).arg(service))
            .trim()
            .to_owned()
    }
}

impl Peer for S6 {
    fn name(&self) -> String {
        "s6 (s6-svscan)".into()
    }

    fn start(&mut self) {
        let started = command(&self.svscan)
            .args(["-c", "1000"])
            .arg(&self.scan)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.top = Some(started.expect("s6-svscan"));
    }

    fn kill(&mut self) {
        if let Some(mut top) = self.top.take() {
            let _ = top.kill();
            let _ = top.wait();
        }
    }

    fn managed(&mut self) -> BTreeMap<usize, i32> {
        let of = |n| Some((n, self.field(n, "pid").parse().ok().filter(|p| *p > 0)?));
        (0..self.children).filter_map(of).collect()
    }

    fn answers(&mut self, children: usize) -> bool {
        (0..children).all(|n| !self.field(n, "up").is_empty())
    }

    fn exit_status(&mut self, child: usize) -> Option<i32> {
        self.field(child, "exitcode").parse().ok()
    }

    fn end(&mut self) {
        self.kill();
        for pid in users_of(&self.dir) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
