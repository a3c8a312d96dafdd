//! supervisord: one process, parent of all children.

use super::{child, command, find, said, Made, Peer};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

struct Supervisord {
    config: PathBuf,
    daemon: PathBuf,
    ctl: PathBuf,
    top: Option<Child>,
}

/// Writes the config.
///
/// # Errors
/// When it is not installed.
pub fn make(dir: &Path, children: usize) -> Made {
    let missing = || ("supervisord", "missing".to_owned());
    let daemon = find("supervisord").ok_or_else(missing)?;
    let ctl = find("supervisorctl").ok_or_else(missing)?;
    let child = child(dir, children);
    let config = config(dir, children, |n| format!("{} {n}", child.display()));
    Ok(Box::new(Supervisord {
        config,
        daemon,
        ctl,
        top: None,
    }))
}

/// Writes its config with programs `p0` and so on; where that is. Its socket is `s` beside it.
///
/// # Panics
/// When it cannot be written.
#[must_use]
pub fn config(dir: &Path, programs: usize, command: impl Fn(usize) -> String) -> PathBuf {
    let at = dir.display();
    let mut text = format!(
        "[unix_http_server]\nfile={at}/s\n[supervisord]\nnodaemon=true\nlogfile=/dev/null\n\
         logfile_maxbytes=0\npidfile={at}/pid\nuser=root\n[rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{at}/s\n"
    );
    for n in 0..programs {
        let _ = write!(
            text,
            "[program:p{n}]\ncommand={}\nautorestart=false\nstartsecs=0\n\
             stdout_logfile=NONE\nstderr_logfile=NONE\n",
            command(n)
        );
    }
    let config = dir.join("supervisord.conf");
    fs::write(&config, text).expect("the config");
    config
}

impl Supervisord {
    fn status(&self) -> String {
        said(command(&self.ctl).arg("-c").arg(&self.config).arg("status"))
    }
}

impl Peer for Supervisord {
    fn name(&self) -> String {
        "supervisord".into()
    }

    fn start(&mut self) {
        let started = command(&self.daemon)
            .arg("-c")
            .arg(&self.config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.top = Some(started.expect("supervisord"));
    }

    fn kill(&mut self) {
        if let Some(mut top) = self.top.take() {
            let _ = top.kill();
            let _ = top.wait();
        }
    }

    fn managed(&mut self) -> BTreeMap<usize, i32> {
        let of = |l: &str| {
            let mut words = l.split_whitespace();
            let n = words.next()?.strip_prefix('p')?.parse().ok()?;
            let pid = l.split("pid ").nth(1)?.split(',').next()?;
            l.contains("RUNNING").then_some((n, pid.parse().ok()?))
        };
        self.status().lines().filter_map(of).collect()
    }

    fn answers(&mut self, children: usize) -> bool {
        let known = |l: &&str| l.starts_with('p') && !l.contains("STARTING");
        self.status().lines().filter(known).count() == children
    }

    /// It tells one only of children that it saw exit.
    fn exit_status(&mut self, child: usize) -> Option<i32> {
        let said = self.status();
        let line = said
            .lines()
            .find(|l| l.split_whitespace().next() == Some(&format!("p{child}")))?;
        let code = line.split("exit status ").nth(1)?;
        code.split(';').next()?.trim().parse().ok()
    }

    fn end(&mut self) {
        if let Some(mut top) = self.top.take() {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(i32::try_from(top.id()).unwrap_or(0)),
                nix::sys::signal::Signal::SIGTERM,
            );
            let _ = top.wait();
        }
    }
}
